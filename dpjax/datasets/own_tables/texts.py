"""Texts of one's own with labels as a data set: split and called as the rows of a table are."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from dpjax.datasets import tables
from dpjax.datasets.entries import Dataset
from dpjax.datasets.own_tables.contents import contents_of
from dpjax.datasets.own_tables.kinds import Column, read_column
from dpjax.datasets.own_tables.reading import check_names, open_tables
from dpjax.datasets.own_tables.sides import as_dataset, take_sides
from dpjax.datasets.own_tables.source import TableSource
from dpjax.fetching.sources import DatasetError

_ALL = "text"  # the class of rows without a label


def load_texts(source: TableSource, columns: Sequence[str], read: Mapping[str, Any] | None = None) -> Dataset:
    """Loads texts with labels into memory. It never touches the network.

    Formal guarantees: which side a text is on depends on itself, its owner's name or its file alone, as for tables; the
    classes are those that ``source`` names, and where it names none ``Dataset.learnt`` says so.

    Args:
      source: where the table lies, and what its columns are for; its ``columns`` are empty.
      columns: of texts; one, two of pairs, or three of prompt, chosen and rejected answer. Without a label all rows are
        of one class.
      read: split → ``pyarrow.Table`` in the place of what lies there; None: that is read.

    Returns:
      Inputs ``[rows]`` or ``[rows, columns]`` of dtype ``np.dtypes.StringDType()``, labels int32; read-only.

    Raises:
      DatasetError: a file that is not of its form, a column that is not there, a text that is empty, or nothing to
        learn from or to test on; it names row and column.

    Example:
      >>> import pathlib, tempfile
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     file = pathlib.Path(folder, "mails.csv")
      ...     _ = file.write_text("text,kind\\n" + "".join(f"mail {i},{'hs'[i % 2]}\\n" for i in range(40)))
      ...     data = load_texts(TableSource(str(file), label="kind", classes=("h", "s")), ["text"])
      >>> data.class_names, data.learnt
      (('h', 's'), '')
    """
    where = f"data.path={source.path!r}:"
    table, of_file = open_tables(source, where, read)
    if len(set(columns)) < len(columns) or not 1 <= len(columns) <= 3:
        raise DatasetError(
            f"{where} data.text={list(columns)} must be one column of texts, two of pairs, or three of prompt, chosen "
            "and rejected"
        )
    # Without a label a column of texts stands in for it, so that the other names are looked at.
    check_names(
        table.column_names,
        source if source.label else replace(source, label=columns[0]),
        dict.fromkeys(columns if source.label else columns[1:], ()),
        where,
    )
    if not source.label and source.classes:
        raise DatasetError(f"{where} data.classes={list(source.classes)} names classes; say data.label=COLUMN too")

    def role(name: str, kind: Any = "category", words: Sequence[str] = ()) -> Column:
        return read_column(table, name, where, kind=kind, missing=source.missing, words=tuple(words))

    owner = role(source.unit) if source.unit else None
    when = role(source.split_column, None) if source.split_column else None
    if when is not None and when.kind not in ("date", "number") and (source.split == "time" or source.split_at):
        when = role(source.split_column, "number")
    label = Column("", "category", np.zeros(table.num_rows, np.int64), (_ALL,))
    if source.label:
        label = role(source.label, words=source.classes)
    asked = source if source.label else replace(source, classes=(_ALL,))
    sides = take_sides(asked, label, owner, when, of_file, contents_of(table), where)
    texts = tables.read_texts(table.take(np.flatnonzero(sides.kept)), tuple(columns), where)
    learnt = "; ".join(filter(None, ["" if asked.classes else f"classes of {source.label}", sides.learnt]))
    return as_dataset(asked, sides, texts, task="document", learnt=learnt)
