"""Texts of one's own with labels as a data set: split and called as the rows of a table are."""

from collections.abc import Mapping, Sequence
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


def load_texts(source: TableSource, columns: Sequence[str], read: Mapping[str, Any] | None = None) -> Dataset:
    """Loads texts with labels into memory. It never touches the network.

    Formal guarantees: which side a text is on depends on itself, its owner's name or its file alone, as for tables; the
    classes are those that ``source`` names, and where it names none ``Dataset.learnt`` says so.

    Args:
      source: where the table lies, and what its columns are for; its ``columns`` are empty.
      columns: of texts; one, or two of pairs.
      read: split → ``pyarrow.Table`` in the place of what lies there; None: that is read.

    Returns:
      Inputs ``[rows]`` or ``[rows, 2]`` of dtype ``np.dtypes.StringDType()``, labels int32; read-only.

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
    check_names(table.column_names, source, dict.fromkeys(columns, ()), where)
    if len(set(columns)) < len(columns) or len(columns) > 2:
        raise DatasetError(f"{where} data.text={list(columns)} must be one column of texts, or two of pairs")

    def role(name: str, kind: Any = "category", words: Sequence[str] = ()) -> Column:
        return read_column(table, name, where, kind=kind, missing=source.missing, words=tuple(words))

    owner = role(source.unit) if source.unit else None
    when = role(source.split_column, None) if source.split_column else None
    if when is not None and when.kind not in ("date", "number") and (source.split == "time" or source.split_at):
        when = role(source.split_column, "number")
    label = role(source.label, words=source.classes)
    sides = take_sides(source, label, owner, when, of_file, contents_of(table), where)
    texts = tables.read_texts(table.take(np.flatnonzero(sides.kept)), tuple(columns), where)
    learnt = "; ".join(filter(None, ["" if source.classes else f"classes of {source.label}", sides.learnt]))
    return as_dataset(source, sides, texts, task="document", learnt=learnt)
