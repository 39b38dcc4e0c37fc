"""Padding never counts: not its values, not a gradient there, not its amount, and not in what is drawn at random."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dpjax import (
    Cohort,
    HParams,
    Population,
    Records,
    UnitData,
    bucketed,
    client_delta,
    clipped_sum,
    fixed_size_sampler,
    make_train,
    poisson_sampler,
    private_client_delta,
    user_gradient,
)
from dpjax.clipping import ENGINES
from dpjax.contribution import as_reported
from dpjax.contributions import gather_records

KEY = jax.random.key(0)
RNG = np.random.default_rng(0)


def normalised(w, example, key):
    """No gradient at inputs of zero."""
    x, y = example
    return (w @ (x / jnp.linalg.norm(x)) - y) ** 2


def dropped_out(w, example, key):
    return normalised(jnp.where(jax.random.bernoulli(key, 0.5, w.shape), w, 0.1), example, key)


def private(loss):
    sampler = poisson_sampler(6, 0.5, num_steps=6, capacity=6)
    return private_client_delta(loss, optax.sgd(0.1), num_steps=3, sampler=sampler, clip_norm=1.0, noise_multiplier=0.0)


CONTRIBUTIONS = {
    "gradient": user_gradient,
    "delta": lambda loss: client_delta(loss, optax.sgd(0.1), num_steps=2),
    "batches": lambda loss: client_delta(loss, optax.sgd(0.1), num_steps=3, batch_size=4),
    "epochs": lambda loss: client_delta(loss, optax.sgd(0.1), num_epochs=2, batch_size=2, straggler_rate=0.5),
    "private": private,
}
X = jnp.asarray(RNG.normal(size=(3, 3)), jnp.float32)
Y = jnp.asarray(RNG.normal(size=3), jnp.float32)


def padded(fill, where):
    """The three records at the places given among six, padding filled."""
    x, y = np.full((6, 3), fill, np.float32), np.full(6, fill, np.float32)
    x[list(where)], y[list(where)] = X, Y
    return UnitData((jnp.asarray(x), jnp.asarray(y)), jnp.asarray(np.isin(np.arange(6), where)))


@pytest.mark.parametrize("name", CONTRIBUTIONS)
def test_neither_what_padding_holds_nor_where_it_is_changes_anything(name):
    contribution = jax.jit(CONTRIBUTIONS[name](dropped_out))
    alone, metrics = contribution(jnp.ones(3), UnitData((X, Y), jnp.ones(3, bool)), KEY)
    assert np.isfinite(alone).all()
    assert np.abs(alone).max() > 0
    for fill, where in ((0.0, (0, 1, 2)), (np.nan, (1, 3, 5)), (np.inf, (3, 4, 5))):
        if name == "private" and fill != 0:
            fill = 7.0  # an empty slot's NaN is the kernel's affair
        found, seen = contribution(jnp.ones(3), padded(fill, where), KEY)
        np.testing.assert_allclose(found, alone, rtol=1e-5, atol=1e-6)
        losses = (float(as_reported(report).metrics["loss"]) for report in (seen, metrics))
        assert next(losses) == pytest.approx(next(losses), rel=1e-5)


@pytest.mark.parametrize("name", ["gradient", "batches", "epochs"])
def test_another_units_nan_is_not_seen_through_padding(name):
    rows = (jnp.concatenate([jnp.full((1, 3), jnp.nan), X]), jnp.concatenate([jnp.full(1, jnp.nan), Y]))
    fun = jax.jit(gather_records(CONTRIBUTIONS[name](dropped_out), rows))
    mask = jnp.array([False, True, True, True, False])
    found, _ = fun(jnp.ones(3), Records(jnp.array([0, 1, 2, 3, 0]), mask), KEY)
    alone, _ = fun(jnp.ones(3), Records(jnp.array([1, 2, 3]), jnp.ones(3, bool)), KEY)
    np.testing.assert_allclose(found, alone, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["gradient", "batches", "epochs"])
def test_buckets_and_their_padding_change_no_contribution(name):
    """With dropout and local batches, from one bucket to one for each size."""
    mask = np.arange(6) < np.array([1, 2, 3, 6, 1, 0])[:, None]
    records = Records(jnp.asarray(RNG.integers(0, 3, (6, 6)) * mask), jnp.asarray(mask))
    ends = []
    for number in (1, 3, 6):
        buckets, _ = bucketed(records, number)
        train = make_train(
            lambda key: jnp.ones(3),
            CONTRIBUTIONS[name](
                lambda w, e, k: jnp.sum(jnp.where(jax.random.bernoulli(k, 0.5, (3,)), (w - e[0]) ** 2, 0.0))
            ),
            Population(buckets, (X, Y)),
            sampler=fixed_size_sampler(6, 6),
            num_steps=2,
            make_optimizer=lambda h: optax.sgd(1.0),
        )
        ends.append(jax.jit(train)(HParams(), KEY)[0].params)
    np.testing.assert_allclose(ends[1], ends[0], atol=1e-5)
    np.testing.assert_allclose(ends[2], ends[0], atol=1e-5)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_user_without_records_is_not_rejected_for_what_its_padding_holds(engine):
    rows = jnp.array([[1.0, 2.0], [jnp.nan, jnp.nan], [3.0, jnp.nan]])
    mask = jnp.array([[True, True], [False, False], [True, False]])
    contribution = user_gradient(lambda w, x, key: jnp.tanh(w * x))
    out = clipped_sum(contribution, engine=engine)(
        jnp.float32(0), Cohort(UnitData(rows, mask), jnp.ones(3, bool)), KEY, 9.0
    )
    assert (float(out.total), out.norms.tolist(), int(out.num_rejected)) == (4.5, [1.5, 0.0, 3.0], 0)
