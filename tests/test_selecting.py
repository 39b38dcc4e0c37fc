"""``dpjax.results.selecting``: which rows a comparison means; and the interval of a mean."""

import math

import numpy as np
import pandas as pd
import pytest
import scipy.stats

from dpjax.results import ResultsError
from dpjax.results.intervals import half_width
from dpjax.results.selecting import select
from dpjax.results.several import load_all
from dpjax.results.table import frame_of, write_frame

ROWS = frame_of(
    [
        {"epsilon": 1.0, "method": "DP-SGD", "seed": 0, "diverged": False, "overrides": "a=1,b=2"},
        {"epsilon": 8.0, "method": "DP-SGD", "seed": 1, "diverged": True, "clip_norm": 0.1},
        {"epsilon": math.inf, "method": "plain run", "seed": 2, "diverged": False},
    ]
)


@pytest.mark.parametrize(
    ("wanted", "seeds"),
    [
        ("", [0, 1, 2]),
        ("epsilon<=8", [0, 1]),
        ("epsilon < 8", [0]),
        ("epsilon=8.0", [1]),
        ("epsilon==∞", [2]),
        ("epsilon!=inf", [0, 1]),
        ("epsilon=1|inf", [0, 2]),
        ("method=dp-sgd", [0, 1]),
        ("method='plain run'", [2]),
        ('method="plain run" and epsilon>=1', [2]),
        ("method=dp-sgd,epsilon>1", [1]),
        ("method=dp-sgd, epsilon>1", [1]),
        ("diverged=true", [1]),
        ("clip_norm=0.1", [1]),
        ("clip_norm!=0.1", [0, 2]),
        ("clip_norm<1", [1]),
        ("overrides='a=1,b=2'", [0]),
        ("overrides=a", None),
    ],
)
def test_rows_that_pass(wanted, seeds):
    if seeds is None:
        with pytest.raises(ResultsError, match="no row passes"):
            select(ROWS, wanted)
    else:
        assert select(ROWS, wanted)["seed"].tolist() == seeds


@pytest.mark.parametrize(
    ("wanted", "sentence"),
    [
        ("epsilonn<=8", "there is no column epsilonn: did you mean epsilon?"),
        ("xyzzyxyzzy=1", "there is no column xyzzyxyzzy: `dpjax results columns` lists those that there are"),
        ("digits", "'digits' is no comparison: write a column"),
        ("epsilon<=8 digits", "'digits' is no comparison"),
        ("epsilon<=low", "epsilon is compared with 'low', but holds numbers"),
        ("epsilon<=1|2", "has more than one limit"),
        ("method<dp", "column method holds no numbers: use = or !="),
        ("epsilon>100 method=dp-sgd", "no row passes .*: epsilon is 1, 8, ∞; method is DP-SGD, plain run"),
    ],
)
def test_what_is_refused(wanted, sentence):
    with pytest.raises(ResultsError, match=sentence):
        select(ROWS, wanted)


def test_a_float32_that_was_written_down_is_the_number_that_is_asked_for():
    rows = frame_of([{"clip_norm": float(np.float32(0.1)), "seed": 0}, {"clip_norm": 0.2, "seed": 1}])
    assert select(rows, "clip_norm=0.10000000149")["seed"].tolist() == [0]


def test_the_interval_is_students():
    std, n = np.array([0.1, 0.2, 0.3]), np.array([2, 5, 40])
    low, high = scipy.stats.t.interval(0.9, n - 1, 0.0, std / np.sqrt(n))
    np.testing.assert_allclose(half_width(std, n, 0.9), high)
    np.testing.assert_allclose(-half_width(std, n, 0.9), low)
    assert np.isnan(half_width(0.1, 1))
    with pytest.raises(ValueError, match="confidence is 95"):
        half_width(0.1, 3, 95)


def test_the_interval_covers_the_mean_as_often_as_it_says():
    draws = np.random.default_rng(0).normal(3.0, 2.0, (20_000, 4))
    covered = np.abs(draws.mean(1) - 3.0) <= half_width(draws.std(1, ddof=1), 4)
    assert abs(covered.mean() - 0.95) < 5 * math.sqrt(0.95 * 0.05 / 20_000)


def test_folders_are_told_apart_by_the_ends_of_their_paths(tmp_path):
    for parent, accuracy in (("a", 0.5), ("b", 0.75)):
        (tmp_path / parent / "run").mkdir(parents=True)
        write_frame(
            frame_of([{"seed": 0, "epsilon": math.inf, "test_accuracy": accuracy, "eval_steps": [1, 2]}]),
            tmp_path / parent / "run",
        )
    both = load_all([tmp_path / "a/run", tmp_path / "b/run", tmp_path / "a/../a/run"])
    assert both[["sweep", "test_accuracy"]].values.tolist() == [["a/run", 0.5], ["b/run", 0.75]]
    alone = load_all([tmp_path / "b/run/results.json"])
    assert "sweep" not in alone.columns
    second = both[both["sweep"] == "b/run"].drop(columns="sweep").reset_index(drop=True)
    pd.testing.assert_frame_equal(second, alone)


def test_seeds_that_did_badly_are_not_left_out():
    rows = frame_of(
        [{"epsilon": 1.0, "seed": s, "test_accuracy": a, "diverged": a < 0.5} for s, a in enumerate((0.9, 0.1))]
    )
    for wanted in ("test_accuracy>0.5", "diverged=false"):
        with pytest.raises(ResultsError, match="takes some seeds of a point and leaves others"):
            select(rows, wanted)
    assert len(select(rows, "test_accuracy>0.05")) == 2
    assert select(rows, "seed=0")["test_accuracy"].tolist() == [0.9]


def test_values_with_commas_stand_in_the_quotes_that_a_selection_takes():
    rows = frame_of([{"epsilon": 1.0, "method": name} for name in ("one, two", "three")])
    with pytest.raises(ResultsError, match='method is "one, two", three'):
        select(rows, "method=four")
    assert len(select(rows, 'method="one, two"')) == 1
