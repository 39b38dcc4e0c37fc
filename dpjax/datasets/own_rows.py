"""Tables of texts as arrays: which columns and splits, which rows stay, and what is left out, counted."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from dpjax.checks import as_listed
from dpjax.datasets import tables
from dpjax.datasets.entries import RawArrays
from dpjax.datasets.splits import of_test_rows_alone, split_whole_units, stratified_split
from dpjax.datasets.texts import first_of_each, spaced, text_array
from dpjax.fetching.sources import DatasetError

PAIRS = (
    ("premise", "hypothesis"),
    ("question", "sentence"),
    ("sentence1", "sentence2"),
    ("question1", "question2"),
    ("text1", "text2"),
)
TEXTS = ("text", "sentence", "content", "document", "review", "body", "message", "article")
LABELS = ("label", "labels", "class", "category", "target", "rating")
"""Usual names of columns, likeliest first."""


class Location(NamedTuple):
    """What a name says of where texts are, and of the columns to read.

    Attributes:
      place: repository on the hub, or path.
      on_hub: which of the two.
      text_columns: of texts; None: guess.
      label_column: of labels; empty: there are none, all rows are of one class; None: guess.
      test_split: to test on; None: guess.
      config: which of a repository's data sets, or which folder of the path; None: it holds one.
      owner_column: of whose the rows are; None: rows stand alone.
      encoding: of files, as Python calls it; None: UTF-8.
    """

    place: str
    on_hub: bool
    text_columns: tuple[str, ...] | None = None
    label_column: str | None = None
    test_split: str | None = None
    config: str | None = None
    owner_column: str | None = None
    encoding: str | None = None


class Read(NamedTuple):
    """What was made of tables.

    Attributes:
      raw: the arrays.
      class_names: one per class.
      how_made: how they were made, in words.
      remarks: which rows were left out and what else is odd, counted, in words; empty if nothing is.
    """

    raw: RawArrays
    class_names: tuple[str, ...]
    how_made: str
    remarks: str


class _Part(NamedTuple):
    """Rows of one split: texts, the labels and owners in words (None where rows have none), and the row numbers."""

    texts: np.ndarray
    labels: list[str] | None
    owners: list[str] | None

    def keep(self, rows: list[int]) -> "_Part":
        labels, owners = (None if each is None else [each[row] for row in rows] for each in self[1:])
        return _Part(self.texts[rows], labels, owners)


def document_arrays(splits: Mapping[str, Any], location: Location, where: str) -> Read:
    """Turns tables of texts into arrays.

    Rows without a label, or without an owner where owners are asked for, are left out and counted. Where only one split
    can be used it is split 80/20 by class, each text once; by owner, all of an owner's rows on one side and each of an
    owner's texts once, where there are owners. Splits that are there are taken as they are.

    Args:
      splits: split → ``pyarrow.Table``.
      location: names the columns, as far as they are not to be guessed.
      where: names the data set in messages.

    Raises:
      DatasetError: a column or a split is missing or cannot be guessed, a text is empty, or what is left cannot be
        learnt from: one class, or no row to test on.
    """
    first = next(iter(splits.values()))
    columns = location.text_columns or _guess_texts(first.column_names, where)
    label = _guess_label(first.column_names, where) if location.label_column is None else location.label_column
    train, test = _choose_splits(splits, label, location.test_split, where)
    used = [split for split in (train, test) if split]
    remarks: list[str] = []
    parts = {}
    for split in used:
        part = _read_part(splits[split], columns, label, location.owner_column, f"{where} {split}")
        parts[split] = _drop_missing(part, label, location.owner_column, split, remarks, where)
    names = _class_names([splits[split] for split in used], parts, label)
    _check_classes(parts, names, label, where)
    read = f"texts of {' and '.join(map(as_listed, columns))}, classes of {label or 'none'}"
    read += f", owners of {location.owner_column}" if location.owner_column else ""
    if test:
        raw = _as_they_are(parts[train], parts[test], names)
        new = np.setdiff1d(raw.test_labels, raw.train_labels)
        if len(new):
            remarks.append(of_test_rows_alone([names[i] for i in new], len(names)))
        origin = f"{read}; splits {train} and {test} as they are"
    else:
        part = _drop_copies(parts[train], remarks)
        raw = _split(part, names)
        by = "by owner" if part.owners else "by class"
        origin = f"{read}; {train} split 80/20 {by} with a fixed seed"
        _check_split(raw, len(part.texts), splits[train].num_rows, names, remarks, where)
    _tell_overlap(raw, remarks)
    return Read(raw, names, origin, "; ".join(remarks))


def _read_part(table: Any, columns: tuple[str, ...], label: str, owner: str | None, where: str) -> _Part:
    return _Part(
        tables.read_texts(table, columns, where),
        tables.read_written(table, label, where) if label else None,  # pyright: ignore[reportArgumentType]
        tables.read_written(table, owner, where) if owner else None,  # pyright: ignore[reportArgumentType]
    )


def _drop_missing(part: _Part, label: str, owner: str | None, split: str, remarks: list[str], where: str) -> _Part:
    for what, column, values in (("label", label, part.labels), ("owner", owner, part.owners)):
        missing = [] if values is None else [row for row, value in enumerate(values) if value is None]
        if missing and len(missing) == len(part.texts):
            raise DatasetError(f"{where} {split} has no {what} in column {column!r}; name another column or split")
        if missing:
            remarks.append(f"{len(missing):,} rows of {split} without {what} left out")
    complete = [row for row in range(len(part.texts)) if all(v is None or v[row] is not None for v in part[1:])]
    if not complete:
        raise DatasetError(f"{where} no row of {split} has both label and owner; fill them in")
    return part.keep(complete)


def _class_names(used: list[Any], parts: Mapping[str, _Part], label: str) -> tuple[str, ...]:
    if not label:
        return ("text",)
    seen = {name for part in parts.values() for name in part.labels or ()}
    named = tables.label_names(used[0], label)
    return named if seen <= set(named) else tables.in_order(seen)


def _check_classes(parts: Mapping[str, _Part], names: tuple[str, ...], label: str, where: str) -> None:
    if not label:
        return
    split, part = next(iter(parts.items()))
    if len(seen := set(part.labels or ())) < 2:
        raise DatasetError(
            f"{where} all {len(part.texts):,} rows of {split} with a label are of class {next(iter(seen))!r}; name a "
            "column of two classes or more, or append ?label= if there are none"
        )


def _drop_copies(part: _Part, remarks: list[str]) -> _Part:
    """The first of texts that differ in white space only; with owners, of each owner's, so that none loses a row by
    what another wrote.
    """
    rows = ["\n\0\n".join(row) for row in part.texts.reshape(len(part.texts), -1).tolist()]
    keys = [spaced(row) for row in rows]
    if part.owners is not None:
        keys = [f"{owner}\n\0\0\n{key}" for owner, key in zip(part.owners, keys, strict=True)]
    firsts = first_of_each(keys)
    if len(firsts) == len(rows):
        return part
    by = "" if part.owners is None else " of texts of the same owner"
    remark = f"{len(rows) - len(firsts):,} copies left out{by}"
    if part.labels is not None:
        first = {keys[row]: part.labels[row] for row in firsts}
        other = sum(first[key] != label for key, label in zip(keys, part.labels, strict=True))
        remark += f", {other:,} of them under another label than the first" if other else ""
    remarks.append(remark)
    return part.keep(firsts)


def _numbers(labels: list[str] | None, names: tuple[str, ...], rows: int) -> np.ndarray:
    number = {name: i for i, name in enumerate(names)}
    return np.array([number[label] for label in labels] if labels else [0] * rows, np.int32)


def _split(part: _Part, names: tuple[str, ...]) -> RawArrays:
    labels = _numbers(part.labels, names, len(part.texts))
    if part.owners is None:
        return stratified_split(part.texts, labels)
    owners = sorted(set(part.owners))
    number = {owner: i for i, owner in enumerate(owners)}
    member = np.array([number[owner] for owner in part.owners], np.int64)
    rows = split_whole_units(np.arange(len(member)), labels, member)
    train, test = rows.train_inputs, rows.test_inputs
    names_of = {}
    for some, units in ((train, rows.train_units), (test, rows.test_units)):
        if units is not None:
            names_of |= dict(zip(units.tolist(), (owners[each] for each in member[some]), strict=True))
    order = text_array([names_of[unit] for unit in range(len(owners))])
    return rows._replace(train_inputs=part.texts[train], test_inputs=part.texts[test], unit_names=order)


def _as_they_are(train: _Part, test: _Part, names: tuple[str, ...]) -> RawArrays:
    labels, asked = (_numbers(part.labels, names, len(part.texts)) for part in (train, test))
    if train.owners is None or test.owners is None:
        return RawArrays(train.texts, labels, test.texts, asked)
    first = sorted(set(train.owners))
    order = [*first, *sorted(set(test.owners) - set(first))]
    number = {owner: i for i, owner in enumerate(order)}
    units, tested = (np.array([number[owner] for owner in part.owners or ()], np.int32) for part in (train, test))
    return RawArrays(train.texts, labels, test.texts, asked, units, tested, text_array(order))


def _check_split(raw: RawArrays, left: int, rows: int, names: tuple[str, ...], remarks: list[str], where: str) -> None:
    if not len(raw.test_labels) or not len(raw.train_labels):
        why = f" ({'; '.join(remarks)})" if remarks else ""
        raise DatasetError(
            f"{where} {left:,} of {rows:,} rows are left{why}, too few for a test row of any of {len(names):,} "
            "classes: three a class are needed; name another label column, or add rows"
        )
    untested = int((np.bincount(raw.test_labels, minlength=len(names)) == 0).sum())
    if untested:
        remarks.append(f"{untested:,} of {len(names):,} classes have no row to test on")


def _tell_overlap(raw: RawArrays, remarks: list[str]) -> None:
    def keys(texts: np.ndarray) -> list[str]:
        return [spaced("\n\0\n".join(row)) for row in texts.reshape(len(texts), -1).tolist()]

    known = set(keys(raw.train_inputs))
    both = sum(key in known for key in keys(raw.test_inputs))
    if both:
        remarks.append(f"{both:,} texts of the test set are in the training set too, and stay in both")


def _choose_splits(splits: Mapping[str, Any], label: str, wanted: str | None, where: str) -> tuple[str, str | None]:
    train = "train" if "train" in splits else next(iter(splits))
    if train != "train" and len(splits) > 1:
        raise DatasetError(f"{where} no split is called 'train' (it has {', '.join(splits)}); rename the file")
    if wanted is not None and wanted not in splits:
        raise DatasetError(f"{where} no split is called {wanted!r} (it has {', '.join(splits)})")
    if wanted == train:
        raise DatasetError(
            f"{where} split {wanted!r} trains, so test={wanted} would test on what is known; leave it out"
        )
    if wanted is not None and label and _is_hidden(splits[wanted], label, f"{where} {wanted}"):
        raise DatasetError(f"{where} {wanted} hides its labels in column {label!r}; name another split")
    open_ones = (
        each
        for each in tables.TESTS
        if each in splits and each != train and not (label and _is_hidden(splits[each], label, f"{where} {each}"))
    )
    return train, wanted or next(open_ones, None)


def _is_hidden(table: Any, label: str, where: str) -> bool:
    """Whether no row has a label: benchmarks leave them out of the test set, or write -1."""
    if label not in table.column_names:
        return True
    return {None, "-1"} >= set(tables.read_written(table, label, where))


def _guess_texts(columns: list[str], where: str) -> tuple[str, ...]:
    for names in (*PAIRS, *((name,) for name in TEXTS)):
        present = [_named(name, columns, "text", where) for name in names]
        if all(present):
            return tuple(each for each in present if each)
    raise DatasetError(
        f"{where} which column holds texts? (it has {', '.join(map(as_listed, columns))}); append ?text=COLUMN, "
        "or read it as a table of numbers and categories with data=own data.path=FILE data.label=COLUMN"
    )


def _guess_label(columns: list[str], where: str) -> str:
    for name in LABELS:
        if column := _named(name, columns, "label", where):
            return column
    fix = "append ?label=COLUMN, or ?label= if none does"
    raise DatasetError(f"{where} which column holds labels? (it has {', '.join(map(as_listed, columns))}); {fix}")


def _named(name: str, columns: list[str], key: str, where: str) -> str | None:
    matches = [column for column in columns if column.strip().lower() == name]
    if len(set(matches)) > 1:
        raise DatasetError(f"{where} which of the columns {' and '.join(matches)} is meant? append ?{key}=COLUMN")
    return matches[0] if matches else None
