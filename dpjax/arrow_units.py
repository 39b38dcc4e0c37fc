"""Arrow files as units of a run: mapped into memory, so that a cohort's rows are read and no others."""

import math
import mmap
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import pyarrow as pa

from dpjax.checks import brief
from dpjax.stored_units import StoredUnits

_END = b"\xff\xff\xff\xff\0\0\0\0"
"""Of a stream, when its writer is closed."""


_MAGIC = b"ARROW1\0\0"


class ArrowFileError(ValueError):
    """An Arrow file that can't be read as units: one sentence with the file and the fix."""


class _Mapped(NamedTuple):
    """One file that is mapped, and what it was when it was opened."""

    path: Path
    pages: mmap.mmap
    stamp: tuple[int, int, int]


def arrow_units(
    paths: str | os.PathLike[str] | Sequence[str | os.PathLike[str]], columns: Sequence[str] | None = None
) -> StoredUnits:
    """The rows of Arrow files, in their order, as units on disk; in the place of arrays in ``make_train``.

    Formal guarantees: see ``StoredUnits``. A row is a unit: for units of several rows store a row of lists for each.
    Pages that were read stay mapped, and count as memory of the process, until the system wants them back.

    Args:
      paths: a file, or several of the same columns: Arrow IPC (``.arrow``, ``.feather``), as files or as streams, such
        as ``datasets`` writes. Uncompressed, as what is compressed can't be mapped.
      columns: names of the columns that a unit has; None: all.

    Returns:
      Units that are a dict, column → a number, or an array where the column is of lists of one fixed size.

    Raises:
      ArrowFileError: a file that is none, is cut short or compressed; a column that is missing, there twice, of another
        type than numbers and fixed-size lists of them, or has empty cells; files of different columns. While it is
        read: a file that was changed.

    Example:
      >>> import tempfile
      >>> table = pa.table({"x": pa.array([[1, 2], [3, 4], [5, 6]], pa.list_(pa.float32(), 2)), "y": [0, 1, 1]})
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     with pa.ipc.new_file(f"{folder}/a.arrow", table.schema) as file:
      ...         file.write_table(table)
      ...     units = arrow_units(f"{folder}/a.arrow")
      ...     print(units.size, units.take(np.array([2, 0]))["x"].tolist())
      3 [[5.0, 6.0], [1.0, 2.0]]
    """
    given = [paths] if isinstance(paths, str | os.PathLike) else list(paths)
    if not given:
        raise ArrowFileError("paths=[] names no Arrow file; give one.")
    files = [_mapped(Path(path)) for path in given]
    found = [(number, batch) for number, file in enumerate(files) for batch in _batches(file) if batch.num_rows]
    if not found:
        raise ArrowFileError(f"{files[0].path}: there is no row; give a file that has some.")
    places = [_places(files[number], batch, columns) for number, batch in found]
    kinds = [{name: (place.shape, place.dtype) for name, place in each.items()} for each in places]
    if any(kind != kinds[0] for kind in kinds):
        raise ArrowFileError(
            f"{', '.join(str(f.path) for f in files)}: columns or their types differ; give files alike."
        )
    ends = np.cumsum([batch.num_rows for _, batch in found])
    begins = ends - [batch.num_rows for _, batch in found]
    holders = np.array([number for number, _ in found])
    starts = {name: np.array([each[name].start for each in places]) for name in kinds[0]}
    windows = [{name: _windows(file, *kind) for name, kind in kinds[0].items()} for file in files]

    def take(rows: np.ndarray) -> dict[str, np.ndarray]:
        for file in files:
            _check_unchanged(file)
        part = np.searchsorted(ends, rows, side="right")
        inside, holder = rows - begins[part], holders[part]
        out = {name: np.empty((len(rows), *shape), dtype) for name, (shape, dtype) in kinds[0].items()}
        for number in np.unique(holder):
            chosen = slice(None) if len(files) == 1 else np.flatnonzero(holder == number)
            for name, values in out.items():
                numbers = math.prod(values.shape[1:])
                at = starts[name][part[chosen]] + inside[chosen] * numbers
                values[chosen] = windows[number][name][at].reshape(-1, *values.shape[1:])
        for file in files:
            _check_unchanged(file)
        return out

    like = {name: jax.ShapeDtypeStruct(shape, dtype) for name, (shape, dtype) in kinds[0].items()}
    return StoredUnits(like, int(ends[-1]), take)


def _windows(file: _Mapped, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """A view of the whole file as all runs of so many numbers: number i begins with the file's i-th number."""
    flat = np.frombuffer(file.pages, dtype, count=file.stamp[0] // dtype.itemsize)
    return np.lib.stride_tricks.sliding_window_view(flat, math.prod(shape))


def _stamp(path: Path) -> tuple[int, int, int]:
    found = path.stat()
    return found.st_size, found.st_mtime_ns, found.st_ino


def _mapped(path: Path) -> _Mapped:
    try:
        with path.open("rb") as file:
            pages = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        pages.madvise(mmap.MADV_RANDOM)
        return _Mapped(path, pages, _stamp(path))
    except (OSError, ValueError) as error:  # an empty file can't be mapped
        raise ArrowFileError(f"{path}: it can't be opened ({error}); give an Arrow file that is there.") from None


def _check_unchanged(file: _Mapped) -> None:
    try:
        same = _stamp(file.path) == file.stamp
    except OSError:
        same = False
    if not same:
        raise ArrowFileError(
            f"{file.path}: it was changed while it was read, so that units are no longer those that were drawn from; "
            "begin the run anew with a file that stays as it is."
        )


def _batches(file: _Mapped) -> list[Any]:
    """The record batches, whose buffers are the mapped pages themselves."""
    whole = pa.py_buffer(file.pages)
    try:
        if file.pages[:6] == b"ARROW1":
            reader = pa.ipc.open_file(pa.BufferReader(whole))
            batches = [reader.get_batch(number) for number in range(reader.num_record_batches)]
        else:
            source = pa.BufferReader(whole)
            batches = list(pa.ipc.open_stream(source))
            _check_ended(file, source.tell())
    except (pa.ArrowException, OSError) as error:
        why = str(error).split("\n")[0]
        raise ArrowFileError(
            f"{file.path}: it is no whole Arrow file ({why}); write it anew, or convert it with store_parquet."
        ) from None
    buffers = [b for batch in batches for column in batch.columns for b in column.buffers() if b is not None and b.size]
    if any(not whole.address <= b.address < whole.address + whole.size for b in buffers):
        raise ArrowFileError(
            f"{file.path}: its columns are compressed, so that they can't be mapped; write it without compression, as "
            "with pyarrow.feather.write_feather(table, path, compression='uncompressed')."
        )
    if file.pages[:6] == _MAGIC[:6]:
        end = max((b.address + b.size - whole.address for b in buffers), default=len(_MAGIC))
        if file.pages.find(_MAGIC, end) >= 0:  # Arrow's reader finds the first one's numbers by the last one's places
            raise ArrowFileError(
                f"{file.path}: it holds several Arrow files one after the other, of which only the first would be "
                "read; give them as a list, or write them as one with pyarrow.ipc.new_file."
            )
    return batches


def _check_ended(file: _Mapped, end: int) -> None:
    """To Arrow a stream may end between any two batches, as one does that was cut short there."""
    if file.pages[end - len(_END) : end] != _END:
        raise ArrowFileError(
            f"{file.path}: the stream has no end, as if it were cut short behind a record batch; write it anew, and "
            "close its writer."
        )
    if end != len(file.pages):
        raise ArrowFileError(
            f"{file.path}: {len(file.pages) - end} bytes follow the end of the stream, and would not be read; give "
            "each stream a file of its own."
        )


class _Place(NamedTuple):
    """Where a column of a batch lies: the number of its first number in the file, and what a row of it is."""

    start: int
    shape: tuple[int, ...]
    dtype: np.dtype


def _places(file: _Mapped, batch: Any, columns: Sequence[str] | None) -> dict[str, _Place]:
    names = batch.schema.names if columns is None else list(columns)
    if not names:
        raise ArrowFileError(f"{file.path}: columns=[] leaves nothing of a unit; name one or more.")
    twice = [name for name in names if batch.schema.names.count(name) > 1]
    if twice:
        raise ArrowFileError(f"{file.path}: there are two columns {twice[0]!r}; give each a name of its own.")
    missing = [name for name in names if name not in batch.schema.names]
    if missing:
        raise ArrowFileError(f"{file.path}: there is no column {missing[0]!r}; it has {brief(batch.schema.names)}.")
    return {name: _place(file, name, batch.column(name)) for name in names}


def _place(file: _Mapped, name: str, column: Any) -> _Place:
    shape: list[int] = []
    while True:
        if column.null_count:
            raise ArrowFileError(
                f"{file.path}: column {name!r} has {column.null_count} empty cells; fill them by a public rule before."
            )
        if not pa.types.is_fixed_size_list(column.type):
            break
        size, start = column.type.list_size, column.offset
        shape.append(size)
        column = column.values.slice(start * size, len(column) * size)  # flatten() would copy
    if not (pa.types.is_integer(column.type) or pa.types.is_floating(column.type)):
        any_size = pa.types.is_list(column.type) or pa.types.is_large_list(column.type)
        how = "cast it to a list whose type says its size" if any_size else "convert it before"
        raise ArrowFileError(
            f"{file.path}: column {name!r} is of type {column.type}, and a unit is made of numbers and of lists of one "
            f"fixed size; leave it out by columns=[...], or {how}."
        )
    if 0 in shape:
        raise ArrowFileError(f"{file.path}: column {name!r} is of lists of size 0; leave it out by columns=[...].")
    values, pages = column.to_numpy(zero_copy_only=True), pa.py_buffer(file.pages)
    offset = values.__array_interface__["data"][0] - pages.address
    # Arrow aligns to 8 bytes and stays inside; of a file that says something else a number would be another's.
    if offset % values.itemsize or not 0 <= offset <= pages.size - values.nbytes:
        raise ArrowFileError(f"{file.path}: column {name!r} does not lie where the file says; write it anew.")
    return _Place(offset // values.itemsize, tuple(shape), values.dtype)


def store_parquet(
    sources: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    target: str | os.PathLike[str],
    *,
    rows: int = 65_536,
) -> None:
    """Write Parquet files as one Arrow file that can be mapped, some rows at a time.

    Args:
      sources: a Parquet file, or several of the same columns. Lists must be of one length in a column, and get a fixed
        size.
      target: Arrow file; it takes its name once it is whole.
      rows: in memory at once, and in a record batch.

    Raises:
      ArrowFileError: no source, lists of several lengths, files of different columns, or a disk that is full.
    """
    import pyarrow.parquet as pq

    sources = [sources] if isinstance(sources, str | os.PathLike) else sources
    if not sources:
        raise ArrowFileError("sources=[] names no Parquet file; give one.")
    half = Path(f"{target}.part")
    writer: Any = None
    try:
        for source in sources:
            for batch in pq.ParquetFile(source).iter_batches(batch_size=rows):
                fixed = _with_fixed_lists(Path(source), batch)
                if writer is None:
                    writer = pa.ipc.new_file(str(half), fixed.schema)
                writer.write_batch(fixed)
        if writer is None:
            raise ArrowFileError(f"{sources[0]}: there is no row; give a file that has some.")
        writer.close()
        half.replace(target)
    except (pa.ArrowException, OSError) as error:
        raise ArrowFileError(
            f"{target}: it was not written ({str(error).splitlines()[0]}); mend that and repeat."
        ) from None
    finally:
        half.unlink(missing_ok=True)


def _with_fixed_lists(path: Path, batch: Any) -> Any:
    arrays = []
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        if not (pa.types.is_list(column.type) or pa.types.is_large_list(column.type)):
            arrays.append(column)
            continue
        lengths = set(column.value_lengths().to_pylist())
        if len(lengths) != 1 or None in lengths:
            raise ArrowFileError(
                f"{path}: lists of column {name!r} have several lengths, such as "
                f"{brief(sorted(lengths, key=str)[:3])}; pad them to one."
            )
        arrays.append(pa.FixedSizeListArray.from_arrays(column.flatten(), lengths.pop()))
    return pa.RecordBatch.from_arrays(arrays, batch.schema.names)
