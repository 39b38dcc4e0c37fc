"""Which rows are meant: comparisons such as ``epsilon<=8 method=dpsgd|dpftrl``, as the report's filter has them."""

import math
import operator
import re
from collections.abc import Callable
from typing import Any

import pandas as pd

from dpjax.checks import as_listed
from dpjax.results.claims import small
from dpjax.results.errors import ResultsError
from dpjax.results.having import no_column
from dpjax.results.several import SWEEP
from dpjax.results.summarize import IDENTITY

_COMPARISON = re.compile(
    r"""\s*([^\s<>=!]+)\s*(<=|>=|!=|==|=|<|>)\s*("[^"]*"|'[^']*'|[^\s"',]+(?:,(?![\w.]+\s*[<>=!])[^\s"',]+)*)"""
)
_BETWEEN = re.compile(r"\s*,\s*|\s+and\b\s*|\s+", re.IGNORECASE)
_SIGNS: dict[str, Callable[[Any, float], Any]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


def select(frame: pd.DataFrame, wanted: str) -> pd.DataFrame:
    """The rows that pass every comparison.

    Formal guarantees: all seeds of a point pass or none, but where ``seed`` itself is compared: to leave out those that
    did badly would flatter the rest. A row without a value in a column passes ``!=`` alone. Texts are compared whole,
    whatever their case. A word that is no comparison, a column that is not there and a selection of nothing are
    refused.

    Args:
      frame: what ``collect`` or ``load`` gave.
      wanted: comparisons by ``= != < <= > >=``, parted by spaces, commas or ``and``; ``a|b`` is either; a value with
        spaces stands in quotes; empty takes every row.

    Returns:
      The rows, with their index and ``attrs``.

    Raises:
      ResultsError: the selection cannot be read, names no column, or no row passes.

    Example:
      >>> from dpjax.results.table import frame_of
      >>> rows = frame_of([{"epsilon": e, "method": m} for e in (1.0, 8.0) for m in ("dpsgd", "dpftrl")])
      >>> select(rows, "epsilon<=2 method=dpftrl")[["epsilon", "method"]].values.tolist()
      [[1.0, 'dpftrl']]
      >>> select(rows, "epsilonn<=2")
      Traceback (most recent call last):
          ...
      dpjax.results.errors.ResultsError: there is no column epsilonn: did you mean epsilon?
    """
    passing = pd.Series(True, index=frame.index)
    for name, sign, value in _comparisons(wanted):
        passes = _test(frame, name, sign, value)
        if name != "seed" and _parts_a_point(frame, passes):
            raise ResultsError(
                f"{name}{sign}{value} takes some seeds of a point and leaves others, which would change its mean: "
                "choose by settings, or by seed"
            )
        passing &= passes
    chosen: Any = frame[passing]
    if len(frame) and not len(chosen):
        raise ResultsError(f"no row passes {wanted.strip()!r}: {_what_there_is(frame, wanted)}")
    return chosen


def column_of(frame: pd.DataFrame, name: str) -> Any:
    """A column by its name.

    Args:
      frame: what ``collect`` or ``load`` gave.
      name: of the column.

    Raises:
      ResultsError: there is none; the nearest is named.

    Example:
      >>> column_of(pd.DataFrame({"epsilon": [1.0]}), "epsilon").tolist()
      [1.0]
    """
    if name in frame.columns:
        return frame[name]
    raise no_column(frame, name)


def _comparisons(wanted: str) -> list[tuple[str, str, str]]:
    found, place = [], 0
    while place < len(wanted.rstrip()):
        match = _COMPARISON.match(wanted, place)
        if match is None:
            raise ResultsError(
                f"{wanted[place:].strip()!r} is no comparison: write a column, one of = != < <= > >= and a value, such "
                "as epsilon<=8"
            )
        name, sign, value = match.groups()
        found.append((name, sign.replace("==", "="), value[1:-1] if value[0] in "\"'" else value))
        between = _BETWEEN.match(wanted, match.end())
        place = between.end() if between else match.end()
    return found


def _parts_a_point(frame: Any, passes: Any) -> bool:
    columns = [name for name in (*IDENTITY, SWEEP) if name in frame.columns]
    points = frame.assign(_passes=passes).groupby(columns, dropna=False)["_passes"]
    return bool((points.nunique() > 1).any())


def _test(frame: pd.DataFrame, name: str, sign: str, value: str) -> Any:
    column = column_of(frame, name)
    numeric = pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column)
    choices = value.split("|")
    if sign in _SIGNS:
        if not numeric:
            raise ResultsError(
                f"{name}{sign}{value} asks for an order, but column {name} holds no numbers: use = or !="
            )
        if len(choices) > 1:
            raise ResultsError(f"{name}{sign}{value} has more than one limit: | goes with = and != only")
        return _SIGNS[sign](column.astype(float), _as_number(name, value))
    if numeric:
        # Of numbers as they are written down, float32 included, not to their last bit.
        values = column.astype(float)
        equal = pd.Series(False, index=frame.index)
        for choice in choices:
            number = _as_number(name, choice)
            near = (values - number).abs() <= 1e-9 * max(abs(number), 1e-300)
            equal |= (values == number) if math.isinf(number) else near
    else:
        words = {_plain(choice) for choice in choices}
        equal = column.map(lambda cell: pd.notna(cell) and _plain(str(cell)) in words).astype(bool)
    return equal if sign == "=" else ~equal


def _plain(word: str) -> str:
    return word.strip().casefold()


def _as_number(name: str, value: str) -> float:
    try:
        return math.inf if value in ("∞", "+∞") else float(value)
    except ValueError:
        raise ResultsError(
            f"{name} is compared with {value!r}, but holds numbers: give one, such as {name}=1"
        ) from None


def _what_there_is(frame: pd.DataFrame, wanted: str) -> str:
    parts = []
    for name in dict.fromkeys(name for name, _, _ in _comparisons(wanted)):
        values = sorted(set(frame[name].dropna()), key=lambda cell: (isinstance(cell, str), cell))
        told = [small(float(cell)) if isinstance(cell, int | float) else as_listed(str(cell)) for cell in values]
        more = f" and {len(told) - 8} more" if len(told) > 8 else ""
        parts.append(f"{name} is {', '.join(told[:8]) or 'empty'}{more}")
    return "; ".join(parts)
