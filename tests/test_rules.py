"""The rules of clipping, on every engine: what they compute, and that no unit outweighs the clip norm."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dpjax import (
    Cohort,
    HParams,
    automatic_clipping,
    clipped_sum,
    example_gradient,
    flat_clipping,
    group_clipping,
    merge_params,
    per_layer_clipping,
    split_params,
)
from dpjax.clipping import ENGINES
from dpjax.clipping.rules import leaf_groups

KEY = jax.random.key(0)


def loss_fn(params, example, key):
    x, y = example
    hidden = jnp.tanh(x @ params["first"]["w"] + params["first"]["b"])
    return jnp.sum((hidden @ params["second"]["w"] * params["scale"] - y) ** 2)


def first_or_rest(path):
    return "first" if "first" in path else "rest"


FLAT = {"first": 0, "scale": 0, "second": 0}
LAYERS = {"first": 0, "scale": 1, "second": 2}
HALVES = {"first": 0, "scale": 1, "second": 1}
# rule, group of each entry, γ
RULES = {
    "flat": (flat_clipping(), FLAT, None),
    "per_layer": (per_layer_clipping(), LAYERS, None),
    "group": (group_clipping(first_or_rest), HALVES, None),
    "automatic": (automatic_clipping(), FLAT, 0.01),
    "automatic_groups": (automatic_clipping(0.5, groups=first_or_rest), HALVES, 0.5),
}


def make_params(seed, width=5, features=3):
    keys = jax.random.split(jax.random.key(seed), 4)
    return {
        "first": {"w": jax.random.normal(keys[0], (features, width)), "b": jax.random.normal(keys[1], (width,))},
        "scale": jax.random.normal(keys[2], (2,)),
        "second": {"w": jax.random.normal(keys[3], (width, 2))},
    }


def make_cohort(seed, slots, filled, scale=1.0, features=3):
    keys = jax.random.split(jax.random.key(seed + 1), 2)
    units = (scale * jax.random.normal(keys[0], (slots, features)), jax.random.normal(keys[1], (slots, 2)))
    return Cohort(units, jnp.arange(slots) < filled)


@partial(jax.jit, static_argnames=("rule", "engine"))
def run(cohort, params, clip_norm, rule, engine):
    fun = clipped_sum(example_gradient(loss_fn), rule=RULES[rule][0], engine=engine, microbatch_size=3)
    return fun(params, cohort, KEY, clip_norm)


@jax.jit
def gradients(params, units):
    return jax.vmap(lambda unit: jax.grad(loss_fn)(params, unit, KEY))(units)


def norm(tree):
    return float(np.sqrt(sum(np.sum(np.square(np.asarray(x, np.float64))) for x in jax.tree.leaves(tree))))


def by_hand(cohort, params, clip_norm, rule):
    """A float64 loop over units and groups."""
    _, group_of, stability = RULES[rule]
    count = len(set(group_of.values()))
    stack = gradients(params, cohort.units)
    total = jax.tree.map(lambda x: np.zeros(x.shape), params)
    for i in np.flatnonzero(np.asarray(cohort.mask)):
        gradient = jax.tree.map(lambda x, i=i: np.asarray(x[i], np.float64), stack)
        for k in range(count):
            members = [name for name in gradient if group_of[name] == k]
            size = norm([gradient[name] for name in members])
            limit = clip_norm / np.sqrt(count)
            factor = min(1.0, limit / size) if stability is None else limit / (size + stability)
            for name in members:
                total[name] = jax.tree.map(lambda t, g, f=factor: t + f * g, total[name], gradient[name])
    return total


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("rule", RULES)
@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 10**6), filled=st.integers(0, 7), clip_norm=st.floats(1e-2, 1e2))
def test_every_rule_on_every_engine_equals_its_definition(engine, rule, seed, filled, clip_norm):
    params, cohort = make_params(seed), make_cohort(seed, 7, filled)
    out, expected = run(cohort, params, clip_norm, rule, engine), by_hand(cohort, params, clip_norm, rule)
    wrong = norm(jax.tree.map(lambda a, b: np.float64(a) - b, out.total, expected))
    assert wrong <= 1e-5 * max(norm(expected), 1e-30)
    stack = gradients(params, cohort.units)
    norms = [norm(jax.tree.map(lambda x, i=i: x[i], stack)) if i < filled else 0.0 for i in range(7)]
    # A small norm beside large ones is a difference of large sums.
    np.testing.assert_allclose(out.norms, norms, rtol=1e-5, atol=1e-6 * float(np.max(norms, initial=0)))


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("rule", RULES)
@settings(max_examples=8, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    clip_norm=st.floats(1e-4, 1e4),
    scale=st.sampled_from([0.0, 1e-8, 1.0, 1e4, 1e18, np.inf, np.nan]),
)
def test_no_unit_moves_the_sum_by_more_than_the_clip_norm(engine, rule, seed, clip_norm, scale):
    params, cohort = make_params(seed), make_cohort(seed, 5, 5)
    cohort = cohort._replace(units=(cohort.units[0].at[2].multiply(scale), cohort.units[1]))
    with_unit = run(cohort, params, clip_norm, rule, engine)
    without = run(cohort._replace(mask=cohort.mask.at[2].set(False)), params, clip_norm, rule, engine)
    moved = norm(jax.tree.map(lambda a, b: np.float64(a) - np.float64(b), with_unit.total, without.total))
    assert moved <= clip_norm + 1e-6 * (clip_norm + norm(without.total))
    assert float(with_unit.clip_norm) == np.float32(clip_norm)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("rule", RULES)
def test_an_infinite_clip_norm_leaves_every_gradient_as_it_is(engine, rule):
    params, cohort = make_params(0), make_cohort(0, 6, 4)
    out = run(cohort, params, jnp.inf, rule, engine)
    plain = jax.tree.map(lambda x: jnp.sum(x[:4], axis=0), gradients(params, cohort.units))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-5, atol=1e-5), out.total, plain)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("rule", RULES)
def test_units_that_are_not_finite_count_as_zero(engine, rule):
    params, cohort = make_params(1), make_cohort(1, 6, 5)
    bad = cohort.units[0].at[1].set(jnp.nan).at[3].set(jnp.inf).at[5].set(jnp.nan)  # slot 5 is empty
    out = run(cohort._replace(units=(bad, cohort.units[1])), params, 1.0, rule, engine)
    kept = run(cohort._replace(mask=jnp.arange(6) % 2 == 0), params, 1.0, rule, engine)
    assert int(out.num_rejected) == 2
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), out.total, kept.total)


def test_automatic_clipping_gives_small_and_large_gradients_nearly_the_same_weight():
    units = jnp.array([[30.0, 40.0], [0.6, 0.8], [0.0, 0.0]])
    fun = clipped_sum(example_gradient(lambda w, x, key: jnp.sum(w * x)), rule=automatic_clipping(0.25))
    sums = [fun(jnp.zeros(2), Cohort(units, jnp.arange(3) == i), KEY, 2.0).total for i in range(3)]
    np.testing.assert_allclose(sums[0], np.array([0.6, 0.8]) * 2 * 50 / 50.25, rtol=1e-6)
    np.testing.assert_allclose(sums[1], np.array([0.6, 0.8]) * 2 * 1 / 1.25, rtol=1e-6)
    np.testing.assert_array_equal(sums[2], [0.0, 0.0])


@pytest.mark.parametrize(
    ("params", "groups"),
    [
        ({"a": {"w": 1.0, "b": 1.0}, "c": {"w": 1.0}}, (0, 0, 1)),
        ({"blocks": [{"w": 1.0, "b": 1.0}, {"w": 1.0, "b": 1.0}], "scale": 1.0}, (0, 0, 1, 1, 2)),
        ([1.0, 1.0], (0, 1)),
        (1.0, (0,)),
        ({"deep": {"er": {"w": 1.0}, "b": 1.0}}, (0, 1)),
        (HParams(*[1.0] * len(HParams._fields)), tuple(range(len(HParams._fields)))),  # attributes are keys too
    ],
)
def test_a_layer_is_what_shares_a_path_up_to_its_last_key(params, groups):
    assert leaf_groups(per_layer_clipping(), jax.tree.map(jnp.float32, params)) == groups


def test_groups_are_numbered_as_they_come_and_named_by_the_user():
    params = {name: jnp.ones(2) for name in "abc"}
    labels = {"['a']": "late", "['b']": "early", "['c']": "late"}
    assert leaf_groups(group_clipping(labels.__getitem__), params) == (0, 1, 0)


@pytest.mark.parametrize("clip_norm", [1e20, 1e30, 1e38])
def test_a_vast_clip_norm_over_a_tiny_stability_is_no_nan(clip_norm):
    cohort = make_cohort(0, 4, 3)._replace(
        units=(jnp.array([[0.0] * 3, [1e-20] * 3, [1.0] * 3, [2.0] * 3]), jnp.zeros((4, 2)))
    )
    fun = clipped_sum(lambda params, unit, key: (unit[0], {}), rule=automatic_clipping(1e-12))
    for slots in ([0], [0, 1], [0, 1, 2]):
        mask = jnp.zeros(4, bool).at[jnp.array(slots)].set(True)
        total = fun(jnp.zeros(3), cohort._replace(mask=mask), KEY, clip_norm).total
        assert norm(total) <= clip_norm * len(slots)


@pytest.mark.parametrize("stability", [0.0, -1.0, float("nan")])
def test_a_stability_that_would_divide_by_zero_is_named(stability):
    with pytest.raises(ValueError, match=f"stability={stability}"):
        automatic_clipping(stability)


# ---- trainable subsets --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("engine", ENGINES)
def test_only_the_trainable_leaves_are_bounded_and_summed(engine):
    params, cohort = make_params(2), make_cohort(2, 6, 6)
    head, frozen = split_params(params, lambda path: "second" in path or "scale" in path)

    def head_loss(trained, example, key):
        return loss_fn(merge_params(trained, frozen), example, key)

    out = clipped_sum(example_gradient(head_loss), engine=engine)(head, cohort, KEY, 0.5)
    assert jax.tree.structure(out.total) == jax.tree.structure(head)
    stack = gradients(params, cohort.units)
    own = [np.sqrt(np.sum(np.square(stack["second"]["w"][i])) + np.sum(stack["scale"][i] ** 2)) for i in range(6)]
    np.testing.assert_allclose(out.norms, own, rtol=1e-5)
    scale = np.minimum(1, 0.5 / np.array(own))
    np.testing.assert_allclose(out.total["scale"], scale @ np.asarray(stack["scale"]), rtol=1e-4)


@given(
    chosen=st.sets(st.sampled_from(["['first']['w']", "['first']['b']", "['scale']", "['second']['w']"]), min_size=1)
)
def test_splitting_and_merging_gives_back_every_leaf(chosen):
    params = make_params(3)
    trainable, frozen = split_params(params, lambda path: path in chosen)
    assert len(jax.tree.leaves(trainable)) == len(chosen)
    assert len(jax.tree.leaves(frozen)) == 4 - len(chosen)
    jax.tree.map(np.testing.assert_array_equal, merge_params(trainable, frozen), params)


def test_nothing_to_train_and_a_parameter_in_both_halves_are_named():
    with pytest.raises(ValueError, match=r"no parameter is to be trained.*\['scale'\]"):
        split_params(make_params(0), lambda path: False)
    with pytest.raises(ValueError, match=r"\['a'\] is in both halves"):
        merge_params({"a": jnp.ones(2)}, {"a": jnp.ones(2)})
