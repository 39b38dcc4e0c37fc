"""A results table in Arrow, and read from ``results.parquet`` or ``results.json``."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from dpjax.results.collected import Collected, as_metadata
from dpjax.results.columns import COLUMNS
from dpjax.results.errors import ResultsError
from dpjax.results.frames import PANDAS, frame_of, in_order
from dpjax.results.schema import METRICS, SCHEMA, decode, encode
from dpjax.results.sealing import SealedError, content_of, is_sealed

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
_SPELT = b"dpjax_json"
"""Marks a column whose cells are of mixed kinds, so that each is spelt as JSON."""
_MAPPED = {pa.string(): pd.StringDtype(na_value=np.nan), pa.int64(): pd.Int64Dtype(), pa.bool_(): pd.BooleanDtype()}
UNREADABLE = (
    OSError,
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
    RecursionError,
    OverflowError,
    pa.ArrowException,
)


def stamped(table: pa.Table, collected: Collected | None) -> pa.Table:
    """A table that says what it was collected from, where it reads back as the rows of those files do.

    Args:
      table: from ``arrow_table``.
      collected: the files; None: it is of none.
    """
    plain = (pa.string(), pa.int64(), pa.float64(), pa.bool_())  # what is spelt as JSON is a string, and read back
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
    arrays: list[pa.Array] = []
    fields: list[pa.Field] = []
    for name in map(str, frame.columns):
        column, series, spelt = SCHEMA.get(name), frame[name], None
        if column is not None and series.dtype != object:
            array = pa.array(series, type=_ARROW[column.dtype], from_pandas=True)
        elif column is not None:
            array = pa.array([_cell(value) for value in series], type=_ARROW[column.dtype])
        else:
            array = _typed([_cell(value) for value in series])
            if array is None:
                array = pa.array([json.dumps(encode(name, value)) for value in series], type=pa.string())
                spelt = {_SPELT: b"1"}
        arrays.append(array)
        fields.append(pa.field(name, array.type, metadata=spelt))
    return pa.Table.from_arrays(arrays, schema=pa.schema(fields))


def _typed(values: list[Any]) -> pa.Array | None:
    """Cells of one kind; None for mixed kinds, which have no Arrow type, and for empty mappings, which no file has."""
    try:
        array = pa.array(values)
    except (pa.ArrowException, OverflowError, ValueError, TypeError):
        return None
    return array if _can_be_written(array.type) else None


def _can_be_written(kind: pa.DataType) -> bool:
    inner = [kind.field(place).type for place in range(kind.num_fields)]
    return all(map(_can_be_written, inner)) and not (pa.types.is_struct(kind) and not inner)


def _told(table: pa.Table, name: str) -> list[Any]:
    """The cells of a column outside the schema, also where they are spelt as JSON."""
    cells = table[name].to_pylist()
    if _SPELT not in (table.schema.field(name).metadata or {}):
        return cells
    return [None if cell is None else decode(name, json.loads(cell)) for cell in cells]


def read_table(path: Path, curves: bool = True, configs: bool = True, compact: bool = False) -> pd.DataFrame:
    """The rows of a ``results.parquet`` or ``results.json``.

    Args:
      path: the file.
      curves: whether columns of lists are read; without, they may be empty.
      configs: whether the column ``config`` is; without, it may be empty.
      compact: leave columns of lists in Arrow, and ``config`` as categories, for ``distinct.Table`` to read: most of
        what they hold is not asked for.

    Raises:
      ResultsError: it is no results table.
    """
    try:
        if path.suffix == ".parquet":
            source = parquet_at(path)
            schema = pq.read_schema(source)
            if _of_the_schema(schema):
                names = [n for n in schema.names if curves or n not in SCHEMA or SCHEMA[n].dtype not in _LISTS]
                names = [n for n in names if configs or n != "config"]
                # A file on disk is read faster as it comes than all at once.
                shared = ["config"] if compact else None
                table = pq.read_table(source, columns=names, pre_buffer=False, read_dictionary=shared)
                return in_order(_columns_of(table, compact))
            table = pq.read_table(source)
            told = {n: table[n].to_pylist() if n in SCHEMA else _told(table, n) for n in table.column_names}
            rows = [dict(zip(told, row, strict=True)) for row in zip(*told.values(), strict=True)]
            _refuse_misfits(rows)
            return frame_of(rows)
        document = json.loads(content_of(path))
        rows = document["rows"] if isinstance(document, dict) else None
        if not isinstance(rows, list):
            raise ValueError("it has no rows")
        rows = [{name: decode(name, value) for name, value in row.items()} for row in rows]
        _refuse_misfits(rows)
        return frame_of(rows)
    except SealedError:
        raise
    except (*UNREADABLE, ResultsError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ResultsError(f"{path} is no results table ({reason}): give a results.parquet or results.json") from error


def parquet_at(path: Path) -> Any:
    """What ``pyarrow.parquet`` reads: the path, or of a sealed file what it holds, in memory.

    Args:
      path: of the file.

    Raises:
      SealedError: it is sealed, and the keys that ``DPJAX_KEYS`` names don't open it.
    """
    return pa.BufferReader(content_of(path)) if is_sealed(path) else path


def _of_the_schema(schema: pa.Schema) -> bool:
    """Whether columns have the types that ``arrow_table`` gives them: no cell of them can be a misfit."""
    return all(name not in SCHEMA or schema.field(name).type == _ARROW[SCHEMA[name].dtype] for name in schema.names)


def _columns_of(table: pa.Table, compact: bool) -> dict[str, pd.Series]:
    """What ``frame_of`` makes of the table's rows, column by column."""
    rows, held = table.num_rows, set(table.column_names)
    data: dict[str, pd.Series] = {}
    for column in COLUMNS:
        if column.name not in held:
            data[column.name] = pd.Series([None] * rows, dtype=PANDAS.get(column.dtype, "object"))
        elif column.dtype in _LISTS and compact:
            data[column.name] = table[column.name].to_pandas(types_mapper=pd.ArrowDtype)
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
            values = _told(table, name)
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
