"""Which rows a data set has, whatever it is called and however it is written: so that a copy is known again."""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from dpjax.cell_hashes import Column, column_of, has_commas, mixed

_MOST_ROWS = 4096
"""Of the rows whose hash is smallest: the same in every copy, so that parts of it are found."""

_MOST_COLUMNS = 256
_TELLING = 16
"""Distinct values from which on a column is taken to be this table's alone; below, many tables have one like it."""

_BITS = 10.0
"""By how many bits more than rows are counted by a table's cells have to vary, for a row to be this table's alone."""

_RARE = 0.5
"""Of a column's values that are distinct from which on they are kept themselves; below, other tables have them too."""

_MOST_VALUES = 32
"""Of a rare column's values whose hash is smallest."""

_LEAST_RARE = 3
"""Rare columns that two tables must have in common, at least, to be of the same rows by these alone."""

_LEAST_SHARE = 0.05
"""Of rows in common below which two data sets count as different: a few rows are in many."""

_CHUNK = 1 << 22  # cells that are hashed at once


KIND = 2
"""Of the fingerprints that are taken today; 1 is of before there was one notation, and is known by what it had."""


class Fingerprint(NamedTuple):
    """What is kept of rows to know them again.

    Formal guarantees: none against somebody who edits a copy so that it is not found; rows can't be read off it, but
    who has a row can tell whether it is among those that were kept, so it is as private as the data.

    Attributes:
      num_rows: how many there are, to train and to test.
      digest: of all rows, in any order and with columns in any order and of any names.
      rows: the least hashes of distinct rows, in order, each of its telling cells; of all, where none tells.
      columns: the least hashes of telling columns, each of all its values in any order.
      whole: the least hashes of distinct rows, each of all its cells, where these vary enough to tell.
      values: of each column that has rare values, the least hashes of these; they are found again in a part of the rows
        that has other columns beside.
      alone: those of ``columns`` that tell rows by themselves: of texts, and the one of a table that has no other.
      kind: how it was taken: ``KIND``, or of before.
      before: the one of kind 1, where it is another; not kept, as it is to compare with what was.
    """

    num_rows: int
    digest: str
    rows: tuple[int, ...]
    columns: tuple[int, ...]
    whole: tuple[int, ...] = ()
    values: tuple[tuple[int, ...], ...] = ()
    alone: tuple[int, ...] = ()
    kind: int = 1
    before: Fingerprint | None = None

    def same(self, other: Fingerprint) -> bool:
        """Whether these are the same rows: all of them, or at least all their columns that tell them from others."""
        return any(_same(a, b) for a, b in _of_one_kind(self, other))

    def shares(self, other: Fingerprint) -> float:
        """About which share of these rows, or of their telling columns, the other has too; 0 where it is next to none.

        Args:
          other: of rows that are known.
        """
        share = max(_share(a, b) for a, b in _of_one_kind(self, other))
        return share if share >= _LEAST_SHARE else 0.0

    @property
    def id(self) -> str:
        """By which a ledger's trail knows it, and tells nothing of it."""
        return hashlib.sha256(self.as_json().encode()).hexdigest()

    def as_json(self) -> str:
        """As a ledger keeps it."""
        packed = [*map(_packed, (self.rows, self.columns, self.whole)), [*map(_packed, self.values)]]
        of_kind = [_packed(self.alone), self.kind] if self.kind > 1 else []
        return json.dumps([self.num_rows, self.digest, *packed, *of_kind])

    @classmethod
    def from_json(cls, text: str) -> Fingerprint:
        """Of ``as_json``.

        Raises:
          ValueError: it is none.
        """
        try:
            number, digest, *packed = json.loads(text)  # of before there were whole rows, two; and values, three
            alone, kind = (_unpacked(packed[4]), int(packed[5])) if len(packed) > 4 else ((), 1)
            values = tuple(map(_unpacked, packed[3])) if len(packed) > 3 else ()
            return cls(int(number), str(digest), *map(_unpacked, packed[:3]), values=values, alone=alone, kind=kind)
        except (TypeError, ValueError, IndexError) as error:
            raise ValueError("the fingerprint of a data set can't be read.") from error


def _of_one_kind(mine: Fingerprint, other: Fingerprint) -> list[tuple[Fingerprint, Fingerprint]]:
    """Both as they are, and both of the older one's kind."""
    pairs = [(mine, other)]
    if mine.before and mine.kind > other.kind:
        pairs.append((mine.before, other))
    if other.before and other.kind > mine.kind:
        pairs.append((mine, other.before))
    return pairs


def _same(mine: Fingerprint, other: Fingerprint) -> bool:
    if mine.num_rows != other.num_rows:
        return False
    return mine.digest == other.digest or (mine.columns == other.columns and _tell(mine, other) > 0)


def _tell(mine: Fingerprint, other: Fingerprint) -> int:
    """How many telling columns are of both, if these are enough to tell rows."""
    common = set(mine.columns) & set(other.columns)
    return len(common) if len(common) > 1 or common & {*mine.alone, *other.alone} else 0


def _share(mine: Fingerprint, other: Fingerprint) -> float:
    if _same(mine, other):
        return 1.0
    share = max(_contained(mine.rows, other.rows), _contained(other.rows, mine.rows))
    share = max(share, _contained(mine.whole, other.whole), _contained(other.whole, mine.whole))
    if mine.num_rows == other.num_rows and (common := _tell(mine, other)):
        by_column = common / min(len(mine.columns), len(other.columns))
        share = max(share, by_column if by_column >= 0.5 else 0.0)
    return max(share, _by_values(mine.values, other.values))


def _packed(hashes: tuple[int, ...]) -> str:
    return base64.b64encode(np.array(hashes, "<u8").tobytes()).decode()


def _unpacked(text: str) -> tuple[int, ...]:
    return tuple(np.frombuffer(base64.b64decode(text), "<u8").tolist())


def _by_values(mine: tuple[tuple[int, ...], ...], others: tuple[tuple[int, ...], ...]) -> float:
    """The share of rare columns of which at least half of one's values are the other's; 0 if few are."""

    def is_one(a: tuple[int, ...], b: tuple[int, ...]) -> bool:
        return max(_contained(a, b, _MOST_VALUES), _contained(b, a, _MOST_VALUES)) >= 0.5

    common = sum(any(is_one(a, b) for b in others) for a in mine)
    share = common / min(len(mine), len(others)) if mine and others else 0.0
    return min(share, 1.0) if share >= 0.5 and common >= _LEAST_RARE else 0.0


def _contained(mine: tuple[int, ...], others: tuple[int, ...], most: int = _MOST_ROWS) -> float:
    """The share of my rows that are among the others', judged by those below what both have kept."""
    ends = [rows[-1] for rows in (mine, others) if len(rows) == most]
    end = min(ends, default=1 << 64)
    seen = {row for row in mine if row <= end}
    common = len(seen & set(others))
    return common / len(seen) if common >= 3 else 0.0


def fingerprint_of(columns: Mapping[str, Any]) -> Fingerprint:
    """The fingerprint of a table.

    Formal guarantees: the same for the same values, whatever the order of rows and columns, the names of columns and
    the type that a value is written in: 3, 3.0, "3" and " 3 " are one; so are decimals that are the same in float32,
    words but for case, spaces and Unicode form, and what ``dpjax.notations`` has in one notation.

    Args:
      columns: name → ``[rows, ...]`` numbers, words or missing values, or ``Renewed`` ones; an array of several
        dimensions is as many columns as a row has cells.

    Raises:
      ValueError: columns of different lengths, or none.

    Example:
      >>> rows = fingerprint_of({"age": [40, 51, 62], "ill": ["no", "yes", "no"]})
      >>> rows.same(fingerprint_of({"sick": ["No", "no", "yes "], "years": ["40", "62,0", "51"]}))
      True
      >>> rows.same(fingerprint_of({"age": [40, 51, 62], "ill": ["no", "no", "no"]}))
      False
    """
    comma = any(map(has_commas, columns.values()))
    read = [column_of(values, comma) for values in columns.values()]
    if not read:
        raise ValueError("columns={} has none; give those of a table.")
    lengths = [len(column.cells) for column in read]
    for length in lengths:
        if length != lengths[0]:
            raise ValueError(f"columns have {lengths[0]} and {length} values; give them all of one table.")
    now, repeats = _taken(read)
    if not repeats and not any(column.was_other for column in read):
        return now
    return now._replace(before=_taken([column.as_before() for column in read], kind=1)[0])


def _taken(read: Sequence[Column], kind: int = KIND) -> tuple[Fingerprint, bool]:
    """The fingerprint of columns, and whether rows that repeat were looked at once."""
    length = len(read[0].cells)
    # Of a row's telling cells alone, as what is left out of a copy is mostly a label; and of those that number no rows.
    total, told, key = (np.zeros(length, np.uint64) for _ in range(3))
    of_columns: set[int] = set()
    alone: set[int] = set()
    bits = tell_bits = 0.0
    rare: list[tuple[int, ...]] = []
    others = sum(column.cells.shape[1] for column in read if not column.numbers)
    for column in read:
        cells = column.cells
        width = cells.shape[1]
        rows_at_once = max(1, _CHUNK // max(width, 1))
        sums, tells = np.zeros(width, np.uint64), telling(cells) & (not column.numbers)
        rare += [_rare_values(cells[:, i]) for i in np.flatnonzero(tells)[: _MOST_COLUMNS - len(rare)]]
        if kind == 1 or not column.numbers:
            varies = np.array([_bits(cells[:_MOST_ROWS, i], kind) for i in range(width) if length])
            bits, tell_bits = bits + varies.sum(), tell_bits + varies[tells[: len(varies)]].sum()
        for start in range(0, length, rows_at_once):
            hashed = mixed(cells[start : start + rows_at_once])
            summed = hashed.sum(axis=1, dtype=np.uint64)
            total[start : start + rows_at_once] += summed
            if not column.numbers:
                key[start : start + rows_at_once] += summed
            told[start : start + rows_at_once] += hashed[:, tells].sum(axis=1, dtype=np.uint64)
            sums += hashed.sum(axis=0, dtype=np.uint64)
        found = mixed(sums[tells]).tolist()
        of_columns.update(found)
        alone.update(found if column.is_text or others == 1 else ())
    rows = mixed(total)
    content = hashlib.sha256(np.sort(rows).astype("<u8").tobytes()).hexdigest()
    numbered = kind > 1 and others > 0 and any(column.numbers for column in read)
    whole, first = np.unique(mixed(key) if numbered else rows, return_index=True)
    varied = bits > np.log2(len(whole) + 1 if kind > 1 else length + 1) + _BITS
    counted = [column for column in read if not column.numbers]
    if kind > 1 and 0 < len(whole) < length and (varied or _tell_repeats(counted, len(whole))):
        once = _taken([column.at(first) for column in counted])[0]
        return once._replace(num_rows=length, digest=content), True
    distinct = np.unique(mixed(told)) if of_columns else whole
    # Rows that repeat are of few values, as those of many tables are; and a column that is alone may be others' too.
    tells_rows = 2 * len(distinct) > length
    if kind > 1 and (numbered or of_columns):
        tells_rows &= bool(alone) or len([*filter(None, rare)]) > 1 or tell_bits > np.log2(len(distinct) + 1) + _BITS
    return Fingerprint(
        length,
        content,
        tuple(distinct[:_MOST_ROWS].tolist()) if tells_rows else (),
        tuple(sorted(of_columns)[:_MOST_COLUMNS]),
        tuple(whole[:_MOST_ROWS].tolist()) if varied else (),
        tuple(sorted(filter(None, rare))),
        tuple(sorted(alone & set(sorted(of_columns)[:_MOST_COLUMNS]))),
        kind,
    ), False


def _tell_repeats(columns: Sequence[Column], rows: int) -> bool:
    """Whether columns, in which so many rows are distinct, show that rows repeat and not that values are few."""
    if any(column.is_text for column in columns):
        return True
    widths = ((column.cells, i) for column in columns for i in range(column.cells.shape[1]))
    rare = (1 for cells, i in widths if len(np.unique(cells[:, i])) >= max(_RARE * rows, _TELLING))
    return len([*itertools.islice(rare, _LEAST_RARE)]) == _LEAST_RARE


def _bits(column: Any, kind: int) -> float:
    """By how many bits a column varies."""
    distinct, times = np.unique(column, return_counts=True)
    if kind == 1:
        return float(np.log2(len(distinct)))
    return float(np.log2(len(column)) - (times * np.log2(times)).sum() / len(column))


def telling(cells: Any) -> Any:
    """Which columns have many values.

    Args:
      cells: ``[rows, columns]``.
    """
    found = np.zeros(cells.shape[1], bool)
    for i in range(cells.shape[1]):
        distinct = len(np.unique(cells[: 4 * _TELLING, i]))
        found[i] = distinct >= _TELLING or len(np.unique(cells[:, i])) >= _TELLING
    return found


def _rare_values(column: Any) -> tuple[int, ...]:
    """The least hashes of a column's values, if most of them are there once."""
    distinct = np.unique(mixed(column))
    return tuple(distinct[:_MOST_VALUES].tolist()) if len(distinct) >= _RARE * len(column) else ()
