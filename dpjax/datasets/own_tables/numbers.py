"""A label that is a number: the range that it is scaled by, said in the config or learnt from the training rows."""

import math
from collections.abc import Collection, Sequence
from typing import get_args

import numpy as np
from jaxtyping import Bool

from dpjax.checks import nearest
from dpjax.datasets.own_tables.kinds import Column, days_of
from dpjax.datasets.own_tables.source import Predicted, TableSource
from dpjax.datasets.targets import Target
from dpjax.fetching.sources import DatasetError


def refuse_no_range(source: TableSource, where: str) -> None:
    """Refuse what is said of a label and does not go together, before rows are looked at.

    Args:
      source: what is said.
      where: names the rows in messages.

    Raises:
      DatasetError: no such target, classes of a number, a range of classes, or two ends that are none.
    """
    if source.target not in get_args(Predicted):
        near = nearest(source.target, get_args(Predicted))
        fix = f"did you mean {near}?" if near else f"use {' or '.join(get_args(Predicted))}"
        raise DatasetError(f"{where} data.target={source.target!r} is not known; {fix}")
    ends = source.target_range
    if source.target == "class" and ends:
        raise DatasetError(
            f"{where} data.target_range={_shown(ends)} is of data.target=number; say that, or leave it out"
        )
    if source.target == "number" and source.classes:
        raise DatasetError(
            f"{where} data.classes={list(source.classes)} is of data.target=class; of a number say data.target_range"
        )
    if ends and not (len(ends) == 2 and all(map(math.isfinite, ends)) and ends[0] < ends[1] and _fits(*ends)):
        raise DatasetError(
            f"{where} data.target_range={_shown(ends)} must be two finite numbers, the smaller first, as [0, 500]"
        )


def plan_target(
    label: Column, tests: Bool[np.ndarray, "rows"], ends: Sequence[float], where: str
) -> tuple[Target, str, list[str]]:
    """The range that a label is scaled by.

    Formal guarantees: with ``ends`` it depends on no row. Without, on the labels of the training rows, and what is
    learnt says so.

    Args:
      label: of the rows, numbers.
      tests: ``[rows]`` which of them test.
      ends: least and largest label; empty: those of the training rows.
      where: names the rows in messages.

    Returns:
      The range; what of it was read off the rows, in words; what is odd, counted, in words.

    Raises:
      DatasetError: training labels that are all one, or all on one side of the range.

    Example:
      >>> price = Column("price", "number", np.array([0, 1, 2]), ("10", "30", "90"), np.array([10.0, 30.0, 90.0]))
      >>> plan_target(price, np.array([False, False, True]), (), "it:")
      (Target(low=10.0, high=30.0, name='price'), 'range of price', [])
      >>> plan_target(price, np.array([False, False, True]), (0, 20), "it:")[1:]
      ('', ['1 of 2 training rows lie beyond the range [0, 20] of price, cut off at its ends: NOT private'])
    """
    numbers = label.floats()[~tests]
    low, high = float(numbers.min()), float(numbers.max())
    if low == high:
        raise DatasetError(
            f"{where} all rows that train have the label {low:g} ({label.name}); choose another data.split or label"
        )
    if not ends:
        if not _fits(low, high):
            raise DatasetError(
                f"{where} labels from {low:g} to {high:g} ({label.name}) are too close to scale; say data.target_range"
            )
        return Target(low, high, label.name), f"range of {label.name}", []
    first, last = map(float, ends)
    if high <= first or low >= last:
        side = "above" if low >= last else "below"
        raise DatasetError(
            f"{where} data.target_range={_shown(ends)}: all labels of the rows that train are {side} it; "
            f"give least and largest {label.name}"
        )
    beyond = int(((numbers < first) | (numbers > last)).sum())
    odd = (
        f"{beyond:,} of {len(numbers):,} training rows lie beyond the range {_shown(ends)} of {label.name}, cut off "
        "at its ends: NOT private"
    )
    return Target(first, last, label.name), "", [odd] if beyond else []


def hint_at_numbers(values: Collection[str]) -> str:
    """What to say beside a refusal of too many classes: that they may be numbers; empty if they are not.

    Args:
      values: the labels, as they are written.

    Example:
      >>> hint_at_numbers(["199.5", "250"]), hint_at_numbers(["a", "250"])
      (', or say data.target=number if it is a quantity', '')
    """
    try:
        finite = all(math.isfinite(float(value)) for value in values)
    except ValueError:
        finite = False
    return ", or say data.target=number if it is a quantity" if finite else ""


def quantities(values: Collection[str]) -> str:
    """What to do about labels that are many numbers, or dates; empty of others.

    Numbers of classes are whole, begin at 0 or 1 and leave few out; others are quantities, or codes that need naming.

    Args:
      values: the labels, as they are written.

    Example:
      >>> quantities([str(price) for price in range(100, 500, 7)])[:40]
      'numbers; say data.target=number to predi'
      >>> quantities([str(number) for number in range(62)]), quantities(["1", "2.5", "4"])
      ('', '')
    """
    numbers = sorted(number for value in values if (number := _finite(value)) is not None)
    whole = all(number.is_integer() for number in numbers)
    if len(values) > _MOST_NUMBERED and all(days_of(value) is not None for value in values):
        return "dates, and no classes; name another column"
    if len(numbers) < 0.9 * len(values) or len(values) <= (_MOST_NUMBERED if whole else _MOST_BROKEN):
        return ""
    if len(numbers) == len(values) and whole and numbers[0] in (0, 1) and numbers[-1] < 1.5 * len(numbers):
        return ""
    odd = next((value for value in values if _finite(value) is None), None)
    but = "" if odd is None else f" and {odd!r}"
    return f"numbers{but}; say data.target=number to predict a quantity, or name them all in data.classes"


_MOST_NUMBERED, _MOST_BROKEN = 20, 10
"""Classes that may be any whole numbers, and any numbers."""


def _finite(value: str) -> float | None:
    try:
        number = float(value)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


_MOST_NUMBERED = 20  # classes that may be any numbers


def _fits(low: float, high: float) -> bool:
    """Whether the range can be divided by, and does not drown in its ends' own rounding."""
    return high - low > 1e-12 * max(abs(low), abs(high)) and math.isfinite(high - low)


def _shown(ends: Sequence[float]) -> str:
    return f"[{', '.join(f'{end:g}' for end in ends)}]"
