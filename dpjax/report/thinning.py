"""Curves of runs, thinned to what one file can hold: first of evaluations, then of runs."""

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from dpjax.report.contents import Notice
from dpjax.report.spent_curve import SPENT
from dpjax.results.columns import COLUMNS
from dpjax.results.distinct import Distinct, Table

CURVE_BYTES = 3_500_000
"""What curves may weigh; longer ones are thinned, and the report says so."""

_LEAST = 4
"""Evaluations below which a curve says too little: from there on runs go without."""
_CURVES = [column.name for column in COLUMNS if column.dtype in ("ints", "floats")]
_OVER_STEPS = list(dict.fromkeys(["eval_steps", SPENT, *[n for n in _CURVES if not n.startswith("norm_counts")]]))


class Lists(NamedTuple):
    """Curves of all columns, each once.

    Attributes:
      spelt: each as JSON.
      places: column → place among ``spelt`` of every row, None where it has none.
    """

    spelt: list[str]
    places: dict[str, list[int | None]]


def thinned(table: Table, first: Sequence[int]) -> tuple[Lists, Notice | None]:
    """Curves that fit into one file, as JSON, and what to say of those that did not.

    Formal guarantees: a curve keeps its first and last evaluation, and as many between as there is room for. Where even
    four of every run are too many, runs go without any.

    Args:
      table: of runs.
      first: numbers of those which keep their curves where not all can; the others follow in their order.

    Example:
      >>> import pandas as pd
      >>> lists, notice = thinned(Table(pd.DataFrame({"eval_steps": [[1, 2], [1, 2]]})), [])
      >>> lists.spelt, lists.places["eval_steps"], notice
      (['[1,2]'], [0, 0], None)
    """
    order = list(dict.fromkeys([*first, *range(table.size)]))
    lengths = {len(each or []) for each in table["eval_steps"].cells}
    longest = most = max(lengths, default=0)
    kept = table.size
    while True:
        there = np.zeros(table.size, bool)
        there[order[:kept]] = True
        numbers = sum(_numbers(table[name], there, longest, most) for name in _OVER_STEPS)
        # No number is shorter than one sign and a comma: what is too much by that need not be spelt out to be seen.
        weight = 2 * numbers if 2 * numbers > 2 * CURVE_BYTES else 0
        if not weight:
            lists = _spelt(table, there, lengths, most)
            weight = sum(map(len, lists.spelt))
            if weight <= CURVE_BYTES or (most <= _LEAST and kept <= 1):
                return lists, _notice(longest, most, table.size, kept)
        share = CURVE_BYTES / weight
        if most > _LEAST:
            most = max(_LEAST, min(most - 1, int(most * share)))
        else:
            kept = max(1, min(kept - 1, int(kept * share)))


def _notice(longest: int, most: int, runs: int, kept: int) -> Notice | None:
    said = [f"Curves show at most {most} of up to {longest} evaluations"] if most < longest else []
    said += [f"{kept:,} of {runs:,} runs have curves, those of the best of each ε before others"] if kept < runs else []
    if not said:
        return None
    return Notice("note", f"{', and '.join(said)}, so that this file stays small. results.parquet has them all.", [])


def _numbers(column: Distinct, there: np.ndarray, longest: int, most: int) -> int:
    """How many numbers the curves of a column hold after it was thinned, each curve once."""
    lengths = np.array([len(each) if isinstance(each, list) else 0 for each in column.cells] or [0])
    lengths = np.where(lengths <= longest, np.minimum(lengths, most), lengths)
    used = np.unique(column.codes[there])
    return int(lengths[used].sum()) if used.size else 0


def _spelt(table: Table, there: np.ndarray, lengths: set[int], most: int) -> Lists:
    lists: dict[str, int] = {}
    places = {}
    for name in dict.fromkeys([*_OVER_STEPS, *_CURVES]):
        column = table[name]
        if len(lengths) > 1 and name in _OVER_STEPS:  # a curve over evaluations has as many as its own run
            column = table.each(lambda row, name=name: _picked(row.get(name), len(row.get("eval_steps") or []), most))
        elif name in _OVER_STEPS:
            (length,) = lengths or {0}
            column = column.each(lambda cell, length=length: _picked(cell, length, most))
        used = set(np.unique(column.codes[there]).tolist())
        of_cell = [_placed(cell, lists) if code in used else None for code, cell in enumerate(column.cells)]
        places[name] = [
            of_cell[code] if has else None for code, has in zip(column.codes.tolist(), there.tolist(), strict=True)
        ]
    return Lists(list(lists), places)


def _picked(values: Any, length: int, most: int) -> Any:
    if not isinstance(values, list) or len(values) != length or length <= most:
        return values
    return [values[round(i * (length - 1) / (most - 1))] for i in range(most)]


def _placed(values: Any, lists: dict[str, int]) -> int | None:
    """The place of a curve among the lists, each of which is JSON already."""
    if not isinstance(values, list) or not values:
        return None
    # A million numbers go through here: spelt out in place, as four significant digits are valid JSON.
    spelt = ",".join(["null" if v is None else f"{v:.4g}" if isinstance(v, float) else str(v) for v in values])
    if "n" in spelt:
        spelt = re.sub(r"-?inf|nan", r'"\g<0>"', spelt)
    return lists.setdefault(f"[{spelt}]", len(lists))
