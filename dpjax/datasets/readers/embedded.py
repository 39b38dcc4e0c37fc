"""Digits and breast cancer: the files that scikit-learn carries, split and ready without any fetch."""

import csv
import gzip
import importlib
import importlib.util
import io
from pathlib import Path

import numpy as np
from jaxtyping import Float

from dpjax.datasets.entries import RawArrays
from dpjax.datasets.splits import stratified_split
from dpjax.fetching.sources import DatasetError

# Minimum and maximum of each measurement as the data set's own published description tabulates them. They are
# constants: removing a patient's record does not move them, where statistics of the training rows would.
BREAST_CANCER_RANGES: dict[str, tuple[float, float]] = {
    "mean radius": (6.981, 28.11),
    "mean texture": (9.71, 39.28),
    "mean perimeter": (43.79, 188.5),
    "mean area": (143.5, 2501.0),
    "mean smoothness": (0.053, 0.163),
    "mean compactness": (0.019, 0.345),
    "mean concavity": (0.0, 0.427),
    "mean concave points": (0.0, 0.201),
    "mean symmetry": (0.106, 0.304),
    "mean fractal dimension": (0.05, 0.097),
    "radius error": (0.112, 2.873),
    "texture error": (0.36, 4.885),
    "perimeter error": (0.757, 21.98),
    "area error": (6.802, 542.2),
    "smoothness error": (0.002, 0.031),
    "compactness error": (0.002, 0.135),
    "concavity error": (0.0, 0.396),
    "concave points error": (0.0, 0.053),
    "symmetry error": (0.008, 0.079),
    "fractal dimension error": (0.001, 0.03),
    "worst radius": (7.93, 36.04),
    "worst texture": (12.02, 49.54),
    "worst perimeter": (50.41, 251.2),
    "worst area": (185.2, 4254.0),
    "worst smoothness": (0.071, 0.223),
    "worst compactness": (0.027, 1.058),
    "worst concavity": (0.0, 1.252),
    "worst concave points": (0.0, 0.291),
    "worst symmetry": (0.156, 0.664),
    "worst fractal dimension": (0.055, 0.208),
}


def scikit_learn_file(name: str) -> Path | None:
    """Returns the path of one of scikit-learn's data files, or None where this version keeps it elsewhere.

    Finds the package without importing it: the import alone takes seconds.
    """
    spec = importlib.util.find_spec("sklearn")
    if spec is None or not spec.submodule_search_locations:
        raise DatasetError("data.name needs scikit-learn here; install it with `pip install scikit-learn`")
    path = Path(spec.submodule_search_locations[0], "datasets", "data", name)
    return path if path.is_file() else None


def _rows(file: str, loader: str, header_lines: int) -> np.ndarray:
    path = scikit_learn_file(file)
    if path is None:  # another layout of scikit-learn: its public door is slower but stays
        data, target = getattr(importlib.import_module("sklearn.datasets"), loader)(return_X_y=True)
        return np.column_stack([data, target])
    content = path.read_bytes()
    text = (gzip.decompress(content) if path.suffix == ".gz" else content).decode()
    return np.array(list(csv.reader(io.StringIO(text)))[header_lines:], dtype=np.float64)


def read_digits() -> RawArrays:
    """Reads the 1,797 scanned digits, 8×8 grey values 0–16, split 80/20 by class.

    Example:
      >>> read_digits().train_inputs.shape
      (1438, 8, 8)
    """
    rows = _rows("digits.csv.gz", "load_digits", 0)
    return stratified_split(rows[:, :-1].astype(np.uint8).reshape(-1, 8, 8), rows[:, -1].astype(np.int32))


def read_breast_cancer() -> RawArrays:
    """Reads the 569 biopsies with 30 measurements each, split 80/20 by class; class 0 is malignant.

    Example:
      >>> read_breast_cancer().test_inputs.shape
      (113, 30)
    """
    rows = _rows("breast_cancer.csv", "load_breast_cancer", 1)
    return stratified_split(rows[:, :-1], rows[:, -1].astype(np.int32))


def encode_breast_cancer(raw: Float[np.ndarray, "rows 30"]) -> Float[np.ndarray, "rows 30"]:
    """Centres and scales each measurement by fixed constants from its published range.

    The quantities are positive and lean to their lower end, so the centre is a quarter up the range and a unit is
    a sixth of it; in the data that gives means within about one of 0 and deviations near 1.

    Args:
      raw: ``[rows, 30]`` measurements in their own units.

    Returns:
      ``[rows, 30]`` float32 without a unit.

    Example:
      >>> low = np.array([[low for low, _ in BREAST_CANCER_RANGES.values()]])
      >>> float(encode_breast_cancer(low).max())
      -1.5
    """
    low, high = np.array(list(BREAST_CANCER_RANGES.values())).T
    return ((raw - (low + (high - low) / 4)) / ((high - low) / 6)).astype(np.float32)
