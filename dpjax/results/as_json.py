"""The text of ``results.json``: rows as JSON, in which equal cells are spelt once."""

import json
from typing import Any

from dpjax.results.distinct import Table
from dpjax.results.schema import SCHEMA, encode


def as_json(frame: Any) -> bytes:
    """A results table as JSON of one cell a line.

    Formal guarantees: what ``json.dumps`` gives of the rows with ``indent=1``.

    Args:
      frame: of pandas.

    Raises:
      ResultsError: a cell does not fit its column.

    Example:
      >>> from dpjax.results.table import frame_of
      >>> json.loads(as_json(frame_of([{"seed": 0, "epsilon": float("inf")}])))["rows"][0]["epsilon"]
      'inf'
    """
    table = Table(frame)
    columns = []
    for name in table.names:
        start = f"   {json.dumps(name, ensure_ascii=False)}: "
        columns.append(table[name].each(lambda cell, name=name, start=start: start + _spelt(name, cell)).told())
    rows = ",\n".join(["  {\n" + ",\n".join(row) + "\n  }" for row in zip(*columns, strict=True)])
    body = f"[\n{rows}\n ]" if rows else "[]"
    return f'{{\n "format": "dpjax-results",\n "version": 1,\n "rows": {body}\n}}\n'.encode()


def _spelt(name: str, cell: Any) -> str:
    value = encode(name, cell)
    if isinstance(value, list) and name in SCHEMA:  # flat, of numbers: without indent they are spelt ten times as fast
        flat = json.dumps(value, allow_nan=False)
        return "[]" if flat == "[]" else "[\n    " + flat[1:-1].replace(", ", ",\n    ") + "\n   ]"
    text = json.dumps(value, allow_nan=False, ensure_ascii=False, indent=1)
    return text.replace("\n", "\n   ") if isinstance(value, list | dict) else text
