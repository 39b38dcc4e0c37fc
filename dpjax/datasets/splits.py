"""A train/test split that is the same on every machine and under every version of NumPy."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Integer, Shaped

from dpjax.datasets.schema import RawArrays

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


def scale_images(divisor: int, centre: float = 0.0, scale: float = 1.0) -> Callable[[np.ndarray], np.ndarray]:
    """Returns an encoder of grey images ``[rows, height, width]`` → ``[rows, height, width, 1]``.

    The pixel is divided by ``divisor`` into [0, 1], then centred and scaled by public constants: a shared offset
    would spend every clipped gradient on the same direction.
    """

    def encode(raw: Integer[np.ndarray, "rows height width"]) -> np.ndarray:
        pixels = raw.astype(np.float32) / np.float32(divisor)
        return ((pixels - np.float32(centre)) / np.float32(scale))[..., None]

    return encode
