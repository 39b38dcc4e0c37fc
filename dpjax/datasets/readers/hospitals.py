"""Heart disease at four hospitals: who measured what differs, so each hospital is a natural client."""

import csv
import io
from collections.abc import Mapping

import numpy as np
from jaxtyping import Float32

from dpjax.datasets.entries import RawArrays
from dpjax.datasets.splits import split_rows
from dpjax.fetching.sources import DatasetError

HOSPITALS = ("Cleveland", "Hungary", "Switzerland", "VA Long Beach")
CLASS_NAMES = ("no disease", "heart disease")

# Numbers: what becomes 0 and how much is 1, round figures that need none of these patients (years, mm Hg, mg/dl, beats
# a minute, mm of ST depression, vessels). Categories: the values that the data set's documentation lists. Age, sex and
# kind of pain are always recorded; each of the others is missing somewhere.
NUMBERS: dict[str, tuple[float, float]] = {
    "age": (50, 10),
    "trestbps": (130, 20),
    "chol": (220, 50),
    "thalch": (140, 25),
    "oldpeak": (1, 1),
    "ca": (1, 1),
}
CATEGORIES: dict[str, tuple[str, ...]] = {
    "sex": ("Female", "Male"),
    "cp": ("typical angina", "atypical angina", "non-anginal", "asymptomatic"),
    "fbs": ("FALSE", "TRUE"),
    "restecg": ("normal", "st-t abnormality", "lv hypertrophy"),
    "exang": ("FALSE", "TRUE"),
    "slope": ("upsloping", "flat", "downsloping"),
    "thal": ("normal", "fixed defect", "reversable defect"),
}
_ALWAYS_THERE = ("age", "sex", "cp")
_ZERO_IS_MISSING = ("trestbps", "chol")  # nobody alive has none; two hospitals write it for "not measured"
_COLUMNS = (*NUMBERS, *CATEGORIES)


def _features(column: str) -> list[str]:
    known = [f"{column}={value}" for value in CATEGORIES.get(column, ())] or [column]
    return known if column in _ALWAYS_THERE else [*known, f"{column}=missing"]


FEATURE_NAMES: tuple[str, ...] = tuple(feature for column in _COLUMNS for feature in _features(column))


def _number(column: str, cell: str) -> float:
    if not cell:
        return np.nan
    value = CATEGORIES[column].index(cell) if column in CATEGORIES else float(cell)
    return np.nan if column in _ZERO_IS_MISSING and value == 0 else value


def decode_heart(files: Mapping[str, bytes]) -> RawArrays:
    """Reads the table of all four hospitals and splits every hospital 80/20 by diagnosis.

    Args:
      files: one path → comma-separated values with a line of names; ``dataset`` names the hospital and ``num`` the
        number of narrowed vessels, 0–4.

    Returns:
      Inputs ``[rows, 13]`` float32, six numbers and seven codes of categories, NaN where nothing was recorded; labels
      1 for any narrowing; units are places in ``HOSPITALS``.

    Raises:
      DatasetError: where a line holds a value outside the documented vocabulary.

    Example:
      >>> names = "dataset,num,age,trestbps,chol,thalch,oldpeak,ca,sex,cp,fbs,restecg,exang,slope,thal"
      >>> row = "Hungary,2,54,,0,150,1.5,,Male,asymptomatic,TRUE,normal,FALSE,flat,"
      >>> raw = decode_heart({"heart.csv": f"{names}\\n{row}".encode()})
      >>> raw.train_inputs[0, :3].tolist(), raw.train_labels.tolist(), raw.train_units.tolist()
      ([54.0, nan, nan], [1], [1])
    """
    ((path, content),) = files.items()
    inputs, labels, units = [], [], []
    for line, row in enumerate(csv.DictReader(io.StringIO(content.decode("ascii"))), 2):
        try:
            inputs.append([_number(column, row[column]) for column in _COLUMNS])
            labels.append(int(row["num"]) > 0)
            units.append(HOSPITALS.index(row["dataset"]))
        except (ValueError, KeyError, TypeError) as error:
            raise DatasetError(f"data.name='heart': line {line} of {path} is not as documented: {error}") from error
    table, label, unit = np.array(inputs, np.float32), np.array(labels, np.int32), np.array(units, np.int32)
    train, test = split_rows(len(CLASS_NAMES) * unit + label)
    arrays = [array[rows] for rows in (train, test) for array in (table, label)]
    return RawArrays(*arrays, train_units=unit[train], test_units=unit[test], unit_names=np.array(HOSPITALS))


def encode_heart(raw: Float32[np.ndarray, "rows 13"]) -> Float32[np.ndarray, "rows 35"]:
    """Centres and scales the numbers by constants and makes categories one-hot; what is missing has columns of its own.

    Row-wise: a missing number becomes the 0 of its scale, never a mean over patients, and sets ``=missing``.

    Args:
      raw: ``[rows, 13]`` as ``decode_heart`` gives it.

    Returns:
      ``[rows, 35]`` float32 without a unit; ``FEATURE_NAMES`` names the columns.

    Example:
      >>> nobody = encode_heart(np.full((1, 13), np.nan, np.float32))
      >>> float(nobody.sum()), nobody.shape  # ten attributes may be missing
      (10.0, (1, 35))
    """
    columns: list[np.ndarray] = []
    for column, values in zip(_COLUMNS, raw.T, strict=True):
        missing = np.isnan(values)
        if column in NUMBERS:
            centre, scale = NUMBERS[column]
            columns.append(np.where(missing, 0, (values - centre) / scale))
        else:
            columns += [values == code for code in range(len(CATEGORIES[column]))]
        if column not in _ALWAYS_THERE:
            columns.append(missing)
    return np.stack(columns, axis=1).astype(np.float32)
