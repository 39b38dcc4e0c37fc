"""Arrays of one's own in an .npz file: numbers as the columns of a table, images as images, and what is neither."""

import hashlib
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32

from dpjax.datasets.entries import Dataset
from dpjax.datasets.own_tables.kinds import Column, read_column
from dpjax.datasets.own_tables.sides import as_dataset, take_sides
from dpjax.datasets.own_tables.source import TableSource
from dpjax.fetching.sources import DatasetError

LABELS = ("y", "labels", "label", "target", "targets")
OWNERS = ("unit", "units", "owner", "owners")
"""Names that say what an array is for, where the config does not."""

_KINDS = "biufUSM"
_UNREADABLE = (OSError, EOFError, MemoryError, ValueError, TypeError, SyntaxError, zipfile.BadZipFile, zlib.error)
_OF_PIXELS = (1, 3)


def is_arrays(path: str | Path) -> bool:
    """Whether a path is a file of arrays.

    Args:
      path: as the config says it.

    Example:
      >>> is_arrays("features.npz"), is_arrays("patients.csv")
      (True, False)
    """
    return Path(path).suffix.lower() in (".npz", ".npy")


def read_arrays(path: Path, where: str, *, alone: str = "") -> dict[str, np.ndarray]:
    """The arrays of a file, each with a row for each example. Nothing of it is ever unpickled.

    Args:
      path: of an .npz file, as ``numpy.savez`` writes it.
      where: names it in messages.
      alone: what the one array of an .npy file is called; empty: such a file is refused, as it has no labels.

    Returns:
      Name → ``[rows, ...]`` of truth values, whole numbers, finite floats, words or dates.

    Raises:
      DatasetError: no such file, or an array that is none of these or has other rows; it names array and row.
    """
    single = path.suffix.lower() == ".npy"
    if single and not alone:
        raise DatasetError(
            f"{where} is one array without its labels; save both in one file, as numpy.savez('data.npz', x=x, y=y)"
        )
    found: dict[str, np.ndarray] = {}
    try:
        if not path.is_file():
            raise DatasetError(f"{where} is no file; paths begin in the folder of the command, {Path.cwd()}")
        if single:
            found[alone] = _one(alone, lambda name: np.load(path, allow_pickle=False), where)
        else:
            with np.load(path, allow_pickle=False) as file:
                for name in file.files:
                    found[name] = _one(name, file.__getitem__, where)
    except _UNREADABLE as error:
        if isinstance(error, DatasetError):
            raise
        raise DatasetError(f"{where} is damaged or no .npz file; save it again with numpy.savez") from error
    if not found:
        raise DatasetError(f"{where} holds no arrays; save inputs and labels, as numpy.savez('data.npz', x=x, y=y)")
    lengths = {name: len(array) for name, array in found.items()}
    first = next(iter(lengths))
    other = next((name for name, rows in lengths.items() if rows != lengths[first]), None)
    if other is not None:
        raise DatasetError(
            f"{where} {first} has {lengths[first]:,} rows and {other} {lengths[other]:,}; each must have a row for "
            "each example"
        )
    if not lengths[first]:
        raise DatasetError(f"{where} its arrays are empty; save rows")
    return found


def _one(name: str, taken: Callable[[str], Any], where: str) -> np.ndarray:
    try:
        array = taken(name)
    except ValueError as error:
        if "pickle" not in str(error):
            raise
        raise DatasetError(
            f"{where} {name} holds Python objects, which could run anything when they are read; save it with a plain "
            "dtype, as x.astype('float32') or names.astype('U')"
        ) from error
    if not isinstance(array, np.ndarray):
        raise DatasetError(f"{where} {name} is no array; save arrays alone with numpy.savez")
    if array.dtype.names:
        raise DatasetError(
            f"{where} {name} has fields ({', '.join(array.dtype.names)}); save each as an array of its own"
        )
    if array.dtype.kind not in _KINDS:
        fix = "save its real and imaginary part" if array.dtype.kind == "c" else "save numbers, words or dates"
        raise DatasetError(f"{where} {name} is of {array.dtype}, which no model reads; {fix}")
    if not array.ndim or array.ndim > 4:
        size = "one number" if not array.ndim else f"of {array.ndim} dimensions"
        raise DatasetError(f"{where} {name} is {size}; give [rows], [rows, features] or [rows, height, width, colours]")
    if array.dtype.kind == "f":
        wrong = ~np.isfinite(array.reshape(len(array), -1)).all(axis=1) if array.size else np.zeros(0, bool)
        if wrong.any():
            raise DatasetError(
                f"{where} {name} holds NaN or an infinite number in row {int(np.flatnonzero(wrong)[0]) + 1}; put a "
                "number there, or leave the row out"
            )
    if array.dtype.kind == "S":
        try:
            return np.char.decode(array, "utf-8")
        except UnicodeDecodeError as error:
            raise DatasetError(
                f"{where} {name} holds bytes that are not UTF-8; save it as words, of dtype U"
            ) from error
    return array.astype(array.dtype.newbyteorder("="))  # Arrow knows this machine's order of bytes alone


def resolved(source: TableSource) -> TableSource:
    """What a config says of arrays, said of the columns that they become. Of other files as it is.

    Args:
      source: where they lie; label and unit, where they are not said, are the arrays that are called so (``LABELS``,
        ``OWNERS``).

    Raises:
      DatasetError: see ``read_arrays``.
    """
    if not source.path or not is_arrays(source.path):
        return source
    arrays = read_arrays(Path(source.path).expanduser(), f"data.path={source.path!r}:")
    label = source.label or next((name for name in LABELS if name in arrays), "")
    unit = source.unit or next((name for name in OWNERS if name in arrays and name != label), "")
    columns: dict[str, Any] = {}
    for name, said in source.columns.items():
        wide = name in arrays and arrays[name].ndim == 2
        columns |= dict.fromkeys(_names(name, arrays[name]) if wide else [name], said)
    return replace(source, label=label, unit=unit, columns=columns)


def as_table(path: Path, where: str) -> Any:
    """Arrays of one or two dimensions as a ``pyarrow.Table``: ``x`` of ``[rows, 3]`` becomes ``x_0``, ``x_1``, ``x_2``.

    Args:
      path: of the file.
      where: names it in messages.

    Raises:
      DatasetError: see ``read_arrays``; images.
    """
    import pyarrow

    arrays = read_arrays(path, where)
    names: list[str] = []
    columns: list[Any] = []
    for name, array in arrays.items():
        if array.ndim > 2:
            raise DatasetError(f"{where} {name} is of images, beside which nothing else is read; leave it out")
        wide = array.reshape(len(array), -1)
        if not wide.shape[1]:
            raise DatasetError(f"{where} {name} has no columns; leave it out")
        names += _names(name, array) if array.ndim == 2 else [name]
        columns += [arrow_column(wide[:, i]) for i in range(wide.shape[1])]
    return pyarrow.Table.from_arrays(columns, names=names)


def _names(name: str, array: np.ndarray) -> list[str]:
    return [f"{name}_{i}" for i in range(array.shape[1])]


def arrow_column(values: np.ndarray) -> Any:
    """An array of one dimension as a column of a table.

    Args:
      values: as ``read_arrays`` gives them.
    """
    import pyarrow

    if values.dtype.kind == "M":
        return pyarrow.array(np.datetime_as_string(values.astype("M8[s]")).tolist())
    if values.dtype.kind == "f":  # which Arrow may not know by every width, and float64 holds
        values = values.astype(np.float64)
    return pyarrow.array(
        np.ascontiguousarray(values).tolist() if values.dtype.kind == "U" else np.ascontiguousarray(values)
    )


def are_images(source: TableSource) -> bool:
    """Whether a file of arrays holds images: an array of more than two dimensions.

    Args:
      source: where it lies.

    Raises:
      DatasetError: see ``read_arrays``.
    """
    arrays = read_arrays(Path(source.path).expanduser(), f"data.path={source.path!r}:")
    return any(array.ndim > 2 for array in arrays.values())


def load_array_images(source: TableSource) -> Dataset:
    """Images of one's own that are an array: ``[rows, height, width]`` or with 1 or 3 colours behind.

    Formal guarantees: an input depends on its own row alone: bytes are divided by 255, other numbers must lie in
    [0, 1] and stay as they are.

    Args:
      source: the file, whose other arrays are label, unit and ``split_column``.

    Returns:
      Inputs ``[rows, height, width, colours]`` float32 in [0, 1]; the arrays are read-only.

    Raises:
      DatasetError: see ``read_arrays``; several images, numbers of another size, or an array without a role.
    """
    source = resolved(source)
    where = f"data.path={source.path!r}:"
    arrays = read_arrays(Path(source.path).expanduser(), where)
    (name, *more) = (name for name, array in arrays.items() if array.ndim > 2)
    roles = [each for each in (source.label, source.unit, source.split_column) if each]
    if not source.label:
        raise DatasetError(f"{where} which array is predicted? Say data.label=ARRAY; it has {', '.join(arrays)}")
    for each in roles:
        if each not in arrays or arrays[each].ndim > 1:
            what = "is there" if each not in arrays else f"of one dimension, but of shape {list(arrays[each].shape)}"
            raise DatasetError(f"{where} no array {each!r} {what}; give one of [rows]")
    if extra := [each for each in (*more, *arrays) if each not in (name, *roles)]:
        raise DatasetError(f"{where} {name} is of images, beside which {extra[0]} is not read; leave it out")
    pixels = _pixels(name, arrays[name], where)
    columns = {each: _role(arrays[each], each, source, where) for each in dict.fromkeys(roles)}
    contents = [hashlib.sha256(row.tobytes()).digest() for row in pixels]
    owner, when = (columns[each] if each else None for each in (source.unit, source.split_column))
    sides = take_sides(source, columns[source.label], owner, when, None, contents, where)
    found = source.classes or source.target == "number"
    learnt = [part for part in ("" if found else f"classes of {source.label}", sides.learnt) if part]
    return as_dataset(source, sides, pixels[sides.kept], task="image", learnt="; ".join(learnt))


def _role(values: np.ndarray, name: str, source: TableSource, where: str) -> Column:
    import pyarrow

    of_number = name == source.label and source.target == "number"
    kind: Mapping[str, Any] = {source.split_column: None, source.label: "number" if of_number else "category"}
    table = pyarrow.table({name: arrow_column(values)})
    return read_column(table, name, where, kind=kind.get(name, "category"), missing=source.missing)


def _pixels(name: str, array: np.ndarray, where: str) -> Float32[np.ndarray, "rows height width colours"]:
    array = array[..., None] if array.ndim == 3 else array
    if array.shape[3] not in _OF_PIXELS or 0 in array.shape:
        fix = (
            f"move the colours to the end, as numpy.moveaxis({name}, 1, -1)"
            if array.shape[1] in _OF_PIXELS
            else ("give [rows, height, width] or 1 or 3 colours behind")
        )
        raise DatasetError(f"{where} {name} has the shape {list(array.shape)}, and so {array.shape[3]} colours; {fix}")
    if array.dtype == np.uint8:
        return array.astype(np.float32) / np.float32(255)
    if array.dtype.kind not in "biuf":
        raise DatasetError(f"{where} {name} holds {array.dtype}, and no pixels; give bytes, or numbers from 0 to 1")
    rows = array.reshape(len(array), -1)
    wrong = (rows.min(axis=1) < 0) | (rows.max(axis=1) > 1)
    if wrong.any():
        raise DatasetError(
            f"{where} {name} holds pixels from {rows.min():g} to {rows.max():g}, first in row "
            f"{int(np.flatnonzero(wrong)[0]) + 1}; give bytes (uint8), or numbers from 0 to 1"
        )
    return array.astype(np.float32)
