"""The kernel: its sensitivity, and that no engine, padding, transform or peer changes its numbers."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dpjax import Cohort, clipped_sum, example_gradient
from dpjax.clipping import ENGINES

KEY = jax.random.key(0)


def loss_fn(params, example, key):
    del key
    x, y = example
    prediction = jnp.tanh(x @ params["w1"] + params["b1"]) @ params["w2"]
    return jnp.sum((prediction - y) ** 2)


def make_params(seed, width=5, features=3):
    shapes = {"w1": (features, width), "b1": (width,), "w2": (width, 2)}
    rng = np.random.default_rng(seed)
    return {name: jnp.asarray(rng.normal(size=shape), jnp.float32) for name, shape in shapes.items()}


def make_cohort(seed, slots, filled, scale=1.0, features=3):
    rng = np.random.default_rng(seed + 1)
    units = (scale * rng.normal(size=(slots, features)), rng.normal(size=(slots, 2)))
    return Cohort(tuple(jnp.asarray(x, jnp.float32) for x in units), jnp.asarray(np.arange(slots) < filled))


@partial(jax.jit, static_argnames=("engine", "size"))
def run(cohort, params, clip_norm=1.0, engine="auto", size=None):
    return clipped_sum(example_gradient(loss_fn), engine=engine, microbatch_size=size)(params, cohort, KEY, clip_norm)


@jax.jit
def gradients(params, units):
    return jax.vmap(lambda unit: jax.grad(loss_fn)(params, unit, KEY))(units)


def norm(tree):
    return float(np.sqrt(sum(np.sum(np.square(np.asarray(x, np.float64))) for x in jax.tree.leaves(tree))))


def assert_close(a, b, relative=1e-6):
    scale = max(norm(a), norm(b), 1e-30)
    assert norm(jax.tree.map(np.subtract, a, b)) <= relative * scale


def unit(stack, i):
    return jax.tree.map(lambda x: np.asarray(x[i], np.float64), stack)


def by_hand(cohort, params, clip_norm):
    """The definition: a float64 loop over the very gradients that the kernel is given."""
    stack = gradients(params, cohort.units)
    total = jax.tree.map(lambda x: np.zeros(x.shape), params)
    for i in np.flatnonzero(np.asarray(cohort.mask)):
        gradient = unit(stack, i)
        size = norm(gradient)
        if np.isfinite(size):
            scale = min(1.0, clip_norm / size)
            total = jax.tree.map(lambda t, g, scale=scale: t + scale * g, total, gradient)
    return total


def saturation(cohort, params, clip_norm):
    """What the sum may move by because 1 - tanh² of a saturated unit is rounded anew by each engine's program.

    Clipping itself differs by 4e-8; the four roundings of one ulp of 1 pass through the residual, w2 and the inputs.
    """
    x, y = (np.asarray(part, np.float64) for part in cohort.units)
    w1, b1, w2 = (np.asarray(params[name], np.float64) for name in ("w1", "b1", "w2"))
    back = 2 * (np.tanh(x @ w1 + b1) @ w2 - y) @ w2.T
    moved = 4 * 2.0**-24 * np.linalg.norm(back, axis=1) * np.sqrt(1 + np.sum(x * x, axis=1))
    sizes = [norm(unit(gradients(params, cohort.units), i)) for i in range(len(x))]
    return float(np.sum((moved * np.minimum(1, clip_norm / np.maximum(sizes, 1e-30)))[np.asarray(cohort.mask)]))


@settings(max_examples=30, deadline=None)
@example(seed=224, slots=4, filled=1, size=1, clip_norm=1.0, scale=3.0)  # tanh at -0.99999995
@given(
    seed=st.integers(0, 10**6),
    slots=st.sampled_from([1, 4, 9]),
    filled=st.integers(0, 9),
    size=st.sampled_from([1, 3, 8]),
    clip_norm=st.floats(1e-3, 1e3),
    scale=st.sampled_from([1e-3, 1.0, 3.0]),
)
def test_engines_equal_the_definition(seed, slots, filled, size, clip_norm, scale):
    params, cohort = make_params(seed), make_cohort(seed, slots, min(filled, slots), scale)
    expected, allowed = by_hand(cohort, params, clip_norm), saturation(cohort, params, clip_norm)
    for engine in ENGINES:
        out = run(cohort, params, clip_norm, engine, None if engine == "materialize" else size)
        apart = norm(jax.tree.map(np.subtract, out.total, expected))
        assert apart <= 1e-6 * norm(expected) + allowed
        assert np.all(np.asarray(out.norms)[~np.asarray(cohort.mask)] == 0)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    slots=st.just(6),
    removed=st.integers(0, 5),
    clip_norm=st.floats(1e-6, 1e6),
    scale=st.sampled_from([1e-8, 1.0, 1e4, 1e18, np.inf]),
)
def test_removing_one_unit_moves_the_sum_by_at_most_the_clip_norm(seed, slots, removed, clip_norm, scale):
    params, cohort = make_params(seed), make_cohort(seed, slots, slots)
    # One unit may hold anything at all; the others stay tame.
    x = np.array(cohort.units[0])
    x[removed] *= np.float32(scale)
    cohort = cohort._replace(units=(x, cohort.units[1]))
    with_unit = run(cohort, params, clip_norm, "materialize")
    without = run(cohort._replace(mask=np.arange(slots) != removed), params, clip_norm, "materialize")
    moved = norm(jax.tree.map(lambda a, b: np.float64(a) - np.float64(b), with_unit.total, without.total))
    rounding = 1e-6 * (clip_norm + norm(without.total))
    assert moved <= clip_norm + rounding
    assert float(with_unit.clip_norm) == np.float32(clip_norm)


def test_the_bound_is_reached():
    """The sensitivity is not merely an upper bound: a large unit moves the sum by the whole clip norm."""
    params, cohort = make_params(0), make_cohort(0, 1, 1, scale=100.0)
    assert norm(run(cohort, params, 0.25).total) == pytest.approx(0.25, rel=1e-6)


@pytest.mark.parametrize("engine", ENGINES)
def test_non_finite_contributions_count_as_zero_and_are_counted(engine):
    params, cohort = make_params(1), make_cohort(1, 6, 5)
    bad = np.array(cohort.units[0])
    bad[[1, 3, 5]] = [[np.nan], [np.inf], [np.nan]]  # slot 5 is empty
    out = run(Cohort((bad, cohort.units[1]), cohort.mask), params, 1.0, engine, 2)
    kept = run(cohort._replace(mask=jnp.array([True, False, True, False, True, False])), params, 1.0, engine, 2)
    assert_close(out.total, kept.total)
    assert int(out.num_rejected) == 2
    assert int(kept.num_rejected) == 0
    assert float(out.aux["loss"]) == pytest.approx(float(kept.aux["loss"]), rel=1e-6)


@pytest.mark.parametrize("engine", ENGINES)
def test_an_empty_cohort_sums_to_zero(engine):
    out = run(make_cohort(0, 5, 0), make_params(0), 1.0, engine, 2)
    assert norm(out.total) == 0
    assert float(out.aux["loss"]) == 0


def test_padding_changes_nothing():
    params = make_params(2)
    small = make_cohort(2, 4, 4)
    units = tuple(np.concatenate([x, np.full((7, x.shape[1]), np.nan, np.float32)]) for x in small.units)
    for engine in ENGINES:
        padded = run(Cohort(units, np.arange(11) < 4), params, 1.0, engine, 3)
        assert_close(padded.total, run(small, params, 1.0, engine, 3).total)


def test_random_losses_do_not_depend_on_the_engine():
    """A unit's key follows its slot, so dropout is the same under every engine and microbatch size."""

    def noisy_loss(params, example, key):
        return loss_fn(params, (example[0] * jax.random.bernoulli(key, 0.5, (3,)).astype(jnp.float32), example[1]), key)

    params, cohort = make_params(3), make_cohort(3, 7, 7)
    contribution = example_gradient(noisy_loss)
    totals = [
        jax.jit(clipped_sum(contribution, engine=engine, microbatch_size=size))(params, cohort, KEY, 1.0).total
        for engine, size in [("materialize", None), ("microbatch", 1), ("microbatch", 3), ("microbatch", 16)]
    ]
    for total in totals[1:]:
        assert_close(total, totals[0])


def test_jit_and_vmap_over_clip_norms_agree():
    params, cohort = make_params(4), make_cohort(4, 6, 5)
    clip_norms = jnp.array([0.01, 0.5, 3.0, jnp.inf])
    fun = clipped_sum(example_gradient(loss_fn), engine="microbatch", microbatch_size=2)
    lanes = jax.jit(jax.vmap(lambda c: fun(params, cohort, KEY, c)))(clip_norms)
    for i, clip_norm in enumerate(clip_norms):
        one = run(cohort, params, clip_norm)
        assert_close(jax.tree.map(lambda x, i=i: np.asarray(x)[i], lanes.total), one.total)
    first = jax.tree.map(lambda x: np.asarray(x)[:5], cohort.units)
    unclipped = jax.jit(jax.grad(lambda p: jax.vmap(loss_fn, (None, 0, None))(p, first, KEY).sum()))(params)
    assert_close(jax.tree.map(lambda x: np.asarray(x)[3], lanes.total), unclipped)


@jax.jit
def peers_sum(params, units, clip_norm):
    from jax_privacy import clipped_grad

    return clipped_grad(
        lambda p, example: loss_fn(p, example, KEY),
        argnums=0,
        batch_argnums=1,
        keep_batch_dim=False,
        l2_clip_norm=clip_norm,
    )(params, units)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**6), slots=st.sampled_from([1, 5]), clip_norm=st.floats(1e-2, 1e2))
def test_agrees_with_jax_privacy(seed, slots, clip_norm):
    pytest.importorskip("jax_privacy")
    params, cohort = make_params(seed), make_cohort(seed, slots, slots)

    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        peer = peers_sum(params, cohort.units, clip_norm)
    assert_close(run(cohort, params, clip_norm).total, peer)


def test_trailing_empty_microbatches_are_not_computed():
    """The loop's trip count, by a callback that vmap calls once per microbatch."""
    calls = []

    def counting(params, unit, key):
        jax.debug.callback(lambda: calls.append(1))
        return {"w": params["w"] * unit}, {}

    fun = jax.jit(clipped_sum(counting, engine="microbatch", microbatch_size=4))
    for filled, microbatches in [(0, 0), (1, 1), (4, 1), (5, 2), (16, 4)]:
        calls.clear()
        cohort = Cohort(jnp.ones(16), jnp.arange(16) < filled)
        jax.block_until_ready(fun({"w": jnp.ones(2)}, cohort, KEY, 1.0))
        jax.effects_barrier()
        assert len(calls) == microbatches


def test_gaps_in_the_mask_are_allowed():
    params, cohort = make_params(5), make_cohort(5, 9, 9)
    mask = jnp.array([False, True, False, False, True, False, False, False, True])
    cohort = cohort._replace(mask=mask)
    assert_close(run(cohort, params, 1.0, "microbatch", 2).total, by_hand(cohort, params, 1.0), 2e-6)


def test_bfloat16_contributions_are_bounded_and_summed_in_float32():
    def contribution(params, unit, key):
        return {"w": params["w"].astype(jnp.bfloat16) * unit.astype(jnp.bfloat16)}, {}

    cohort = Cohort(jnp.ones(300), jnp.ones(300, bool))
    out = jax.jit(clipped_sum(contribution))({"w": jnp.ones(64)}, cohort, KEY, 1.0)
    assert out.total["w"].dtype == jnp.float32
    assert norm(out.total) == pytest.approx(300, rel=1e-5)


def test_float64_reaches_float64_accuracy():
    with jax.enable_x64(True):
        params = {"w": jnp.arange(1.0, 5.0, dtype=jnp.float64)}
        cohort = Cohort(jnp.linspace(0.1, 1.0, 7, dtype=jnp.float64), jnp.ones(7, bool))
        fun = jax.jit(clipped_sum(lambda p, u, k: ({"w": p["w"] * u}, {})))
        out = fun(params, cohort, jax.random.key(0), jnp.float64(2.0))
        w, units = np.asarray(params["w"]), np.asarray(cohort.units)
        expected = sum(u * w * min(1, 2.0 / np.linalg.norm(u * w)) for u in units)
        assert out.total["w"].dtype == jnp.float64
        np.testing.assert_allclose(out.total["w"], expected, rtol=1e-12)


@pytest.mark.parametrize(
    ("arguments", "clip_norm", "message"),
    [
        ({"engine": "ghost"}, 1.0, "engine='ghost'"),
        ({"microbatch_size": 0}, 1.0, "microbatch_size=0"),
        ({}, 0.0, "clip_norm=0.0"),
        ({}, -1.0, "clip_norm=-1.0"),
        ({}, float("nan"), "clip_norm=nan"),
    ],
)
def test_bad_input_is_named(arguments, clip_norm, message):
    with pytest.raises(ValueError, match=message):
        clipped_sum(example_gradient(loss_fn), **arguments)(make_params(0), make_cohort(0, 2, 2), KEY, clip_norm)


def test_integer_parameters_are_named():
    with pytest.raises(TypeError, match=r"\['count'\] has dtype int32"):
        clipped_sum(lambda p, u, k: ({"count": jnp.int32(1)}, {}))({}, Cohort(jnp.ones(2), jnp.ones(2, bool)), KEY, 1.0)
