"""Ranges and categories from noisy counts: what one unit moves, what it has alone, and that ε pays for all of it."""

import dataclasses
import math
import re

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dpjax.accounting import calibrate_noise, epsilon
from dpjax.datasets import DatasetError, TableSource, load_table
from dpjax.datasets.own_tables import releasing
from dpjax.datasets.own_tables.kinds import Column
from dpjax.datasets.own_tables.plans import Said, told_range
from dpjax.datasets.own_tables.releasing import (
    NAMES_DELTA,
    Columns,
    counted,
    first_look,
    release_column,
    second_look,
    threshold,
)
from dpjax.results.claims import claim
from dpjax.results.mechanisms import mechanism_of
from tests.patients import HOSPITALS, write_patients

SOURCE = TableSource(
    "patients.csv",
    label="diagnosis",
    unit="patient_id",
    classes=("neg", "pos"),
    columns={
        **{"age": [0, 110], "sex": ["f", "m"], "smoker": ["never", "former", "current"]},
        **{"bmi": "number", "pressure": "number", "hospital": "category", "visit_id": "skip", "patient_id": "skip"},
        "date": {"kind": "date", "form": "%Y-%m-%d"},
    },
    release=("bmi", "pressure", "hospital", "date"),
)


def numbers_of(values):
    return Column("x", "number", np.where(np.isnan(values), -1, np.arange(len(values))), (), np.asarray(values, float))


def column_of(values, kind):
    if kind == "number":
        return numbers_of(values)
    names = tuple(sorted({v for v in values if v == v}))
    codes = np.array([names.index(v) if v == v else -1 for v in values])
    return Column("x", "category", codes, tuple(map(str, names)))


@settings(max_examples=60, deadline=None)
@given(
    values=st.lists(st.sampled_from([-1e30, -3.5, -0.0, 0.0, 1e-30, 0.1, 1.0, 2.0, 7e70, math.nan]), min_size=2),
    gone=st.integers(0, 10**6),
    kind=st.sampled_from(["number", "category"]),
)
def test_a_unit_is_in_one_count_of_each_look(values, gone, kind):
    column, everybody = column_of(np.array(values), kind), np.arange(len(values))
    others = np.delete(everybody, gone % len(values))
    looks = [first_look] if kind == "category" else [first_look, lambda *a: second_look(*a, np.linspace(-4, 4, 17))]
    for look in looks:
        moved = look(column, everybody) - look(column, others)
        assert set(moved.tolist()) <= {0, 1}
        assert moved.sum() <= 1
    assert first_look(column, everybody).sum() == len(values)


@given(columns=st.integers(1, 6), noise=st.floats(0.5, 50))
def test_all_counts_together_are_one_gaussian_of_the_noise_that_was_asked_for(columns, noise):
    names = tuple(map(str, range(columns)))
    source = dataclasses.replace(SOURCE, release=names, release_noise_multiplier=noise)
    units = counted(source, np.ones(3, bool), None)
    # Each column's looks have noise of stddev·√2 twice, or of stddev once; Gaussians add in 1/σ².
    assert columns / units.stddev**2 == pytest.approx(1 / noise**2)
    assert columns * units.name_delta == pytest.approx(NAMES_DELTA)


def test_numbers_have_two_looks_of_noise_that_is_as_much_more(monkeypatch):
    drawn = []

    class Watched:
        def __init__(self, _seed):
            pass

        def normal(self, mean, stddev, size=None):
            drawn.append((stddev, size))
            return np.zeros(size)

    monkeypatch.setattr(np.random, "default_rng", Watched)
    units = Columns(np.arange(400), 3.0, 0, 1e-10)
    release_column(numbers_of(np.linspace(1, 2, 400)), Said("number"), units)
    assert [each[0] for each in drawn] == [3.0 * math.sqrt(2)] * 2
    drawn.clear()
    release_column(column_of(np.array(["a", "b"] * 200, object), "category"), Said("category"), units)
    assert drawn == [(3.0, 3)]


def test_each_owner_counts_once_whatever_he_owns():
    train, owner = np.array([True, False, True, True, True, True]), np.array([7, 7, 7, 3, 3, 5])
    assert counted(SOURCE, train, owner).rows.tolist() == [0, 3, 5]
    assert counted(SOURCE, train, None).rows.tolist() == [0, 2, 3, 4, 5]
    assert counted(dataclasses.replace(SOURCE, release=()), train, None) is None


def test_a_name_of_one_unit_alone_comes_out_as_rarely_as_said():
    chance, times = 0.02, 4000
    column = Column("x", "category", np.array([0] * 300 + [1]), ("common", "rare"))
    seen = [
        "rare" in release_column(column, Said("category"), Columns(np.arange(301), 5.0, seed, chance)).values
        for seed in range(times)
    ]
    allowed = 4 * math.sqrt(chance * (1 - chance) / times)  # standard errors
    assert abs(np.mean(seen) - chance) <= allowed
    assert threshold(5.0, 1e-10) > threshold(5.0, chance)


def test_however_many_names_one_owner_has_in_rows_that_do_not_count_none_comes_out():
    chance, names = 0.02, 2000
    codes = np.array([0] * 300 + list(range(1, names + 1)))
    column = Column("x", "category", codes, tuple(f"v{i}" for i in range(names + 1)))
    counting = Columns(np.arange(301), 5.0, 0, chance)  # one row of the owner of all the others
    odd = [release_column(column, Said("category"), counting._replace(seed=s)).values != ("v0",) for s in range(1500)]
    assert np.mean(odd) <= chance + 4 * math.sqrt(chance * (1 - chance) / 1500)


def test_two_neighbours_cannot_be_told_apart_better_than_epsilon_says():
    """What a range tells at its most telling count: beside a full bin, one that one unit more is in."""
    noise, times = 1.0, 20000  # of one column: looks have √2
    units = Columns(np.arange(40), noise, 0, 1e-10)
    values = np.array([1.5] * 30 + [100.0] * 10)
    with_one, without = numbers_of(values), numbers_of(np.where(np.arange(40) == 39, 1.5, values))

    def wide(column):
        return np.mean(
            [release_column(column, Said("number"), units._replace(seed=s)).range[1] > 64 for s in range(times // 10)]
        )

    one, other = wide(with_one), wide(without)  # neighbours by replacing one: at most twice the distance
    mu = 2 / noise
    error = 4 * math.sqrt(0.25 / (times // 10))
    from scipy.special import ndtr, ndtri

    assert one <= ndtr(ndtri(np.clip(other + error, 1e-9, 1 - 1e-9)) + mu) + error
    assert other <= ndtr(ndtri(np.clip(one + error, 1e-9, 1 - 1e-9)) + mu) + error


def test_the_rest_of_the_table_does_not_matter_and_nothing_is_learnt(tmp_path):
    path = str(write_patients(tmp_path / "patients.csv"))
    source = dataclasses.replace(SOURCE, path=path, release_by_owner=True, release_noise_multiplier=3.0)
    data = load_table(source)
    assert data.learnt == ""
    assert data.released.noise_multiplier == 3.0
    assert data.released.delta == NAMES_DELTA
    assert {name.partition("=")[2] for name in data.feature_names if name.startswith("hospital=")} == set(HOSPITALS)
    assert "bmi=missing" in data.feature_names
    assert "pressure=missing" not in data.feature_names
    share = r"\((?:\d+ to|at most) \d+ % of units beyond[^)]*\)"
    words = re.match(
        rf"range of date (\S+) to (\S+) {share}, bmi (\S+) to (\S+) {share}, pressure (\S+) to (\S+) {share} and "
        r"values of hospital Dale, East, Hill and 5 more",
        data.released.words,
    )
    low, high = float(words[3]), float(words[4])
    assert 5 <= low < 25
    assert 30 < high <= 64
    assert words[1] < "2019"
    assert words[2] > "2023"
    again, other = load_table(source), load_table(dataclasses.replace(source, release_seed=1))
    assert np.array_equal(again.train_inputs, data.train_inputs)
    assert other.released.words != data.released.words
    swapped = load_table(dataclasses.replace(source, release=SOURCE.release[::-1]))
    assert np.array_equal(swapped.train_inputs, data.train_inputs)


@pytest.mark.parametrize("tail", [0.0, 0.004, 0.03])
def test_how_many_lie_beyond_a_range_is_told_by_its_noisy_counts(tail):
    source, held = np.random.default_rng(0), 0
    for seed in range(40):
        values = np.where(source.random(4000) < tail, 1e6, source.uniform(10, 60, 4000))
        said = release_column(numbers_of(values), Said("number"), Columns(np.arange(4000), 5.0, seed, 1e-10))
        share = np.mean((values < said.range[0]) | (values > said.range[1]))
        held += said.beyond[0] <= share <= said.beyond[1]
        assert said.beyond[1] - said.beyond[0] < 0.2
    assert held >= 34  # of some 38 that twice a deviation holds


def test_what_is_told_of_a_released_range_is_not_counted_in_the_rows_again(monkeypatch):
    looked = []
    real = Column.floats
    monkeypatch.setattr(Column, "floats", lambda self: looked.append(self.name) or real(self))
    release_column(numbers_of(np.linspace(1, 60, 4000)), Said("number"), Columns(np.arange(4000), 5.0, 0, 1e-10))
    assert len(looked) == 2  # one for each look


def test_a_predicted_number_has_its_range_released(tmp_path):
    path = str(write_patients(tmp_path / "patients.csv"))
    columns = {name: said for name, said in SOURCE.columns.items() if name not in ("pressure", "date")}
    source = TableSource(
        path,
        "pressure",
        "patient_id",
        columns=columns | {"date": "skip", "diagnosis": ["neg", "pos"]},
        target="number",
        release=("pressure", "bmi", "hospital"),
        release_noise_multiplier=3.0,
    )
    data = load_table(source)
    assert data.learnt == ""
    assert 60 < data.target.low < 120
    assert 140 < data.target.high < 220
    assert f"pressure {told_range(data.target.low, data.target.high)} (0 to " in data.released.words
    assert "beyond" not in data.remarks  # the rows do not tell what the noisy counts tell
    with pytest.raises(DatasetError, match=r"whose range data.target_range says"):
        load_table(dataclasses.replace(source, target_range=(50, 250)))


YAML = """
data:
  name: own
  path: patients.csv
  label: diagnosis
  unit: patient_id
  classes: [neg, pos]
  columns: {age: [0, 110], bmi: number, pressure: number, sex: [f, m], hospital: category, patient_id: skip,
            smoker: [never, former, current], date: skip, visit_id: skip}
  release: [bmi, pressure, hospital]
  release_noise_multiplier: 4
privacy: {records_per_unit: 4, delta: 1e-6}
optimizer: {num_steps: 20}
num_seeds: 1
figures: false
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_patients(tmp_path / "patients.csv", rows=3000)
    (tmp_path / "patients.yaml").write_text(YAML)
    return tmp_path


def test_every_row_pays_for_what_was_released(folder, main):
    code, _, err = main("-m", "experiment=patients.yaml", "privacy.epsilon=2,8,inf")
    assert code == 0, err
    rows = pd.read_parquet(next(folder.rglob("results.parquet"))).to_dict("records")
    assert len(rows) == 3
    for row in rows:
        assert row["released"].startswith("range of bmi ")
        assert pd.isna(row["learnt"])
        run = mechanism_of(row)
        assert run.released.noise_multiplier == 4
        if row["epsilon"] < math.inf:
            assert 0.999 * row["epsilon"] <= epsilon(run, 1e-6) <= row["epsilon"]
            free = calibrate_noise(dataclasses.replace(run, released=None), epsilon=row["epsilon"], delta=1e-6)
            assert row["noise_multiplier"] > free * 1.001
            assert re.search(r"; ε includes range of bmi .* released with noise multiplier 4; tuning", claim(row))
            assert "NOT private" not in claim(row)


@pytest.mark.parametrize(
    ("overrides", "why"),
    [
        (
            ["privacy.epsilon=0.3"],
            r"privacy.epsilon=0.3 is not above the .* that what .* raise it, or data.release_noise_multiplier=4",
        ),
        (["data.release_noise_multiplier=0"], r"data.release_noise_multiplier=0.0 must be"),
        (["data.release=[]"], r"data.release_noise_multiplier=4.0 is read only with data.release"),
        (["federated=fedavg", "privacy.records_per_unit=null"], r"data.release.* counts owners of rows, which"),
        (
            [
                *["data.unit=hospital", "data.split=rows", "privacy.records_per_unit=null", "data.release=[bmi]"],
                *["federated=fedavg", "federated.partition=natural", "federated.clients_per_round=4"],
                *["privacy.delta=0.01", "data.columns.hospital=skip"],
            ],
            r"bmi drowns in the noise",  # of eight hospitals
        ),
    ],
)
def test_configs_that_cannot_release_are_refused(folder, main, overrides, why):
    code, _, err = main("experiment=patients.yaml", *overrides)
    assert code == 1
    assert re.search(why, " ".join(err.split())), err


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"release": ("bmi", "bmi")}, "names 'bmi' twice"),
        ({"release": ("weight",)}, "names 'weight', which is no column"),
        ({"release": ("age",)}, "names 'age', which is public by data.columns.age"),
        ({"release": ("visit_id",)}, "which is skipped by"),
        ({"release": ("patient_id",)}, "which is no input"),
        ({"release": ("diagnosis",)}, "whose classes are to be public"),
        ({"columns": SOURCE.columns | {"bmi": {"missing": True}}}, "whose kind must be public"),
        ({"release_noise_multiplier": 1000.0}, "drowns in the noise"),
        ({"columns": SOURCE.columns | {"date": "date"}}, "how dates are written: say data.columns.date={kind: date"),
        (
            {"split": "time", "split_column": "date", "release": ("bmi",), "columns": {"bmi": "number"}},
            "who does depends here on the dates of all",
        ),
    ],
)
def test_what_cannot_be_released_is_refused(tmp_path, changes, why):
    path = str(write_patients(tmp_path / "patients.csv", rows=600))
    with pytest.raises(DatasetError, match=why):
        load_table(dataclasses.replace(SOURCE, path=path, **changes))


def test_a_share_that_the_noise_leaves_open_has_no_lower_end_that_reads_as_one():
    said = Said("number", range=(0.5, 30.0), beyond=(0.0, 0.54))
    assert releasing._shown(said) == "0.5 to 30 (at most 54 % of units beyond: counts this noisy tell no more)"
    assert releasing._shown(said._replace(beyond=(0.012, 0.06))) == "0.5 to 30 (1 to 6 % of units beyond)"
