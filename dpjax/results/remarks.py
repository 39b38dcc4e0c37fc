"""What tables, figures and reports say of their numbers besides the mechanism: each fact in one wording."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

from dpjax.results.claims import Row, number, text
from dpjax.results.mishaps import COUNTED
from dpjax.results.schema import SCHEMA
from dpjax.results.wording import label

MARK = "†"
"""Stands behind the heading of a column that is computed from training rows without noise."""

_COSTS = ("s", "bytes", "MiB", "tokens / s", "L2 norm")


def is_unnoised(name: str) -> bool:
    """Whether a column is computed from training rows without noise: what was counted or timed is not.

    Args:
      name: of a column.

    Example:
      >>> is_unnoised("train_accuracy"), is_unnoised("test_accuracy"), is_unnoised("wall_seconds")
      (True, False, False)
    """
    column = SCHEMA.get(name)
    if column is None or name in COUNTED or column.unit in _COSTS:
        return False
    return "NOT private" in column.meaning


def marked(name: str) -> str:
    """A column's heading, with the mark if it is not private.

    Args:
      name: of the column.

    Example:
      >>> marked("train_accuracy"), marked("test_accuracy")
      ('train accuracy†', 'test accuracy')
    """
    return label(name) + MARK * is_unnoised(name)


def mark_sentence(names: Iterable[str]) -> str:
    """What the mark says; empty if no column has it.

    Args:
      names: of the columns that are shown.

    Example:
      >>> mark_sentence(["test_accuracy", "train_accuracy"])
      '†: NOT private: of training rows without noise, in no ε.'
    """
    if not any(map(is_unnoised, names)):
        return ""
    return f"{MARK}: NOT private: of training rows without noise, in no ε."


def basis_sentences(points: Sequence[Row], names: Iterable[str]) -> list[str]:
    """Whom the ε of private points protects, what it leaves out, and what the words of a title mean.

    Args:
      points: rows of results or points.
      names: columns that are shown.

    Example:
      >>> point = {"unit": "user", "num_units": 1267, "partition": "natural", "epsilon": 3.0}
      >>> for line in basis_sentences([point], ["test_accuracy"]):
      ...     print(line)
      ε protects each of 1,267 users.
      Natural: each user's own rows, as in the data.
      Test rows are taken as public: no ε covers them.
      >>> print(*basis_sentences([point | {"ledger": "5e1f", "partition": ""}], ["test_accuracy"]), sep="\\n")
      ε protects each of 1,267 users.
      Test rows are rows of data with a budget, and no ε covers their scores: keep these where the data are.
    """
    names = list(names)
    private = [point for point in points if number(point, "epsilon") not in (None, math.inf)]
    lines = [units_sentence(private), *_natural(points)]
    if any(name.startswith("test_") for name in names):
        budgeted = [bool(text(point, "ledger")) for point in points]
        lines += [TEST_ROWS] if private and not all(budgeted) else []
        lines += [TEST_ROWS_OF_BUDGET] if any(budgeted) else []
    lines += list(dict.fromkeys(map(checkpoint_sentence, points)))
    return [line for line in [*lines, mark_sentence(names)] if line]


TEST_ROWS = "Test rows are taken as public: no ε covers them."
TEST_ROWS_OF_BUDGET = (
    "Test rows are rows of data with a budget, and no ε covers their scores: keep these where the data are."
)
"""Of what a ledger paid for: its budget is of all rows, those that test included."""


def units_sentence(private: Sequence[Row]) -> str:
    """How many units ε protects, where a unit is more than an example; empty if nobody says.

    Args:
      private: rows or points with a finite ε.

    Example:
      >>> units_sentence([{"unit": "client", "population": 8}, {"unit": "client", "population": 20}])
      'ε protects each of 8 to 20 clients.'
      >>> units_sentence([{"unit": "user", "records_per_unit": 4, "population": 3582}])  # of records
      ''
    """
    units = {text(point, "unit") for point in private}
    counts = sorted({count for point in private if (count := num_units(point)) is not None})
    if len(units) != 1 or units <= {"", "example"} or not counts:
        return ""
    told = f"{counts[0]:,.0f}" if len(counts) == 1 else f"{counts[0]:,.0f} to {counts[-1]:,.0f}"
    return f"ε protects each of {told} {units.pop()}s."


def num_units(row: Row) -> float | None:
    """How many units a row's ε protects; None where it counts their records alone.

    Args:
      row: a results row or a point.

    Example:
      >>> num_units({"population": 50.0}), num_units({"population": 328, "records_per_unit": 8})
      (50.0, None)
    """
    told = number(row, "num_units")
    of_records = (number(row, "records_per_unit") or 1) > 1
    return told if told is not None or of_records else number(row, "population")


def _natural(points: Sequence[Any]) -> list[str]:
    natural = [point for point in points if text(point, "partition") == "natural"]
    owners = ["client" if number(each, "clients_per_round") is not None else text(each, "unit") for each in natural]
    return [f"Natural: each {owner}'s own rows, as in the data." for owner in dict.fromkeys(owners)]


def checkpoint_sentence(point: Row) -> str:
    """What is to be said of where pretrained weights, or the token ids that they read, came from; empty if nothing is.

    Args:
      point: a results row or a point.

    Example:
      >>> checkpoint_sentence({"checkpoint": "file.whl; who made the ids is not known"})
      'Of the checkpoint: who made the ids is not known.'
      >>> checkpoint_sentence({"checkpoint": "file.whl"})
      ''
    """
    _, _, said = text(point, "checkpoint").partition("; ")
    return f"Of the checkpoint: {said.rstrip('.')}." if said else ""
