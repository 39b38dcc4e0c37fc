"""Fields of a config.json, each checked for its kind and range before anything is built from it."""

import math
from collections.abc import Mapping
from typing import Any

LARGEST = 2**31 - 1
"""Of any size: rows beyond it cannot be counted by the indices that read them."""


class ArchitectureError(ValueError):
    """A checkpoint's configuration that dpjax cannot build; one sentence with the field, the value and the fix."""


def size(config: Mapping[str, Any], field: str, usual: int | None = None, *, nullable: bool = False) -> int:
    """A whole number from 1 to ``LARGEST``.

    Args:
      config: contents of config.json.
      field: its name.
      usual: where the field is absent; None: it must be there.
      nullable: whether null means the usual one, as ``transformers`` writes it.

    Raises:
      KeyError: absent without a usual value.
      ArchitectureError: anything but such a number.

    Example:
      >>> size({"n_layer": 2}, "n_layer"), size({}, "n_positions", 1024)
      (2, 1024)
      >>> size({"n_head": 0}, "n_head")
      Traceback (most recent call last):
      dpjax.models.transformers.config_fields.ArchitectureError: n_head is 0, but must be a whole number from 1 to \
2147483647; take the whole checkpoint.
    """
    value = _given(config, field, usual, nullable)
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= LARGEST:
        raise ArchitectureError(
            f"{field} is {shown(value)}, but must be a whole number from 1 to {LARGEST}; take the whole checkpoint."
        )
    return value


def positive(config: Mapping[str, Any], field: str, usual: float, *, below: float = math.inf) -> float:
    """A number above 0 and below a bound, which float32 holds too.

    Raises:
      ArchitectureError: anything else.
    """
    value = config.get(field, usual)
    top = min(below, 3e38)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 1e-38 < value < top:
        raise ArchitectureError(
            f"{field} is {shown(value)}, but must be a number above 0 and below {top:g}; take the whole checkpoint."
        )
    return float(value)


def switch(config: Mapping[str, Any], field: str, usual: bool) -> bool:
    """True or false.

    Raises:
      ArchitectureError: anything else.
    """
    value = config.get(field, usual)
    if not isinstance(value, bool):
        raise ArchitectureError(f"{field} is {shown(value)}, but must be true or false; take the whole checkpoint.")
    return value


def only(config: Mapping[str, Any], field: str, *known: Any) -> None:
    """Raises where a checkpoint was trained with a variant that would be computed wrongly.

    Args:
      config: contents of config.json.
      field: its name; absent and null are the first of the known.
      known: values that dpjax computes.

    Raises:
      ArchitectureError: another value.
    """
    value = config.get(field)
    if value is not None and not any(value == each and type(value) is type(each) for each in known):
        raise ArchitectureError(
            f"{field} is {shown(value)}, but dpjax computes only {known[0]!r}; take another checkpoint."
        )


def divided(config: Mapping[str, Any], width: str, heads: str) -> int:
    """Width of one head.

    Raises:
      ArchitectureError: heads that do not share the width evenly.
    """
    total, parts = size(config, width), size(config, heads)
    if total % parts:
        raise ArchitectureError(
            f"{heads} is {parts}, which does not divide {width}={total}; take the whole checkpoint."
        )
    return total // parts


def shown(value: object, most: int = 60) -> str:
    """A value as an error names it, whatever it is; cut where it is long."""
    try:
        text = repr(value)
    except (RecursionError, ValueError):  # deeply nested, or an integer of thousands of digits
        text = f"a {type(value).__name__}"
    return text if len(text) <= most else f"{text[:most]}…"


def _given(config: Mapping[str, Any], field: str, usual: Any, nullable: bool) -> Any:
    if field not in config:
        if usual is None:
            raise KeyError(field)
        return usual
    value = config[field]
    return usual if value is None and nullable else value
