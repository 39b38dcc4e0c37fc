"""Every job's rows as one data frame, and the files that hold it: Parquet for programs, JSON for everything else."""

import io
import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from dpjax.results.as_json import as_json
from dpjax.results.claims import text
from dpjax.results.collected import Collected, as_metadata, digest_of, from_metadata, lacking
from dpjax.results.columns import COLUMNS
from dpjax.results.errors import ResultsError
from dpjax.results.failures import failed_sentences, read_failures
from dpjax.results.result_files import job_files, parse_job_file, write_atomically
from dpjax.results.schema import METRICS, SCHEMA, decode, encode

_PANDAS = {"str": "str", "json": "str", "int": "Int64", "float": "float64", "bool": "boolean"}
_ARROW: dict[str, pa.DataType] = {
    "str": pa.string(),
    "json": pa.string(),
    "int": pa.int64(),
    "float": pa.float64(),
    "bool": pa.bool_(),
    "ints": pa.list_(pa.int64()),
    "floats": pa.list_(pa.float64()),
}
_LISTS = ("ints", "floats")
_MAPPED = {pa.string(): pd.StringDtype(na_value=np.nan), pa.int64(): pd.Int64Dtype(), pa.bool_(): pd.BooleanDtype()}
_UNREADABLE = (
    OSError,
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
    RecursionError,
    OverflowError,
    pa.ArrowException,
)
ORDER = [
    "experiment",
    "dataset",
    "model",
    "unit",
    "partition",
    "num_clients",
    "clients_per_round",
    "epsilon",
    "clip_norm",
    "learning_rate",
]
"""Columns that rows are sorted by, the seed after them."""


def collect(directory: Path | str) -> pd.DataFrame:
    """Every job's rows below a folder, one per (point, seed).

    Formal guarantees: the order depends only on what the rows say, not on when the jobs ended; every column of the
    schema is there with its dtype, filled with missing values where no row has it; columns outside the schema are kept,
    at the end. A file that cannot be read costs its own rows only and is named in ``df.attrs["unreadable"]``, as is a
    job that failed and has not finished since.

    Args:
      directory: a sweep's folder, or any folder above several.

    Returns:
      One row per (point, seed), in the schema's columns and dtypes.

    Example:
      >>> frame = collect("/nowhere")
      >>> len(frame), frame.attrs["unreadable"]
      (0, [])
    """
    return _collected(directory, True)[0]


def _collected(directory: Path | str, curves: bool) -> tuple[pd.DataFrame, Collected]:
    jobs = read_jobs(directory, curves=curves)
    failures, spoilt = read_failures(directory)
    jobs.frame.attrs["unreadable"] = [*jobs.unreadable, *spoilt, *failed_sentences(failures)]
    return jobs.frame, jobs.collected


class Jobs(NamedTuple):
    """The jobs below a folder.

    Attributes:
      frame: their rows.
      collected: which files they are from.
      unreadable: one sentence for each file that could not be read.
    """

    frame: pd.DataFrame
    collected: Collected
    unreadable: list[str]


def read_jobs(directory: Path | str, *, curves: bool = True) -> Jobs:
    """Every job's rows below a folder, from its ``results.parquet`` where that was made of these very files.

    Formal guarantees: a table is taken for the files only if each has the size and the time of its last change that it
    had then, and no other is there. The rows are the same either way.

    Args:
      directory: a sweep's folder, or any folder above several.
      curves: as for ``load``.

    Example:
      >>> len(read_jobs("/nowhere").frame)
      0
    """
    root, files = Path(directory), job_files(directory)
    digest, table = digest_of(root, files), root / "results.parquet"
    if digest and table.is_file():
        try:
            collected = from_metadata(pq.read_metadata(table).metadata)
            if collected is not None and collected.digest == digest:
                return Jobs(_read_table(table, curves), collected, [])
        except (*_UNREADABLE, ResultsError):
            pass  # the files say it all
    rows: list[dict[str, Any]] = []
    finished: dict[str, str] = {}
    older: dict[str, list[str]] = {}
    unreadable: list[str] = []
    for path in files:
        try:
            read = parse_job_file(path)
        except ResultsError as error:
            unreadable.append(str(error))
            continue
        rows += read
        place = path.relative_to(root).as_posix()
        finished[place] = text(read[0], "overrides")
        if less := lacking(read):
            older[place] = less
    return Jobs(frame_of(rows), Collected("" if unreadable else digest, finished, older), unreadable)


def frame_of(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """Rows as a data frame in the schema's columns, dtypes and order.

    Args:
      rows: one mapping per (point, seed), from column name to value.

    Example:
      >>> frame_of([{"seed": 1, "epsilon": 2.0}, {"seed": 0, "epsilon": 2.0, "note": "x"}])[["seed", "note"]].values
      array([[0, 'x'],
             [1, nan]], dtype=object)
    """
    unknown = list(dict.fromkeys(name for row in rows for name in row if name not in SCHEMA))
    rows = [row if row.get("diverged") is not None else row | {"diverged": _seems_diverged(row)} for row in rows]
    data = {
        column.name: pd.Series([row.get(column.name) for row in rows], dtype=_PANDAS.get(column.dtype, "object"))
        for column in COLUMNS
    }
    data |= {name: pd.Series([row.get(name) for row in rows]) for name in unknown}
    return _in_order(data)


def _in_order(data: dict[str, pd.Series]) -> pd.DataFrame:
    frame = pd.DataFrame(data)
    keys: Any = frame[[*ORDER, "seed"]]
    keys = keys.sort_values([*ORDER, "seed"], kind="stable", na_position="first")
    if not (keys.index == frame.index).all():  # a table that was written in order is not copied, with all its texts
        frame = frame.loc[keys.index].reset_index(drop=True)
    frame.attrs["unreadable"] = []
    return frame


def _seems_diverged(row: dict[str, Any]) -> bool | None:
    """Of a row from before there was the column: whether one of its metrics is no finite number; None: nothing says."""
    numbers = [value for name in METRICS if isinstance(value := row.get(name), float)]
    return True if not np.isfinite(numbers).all() else None


def load(path: Path | str, *, curves: bool = True) -> pd.DataFrame:
    """A results table from a sweep's folder, or from a ``results.parquet`` or ``results.json`` that was passed on.

    Formal guarantees: a folder's ``result.json`` files come before its ``results.parquet`` or ``.json``, so that a
    table is never older than the jobs beside it; where none of these can be read, that is said and no table is given.

    Args:
      path: the folder or the file.
      curves: whether columns of lists are needed, which take longest to read; without, they may be empty.

    Returns:
      One row per (point, seed), in the schema's columns and dtypes.

    Raises:
      ResultsError: there is nothing to read.

    Example:
      >>> load("/nowhere")
      Traceback (most recent call last):
          ...
      dpjax.results.errors.ResultsError: there is no /nowhere: give the folder of a sweep, such as results/quickstart
    """
    return collected_with(path, curves=curves)[0]


def collected_with(path: Path | str, *, curves: bool = True) -> tuple[pd.DataFrame, Collected | None]:
    """What ``load`` gives, and the files of the folder that it was collected from.

    Args:
      path: as for ``load``.
      curves: as for ``load``.

    Returns:
      The table, and what ``write_frame`` may write beside it; None where it is not of jobs.

    Raises:
      ResultsError: there is nothing to read.

    Example:
      >>> collected_with("/nowhere")
      Traceback (most recent call last):
          ...
      dpjax.results.errors.ResultsError: there is no /nowhere: give the folder of a sweep, such as results/quickstart
    """
    path = Path(path)
    if not path.exists():
        raise ResultsError(f"there is no {path}: give the folder of a sweep, such as results/quickstart")
    if path.is_file():
        return _read_table(path, curves), None
    frame, collected = _collected(path, curves)
    if len(frame):
        return frame, collected
    spoilt = frame.attrs["unreadable"]
    # A table of before would hide that its jobs can't be read any more.
    tables = [] if job_files(path) else [path / name for name in ("results.parquet", "results.json")]
    for table in tables:
        if table.exists():
            frame = _read_table(table, curves)
            frame.attrs["unreadable"] = spoilt
            return frame, None
    why = f" that can be read ({spoilt[0]})" if spoilt else ""
    raise ResultsError(f"there is no result.json{why} below {path}: give the folder of a sweep with finished jobs")


def write_table(directory: Path | str) -> tuple[Path, Path]:
    """Collects a sweep's jobs into ``results.parquet`` and ``results.json`` in its folder.

    Formal guarantees: each file is replaced in one step; both hold the same rows, in the order of ``collect``.

    Args:
      directory: the sweep's folder.

    Returns:
      The paths of the Parquet and the JSON file.

    Raises:
      ResultsError: there is no result below the folder, or a file could not be written.

    Example:
      >>> write_table("/nowhere")
      Traceback (most recent call last):
          ...
      dpjax.results.errors.ResultsError: there is no /nowhere: give the folder of a sweep, such as results/quickstart
    """
    frame, collected = collected_with(directory)
    return write_frame(frame, directory, collected)


def write_frame(frame: pd.DataFrame, directory: Path | str, collected: Collected | None = None) -> tuple[Path, Path]:
    """Writes a results table as ``results.parquet`` and ``results.json``.

    Args:
      frame: what ``collect`` or ``load`` gave.
      directory: existing folder to write to.
      collected: which files of the folder the rows are from, if they are all that those hold.

    Returns:
      The paths of the Parquet and the JSON file.

    Raises:
      ResultsError: a file could not be written.

    Example:
      >>> import tempfile
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     paths = write_frame(frame_of([{"seed": 0, "epsilon": float("inf")}]), folder)
      ...     [load(path)["epsilon"].item() for path in paths]
      [inf, inf]
    """
    directory = Path(directory)
    buffer = io.BytesIO()
    pq.write_table(_stamped(arrow_table(frame), collected), buffer)
    parquet = write_atomically(directory / "results.parquet", buffer.getvalue())
    return parquet, write_atomically(directory / "results.json", as_json(frame))


def _stamped(table: pa.Table, collected: Collected | None) -> pa.Table:
    """A table that says what it was collected from, where it reads back as the rows of those files do."""
    plain = (pa.string(), pa.int64(), pa.float64(), pa.bool_())
    whole = all(name in SCHEMA or table.schema.field(name).type in plain for name in table.column_names)
    return table.replace_schema_metadata(as_metadata(collected)) if collected and collected.digest and whole else table


def _cell(value: Any) -> Any:
    if isinstance(value, np.ndarray | list | tuple | dict):
        return value
    if value is pd.NA or value is None:
        return None
    # In a table, a missing number and nan are the same thing; JSON keeps null for both.
    return None if isinstance(value, float) and np.isnan(value) else value


def arrow_table(frame: pd.DataFrame) -> pa.Table:
    """A results table in Arrow, with the types of the schema.

    Args:
      frame: what ``collect`` or ``load`` gave.

    Example:
      >>> arrow_table(frame_of([{"seed": 0}])).num_rows
      1
    """
    arrays: dict[str, pa.Array] = {}
    for name in frame.columns:
        column, series = SCHEMA.get(str(name)), frame[name]
        if column is not None and series.dtype != object:
            arrays[str(name)] = pa.array(series, type=_ARROW[column.dtype], from_pandas=True)
            continue
        values = [_cell(value) for value in series]
        if column is not None:
            arrays[str(name)] = pa.array(values, type=_ARROW[column.dtype])
            continue
        try:
            arrays[str(name)] = pa.array(values)
        except (pa.ArrowException, OverflowError, ValueError, TypeError):
            # A column of mixed kinds has no Arrow type; its JSON does.
            arrays[str(name)] = pa.array([json.dumps(encode(str(name), value)) for value in values])
    return pa.table(arrays)


def _read_table(path: Path, curves: bool) -> pd.DataFrame:
    try:
        if path.suffix == ".parquet":
            schema = pq.read_schema(path)
            if _of_the_schema(schema):
                names = [n for n in schema.names if curves or n not in SCHEMA or SCHEMA[n].dtype not in _LISTS]
                return _in_order(_columns_of(pq.read_table(path, columns=names)))
            rows = pq.read_table(path).to_pylist()
            _refuse_misfits(rows)
            return frame_of(rows)
        document = json.loads(path.read_bytes())
        rows = document["rows"] if isinstance(document, dict) else None
        if not isinstance(rows, list):
            raise ValueError("it has no rows")
        rows = [{name: decode(name, value) for name, value in row.items()} for row in rows]
        _refuse_misfits(rows)
        return frame_of(rows)
    except (*_UNREADABLE, ResultsError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ResultsError(f"{path} is no results table ({reason}): give a results.parquet or results.json") from error


def _of_the_schema(schema: pa.Schema) -> bool:
    """Whether columns have the types that ``arrow_table`` gives them: no cell of them can be a misfit."""
    return all(name not in SCHEMA or schema.field(name).type == _ARROW[SCHEMA[name].dtype] for name in schema.names)


def _columns_of(table: pa.Table) -> dict[str, pd.Series]:
    """What ``frame_of`` makes of the table's rows, column by column."""
    rows, held = table.num_rows, set(table.column_names)
    data: dict[str, pd.Series] = {}
    for column in COLUMNS:
        if column.name not in held:
            data[column.name] = pd.Series([None] * rows, dtype=_PANDAS.get(column.dtype, "object"))
        elif column.dtype in _LISTS:
            data[column.name] = pd.Series(table[column.name].to_pylist(), dtype="object")
        else:
            data[column.name] = table[column.name].to_pandas(types_mapper=_MAPPED.get)
    beyond = np.zeros(rows, bool)
    for name in METRICS:
        if name in held and SCHEMA[name].dtype == "float":
            there = table[name].is_valid().to_numpy()  # what is missing is no number that is not finite
            beyond |= there & ~np.isfinite(table[name].to_numpy())
    seems = pd.Series(pd.arrays.BooleanArray(beyond, ~beyond))
    data["diverged"] = data["diverged"].fillna(seems)
    for name in table.column_names:
        if name not in SCHEMA:
            values = table[name].to_pylist()
            _refuse_misfits([{name: value} for value in values])
            data[name] = pd.Series(values)
    return data


def _refuse_misfits(rows: list[dict[str, Any]]) -> None:
    """Each cell must be one that its column can hold; of equal cells, which are most of a large table, one is tried."""
    tried: set[tuple[str, type, Any]] = set()
    for row in rows:
        for name, value in row.items():
            cell = (name, type(value), value if isinstance(value, str | int | float) else None)
            if cell not in tried:
                encode(name, value)
            if value is None or cell[2] is not None:
                tried.add(cell)
