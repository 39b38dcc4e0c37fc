"""Tables of texts in files: CSV, TSV, JSON lines and Parquet, one table a split, as hub repositories lay them out."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int32, Shaped

from dpjax.datasets.schema import DatasetError
from dpjax.datasets.texts import check_texts, text_array

SUFFIXES = (".csv", ".tsv", ".jsonl", ".json", ".parquet")
_PART = re.compile(r"[-_.]?\d+(-of-\d+)?$")  # "train-00000-of-00003"


def read_tables(path: Path) -> dict[str, Any]:
    """Reads the splits of a data set.

    Args:
      path: a file, which is one split; or a folder, where a file's name up to the numbers at its end names its split
        and files of one name are parts of one.

    Returns:
      Name of the split → ``pyarrow.Table``, in the order of the names.

    Raises:
      DatasetError: there is no such file, or it is not of its form.
    """
    import pyarrow

    if path.is_dir():
        files = sorted(each for each in path.rglob("*") if each.suffix in SUFFIXES and not each.name.startswith("."))
        # A file about the data set, as `dataset_infos.json`, is none of its splits.
        files = [each for each in files if not each.name.startswith("dataset_info")]
    else:
        files = [path]
    if not files or not path.exists() or files[0].suffix not in SUFFIXES:
        raise DatasetError(f"data.name={str(path)!r}: no file {' or '.join(f'*{each}' for each in SUFFIXES)} is there")
    parts: dict[str, list[Any]] = {}
    for file in files:
        split = _PART.sub("", file.stem) or file.stem
        try:
            parts.setdefault(split, []).append(_read_table(file))
        except (pyarrow.ArrowException, ValueError, OSError) as error:
            raise DatasetError(f"data.name={str(path)!r}: {file.name} cannot be read ({error})") from error
    return {split: pyarrow.concat_tables(tables, promote_options="default") for split, tables in parts.items()}


def _read_table(file: Path) -> Any:
    import pyarrow

    if file.suffix == ".parquet":
        from pyarrow import parquet

        return parquet.ParquetFile(file).read()  # not `read_table`, which reads columns out of the folder's name
    size = min(max(file.stat().st_size, 1), 2**31 - 1)  # a row must fit into a block
    if file.suffix in (".csv", ".tsv"):
        from pyarrow import csv

        return csv.read_csv(
            file,
            csv.ReadOptions(block_size=size),
            csv.ParseOptions(delimiter="\t" if file.suffix == ".tsv" else ",", newlines_in_values=True),
        )
    if file.suffix == ".json" and (rows := file.read_text(encoding="utf-8").lstrip()).startswith("["):
        return pyarrow.Table.from_pylist(json.loads(rows))
    from pyarrow import json as lines

    return lines.read_json(file, lines.ReadOptions(block_size=size))


def read_texts(table: Any, columns: tuple[str, ...], where: str) -> Shaped[np.ndarray, "rows ..."]:
    """Turns one or more columns of a table into an array of texts.

    Args:
      table: ``pyarrow.Table``.
      columns: of texts.
      where: names the table in messages.

    Returns:
      ``[rows]`` for one column, ``[rows, columns]`` for several, without white space at the ends.

    Raises:
      DatasetError: a column is missing or holds something else, or a text is empty; it names the first such row.
    """
    import pyarrow

    check_columns(table, columns, where)
    values = []
    for column in columns:
        kind = table.schema.field(column).type
        if not (pyarrow.types.is_string(kind) or pyarrow.types.is_large_string(kind)):
            raise DatasetError(f"{where} column {column!r} holds {kind}; it must hold texts")
        values.append([(text or "").strip() for text in table.column(column).to_pylist()])
    texts = (
        text_array(values[0])
        if len(columns) == 1
        else text_array(list(zip(*values, strict=True)), columns=len(columns))
    )
    check_texts(texts, where)
    return texts


def check_columns(table: Any, columns: tuple[str, ...], where: str) -> None:
    """Checks that a table has the columns.

    Raises:
      DatasetError: where one is missing; it lists those that there are.
    """
    for column in columns:
        if column not in table.column_names:
            raise DatasetError(f"{where} has no column {column!r} (it has {', '.join(table.column_names)})")


def read_labels(
    tables: Mapping[str, Any], column: str, where: str
) -> tuple[dict[str, Int32[np.ndarray, "rows"]], tuple[str, ...]]:
    """Turns one column of several tables into class numbers, the same in all.

    Args:
      tables: split → ``pyarrow.Table``.
      column: of labels: words, truth values or whole numbers from 0.
      where: names the tables in messages.

    Returns:
      Split → ``[rows]``; and a name per class: the hub's, else the words in their order, else the numbers.

    Raises:
      DatasetError: a label is missing, hidden (negative) or of another kind; it names the first such row.
    """
    import pyarrow

    types = pyarrow.types
    read: dict[str, list[Any]] = {}
    for split, table in tables.items():
        check_columns(table, (column,), f"{where} {split}")
        kind = table.schema.field(column).type
        if not any(
            is_it(kind) for is_it in (types.is_string, types.is_large_string, types.is_boolean, types.is_integer)
        ):
            raise DatasetError(f"{where} {split} column {column!r} holds {kind}; it must hold words or whole numbers")
        read[split] = table.column(column).to_pylist()
        for row, label in enumerate(read[split]):
            if label is None or (isinstance(label, int) and label < 0):
                raise DatasetError(
                    f"{where} {split} row {row} has no label in column {column!r} ({label}); leave it out"
                )
    seen = {label for labels in read.values() for label in labels}
    if all(isinstance(label, int) and not isinstance(label, bool) for label in seen):
        names = label_names(next(iter(tables.values())), column) or tuple(map(str, range(max(seen, default=-1) + 1)))
        return {split: np.array(labels, np.int32) for split, labels in read.items()}, names
    order = sorted(map(str, seen))
    number = {name: i for i, name in enumerate(order)}
    return {s: np.array([number[str(label)] for label in labels], np.int32) for s, labels in read.items()}, tuple(order)


def label_names(table: Any, column: str) -> tuple[str, ...]:
    """Returns the names that the hub's library left in a table for the numbers of a column; empty if there are none."""
    try:
        told = json.loads((table.schema.metadata or {})[b"huggingface"])
        return tuple(told["info"]["features"][column]["names"])
    except (KeyError, TypeError, ValueError):
        return ()
