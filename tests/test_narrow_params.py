# ruff: noqa: E731
"""Parameters narrower than float32 train under any optimizer; nothing sticks at the precision of bfloat16."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dpjax import (
    HParams,
    UnitData,
    client_delta,
    example_gradient,
    fixed_size_sampler,
    make_train,
    poisson_sampler,
    private_client_delta,
)
from dpjax.federated import personalized, scaffold
from dpjax.optimizers import scale_by_corrected_adam
from dpjax.types import Stateful

OPTIMIZERS = {
    "adam": lambda h: optax.adam(0.1),
    "momentum": lambda h: optax.sgd(0.1, momentum=0.9),
    "adamw": lambda h: optax.adamw(0.1),
    "radam": lambda h: optax.radam(0.1),
    "corrected": lambda h: optax.chain(scale_by_corrected_adam(0.01), optax.scale(-0.1)),
}


# What is narrower than float32 is widened by one rule: of float16 the quick run has one case of each place.
@pytest.mark.parametrize(
    ("name", "dtype"),
    [
        *((name, jnp.bfloat16) for name in OPTIMIZERS),
        ("adam", jnp.float16),
        *(pytest.param(name, jnp.float16, marks=pytest.mark.slow) for name in OPTIMIZERS if name != "adam"),
    ],
)
@jax.numpy_dtype_promotion("standard")  # optax's own
def test_narrow_parameters_follow_those_in_float32(name, dtype):
    np.testing.assert_allclose(trained(name, dtype), trained(name, jnp.float32), atol=0.02)


@cache
def trained(name, dtype):
    train = make_train(
        lambda key: jnp.zeros(3, dtype),
        example_gradient(lambda w, e, k: jnp.sum((w - e.astype(w.dtype)) ** 2)),
        jnp.ones((16, 3)),
        sampler=fixed_size_sampler(16, 8),
        num_steps=3,
        make_optimizer=OPTIMIZERS[name],
    )
    params = jax.jit(train)(HParams(noise_multiplier=0.1), jax.random.key(0))[0].params
    assert params.dtype == dtype
    return np.asarray(params, np.float32)


def test_the_second_moment_does_not_stick():
    optimizer = scale_by_corrected_adam(0.0)
    gradient = jnp.ones(1, jnp.bfloat16)

    def step(state, _):
        return optimizer.update(gradient, state)[1], None

    state, _ = jax.lax.scan(step, optimizer.init(gradient), length=1000)
    assert float(jax.tree.leaves(state)[2][0]) == pytest.approx(1 - 0.999**1000, rel=1e-3)


CLIENTS = {
    "fedavg": lambda loss, local: client_delta(loss, local, num_steps=40),
    "fedprox": lambda loss, local: client_delta(loss, local, num_steps=40, proximal=0.5),
    "in batches": lambda loss, local: client_delta(loss, local, num_epochs=10, batch_size=2, straggler_rate=0.0),
    "private": lambda loss, local: private_client_delta(
        loss, local, num_steps=40, sampler=poisson_sampler(8, 1.0, num_steps=40), clip_norm=100.0, noise_multiplier=0.0
    ),
}


LOCAL = {"sgd": optax.sgd(1e-3), "adam": optax.adam(1e-3)}


def quick(name, local, dtype):
    """``fedprox`` and ``in batches`` are ``client_delta`` as ``fedavg`` is."""
    own_loop = name in ("fedavg", "private")
    return (own_loop or local == "sgd") if dtype == jnp.bfloat16 else (own_loop and local == "sgd")


@pytest.mark.parametrize(
    ("name", "local", "dtype"),
    [
        pytest.param(name, local, dtype, marks=() if quick(name, local, dtype) else pytest.mark.slow)
        for name in CLIENTS
        for local in LOCAL
        for dtype in (jnp.bfloat16, jnp.float16)
    ],
)
@jax.numpy_dtype_promotion("standard")  # optax's own
def test_local_steps_of_narrow_parameters_are_not_rounded_away(name, local, dtype):
    """Steps of 1e-3 beside parameters of 3, which in bfloat16 have neighbours 0.016 away."""
    wide = sent(name, local, jnp.float32)
    assert wide.min() > 0.03
    np.testing.assert_allclose(sent(name, local, dtype), wide, rtol=0.02)


@cache
def sent(name, local, dtype):
    contribution = CLIENTS[name](lambda w, x, key: jnp.sum((w - x.astype(w.dtype)) ** 2), LOCAL[local])
    client = UnitData(jnp.ones((8, 2)), jnp.ones(8, bool))
    delta, _ = jax.jit(contribution)(jnp.full(2, 3.0, dtype), client, jax.random.key(0))
    assert delta.dtype == dtype
    return np.asarray(delta, np.float32)


@jax.numpy_dtype_promotion("standard")
def test_solvers_that_remember_train_narrow_parameters():
    loss = lambda w, x, key: jnp.sum((w["a"] * w["b"] - x.astype(w["a"].dtype)) ** 2)
    params = {"a": jnp.full(2, 3.0, jnp.bfloat16), "b": jnp.ones(2, jnp.bfloat16)}
    solvers = [
        scaffold(loss, learning_rate=1e-3, num_steps=20, participation=0.5),
        personalized(loss, optax.sgd(1e-3), personal=lambda path: "b" in path, num_steps=20),
    ]
    for solver in solvers:
        carried = solver.init(params)
        unit = Stateful(UnitData(jnp.ones((8, 2)), jnp.ones(8, bool)), solver.init_unit_state(carried))
        sent, _ = jax.jit(solver.contribution_fn)(carried, unit, jax.random.key(0))
        moved = np.asarray(sent.model["a"], np.float32)
        assert sent.model["a"].dtype == jnp.bfloat16
        assert moved.min() > 0.03
