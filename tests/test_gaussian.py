"""Normal samples: the same bits as JAX's own, wherever and however they are drawn."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dpjax.gaussian import _ALONE, _TOGETHER, _draws, add_normal, standard_normal
from dpjax.noise import gaussian_privatizer
from tests.programs import loops


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


@settings(max_examples=200)
@given(st.lists(st.one_of(st.integers(0, 9), st.integers(0, _ALONE + 9), st.just(_TOGETHER)), max_size=30))
def test_every_array_is_in_one_draw_and_no_draw_is_too_large_for_several(sizes):
    draws = _draws(sizes)
    assert sorted(place for draw in draws for place in draw) == list(range(len(sizes)))
    for draw in draws:
        assert draw == sorted(draw)
        assert len(draw) == 1 or sum(sizes[place] for place in draw) <= _TOGETHER
        assert len(draw) == 1 or max(sizes[place] for place in draw) < _ALONE
    if sum(sizes) <= _TOGETHER and max(sizes, default=0) < _ALONE:
        assert len(draws) <= 1


def test_arrays_get_parts_of_a_draw_in_their_order_and_large_ones_a_draw_of_their_own():
    key, shapes = jax.random.key(4), [(3, 5), (), (_ALONE,), (0, 2), (40,)]
    leaves = [jnp.full(shape, float(place)) for place, shape in enumerate(shapes)]
    stddevs = [jnp.float32(s) for s in (1, 2, 3, 4, 0)]
    noisy = jax.jit(add_normal)(key, leaves, stddevs)
    shared, alone = (jax.random.normal(k, (n,)) for k, n in zip(jax.random.split(key), (56, _ALONE), strict=True))
    for place, samples in ((0, shared[:15].reshape(3, 5)), (1, shared[15]), (2, alone)):
        np.testing.assert_allclose(noisy[place], place + (place + 1) * samples, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(noisy[4], leaves[4])  # without noise
    assert noisy[3].shape == (0, 2)


def test_no_sample_is_added_twice():
    """Of arrays alike, within a step and from step to step: each coordinate has a sample of its own."""
    privatizer = gaussian_privatizer(1.0, jax.random.key(5))
    zeros = [jnp.zeros((7, 11))] * 4 + [jnp.zeros(_ALONE)] * 2
    state, seen = privatizer.init(zeros), []
    for _ in range(2):
        noise, state = jax.jit(privatizer.update)(zeros, state)
        seen += [np.asarray(x).ravel()[:77] for x in noise]
    # 24 bits each: two of these 924 are equal by chance once in some 40 such tests.
    assert len(np.unique(np.concatenate(seen))) >= 924 - 2


def test_a_generator_is_compiled_once_for_all_arrays_of_a_small_model():
    """By the rounds in the program, 20 a generator, which no clock disturbs."""
    leaves = [jnp.zeros((8 + n, 16)) for n in range(30)]
    program = jax.jit(add_normal).lower(jax.random.key(0), leaves, [jnp.float32(1)] * 30).as_text()
    one = jax.jit(add_normal).lower(jax.random.key(0), leaves[:1], [jnp.float32(1)]).as_text()
    assert program.count("chlo.erf_inv") == one.count("chlo.erf_inv") == 1


def test_large_arrays_of_one_shape_are_one_loop_to_the_compiler():
    """XLA's CPU backend compiles equal loops once, so that only different ones cost time."""
    shapes = [(_ALONE // 64, 64)] * 5 + [(_ALONE // 128, 128)] * 4
    leaves = [jnp.zeros(shape) for shape in shapes]
    program = jax.jit(add_normal).lower(jax.random.key(0), leaves, [jnp.float32(1)] * len(shapes)).compile().as_text()
    generators = [loop for loop in loops(program) if len(loop) > 9_000]
    assert len(generators) == len(shapes)
    assert len(set(generators)) == 2


def test_parts_of_a_draw_are_cut_by_one_loop_for_each_shape():
    leaves = [jnp.zeros((30, 40)) for _ in range(12)]
    program = jax.jit(add_normal).lower(jax.random.key(0), leaves, [jnp.float32(1)] * 12).compile().as_text()
    cuts = [loop for loop in loops(program) if "dynamic-slice" in loop and "f32[30,40]" in loop]
    assert len(cuts) == 12
    assert len(set(cuts)) == 1


def _assert_equal(ours, theirs):
    """To rounding: the bits are the same, the inverse error function rounds as it is vectorised."""
    np.testing.assert_array_max_ulp(np.asarray(ours), np.asarray(theirs), 4)


@pytest.mark.parametrize("leaf", [jnp.arange(3), jnp.ones(2, bool)])
def test_what_is_no_array_of_floats_is_refused_in_one_sentence(leaf):
    privatizer = gaussian_privatizer(1.0, jax.random.key(0))
    updates = {"kernel": jnp.zeros(2), "count": leaf}
    with pytest.raises(TypeError, match=r"updates hold .*, which is no array of floats, .* leave it out"):
        privatizer.update(updates, privatizer.init(updates))
    assert privatizer.update({"kernel": jnp.zeros(2)}, privatizer.init(updates))[0]["kernel"].shape == (2,)
