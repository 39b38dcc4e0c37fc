"""Which rows a data set has, whatever it is called and however it is written: so that a copy is known again."""

from __future__ import annotations

import base64
import datetime
import hashlib
import json
import re
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

_RARE = 0.5
"""Of a column's values that are distinct from which on they are kept themselves; below, other tables have them too."""

_MOST_VALUES = 32
"""Of a rare column's values whose hash is smallest."""

_LEAST_RARE = 3
"""Rare columns that two tables must have in common, at least, to be of the same rows by these alone."""

_LOOSE = 8
"""Numbers that are all different, and so many times as wide apart as there are of them at most, number the rows."""

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
      values: of each column that has rare values, the least hashes of these; they are found again in a part of the rows
        that has other columns beside.
    """

    num_rows: int
    digest: str
    rows: tuple[int, ...]
    columns: tuple[int, ...]
    whole: tuple[int, ...] = ()
    values: tuple[tuple[int, ...], ...] = ()

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
        share = max(share, _by_values(self.values, other.values))
        return share if share >= _LEAST_SHARE else 0.0

    @property
    def id(self) -> str:
        """By which a ledger's trail knows it, and tells nothing of it."""
        return hashlib.sha256(self.as_json().encode()).hexdigest()

    def as_json(self) -> str:
        """As a ledger keeps it."""
        packed = [*map(_packed, (self.rows, self.columns, self.whole)), [*map(_packed, self.values)]]
        return json.dumps([self.num_rows, self.digest, *packed])

    @classmethod
    def from_json(cls, text: str) -> Fingerprint:
        """Of ``as_json``.

        Raises:
          ValueError: it is none.
        """
        try:
            number, digest, *packed = json.loads(text)  # of before there were whole rows, two; and values, three
            values = tuple(map(_unpacked, packed.pop())) if len(packed) > 3 else ()
            return cls(int(number), str(digest), *map(_unpacked, packed), values=values)
        except (TypeError, ValueError) as error:
            raise ValueError("the fingerprint of a data set can't be read.") from error


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
    rare: list[tuple[int, ...]] = []
    for values in columns.values():
        cells = _cells(values)
        if total is None:
            total, telling = np.zeros(len(cells), np.uint64), np.zeros(len(cells), np.uint64)
        if len(cells) != len(total):
            raise ValueError(f"columns have {len(total)} and {len(cells)} values; give them all of one table.")
        width = int(np.prod(cells.shape[1:], dtype=np.int64))
        cells = cells.reshape(len(cells), width)
        rows_at_once = max(1, _CHUNK // max(width, 1))
        sums, tells = np.zeros(width, np.uint64), _telling(cells) & (not _numbers_rows(values))
        rare += [_rare_values(cells[:, i]) for i in np.flatnonzero(tells)[: _MOST_COLUMNS - len(rare)]]
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
        tuple(sorted(filter(None, rare))),
    )


def _telling(cells: Any) -> Any:
    """Which columns have many values."""
    found = np.zeros(cells.shape[1], bool)
    for i in range(cells.shape[1]):
        distinct = len(np.unique(cells[: 4 * _TELLING, i]))
        found[i] = distinct >= _TELLING or len(np.unique(cells[:, i])) >= _TELLING
    return found


def _rare_values(column: Any) -> tuple[int, ...]:
    """The least hashes of a column's values, if most of them are there once."""
    distinct = np.unique(_mixed(column))
    return tuple(distinct[:_MOST_VALUES].tolist()) if len(distinct) >= _RARE * len(column) else ()


def _numbers_rows(values: Any) -> bool:
    """Whether a column numbers the rows, or says when they were: as many other tables have it."""
    array = np.asarray(values)
    if array.ndim != 1 or len(array) < _TELLING:
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
        text = _canonical(word)
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
_MOMENT = re.compile(r"(\d{4}-\d\d-\d\d)(?:[ t](\d\d:\d\d(?::\d\d)?)(\.\d+)?(?:z|\+00:?00)?)?")


def _canonical(value: Any) -> str:
    """A word as it is compared: without case, spaces at its ends, and how a moment is written."""
    if isinstance(value, bytes):
        value = value.decode(errors="replace")
    words = " ".join(unicodedata.normalize("NFKC", str(value)).casefold().split())
    if moment := _MOMENT.fullmatch(words):
        day, time, part = moment[1], moment[2] or "00:00", (moment[3] or "").rstrip("0").rstrip(".")
        time = time.removesuffix(":00") if len(time) > 5 and not part else time
        return day if time == "00:00" else f"{day} {time}{part}"
    return {"true": "1", "false": "0"}.get(words, words)


def _cells(values: Any) -> UInt64[np.ndarray, "rows *cells"]:
    """One number a cell, equal where the values are."""
    array = np.asarray(values)
    if array.dtype.kind == "M":
        array = array.astype("datetime64[us]").astype(object)
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
    words = _canonical(value)
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
