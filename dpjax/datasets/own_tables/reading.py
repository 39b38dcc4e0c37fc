"""A table of one's own as a data set: roles of columns, classes or values to predict, owners, and who is tested."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Bool, Int32

from dpjax.checks import nearest
from dpjax.datasets import tables
from dpjax.datasets.entries import Dataset
from dpjax.datasets.own_tables.form import without_row_numbers
from dpjax.datasets.own_tables.kinds import Column, read_column
from dpjax.datasets.own_tables.plans import Plan, encode, kinds_said, learnt_of, listed, plan_of, read_said
from dpjax.datasets.splits import SPLIT_SEED, TEST_FRACTION, split_rows
from dpjax.fetching.sources import DatasetError

Split = Literal["owner", "rows", "time", "column", "files"]

FEW_OWNERS = 50
"""With fewer than that, owners are not left out whole: too few would be tested."""

MOST_CLASSES = 1000
_TRAINS, _TESTS = ("train", "training"), ("test", "testing", "validation", "valid", "val", "dev")


@dataclass(frozen=True)
class TableSource:
    """Where a table lies and what its columns are for.

    Attributes:
      path: of a file, or of a folder with a file per split.
      label: column that is predicted.
      unit: column that says whose a row is; empty: rows stand alone.
      split: who is tested: ``owner`` (whole owners), ``rows`` (some rows of everybody), ``time`` (the last rows by
        ``split_column``), ``column`` (rows whose ``split_column`` says test), ``files`` (train and test are files);
        None: files where there are two, else owner, or rows where owners are few or none.
      split_column: of dates or numbers for ``time``, of the words train and test for ``column``; it is no input.
      columns: what is said of columns, see ``plans.read_said``.
      missing: what stands for a missing value besides the usual words.
      classes: names of the classes, in their order; empty: those that are found.
      encoding: of the characters; None: UTF-8, or UTF-16 where the file begins with its mark.
    """

    path: str
    label: str
    unit: str = ""
    split: Split | None = None
    split_column: str = ""
    columns: Mapping[str, Any] = field(default_factory=dict)
    missing: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()
    encoding: str | None = None


class Table(NamedTuple):
    """A table as it was read, before it becomes inputs.

    Attributes:
      where: names it in messages.
      columns: those that may become inputs, in the file's order.
      label: the column that is predicted.
      owner: the column of owners; None: rows stand alone.
      tests: ``[rows]`` which of them test.
      plans: of the columns that become inputs.
      classes: names, in their order.
      how_split: in words.
      remarks: what was left out and is odd, counted, in words.
    """

    where: str
    columns: tuple[Column, ...]
    label: Column
    owner: Column | None
    tests: Bool[np.ndarray, "rows"]
    plans: tuple[Plan, ...]
    classes: tuple[str, ...]
    how_split: str
    remarks: str


def read(source: TableSource) -> Table:
    """Reads a table and decides what each column is for; what it decides is for people to look at before a run.

    Raises:
      DatasetError: a file that is not of its form, a column that is not there or of several kinds, or nothing to learn
        from; it names row and column.
    """
    where = f"data.path={source.path!r}:"
    said = read_said(source.columns, where)
    table, of_file = open_tables(source, where)
    names = table.column_names
    _check_names(names, source, said, where)
    kinds = kinds_said(said)

    def column(name: str, kind: Any = None) -> Column:
        form = said[name].form if name in said else ""
        return read_column(table, name, where, kind=kind or kinds.get(name), form=form, missing=source.missing)

    label = column(source.label, "category")
    owner = column(source.unit, "category") if source.unit else None
    keep, remarks = _complete(label, owner, where)
    roles = {source.label, source.unit, source.split_column}
    inputs = tuple(column(name) for name in names if name not in roles and not (name in said and said[name].skip))
    when = column(source.split_column) if source.split_column else None
    label, owner, when, of_file = (_kept(each, keep) for each in (label, owner, when, of_file))
    inputs = tuple(_kept(each, keep) for each in inputs)
    classes = _classes(label, source.classes, where)
    tests, how = _tests(source, label, owner, when, of_file, where)
    _check_classes(label, classes, tests, where, remarks)
    plans = tuple(plan for each in inputs if (plan := plan_of(each, said.get(each.name), ~tests)))
    if not plans:
        kinds_found = ", ".join(f"{each.name} ({each.kind})" for each in inputs) or "none"
        raise DatasetError(
            f"{where} no column is left that a model can read (there are: {kinds_found}); see `dpjax data inspect`"
        )
    return Table(where, inputs, label, owner, tests, plans, classes, how, "; ".join(remarks))


def load_table(source: TableSource) -> Dataset:
    """Loads a table of one's own into memory. It never touches the network.

    Formal guarantees: what a row becomes depends on itself and on the plans alone. ``Dataset.learnt`` names whatever of
    these was read off the training rows and is therefore not private. Owners and their rows are on the side on which
    they are whoever else is in the file, where the split is by owner.

    Args:
      source: where it lies and what its columns are for.

    Returns:
      Inputs ``[rows, features]`` float32 in [-1, 1], labels int32, owners int32; the arrays are read-only.

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
      ((32, 3), ('no', 'yes'), 'classes of ill')
    """
    table = read(source)
    inputs = encode(table.columns, table.plans)
    number = {name: i for i, name in enumerate(table.classes)}
    labels = np.array([number[table.label.values[code]] for code in table.label.codes], np.int32)
    units, order = _units(table.owner, table.tests)
    sides = [np.flatnonzero(~table.tests), np.flatnonzero(table.tests)]
    if units is not None:  # a client's rows stay together
        sides = [rows[np.argsort(units[rows], kind="stable")] for rows in sides]
    train, test = sides
    dataset = Dataset(
        name=Path(source.path).name,
        train_inputs=inputs[train],
        train_labels=labels[train],
        test_inputs=inputs[test],
        test_labels=labels[test],
        num_classes=len(table.classes),
        input_shape=inputs.shape[1:],
        task="table",
        unit=source.unit or "example",
        licence="your own",
        source=source.path,
        class_names=table.classes,
        feature_names=tuple(name for plan in table.plans for name in plan.feature_names),
        train_units=None if units is None else units[train],
        test_units=None if units is None else units[test],
        num_units=len(order),
        num_train_units=0 if units is None else int(units[train].max(initial=-1)) + 1,
        unit_names=order,
        remarks=table.remarks,
        learnt=learnt(table, source),
    )
    for array in (dataset.train_inputs, dataset.train_labels, dataset.test_inputs, dataset.test_labels):
        array.setflags(write=False)
    return dataset


def learnt(table: Table, source: TableSource) -> str:
    """What was read off the rows and so is not private, in words; empty if the config said all."""
    planned = {plan.name for plan in table.plans}
    out = [column.name for column in table.columns if column.name not in planned]
    dropped = f"that {listed(out)} {'is' if len(out) == 1 else 'are'} left out" if out else ""
    parts = [learnt_of(table.plans), dropped, "" if source.classes else f"classes of {source.label}"]
    return "; ".join(part for part in parts if part)


def _path(path: str) -> Path:
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise DatasetError(f"data.path={path!r}: {error}; write the path in full") from error


def open_tables(source: TableSource, where: str) -> tuple[Any, Bool[np.ndarray, "rows"] | None]:
    """All rows as one ``pyarrow.Table``, and of two files which rows test; None of one file.

    Args:
      source: where they lie.
      where: names them in messages.

    Raises:
      DatasetError: a file that is not of its form, or two that do not belong together.
    """
    if not source.path:
        raise DatasetError("data.path is empty; name the file of your table, as data.path=patients.csv")
    splits = {
        name: without_row_numbers(table, f"{where} {name}" if name in (*_TRAINS, *_TESTS) else where)
        for name, table in tables.read_tables(_path(source.path), source.encoding).items()
    }
    if source.split not in (None, "files") or len(splits) == 1:
        if source.split == "files" and len(splits) == 1:
            raise DatasetError(f"{where} data.split=files needs a file train and a file test in a folder; there is one")
        import pyarrow

        both = list(splits.values())
        return (pyarrow.concat_tables(both, promote_options="default") if both[1:] else both[0]), None
    train = next((name for name in splits if name in _TRAINS), None)
    test = next((name for name in _TESTS if name in splits), None)
    if train is None or test is None:
        raise DatasetError(f"{where} has the files {', '.join(splits)}; call one train and one test, or name one file")
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


def _check_names(names: Sequence[str], source: TableSource, said: Mapping[str, Any], where: str) -> None:
    asked = [("data.label", source.label), ("data.unit", source.unit), ("data.split_column", source.split_column)]
    asked += [("data.columns", name) for name in said]
    for field_name, name in asked:
        if name and name not in names:
            near = nearest(name, names)
            fix = f"did you mean {near!r}?" if near else f"it has {', '.join(names)}"
            raise DatasetError(f"{where} {field_name}={name!r} is no column; {fix}")
    if not source.label:
        raise DatasetError(f"{where} which column is predicted? Say data.label=COLUMN; it has {', '.join(names)}")
    used = [name for _, name in asked[:3] if name]
    if twice := next((name for i, name in enumerate(used) if name in used[:i]), None):
        raise DatasetError(f"{where} column {twice!r} has two roles of label, unit and split_column; give it one")


def _complete(label: Column, owner: Column | None, where: str) -> tuple[np.ndarray, list[str]]:
    """Which rows have both label and owner, and how many have not."""
    keep, remarks = np.ones(len(label.codes), bool), []
    for what, column in (("label", label), ("owner", owner)):
        if column is None:
            continue
        gone = column.codes < 0
        if gone.all():
            raise DatasetError(f"{where} column {column.name!r} has no {what} in any row; name another column")
        if gone.any():
            first = int(np.flatnonzero(gone)[0]) + 1
            remarks.append(
                f"{int(gone.sum()):,} rows without {what} ({column.name}) left out, the first of them row {first}"
            )
        keep &= ~gone
    if not keep.any():
        raise DatasetError(f"{where} no row has both label and owner; fill them in")
    return keep, remarks


def _kept(each: Any, keep: np.ndarray) -> Any:
    if each is None:
        return None
    return each._replace(codes=each.codes[keep]) if isinstance(each, Column) else each[keep]


def _classes(label: Column, given: Sequence[str], where: str) -> tuple[str, ...]:
    seen = {label.values[code] for code in np.unique(label.codes)}
    if given:
        if strange := sorted(seen - set(given)):
            row = int(np.flatnonzero(label.codes == label.values.index(strange[0]))[0]) + 1
            raise DatasetError(f"{where} row {row} has the label {strange[0]!r}, which data.classes does not name")
        return tuple(given)
    if len(seen) < 2:
        raise DatasetError(
            f"{where} all rows have the label {next(iter(seen))!r}; name a column of two classes or more"
        )
    if len(seen) > MOST_CLASSES or len(seen) * 2 > max(len(label.codes), 4):
        raise DatasetError(
            f"{where} data.label={label.name!r} has {len(seen):,} different values in {len(label.codes):,} rows: names "
            "or quantities, and no classes; name another column"
        )
    return tables.in_order(seen)


def _tests(
    source: TableSource,
    label: Column,
    owner: Column | None,
    when: Column | None,
    of_file: np.ndarray | None,
    where: str,
) -> tuple[np.ndarray, str]:
    """Which rows test, and how they were chosen, in words."""
    split = source.split
    if split is None and of_file is not None:
        split = "files"
    if split is None and source.split_column:
        split = "time" if when is not None and when.kind in ("date", "number") else "column"
    owners = 0 if owner is None else len(np.unique(owner.codes))
    if split is None:
        split = "owner" if owners >= FEW_OWNERS else "rows"
    if split in ("time", "column") and when is None:
        raise DatasetError(f"{where} data.split={split} needs a column to go by; say data.split_column=COLUMN")
    if split in ("owner", "rows", "files") and when is not None:
        raise DatasetError(f"{where} data.split_column is of data.split=time or column; leave it out for {split}")
    if split == "owner":
        if owner is None:
            raise DatasetError(f"{where} data.split=owner needs to know whose rows are; say data.unit=COLUMN")
        chosen = np.array([_share(value) < TEST_FRACTION for value in owner.values])
        tests, how = chosen[owner.codes], f"owners ({owner.name}) 80/20 by a hash of their names"
    elif split == "files":
        tests, how = np.asarray(of_file), "train and test as the files have them"
    elif split == "time":
        assert when is not None
        if when.kind not in ("date", "number") or when.num_missing:
            odd = f"is missing in {when.num_missing} rows" if when.num_missing else f"holds {when.kind}"
            raise DatasetError(
                f"{where} data.split_column={when.name!r} {odd}; a split by time needs a date in every row"
            )
        ordered = np.sort(when.floats())
        cut = ordered[min(int(np.ceil((1 - TEST_FRACTION) * len(ordered))), len(ordered) - 1)]
        tests, how = when.floats() >= cut, f"the last by {when.name} test"
    elif split == "column":
        assert when is not None
        sides = {value: value.lower() in _TESTS for value in when.values}
        strange = next((value for value in when.values if value.lower() not in (*_TRAINS, *_TESTS)), None)
        if strange is not None or when.num_missing:
            what = "nothing in some rows" if strange is None else f"{strange!r}"
            raise DatasetError(
                f"{where} data.split_column={when.name!r} says {what}; it must say train or test in every row"
            )
        tests, how = np.array([sides[value] for value in when.values])[when.codes], f"as {when.name} says"
    else:
        tests = np.zeros(len(label.codes), bool)
        tests[split_rows(label.codes, test_fraction=TEST_FRACTION, seed=SPLIT_SEED)[1]] = True
        how = "rows 80/20 by class with a fixed seed"
    if not tests.any() or tests.all():
        side = "test" if not tests.any() else "train"
        raise DatasetError(f"{where} no row is left to {side} on ({how}); choose another data.split, or add rows")
    return tests, how


def _share(name: str) -> float:
    """A number in [0, 1) that depends on a name alone."""
    return int.from_bytes(hashlib.sha256(f"{SPLIT_SEED}:{name}".encode()).digest()[:8]) / 2**64


def _check_classes(label: Column, classes: Sequence[str], tests: np.ndarray, where: str, remarks: list[str]) -> None:
    trained = {label.values[code] for code in np.unique(label.codes[~tests])}
    tested = {label.values[code] for code in np.unique(label.codes[tests])}
    if len(trained) < 2:
        raise DatasetError(
            f"{where} all rows that train have the label {next(iter(trained))!r}; choose another data.split or label"
        )
    if new := sorted(tested - trained):
        remarks.append(f"{len(new)} of {len(classes)} classes have no row to train on, as {new[0]!r}")
    if gone := sorted(trained - tested):
        remarks.append(f"{len(gone)} of {len(classes)} classes have no row to test on, as {gone[0]!r}")


def _units(owner: Column | None, tests: np.ndarray) -> tuple[Int32[np.ndarray, "rows"] | None, tuple[str, ...]]:
    """Owners by number, those who train first, and their names."""
    if owner is None:
        return None, ()
    names = np.array(owner.values, object)
    trained = sorted(names[np.unique(owner.codes[~tests])])
    order = (*trained, *sorted(set(names[np.unique(owner.codes)]) - set(trained)))
    number = {name: i for i, name in enumerate(order)}
    by_code = np.array([number.get(value, -1) for value in owner.values], np.int32)
    return by_code[owner.codes], order
