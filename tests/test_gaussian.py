"""Normal samples: the same bits as JAX's own, wherever and however they are drawn."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dpjax.gaussian import standard_normal


@pytest.mark.parametrize("shape", [(), (1,), (7,), (784, 10), (3, 5, 40), (2, 3, 4, 5), (1000, 33), (0, 3)])
@pytest.mark.parametrize("seed", [0, 2**31 + 5])
def test_equals_jax(shape, seed):
    key = jax.random.fold_in(jax.random.key(seed), 3)
    _assert_equal(standard_normal(key, shape), jax.random.normal(key, shape))


def test_equals_jax_over_a_batch_of_keys():
    keys = jax.random.split(jax.random.key(1), 3)
    ours = jax.vmap(lambda key: standard_normal(key, (17, 4)))(keys)
    theirs = jax.vmap(lambda key: jax.random.normal(key, (17, 4)))(keys)
    _assert_equal(ours, theirs)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_other_dtypes_are_those_of_jax(dtype):
    key = jax.random.key(2)
    assert jnp.array_equal(standard_normal(key, (9,), dtype), jax.random.normal(key, (9,), dtype))


@pytest.mark.parametrize("generator", ["rbg", "unsafe_rbg"])
def test_other_generators_are_those_of_jax(generator):
    key = jax.random.key(2, impl=generator)
    assert jnp.array_equal(standard_normal(key, (9,)), jax.random.normal(key, (9,)))


def test_another_setting_of_jax_is_followed():
    key = jax.random.key(2)
    with jax.threefry_partitionable(False):
        assert jnp.array_equal(standard_normal(key, (9,)), jax.random.normal(key, (9,)))


def _assert_equal(ours, theirs):
    """To rounding: the bits are the same, the inverse error function rounds as it is vectorised."""
    np.testing.assert_array_max_ulp(np.asarray(ours), np.asarray(theirs), 4)
