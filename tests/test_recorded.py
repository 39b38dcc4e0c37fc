"""Rows of loops of one's own: their ε is computed and not believed, and tables know them."""

import math
from dataclasses import replace

import pytest

from dpjax.accounting import Mechanism, epsilon
from dpjax.results import ResultsError, claim, load, record, summary

RUN = Mechanism(
    unit="user", adjacency="zero_out", sampling="poisson", sampling_rate=0.1, noise_multiplier=2.0, num_steps=50
)


def test_seeds_are_one_point_and_points_are_apart(tmp_path):
    for noise in (1.0, 2.0, 0.0):
        for seed in range(3):
            made = replace(RUN, noise_multiplier=noise)
            found = {"test_accuracy": 0.8 + seed / 100, "wall_seconds": 1.0 + seed}
            record(tmp_path / "mine", made, delta=1e-5, clip_norm=0.5, seed=seed, dataset="ours", model="net", **found)
    points = summary(load(tmp_path / "mine"))
    assert points["n"].tolist() == [3, 3, 3]
    assert points["test_accuracy_mean"].round(6).tolist() == [0.81] * 3
    assert points["best"].tolist() == [True, True, True]
    assert set(points["experiment"]) == {"mine"}
    assert math.inf in set(points["epsilon"])


def test_a_seed_that_ran_again_counts_once(tmp_path):
    for accuracy in (0.5, 0.9):
        record(tmp_path, RUN, delta=1e-5, clip_norm=1.0, test_accuracy=accuracy)
    assert load(tmp_path)["test_accuracy"].tolist() == [0.9]


def test_epsilon_is_of_the_mechanism_and_claimed(tmp_path):
    row = record(tmp_path, RUN, delta=1e-5, clip_norm=1.0)
    assert row["epsilon_pld"] == epsilon(RUN, 1e-5)
    assert row["epsilon_rdp"] == epsilon(RUN, 1e-5, "rdp")
    assert row["epsilon"] >= row["epsilon_pld"]
    assert claim(row).startswith("(ε=")
    assert "-DP per user, zero_out, Poisson q=0.1, 50 steps" in claim(row)


@pytest.mark.parametrize(
    ("columns", "sentence"),
    [
        ({"epsilon_pld": 0.1}, "epsilon_pld is computed from the mechanism"),
        ({"noise_multiplier": 9.0}, "noise_multiplier is computed from the mechanism"),
        ({"test_acuracy": 0.9}, "did you mean test_accuracy?"),
        ({"test_accuracy": "high"}, "test_accuracy"),
    ],
)
def test_what_is_no_column_or_not_the_caller_s_is_refused(tmp_path, columns, sentence):
    with pytest.raises(ResultsError, match=sentence.replace("?", r"\?")):
        record(tmp_path, RUN, delta=1e-5, clip_norm=1.0, **columns)
    assert not any(tmp_path.iterdir())
