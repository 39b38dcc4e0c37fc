# ruff: noqa: E731
"""The clip norm holds for every valid loss, at any offset and type of its inputs: measured on one unit at a time.

Stated bound in float32: what one unit adds is at most ``clip_norm · (1 + 1e-6)``, and its norm is right to 1e-5.
"""

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.ad_checkpoint import checkpoint_name
from jax.custom_batching import custom_vmap
from jax.experimental.ode import odeint
from jax.extend.core import Primitive
from jax.interpreters import batching
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from dpjax import (
    ClippingRule,
    Cohort,
    automatic_clipping,
    clipped_sum,
    example_gradient,
    flat_clipping,
    per_layer_clipping,
)
from dpjax.clipping import ENGINES, explain
from dpjax.clipping.one_pass import planner
from tests.problems import ITSELF

KEY = jax.random.key(0)


def norm(tree) -> float:
    return float(np.sqrt(sum(np.sum(np.square(np.asarray(x, np.float64))) for x in jax.tree.leaves(tree))))


@cache
def gradient_of(loss):
    return jax.jit(jax.grad(loss))


def by_hand(loss, params, units):
    """Norms in float64, one ``jax.grad`` a unit."""
    with jax.enable_x64(True):
        wide = lambda x: x.astype(np.float64) if np.issubdtype(x.dtype, np.floating) else x
        params, units = jax.tree.map(lambda x: wide(np.asarray(x)), (params, units))
        return np.array(
            [norm(gradient_of(loss)(params, jax.tree.map(lambda x, i=i: x[i], units), KEY)) for i in range(len(units))]
        )


def units_summed(loss, **options):
    """``sum of units and a mask -> ClippedSum``, compiled once."""
    fun = jax.jit(clipped_sum(example_gradient(loss), **options))

    def run(params, units, mask, clip_norm):
        return fun(params, Cohort(units, mask), KEY, np.float32(clip_norm))

    return run


def draw(*shape, seed=0, scale=1.0):
    return (scale * np.random.default_rng(seed).normal(size=shape)).astype(np.float32)


# --- Norms whose terms cancel ---------------------------------------------------------------------------------------


def pooled(params, x, key):
    """Attention pooling: the cotangents of the scores sum to zero over the positions."""
    return 10 * jnp.sum(jnp.sin(jax.nn.softmax(x @ params["w"], 0).T @ x[:, :4]))


def centred(params, x, key):
    """The mean over positions is taken away, twice used weight."""
    y = x @ params["w"]
    y = y - y.mean(0)[None]
    return jnp.sum(jnp.sin(y * jnp.arange(8.0)[:, None] / 8)) + jnp.sum(jnp.tanh(y[:4] @ params["w"].T))


@pytest.mark.parametrize("strategy", ["gram", "product", "kept"])
@pytest.mark.parametrize("loss", [pooled, centred])
def test_a_common_offset_of_the_features_lets_no_unit_weigh_more(loss, strategy, monkeypatch):
    monkeypatch.setattr(planner, "cheapest", lambda *_: strategy)
    fun = units_summed(loss)
    for offset in (0.0, 30.0, 300.0, 1000.0):
        x = draw(6, 8, 64, scale=0.1)
        x[:, :, 4:] += np.float32(offset)
        params = {"w": draw(64, 16, seed=1, scale=1e-4)}
        expected = by_hand(loss, params, x)
        clip_norm = np.float32(np.median(expected) / 20)
        for i in range(6):
            alone = fun(params, x, np.arange(6) == i, clip_norm)
            assert norm(alone.total) <= clip_norm * (1 + 1e-6), offset
            # A gradient computed in float32 is what it is; its norm must be that gradient's.
            assert norm(alone.total) >= clip_norm * (1 - 1e-5), offset
        everyone, rest = (fun(params, x, np.arange(6) != gone, clip_norm).total for gone in (9, 2))
        assert norm(jax.tree.map(np.subtract, everyone, rest)) <= clip_norm * (1 + 1e-5)


def test_equal_terms_round_equally_and_their_norm_is_right_all_the_same(monkeypatch):
    """Constant inputs: a matmul's rounding goes the same way at every term."""
    monkeypatch.setattr(planner, "cheapest", lambda *_: "gram")
    loss = lambda p, x, key: jnp.sum(x @ p["w"])
    x = np.full((3, 8, 3072), 0.3, np.float32) * np.array([1, 7, 1000], np.float32)[:, None, None]
    params = {"w": np.zeros((3072, 64), np.float32)}
    fun = units_summed(loss)
    np.testing.assert_allclose(fun(params, x, np.ones(3, bool), 1.0).norms, by_hand(loss, params, x), rtol=3e-6)
    for i in range(3):
        assert norm(fun(params, x, np.arange(3) == i, 1.0).total) <= 1 + 1e-6


def test_lanes_take_doubtful_units_by_themselves_too(monkeypatch):
    monkeypatch.setattr(planner, "cheapest", lambda *_: "gram")
    x = draw(6, 8, 64, scale=0.1)
    x[:3, :, 4:] += 300.0  # a half of the units is doubtful
    x[4, 0, 0] = np.nan
    params = {"w": jnp.asarray(draw(64, 16, seed=1, scale=1e-4))}
    fun = clipped_sum(example_gradient(pooled))
    cohort = Cohort(jnp.asarray(x), jnp.arange(6) != 5)
    clip_norms = jnp.float32([1e-4, 1e-3, 1e-2])
    lanes = jax.jit(jax.vmap(lambda c: fun(params, cohort, KEY, c)))(clip_norms)
    for lane, clip_norm in enumerate(clip_norms):
        alone = jax.jit(fun)(params, cohort, KEY, clip_norm)
        assert int(lanes.num_rejected[lane]) == int(alone.num_rejected) == 1
        np.testing.assert_allclose(lanes.norms[lane], alone.norms, rtol=2e-6)
        np.testing.assert_allclose(lanes.total["w"][lane], alone.total["w"], rtol=1e-5, atol=1e-5 * float(clip_norm))


def test_squares_that_leave_float32_are_not_taken_for_zero():
    """A left factor of 1e-23 and a right one of 1e19: their squares are 0 and 1e38, their product is 1e-4."""
    loss = lambda p, x, key: 1e19 * jnp.sum(x @ p["w"])
    x = np.full((3, 4), 1e-23, np.float32)
    params = {"w": np.zeros((4, 1), np.float32)}
    out = units_summed(loss, engine="bookkeeping")(params, x, np.array([True, False, False]), 1e-6)
    np.testing.assert_allclose(norm(out.total), 1e-6, rtol=1e-5)
    np.testing.assert_allclose(out.norms[0], 2e-4, rtol=1e-5)


def test_group_norms_are_numbers_where_one_group_cancels():
    def loss(p, x, key):
        y = x @ p["a"]["w"]
        y = y - y.mean(0)[None]
        return jnp.sum(jnp.sin(y * jnp.arange(8.0)[:, None] / 8)) + jnp.sum(jnp.sin(1e-2 * x @ p["b"]["v"]))

    x = draw(8, 8, 50, scale=0.1) + 300
    params = {"a": {"w": draw(50, 50, seed=1, scale=1e-3)}, "b": {"v": draw(50, 3, seed=2, scale=1e-3)}}
    ours, plain = (
        units_summed(loss, rule=per_layer_clipping(), engine=engine)(params, x, np.ones(8, bool), 1.0).total
        for engine in ("bookkeeping", "materialize")
    )
    for got, want in zip(jax.tree.leaves(ours), jax.tree.leaves(plain), strict=True):
        assert np.linalg.norm(got - want) <= 1e-3 * np.linalg.norm(want)


# --- Ids of any integer type ----------------------------------------------------------------------------------------

LOOKUPS = {
    "take": lambda p, ids, key: jnp.sum(jnp.sin(jnp.take(p["table"], ids, axis=0))),
    "clipped": lambda p, ids, key: jnp.sum(jnp.sin(p["table"].at[ids].get(mode="clip"))),
    "tied": lambda p, ids, key: jnp.sum(jax.nn.logsumexp(jnp.take(p["table"], ids, axis=0) @ p["table"].T, axis=-1)),
    "row": lambda p, ids, key: jnp.sum(jnp.sin(lax.dynamic_slice_in_dim(p["table"], ids[0], 1))),
}


@cache
def rows_summed(name):
    return units_summed(LOOKUPS[name])


@pytest.mark.parametrize("name", LOOKUPS)
@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16", "int16", "uint32"])
def test_ids_of_any_integer_type_pick_the_same_rows(name, dtype):
    rows = 300 if np.iinfo(dtype).max > 300 or name != "clipped" else 100
    ids = np.random.default_rng(0).integers(0, min(rows, np.iinfo(dtype).max), (6, 4))
    params = {"table": draw(rows, 3, seed=1)}
    a, b = (rows_summed(name)(params, ids.astype(t), np.ones(6, bool), 0.1) for t in (dtype, "int32"))
    np.testing.assert_array_equal(a.norms, b.norms)
    np.testing.assert_array_equal(a.total["table"], b.total["table"])
    np.testing.assert_allclose(a.norms, by_hand(LOOKUPS[name], params, ids), rtol=1e-5)


def test_positions_that_pick_one_row_add_up_before_the_norm_is_taken():
    """Cotangents that cancel within a row leave nothing of themselves in the norm."""
    loss = lambda p, ids, key: jnp.sum(jnp.float32([1e4, -1e4, 1.0]) * p["table"][ids])
    ids = np.array([[7, 7, 2], [7, 2, 7]], np.uint8)
    out = units_summed(loss)({"table": np.zeros(9, np.float32)}, ids, np.ones(2, bool), 1.0)
    np.testing.assert_allclose(out.norms, [1.0, np.hypot(1e4 + 1, 1e4)], rtol=1e-6)


# --- NaN beside a neighbour, wherever a convolution stands ----------------------------------------------------------


def conv(x, w):
    return lax.conv_general_dilated(x[None], w, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))[0]


@jax.custom_vjp
def conv_of_its_own(x, w):
    return conv(x, w)


conv_of_its_own.defvjp(lambda x, w: (conv(x, w), (x, w)), lambda kept, g: jax.vjp(conv, *kept)[1](g))

by_jvp = jax.custom_jvp(conv)
by_jvp.defjvp(lambda primals, tangents: jax.jvp(conv, primals, tangents))

BRANCHES = {
    "cond": lambda w, x, key: lax.cond(x[0, 0, 0] > 0, conv, lambda x, w: 0.1 * conv(x, 2 * w), x, w),
    "switch": lambda w, x, key: lax.switch(
        jnp.int32(x[0, 0, 0] > 0), [lambda: conv(x, w), lambda: jnp.sum(w) * x @ jnp.ones((2, 2))]
    ),
    "loop": lambda w, x, key: lax.fori_loop(0, 2, lambda i, y: jnp.tanh(conv(y, w)), x),
    "while": lambda w, x, key: conv(
        lax.while_loop(lambda c: c[0] < 2, lambda c: (c[0] + 1, conv(c[1], jnp.ones_like(w))), (0, x))[1], w
    ),
    "scan in cond": lambda w, x, key: lax.cond(
        x[0, 0, 0] > 0, lambda: lax.scan(lambda y, _: (conv(y, w), None), x, None, 2)[0], lambda: conv(x, w)
    ),
    "custom_vjp": lambda w, x, key: conv_of_its_own(x, w),
    "custom_jvp": lambda w, x, key: by_jvp(x, w),
    "custom_vjp in cond": lambda w, x, key: lax.cond(x[0, 0, 0] > 0, conv_of_its_own, conv, x, w),
}


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", BRANCHES)
def test_a_nan_stays_with_its_unit_in_branches_loops_and_rules(name, engine):
    loss = lambda p, x, key: jnp.sum(jnp.sin(BRANCHES[name](p["w"], x, key)))
    x = draw(8, 5, 5, 2)
    params = {"w": jnp.asarray(draw(3, 3, 2, 2, seed=1))}
    fun = clipped_sum(example_gradient(loss), engine=engine, microbatch_size=8)
    run = jax.jit(lambda x, mask: fun(params, Cohort(x, mask), KEY, 0.1))
    for place in ((0, 0, 0), (2, 3, 1), (4, 4, 0)):
        spoilt = x.copy()
        spoilt[(3, *place)] = np.nan
        without = run(x, np.arange(8) != 3)
        for mask, rejected in ((np.ones(8, bool), 1), (np.arange(8) != 3, 0)):
            out = run(spoilt, mask)
            if mask[3] and int(out.num_rejected) == 0:  # the branch that the unit took never read that place
                continue
            assert int(out.num_rejected) == rejected
            np.testing.assert_allclose(out.total["w"], without.total["w"], rtol=1e-5, atol=1e-6)
    assert np.any(without.norms > 0.1)


# --- What would let one unit see another ----------------------------------------------------------------------------


@custom_vmap
def less_the_mean(x):
    return x


@less_the_mean.def_vmap
def _(size, batched, x):
    return x - jnp.mean(x, axis=0, keepdims=True), True


@jax.custom_vjp
def backwards_less_the_mean(x):
    return x


backwards_less_the_mean.defvjp(lambda x: (x, ()), lambda _, g: (less_the_mean(g),))

foreign = Primitive("less_the_mean_as_well")
foreign.def_impl(lambda x: x)
foreign.def_abstract_eval(lambda x: x)
batching.primitive_batchers[foreign] = lambda args, axes: (args[0] - jnp.mean(args[0], axis=axes[0]), axes[0])

COUPLED = {
    "custom_vmap": lambda w, x, key: jnp.sum(w * lax.stop_gradient(less_the_mean(x))),
    "in a scan": lambda w, x, key: jnp.sum(
        w * lax.stop_gradient(lax.scan(lambda c, _: (less_the_mean(c), None), x, None, 2)[0])
    ),
    "in a branch": lambda w, x, key: jnp.sum(w * lax.stop_gradient(lax.cond(x[0] > 0, less_the_mean, jnp.sin, x))),
    "in a backward rule": lambda w, x, key: jnp.sum(backwards_less_the_mean(w * x)),
    "in a checkpoint": lambda w, x, key: jnp.sum(w * jax.checkpoint(lambda x: lax.stop_gradient(less_the_mean(x)))(x)),
    "foreign operation": lambda w, x, key: jnp.sum(w * lax.stop_gradient(foreign.bind(x))),
}


@pytest.mark.parametrize("engine", ["auto", *ENGINES])
@pytest.mark.parametrize("name", COUPLED)
def test_a_batching_rule_of_its_own_is_refused(name, engine):
    cohort = Cohort(jnp.ones((4, 3)), jnp.ones(4, bool))
    with pytest.raises(ValueError, match="batching rule is its own"):
        clipped_sum(example_gradient(COUPLED[name]), engine=engine)(jnp.ones(3), cohort, KEY, 1.0)


def test_a_contribution_that_clips_inside_is_no_coupling():
    """A client that clips its own records runs the kernel, whose batching rule is trusted."""
    inner = clipped_sum(example_gradient(lambda w, x, key: jnp.sum(jnp.sin(w * x))))

    def contribution(w, records, key):
        return inner(w, Cohort(records, jnp.ones(5, bool)), key, 0.5).total, {}

    out = jax.jit(clipped_sum(contribution))(np.ones(3), Cohort(draw(4, 5, 3), np.ones(4, bool)), KEY, 1.0)
    assert norm(out.total) > 0


def test_a_reference_from_outside_is_refused_and_one_inside_is_served():
    box = jax.new_ref(jnp.zeros(3))
    cohort = Cohort(jnp.asarray(draw(5, 3)), jnp.ones(5, bool))

    def outside(w, x, key):
        box[...] += lax.stop_gradient(x)
        return jnp.sum(w * box[...])

    def inside(w, x, key):
        own = jax.new_ref(w)
        own[...] = own[...] * x[0]
        return jnp.sum(jnp.sin(x * own[...]))

    with pytest.raises(ValueError, match="made outside of it"):
        clipped_sum(example_gradient(outside))(jnp.ones(3), cohort, KEY, 1.0)
    with pytest.raises(ValueError, match="use engine='auto' or 'microbatch'"):
        clipped_sum(example_gradient(inside), engine="bookkeeping")(jnp.ones(3), cohort, KEY, 1.0)
    plainly = lambda w, x, key: jnp.sum(jnp.sin(x * w * x[0]))
    got, want = (
        jax.jit(clipped_sum(example_gradient(loss)))(jnp.ones(3), cohort, KEY, 0.5) for loss in (inside, plainly)
    )
    np.testing.assert_allclose(got.total, want.total, rtol=1e-6)


# --- Rules, norms and parameters made by hand -----------------------------------------------------------------------


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    "stability", [-4.0, -4.99, 0.0, float("nan"), float("inf"), np.float32(-1), True, "0.1", [0.1]]
)
def test_a_rule_made_by_hand_cannot_lift_the_bound(stability, engine):
    with pytest.raises((ValueError, TypeError), match="stability="):
        clipped_sum(ITSELF, rule=ClippingRule(stability=stability), engine=engine)
    with pytest.raises((ValueError, TypeError), match="stability"):
        automatic_clipping(stability)


@pytest.mark.parametrize("engine", ENGINES)
def test_nor_can_one_that_is_traced(engine):
    cohort = Cohort(jnp.array([[3.0, 4.0], [1e-3, 0.0]]), jnp.array([True, False]))

    @jax.jit
    def total(stability):
        rule = ClippingRule(stability=stability)
        return clipped_sum(ITSELF, rule=rule, engine=engine)(jnp.zeros(2), cohort, KEY, 1.0).total

    for stability in (-4.0, -4.99, -5.0, -6.0, 0.0, float("nan"), float("inf"), float("-inf")):
        assert norm(total(stability)) <= 1 + 1e-6
    np.testing.assert_allclose(norm(total(0.01)), 5 / 5.01, rtol=1e-6)


def test_what_is_no_rule_is_refused():
    with pytest.raises(TypeError, match="ClippingRule"):
        clipped_sum(ITSELF, rule="flat")


@pytest.mark.parametrize("engine", ENGINES)
def test_a_clip_norm_below_what_float32_can_tell_counts_nobody(engine):
    fun = clipped_sum(ITSELF, engine=engine, rule=flat_clipping())
    cohort = Cohort(jnp.full((3, 2), 1e-20), jnp.ones(3, bool))
    for clip_norm in (1e-30, 0.0, -1.0, float("nan")):
        with pytest.raises(ValueError, match=r"clip_norm=.* must be ≥ 1e-12"):
            fun(jnp.zeros(2), cohort, KEY, clip_norm)
        assert norm(jax.jit(fun)(jnp.zeros(2), cohort, KEY, clip_norm).total) == 0


def test_numbers_of_python_are_parameters_and_none_at_all_are_refused():
    cohort = Cohort(jnp.asarray(draw(8, 4)), jnp.ones(8, bool))
    loss = lambda p, x, key: jnp.sum(jnp.sin(x * p["w"]))
    total = lambda w: clipped_sum(example_gradient(loss))({"w": w}, cohort, KEY, 1.0).total["w"]
    got, want = (jax.jit(partial(total, w))() for w in (2.5, jnp.float32(2.5)))
    assert got == want
    with pytest.raises(TypeError, match=r"params\['w'\]"):
        clipped_sum(example_gradient(loss))({"w": 2}, cohort, KEY, 1.0)
    with pytest.raises(ValueError, match=r"params=\{\} holds no array"):
        clipped_sum(example_gradient(lambda p, x, key: jnp.sum(x)))({}, cohort, KEY, 1.0)
    with pytest.raises(ValueError, match=r"contribution=\(\) holds no array"):
        clipped_sum(lambda p, x, key: ((), {}))({"w": jnp.ones(2)}, cohort, KEY, 1.0)


@pytest.mark.parametrize("axis_type", AxisType)
def test_a_mesh_of_any_axis_type_that_is_given(axis_type):
    """``jax.make_mesh`` makes axes explicit where it is told nothing."""
    mesh = jax.make_mesh((1,), ("d",), axis_types=(axis_type,))
    x, params = jnp.asarray(draw(8, 4)), {"w": jnp.asarray(draw(4, 3, seed=1))}
    contribution, mask = example_gradient(lambda p, x, key: jnp.sum(jnp.sin(x @ p["w"]))), jnp.ones(8, bool)
    plain = clipped_sum(contribution)(params, Cohort(x, mask), KEY, 1.0).total["w"]
    spread = [jax.device_put(each, NamedSharding(mesh, P("d"))) for each in (x, mask)]
    for given in (None, mesh):
        fun = clipped_sum(contribution, mesh=given)
        for call in (fun, jax.jit(fun)):
            for units in ((x, mask), spread):
                out = call(params, Cohort(*units), KEY, 1.0).total["w"]
                np.testing.assert_allclose(out, plain, rtol=1e-6)


def test_a_mesh_with_explicit_axes():
    mesh = jax.make_mesh((1,), ("d",), axis_types=(AxisType.Explicit,))
    fun = clipped_sum(example_gradient(lambda p, x, key: jnp.sum(jnp.sin(x @ p["w"]))))
    x, params = jnp.asarray(draw(8, 4)), {"w": jnp.asarray(draw(4, 3, seed=1))}
    plain = jax.jit(fun)(params, Cohort(x, jnp.ones(8, bool)), KEY, 1.0)
    with jax.set_mesh(mesh):
        spread = partial(jax.device_put, device=NamedSharding(mesh, P("d")))
        cohort = Cohort(spread(x), spread(jnp.ones(8, bool)))
        out = jax.jit(fun)(jax.device_put(params, NamedSharding(mesh, P())), cohort, KEY, 1.0)
    np.testing.assert_allclose(out.total["w"], plain.total["w"], rtol=1e-6)


# --- Sums of equal terms, which round alike ---------------------------------------------------------------------------

ALIKE = {
    "elementwise": (lambda p, x, key: jnp.sum(x * p), lambda shape: shape),
    "product": (lambda p, x, key: jnp.sum(x @ p), lambda shape: (16, shape[0])),
}


@pytest.mark.parametrize("shape", [(32, 32), (31, 33), (24, 40), (16, 16), (100, 10), (8, 127)])
@pytest.mark.parametrize("how", ALIKE)
@pytest.mark.parametrize("engine", ENGINES)
def test_norms_of_equal_numbers_are_right_in_small_cohorts(engine, how, shape):
    """One after the other in float32, 32 × 32 equal squares let their unit weigh 1 + 7.4e-6 clip norms."""
    loss, unit = ALIKE[how]
    fun = jax.jit(
        clipped_sum(example_gradient(loss), engine=engine, microbatch_size=1 if engine != "materialize" else None)
    )
    weights = []
    for value in np.linspace(1, 2, 40, endpoint=False, dtype=np.float32):
        units = np.full((2, *unit(shape)), value)
        out = fun(np.zeros(shape, np.float32), Cohort(units, np.arange(2) == 0), KEY, 1.0)
        weights.append(norm(out.total))
    assert max(weights) <= 1 + 1e-6
    assert min(weights) >= 1 - 4e-6


def test_many_leaves_are_added_up_in_pairs():
    fun = jax.jit(
        clipped_sum(example_gradient(lambda p, x, key: sum(jnp.sum(x * leaf) for leaf in p)), engine="materialize")
    )
    params = [np.zeros(1, np.float32)] * 300
    for value in np.linspace(1, 2, 20, endpoint=False, dtype=np.float32):
        out = fun(params, Cohort(np.full((2, 1), value), np.arange(2) == 0), KEY, 1.0)
        assert norm(out.total) <= 1 + 1e-6


@pytest.mark.parametrize("engine", ENGINES)
def test_a_stability_that_is_nothing_beside_underflowing_squares_is_refused_or_counts_as_zero(engine):
    """Of numbers of 1e-22 the squares are zero in float32, so that only the stability was left to divide by."""
    with pytest.raises(ValueError, match=r"stability=1e-22 must be .*1e-12"):
        automatic_clipping(1e-22)
    contribution = example_gradient(lambda w, x, key: jnp.sum(w * x))
    cohort = Cohort(jnp.full((2, 8), 1e-22), jnp.arange(2) == 0)

    @jax.jit
    def moved(stability):
        rule = ClippingRule(None, stability)
        return clipped_sum(contribution, rule=rule, engine=engine)(jnp.zeros(8), cohort, KEY, 1.0).total

    for stability in (1e-12, 1e-13, 1e-22, 1e-30, 1e-37, 0.0, -1.0, jnp.nan):
        assert norm(moved(jnp.float32(stability))) <= 1e-9
    assert norm(moved(jnp.float32(1e-12))) > 0


# --- Literal arrays of a loss -----------------------------------------------------------------------------------------


@jax.custom_vjp
def times_first(w, t):
    return w * t[0]


times_first.defvjp(
    lambda w, t: (times_first(w, t), t), lambda t, g: (g * lax.fori_loop(0, 3, lambda i, a: a + t[i], 0.0), None)
)

LITERALS = {
    "a rule of one's own": lambda p, x, key: jnp.sum(times_first(p, jnp.array([0.5, 1.0, 2.0])) @ x),
    "odeint": lambda p, x, key: jnp.sum(odeint(lambda y, t, p: jnp.tanh(y @ p), x, jnp.array([0.0, 1.0]), p)[-1]),
    "in a scan": lambda p, x, key: lax.scan(
        lambda c, _: (c + jnp.sum(times_first(p, jnp.array([0.5, 1.0, 2.0])) @ x), None), 0.0, length=2
    )[0],
    "of derived weights": lambda p, x, key: jnp.sum(jnp.tanh(x @ times_first(p * 2, jnp.array([0.5, 1.0, 2.0])))),
}


@pytest.mark.parametrize("name", LITERALS)
@pytest.mark.parametrize("engine", ENGINES)
def test_a_literal_array_reaches_a_derivative_rule_as_an_array(engine, name):
    loss, params, units = LITERALS[name], np.float32(0.3 * np.eye(3) + 0.1), draw(3, 3)
    want = sum(np.asarray(gradient_of(loss)(params, unit, KEY)) for unit in units)
    out = units_summed(loss, engine=engine)(params, units, np.ones(3, bool), 1e3)
    np.testing.assert_allclose(out.total, want, rtol=1e-4, atol=1e-6)


# --- Forms that are served in one pass ------------------------------------------------------------------------------

FORMS = {
    "free axes": ({"w": (4, 3, 5)}, (4,), lambda p, x: jnp.einsum("i,iof->o", x, p["w"])),
    "mean of a weight": ({"w": (4, 3)}, (5, 4), lambda p, x: x @ p["w"].mean(1)),
    "split": ({"w": (4, 9)}, (5, 4), lambda p, x: jnp.stack([x @ w for w in jnp.split(p["w"], 3, axis=1)])),
    "sliced": ({"w": (4, 9)}, (5, 4), lambda p, x: jnp.sum(jnp.tanh(x @ p["w"][:, :4])) + jnp.cos(x @ p["w"][:, 4:])),
    "stacked": ({"w": (3, 4, 4), "b": (3, 4)}, (5, 4), lambda p, x: jnp.tanh(x @ p["w"][0] + p["b"][:1]) @ p["w"][1]),
    "constant rows": (
        {"at": (9, 4), "w": (4, 3)},
        (5, 4),
        lambda p, x: (x + p["at"][jnp.array([1, 1, 2, 8, 0])]) @ p["w"],
    ),
    "named": ({"w": (4, 3)}, (5, 4), lambda p, x: x @ checkpoint_name(p["w"], "w")),
    "fenced": (
        {"w": (4, 3), "v": (4, 3)},
        (5, 4),
        lambda p, x: x @ jnp.multiply(*[jax.lax.optimization_barrier((p["w"], 2.0))[0], 3.0]),
    ),
    "experts": (
        {"w": (3, 4, 5), "b": (3, 5), "gate": (4, 3)},
        (2, 4),
        lambda p, x: jnp.einsum(
            "te,eto->to",
            jax.nn.softmax(x @ p["gate"]),
            jax.vmap(lambda w, b: jnp.tanh(x @ w + b[None]))(p["w"], p["b"]),
        ),
    ),
}


@pytest.mark.parametrize("name", FORMS)
def test_forms_of_weights_are_served_in_one_pass(name):
    shapes, unit, fun = FORMS[name]
    loss = lambda p, x, key: jnp.sum(jnp.sin(fun(p, x)))
    params = {path: jnp.asarray(draw(*shape, seed=i)) for i, (path, shape) in enumerate(shapes.items())}
    x = draw(6, *unit, seed=9)
    cohort = Cohort(jnp.asarray(x), jnp.ones(6, bool))
    assert explain(example_gradient(loss), params, cohort, KEY).materialized == ()
    expected = by_hand(loss, params, x)
    out, plain = (
        units_summed(loss, engine=engine)(params, x, np.ones(6, bool), np.median(expected))
        for engine in ("bookkeeping", "materialize")
    )
    np.testing.assert_allclose(out.norms, expected, rtol=1e-5)
    for got, want in zip(jax.tree.leaves(out.total), jax.tree.leaves(plain.total), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)


def test_parts_that_overlap_are_formed_and_right():
    loss = lambda p, x, key: jnp.sum(jnp.sin(x @ p["w"][:, :5])) + jnp.sum(jnp.cos(x @ p["w"][:, 4:]))
    params, x = {"w": jnp.asarray(draw(4, 9))}, draw(6, 5, 4, seed=1)
    cohort = Cohort(jnp.asarray(x), jnp.ones(6, bool))
    assert explain(example_gradient(loss), params, cohort, KEY).materialized == ("['w']",)
    np.testing.assert_allclose(
        units_summed(loss)(params, x, np.ones(6, bool), 1.0).norms, by_hand(loss, params, x), rtol=1e-5
    )
