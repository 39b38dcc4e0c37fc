"""Arrays that lie in a file until they are read, and arrays that a device on this machine takes as they lie."""

import mmap
from collections.abc import Sequence
from os import PathLike
from typing import Any, NamedTuple

import numpy as np

_LINE = 64
"""Bytes to which JAX wants an array aligned to take it without a copy."""


class Place(NamedTuple):
    """Where an array lies in a file.

    Attributes:
      dtype: of its numbers, little-endian.
      shape: of the array, in C order.
      offset: bytes before it.
    """

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    offset: int


def mapped(path: str | PathLike[str], places: Sequence[Place]) -> list[np.ndarray]:
    """Arrays of a file, read-only, of which nothing is in memory before it is used.

    The file must not be cut short while they are in use; one that is replaced by another of its name stays.

    Args:
      path: of the file.
      places: within it.

    Returns:
      As many arrays, which share one map of the file.

    Raises:
      ValueError: a place beyond the end of the file.

    Example:
      >>> import tempfile
      >>> with tempfile.NamedTemporaryFile() as file:
      ...     _ = file.write(bytes(8) + np.arange(4, dtype=np.float32).tobytes()), file.flush()
      ...     mapped(file.name, [Place(np.dtype(np.float32), (2, 2), 8)])[0].tolist()
      [[0.0, 1.0], [2.0, 3.0]]
    """
    with open(path, "rb") as file:
        memory = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)

    def one(place: Place) -> np.ndarray:
        count = int(np.prod(place.shape, dtype=np.int64))
        if count == 0:
            return np.zeros(place.shape, place.dtype)
        return np.frombuffer(memory, place.dtype, count, place.offset).reshape(place.shape)

    return [one(place) for place in places]


def let_go(array: np.ndarray) -> None:
    """Lets the system take back the memory of a mapped array's file; it is read anew when it is used again.

    Args:
      array: mapped, or a view of one. Nothing is done to another.
    """
    base: Any = array
    while isinstance(base, np.ndarray | memoryview):
        base = base.base if isinstance(base, np.ndarray) else base.obj
    if isinstance(base, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        base.madvise(mmap.MADV_DONTNEED)


def on_top(arrays: Sequence[np.ndarray]) -> np.ndarray:
    """Arrays of one shape with a leading axis, each let go when it is copied.

    Args:
      arrays: at least one.

    Returns:
      ``[len(arrays), *shape]``, read-only, so aligned that ``jax.device_put(…, may_alias=True)`` needs no copy of it.

    Example:
      >>> on_top([np.zeros(2), np.ones(2)]).tolist()
      [[0.0, 0.0], [1.0, 1.0]]
    """
    first = arrays[0]
    size = len(arrays) * first.nbytes
    raw = np.empty(size + _LINE, np.uint8)
    begin = -raw.ctypes.data % _LINE
    stacked = raw[begin : begin + size].view(first.dtype).reshape(len(arrays), *first.shape)
    for number, array in enumerate(arrays):
        stacked[number] = array
        let_go(array)
    stacked.flags.writeable = False
    return stacked
