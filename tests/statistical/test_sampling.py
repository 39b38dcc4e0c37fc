"""Inclusion rates of every sampler, singly and in pairs, against what the accountant is told.

Seeds are fixed. A bound of five standard errors fails by chance less than once in a million per comparison.
"""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dpjax import (
    draw_cohort,
    fixed_size_sampler,
    poisson_cohort,
    poisson_sampler,
    shuffled_sampler,
)
from dpjax.accounting.samplings import DRAWN, SAMPLINGS
from dpjax.sampling import SAMPLERS, balls_in_bins_sampler


def inclusion(sampler, draws, seed=0):
    """``[draws, population]`` of 0 and 1."""
    units = jnp.arange(sampler.population)

    def one(step):
        cohort, info = draw_cohort(sampler, jax.random.key(seed), step, units)
        hits = jnp.zeros(sampler.population, jnp.int8).at[cohort.units].add(cohort.mask.astype(jnp.int8))
        return hits, info

    hits, info = jax.jit(lambda: jax.lax.map(one, jnp.arange(draws)))()
    return np.asarray(hits, np.float64), info


@pytest.mark.parametrize(("population", "rate"), [(12, 0.25), (12, 1.0), (200, 0.01), (12, 0.9)])
def test_poisson_inclusion_of_records_and_pairs(population, rate):
    draws = 60_000
    sampler = poisson_sampler(population, rate, num_steps=draws)
    hits, info = inclusion(sampler, draws)
    assert not bool(info.overflowed.any())
    assert hits.max() == 1
    error = np.sqrt(rate * (1 - rate) / draws)
    assert np.abs(hits.mean(0) - sampler.sampling_rate).max() <= 5 * error
    pairs = hits[:, :12].T @ hits[:, :12] / draws
    off = ~np.eye(12, dtype=bool)
    pair_error = np.sqrt(rate**2 * (1 - rate**2) / draws)
    assert np.abs(pairs[off] - rate**2).max() <= 5 * pair_error + 1e-12
    np.testing.assert_array_equal(hits.sum(1), np.asarray(info.cohort_size))


def test_poisson_cohort_sizes_are_binomial():
    population, rate, draws = 500, 0.05, 40_000
    sizes = np.asarray(inclusion(poisson_sampler(population, rate, num_steps=draws), draws)[1].cohort_size)
    variance = population * rate * (1 - rate)
    assert abs(sizes.mean() - population * rate) <= 5 * np.sqrt(variance / draws)
    assert abs(sizes.var() / variance - 1) <= 5 * np.sqrt(2 / draws) * 1.1  # kurtosis slightly above normal


def test_poisson_at_tiny_rates_over_a_large_population():
    """Where float32 uniforms would fail: q = 1e-6 over ten million units, by quarter of the population."""
    population, rate, draws = 10_000_000, 1e-6, 40_000

    def one(key):
        cohort, _ = poisson_cohort(key, jnp.arange(population), rate, capacity=64)
        quarter = cohort.units // (population // 4)
        return jnp.zeros(4, jnp.int32).at[quarter].add(cohort.mask.astype(jnp.int32))

    counts = jax.jit(lambda keys: jax.lax.map(one, keys))(jax.random.split(jax.random.key(0), draws))
    expected = population / 4 * rate
    assert np.abs(np.asarray(counts).mean(0) - expected).max() <= 5 * np.sqrt(expected / draws)
    # No parity is favoured, as it would be where positions are rounded to even float32 values.
    last = jax.jit(lambda keys: jax.lax.map(lambda k: _parities(k, population, rate), keys))(
        jax.random.split(jax.random.key(1), draws)
    )
    odd, total = np.asarray(last).sum(0)
    assert abs(odd / total - 0.5) <= 5 * 0.5 / np.sqrt(total)


def _parities(key, population, rate):
    cohort, _ = poisson_cohort(key, jnp.arange(population), rate, capacity=64)
    return jnp.array([jnp.sum((cohort.units % 2 == 1) & cohort.mask), jnp.sum(cohort.mask)])


def test_fixed_size_inclusion_of_records_and_pairs():
    population, size, draws = 12, 4, 40_000
    sampler = fixed_size_sampler(population, size)
    hits, _ = inclusion(sampler, draws)
    assert (hits.sum(1) == size).all()
    rate, pair = size / population, size * (size - 1) / (population * (population - 1))
    assert np.abs(hits.mean(0) - sampler.sampling_rate).max() <= 5 * np.sqrt(rate * (1 - rate) / draws)
    pairs = (hits.T @ hits / draws)[~np.eye(population, dtype=bool)]
    assert np.abs(pairs - pair).max() <= 5 * np.sqrt(pair * (1 - pair) / draws)


def test_shuffled_visits_everyone_once_an_epoch_in_a_fresh_order():
    sampler = shuffled_sampler(10, 4)
    hits, info = inclusion(sampler, 3 * 2000)
    epochs = hits.reshape(2000, 3, 10)
    assert (epochs.sum(1) == 1).all()
    assert np.asarray(info.cohort_size)[:3].tolist() == [4, 4, 2]
    first = epochs[:, 0].mean(0)
    assert np.abs(first - 0.4).max() <= 5 * np.sqrt(0.4 * 0.6 / 2000)


def test_every_sampler_is_accounted_for_and_every_name_of_a_config_is_drawn():
    assert tuple(SAMPLERS) == DRAWN
    for name, kind in SAMPLERS.items():
        sampler = kind.at_rate(40, 0.25, num_steps=8)
        assert sampler.sampling == SAMPLINGS[name](0.25, 40)
        cohort, info = draw_cohort(sampler, jax.random.key(0), 0, jnp.arange(40))
        assert cohort.mask.shape == (sampler.capacity,)
        assert int(info.cohort_size) == int(cohort.mask.sum())


def test_balls_in_bins_visits_everyone_once_an_epoch_and_nobody_moves_another():
    """Bins are uniform and independent, over units and over epochs; without a unit the others fall as they did."""
    bins, epochs = 4, 4000
    sampler = balls_in_bins_sampler(10, bins, num_steps=bins * epochs)
    hits, info = inclusion(sampler, bins * epochs)
    assert not bool(info.overflowed.any())
    by_epoch = hits.reshape(epochs, bins, 10)
    assert (by_epoch.sum(1) == 1).all()
    error = np.sqrt(0.25 * 0.75 / epochs)
    assert np.abs(by_epoch.mean(0) - 0.25).max() <= 5 * error
    first = by_epoch[:, 0]
    pairs = (first.T @ first / epochs)[~np.eye(10, dtype=bool)]
    assert np.abs(pairs - 1 / 16).max() <= 5 * np.sqrt(1 / 16 * 15 / 16 / epochs)
    again = (first[1:] * first[:-1]).mean(0)
    assert np.abs(again - 1 / 16).max() <= 5 * np.sqrt(1 / 16 * 15 / 16 / (epochs - 1))
    fewer, _ = inclusion(replace(sampler, population=9), bins * 100)
    np.testing.assert_array_equal(fewer, hits[: bins * 100, :9])


def test_overflow_happens_at_the_computed_rate():
    """A capacity that overflows often: the stated probability is the observed one."""
    sampler = poisson_sampler(50, 0.2, num_steps=1, capacity=12)
    _, info = inclusion(sampler, 40_000)
    rate = float(np.asarray(info.overflowed).mean())
    stated = sampler.overflow_probability
    assert abs(rate - stated) <= 5 * np.sqrt(stated * (1 - stated) / 40_000)
    assert int(np.asarray(info.cohort_size).max()) == 12


@pytest.mark.parametrize(("epsilon", "delta"), [(1.0, 1e-5), (10.0, 1e-5), (10.0, 1e-9)])
def test_the_chosen_capacity_obeys_the_overflow_rule_and_no_smaller_one_does(epsilon, delta):
    """Rule 4: β(1 + e^ε) ≤ δ/1000 over the whole run."""
    arguments = {"num_steps": 14_063, "epsilon": epsilon, "delta": delta}
    chosen = poisson_sampler(60_000, 256 / 60_000, **arguments)
    smaller = poisson_sampler(60_000, 256 / 60_000, capacity=chosen.capacity - 1, **arguments)
    allowed = delta / 1000 / (1 + np.exp(epsilon))
    assert chosen.overflow_probability <= allowed < smaller.overflow_probability


def test_the_designs_example_of_overflow():
    """B=256, N=60k: capacity 320 overflows with 5e-5 a step, 384 with 3e-14."""
    beta = [poisson_sampler(60_000, 256 / 60_000, num_steps=1, capacity=c).overflow_probability for c in (320, 384)]
    assert beta[0] == pytest.approx(5e-5, rel=0.1)
    assert beta[1] == pytest.approx(3e-14, rel=0.15)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: poisson_sampler(0, 0.1, num_steps=1), "population=0"),
        (lambda: poisson_sampler(5, 0.0, num_steps=1), r"sampling_rate=0.0"),
        (lambda: poisson_sampler(5, 1.5, num_steps=1), r"sampling_rate=1.5"),
        (lambda: poisson_sampler(5, 0.5, num_steps=0), "num_steps=0"),
        (lambda: fixed_size_sampler(5, 6), "cohort_size=6"),
        (lambda: shuffled_sampler(5, 0), "cohort_size=0"),
        (lambda: draw_cohort(fixed_size_sampler(5, 2), jax.random.key(0), 0, jnp.ones(4)), "sampler.population=5"),
    ],
)
def test_bad_input_is_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()
