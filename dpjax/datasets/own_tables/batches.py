"""A table of one's own some rows at a time: each becomes what it becomes in memory, by what the config says of it."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, Int32

from dpjax.checks import as_listed
from dpjax.datasets import tables
from dpjax.datasets.own_tables.contents import contents_of
from dpjax.datasets.own_tables.form import refuse_far_times, refuse_twice, without_row_numbers
from dpjax.datasets.own_tables.kinds import MOST_EXACT, Column, Kind, days_of, read_column
from dpjax.datasets.own_tables.plans import Plan, Said, encode, plan_of
from dpjax.datasets.own_tables.reading import check_names
from dpjax.datasets.own_tables.sides import refuse_unnamed
from dpjax.datasets.own_tables.source import TableSource
from dpjax.datasets.own_tables.testing import sides_of
from dpjax.datasets.row_files import ending_of
from dpjax.datasets.targets import Target
from dpjax.fetching.sources import DatasetError

ROWS = 65_536
"""Rows that are in memory at once."""


class Batch(NamedTuple):
    """Some rows of a file.

    Attributes:
      table: ``pyarrow.Table``.
      start: rows before them.
      tests: whether they are of a file of test rows; None: files don't say.
      before: rows before them in their file.
      place: names them in messages.
    """

    table: Any
    start: int
    tests: bool | None
    before: int = 0
    place: str = ""


def batches_of(files: Sequence[tuple[Path, bool | None]], where: str) -> Iterator[Batch]:
    """All rows of Parquet and Arrow files, in their order, at most ``ROWS`` at a time.

    Args:
      files: and whether each holds test rows; None: it does not say.
      where: names them in messages.

    Raises:
      DatasetError: one can't be read, or has other columns than the first.
    """
    import pyarrow

    start, names = 0, None
    for file, tests in files:
        before, named = 0, f" {file.name}" if len(files) > 1 else ""
        try:
            for table in _tables_of(file):
                if names is None:
                    names = table.column_names
                    refuse_twice(names, where)
                if sorted(table.column_names) != sorted(names):
                    other = sorted(set(names) ^ set(table.column_names))
                    raise DatasetError(f"{where} {file.name} has other columns: not in all files is {other[0]!r}")
                if table.num_rows:
                    last = before + table.num_rows
                    place = f"{named} rows {before + 1:,} to {last:,}, counted from there:"
                    yield Batch(table.select(names), start, tests, before, place)
                    start, before = start + table.num_rows, last
        except (pyarrow.ArrowException, OSError) as error:
            why = str(error).split("\n")[0]
            raise DatasetError(f"{where} {file.name} cannot be read: {why}; write or fetch it again") from error
    if not start:
        raise DatasetError(f"{where} holds no rows; fill it")


def _tables_of(file: Path) -> Iterator[Any]:
    import pyarrow
    from pyarrow import parquet

    if ending_of(file.name) == ".parquet":
        whole = parquet.ParquetFile(file, memory_map=True)
        for group in range(whole.num_row_groups):  # of several at once the reader keeps all that it has read
            for batch in whole.iter_batches(ROWS, row_groups=[group], use_threads=False):
                yield pyarrow.Table.from_batches([batch]).replace_schema_metadata(whole.schema_arrow.metadata)
        return
    with file.open("rb") as stream:
        if stream.read(4) == b"FEA1":
            raise pyarrow.ArrowInvalid("it is Feather of version 1, which is to be written as version 2")
    with pyarrow.memory_map(str(file)) as mapped:
        try:
            found: Any = pyarrow.ipc.open_file(mapped)
            batches = (found.get_batch(number) for number in range(found.num_record_batches))
        except pyarrow.ArrowInvalid:  # as a stream, which is how the hub's library writes its files
            mapped.seek(0)
            batches = iter(pyarrow.ipc.open_stream(mapped))
        for batch in batches:
            batch.validate(full=True)  # it is mapped as it is, and nothing else looks at its offsets
            for begin in range(0, batch.num_rows, ROWS):
                yield pyarrow.Table.from_batches([batch.slice(begin, ROWS)])


class Rows(NamedTuple):
    """Rows as a run has them.

    Attributes:
      inputs: ``[rows, features]``.
      labels: ``[rows]`` class numbers, or numbers as the target scales them.
      tests: ``[rows]`` which of them test.
      given: ``[rows]`` labels in their own unit; None of classes.
      numbers: ``[rows]`` in the file, from 1 on; rows without a label are left out.
      columns: of the inputs.
      how: they were split, in words.
    """

    inputs: Float32[np.ndarray, "rows features"]
    labels: Int32[np.ndarray, "rows"] | Float32[np.ndarray, "rows"]
    tests: Bool[np.ndarray, "rows"]
    given: np.ndarray | None
    numbers: np.ndarray
    columns: tuple[Column, ...]
    how: str


class Reader(NamedTuple):
    """What is said of a table, which is all that rows are read by.

    Formal guarantees: what a row becomes, and on which side it is, depends on itself, its file and what the config
    says; nothing is learnt.

    Attributes:
      source: says where the table lies and what its columns are for.
      said: of its columns.
      plans: of the columns that become inputs.
      target: the number that is predicted; None: a class is.
      where: names the table in messages.
    """

    source: TableSource
    said: Mapping[str, Said]
    plans: tuple[Plan, ...]
    target: Target | None
    where: str

    def rows(self, batch: Batch, names: Sequence[str]) -> Rows:
        """Rows of a batch as inputs and labels.

        Args:
          batch: of the table.
          names: from ``names_of``.

        Raises:
          DatasetError: a value that is not of its column's kind, or a label that is not named.
        """
        source, table = self.source, batch.table.select(names)
        where = f"{self.where}{batch.place}"
        refuse_far_times(table, where)
        label = self._column(table, source.label, "category" if self.target is None else "number", where)
        kept = label.codes >= 0
        columns = tuple(self._column(table, plan.name, plan.kind, where).rows(kept) for plan in self.plans)
        when = self._when(table, where).rows(kept) if source.split_column else None
        label, numbers = label.rows(kept), batch.start + 1 + np.flatnonzero(kept)
        of_file = None if batch.tests is None else np.full(len(numbers), batch.tests)
        by_content = (source.split or ("rows" if when is None and of_file is None else "")) == "rows"
        contents = contents_of(table.filter(kept)) if by_content else ()
        tests, how, _ = sides_of(source, None, when, of_file, contents, where)
        tests = np.asarray(tests, bool)
        if self.target is None:
            refuse_unnamed(label, source.classes, 1 + np.arange(table.num_rows)[kept], tests, where)
            place = {name: number for number, name in enumerate(source.classes)}
            labels = np.array([place.get(value, -1) for value in label.values], np.int32)[label.codes]
            given = None
        else:
            given = label.floats()
            labels = self.target.scaled(np.where(tests, given, self.target.clipped(given)))
        return Rows(encode(columns, self.plans), labels, tests, given, numbers, columns, how)

    def _when(self, table: Any, where: str) -> Column:
        import pyarrow

        name = self.source.split_column
        if self.source.split != "time" and not self.source.split_at:
            return self._column(table, name, "category", where)
        kind = table.schema.field(name).type
        if pyarrow.types.is_integer(kind) or pyarrow.types.is_floating(kind):
            return self._column(table, name, "number", where)
        if self.source.split_at and days_of(self.source.split_at) is None:  # numbers that are written as texts
            return self._column(table, name, "number", where)
        return read_column(table, name, where, kind="date", form="%Y-%m-%d", missing=self.source.missing)

    def _column(self, table: Any, name: str, kind: Kind, where: str) -> Column:
        quick = _quick_numbers(table, name) if kind == "number" and not self.source.missing else None
        if quick is not None:
            return quick
        said = self.said.get(name, Said())
        words = self.source.classes if name == self.source.label else said.values
        options: dict[str, Any] = {"missing": self.source.missing, "decimal": self.source.decimal, "form": said.form}
        return read_column(table, name, where, kind=kind, words=words, **options)


def names_of(table: Any, source: TableSource, said: Mapping[str, Said], where: str) -> list[str]:
    """The columns that stand for something.

    Args:
      table: the first rows.
      source: says where the table lies and what its columns are for.
      said: of its columns.
      where: names the table in messages.

    Raises:
      DatasetError: it is no table, or a role's column is not there.
    """
    known = {source.label, source.split_column, *said} - {""}
    names = without_row_numbers(table, where, known).column_names
    check_names(names, source, said, where)
    return names


def reader_of(source: TableSource, said: Mapping[str, Said], names: Sequence[str], where: str) -> Reader:
    """How rows are read by what is said of them alone.

    Args:
      source: says where the table lies and what its columns are for.
      said: of its columns.
      names: of the columns that there are.
      where: names the table in messages.

    Raises:
      DatasetError: something would have to be learnt from rows.
    """
    if source.target == "class" and not source.classes:
        raise DatasetError(f"{where} data.on_disk=true learns nothing from rows; name the labels with data.classes")
    if twice := next((word for i, word in enumerate(source.classes) if word in source.classes[:i]), None):
        raise DatasetError(f"{where} data.classes names {twice!r} twice; keep one")
    if source.target == "number" and not source.target_range:
        raise DatasetError(
            f"{where} data.on_disk=true learns nothing from rows; say the label's range with data.target_range"
        )
    roles = {source.label, source.split_column}
    used = [name for name in names if name not in roles and not (name in said and said[name].skip)]
    found = {name: _plan(name, said.get(name)) for name in used}
    if unsaid := [as_listed(name) for name, plan in found.items() if plan is None]:
        one = len(unsaid) == 1
        listed = ", ".join(unsaid[:10]) + (f" and {len(unsaid) - 10} more" if len(unsaid) > 10 else "")
        raise DatasetError(
            f"{where} data.on_disk=true learns nothing from rows, and data.columns does not say all of {listed}; say "
            f"{'its' if one else 'their'} range or {'its' if one else 'their'} values, or {unsaid[0]}: skip"
        )
    plans = tuple(plan for plan in found.values() if plan is not None)
    if not plans:
        raise DatasetError(f"{where} data.columns skips all columns; say the range or the values of one or more")
    target = None
    if source.target == "number":
        low, high = map(float, source.target_range)
        target = Target(low, high, source.label)
    return Reader(source, said, plans, target, where)


def _plan(name: str, said: Said | None) -> Plan | None:
    """Of what is said of a column; None: not all is."""
    nobody = np.zeros(0, np.int64)
    kind = None if said is None else said.kind
    plan = None
    if said is not None and kind is not None:
        plan = plan_of(Column(name, kind, nobody, (), np.zeros(0)), said, nobody.astype(bool))
    return None if plan is None or plan.learnt else plan


def _quick_numbers(table: Any, name: str) -> Column | None:
    """A column that the file types as numbers, without writing each as a word and reading it again; None of others."""
    from pyarrow import types

    place = table.schema.get_field_index(name)
    if place < 0 or tables.label_names(table, name):
        return None
    taken = table.column(place)
    if not (types.is_integer(taken.type) or types.is_floating(taken.type)):
        return None
    numbers = taken.to_numpy().astype(np.float64)
    if not (np.isnan(numbers) | (np.abs(numbers) <= MOST_EXACT)).all():
        return None  # which ``read_column`` says of its row
    return Column(name, "number", np.where(np.isnan(numbers), -1, np.arange(len(numbers))), (), numbers)
