"""Curves of runs, thinned to what one file can hold: first of evaluations, then of runs."""

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from dpjax.report.contents import Notice
from dpjax.report.spent_curve import SPENT
from dpjax.results.columns import CURVES
from dpjax.results.distinct import Table

CURVE_BYTES = 3_500_000
"""What curves may weigh; longer ones are thinned, and the report says so."""

_LEAST = 4
"""Evaluations below which a curve says too little: from there on runs go without."""
_SAMPLED = 200
_OVER_STEPS = list(dict.fromkeys(["eval_steps", SPENT, *[n for n in CURVES if not n.startswith("norm_counts")]]))


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
    order = np.array(list(dict.fromkeys([*first, *range(table.size)])), int)
    lengths = {len(each or []) for each in table["eval_steps"].cells}
    longest = max(lengths, default=0)
    few = np.linspace(0, table.size - 1, min(table.size, _SAMPLED)).astype(int)  # what all weigh is guessed from these
    most, kept = longest, table.size
    while kept:
        guess = _weight(_spelt(table, few, lengths, most)) * kept / len(few)
        if guess <= 2 * CURVE_BYTES or kept <= len(few):  # of equal curves one is written: all may weigh less
            lists = _spelt(table, order[:kept], lengths, most)
            guess = _weight(lists)
            if guess <= CURVE_BYTES or (most <= _LEAST and kept == 1):
                return lists, _notice(longest, most, table.size, kept)
        if most > _LEAST:
            most = max(_LEAST, min(most - 1, int(most * CURVE_BYTES / guess)))
        else:
            kept = max(1, min(kept - 1, int(kept * CURVE_BYTES / guess)))
    return _spelt(table, few, lengths, most), None


def _weight(lists: Lists) -> int:
    return sum(map(len, lists.spelt))


def _notice(longest: int, most: int, runs: int, kept: int) -> Notice | None:
    said = [f"Curves show at most {most} of up to {longest} evaluations"] if most < longest else []
    said += [f"{kept:,} of {runs:,} runs have curves, those of the best of each ε before others"] if kept < runs else []
    if not said:
        return None
    return Notice("note", f"{', and '.join(said)}, so that this file stays small. results.parquet has them all.", [])


def _spelt(table: Table, runs: np.ndarray, lengths: set[int], most: int) -> Lists:
    """The curves of some runs."""
    lists: dict[str, int] = {}
    places: dict[str, list[int | None]] = {}
    steps = table["eval_steps"]
    evaluations = [len(each or []) for each in steps.cells]
    for name in dict.fromkeys([*_OVER_STEPS, *CURVES]):
        column = table[name]
        over = name in _OVER_STEPS and most < max(lengths, default=0)
        # A curve over evaluations has as many as its own run.
        number = [evaluations[code] for code in steps.codes[runs].tolist()] if over else [0] * len(runs)
        known: dict[tuple[int, int], int | None] = {}
        places[name] = [None] * table.size
        codes, cells = column.codes[runs].tolist(), column.some(runs)
        for run, code, cell, length in zip(runs.tolist(), codes, cells, number, strict=True):
            if (code, length) not in known:
                known[code, length] = _placed(_picked(cell, length, most), lists)
            places[name][run] = known[code, length]
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
