"""One rule of clipping: what an aggregation releases is clipped as the sum that it is put around."""

from functools import cache, partial
from itertools import combinations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dpjax import (
    Cohort,
    HParams,
    Summing,
    automatic_clipping,
    clipped_sum,
    example_gradient,
    fixed_size_sampler,
    group_clipping,
    make_train,
    per_layer_clipping,
)
from dpjax.clipping import ClippingRule
from dpjax.federated import (
    build_federated_averaging_process,
    corruptible,
    corruption,
    dropouts,
    fedavg,
    homomorphic_aggregation,
    local_privacy,
    robust_aggregation,
    secure_aggregation,
)
from dpjax.lengths import length_buckets
from dpjax.models import Model
from dpjax.types import ClippedBy, UnitData

KEY = jax.random.key(0)
CLIP_NORM = 0.8
# Layers of very different size: under each rule something else is left of them.
SIZES = jnp.asarray([3.0, 40.0, 0.02, 4.0, 0.3, 0.5, 0.01, 0.0])
ROWS = jax.random.normal(KEY, (6, 8)) * SIZES[None]
PARAMS = {"first": {"w": jnp.zeros(3), "b": jnp.zeros(1)}, "scale": jnp.zeros(2), "second": {"w": jnp.zeros(2)}}
EVERYONE = Cohort(ROWS, jnp.ones(6, bool))

RULES = {
    "per_layer": per_layer_clipping(),
    "group": group_clipping(lambda path: "scale" if "scale" in path else "rest"),
    "automatic": automatic_clipping(0.5),
    "automatic_groups": automatic_clipping(0.5, groups=lambda path: path),
}


def inner_product(params, x, key):
    first, second = params["first"], params["second"]
    return first["w"] @ x[:3] + first["b"] @ x[3:4] + params["scale"] @ x[4:6] + second["w"] @ x[6:]


SEND = example_gradient(inner_product)


def factory_of(rule):
    return partial(clipped_sum, rule=RULES[rule])


def flat(tree):
    return np.concatenate([np.asarray(x, np.float64).ravel() for x in jax.tree.leaves(tree)])


def sum_of(factory, cohort=EVERYONE, clip_norm=CLIP_NORM):
    return jax.jit(factory(SEND))(PARAMS, cohort, KEY, clip_norm)


@cache
def plain_total(rule):
    return flat(sum_of(factory_of(rule)).total)


def homomorphic():
    pytest.importorskip("tenseal", reason="needs the extra he")
    return homomorphic_aggregation()


# Each is the plain sum if it is left to be: without noise, and with nobody cut off.
AGGREGATIONS = {
    "secure": (partial(secure_aggregation, threshold=2, masks=False), 1e-5),
    "shares": (partial(secure_aggregation, threshold=2, masks=False, noise="skellam", levels=2**20), 1e-4),
    "homomorphic": (homomorphic, 1e-4),
    "local": (partial(local_privacy, "gaussian", noise_multiplier=0.0), 1e-6),
    "trimmed_mean": (partial(robust_aggregation, "trimmed_mean", corrupted_fraction=0.0), 1e-6),
}


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("name", AGGREGATIONS)
def test_every_aggregation_clips_by_the_rule_of_the_sum(name, rule):
    make, tolerance = AGGREGATIONS[name]
    out = sum_of(make()(factory_of(rule)))
    np.testing.assert_allclose(flat(out.total), plain_total(rule), atol=tolerance * CLIP_NORM, rtol=1e-5)
    assert out.clipped_by == ClippedBy(RULES[rule])
    if "aggregation_error" in out.report:
        assert float(out.report["aggregation_error"]) <= tolerance


def test_the_rules_differ_enough_for_a_wrong_one_to_be_seen():
    totals = [flat(sum_of(clipped_sum).total), *map(plain_total, RULES)]
    assert min(np.abs(a - b).max() for a, b in combinations(totals, 2)) > 0.05


@pytest.mark.parametrize("kind", ["median", "geometric_median", "krum", "multi_krum"])
def test_robust_means_of_equal_messages_are_their_sum(kind):
    same = Cohort(jnp.tile(ROWS[:1], (6, 1)), jnp.ones(6, bool))
    share = 0.2 if "krum" in kind else None
    out = sum_of(robust_aggregation(kind, corrupted_fraction=share)(factory_of("per_layer")), same)
    np.testing.assert_allclose(flat(out.total), flat(sum_of(factory_of("per_layer"), same).total), rtol=1e-4, atol=1e-6)


def test_pure_reports_tell_what_the_rule_left():
    """At an ε of 500 a report is nearly its client's vector, or its direction."""
    one, factory = Cohort(ROWS[:1], jnp.ones(1, bool)), factory_of("per_layer")
    left = flat(sum_of(factory, one).total)
    direction = sum_of(local_privacy("privunit", epsilon_per_report=500.0)(factory), one)
    np.testing.assert_allclose(flat(direction.total) / CLIP_NORM, left / np.linalg.norm(left), atol=0.15)
    told = sum_of(local_privacy("laplace", epsilon_per_report=500.0)(factory), one)
    np.testing.assert_allclose(flat(told.total), left / max(1, np.abs(left).sum() / CLIP_NORM), atol=0.03)


def by_length(factory):
    """Two buckets, by the sign of a row's first entry; nothing is cut."""

    def ids_of(rows):
        return jnp.where((jnp.arange(8)[None] < 7) | (rows[:, :1] > 0), 1, -1)

    return length_buckets((7, 8), ids_of=ids_of, replace_ids=lambda rows, ids: rows)(factory)


BETWEEN = {
    "dropouts within": lambda secure, factory: secure(dropouts(0.0)(factory)),
    "dropouts around": lambda secure, factory: dropouts(0.0)(secure(factory)),
    "buckets within": lambda secure, factory: secure(by_length(factory)),
    "compiled by itself": lambda secure, factory: secure(lambda send: jax.jit(factory(send))),
    "in microbatches": lambda secure, factory: secure(partial(factory, engine="microbatch", microbatch_size=2)),
}


@pytest.mark.parametrize("between", BETWEEN)
def test_the_rule_passes_whatever_is_between(between):
    secure = secure_aggregation(threshold=2, masks=False)
    out = sum_of(BETWEEN[between](secure, factory_of("per_layer")))
    np.testing.assert_allclose(flat(out.total), plain_total("per_layer"), atol=1e-5)
    assert out.clipped_by == ClippedBy(RULES["per_layer"])


@pytest.mark.parametrize("name", AGGREGATIONS)
def test_buckets_around_an_aggregation_are_refused(name):
    """Whether a bucket holds enough clients to go on is nothing that dropouts alone decide."""
    with pytest.raises(ValueError, match="put the aggregation around the buckets"):
        sum_of(by_length(AGGREGATIONS[name][0]()(factory_of("per_layer"))))


def test_attackers_messages_are_clipped_by_the_same_rule():
    marked = Cohort(corruptible(ROWS, jnp.arange(6) < 2), jnp.ones(6, bool))
    attack = corruption("sign_flipped", factor=3.0)
    secure = secure_aggregation(threshold=2, masks=False)
    out, plain = sum_of(attack(secure(factory_of("group"))), marked), sum_of(attack(factory_of("group")), marked)
    np.testing.assert_allclose(flat(out.total), flat(plain.total), atol=1e-5)


def test_a_stability_that_is_traced_reaches_the_aggregation():
    def total(aggregation, stability):
        factory = partial(clipped_sum, rule=ClippingRule(None, stability))
        return aggregation(factory)(SEND)(PARAMS, EVERYONE, KEY, CLIP_NORM).total

    gammas = jnp.asarray([0.1, 2.0])
    local = local_privacy("gaussian", noise_multiplier=0.0)
    found = jax.jit(jax.vmap(partial(total, local)))(gammas)
    plain = jax.jit(jax.vmap(partial(total, lambda factory: factory)))(gammas)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(plain), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


# ---- runs ------------------------------------------------------------------------------------------------------------


def test_a_run_is_told_the_rule_once():
    def trained(aggregation):
        train = make_train(
            lambda key: PARAMS,
            SEND,
            ROWS,
            sampler=fixed_size_sampler(6, 6),
            num_steps=2,
            make_optimizer=lambda h: optax.sgd(h.learning_rate),
            sum_factory=Summing(RULES["per_layer"], aggregation),
        )
        return flat(jax.jit(train)(HParams(clip_norm=CLIP_NORM, noise_multiplier=1.0), KEY)[0].params)

    np.testing.assert_allclose(trained(secure_aggregation(threshold=2, masks=False)), trained(None), atol=1e-5)


def test_a_process_is_told_the_rule_once():
    def after_a_round(aggregation):
        process = build_federated_averaging_process(
            Model(lambda key: PARAMS, lambda params, x, key: x),
            fedavg(inner_product, optax.sgd(1.0), num_steps=1),
            optax.sgd(1.0),
            expected_clients=6,
            clip_norm=CLIP_NORM,
            sum_factory=Summing(RULES["per_layer"], aggregation),
        )
        rows = Cohort(UnitData(ROWS[:, None], jnp.ones((6, 1), bool)), jnp.ones(6, bool))
        return flat(jax.jit(process.next)(process.initialize(KEY), rows)[0].train.params)

    np.testing.assert_allclose(
        after_a_round(secure_aggregation(threshold=2, masks=False)), after_a_round(None), atol=1e-5
    )


# ---- what can't be ---------------------------------------------------------------------------------------------------

MAKERS = {
    "secure_aggregation": partial(secure_aggregation, threshold=2, masks=False),
    "homomorphic_aggregation": homomorphic_aggregation,
    "local_privacy": partial(local_privacy, "gaussian", noise_multiplier=1.0),
    "robust_aggregation": partial(robust_aggregation, "median"),
}


@pytest.mark.parametrize("name", MAKERS)
def test_a_rule_of_its_own_is_refused_in_a_sentence(name):
    with pytest.raises(TypeError, match=f"rule is given to {name}, which clips by the rule of the sum .* give it to"):
        MAKERS[name](rule=per_layer_clipping())


@pytest.mark.parametrize("name", MAKERS)
def test_a_sum_that_does_not_say_its_rule_is_refused(name):
    def silent(send):
        inner = clipped_sum(send)
        return lambda *args: inner(*args)._replace(clipped_by=None)

    with pytest.raises(ValueError, match="does not say by which rule it clips"):
        MAKERS[name]()(silent)(SEND)(PARAMS, EVERYONE, KEY, CLIP_NORM)


@pytest.mark.parametrize("name", AGGREGATIONS)
def test_a_sum_that_clips_to_less_is_followed(name):
    def halved(send):
        inner = clipped_sum(send)
        return lambda params, cohort, key, clip_norm: inner(params, cohort, key, clip_norm / 2)

    make, tolerance = AGGREGATIONS[name]
    out = sum_of(make()(halved))
    expected = flat(sum_of(clipped_sum, clip_norm=CLIP_NORM / 2).total)
    np.testing.assert_allclose(flat(out.total), expected, atol=tolerance * CLIP_NORM, rtol=1e-5)
    assert np.isinf(out.clip_norm) or float(out.clip_norm) == pytest.approx(CLIP_NORM / 2)
