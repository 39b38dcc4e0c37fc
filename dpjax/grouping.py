"""How a table's rows are shared out among units, known again whatever the units and the columns are called."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Int, UInt64

from dpjax.cell_hashes import Column, column_of, has_commas, mixed
from dpjax.fingerprints import telling


def grouping_of(columns: Mapping[str, Any], owner: str) -> str:
    """What is kept of whose the rows are, by one of their columns.

    Formal guarantees: the same whatever the owners are called and the order of rows and columns, and in a copy with
    other names of columns; columns that are the owners' names once more do not count, so that a patient's number and
    the patient's name are one. Of other columns those of many values do, if there are such, as of a ``Fingerprint``.
    None against somebody who edits a copy.

    Args:
      columns: name → ``[rows, ...]`` cells, of all rows.
      owner: column of which rows with one value are one owner's.

    Returns:
      A hash.

    Raises:
      ValueError: there is no such column.

    Example:
      >>> visits = {"patient": ["a", "a", "b"], "number": [1, 2, 1], "sugar": [5.1, 5.3, 7.2]}
      >>> turned = {"sugar": [7.2, 5.3, 5.1], "who": [3, 8, 8], "visit": [1, 2, 1]}
      >>> grouping_of(visits, "patient") == grouping_of(turned, "who") != grouping_of(visits, "number")
      True
    """
    if owner not in columns:
        raise ValueError(f"owners={owner!r} is no column of these rows, which have {', '.join(columns)}; name one.")
    read = _read(columns)
    owners = mixed(read.pop(owner).cells).sum(axis=1, dtype=np.uint64)
    place = np.unique(owners, return_inverse=True)[1].reshape(-1)
    rows = _rows(read, place)
    sums = np.zeros(int(place.max(initial=-1)) + 1, np.uint64)
    np.add.at(sums, place, mixed(rows))
    sizes = np.bincount(place).astype(np.uint64)
    return _hash(np.sort(mixed(sums + mixed(sizes))))


def ordering_of(columns: Mapping[str, Any]) -> str:
    """What is kept of rows in their order, by which a partition of row numbers is one of rows.

    Args:
      columns: as of ``grouping_of``.

    Returns:
      A hash.

    Example:
      >>> ordering_of({"sugar": [5.1, 7.2]}) == ordering_of({"sugar": [7.2, 5.1]})
      False
    """
    return _hash(_rows(_read(columns), None))


def _read(columns: Mapping[str, Any]) -> dict[str, Column]:
    comma = any(map(has_commas, columns.values()))
    return {name: column_of(values, comma) for name, values in columns.items()}


def _rows(columns: Mapping[str, Column], place: Int[np.ndarray, "rows"] | None) -> UInt64[np.ndarray, "rows"]:
    """A number of each row, of its telling cells if there are such."""
    found = []
    for column in columns.values():
        cells = column.cells
        if place is not None and cells.shape[1] == 1 and _names_the_same(cells[:, 0], place):
            continue
        found.append((cells, telling(cells) & (not column.numbers)))
    some = any(tells.any() for _, tells in found)
    length = len(place) if place is not None else max((len(cells) for cells, _ in found), default=0)
    total = np.zeros(length, np.uint64)
    for cells, tells in found:
        kept = cells[:, tells] if some else cells
        for column in kept.T:  # one at a time: all hashes of a wide table are larger than it
            total += mixed(column)
    return total


def _names_the_same(column: UInt64[np.ndarray, "rows"], place: Int[np.ndarray, "rows"]) -> bool:
    """Whether a column's values go with the owners one by one."""
    values, codes = np.unique(column, return_inverse=True)
    owners = int(place.max(initial=-1)) + 1
    if len(values) != owners:
        return False
    return len(np.unique(place.astype(np.int64) * len(values) + codes.reshape(-1))) == owners


def _hash(numbers: UInt64[np.ndarray, "any"]) -> str:
    return hashlib.sha256(numbers.astype("<u8").tobytes()).hexdigest()
