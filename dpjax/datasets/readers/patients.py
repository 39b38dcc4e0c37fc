"""Measurements of patients with fatty liver disease and of their matched controls; a patient is a natural client."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float32

from dpjax.datasets.entries import RawArrays
from dpjax.datasets.readers.r_tables import read_tables
from dpjax.datasets.splits import split_whole_units
from dpjax.fetching.sources import DatasetError

CLASS_NAMES = ("no NAFLD", "NAFLD")
TESTS = ("hdl", "sbp", "smoke", "fib4")
# The data also list "chol" and "dbp", which repeat the values of "hdl" and "sbp" of the same day and say nothing new.
_REPEATS = ("chol", "dbp")

FEATURE_NAMES = (
    *("age", "male", "weight", "weight=missing", "height", "height=missing", "bmi", "bmi=missing", "years"),
    *(name for test in TESTS for name in (test, f"{test}=measured")),
)
_FARTHEST = 4.0  # a slip of the pen (a blood pressure of 13,682) must not outweigh all that is known of a patient


def decode_nafld(files: Mapping[str, bytes]) -> RawArrays:
    """Reads patients, their measurements and their diagnoses; splits the patients 80/20.

    Args:
      files: path → content; the paths end in ``.rdx`` and ``.rdb``.

    Returns:
      Inputs ``[rows, 8]`` float32, NaN where nothing was recorded: age at the index date (years), 1 for a man, weight
      (kg), height (cm), body mass index (kg/m²), day of the measurement since the index date, place of the test in
      ``TESTS``, its value. Labels 1 where the patient is diagnosed with NAFLD at any time of the study. A patient's
      rows stay together, in order of days.

    Raises:
      DatasetError: where the files hold something else.
    """
    by_suffix = {path.rsplit(".", 1)[-1]: content for path, content in files.items()}
    tables = read_tables(by_suffix["rdx"], by_suffix["rdb"], ("nafld1", "nafld2", "nafld3"))
    people, measured, events = tables["nafld1"], tables["nafld2"], tables["nafld3"]
    if unknown := set(measured["test"].tolist()) - {*TESTS, *_REPEATS}:
        raise DatasetError(f"data.name='nafld': nafld2 holds the test {min(unknown)!r}, which is not documented")
    documented = ~np.isin(measured["test"], _REPEATS)
    owner, days, value = (measured[name][documented] for name in ("id", "days", "value"))
    test = np.argmax(measured["test"][documented][:, None] == np.array(TESTS), axis=1)
    order = np.lexsort((test, days, owner))
    of_person = np.searchsorted(people["id"], owner)  # nafld1 is in order of id
    if not np.array_equal(people["id"][of_person % len(people["id"])], owner):
        raise DatasetError("data.name='nafld': nafld2 holds measurements of patients that nafld1 does not list")
    columns = [people[name][of_person] for name in ("age", "male", "weight", "height", "bmi")]
    inputs = np.stack([*columns, days, test, value], axis=1).astype(np.float32)[order]
    labels = np.isin(owner, events["id"][events["event"] == "nafld"])
    return split_whole_units(inputs, labels[order].astype(np.int32), owner[order].astype(np.int64))


def encode_nafld(raw: Float32[np.ndarray, "rows 8"]) -> Float32[np.ndarray, "rows 17"]:
    """Centres and scales by round clinical figures; every test has a column of its own and one that says it was made.

    Row-wise. Figures, by what stands for 0 and for 1: age on the day 50 and 65 years; weight 80 and 100 kg; height 170
    and 180 cm; body mass index 25, where overweight begins, and 30, where obesity does; the day in decades; HDL
    cholesterol 50 and 65 mg/dl; systolic pressure 130 and 150 mm Hg; FIB-4 on a scale of doublings from 2.67, above
    which advanced fibrosis is suspected. Sex and smoking are −1 or 1. All is cut off at ±4.

    Args:
      raw: ``[rows, 8]`` as ``decode_nafld`` gives it.

    Returns:
      ``[rows, 17]`` float32 without a unit; ``FEATURE_NAMES`` names the columns.

    Example:
      >>> row = np.array([[50, 1, 80, np.nan, np.nan, 0, 1, 150]], np.float32)
      >>> dict(zip(FEATURE_NAMES, encode_nafld(row)[0].tolist()))["sbp"]
      1.0
    """
    age, male, weight, height, bmi, days, test, value = raw.T.astype(np.float64)
    columns: list[np.ndarray] = [(age + days / 365.25 - 50) / 15, 2 * male - 1]
    for known in ((weight - 80) / 20, (height - 170) / 10, (bmi - 25) / 5):
        columns += [np.nan_to_num(known), np.isnan(known)]
    columns.append(days / 3652.5)
    scaled = ((value - 50) / 15, (value - 130) / 20, 2 * value - 1, np.log2(np.maximum(value, 0.1) / 2.67))
    for code, known in enumerate(scaled):
        columns += [np.where(test == code, known, 0), test == code]
    return np.clip(np.stack(columns, axis=1), -_FARTHEST, _FARTHEST).astype(np.float32)
