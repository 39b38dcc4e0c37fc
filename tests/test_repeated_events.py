"""What an event costs that happened often: as often as it happened, of every type that can be entered."""

import json
import math

import pytest

from dpjax.governance.composition import compose, epsilon_of
from dpjax.governance.errors import LedgerError
from dpjax.governance.spends import Total

GAUSSIAN = {"type": "GaussianDpEvent", "noise_multiplier": 8.0}
EVENTS = {
    "gaussian": GAUSSIAN,
    "laplace": {"type": "LaplaceDpEvent", "noise_multiplier": 8.0},
    "discrete laplace": {"type": "DiscreteLaplaceDpEvent", "noise_parameter": 0.2, "sensitivity": 1},
    "randomized response": {"type": "RandomizedResponseDpEvent", "noise_parameter": 0.5, "num_buckets": 2},
    "sampled": {"type": "PoissonSampledDpEvent", "sampling_probability": 0.5, "event": GAUSSIAN},
    "mixture": {
        "type": "MixtureOfGaussiansDpEvent",
        "standard_deviation": 8.0,
        "sensitivities": [0.0, 1.0],
        "sampling_probs": [0.5, 0.5],
    },
    "truncated": {
        "type": "TruncatedSubsampledGaussianDpEvent",
        "dataset_size": 1000,
        "sampling_probability": 0.5,
        "truncated_batch_size": 600,
        "noise_multiplier": 8.0,
    },
    "stated": {"type": "StatedDpEvent", "epsilon": 0.2, "delta": 0.0},
}


WITHOUT_LOSSES = {
    ("laplace", "replace_one"),
    ("discrete laplace", "replace_one"),
    ("mixture", "replace_one"),
    ("randomized response", "add_or_remove_one"),
}


def _epsilon(event: dict, count: int, adjacency: str) -> float:
    total = Total({json.dumps(event, sort_keys=True): count}, 0.0, 0.0, math.inf)
    return epsilon_of(compose(total, adjacency), 1e-9)


@pytest.mark.parametrize("adjacency", ["zero_out", "add_or_remove_one", "replace_one"])
@pytest.mark.parametrize("name", EVENTS)
def test_an_event_that_happened_often_costs_more_than_once(name, adjacency):
    """dp-accounting's accountant composes randomized response once, whatever the count it is given."""
    if (name, adjacency) in WITHOUT_LOSSES:
        with pytest.raises(LedgerError, match="no privacy loss distribution"):
            _epsilon(EVENTS[name], 1, adjacency)
        return
    one, five, twenty = (_epsilon(EVENTS[name], count, adjacency) for count in (1, 5, 20))
    assert 0 < one < five < twenty
    assert five > 1.5 * one
    assert twenty > 1.5 * five


def test_randomized_responses_add_up_to_their_losses():
    """Two answers, half of the time at random: each has a loss of ln 3, and nothing less."""
    found = [_epsilon(EVENTS["randomized response"], count, "replace_one") for count in (1, 2, 50)]
    assert found[0] == pytest.approx(math.log(3), abs=1e-3)
    assert found[1] == pytest.approx(2 * math.log(3), abs=2e-3)
    assert found[2] > 30
