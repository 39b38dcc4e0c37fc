"""A table of one's own as a data set: which of its columns become inputs, and how."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool

from dpjax.checks import as_listed, nearest
from dpjax.datasets import tables
from dpjax.datasets.entries import Dataset, Released
from dpjax.datasets.hub_copies import is_hub, read_kept
from dpjax.datasets.own_tables.array_files import is_arrays
from dpjax.datasets.own_tables.arrays import as_tables, resolved
from dpjax.datasets.own_tables.contents import contents_of
from dpjax.datasets.own_tables.form import without_row_numbers
from dpjax.datasets.own_tables.kinds import Column, read_column
from dpjax.datasets.own_tables.plans import (
    Plan,
    Said,
    encode,
    kinds_said,
    learnt_of,
    listed,
    plan_of,
    read_said,
    refuse_strangers,
)
from dpjax.datasets.own_tables.releasing import Columns, counted, refuse_no_release, release_column, released
from dpjax.datasets.own_tables.sides import Sides, as_dataset, take_sides
from dpjax.datasets.own_tables.source import TableSource
from dpjax.datasets.own_tables.testing import TESTS, TRAINS
from dpjax.datasets.patterns import is_pattern
from dpjax.fetching.sources import DatasetError

_MOST_SHOWN = 40  # names of columns in a sentence


class Table(NamedTuple):
    """A table as it was read, before it becomes inputs.

    Attributes:
      where: names it in messages.
      columns: those that may become inputs, in the file's order.
      sides: rows by their role.
      plans: of the columns that become inputs.
      released: what of them was computed with noise; None: nothing.
    """

    where: str
    columns: tuple[Column, ...]
    sides: Sides
    plans: tuple[Plan, ...]
    released: Released | None = None


def read(source: TableSource) -> Table:
    """Reads a table and decides what each column is for; what it decides is for people to look at before a run.

    Raises:
      DatasetError: a file that is not of its form, a column that is not there or of several kinds, or nothing to learn
        from; it names row and column.
    """
    source = resolved(source)
    where = f"data.path={source.path!r}:"
    said = read_said(source.columns, where)
    table, of_file = open_tables(source, where)
    names = table.column_names
    check_names(names, source, said, where)
    refuse_no_release(source, said, names)
    kinds = kinds_said(said)

    def column(name: str, kind: Any = None) -> Column:
        options: dict[str, Any] = {"missing": source.missing, "decimal": source.decimal, "form": "", "words": ()}
        if name in said:
            options |= {"form": said[name].form, "words": said[name].values}
        options |= {"words": source.classes} if name == source.label else {}
        return read_column(table, name, where, kind=kind or kinds.get(name), **options)

    label = column(source.label, "number" if source.target == "number" else "category")
    owner = column(source.unit, "category") if source.unit else None
    when = column(source.split_column) if source.split_column else None
    if when is not None and when.kind not in ("date", "number") and (source.split == "time" or source.split_at):
        when = column(source.split_column, "number")  # as of numbers that count, which else are names
    roles = {source.label, source.unit, source.split_column}
    inputs = [column(name) for name in names if not (name in roles or (name in said and said[name].skip))]
    for each in inputs:
        if each.name in said:
            refuse_strangers(each, said[each.name])

    def units_of(owner: Column | None, tests: Any) -> Columns | None:
        return counted(source, ~tests, owner.codes if owner is not None and source.release_by_owner else None)

    found: dict[str, Said] = {}

    def ends_of(label: Column, owner: Column | None, tests: Any) -> Any:
        units = units_of(owner, tests)
        assert units is not None
        found[label.name] = release_column(label, Said("number", missing=False), units)
        return found[label.name].range

    asks = source.label in source.release
    sides = take_sides(source, label, owner, when, of_file, contents_of(table), where, ends_of if asks else None)
    inputs = [each.rows(sides.kept) for each in inputs]
    units = units_of(sides.owner, sides.tests)
    if units is not None and sides.split_learnt:
        raise DatasetError(
            f"{where} data.release counts rows that train, and who does depends here on the dates of all; say where "
            "the test begins with data.split_at"
        )
    if units is not None:
        chosen = [each for each in inputs if each.name in source.release]
        found |= {each.name: release_column(each, said[each.name], units) for each in chosen}
    said |= found
    plans = tuple(plan for each in inputs if (plan := plan_of(each, said.get(each.name), ~sides.tests)))
    if not plans:
        texts = [each.name for each in inputs if each.kind == "text"]
        if texts:
            raise DatasetError(
                f"{where} holds texts ({texts[0]}) and no column of numbers or categories; say "
                f"data.text=[{texts[0]}] for model=pretrained"
            )
        kinds_found = ", ".join(f"{as_listed(each.name)} ({each.kind})" for each in inputs) or "none"
        raise DatasetError(
            f"{where} no column is left that a model can read (there are: {kinds_found}); see `dpjax data inspect`"
        )
    return Table(where, tuple(inputs), sides, plans, released(source, found))


def load_table(source: TableSource) -> Dataset:
    """Loads a table of one's own into memory. It never touches the network.

    Formal guarantees: what a row becomes depends on itself and on the plans alone. ``Dataset.learnt`` names whatever of
    these was read off the training rows and is therefore not private. Owners and their rows are on the side on which
    they are whoever else is in the file, where the split is by owner.

    Args:
      source: where it lies and what its columns are for.

    Returns:
      Inputs ``[rows, features]`` float32 in [-1, 1], labels int32, or float32 where they are
      numbers, owners int32; the arrays are read-only.

    Raises:
      DatasetError: see ``read``.

    Example:
      >>> import tempfile
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     file = Path(folder, "patients.csv")
      ...     rows = [f"{20 + i},{'fm'[i % 2]},{'no yes'.split()[i % 3 == 0]}" for i in range(40)]
      ...     _ = file.write_text("age,sex,ill\\n" + "\\n".join(rows))
      ...     data = load_table(TableSource(str(file), label="ill", columns={"age": [0, 120], "sex": ["f", "m"]}))
      >>> data.train_inputs.shape, data.class_names, data.learnt
      ((36, 3), ('no', 'yes'), 'classes of ill')
    """
    source = resolved(source)
    table = read(source)
    return as_dataset(
        source,
        table.sides,
        encode(table.columns, table.plans),
        task="table",
        feature_names=tuple(name for plan in table.plans for name in plan.feature_names),
        learnt=learnt(table, source),
        released=table.released,
    )


def learnt(table: Table, source: TableSource) -> str:
    """What was read off the rows and so is not private, in words; empty if the config said all."""
    planned = {plan.name for plan in table.plans}
    out = [column.name for column in table.columns if column.name not in planned]
    dropped = f"that {listed(out)} {'is' if len(out) == 1 else 'are'} left out" if out else ""
    parts = [
        learnt_of(table.plans),
        dropped,
        "" if source.classes or source.target == "number" else f"classes of {source.label}",
        table.sides.learnt,
    ]
    return "; ".join(part for part in parts if part)


def _path(path: str) -> Path:
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise DatasetError(f"data.path={path!r}: {error}; write the path in full") from error


def open_tables(
    source: TableSource, where: str, given: Mapping[str, Any] | None = None
) -> tuple[Any, Bool[np.ndarray, "rows"] | None]:
    """All rows as one ``pyarrow.Table``, and of two files which rows test; None of one file.

    Args:
      source: where they lie.
      where: names them in messages.
      given: split → table in the place of what lies there; None: that is read.

    Raises:
      DatasetError: a file that is not of its form, or two that do not belong together.
    """
    if not source.path:
        raise DatasetError("data.path is empty; name the file of your table, as data.path=patients.csv")
    known = {source.label, source.unit, source.split_column, *map(str, source.columns)} - {""}
    on_hub = is_hub(source.path)
    path = _path(source.path)
    if not on_hub and not is_pattern(path) and not path.exists():
        raise DatasetError(f"{where} is not there; paths begin in the folder of the command, {Path.cwd()}")
    try:
        if given is not None:
            read = given
        elif on_hub:
            read = read_kept(source.path, source.encoding)
        else:
            read = as_tables(path, where) if is_arrays(path) else tables.read_tables(path, source.encoding)
    except DatasetError as error:  # what is said of texts, whose name is their path
        said = str(error).replace("data.name=", "data.path=").replace("append ?encoding=", "say data.encoding=")
        raise DatasetError(said) from error
    splits = {
        name: without_row_numbers(table, f"{where} {name}" if name in (*TRAINS, *TESTS) else where, known)
        for name, table in read.items()
    }
    if source.split not in (None, "files") or len(splits) == 1:
        if source.split == "files" and len(splits) == 1:
            raise DatasetError(f"{where} data.split=files needs a file train and a file test in a folder; there is one")
        import pyarrow

        both = list(splits.values())
        return (pyarrow.concat_tables(both, promote_options="default") if both[1:] else both[0]), None
    train = next((name for name in splits if name in TRAINS), None)
    test = next((name for name in TESTS if name in splits), None)
    if train is None or test is None or len(splits) > 2:
        raise DatasetError(
            f"{where} has the files {', '.join(splits)}; call one train and one test and keep no others, or name one "
            "file"
        )
    if sorted(splits[train].column_names) != sorted(splits[test].column_names):
        other = sorted(set(splits[train].column_names) ^ set(splits[test].column_names))
        raise DatasetError(f"{where} {train} and {test} do not have the same columns: only one has {other[0]!r}")
    import pyarrow

    try:
        table = pyarrow.concat_tables([splits[train], splits[test]], promote_options="default")
    except pyarrow.ArrowException as error:
        raise DatasetError(f"{where} {train} and {test} cannot be joined: {str(error).splitlines()[0]}") from error
    of_file = np.arange(table.num_rows) >= splits[train].num_rows
    return table, of_file


def check_names(names: Sequence[str], source: TableSource, said: Mapping[str, Any], where: str) -> None:
    """Refuses roles of columns that are not there, or two of one.

    Args:
      names: of the columns that there are.
      source: names the roles.
      said: other columns that are named.
      where: names the table in messages.

    Raises:
      DatasetError: a column is not there, or has two roles.
    """
    asked = [("data.label", source.label), ("data.unit", source.unit), ("data.split_column", source.split_column)]
    asked += [("data.columns", name) for name in said]
    shown = ", ".join(map(as_listed, names)) if len(names) <= _MOST_SHOWN else listed(names)
    if source.label in said:
        fix = "its range with data.target_range" if source.target == "number" else "its values with data.classes"
        raise DatasetError(f"{where} data.columns.{source.label} is the label; say {fix}")
    for field_name, name in asked:
        if name and name not in names:
            near = nearest(name, names)
            fix = f"did you mean {near!r}?" if near else f"it has {shown}"
            raise DatasetError(f"{where} {field_name}={name!r} is no column; {fix}")
    if not source.label:
        raise DatasetError(f"{where} which column is predicted? Say data.label=COLUMN; it has {shown}")
    used = [name for _, name in asked[:3] if name]
    if twice := next((name for i, name in enumerate(used) if name in used[:i]), None):
        raise DatasetError(f"{where} column {twice!r} has two roles of label, unit and split_column; give it one")
