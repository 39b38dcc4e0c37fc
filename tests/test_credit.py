"""Loans: a table as R keeps it, word by word, and an encoding that looks at one row alone."""

import numpy as np
import pytest

from dpjax.datasets import registry
from dpjax.datasets.readers import credit
from dpjax.fetching.sources import DatasetError

KNOWN = {
    **{"Status": "good", "Seniority": 10.0, "Home": "rent", "Time": 48.0, "Age": 55.0, "Marital": "married"},
    **{"Records": "no", "Job": "fixed", "Expenses": 75.0, "Income": 200.0, "Assets": 0.0, "Debt": 0.0},
    **{"Amount": 2000.0, "Price": 500.0},
}
UNKNOWN = KNOWN | {"Status": "bad", "Income": np.nan, "Debt": np.nan, "Home": None, "Records": None}


def table(*rows):
    return {name: np.array([row[name] for row in rows]) for name in KNOWN}


def test_every_loan_is_read_once_with_what_is_missing_in_columns_of_its_own():
    raw = credit.loans(table(*[KNOWN] * 5, *[UNKNOWN] * 5))
    assert [len(raw.train_inputs), len(raw.test_inputs)] == [8, 2]
    assert raw.test_labels.tolist().count(1) == 1
    encoded = credit.encode_credit(raw.train_inputs)
    assert np.isfinite(encoded).all()
    for row, bad in zip(encoded, raw.train_labels, strict=True):
        named = dict(zip(credit.FEATURE_NAMES, row.tolist(), strict=True))
        assert {name for name, value in named.items() if "=" in name and value} == {
            *(("Home=?", "Records=?", "Income=missing", "Debt=missing") if bad else ("Home=rent", "Records=no")),
            *("Marital=married", "Job=fixed"),
        }
        assert [named[name] for name in credit.NUMBERS] == [1, 1, 1, 1, 0 if bad else 1, 0, 0, 1, -1]


def test_a_row_is_encoded_by_itself_and_is_bounded():
    source = np.random.default_rng(0)
    raw = np.concatenate([10 ** source.uniform(-9, 9, (50, 9)), source.integers(0, 3, (50, 4))], 1).astype(np.float32)
    whole = credit.encode_credit(raw)
    np.testing.assert_array_equal(np.concatenate([credit.encode_credit(raw[i : i + 1]) for i in range(50)]), whole)
    assert np.abs(whole).max() == 4


@pytest.mark.parametrize("wrong", [{"Home": "castle"}, {"Status": "ugly"}, {"Job": None, "Marital": "single?"}])
def test_words_that_are_not_documented_are_refused(wrong):
    with pytest.raises(DatasetError, match=r"credit.: the table is not as it was looked at"):
        credit.loans(table(KNOWN, KNOWN | wrong))
    with pytest.raises(DatasetError, match="Status"):
        credit.loans({name: column for name, column in table(KNOWN).items() if name != "Status"})


def test_the_entry_says_what_the_reader_gives():
    entry = registry.find("credit")
    assert entry.input_shape == credit.encode_credit(credit.loans(table(*[KNOWN] * 9)).train_inputs).shape[1:] == (33,)
    assert entry.feature_names[:2] == ("Seniority", "Time")
