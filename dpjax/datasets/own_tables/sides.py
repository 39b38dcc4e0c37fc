"""Who trains and who tests: rows with label and owner, their classes, and their split."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int32

from dpjax.checks import as_listed
from dpjax.datasets import tables
from dpjax.datasets.entries import Dataset
from dpjax.datasets.own_tables.kinds import Column
from dpjax.datasets.own_tables.numbers import hint_at_numbers, plan_target, quantities, refuse_no_range
from dpjax.datasets.own_tables.source import TableSource
from dpjax.datasets.own_tables.testing import choose_tests
from dpjax.datasets.splits import of_test_rows_alone
from dpjax.datasets.targets import Target
from dpjax.fetching.sources import DatasetError

MOST_CLASSES = 1000

EndsOf = Callable[[Column, Column | None, np.ndarray], Sequence[float]]
"""Labels, owners and which rows test → least and largest label."""


class Sides(NamedTuple):
    """Rows by their role.

    Attributes:
      kept: ``[rows of the file]`` which have all that is asked of them.
      label: of those rows.
      owner: of those rows; None: rows stand alone.
      tests: ``[kept rows]`` which of them test.
      classes: names, in their order; empty where a number is predicted.
      how: how they were split, in words.
      remarks: what was left out and is odd, counted, in words.
      learnt: what of the split and of a predicted number's range was read off the rows, in words; empty if nothing was.
      target: the number that is predicted; None: a class is.
      split_learnt: whether who tests depends on all rows.
    """

    kept: Bool[np.ndarray, "all"]
    label: Column
    owner: Column | None
    tests: Bool[np.ndarray, "rows"]
    classes: tuple[str, ...]
    how: str
    remarks: str
    learnt: str = ""
    target: Target | None = None
    split_learnt: bool = False


def take_sides(
    source: TableSource,
    label: Column,
    owner: Column | None,
    when: Column | None,
    of_file: Bool[np.ndarray, "all"] | None,
    contents: Sequence[bytes],
    where: str,
    ends_of: EndsOf | None = None,
) -> Sides:
    """Decides which rows stay, which class or number each is of, and which of them test.

    Args:
      source: says how to split.
      label, owner: of all rows.
      when: what the split goes by; None: nothing.
      of_file: ``[rows]`` which of them are in a file of test rows; None: there is none.
      contents: ``[rows]`` all that a row holds.
      where: names the rows in messages.
      ends_of: the range of a number that is predicted, from the rows that stay; None: ``source`` says it, or nobody.

    Raises:
      DatasetError: nothing to learn from or to test on; it names row and column.
    """
    refuse_no_range(source, where)
    _refuse_twin_owners(owner, where)
    kept, remarks = _complete(label, owner, where)
    numbers = np.flatnonzero(kept) + 1
    label = label.rows(kept)
    owner, when = (None if each is None else each.rows(kept) for each in (owner, when))
    contents = [contents[number - 1] for number in numbers.tolist()]
    is_number = source.target == "number"
    classes = () if is_number else _classes(label, source.classes, where)
    tests, how, learnt = choose_tests(source, owner, when, None if of_file is None else of_file[kept], contents, where)
    target, split_learnt = None, bool(learnt)
    if is_number:
        ends = source.target_range if ends_of is None else ends_of(label, owner, tests)
        target, of_range, odd = plan_target(label, tests, ends, where)
        # Of a range that was released its own noisy counts say how many lie beyond, and the rows must not.
        learnt, remarks = "; ".join(filter(None, (of_range, learnt))), remarks + (odd if ends_of is None else [])
    else:
        refuse_unnamed(label, classes, numbers, tests, where)
        trained, tested = ({label.values[code] for code in np.unique(label.codes[side])} for side in (~tests, tests))
        remarks += odd_classes(trained, tested, classes, where if label.name else "")
        if len(classes) > 20 and not source.classes and hint_at_numbers(classes):
            remarks.append(f"{len(classes)} numbers are taken for classes; of a quantity say data.target=number")
    trained = {content for content, test in zip(contents, tests.tolist(), strict=True) if not test}
    both = sum(test and content in trained for content, test in zip(contents, tests.tolist(), strict=True))
    remarks += [f"{both:,} rows of the test set are in the training set too, and stay in both"] if both else []
    if owner is not None:
        known = np.intersect1d(owner.codes[tests], owner.codes[~tests]).size
        of_all = np.unique(owner.codes[tests]).size
        remarks += [f"{known:,} of {of_all:,} owners who are tested train too"] if known else []
    return Sides(kept, label, owner, tests, classes, how, "; ".join(remarks), learnt, target, split_learnt)


def _refuse_twin_owners(owner: Column | None, where: str) -> None:
    """One owner under two names would be protected half."""
    known: dict[float, str] = {}
    for value in () if owner is None else owner.values:
        try:
            number = float(value)
        except ValueError:
            continue
        other = known.setdefault(number, value)
        if other != value and {"." in other, "." in value} == {True, False}:
            raise DatasetError(
                f"{where} owners {other!r} and {value!r} are one number written in two ways; write them alike"
            )


def as_dataset(source: TableSource, sides: Sides, inputs: np.ndarray, **known: object) -> Dataset:
    """Rows as a data set: training rows first by owner, labels and owners as numbers.

    Args:
      source: where they lie.
      sides: of the rows.
      inputs: ``[kept rows, ...]``.
      **known: further attributes of the data set.
    """
    if (target := sides.target) is None:
        number = {name: i for i, name in enumerate(sides.classes)}
        labels = np.array([number[sides.label.values[code]] for code in sides.label.codes], np.int32)
    else:  # those that test are not cut off: a model is wrong about what lies beyond
        given = sides.label.floats()
        labels = target.scaled(np.where(sides.tests, given, target.clipped(given)))
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
        num_classes=1 if target else len(sides.classes),
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
        own=True,
        split=sides.how,
        target=target,
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
    if len(set(given)) < len(given):
        twice = next(word for i, word in enumerate(given) if word in given[:i])
        raise DatasetError(f"{where} data.classes names {twice!r} twice; keep one")
    if given:
        return tuple(given)
    if len(seen) < 2:
        raise DatasetError(
            f"{where} all rows have the label {next(iter(seen))!r}; name a column of two classes or more"
        )
    if len(seen) > MOST_CLASSES or len(seen) * 2 > max(len(label.codes), 4):
        raise DatasetError(
            f"{where} data.label={label.name!r} has {len(seen):,} different values in {len(label.codes):,} rows: names "
            f"or quantities, and no classes; name another column{hint_at_numbers(seen)}"
        )
    if hint := quantities(seen):
        raise DatasetError(f"{where} data.label={label.name!r} has {len(seen):,} different values: {hint}")
    return tables.in_order(seen)


def refuse_unnamed(label: Column, given: Sequence[str], numbers: np.ndarray, tests: np.ndarray, where: str) -> None:
    """Refuses labels that are not among the classes.

    Args:
      label: of the rows.
      given: names of the classes.
      numbers: ``[rows]`` of the rows in their file.
      tests: ``[rows]`` which of them test.
      where: names the rows in messages.

    Raises:
      DatasetError: there is one; it names its row.
    """
    if strange := sorted({label.values[code] for code in np.unique(label.codes)} - set(given)):
        first = np.flatnonzero(label.codes == label.values.index(strange[0]))[0]
        row = f"row {numbers[first]}{', a test row,' if tests[first] else ''}"
        truth = {"true", "false"} & {word.lower() for word in given}
        fix = "YAML reads yes and no as truth values, so put quotes around them"
        fix = fix if truth else "name it too, or take such rows out"
        raise DatasetError(
            f"{where} {row} has the label {strange[0]!r}, which data.classes does not name "
            f"({', '.join(map(as_listed, given))}); {fix}"
        )


def odd_classes(trained: set[str], tested: set[str], classes: Sequence[str], where: str) -> list[str]:
    """Which classes have no row to train or to test on, in words.

    Args:
      trained, tested: classes of the rows on either side.
      classes: all of them.
      where: names the rows in messages; empty: of one class alone nothing is said.

    Raises:
      DatasetError: all rows that train are of one class.
    """
    remarks = []
    if where and len(trained) < 2:
        raise DatasetError(
            f"{where} all rows that train have the label {next(iter(trained))!r}; choose another data.split or label"
        )
    if new := sorted(tested - trained):
        remarks.append(of_test_rows_alone(new, len(classes)))
    if nobody := [name for name in classes if name not in trained | tested]:
        remarks.append(f"{len(nobody)} of {len(classes)} classes have no row at all, as {nobody[0]!r}")
    if gone := sorted(trained - tested):
        remarks.append(f"{len(gone)} of {len(classes)} classes have no row to test on, as {gone[0]!r}")
    return remarks


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
