"""Columns that number the rows of a table or say when they were, in even steps: as those of many other tables do."""

from __future__ import annotations

import datetime
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from dpjax.notations import canonical

_FEWEST = 16
"""Values from which on a column can be a numbering."""

_LOOSE = 8
"""Numbers are in even steps if at most so many times as many steps lie between the first and the last."""

_UNEVEN = 1.2
"""Or if the widest step is at most so many times the narrowest: months, and numbers that were rounded."""

_SAMPLE = 1 << 14
_MOST_COUNTS = 4  # of a word that are looked at, from either end
_DIGITS = re.compile(r"\d{1,18}")


def numbers_rows(array: Any) -> bool:
    """Whether a column of numbers or moments numbers the rows, or says when they were, in even steps.

    Each has to be there as often as any other; some of the steps may be left out.

    Args:
      array: ``[rows]`` of them.

    Example:
      >>> counted = np.arange(50)
      >>> numbers_rows((counted + 0.5) / 50), numbers_rows(10 * counted), numbers_rows(counted**2)
      (True, True, False)
    """
    if array.ndim != 1 or array.dtype.kind not in "iufmM":
        return False
    if array.dtype.kind in "mM":
        array = array.astype(np.int64)
    elif array.dtype.kind == "f":
        array = array[np.isfinite(array)]
    if len(array) < _FEWEST or _is_scattered(array):
        return False
    distinct, times = np.unique(array, return_counts=True)
    return bool(times.min() == times.max()) and _even(distinct)


def words_number_rows(words: Sequence[str], times: Any) -> bool:
    """Whether words number the rows: by a number in them, whatever stands around it, or by a moment.

    Args:
      words: that are distinct, as ``in_one_notation`` has them.
      times: how often each is there.

    Example:
      >>> words_number_rows([f"P-{i:05d}-{'ab'[i % 2]}" for i in range(50)], np.ones(50))
      True
    """
    there = [(word, time) for word, time in zip(words, times, strict=True) if word]
    if len(there) < _FEWEST or len({time for _, time in there}) > 1:
        return False
    return any(_even(np.unique(counts)) for counts in _counts([word for word, _ in there]))


def _even(distinct: Any) -> bool:
    """Whether numbers, in order, are in even steps."""
    if len(distinct) < _FEWEST:
        return False
    if distinct.dtype.kind == "f" and np.abs(distinct).max() < 2**53 and (distinct == np.trunc(distinct)).all():
        distinct = distinct.astype(np.int64)
    if distinct.dtype.kind in "iu":
        steps = np.diff(distinct)
        step: Any = np.gcd.reduce(steps)
    else:
        exact = distinct.astype(np.float64)
        steps = np.diff(exact)
        step = steps.min()
        error = 4 * np.finfo(distinct.dtype).eps * np.abs(exact).max() / step
        multiples = steps / step
        if np.abs(multiples - np.round(multiples)).max() > min(0.01 + error, 0.2):
            step = 0
    steps = steps.astype(np.float64)
    if steps.max() <= _UNEVEN * steps.min():
        return True
    return step > 0 and bool(steps.sum() / step < _LOOSE * len(distinct))


def _is_scattered(numbers: Any) -> bool:
    """Whether some of the numbers lie too near one another for even steps, as a sample of them shows at once."""
    if len(numbers) <= 2 * _SAMPLE:
        return False
    some = np.sort(numbers[:: len(numbers) // _SAMPLE]).astype(np.float64)
    steps = np.diff(some)
    steps = steps[steps > 0]
    return bool(len(steps)) and float(steps.min()) < 0.5 * float(some[-1] - some[0]) / (_LOOSE * len(numbers))


def _counts(words: list[str]) -> list[Any]:
    """The numbers of distinct words, one array for each place in a word that has one; of moments, their seconds."""
    for read in (float, _seconds):
        try:
            found = np.array([read(word) for word in words])
        except ValueError:
            continue
        return [found] if len(np.unique(found)) == len(words) else []
    digits = [_DIGITS.findall(word) for word in words]
    least = min(map(len, digits))
    places = {*range(min(least, _MOST_COUNTS)), *range(-min(least, _MOST_COUNTS), 0)}
    counts = [np.array([int(each[place]) for each in digits]) for place in sorted(places)]
    return [each for each in counts if len(np.unique(each)) == len(words)]


def _seconds(word: str) -> float:
    return datetime.datetime.fromisoformat(word).replace(tzinfo=datetime.UTC).timestamp()


def numbered_before(values: Any) -> bool:
    """Whether fingerprints of kind 1 took a column for a numbering; those that are kept were made so.

    Args:
      values: of the column.
    """
    array = np.asarray(values)
    if array.ndim != 1 or len(array) < _FEWEST:
        return False
    if array.dtype.kind in "iu":
        numbers = array.astype(object)
    elif array.dtype.kind == "f":
        if not np.isfinite(array).all() or (array != np.trunc(array)).any():
            return False
        numbers = array.astype(object)
    else:
        numbers = _numbered(array.tolist())
    if numbers is None:
        return False
    distinct = {int(number) for number in numbers}
    return len(distinct) == len(numbers) and max(distinct) - min(distinct) < _LOOSE * len(distinct)


def _numbered(words: list[Any]) -> list[int] | None:
    """The numbers of words that are alike but for one, or the days of dates; None: they are neither."""
    found, around = [], set()
    for word in words:
        text = canonical(word)
        if date := _DAY.fullmatch(text):
            try:
                found.append(datetime.date.fromisoformat(date[0]).toordinal())
            except ValueError:
                return None
            around.add("a day")
        elif number := _NUMBERED.fullmatch(text):
            found.append(int(number[2]))
            around.add(number[1] + "…" + number[3])
        else:
            return None
        if len(around) > 1:
            return None
    return found


_DAY = re.compile(r"\d{4}-\d\d-\d\d")
_NUMBERED = re.compile(r"(\D*)(\d{1,18})(\D*)")
