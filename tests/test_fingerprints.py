"""Rows that are known again, whatever was done to their file; and rows that are others', whatever they share."""

import datetime

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris, load_wine

from dpjax.fingerprints import Fingerprint, fingerprint_of

CANCER = pd.DataFrame(load_breast_cancer(return_X_y=True)[0])
LOADERS = {"breast_cancer": load_breast_cancer, "diabetes": load_diabetes, "iris": load_iris, "wine": load_wine}


def _of(frame: pd.DataFrame) -> Fingerprint:
    return fingerprint_of({str(i): frame.iloc[:, i].to_numpy() for i in range(frame.shape[1])})


def _known(a: Fingerprint, b: Fingerprint) -> bool:
    return a.shares(b) > 0 and b.shares(a) > 0


PARTS = {
    "a split": lambda frame: frame.sample(455, random_state=0),
    "a split with its row numbers": lambda frame: frame.sample(455, random_state=0).reset_index(),
    "a column and a row less": lambda frame: frame.iloc[1:, 1:],
    "half of the columns and of the rows": lambda frame: frame.sample(280, random_state=1).iloc[:, ::2],
    "a column of one's own beside": lambda frame: frame.sample(400, random_state=2).assign(group=[*range(20)] * 20),
    "ids beside": lambda frame: frame.assign(id=[f"P{i:04d}" for i in range(len(frame))]).iloc[5:],
    "rounded labels away, columns turned": lambda frame: frame.iloc[::-1, -2::-1].head(300),
}


@pytest.mark.parametrize("part", PARTS)
def test_a_part_is_known(part):
    assert _known(_of(CANCER), _of(PARTS[part](CANCER)))


def test_a_copy_with_row_numbers_is_the_same():
    assert _of(CANCER.sample(frac=1, random_state=0).reset_index()).same(_of(CANCER))


@pytest.mark.parametrize("a", LOADERS)
@pytest.mark.parametrize("b", LOADERS)
def test_other_tables_are_not_known(a, b):
    found = _known(_of(LOADERS[a](as_frame=True).frame), _of(LOADERS[b](as_frame=True).frame))
    assert found == (a == b)


def _survey(seed: int, ids: list, columns: int = 8, choices: int = 6) -> Fingerprint:
    drawn = np.random.default_rng(seed).integers(choices, size=(columns, len(ids)))
    return fingerprint_of({"id": ids} | {f"q{i}": drawn[i] for i in range(columns)})


IDS = {
    "numbers": [*range(300)],
    "later numbers": [*range(5000, 5300)],
    "words": [f"P{i:04d}" for i in range(300)],
    "days": [datetime.date(2020, 1, 1) + datetime.timedelta(i) for i in range(300)],
    "days as words": [str(datetime.date(2020, 1, 1) + datetime.timedelta(i)) for i in range(300)],
    "each third number": [*range(0, 900, 3)],
}


@pytest.mark.parametrize("ids", IDS)
def test_tables_that_share_a_numbering_are_others(ids):
    one, other = _survey(0, IDS[ids]), _survey(1, IDS[ids], columns=9)
    assert not one.same(other)
    assert one.shares(other) == other.shares(one) == 0
    drawn = np.random.default_rng(5).normal(size=(2, 300))
    one, other = (fingerprint_of({"id": IDS[ids], "value": drawn[i]}) for i in range(2))
    assert one.shares(other) == other.shares(one) == 0


DAYS = pd.date_range("1950-01-01", periods=400, freq="37D")
SAME = {
    "days and moments": (DAYS.date, DAYS.to_numpy("datetime64[ns]")),
    "moments of other units": (DAYS.to_numpy("datetime64[s]"), DAYS.to_numpy("datetime64[ns]")),
    "moments and words": (DAYS.to_numpy("datetime64[ns]"), [f"{day} 00:00:00" for day in DAYS.date]),
    "words of both forms": ([f"{day}T10:30:00.500" for day in DAYS.date], [f"{day} 10:30:00.5Z" for day in DAYS.date]),
    "bytes and words": ([b"row %d x" % (i * i) for i in range(400)], [f"Row {i * i} x" for i in range(400)]),
}


@pytest.mark.parametrize("how", SAME)
def test_a_value_is_the_same_in_every_type(how):
    noise = np.random.default_rng(0).normal(size=400)
    a, b = (fingerprint_of({"x": values, "y": noise}) for values in SAME[how])
    assert a.digest == b.digest


def test_truth_is_the_same_in_every_type():
    truth = np.arange(40) % 3 == 0
    kinds = truth, truth.astype(object), truth.astype(int), [str(each) for each in truth], truth.astype(np.float32)
    assert len({fingerprint_of({"t": kind, "n": np.arange(40) ** 2}).digest for kind in kinds}) == 1


@settings(max_examples=50)
@given(st.integers(60, 300), st.integers(3, 12), st.integers(0, 2**32 - 1), st.floats(0.3, 1), st.data())
def test_any_part_of_continuous_columns_is_known(rows, columns, seed, share, data):
    """Whatever rows and at least three columns, in any order, with numbers of the rows and noise beside."""
    random = np.random.default_rng(seed)
    table = random.normal(size=(rows, columns))
    kept = data.draw(st.permutations(range(columns)))[: data.draw(st.integers(3, columns))]
    chosen = random.permutation(rows)[: max(20, int(share * rows))]
    part = {str(i): table[chosen, i] for i in kept} | {"n": chosen, "group": chosen % 3}
    whole = fingerprint_of({str(i): table[:, i] for i in range(columns)})
    assert _known(whole, fingerprint_of(part))
    assert Fingerprint.from_json(whole.as_json()) == whole
    other = fingerprint_of({str(i): random.normal(size=rows) for i in range(columns)})
    assert whole.shares(other) == 0


def test_fingerprints_of_before_are_read():
    before = '[3, "ab", "AQAAAAAAAAA=", "", ""]'
    assert Fingerprint.from_json(before) == Fingerprint(3, "ab", (1,), (), ())
