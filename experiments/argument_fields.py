"""Which field of the config an argument of the library is: its errors name its own arguments, a user's name fields."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from experiments.config import ConfigError

SELECTION = {
    "dataset": "data",
    "share": "data.validation",
    "num_train": "data.num_train",
    "records_per_unit": "privacy.records_per_unit",
}
"""Argument → field, of ``dpjax.datasets.selection``."""

_WORDS = {"None": "null", "True": "true", "False": "false"}  # as configs write them


@contextmanager
def in_fields(names: Mapping[str, str]) -> Iterator[None]:
    """What the library says of its own arguments becomes what is said of fields.

    Args:
      names: argument → field, of what is called.

    Raises:
      ConfigError: in place of a ValueError about the arguments.

    Example:
      >>> with in_fields({"num_train": "data.num_train"}):
      ...     raise ValueError("num_train=0 must be at least 1, or None.")
      Traceback (most recent call last):
      experiments.config.ConfigError: data.num_train=0 must be at least 1, or null.
    """
    try:
        yield
    except ConfigError:
        raise
    except ValueError as error:
        raise ConfigError(_renamed(str(error), {**names, **_WORDS})) from error


def _renamed(text: str, names: Mapping[str, str]) -> str:
    return re.sub(r"(?<![\w.])\w+(?![\w.]*[(/])", lambda word: names.get(word[0], word[0]), text)
