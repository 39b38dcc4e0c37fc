"""The Adult census table: its documented vocabulary, and its encoding by constants that no record moves."""

from collections.abc import Iterator, Mapping

import numpy as np
from jaxtyping import Float32, Int32

from dpjax.datasets.entries import RawArrays
from dpjax.fetching.sources import DatasetError


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


# Columns in file order. None: a number; otherwise the values that the data set's own documentation lists, in its
# order. "?" (unknown) is a value of its own: dropping such rows would make the cohort depend on private values.
COLUMNS: dict[str, tuple[str, ...] | None] = {
    "age": None,
    "workclass": _words(
        "Private Self-emp-not-inc Self-emp-inc Federal-gov Local-gov State-gov Without-pay Never-worked ?"
    ),
    "fnlwgt": None,
    "education": _words(
        "Bachelors Some-college 11th HS-grad Prof-school Assoc-acdm Assoc-voc 9th 7th-8th 12th Masters 1st-4th "
        "10th Doctorate 5th-6th Preschool"
    ),
    "education-num": None,
    "marital-status": _words(
        "Married-civ-spouse Divorced Never-married Separated Widowed Married-spouse-absent Married-AF-spouse"
    ),
    "occupation": _words(
        "Tech-support Craft-repair Other-service Sales Exec-managerial Prof-specialty Handlers-cleaners "
        "Machine-op-inspct Adm-clerical Farming-fishing Transport-moving Priv-house-serv Protective-serv "
        "Armed-Forces ?"
    ),
    "relationship": _words("Wife Own-child Husband Not-in-family Other-relative Unmarried"),
    "race": _words("White Asian-Pac-Islander Amer-Indian-Eskimo Other Black"),
    "sex": _words("Female Male"),
    "capital-gain": None,
    "capital-loss": None,
    "hours-per-week": None,
    "native-country": _words(
        "United-States Cambodia England Puerto-Rico Canada Germany Outlying-US(Guam-USVI-etc) India Japan Greece "
        "South China Cuba Iran Honduras Philippines Italy Poland Jamaica Vietnam Mexico Portugal Ireland France "
        "Dominican-Republic Laos Ecuador Taiwan Haiti Columbia Hungary Guatemala Nicaragua Scotland Thailand "
        "Yugoslavia El-Salvador Trinadad&Tobago Peru Hong Holand-Netherlands ?"
    ),
}

# Round numbers that anyone would name without seeing the data: a working life centres on 40, a week has 40 hours,
# "some college" is level 10, and money and census weights are read by their order of magnitude.
_NUMERIC = {
    "age": lambda x: (x - 40) / 15,
    "fnlwgt": lambda x: np.log2(np.maximum(x, 1) / 200_000),
    "education-num": lambda x: (x - 10) / 3,
    "capital-gain": lambda x: np.log1p(x) / 10,
    "capital-loss": lambda x: np.log1p(x) / 10,
    "hours-per-week": lambda x: (x - 40) / 10,
}

FEATURE_NAMES: tuple[str, ...] = tuple(
    name if values is None else f"{name}={value}" for name, values in COLUMNS.items() for value in values or ("",)
)
CLASS_NAMES = ("<=50K", ">50K")


def _records(text: str, file: str) -> Iterator[tuple[list[int], int]]:
    codes = [None if values is None else {value: i for i, value in enumerate(values)} for values in COLUMNS.values()]
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("|"):  # the test file opens with a comment
            continue
        *cells, label = (cell.strip() for cell in line.split(","))
        try:
            row = [int(cell) if code is None else code[cell] for cell, code in zip(cells, codes, strict=True)]
            yield row, CLASS_NAMES.index(label.rstrip("."))  # the test file ends its labels with a full stop
        except (ValueError, KeyError) as error:
            raise DatasetError(f"data.name='adult': line {number} of {file} is not as documented: {error}") from error


def decode_adult(files: Mapping[str, bytes]) -> RawArrays:
    """Reads the official training and test files into whole numbers: values, and codes of categories.

    Args:
      files: path → content; the paths end in ``adult.data`` and ``adult.test``.

    Returns:
      Inputs ``[rows, 14]`` int32, labels 1 for an income over 50K, in the files' order.

    Raises:
      DatasetError: where a line holds a value outside the documented vocabulary.

    Example:
      >>> row = "39, ?, 77516, Bachelors, 13, Divorced, ?, Wife, Other, Male, 0, 0, 40, Peru, >50K"
      >>> decode_adult({"adult.data": row.encode(), "adult.test": row.encode() + b"."}).train_labels
      array([1], dtype=int32)
    """
    parts: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    for path, content in files.items():
        rows, labels = zip(*_records(content.decode("ascii"), path), strict=True)
        parts[path.rsplit(".", 1)[-1]] = np.array(rows, np.int32), np.array(labels, np.int32)
    return RawArrays(*parts["data"], *parts["test"])


def encode_adult(raw: Int32[np.ndarray, "rows 14"]) -> Float32[np.ndarray, "rows 108"]:
    """Encodes six numbers by fixed constants and eight categories as one-hot columns.

    Row-wise: a record's encoding depends on that record alone.

    Args:
      raw: ``[rows, 14]`` as ``decode_adult`` gives it.

    Returns:
      ``[rows, 108]`` float32; ``FEATURE_NAMES`` names the columns.

    Example:
      >>> encode_adult(np.zeros((2, 14), np.int32)).shape
      (2, 108)
    """
    encoded = np.zeros((len(raw), len(FEATURE_NAMES)), np.float32)
    start = 0
    for column, (name, values) in enumerate(COLUMNS.items()):
        if values is None:
            encoded[:, start] = _NUMERIC[name](raw[:, column].astype(np.float64))
        else:
            encoded[np.arange(len(raw)), start + raw[:, column]] = 1
        start += len(values or ("",))
    return encoded
