"""What each row holds, told by the row alone, so that no other row decides on which side of a split it is."""

import datetime
import decimal
from collections.abc import Mapping
from typing import Any


def contents_of(table: Any) -> list[bytes]:
    """All that each row holds, as bytes.

    Formal guarantees: they depend on the row's own values and on the names of their columns. How a column is typed, in
    which order columns stand, and which there are beside the row's own, other rows decide: one missing value makes
    whole numbers floats, and one field more in a line of JSON is a column more for all. So 5 and 5.0 are the same, and
    what is missing is not there.

    Args:
      table: ``pyarrow.Table``.

    Example:
      >>> import pyarrow
      >>> one = contents_of(pyarrow.table({"age": [34, 51], "sex": ["f", "m"]}))
      >>> one == contents_of(pyarrow.table({"sex": ["f", "m", "f"], "age": [34.0, 51.0, None]}))[:2]
      True
    """
    names = table.column_names
    order = sorted(range(len(names)), key=lambda i: names[i])
    out: list[bytes] = []
    for start in range(0, table.num_rows, _AT_ONCE):
        part = table.slice(start, _AT_ONCE)
        cells = [_shown(names[i], part.column(i)) for i in order]
        out += [f"[{', '.join(filter(None, row))}]".encode() for row in zip(*cells, strict=True)]
    return out


_AT_ONCE = 16_384
"""Rows whose cells are held at once, each as an object."""


def _shown(name: str, column: Any) -> list[str]:
    """Of each row ``repr`` of the column's name and what it holds; empty where it is missing."""
    from pyarrow import types

    values, before = column.to_pylist(), f"({name!r}, "
    if types.is_floating(column.type):
        told = [value if value is not None and value % 1 > 0 else _told(value) for value in values]
    elif types.is_integer(column.type):
        told = [value if value is not None and -_EXACT < value < _EXACT else _told(value) for value in values]
    else:
        told = map(_told, values)
    return ["" if value is None else f"{before}{value!r})" for value in told]


_EXACT = 2**53


def _told(value: Any) -> Any:
    """A value whatever type its column has; None of what is missing."""
    if value is None or isinstance(value, bool | str | bytes):
        return value or (None if value in ("", b"") else value)
    if isinstance(value, int | float | decimal.Decimal):
        if value != value:
            return None
        return int(value) if abs(value) < 2**53 and value == int(value) else float(value)
    if isinstance(value, datetime.datetime | datetime.date | datetime.time):
        return value.isoformat().replace("T00:00:00", "")
    if isinstance(value, Mapping):
        return [(key, told) for key, each in sorted(value.items()) if (told := _told(each)) is not None]
    if isinstance(value, list | tuple):
        return [_told(each) for each in value]
    return str(value)
