"""The cells of a column as numbers, equal where the values are, however they are written."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import UInt64

from dpjax.notations import LONGEST, canonical, has_decimal_commas, in_one_notation
from dpjax.numbering import numbered_before, numbers_rows, words_number_rows

_FIRST = 4096
"""Words of a column by which it is seen what parts its decimals."""


_SPACES = 2
"""Of a text, at least: moments have one, and names of things mostly none."""


class Renewed(NamedTuple):
    """A column whose values were other ones for the same rows in fingerprints of before.

    Attributes:
      now: its values.
      before: those of kind 1.
    """

    now: Sequence[Any]
    before: Sequence[Any]


class Column(NamedTuple):
    """One number a cell, and what a column is worth to tell rows.

    Attributes:
      cells: the numbers.
      before: those of fingerprints of kind 1, where they were others.
      numbers: whether it numbers the rows, and so tells none.
      numbered: the same as kind 1 has it.
      is_text: whether it is of texts, or pictures, which tell rows alone.
    """

    cells: UInt64[np.ndarray, "rows cells"]
    before: UInt64[np.ndarray, "rows cells"] | None
    numbers: bool
    numbered: bool
    is_text: bool

    @property
    def was_other(self) -> bool:
        """Whether kind 1 has it in another way."""
        return self.before is not None or self.numbers != self.numbered

    def as_before(self) -> Column:
        """As kind 1 has it."""
        return self._replace(cells=self.cells if self.before is None else self.before, numbers=self.numbered)

    def at(self, rows: Any) -> Column:
        """Of some rows.

        Args:
          rows: their indices.
        """
        return self._replace(cells=self.cells[rows])


def has_commas(values: Any) -> bool:
    """Whether the first words of a column have decimal commas.

    Args:
      values: of the column.
    """
    some = values[:_FIRST] if isinstance(values, list | np.ndarray) else ()
    return has_decimal_commas({canonical(each) for each in some if isinstance(each, str) and len(each) <= LONGEST})


def column_of(values: Any, comma: bool) -> Column:
    """A column as it is compared.

    Args:
      values: ``[rows, ...]``, or ``Renewed``.
      comma: whether other columns of its table have decimal commas.

    Example:
      >>> numbers, words = column_of([3, 4.5], comma=False), column_of(["3", "4,5"], comma=False)
      >>> bool((numbers.cells == words.cells).all())
      True
    """
    if isinstance(values, Renewed):
        now, once = column_of(values.now, comma), column_of(values.before, comma)
        return now._replace(before=once.cells, is_text=True)
    array = np.asarray(values)
    numbered = numbers_rows(array) if array.dtype.kind in "biufmM" else False
    once = numbered and numbered_before(array)
    if array.dtype.kind == "M":
        array = array.astype("datetime64[us]").astype(object)
    if array.dtype.kind in "biuf" or array.dtype.name == "bfloat16":
        return Column(_flat(_of_numbers(array)), None, numbered, once, False)
    found: dict[Any, int] = {}
    codes = np.fromiter((found.setdefault(v, len(found)) for v in map(_hashable, array.reshape(-1).tolist())),
                        np.int64, array.size)  # fmt: skip
    before, words, places, texts, sentences = np.zeros(len(found), np.uint64), [], [], 0, 0
    for i, value in enumerate(found):
        word = "" if value is None or value != value else canonical(value)
        before[i] = _of_word(word)
        texts += len(word) > LONGEST
        sentences += len(word) > LONGEST or word.count(" ") >= _SPACES
        if len(word) <= LONGEST:
            words.append(word)
            places.append(i)
    plain = in_one_notation(words, comma)
    now = before.copy()
    for place, word, renewed in zip(places, words, plain, strict=True):
        if word != renewed:
            now[place] = _of_word(renewed)
    if array.ndim == 1 and not texts and not numbered:
        numbered = words_number_rows(plain, np.bincount(codes, minlength=len(found))[places])
        once = numbered and numbered_before(array)
    changed = bool((now != before).any())
    return Column(
        _flat(now[codes].reshape(array.shape)),
        _flat(before[codes].reshape(array.shape)) if changed else None,
        numbered,
        once,
        2 * sentences > len(found),
    )


def _flat(cells: Any) -> UInt64[np.ndarray, "rows cells"]:
    return cells.reshape(len(cells), int(np.prod(cells.shape[1:], dtype=np.int64)))


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


def _of_word(words: str) -> int:
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


def mixed(x: Any) -> UInt64[np.ndarray, "..."]:
    """A number that looks drawn, of each; splitmix64's last step.

    Args:
      x: whole numbers of 64 bits.
    """
    with np.errstate(over="ignore"):
        x = x + np.uint64(0x9E3779B97F4A7C15)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return x ^ (x >> np.uint64(31))
