"""Who trains and who tests: rows with label and owner, their classes, and their split."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int32

from dpjax.datasets import tables
from dpjax.datasets.entries import Dataset
from dpjax.datasets.own_tables.kinds import Column
from dpjax.datasets.own_tables.source import TableSource
from dpjax.datasets.splits import SPLIT_SEED, TEST_FRACTION, split_rows
from dpjax.fetching.sources import DatasetError

FEW_OWNERS = 50
"""With fewer than that, owners are not left out whole: too few would be tested."""

MOST_CLASSES = 1000
TRAINS, TESTS = ("train", "training"), ("test", "testing", "validation", "valid", "val", "dev")


class Sides(NamedTuple):
    """Rows by their role.

    Attributes:
      kept: ``[rows of the file]`` which have all that is asked of them.
      label: of those rows.
      owner: of those rows; None: rows stand alone.
      tests: ``[kept rows]`` which of them test.
      classes: names, in their order.
      how: how they were split, in words.
      remarks: what was left out and is odd, counted, in words.
    """

    kept: Bool[np.ndarray, "all"]
    label: Column
    owner: Column | None
    tests: Bool[np.ndarray, "rows"]
    classes: tuple[str, ...]
    how: str
    remarks: str


def take_sides(
    source: TableSource,
    label: Column,
    owner: Column | None,
    when: Column | None,
    of_file: Bool[np.ndarray, "all"] | None,
    where: str,
) -> Sides:
    """Decides which rows stay, which class each is of, and which of them test.

    Args:
      source: says how to split.
      label, owner: of all rows.
      when: what the split goes by; None: nothing.
      of_file: ``[rows]`` which of them are in a file of test rows; None: there is none.
      where: names the rows in messages.

    Raises:
      DatasetError: nothing to learn from or to test on; it names row and column.
    """
    kept, remarks = _complete(label, owner, where)
    label = label.rows(kept)
    owner, when = (None if each is None else each.rows(kept) for each in (owner, when))
    classes = _classes(label, source.classes, where)
    tests, how = _tests(source, label, owner, when, None if of_file is None else of_file[kept], where)
    _check_classes(label, classes, tests, where, remarks)
    return Sides(kept, label, owner, tests, classes, how, "; ".join(remarks))


def as_dataset(source: TableSource, sides: Sides, inputs: np.ndarray, **known: object) -> Dataset:
    """Rows as a data set: training rows first by owner, labels and owners as numbers.

    Args:
      source: where they lie.
      sides: of the rows.
      inputs: ``[kept rows, ...]``.
      **known: further attributes of the data set.
    """
    number = {name: i for i, name in enumerate(sides.classes)}
    labels = np.array([number[sides.label.values[code]] for code in sides.label.codes], np.int32)
    units, order = _units(sides.owner, sides.tests)
    parts = [np.flatnonzero(~sides.tests), np.flatnonzero(sides.tests)]
    if units is not None:  # a client's rows stay together
        parts = [rows[np.argsort(units[rows], kind="stable")] for rows in parts]
    train, test = parts
    dataset = Dataset(
        name=Path(source.path).name,
        train_inputs=inputs[train],
        train_labels=labels[train],
        test_inputs=inputs[test],
        test_labels=labels[test],
        num_classes=len(sides.classes),
        input_shape=inputs.shape[1:],
        unit=source.unit or "example",
        licence="your own",
        source=source.path,
        class_names=sides.classes,
        train_units=None if units is None else units[train],
        test_units=None if units is None else units[test],
        num_units=len(order),
        num_train_units=0 if units is None else int(units[train].max(initial=-1)) + 1,
        unit_names=order,
        remarks=sides.remarks,
        **known,  # pyright: ignore[reportArgumentType]
    )
    for array in (dataset.train_inputs, dataset.train_labels, dataset.test_inputs, dataset.test_labels):
        array.setflags(write=False)
    return dataset


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
        sides = {value: value.lower() in TESTS for value in when.values}
        strange = next((value for value in when.values if value.lower() not in (*TRAINS, *TESTS)), None)
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
