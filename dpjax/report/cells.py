"""Cells as JSON holds them: missing values, digits, and columns written in the least room."""

import json
import math
from typing import Any, NamedTuple

from dpjax.results.claims import rounded_up, told_epsilon
from dpjax.results.distinct import Distinct

DIGITS = 6
_LONGEST = 400  # characters of a cell outside the schema


class Spelt(NamedTuple):
    """What is JSON already, and would take as long again to read and write once more.

    Attributes:
      text: the JSON.
    """

    text: str


def column(cells: Distinct, texts: dict[str, int]) -> dict[str, Any]:
    """One column: a value for all, places in ``texts``, or values as they are.

    Args:
      cells: of all rows.
      texts: text → its place; new ones are added.

    Example:
      >>> import numpy as np
      >>> column(Distinct(np.array([0, 1, 0]), ["a", "b"]), {}), column(Distinct(np.array([0, 0]), [1]), {})
      ({'t': [0, 1, 0]}, {'all': 1})
    """
    plain = [_plain(cell) for cell in cells.cells]
    if all(value == plain[0] and type(value) is type(plain[0]) for value in plain[1:]):
        return {"all": plain[0] if plain else None}
    if any(isinstance(value, str) for value in plain) and not any(isinstance(value, int | float) for value in plain):
        placed = [None if value is None else texts.setdefault(value, len(texts)) for value in plain]
        return {"t": Distinct(cells.codes, placed).told()}
    return {"v": Distinct(cells.codes, plain).told()}


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


def told_cell(value: Any) -> Any:
    """A cell of ε as tables tell it.

    Args:
      value: of the column ``epsilon``.

    Example:
      >>> told_cell(2.5806), told_cell(None)
      (2.59, None)
    """
    return value if not isinstance(value, float) or math.isnan(value) else told_epsilon(value)


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
