"""The noise has the stated standard deviation, is Gaussian, fresh at every step and independent across coordinates."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from dpjax import gaussian_privatizer, noise_stddev

ZERO = {"a": jnp.zeros((300, 200)), "b": jnp.zeros(40_000)}


def draw(stddev, steps=1, seed=0, zero=ZERO):
    privatizer = gaussian_privatizer(stddev, jax.random.key(seed))
    state, draws = privatizer.init(zero), []
    for _ in range(steps):
        noisy, state = privatizer.update(zero, state)
        draws.append(np.concatenate([np.asarray(x).ravel() for x in jax.tree.leaves(noisy)]))
    return np.array(draws)


@pytest.mark.parametrize("stddev", [1e-6, 0.5, 1e4])
def test_standard_deviation_mean_and_shape(stddev):
    noise = draw(stddev)[0].astype(np.float64)
    n = noise.size
    assert abs(noise.std() / stddev - 1) <= 5 / np.sqrt(2 * n)
    assert abs(noise.mean()) <= 5 * stddev / np.sqrt(n)
    assert stats.kstest(noise / stddev, "norm").pvalue > 1e-4


def test_steps_and_coordinates_are_independent():
    noise = draw(1.0, steps=3)
    n = noise.shape[1]
    bound = 5 / np.sqrt(n)
    assert np.abs(np.corrcoef(noise)[np.triu_indices(3, 1)]).max() <= bound
    assert abs(np.corrcoef(noise[0, :-1], noise[0, 1:])[0, 1]) <= bound
    # The same shapes must not share noise: leaves of equal size draw from keys of their own.
    twins = draw(1.0, zero={"a": jnp.zeros(20_000), "b": jnp.zeros(20_000)})[0].reshape(2, -1)
    assert abs(np.corrcoef(twins)[0, 1]) <= 5 / np.sqrt(20_000)


def test_the_key_decides():
    assert np.array_equal(draw(1.0), draw(1.0))
    assert not np.array_equal(draw(1.0), draw(1.0, seed=1))


def test_rule_two_the_stddev_is_multiplier_times_clip_norm():
    assert float(noise_stddev(1.5, 0.2)) == pytest.approx(0.3)
    assert float(noise_stddev(0.0, np.inf)) == 0.0
    assert float(jax.jit(noise_stddev)(0.0, jnp.inf)) == 0.0
    for norm in (np.inf, jnp.inf, np.float32("inf")):
        with pytest.raises(ValueError, match=r"clip_norm=inf with noise_multiplier=1\.5: .*give a finite clip_norm"):
            noise_stddev(1.5, norm)


def test_bfloat16_sums_get_float32_noise():
    privatizer = gaussian_privatizer(1e-3, jax.random.key(0))
    total = jnp.ones(5000, jnp.bfloat16)
    noisy, _ = privatizer.update(total, privatizer.init(total))
    assert noisy.dtype == jnp.float32
    assert float(noisy.std()) == pytest.approx(1e-3, rel=0.06)


@pytest.mark.parametrize("stddev", [-1.0, float("inf"), float("nan")])
def test_bad_stddev_is_named(stddev):
    with pytest.raises(ValueError, match="stddev="):
        gaussian_privatizer(stddev, jax.random.key(0))
