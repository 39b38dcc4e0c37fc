"""A train/test split that is the same on every machine and under every version of NumPy."""

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Integer, Shaped

from dpjax.datasets.entries import RawArrays

TEST_FRACTION = 0.2
SPLIT_SEED = 0


def stratified_split(
    inputs: Shaped[np.ndarray, "rows *raw"],
    labels: Integer[np.ndarray, "rows"],
    *,
    test_fraction: float = TEST_FRACTION,
    seed: int = SPLIT_SEED,
) -> RawArrays:
    """Splits rows so that every class gives the same share to the test set.

    Depends on the labels and the seed only, never on the inputs, and stays the same for ever: it reads the raw
    stream of PCG64, which NumPy promises to keep, and not ``Generator.permutation``, which it does not. The rows
    of both parts come in random order, so that the first n rows are not all of one class.

    Args:
      inputs: ``[rows, ...]``, any dtype.
      labels: ``[rows]`` class numbers.
      test_fraction: share of every class that goes to the test set, rounded to the nearest row.
      seed: of the split.

    Returns:
      The two parts, labels as int32.

    Example:
      >>> labels = np.array([0] * 10 + [1] * 5)
      >>> split = stratified_split(np.arange(15), labels)
      >>> np.bincount(split.test_labels).tolist()
      [2, 1]
    """
    train_rows, test_rows = split_rows(labels, test_fraction=test_fraction, seed=seed)
    labels = labels.astype(np.int32)
    return RawArrays(inputs[train_rows], labels[train_rows], inputs[test_rows], labels[test_rows])


def split_rows(
    strata: Integer[np.ndarray, "rows"], *, test_fraction: float = TEST_FRACTION, seed: int = SPLIT_SEED
) -> tuple[Integer[np.ndarray, "train"], Integer[np.ndarray, "test"]]:
    """Splits row numbers so that every stratum gives the same share to the test set.

    Args:
      strata: ``[rows]`` whole numbers, equal within a stratum.
      test_fraction: share of every stratum that goes to the test set, rounded to the nearest row.
      seed: of the split.

    Returns:
      Row numbers of the training and of the test set, each in random order.

    Example:
      >>> [sorted(rows.tolist()) for rows in split_rows(np.array([0, 0, 1, 1]), test_fraction=0.5)]
      [[0, 2], [1, 3]]
    """
    order = np.argsort(np.random.PCG64(seed).random_raw(len(strata)), kind="stable")
    test = np.zeros(len(strata), bool)
    for stratum in np.unique(strata):
        members = order[strata[order] == stratum]
        test[members[: round(test_fraction * len(members))]] = True
    return order[~test[order]], order[test[order]]


def split_whole_units(
    inputs: Shaped[np.ndarray, "rows *raw"],
    labels: Integer[np.ndarray, "rows"],
    owners: Integer[np.ndarray, "rows"],
    *,
    test_fraction: float = TEST_FRACTION,
    seed: int = SPLIT_SEED,
) -> RawArrays:
    """Splits natural clients, never the rows of one: all of a patient's rows train, or all test.

    Depends on the set of owners and the seed only. Clients come in random order, those that train first, and are
    numbered in it; a client's rows stay together and in the order in which they came.

    Args:
      inputs: ``[rows, ...]``, any dtype.
      labels: ``[rows]`` class numbers.
      owners: ``[rows]`` whole numbers, equal for rows of the same client.
      test_fraction: share of the clients that go to the test set.
      seed: of the split.

    Returns:
      The two parts with their units.

    Example:
      >>> owners = np.array([7, 3, 7, 9, 9])
      >>> split = split_whole_units(np.arange(5), np.zeros(5, int), owners, test_fraction=1 / 3)
      >>> split.train_inputs.tolist(), split.train_units.tolist(), split.test_units.tolist()
      ([0, 2, 1], [0, 0, 1], [2, 2])
    """
    names, member = np.unique(owners, return_inverse=True)
    train, test = split_rows(np.zeros(len(names), np.int64), test_fraction=test_fraction, seed=seed)
    number = np.empty(len(names), np.int32)
    number[np.concatenate([train, test])] = np.arange(len(names), dtype=np.int32)
    units = number[member]
    order = np.argsort(units, kind="stable")
    parts = order[: (cut := np.searchsorted(units[order], len(train)))], order[cut:]
    labels = labels.astype(np.int32)
    arrays = [array[rows] for rows in parts for array in (inputs, labels)]
    return RawArrays(*arrays, *(units[rows] for rows in parts))


def split_whole_groups(
    inputs: Shaped[np.ndarray, "rows *raw"],
    labels: Integer[np.ndarray, "rows"],
    groups: Integer[np.ndarray, "rows"],
    *,
    test_fraction: float = TEST_FRACTION,
    seed: int = SPLIT_SEED,
) -> RawArrays:
    """Splits rows by class like ``stratified_split``, but keeps rows that resemble each other on one side.

    Groups whose commonest class is the same form a stratum; of each, the share of groups that test is the same, the
    share of rows only nearly. The groups are no clients and are not kept.

    Args:
      inputs: ``[rows, ...]``, any dtype.
      labels: ``[rows]`` class numbers.
      groups: ``[rows]`` whole numbers, equal for rows that stay together.
      test_fraction: share of the groups that go to the test set.
      seed: of the split.

    Returns:
      The two parts, their rows in random order.

    Example:
      >>> groups = np.array([0, 1, 0, 1, 2, 3])
      >>> split = split_whole_groups(np.arange(6), np.array([0, 0, 1, 0, 1, 1]), groups, test_fraction=0.5)
      >>> sorted(groups[split.train_inputs].tolist()), sorted(groups[split.test_inputs].tolist())
      ([0, 0, 2], [1, 1, 3])
    """
    _, member = np.unique(groups, return_inverse=True)
    _, test = split_rows(_commonest(labels, member), test_fraction=test_fraction, seed=seed)
    order, _ = split_rows(np.zeros(len(labels), np.int64), test_fraction=0.0, seed=seed)
    tests = np.isin(member[order], test)
    parts = order[~tests], order[tests]
    labels = labels.astype(np.int32)
    return RawArrays(*(array[rows] for rows in parts for array in (inputs, labels)))


def split_large_units(
    inputs: Shaped[np.ndarray, "rows *raw"],
    labels: Integer[np.ndarray, "rows"],
    owners: Integer[np.ndarray, "rows"],
    *,
    min_rows: int,
    test_fraction: float = TEST_FRACTION,
    seed: int = SPLIT_SEED,
) -> RawArrays:
    """Splits the rows of every natural client that has many, and puts those of the others whole on one side.

    So the test set asks about clients that trained and about clients never seen. Small clients are split by their
    commonest class. Clients come in random order, those with training rows first, and are numbered in it; a client's
    rows stay together and in the order in which they came.

    Args:
      inputs: ``[rows, ...]``, any dtype.
      labels: ``[rows]`` class numbers.
      owners: ``[rows]`` whole numbers, equal for rows of the same client.
      min_rows: of a client whose rows are split; at least 3 under the usual fraction, so that both parts get one.
      test_fraction: share of a large client's rows, and of the small clients, that go to the test set.
      seed: of the split.

    Returns:
      The two parts with their units.

    Example:
      >>> owners = np.array([4, 4, 4, 4, 4, 1, 2, 2, 3, 5, 6])
      >>> split = split_large_units(np.arange(11), np.zeros(11, int), owners, min_rows=5)
      >>> len(split.test_units), split.num_units, split.num_train_units
      (2, 6, 5)
    """
    names, member, counts = np.unique(owners, return_inverse=True, return_counts=True)
    large = counts >= min_rows
    tests = np.zeros(len(labels), bool)
    rows = np.flatnonzero(large[member])
    tests[rows[split_rows(member[rows], test_fraction=test_fraction, seed=seed)[1]]] = True
    small = np.flatnonzero(~large)
    strata = _commonest(labels, member)[small]
    unseen = small[split_rows(strata, test_fraction=test_fraction, seed=seed)[1]]
    tests |= np.isin(member, unseen)
    order, _ = split_rows(np.zeros(len(names), np.int64), test_fraction=0.0, seed=seed)
    order = np.concatenate([order[~np.isin(order, unseen)], order[np.isin(order, unseen)]])
    number = np.empty(len(names), np.int32)
    number[order] = np.arange(len(names), dtype=np.int32)
    units, labels = number[member], labels.astype(np.int32)
    by_unit = np.argsort(units, kind="stable")
    parts = by_unit[~tests[by_unit]], by_unit[tests[by_unit]]
    arrays = [array[rows] for rows in parts for array in (inputs, labels)]
    return RawArrays(*arrays, *(units[rows] for rows in parts))


def _commonest(
    labels: Integer[np.ndarray, "rows"], member: Integer[np.ndarray, "rows"]
) -> Integer[np.ndarray, "groups"]:
    """Returns the commonest label of every group, the least of those that are equally common."""
    counts = np.zeros((int(member.max(initial=-1)) + 1, int(labels.max(initial=0)) + 1), np.int64)
    np.add.at(counts, (member, labels), 1)
    return counts.argmax(1)


def scale_images(divisor: int, centre: float = 0.0, scale: float = 1.0) -> Callable[[np.ndarray], np.ndarray]:
    """Returns an encoder of grey images ``[rows, height, width]`` → ``[rows, height, width, 1]``.

    The pixel is divided by ``divisor`` into [0, 1], then centred and scaled by public constants: a shared offset
    would spend every clipped gradient on the same direction.
    """

    def encode(raw: Integer[np.ndarray, "rows height width"]) -> np.ndarray:
        pixels = raw.astype(np.float32) / np.float32(divisor)
        return ((pixels - np.float32(centre)) / np.float32(scale))[..., None]

    return encode


def of_test_rows_alone(names: Sequence[str], num_classes: int) -> str:
    """What is to be said of classes that no model can learn, for all of their rows test.

    Args:
      names: of those classes, one or more.
      num_classes: that there are.

    Example:
      >>> of_test_rows_alone(["c"], 3).partition(":")[0]
      "1 of 3 classes has no row to train on, as 'c', and is in test rows alone"
    """
    has, is_, them = ("has", "is", "it") if len(names) == 1 else ("have", "are", "them")
    return (
        f"{len(names):,} of {num_classes:,} classes {has} no row to train on, as {names[0]!r}, and {is_} in test rows "
        f"alone: no run can learn {them}; choose another data.split, or take such rows out and leave {them} out of "
        "data.classes"
    )
