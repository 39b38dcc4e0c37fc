"""A table as columns of few different cells: what many rows share is worked out once, and not once a row."""

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd


class Distinct(NamedTuple):
    """One column: its different cells, and which of them each row has.

    Attributes:
      codes: ``[rows]`` place among ``cells``, int.
      cells: as Python has them, None for what is missing; in the order in which rows have them first.
    """

    codes: np.ndarray
    cells: Sequence[Any]

    def told(self) -> list[Any]:
        """The cell of every row."""
        return self.some(np.arange(len(self.codes)))

    def some(self, rows: np.ndarray) -> list[Any]:
        """The cell of some rows.

        Args:
          rows: their numbers.
        """
        cells, codes = self.cells, self.codes[rows]
        return cells.some(codes) if isinstance(cells, _InArrow) else [cells[code] for code in codes.tolist()]

    def each(self, function: Callable[[Any], Any]) -> "Distinct":
        """The column of what a function makes of a cell.

        Args:
          function: called once a cell; what it gives may be equal for several.
        """
        return Distinct(self.codes, [function(cell) for cell in self.cells])


class Table:
    """A results table, column by column.

    Formal guarantees: ``each`` is what a function gives for every row by itself, if it is a function of what it reads.
    A column is looked through when it is first asked for.

    Args:
      frame: what ``collect``, ``load`` or ``summary`` gave.

    Example:
      >>> table = Table(pd.DataFrame({"epsilon": [1.0, 1.0, 2.0], "seed": [0, 1, 0]}))
      >>> table["epsilon"].cells, table["nothing"].told()
      ([1.0, 2.0], [None, None, None])
      >>> table.each(lambda row: 2 * row.get("epsilon"))  # was called twice
      Distinct(codes=array([0, 0, 1]), cells=[2.0, 4.0])
    """

    def __init__(self, frame: pd.DataFrame) -> None:
        self.size, self.names = len(frame), list(map(str, frame.columns))
        self._frame, self._known = frame, dict[str, Distinct]()

    def __getitem__(self, name: str) -> Distinct:
        if name not in self._known:
            there = name in self._frame.columns
            empty = Distinct(np.zeros(self.size, np.int64), [None] if self.size else [])
            self._known[name] = _distinct(self._frame[name]) if there else empty
        return self._known[name]

    def replaced(self, **columns: Distinct) -> "Table":
        """A table with other columns, or with more.

        Args:
          columns: of as many rows.
        """
        table = Table(self._frame)
        table.names = list(dict.fromkeys([*self.names, *columns]))
        table._known = self._known | columns
        return table

    def each(self, function: Callable[[Mapping[str, Any]], Any]) -> Distinct:
        """What a function makes of every row.

        Args:
          function: of a row, which it reads by ``get``, ``[]`` and ``in`` alone. Called once for all rows that are the
            same in what it read of one of them.
        """
        codes, cells = np.full(self.size, -1, np.int64), []
        names: list[str] = []  # that were read so far
        left = np.arange(self.size)
        while left.size:
            firsts, kinds = self._kinds(names, left)
            number, more = np.full(len(firsts), -1, np.int64), set[str]()
            for kind, first in enumerate(firsts.tolist()):
                made = function(row := _Row(self, first))
                if row.read <= set(names):
                    number[kind] = len(cells)
                    cells.append(made)
                else:  # rows of this kind may differ in what else was read
                    more |= row.read
            names = sorted({*names, *more})
            codes[left] = number[kinds]
            left = left[codes[left] < 0]
        return _in_order_of_rows(codes, cells)

    def same(self, names: list[str]) -> Distinct:
        """Rows that are the same in some columns: the place of their kind, and the first row of each.

        Args:
          names: of columns.
        """
        firsts, kinds = self._kinds(names, np.arange(self.size))
        return _in_order_of_rows(kinds, list(firsts))

    def records(self) -> list[dict[str, Any]]:
        """Rows, each with all columns."""
        cells = [self[name].told() for name in self.names]
        return [dict(zip(self.names, row, strict=True)) for row in zip(*cells, strict=True)]

    def _kinds(self, names: list[str], rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The first of some rows of each kind, and the kind of every one of them."""
        kinds = np.zeros(len(rows), np.int64)
        for name in names:
            column = self[name]
            if len(column.cells) > 1:
                _, kinds = np.unique(kinds * len(column.cells) + column.codes[rows], return_inverse=True)
        _, firsts = np.unique(kinds, return_index=True)
        return rows[firsts], kinds


class _Row(Mapping[str, Any]):
    """A row that remembers what was read of it."""

    def __init__(self, table: Table, row: int) -> None:
        self._table, self._row, self.read = table, row, set[str]()

    def __getitem__(self, name: str) -> Any:
        self.read.add(name)
        if name not in self._table.names:
            raise KeyError(name)
        column = self._table[name]
        return column.cells[column.codes[self._row]]

    def __iter__(self) -> Iterator[str]:
        self.read |= set(self._table.names)
        return iter(self._table.names)

    def __len__(self) -> int:
        return len(self._table.names)


def _in_order_of_rows(codes: np.ndarray, cells: list[Any]) -> Distinct:
    found, firsts = np.unique(codes, return_index=True)
    order = np.argsort(firsts)
    place = np.empty(len(cells), np.int64)
    place[found[order]] = np.arange(len(found))
    return Distinct(place[codes], [cells[code] for code in found[order]])


class _InArrow(Sequence[Any]):
    """Lists that are made only of those that are asked for."""

    def __init__(self, array: Any) -> None:
        self._array = array

    def __len__(self) -> int:
        return len(self._array)

    def __getitem__(self, place: Any) -> Any:
        return self._array[place].as_py()

    def some(self, places: np.ndarray) -> list[Any]:
        """Those at some places, at once."""
        return self._array.take(places).to_pylist()


def _in_arrow(array: Any) -> Distinct:
    """A column of lists: those of whole numbers, which many rows share, each once."""
    import pyarrow as pa

    array = array.combine_chunks()
    if not pa.types.is_integer(array.type.value_type) or array.flatten().null_count:
        return Distinct(np.arange(len(array)), _InArrow(array))
    values, ends = array.flatten().to_numpy(), np.cumsum(array.value_lengths().fill_null(0).to_numpy())
    content, size, missing = values.tobytes(), values.itemsize, array.is_null().to_pylist()
    places: dict[bytes | None, int] = {}
    codes, firsts, begin = np.empty(len(array), np.int64), [], 0
    for row, (end, is_missing) in enumerate(zip((size * ends).tolist(), missing, strict=True)):
        key = None if is_missing else content[begin:end]
        codes[row] = place = places.setdefault(key, len(firsts))
        if place == len(firsts):
            firsts.append(row)
        begin = end
    return Distinct(codes, array.take(pa.array(firsts, pa.int64())).to_pylist())


def _distinct(series: Any) -> Distinct:
    if isinstance(series.dtype, pd.ArrowDtype) and series.dtype.kind == "O" and len(series):
        return _in_arrow(series.array.__arrow_array__())
    if series.dtype == object:
        cells = series.tolist()
        # Curves are seldom equal, and take longest to compare.
        of_floats = any(isinstance(cell, list) and float in map(type, cell[:2]) for cell in cells[:100])
        return Distinct(np.arange(len(cells)), [_plain(cell) for cell in cells]) if of_floats else of_cells(cells)
    codes, cells = pd.factorize(series)  # -1: missing
    codes = codes.astype(np.int64)
    told = [each.item() if hasattr(each, "item") else each for each in list(cells)]
    missing = codes < 0
    return (
        _in_order_of_rows(np.where(missing, len(told), codes), [*told, None])
        if missing.any()
        else Distinct(codes, told)
    )


def of_cells(values: list[Any]) -> Distinct:
    """A column of cells of any kind, as Python has them.

    Args:
      values: one a row; lists and dicts too.
    """
    places: dict[Any, int] = {}
    cells: list[Any] = []
    codes = np.empty(len(values), np.int64)
    for row, value in enumerate(values):
        value = _plain(value)
        key = None if value is None else (type(value), _hashable(value))
        place = places.setdefault(key, len(cells))
        if place == len(cells):
            cells.append(value)
        codes[row] = place
    return Distinct(codes, cells)


def _plain(value: Any) -> Any:
    if value is None or type(value) is list:
        return value
    value = value.tolist() if hasattr(value, "tolist") else value
    return None if value is pd.NA or value is pd.NaT or (isinstance(value, float) and math.isnan(value)) else value


def _hashable(value: Any) -> Any:
    if isinstance(value, list):
        try:
            hash(flat := tuple(value))
            return flat
        except TypeError:
            return json.dumps(value, default=str)
    return json.dumps(value, default=str) if isinstance(value, dict) else value
