"""What a results row holds, and how its values become valid JSON and come back.

A row is one point of a sweep at one seed. The table in ``columns.py`` is the only place that lists the columns: the
documentation, ``dpjax results columns``, the Parquet file and the checks on writing all read it.
"""

import json
import math
from collections.abc import Mapping
from typing import Any

from dpjax.results.columns import COLUMNS, Column
from dpjax.results.errors import ResultsError

SCHEMA: Mapping[str, Column] = {column.name: column for column in COLUMNS}

METRICS: tuple[str, ...] = tuple(column.name for column in COLUMNS if column.better)

_NON_FINITE = {"inf": math.inf, "-inf": -math.inf, "nan": math.nan}
_TEXT = ("str", "json")


def lower_is_better(metric: str) -> bool:
    """Whether a metric is one to minimise.

    Formal guarantees: the schema decides; a name it does not know is minimised if it speaks of loss, error, time or
    memory.

    Args:
      metric: name of a numeric column.

    Example:
      >>> lower_is_better("test_loss"), lower_is_better("test_accuracy"), lower_is_better("wall_seconds")
      (True, False, True)
    """
    known = SCHEMA.get(metric)
    if known is not None and known.better is not None:
        return known.better == "lower"
    return any(word in metric for word in ("loss", "error", "seconds", "memory", "_mib"))


def bounds_of(name: str) -> tuple[float, float]:
    """The least and the largest value that a numeric column can have, whatever was run.

    Args:
      name: of the column; one that the schema does not know may have any.

    Example:
      >>> bounds_of("test_auroc"), bounds_of("test_loss"), bounds_of("test_r2"), bounds_of("my_score")
      ((0.0, 1.0), (0.0, inf), (-inf, 1.0), (-inf, inf))
    """
    known = SCHEMA.get(name)
    if known is None:
        return -math.inf, math.inf
    if name.endswith("_r2"):
        return -math.inf, 1.0
    return 0.0, 1.0 if known.unit == "fraction" else math.inf


def encode(name: str, value: Any) -> Any:
    """One cell as a value that ``json.dumps(..., allow_nan=False)`` takes.

    Formal guarantees: inf, -inf and nan become the texts ``"inf"``, ``"-inf"``, ``"nan"`` (JSON has no such numbers)
    and None becomes null; ``decode`` gives back an equal value. Arrays and their scalars become Python numbers and
    lists; a dict in a json column becomes its text.

    Args:
      name: the column; one of the schema is checked against its dtype, any other passes if JSON can hold it.
      value: the cell.

    Returns:
      The value: a number, text, bool, list or None; outside the schema also a dict of these.

    Raises:
      ResultsError: the value does not fit the column.

    Example:
      >>> encode("epsilon", float("inf")), encode("seed", 3), encode("eval_test_loss", [0.5, float("nan")])
      ('inf', 3, [0.5, 'nan'])
    """
    value = _scalar(value)
    column = SCHEMA.get(name)
    if value is None or column is None:
        return _plain(name, value)
    if column.dtype == "json" and isinstance(value, Mapping):
        return json.dumps(_plain(name, value), allow_nan=False, ensure_ascii=False)
    checked = _check(column, value)
    if checked is _MISFIT:
        raise ResultsError(
            f"results column {name!r} holds {column.dtype} ({column.meaning.rstrip('.')}), not {_short(value)}: "
            f"give it a {column.dtype} or None"
        )
    return _plain(name, checked)


def decode(name: str, value: Any) -> Any:
    """The cell that ``encode`` wrote.

    Formal guarantees: exact for every column of the schema. In a column outside it, a text that reads ``inf``, ``-inf``
    or ``nan`` comes back as that number.

    Args:
      name: the column.
      value: what ``json.loads`` gave.

    Returns:
      The cell, as a row holds it.

    Example:
      >>> decode("epsilon", "inf"), decode("overrides", "inf"), decode("clip_norm", None)
      (inf, 'inf', None)
    """
    column = SCHEMA.get(name)
    if column is not None and column.dtype in _TEXT:
        return value
    if isinstance(value, str):
        return _NON_FINITE.get(value, value)
    if isinstance(value, list):
        return value if set(map(type, value)) <= _NUMBERS else [decode("", item) for item in value]
    if isinstance(value, dict):
        return {key: decode("", item) for key, item in value.items()}
    return value


def plainly_fits(name: str, value: Any) -> bool:
    """Whether a cell that JSON gave is of its column at a glance; if not, ``encode`` says whether it is.

    Args:
      name: the column.
      value: what ``decode`` gave.

    Example:
      >>> plainly_fits("epsilon", 1.0), plainly_fits("seed", 2**70), plainly_fits("mine", 1)
      (True, False, False)
    """
    if value is None:
        return True
    column, kind = SCHEMA.get(name), type(value)
    if column is None:
        return False
    match column.dtype:
        case "str" | "json":
            return kind is str and value.isascii()
        case "floats":
            return kind is list and set(map(type, value)) <= _FLOATS
        case "ints":
            return kind is list and set(map(type, value)) == {int} and max(value) < 2**63 and min(value) > -(2**63)
        case "int":
            return kind is int and abs(value) < 2**63
        case "float":
            return kind is float
        case _:
            return kind is bool


_FLOATS = {float, type(None)}
_NUMBERS = {float, int, type(None)}
_MISFIT = object()


def _check(column: Column, value: Any) -> Any:
    match column.dtype:
        case "str" | "json":
            return value if isinstance(value, str) else _MISFIT
        case "bool":
            return value if isinstance(value, bool) else _MISFIT
        case "int":
            # A float that is whole is an int that went through an array of floats.
            is_whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
            # Beyond 64 bits no table can hold it.
            return int(value) if is_whole and not isinstance(value, bool) and abs(value) < 2**63 else _MISFIT
        case "float":
            is_number = isinstance(value, float) or (isinstance(value, int) and abs(value) < 2**1023)
            return float(value) if is_number and not isinstance(value, bool) else _MISFIT
        case _:
            if not isinstance(value, list | tuple):
                return _MISFIT
            item = Column(column.name, "float" if column.dtype == "floats" else "int", "", "")
            items = [None if entry is None else _check(item, _scalar(entry)) for entry in value]
            return _MISFIT if any(entry is _MISFIT for entry in items) else items


def _scalar(value: Any) -> Any:
    return value.tolist() if hasattr(value, "tolist") else value


def _short(value: Any) -> str:
    try:
        shown = repr(value)
    except (ValueError, RecursionError):  # an integer of thousands of digits, or a list in lists without end
        shown = f"a {type(value).__name__}"
    return shown if len(shown) <= 60 else f"{shown[:60]}..."


_DEEPEST = 20


def _is_text(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _plain(name: str, value: Any, depth: int = 0) -> Any:
    value = _scalar(value)
    if depth > _DEEPEST:
        raise ResultsError(f"results column {name!r} is nested more than {_DEEPEST} deep: give it a flatter value")
    if isinstance(value, str) and not _is_text(value):
        raise ResultsError(f"results column {name!r} holds half a character, {value[:60]!r}: give it whole text")
    if value is None or isinstance(value, str | bool):
        return value
    if isinstance(value, int):
        if abs(value) < 2**63:
            return value
        raise ResultsError(f"results column {name!r} holds an integer past 64 bits: give it as a text or a float")
    if isinstance(value, float):
        if math.isfinite(value):
            return value
        return "nan" if math.isnan(value) else ("inf" if value > 0 else "-inf")
    if isinstance(value, list | tuple):
        return [_plain(name, item, depth + 1) for item in value]
    if isinstance(value, Mapping):
        return {str(key): _plain(name, item, depth + 1) for key, item in value.items()}
    raise ResultsError(
        f"results column {name!r} holds a {type(value).__name__}, which JSON cannot hold: "
        "give it a number, a text, a list or a dict of those"
    )
