"""What a GGUF says before its numbers: fields by name, and where each tensor lies in the mapped file."""

import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from dpjax.models.pretrained.tensor_files import CheckpointError

_VERSIONS = 2, 3
_LATEST = 99
"""No version has such a number for long; beyond it there is none where it should be."""
_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9


class StoredTensor(NamedTuple):
    """One tensor, as it lies in a file.

    Attributes:
      kind: number of its type in ggml.
      shape: outermost axis first.
      content: its bytes, a view of the mapped file.
    """

    kind: int
    shape: tuple[int, ...]
    content: np.ndarray


class Header(NamedTuple):
    """What one file says.

    Attributes:
      fields: by name, as Python numbers, strings and lists.
      tensors: by name.
    """

    fields: Mapping[str, Any]
    tensors: Mapping[str, StoredTensor]


class _Cursor:
    """Reads forward through bytes; beyond their end it raises."""

    def __init__(self, data: memoryview):
        self.data, self.at = data, 0

    def take(self, code: str) -> Any:
        layout = struct.Struct("<" + code)
        (value,) = layout.unpack_from(self.data, self.at)
        self.at += layout.size
        return value

    def text(self) -> str:
        size = self.take("Q")
        raw = bytes(self.data[self.at : self.at + size])
        if len(raw) != size:
            raise ValueError(f"a string of {size} bytes ends beyond the file")
        self.at += size
        return raw.decode("utf-8")

    def many(self, kind: int, count: int) -> list[Any]:
        if count > len(self.data) - self.at:  # each has a byte at least; absurd numbers are not counted up to
            raise ValueError(f"a list of {count} values ends beyond the file")
        if kind == _STRING:
            return [self.text() for _ in range(count)]
        if kind == _ARRAY:
            return [self.value(_ARRAY) for _ in range(count)]
        layout = struct.Struct(f"<{count}{_SCALARS[kind]}")
        values = list(layout.unpack_from(self.data, self.at))
        self.at += layout.size
        return values

    def value(self, kind: int) -> Any:
        if kind == _STRING:
            return self.text()
        if kind == _ARRAY:
            inner = self.take("I")
            return self.many(inner, self.take("Q"))
        if kind not in _SCALARS:
            raise ValueError(f"a value of the unknown type {kind}")
        return self.take(_SCALARS[kind])


def read_header(path: Path) -> Header:
    """Fields and tensors of one file, without reading the tensors' numbers.

    The reader of the package ``gguf`` makes several NumPy arrays of each token, which was most of the time of loading.

    Args:
      path: of the file.

    Raises:
      CheckpointError: written for machines of the other byte order, or of another version.
      ValueError, struct.error: it is no GGUF, or is cut short.
    """
    from gguf import GGML_QUANT_SIZES, GGUF_DEFAULT_ALIGNMENT

    whole = np.memmap(path, mode="r")
    cursor = _Cursor(memoryview(whole))
    if bytes(cursor.data[:4]) != b"GGUF":
        raise ValueError("it does not begin with GGUF")
    cursor.at = 4
    version = cursor.take("I")
    if version not in _VERSIONS:
        swapped = int.from_bytes(version.to_bytes(4, "little"), "big")
        if min(version, swapped) > _LATEST:
            raise ValueError(f"its version would be {version}")
        what = "in the order of big-endian machines" if swapped in _VERSIONS else f"of version {version}"
        raise CheckpointError(
            f"{path} is a GGUF {what}, but dpjax reads little-endian ones of version {_VERSIONS[0]} and "
            f"{_VERSIONS[1]}; take or convert to such a copy."
        )
    num_tensors, num_fields = cursor.take("Q"), cursor.take("Q")
    fields: dict[str, Any] = {}
    for _ in range(num_fields):
        name = cursor.text()
        if name in fields:
            raise ValueError(f"{name} is there twice")
        fields[name] = cursor.value(cursor.take("I"))
    places: dict[str, tuple[int, tuple[int, ...], int]] = {}
    for _ in range(num_tensors):
        name = cursor.text()
        if name in places:
            raise ValueError(f"{name} is there twice")
        shape = tuple(cursor.many(10, cursor.take("I"))[::-1])
        places[name] = cursor.take("I"), shape, cursor.take("Q")
    alignment = fields.get("general.alignment", GGUF_DEFAULT_ALIGNMENT)
    if not isinstance(alignment, int) or alignment < 1 or alignment & (alignment - 1):
        raise ValueError(f"general.alignment is {alignment}, no power of two")
    begin = -(-cursor.at // alignment) * alignment
    sizes = {int(kind): size for kind, size in GGML_QUANT_SIZES.items()}
    tensors: dict[str, StoredTensor] = {}
    for name, (kind, shape, offset) in places.items():
        if kind not in sizes:
            raise CheckpointError(f"{path}: {name} is of ggml's type {kind}, which gguf does not know; update gguf.")
        block, size = sizes[kind]
        count = 1
        for axis in shape:
            count *= axis
        if not shape or shape[-1] % block:
            raise CheckpointError(
                f"{path}: {name} has rows of {shape[-1] if shape else 0} numbers, which are no whole blocks of "
                f"{block}; take another copy."
            )
        end = begin + offset + count // block * size
        if end > len(whole):
            raise ValueError(f"{name} ends at byte {end} of {len(whole)}")
        tensors[name] = StoredTensor(kind, shape, whole[begin + offset : end])
    return Header(fields, tensors)
