"""Arrays of one's own in an .npz file: numbers as the columns of a table, images as images, and what is neither."""

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32

from dpjax.datasets.entries import Dataset
from dpjax.datasets.own_tables.array_files import is_arrays, read_arrays, read_splits, stem_of
from dpjax.datasets.own_tables.kinds import Column, read_column
from dpjax.datasets.own_tables.sides import as_dataset, take_sides
from dpjax.datasets.own_tables.source import TableSource
from dpjax.fetching.sources import DatasetError

LABELS = ("y", "labels", "label", "target", "targets")
OWNERS = ("unit", "units", "owner", "owners")
"""Names that say what an array is for, where the config does not."""

_OF_PIXELS = (1, 3)


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


def columns_of(source: TableSource) -> dict[str, str]:
    """Column → the array of two dimensions that it is of; empty of other files.

    Args:
      source: where they lie.

    Raises:
      DatasetError: see ``read_arrays``.
    """
    if not source.path or not is_arrays(source.path):
        return {}
    arrays = read_arrays(Path(source.path).expanduser(), f"data.path={source.path!r}:")
    return {column: name for name, array in arrays.items() if array.ndim == 2 for column in _names(name, array)}


def as_tables(path: Path, where: str) -> dict[str, Any]:
    """Arrays of one or two dimensions as ``pyarrow.Table``: ``x`` of ``[rows, 3]`` becomes ``x_0``, ``x_1``, ``x_2``.

    Args:
      path: of the file, or the files.
      where: names it in messages.

    Returns:
      One table by the path's name; of a folder with files of a split each ``train`` and ``test``.

    Raises:
      DatasetError: see ``read_arrays``; images.
    """
    import pyarrow

    arrays, of_file = read_splits(path, where)
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
    table = pyarrow.Table.from_arrays(columns, names=names)
    return (
        {stem_of(path): table} if of_file is None else {"train": table.filter(~of_file), "test": table.filter(of_file)}
    )


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
    arrays, of_file = read_splits(Path(source.path).expanduser(), where)
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
    sides = take_sides(source, columns[source.label], owner, when, of_file, contents, where)
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
