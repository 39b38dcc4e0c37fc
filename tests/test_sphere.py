"""Reports from a sphere: what each sign's chance is, to the last bit of a uniform; no bias; the noise that is said."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from dpjax.federated.aggregation.sphere import chance_of_a_lie, sphere_length, sphere_report

KEY = jax.random.key(0)


@jax.jit
def many(row, keys, eps):
    return jax.vmap(lambda key: sphere_report(row, key, eps))(keys)


def reports(row, eps, times=100_000):
    return np.asarray(many(row, jax.random.split(KEY, times), jnp.float32(eps)), float)


@pytest.mark.parametrize("eps", [1e-3, 0.1, 0.5, 1.0, 3.0, 8.0, 14.0, 15.0, 17.0, 40.0, 500.0])
def test_the_odds_of_the_truth_are_within_epsilon_exactly(eps):
    """Whatever a row is, each sign has a chance between that of a lie and its complement; uniforms have 2²³ values."""
    chance = float(chance_of_a_lie(jnp.float32(eps)))
    draws = jax.random.uniform(KEY, (10_000,))
    assert (np.asarray(draws, float) * 2**23 % 1 == 0).all()
    as_drawn = math.ceil(chance * 2**23) / 2**23
    odds = math.log((1 - as_drawn) / as_drawn)
    assert odds <= eps
    if eps <= 8:
        assert odds == pytest.approx(eps, rel=2e-3)


def test_rounding_makes_no_lie_less_likely_than_epsilon_asks():
    eps = np.float32(np.exp(np.random.default_rng(0).uniform(-17, 2.7, 100_000)))
    chance = np.asarray(jax.vmap(chance_of_a_lie)(jnp.asarray(eps)), float)
    assert (chance >= 1 / (1 + np.exp(eps.astype(float)))).all()
    assert chance.max() <= 0.5


@pytest.mark.parametrize("eps", [0.5, 2.0])
@pytest.mark.parametrize("value", [1.0, -1.0, 0.4, 0.0, math.nan, 7.0])
def test_in_one_dimension_each_of_two_reports_has_its_chance(eps, value):
    """±B: the likelihoods are two numbers, in closed form, whose ratios between any two rows are in [e^-ε, e^ε]."""
    values = reports(jnp.array([value]), eps, 50_000)[:, 0]
    np.testing.assert_allclose(np.abs(values), 1 / math.tanh(eps / 2), rtol=1e-5)
    told = 0.0 if math.isnan(value) else max(-1.0, min(1.0, value))
    truth = (1 + told * math.tanh(eps / 2)) / 2
    assert stats.binomtest(int((values > 0).sum()), len(values), truth).pvalue > 1e-4
    assert 1 / (1 + math.exp(eps)) <= truth * (1 + 1e-12)
    assert truth * (1 - 1e-12) <= 1 / (1 + math.exp(-eps))


@pytest.mark.parametrize("eps", [0.5, 2.0])
@pytest.mark.parametrize("length", [1.0, 0.5, 0.0])
def test_in_the_plane_the_density_is_flat_on_either_half_circle(eps, length):
    row = length * jnp.array([0.6, 0.8])
    points = reports(row, eps)
    radius = float(sphere_length(2, jnp.float32(eps)))
    np.testing.assert_allclose(np.linalg.norm(points, axis=1), radius, rtol=1e-5)
    angles = (np.arctan2(points[:, 1], points[:, 0]) - math.atan2(0.8, 0.6) + math.pi / 2) % (2 * math.pi)
    ahead = angles < math.pi
    truth = (1 + length * math.tanh(eps / 2)) / 2
    assert stats.binomtest(int(ahead.sum()), len(angles), truth).pvalue > 1e-4
    for half in (angles[ahead], angles[~ahead] - math.pi):
        assert stats.kstest(half[:20_000] / math.pi, "uniform").pvalue > 1e-4


@pytest.mark.parametrize("eps", [0.3, 1.0, 6.0, 500.0])
@pytest.mark.parametrize("length", [1.0, 0.25, 1e-30, 0.0])
def test_a_row_is_told_without_bias_and_with_the_noise_that_is_said(eps, length):
    row = length * jnp.array([2.0, -1.0, 0.0, 2.0, 0.0]) / 3
    points = reports(row, eps)
    radius = float(sphere_length(5, jnp.float32(eps)))
    np.testing.assert_allclose(points.mean(0), row, atol=4.5 * radius / math.sqrt(5 * len(points)) * 1.2)
    noise = ((points - np.asarray(row)) ** 2).sum(1).mean()
    error = 5 * 2 * radius * length / math.sqrt(len(points)) + 1e-5 * radius**2  # of its cross term, five times
    assert noise == pytest.approx(radius**2 - length**2, abs=error)
