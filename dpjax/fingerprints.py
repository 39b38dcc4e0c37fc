"""Which rows a data set has, whatever it is called and however it is written: so that a copy is known again."""

from __future__ import annotations

import base64
import hashlib
import json
import unicodedata
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import UInt64

_MOST_ROWS = 4096
"""Of the rows whose hash is smallest: the same in every copy, so that parts of it are found."""

_MOST_COLUMNS = 256
_TELLING = 16
"""Distinct values from which on a column is taken to be this table's alone; below, many tables have one like it."""

_BITS = 10.0
"""By how many bits more than rows are counted by a table's cells have to vary, for a row to be this table's alone."""

_LEAST_SHARE = 0.05
"""Of rows in common below which two data sets count as different: a few rows are in many."""

_CHUNK = 1 << 22  # cells that are hashed at once


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
    """

    num_rows: int
    digest: str
    rows: tuple[int, ...]
    columns: tuple[int, ...]
    whole: tuple[int, ...] = ()

    def same(self, other: Fingerprint) -> bool:
        """Whether these are the same rows: all of them, or at least all their columns that tell them from others."""
        if self.num_rows != other.num_rows:
            return False
        return self.digest == other.digest or (bool(self.columns) and self.columns == other.columns)

    def shares(self, other: Fingerprint) -> float:
        """About which share of these rows, or of their telling columns, the other has too; 0 where it is next to none.

        Args:
          other: of rows that are known.
        """
        if self.same(other):
            return 1.0
        share = max(_contained(self.rows, other.rows), _contained(other.rows, self.rows))
        share = max(share, _contained(self.whole, other.whole), _contained(other.whole, self.whole))
        if self.num_rows == other.num_rows and self.columns and other.columns:
            common = len(set(self.columns) & set(other.columns))
            by_column = common / min(len(self.columns), len(other.columns))
            share = max(share, by_column if by_column >= 0.5 else 0.0)
        return share if share >= _LEAST_SHARE else 0.0

    def as_json(self) -> str:
        """As a ledger keeps it."""
        return json.dumps([self.num_rows, self.digest, *map(_packed, (self.rows, self.columns, self.whole))])

    @classmethod
    def from_json(cls, text: str) -> Fingerprint:
        """Of ``as_json``.

        Raises:
          ValueError: it is none.
        """
        try:
            number, digest, *packed = json.loads(text)  # of before there were whole rows, two
            return cls(int(number), str(digest), *map(_unpacked, packed))
        except (TypeError, ValueError) as error:
            raise ValueError("the fingerprint of a data set can't be read.") from error


def _packed(hashes: tuple[int, ...]) -> str:
    return base64.b64encode(np.array(hashes, "<u8").tobytes()).decode()


def _unpacked(text: str) -> tuple[int, ...]:
    return tuple(np.frombuffer(base64.b64decode(text), "<u8").tolist())


def _contained(mine: tuple[int, ...], others: tuple[int, ...]) -> float:
    """The share of my rows that are among the others', judged by those below what both have kept."""
    ends = [rows[-1] for rows in (mine, others) if len(rows) == _MOST_ROWS]
    end = min(ends, default=1 << 64)
    seen = {row for row in mine if row <= end}
    common = len(seen & set(others))
    return common / len(seen) if common >= 3 else 0.0


def fingerprint_of(columns: Mapping[str, Any]) -> Fingerprint:
    """The fingerprint of a table.

    Formal guarantees: the same for the same values, whatever the order of rows and columns, the names of columns and
    the type that a value is written in: 3, 3.0, "3" and " 3 " are one; so are decimals that are the same in float32,
    and words but for case, spaces and Unicode form.

    Args:
      columns: name → ``[rows, ...]`` numbers, words or missing values; an array of several dimensions is as many
        columns as a row has cells.

    Raises:
      ValueError: columns of different lengths, or none.

    Example:
      >>> rows = fingerprint_of({"age": [40, 51, 62], "ill": ["no", "yes", "no"]})
      >>> rows.same(fingerprint_of({"sick": ["No", "no", "yes "], "years": ["40", "62.0", "51"]}))
      True
      >>> rows.same(fingerprint_of({"age": [40, 51, 62], "ill": ["no", "no", "no"]}))
      False
    """
    total: Any = None
    telling: Any = None  # of a row's telling cells alone: what is left out of a copy is mostly a label
    of_columns: set[int] = set()
    bits = 0.0
    for values in columns.values():
        cells = _cells(values)
        if total is None:
            total, telling = np.zeros(len(cells), np.uint64), np.zeros(len(cells), np.uint64)
        if len(cells) != len(total):
            raise ValueError(f"columns have {len(total)} and {len(cells)} values; give them all of one table.")
        width = int(np.prod(cells.shape[1:], dtype=np.int64))
        cells = cells.reshape(len(cells), width)
        rows_at_once = max(1, _CHUNK // max(width, 1))
        sums, tells = np.zeros(width, np.uint64), _telling(cells)
        bits += sum(float(np.log2(len(np.unique(cells[:_MOST_ROWS, i])))) for i in range(width) if len(cells))
        for start in range(0, len(cells), rows_at_once):
            hashed = _mixed(cells[start : start + rows_at_once])
            total[start : start + rows_at_once] += hashed.sum(axis=1, dtype=np.uint64)
            telling[start : start + rows_at_once] += hashed[:, tells].sum(axis=1, dtype=np.uint64)
            sums += hashed.sum(axis=0, dtype=np.uint64)
        of_columns.update(_mixed(sums[tells]).tolist())
    if total is None:
        raise ValueError("columns={} has none; give those of a table.")
    rows = _mixed(total)
    distinct = np.unique(_mixed(telling) if of_columns else rows)
    whole = np.unique(rows)
    content = np.sort(rows).astype("<u8").tobytes()
    return Fingerprint(
        len(rows),
        hashlib.sha256(content).hexdigest(),
        # Rows that repeat are of few values, as those of many tables are.
        tuple(distinct[:_MOST_ROWS].tolist()) if 2 * len(distinct) > len(rows) else (),
        tuple(sorted(of_columns)[:_MOST_COLUMNS]),
        tuple(whole[:_MOST_ROWS].tolist()) if bits > np.log2(len(rows) + 1) + _BITS else (),
    )


def _telling(cells: Any) -> Any:
    """Which columns have many values, and are no numbering of the rows."""
    found = np.zeros(cells.shape[1], bool)
    for i in range(cells.shape[1]):
        distinct = len(np.unique(cells[: 4 * _TELLING, i]))
        found[i] = distinct >= _TELLING or len(np.unique(cells[:, i])) >= _TELLING
    if cells.shape[1] == 1 and found[0]:
        found[0] = not _numbers_rows(cells[:, 0])
    return found


def _numbers_rows(column: Any) -> bool:
    for first in (0, 1):
        numbering = _whole(np.arange(first, first + len(column)))
        if np.array_equal(np.sort(column), np.sort(numbering)):
            return True
    return False


def _cells(values: Any) -> UInt64[np.ndarray, "rows *cells"]:
    """One number a cell, equal where the values are."""
    array = np.asarray(values)
    if array.dtype.kind in "biuf" or array.dtype.name == "bfloat16":
        return _of_numbers(array)
    found: dict[Any, int] = {}
    flat = array.reshape(-1).tolist()
    hashed = np.fromiter((found[v] if v in found else found.setdefault(v, _of_word(v)) for v in map(_hashable, flat)),
                         np.uint64, len(flat))  # fmt: skip
    return hashed.reshape(array.shape)


def _hashable(value: Any) -> Any:
    return value if not isinstance(value, list | np.ndarray) else str(list(value))


def _of_numbers(array: Any) -> UInt64[np.ndarray, "..."]:
    if array.dtype.kind in "biu":
        return _whole(array)
    exact = array.astype(np.float64)
    with np.errstate(invalid="ignore", over="ignore"):
        short = exact.astype(np.float32)
        whole = np.isfinite(exact) & (np.abs(exact) < 2.0**53) & (exact == np.trunc(exact))
        hashed = (short + np.float32(0)).view(np.uint32).astype(np.uint64) | np.uint64(1 << 40)
        hashed = np.where(whole, _whole(np.where(whole, exact, 0).astype(np.int64)), hashed)
    return np.where(np.isnan(exact), np.uint64(_MISSING), hashed)


def _whole(array: Any) -> UInt64[np.ndarray, "..."]:
    return array.astype(np.int64).view(np.uint64) if array.dtype != np.uint64 else array


_MISSING = 1 << 41


def _of_word(value: Any) -> int:
    if value is None or value != value:
        return _MISSING
    words = " ".join(unicodedata.normalize("NFKC", str(value)).casefold().split())
    if not words:
        return _MISSING
    try:
        if "_" not in words:
            return int(_of_numbers(np.asarray(float(words)))) if "." in words or "e" in words else _of_digits(words)
    except ValueError:
        pass
    return int.from_bytes(hashlib.blake2b(words.encode(), digest_size=8).digest(), "little") | 1 << 63


def _of_digits(words: str) -> int:
    number = int(words)
    return number % (1 << 64) if abs(number) < 1 << 63 else int(_of_numbers(np.asarray(float(words))))


def _mixed(x: Any) -> UInt64[np.ndarray, "..."]:
    """A number that looks drawn, of each; splitmix64's last step."""
    with np.errstate(over="ignore"):
        x = x + np.uint64(0x9E3779B97F4A7C15)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return x ^ (x >> np.uint64(31))
