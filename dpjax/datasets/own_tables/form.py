"""Whether a file is a table at all: one line of names, each once, and rows below it that no quote has swallowed."""

import re
from collections.abc import Collection, Sequence
from typing import Any

from dpjax.fetching.sources import DatasetError

_VALUE = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|\d{4}-\d{2}-\d{2}.*")
_OF_PANDAS = ("", "Unnamed: 0", "__index_level_0__")
_MARKS = (",", ";", "\t", "|")


def without_row_numbers(table: Any, where: str, known: Collection[str] = ()) -> Any:
    """A table whose names and rows are what they seem, without the numbers of rows that pandas writes in front.

    Args:
      table: ``pyarrow.Table``.
      where: names it in messages.
      known: columns that the config names, which are there.

    Raises:
      DatasetError: no line of names, or two; a column twice or without a name; a row that is several. It names the row.

    Example:
      >>> import pyarrow
      >>> without_row_numbers(pyarrow.table({"": ["0", "1"], "age": ["34", "51"]}), "it:").column_names
      ['age']
    """
    names = list(table.column_names)
    if names and names[0] in _OF_PANDAS and names[0] not in known:  # whatever it holds: what it is, its name says
        table, names = table.drop_columns([names[0]]), names[1:]
    if not names:
        raise DatasetError(f"{where} has no columns")
    values = [name for name in names if _VALUE.fullmatch(name)]
    if len(values) * 2 >= len(names) and not set(names) & set(known):
        raise DatasetError(
            f"{where} its first line holds values, as {values[0]!r}, where names of columns must stand; add a line of "
            "names"
        )
    refuse_twice(names, where)
    refuse_far_times(table, where)
    if "" in names:
        raise DatasetError(f"{where} column {names.index('') + 1} has no name; give it one")
    _refuse_swallowed(table, names, where)
    first = [table.column(i)[0].as_py() for i in range(len(names))] if table.num_rows else []
    _refuse_names_again(table, names, where)
    if (
        len(names) > 1
        and first
        and all(isinstance(each, str) and each and not _VALUE.fullmatch(each) for each in first)
    ):
        _refuse_units(table, names, where)
    return table


def refuse_twice(names: Sequence[str], where: str) -> None:
    """Refuses a table two of whose columns have one name.

    Args:
      names: of its columns.
      where: names the table in messages.

    Raises:
      DatasetError: it has such columns.
    """
    if twice := next((name for i, name in enumerate(names) if name in names[:i]), None):
        raise DatasetError(f"{where} has {names.count(twice)} columns {twice!r}; rename or remove all but one")


def refuse_far_times(table: Any, where: str) -> None:
    """Refuses dates and times that no calendar of Python's has.

    Args:
      table: of pyarrow.
      where: names the table in messages.

    Raises:
      DatasetError: one is before the year 1 or after 9999.
    """
    import pyarrow
    from pyarrow import compute

    for name in table.column_names:
        column = table.column(name)
        if not (pyarrow.types.is_timestamp(column.type) or pyarrow.types.is_date(column.type)):
            continue
        try:
            compute.call_function("min_max", [column]).as_py()
        except (OverflowError, ValueError) as error:
            raise DatasetError(
                f"{where} column {name!r} holds times outside of the years 1 to 9999; mend them, or write it as numbers"
            ) from error


def _refuse_names_again(table: Any, names: list[str], where: str) -> None:
    import pyarrow

    if pyarrow.types.is_integer(table.column(0).type) or pyarrow.types.is_floating(table.column(0).type):
        return  # no number is a name
    column = table.column(0).to_pylist()
    for row, value in enumerate(column):
        if value == names[0] and [str(table.column(i)[row].as_py()).strip() for i in range(len(names))] == names:
            raise DatasetError(f"{where} row {row + 1} repeats the names of the columns; take it away")


def _refuse_units(table: Any, names: list[str], where: str) -> None:
    """A second line of names, or of units, above columns of numbers."""
    numbers = 0
    for i in range(len(names)):
        rest = [each for each in table.column(i).slice(1, 20).to_pylist() if each not in (None, "")]
        numbers += len(rest) >= 3 and all(_VALUE.fullmatch(str(each)) for each in rest)
    if numbers * 2 >= len(names):
        shown = ", ".join(repr(table.column(i)[0].as_py()) for i in range(min(len(names), 3)))
        raise DatasetError(f"{where} row 1 ({shown}) is a second line of names or units; take it away")


def _refuse_swallowed(table: Any, names: list[str], where: str) -> None:
    """A quote that is closed many lines later makes one cell of several rows, and no reader complains."""
    import pyarrow

    if len(names) < 3:
        return
    for name in names:
        column = table.column(name)
        if not (pyarrow.types.is_string(column.type) or pyarrow.types.is_large_string(column.type)):
            continue
        for row, value in ((row, value) for row, value in enumerate(column.to_pylist()) if value and "\n" in value):
            lines = value.split("\n")[1:]
            if any(sum(line.count(mark) == len(names) - 1 for line in lines) > 1 for mark in _MARKS):
                raise DatasetError(
                    f"{where} column {name!r} of row {row + 1} holds whole lines of the file: a quote is opened there "
                    "and closed too late; mend it"
                )
