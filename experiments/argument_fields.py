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

MECHANISM = {
    "adjacency": "privacy.adjacency",
    "accountant": "privacy.accountant",
    "sampling": "optimizer.sampling",
    "records_per_unit": "privacy.records_per_unit",
    "bands": "privacy.bands",
    "factorization": "privacy.factorization",
    "release_noise_multiplier": "data.release_noise_multiplier",
    "epsilon": "privacy.epsilon",
    "delta": "privacy.delta",
}
"""Argument → field, of ``dpjax.accounting``."""

PARTITION = {name: f"federated.{name}" for name in ("num_clients", "alpha", "shards_per_client", "records_per_client")}
PARTITION |= {"max_records": "federated.records_per_client"}
"""Argument → field, of the partitions of ``dpjax.federated``."""

SECURE = {name: f"federated.{name}" for name in ("bits", "levels")} | {"colluding": "privacy.colluding"}
SECURE |= {"threshold": "federated.threshold × federated.clients_per_round"}
"""Argument → field, of ``dpjax.federated.secure_aggregation`` and ``distributed_noise``."""

TUNING = {name: f"tuning.{name}" for name in ("name", "rank", "targets", "last_layers", "length", "freeze_a")}
TUNING |= {"client_ranks": "federated.client_ranks", "ranks": "federated.client_ranks"}
TUNING |= {"frozen_dtype": "model.frozen_dtype"}
"""Argument → field, of ``dpjax.models.tuning``."""

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
        raise ConfigError(_renamed(str(error), names)) from error


def _renamed(text: str, names: Mapping[str, str]) -> str:
    """Arguments where a value stands behind them, and words as overrides have them."""
    text = re.sub(r"(?<![\w.])(\w+=|\w+_\w+\b(?![\w.]*[(/]))", lambda word: _field(word[1], names), text)
    text = re.sub(r"(['\"])([\w.-]+)\1", r"\2", text)
    return re.sub(r"(?<![\w.])(None|True|False)\b", lambda word: _WORDS[word[0]], text)


def _field(word: str, names: Mapping[str, str]) -> str:
    name = word.removesuffix("=")
    return names.get(name, name) + word[len(name) :]
