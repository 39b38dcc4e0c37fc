"""Lower bounds on ε: published values, and that they hold for a mechanism whose ε is known."""

import math

import numpy as np
import pytest

from dpjax.auditing import epsilon_from_guesses, epsilon_from_rates


def test_row_15_clopper_pearson():
    assert epsilon_from_rates(500, 500, 0, 500, confidence=0.99) == pytest.approx(4.54191581, abs=1e-8)


@pytest.mark.parametrize(
    ("m", "r", "v", "delta", "published"),
    [(100, 100, 75, 0, 0.702214), (100, 100, 75, 1e-4, 0.699467), (1000, 100, 75, 1e-4, 0.672985)],
)
def test_row_15_one_run(m, r, v, delta, published):
    assert epsilon_from_guesses(m, r, v, delta=delta) == pytest.approx(published, abs=5e-7)


def test_one_run_bound_holds_for_randomised_response_and_comes_near():
    """Bits told truly with chance e^ε/(1+e^ε) are ε-DP; the bound may exceed ε in 5 % of the runs."""
    epsilon, m, runs = 1.0, 2000, 2000
    right = np.random.default_rng(0).binomial(m, 1 / (1 + math.exp(-epsilon)), runs)
    bounds = np.array([epsilon_from_guesses(m, m, int(v)) for v in right])
    assert np.mean(bounds > epsilon) < 0.05 + 3 * math.sqrt(0.05 * 0.95 / runs)
    assert np.median(bounds) > 0.85 * epsilon


def test_many_run_bound_holds_for_randomised_response():
    epsilon, n, runs = 1.0, 500, 1000
    rng, told = np.random.default_rng(1), 1 / (1 + math.exp(-epsilon))
    bounds = np.array([epsilon_from_rates(rng.binomial(n, told), n, rng.binomial(n, 1 - told), n) for _ in range(runs)])
    assert np.mean(bounds > epsilon) < 0.05 + 3 * math.sqrt(0.05 * 0.95 / runs)
    assert np.median(bounds) > 0.5 * epsilon


def test_nothing_shown_is_zero():
    assert epsilon_from_rates(250, 500, 250, 500) == 0.0
    assert epsilon_from_guesses(100, 100, 50) == 0.0
    assert epsilon_from_rates(500, 500, 500, 500) == 0.0


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: epsilon_from_rates(6, 5, 0, 5), "true_positives=6 must be from 0 to 5"),
        (lambda: epsilon_from_guesses(10, 11, 3), "num_guesses=11 must be from 1 to 10"),
        (lambda: epsilon_from_guesses(10, 10, 3, delta=1.0), r"delta=1.0 must be in \[0, 1\)"),
        (lambda: epsilon_from_rates(5, 5, 0, 5, confidence=1.0), "confidence=1.0"),
    ],
)
def test_bad_input_is_named(call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call()
