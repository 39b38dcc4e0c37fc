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
    columns = [(names[i], table.column(i).to_pylist()) for i in order]
    rows: list[list[tuple[str, Any]]] = [[] for _ in range(table.num_rows)]
    for name, values in columns:
        for row, value in zip(rows, values, strict=True):
            told = _told(value)
            if told is not None:
                row.append((name, told))
    return [repr(row).encode() for row in rows]


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
