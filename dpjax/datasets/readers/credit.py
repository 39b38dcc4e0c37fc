"""Loans and whether they were paid back: numbers by fixed constants, categories over their documented values."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float32

from dpjax.datasets.entries import RawArrays
from dpjax.datasets.readers.r_tables import read_tables
from dpjax.datasets.splits import stratified_split
from dpjax.fetching.sources import DatasetError

CLASS_NAMES = ("good", "bad")
NUMBERS = ("Seniority", "Time", "Age", "Expenses", "Income", "Assets", "Debt", "Amount", "Price")
# "?" (not recorded) is a value of its own: dropping such rows would make the cohort depend on private values.
CATEGORIES: dict[str, tuple[str, ...]] = {
    "Home": ("ignore", "other", "owner", "parents", "priv", "rent", "?"),
    "Marital": ("divorced", "married", "separated", "single", "widow", "?"),
    "Records": ("no", "yes", "?"),
    "Job": ("fixed", "freelance", "others", "partime", "?"),
}
_SOMETIMES_MISSING = ("Income", "Assets", "Debt")
_FARTHEST = 4.0

FEATURE_NAMES = (
    *NUMBERS,
    *(f"{name}=missing" for name in _SOMETIMES_MISSING),
    *(f"{name}={value}" for name, values in CATEGORIES.items() for value in values),
)


def decode_credit(files: Mapping[str, bytes]) -> RawArrays:
    """Reads the loans and splits them 80/20 by class.

    Args:
      files: path → content; the paths end in ``.rdx`` and ``.rdb``.

    Returns:
      As ``loans``, split.

    Raises:
      DatasetError: where the files hold something else.
    """
    by_suffix = {path.rsplit(".", 1)[-1]: content for path, content in files.items()}
    return loans(read_tables(by_suffix["rdx"], by_suffix["rdb"], ("credit_data",))["credit_data"])


def loans(table: Mapping[str, np.ndarray]) -> RawArrays:
    """The loans of R's data frame ``credit_data``, split 80/20 by class with a fixed seed.

    Args:
      table: column → ``[rows]``: numbers with NaN, words with None, for what is not recorded.

    Returns:
      Inputs ``[rows, 13]`` float32: ``NUMBERS``, NaN where nothing was recorded, then the places of ``CATEGORIES`` in
      their lists. Labels 1 for a loan that went bad.

    Raises:
      DatasetError: a word that is not in the lists, or a column that is not there.
    """
    try:
        columns = [table[name] for name in NUMBERS]
        for name, values in CATEGORIES.items():
            columns.append(np.array(["?" if word is None else word for word in table[name].tolist()]))
            columns[-1] = np.array([values.index(word) for word in columns[-1].tolist()], np.float64)
        labels = np.array([CLASS_NAMES.index(word) for word in table["Status"].tolist()], np.int32)
    except (KeyError, ValueError) as error:
        raise DatasetError(f"data.name='credit': the table is not as it was looked at: {error}") from error
    return stratified_split(np.stack(columns, axis=1).astype(np.float32), labels)


def encode_credit(raw: Float32[np.ndarray, "rows 13"]) -> Float32[np.ndarray, "rows 33"]:
    """Scales nine numbers by fixed constants and writes four categories as one-hot columns.

    Row-wise. Constants are round numbers that anyone would name without seeing the data, by what stands for 0 and for
    1: seniority 5 and 10 years; the loan's time 36 and 48 months; age 40 and 55 years; expenses 50 and 75; income,
    amount and price on a scale of doublings from 100, 1,000 and 1,000; assets and debt by their order of magnitude, ten
    e-foldings for 1. All is cut off at ±4; what is missing is 0, and income, assets and debt say so in a column.

    Args:
      raw: ``[rows, 13]`` as ``loans`` gives it.

    Returns:
      ``[rows, 33]`` float32 without a unit; ``FEATURE_NAMES`` names the columns.

    Example:
      >>> row = np.array([[10, 48, 55, 75, 200, np.nan, 0, 2000, 2000, 2, 1, 0, 0]], np.float32)
      >>> encode_credit(row)[0, :12].tolist()
      [1.0, 1.0, 1.0, 1.0, 1.0, 0.0, 0.0, 1.0, 1.0, 0.0, 1.0, 0.0]
    """
    seniority, time, age, expenses, income, assets, debt, amount, price = raw[:, : len(NUMBERS)].T.astype(np.float64)
    doublings = [np.log2(np.maximum(x, 1) / base) for x, base in ((income, 100), (amount, 1000), (price, 1000))]
    magnitudes = [np.log1p(np.maximum(x, 0)) / 10 for x in (assets, debt)]
    numbers = [(seniority - 5) / 5, (time - 36) / 12, (age - 40) / 15, (expenses - 50) / 25]
    numbers += [doublings[0], *magnitudes, *doublings[1:]]
    columns = [np.nan_to_num(np.clip(x, -_FARTHEST, _FARTHEST)) for x in numbers]
    columns += [np.isnan(raw[:, NUMBERS.index(name)]) for name in _SOMETIMES_MISSING]
    for place, values in enumerate(CATEGORIES.values(), len(NUMBERS)):
        columns += [raw[:, place] == code for code in range(len(values))]
    return np.stack(columns, axis=1).astype(np.float32)
