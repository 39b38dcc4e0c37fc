"""R's data frames out of a package's lazy-load database: vectors of numbers and words; nothing is evaluated."""

import gzip
import lzma
import struct
import zlib
from collections.abc import Iterable
from typing import Any

import numpy as np

from dpjax.fetching.sources import DatasetError

# Kinds of item in R's serialization format, as R's manual "R Internals" numbers them.
_SYMBOL, _PAIRLIST, _CHARS, _LOGICALS, _INTEGERS, _REALS, _STRINGS, _LIST = 1, 2, 9, 10, 13, 14, 16, 19
_REFERENCE, _NIL = 255, (0, 254)
_HAS_ATTRIBUTES, _HAS_TAG = 0x200, 0x400
_NA_INTEGER = -(2**31)
_DAMAGED = (struct.error, zlib.error, lzma.LZMAError, OSError, EOFError, ValueError, KeyError, IndexError)


class _Items:
    """A cursor over one serialized value; each item is (value, attributes)."""

    def __init__(self, content: bytes):
        self.content, self.at, self.symbols = content, 2, list[str]()
        if content[:2] != b"X\n":
            raise ValueError("not R's binary format")
        version = self.integer()
        self.at += 8  # versions of R
        if version == 3:
            length = self.integer()
            self.at += length  # name of the encoding

    def integer(self) -> int:
        (value,) = struct.unpack_from(">i", self.content, self.at)
        self.at += 4
        return value

    def array(self, dtype: str) -> np.ndarray:
        length = self.integer()
        values = np.frombuffer(self.content, dtype, length, self.at)
        self.at += values.nbytes
        return values

    def item(self) -> tuple[Any, dict[str, Any]]:
        flags = self.integer()
        kind = flags & 0xFF
        if kind in _NIL:
            return None, {}
        if kind == _REFERENCE:
            return self.symbols[(flags >> 8 or self.integer()) - 1], {}
        if kind == _SYMBOL:
            self.symbols.append(self.item()[0])
            return self.symbols[-1], {}
        if kind == _PAIRLIST:
            return self.pairs(flags), {}
        if kind == _CHARS:
            length = self.integer()
            if length < 0:
                return None, {}
            self.at += length
            return self.content[self.at - length : self.at].decode(), {}
        if kind in (_LOGICALS, _INTEGERS):
            values: Any = self.array(">i4")
        elif kind == _REALS:
            values = self.array(">f8")
        elif kind == _STRINGS:
            values = [self.item()[0] for _ in range(self.integer())]
        elif kind == _LIST:
            values = [self.item() for _ in range(self.integer())]
        else:
            raise ValueError(f"an item of kind {kind}, which is not plain data")
        return values, self.item()[0] or {} if flags & _HAS_ATTRIBUTES else {}

    def pairs(self, flags: int) -> dict[str, Any]:
        values: dict[str, Any] = {}
        while flags & 0xFF not in _NIL:
            if flags & _HAS_ATTRIBUTES:
                self.item()
            name = self.item()[0] if flags & _HAS_TAG else ""
            values[name] = self.item()[0]
            flags = self.integer()
        return values


def read_tables(index: bytes, database: bytes, names: Iterable[str]) -> dict[str, dict[str, np.ndarray]]:
    """Reads data frames out of the pair of files in which R packages keep their data.

    Args:
      index: content of ``Rdata.rdx``.
      database: content of ``Rdata.rdb``.
      names: of the data frames.

    Returns:
      Data frame → column → ``[rows]``: numbers float64 with NaN for missing ones, words str.

    Raises:
      DatasetError: where the files are damaged, or hold something else under that name.
    """
    try:
        directory = _named(_Items(gzip.decompress(index)).item())
        places = _named(directory["variables"])
        return {name: _columns(_Items(_stored(database, *places[name][0].tolist())).item()) for name in names}
    except _DAMAGED as error:
        raise DatasetError(f"data.name: R's tables cannot be read ({error}); fetch them again with --force") from error


def _named(item: tuple[Any, dict[str, Any]]) -> dict[str, Any]:
    values, attributes = item
    return dict(zip(attributes["names"], values, strict=True))


def _stored(database: bytes, start: int, length: int) -> bytes:
    """Returns one value, decompressed: four bytes of its length, and a letter where it is not zlib's."""
    chunk = database[start : start + length]
    if chunk[4:5] == b"Z":
        filters = [{"id": lzma.FILTER_LZMA2, "preset": 6 | lzma.PRESET_EXTREME}]
        content = lzma.decompress(chunk[5:], lzma.FORMAT_RAW, filters=filters)
    else:
        content = zlib.decompress(chunk[4:])
    if len(content) != struct.unpack(">I", chunk[:4])[0]:
        raise ValueError("a value is cut short")
    return content


def _columns(table: tuple[Any, dict[str, Any]]) -> dict[str, np.ndarray]:
    columns = {}
    for name, (values, attributes) in _named(table).items():
        if isinstance(values, list):
            columns[name] = np.array(values)
        elif "levels" in attributes:
            columns[name] = np.array([None, *attributes["levels"]])[np.maximum(values, 0)]  # a missing one is None
        elif values.dtype == ">i4":
            columns[name] = np.where(values == _NA_INTEGER, np.nan, values.astype(np.float64))
        else:  # R marks a missing number by a NaN of its own, at which NumPy takes offence
            columns[name] = np.where(np.isnan(values), np.nan, values.astype(np.float64))
    return columns
