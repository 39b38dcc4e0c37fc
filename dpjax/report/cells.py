"""Cells as JSON holds them: missing values, digits, and columns written in the least room."""

import json
import math
from collections.abc import Sequence
from typing import Any

from dpjax.results.claims import rounded_up, told_epsilon

DIGITS = 6
_LONGEST = 400  # characters of a cell outside the schema


def records(frame: Any) -> list[dict[str, Any]]:
    """A frame's rows, with None for what is missing.

    Args:
      frame: of pandas.

    Example:
      >>> from dpjax.results.table import frame_of
      >>> records(frame_of([{"seed": 0}]))[0]["epsilon"] is None
      True
    """
    return [{str(name): _cell(value) for name, value in row.items()} for row in frame.to_dict("records")]


def _cell(value: Any) -> Any:
    value = value.tolist() if hasattr(value, "tolist") else value
    if value is None or isinstance(value, str | bool | int | list | dict):
        return value
    if isinstance(value, float):
        return None if math.isnan(value) else value
    return None  # pandas' own missing value


def column(values: Sequence[Any], texts: dict[str, int]) -> dict[str, Any]:
    """One column: a value for all, places in ``texts``, or values as they are.

    Args:
      values: a cell per row.
      texts: text → its place; new ones are added.

    Example:
      >>> column(["a", "b", "a"], {}), column([1, 1], {}), column([0.5, None], {})
      ({'t': [0, 1, 0]}, {'all': 1}, {'v': [0.5, None]})
    """
    plain = [_plain(value) for value in values]
    if all(value == plain[0] and type(value) is type(plain[0]) for value in plain[1:]):
        return {"all": plain[0] if plain else None}
    if any(isinstance(value, str) for value in plain) and not any(isinstance(value, int | float) for value in plain):
        return {"t": [None if value is None else texts.setdefault(value, len(texts)) for value in plain]}
    return {"v": plain}


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return rounded(value, DIGITS)
    if isinstance(value, list | dict):
        return json.dumps(value, default=str, ensure_ascii=False)[:_LONGEST]
    return value


def raised(value: Any) -> Any:
    """An ε to as many digits as cells keep, rounded up; anything else as it is.

    Args:
      value: a cell.

    Example:
      >>> raised(0.96600000004), raised(None)
      (0.966001, None)
    """
    return float(rounded_up(value, DIGITS)) if isinstance(value, float) and 0 < value < math.inf else value


def as_told(row: dict[str, Any]) -> dict[str, Any]:
    """A row or a point with its ε as tables tell it.

    Args:
      row: from column to cell.

    Example:
      >>> as_told({"epsilon": 2.5806, "seed": 0})
      {'epsilon': 2.59, 'seed': 0}
    """
    value = row.get("epsilon")
    return row if not isinstance(value, float) or math.isnan(value) else row | {"epsilon": told_epsilon(value)}


def rounded(value: float | int, digits: int) -> Any:
    """A number to so many significant digits, as an int if it is whole; a text if JSON lacks it.

    Args:
      value: any number.
      digits: to keep.

    Example:
      >>> rounded(0.123456, 3), rounded(2.0, 3), rounded(float("inf"), 3)
      (0.123, 2, 'inf')
    """
    if not math.isfinite(value):
        return "nan" if math.isnan(value) else "inf" if value > 0 else "-inf"
    nearest = float(f"{value:.{digits}g}")
    return int(nearest) if nearest.is_integer() and abs(nearest) < 1e15 else nearest
