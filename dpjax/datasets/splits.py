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
    order = np.argsort(np.random.PCG64(seed).random_raw(len(labels)), kind="stable")
    test = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        of_class = order[labels[order] == label]
        test[of_class[: round(test_fraction * len(of_class))]] = True
    train_rows, test_rows = order[~test[order]], order[test[order]]
    labels = labels.astype(np.int32)
    return RawArrays(inputs[train_rows], labels[train_rows], inputs[test_rows], labels[test_rows])


def scale_images(divisor: int, centre: float = 0.0, scale: float = 1.0) -> Callable[[np.ndarray], np.ndarray]:
    """Returns an encoder of grey images ``[rows, height, width]`` → ``[rows, height, width, 1]``.

    The pixel is divided by ``divisor`` into [0, 1], then centred and scaled by public constants: a shared offset
    would spend every clipped gradient on the same direction.
    """

    def encode(raw: Integer[np.ndarray, "rows height width"]) -> np.ndarray:
        pixels = raw.astype(np.float32) / np.float32(divisor)
        return ((pixels - np.float32(centre)) / np.float32(scale))[..., None]

    return encode
