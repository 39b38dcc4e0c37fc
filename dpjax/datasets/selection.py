"""Some of a data set's rows: held out, cut to a number, bounded for each owner. Always the same, by fixed seeds."""

import dataclasses
import hashlib
from typing import NamedTuple

import numpy as np

from dpjax.datasets.bounding import bound_contributions
from dpjax.datasets.entries import Dataset


class Rows(NamedTuple):
    """Rows of a data set, as they are before any tokenizer."""

    inputs: np.ndarray
    labels: np.ndarray


def hold_out(dataset: Dataset, share: float) -> tuple[Dataset, Rows | None]:
    """The data set without a share of its training rows, or of their owners, and the rows that it lost.

    Chosen with a fixed seed, the same for every run.

    Raises:
      ValueError: nobody would be left on one side.
    """
    if share == 0:
        return dataset, None
    owners = dataset.train_units
    number = len(dataset.train_labels) if owners is None else dataset.num_train_units
    count = round(share * number)
    if not 0 < count < number:
        raise ValueError(
            f"share={share:g} of {number} leaves one side of dataset={dataset.name} empty; take one nearer to a half."
        )
    if dataset.own:
        out = _shares(dataset) < share
        if not 0 < out.sum() < number:
            raise ValueError(f"share={share:g} of {number} leaves one side of dataset={dataset.name} empty; take more.")
        count = int(out.sum())
    else:
        out = np.zeros(number, bool)
        out[np.random.default_rng(1).permutation(number)[:count]] = True
    held = out if owners is None else out[owners]
    rest = only(dataset, np.flatnonzero(~held))
    if owners is not None:
        # Owners are numbered without gaps, those who train first.
        order = np.concatenate([np.flatnonzero(~out), np.flatnonzero(out), np.arange(number, dataset.num_units)])
        renumbered = np.argsort(order).astype(np.int32)
        names, tested = dataset.unit_names, dataset.test_units
        rest = dataclasses.replace(
            rest,
            train_units=renumbered[owners[~held]],
            test_units=None if tested is None else renumbered[tested],
            num_train_units=number - count,
            unit_names=tuple(names[i] for i in order) if names else (),
        )
    return rest, Rows(dataset.train_inputs[held], dataset.train_labels[held])


def subset(dataset: Dataset, num_train: int | None) -> Dataset:
    """The data set with so many training rows, of a shuffle that is always the same; they then stand alone.

    Raises:
      ValueError: more rows than there are.
    """
    rows = len(dataset.train_labels)
    if num_train is None:
        return dataset
    if not 1 <= num_train <= rows:
        raise ValueError(f"num_train={num_train} must be from 1 to the {rows} rows of dataset={dataset.name}.")
    chosen = np.random.default_rng(0).permutation(rows)[:num_train]
    learnt = [part for part in (dataset.learnt, "which rows are kept") if part] if dataset.own else [dataset.learnt]
    return dataclasses.replace(
        dataset,
        learnt="; ".join(learnt),  # a shuffle of all: with one row less others are kept
        train_inputs=dataset.train_inputs[chosen],
        train_labels=dataset.train_labels[chosen],
        train_units=None,
        test_units=None,
        num_units=0,
        num_train_units=0,
        unit_names=(),
    )


def bounded(dataset: Dataset, records_per_unit: int | None) -> np.ndarray | None:
    """Which training rows are left with at most so many of each owner, chosen with a fixed seed; None: all.

    Raises:
      ValueError: nobody knows whose the rows are.
    """
    if records_per_unit is None:
        return None
    if dataset.train_units is None:
        raise ValueError(
            f"records_per_unit={records_per_unit} needs to know whose the rows are, which dataset={dataset.name} does "
            "not say, nor does any with num_train; take all of a data set with natural clients (`dpjax data list`), or "
            "leave it None."
        )
    owners = dataset.train_units
    if dataset.own:  # their numbers change with who else is in the file
        owners = (_shares_of([name.encode() for name in dataset.unit_names]) * 2**53).astype(np.int64)[owners]
    return bound_contributions(owners, records_per_unit, seed=0)


def _shares(dataset: Dataset) -> np.ndarray:
    """A number in [0, 1) for each owner, or each row where rows stand alone, that depends on it alone."""
    if dataset.train_units is not None:
        return _shares_of([name.encode() for name in dataset.unit_names[: dataset.num_train_units]])
    inputs = dataset.train_inputs
    rows = [str(each).encode() for each in inputs.tolist()] if inputs.dtype.kind == "T" else [bytes(x) for x in inputs]
    return _shares_of([row + label.tobytes() for row, label in zip(rows, dataset.train_labels, strict=True)])


def _shares_of(contents: list[bytes]) -> np.ndarray:
    digests = (hashlib.sha256(b"selection:" + content).digest()[:8] for content in contents)
    return np.array([int.from_bytes(digest) >> 11 for digest in digests], np.float64) / 2**53


def only(dataset: Dataset, rows: np.ndarray | None) -> Dataset:
    """The data set with these training rows; all if None."""
    if rows is None:
        return dataset
    return dataclasses.replace(
        dataset,
        train_inputs=dataset.train_inputs[rows],
        train_labels=dataset.train_labels[rows],
        train_units=None if dataset.train_units is None else dataset.train_units[rows],
    )


def num_owners(dataset: Dataset) -> int:
    """Those that have rows to train on."""
    return 0 if dataset.train_units is None else len(np.unique(dataset.train_units))
