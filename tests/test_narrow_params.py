# ruff: noqa: E731
"""Parameters narrower than float32 train under any optimizer; nothing sticks at the precision of bfloat16."""

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


@pytest.mark.parametrize("name", OPTIMIZERS)
@jax.numpy_dtype_promotion("standard")  # optax's own
def test_narrow_parameters_follow_those_in_float32(name):
    ends = []
    for dtype in (jnp.float32, jnp.bfloat16, jnp.float16):
        train = make_train(
            lambda key, dtype=dtype: jnp.zeros(3, dtype),
            example_gradient(lambda w, e, k: jnp.sum((w - e.astype(w.dtype)) ** 2)),
            jnp.ones((16, 3)),
            sampler=fixed_size_sampler(16, 8),
            num_steps=3,
            make_optimizer=OPTIMIZERS[name],
        )
        params = jax.jit(train)(HParams(noise_multiplier=0.1), jax.random.key(0))[0].params
        assert params.dtype == dtype
        ends.append(np.asarray(params, np.float32))
    for narrow in ends[1:]:
        np.testing.assert_allclose(narrow, ends[0], atol=0.02)


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


@pytest.mark.parametrize("local", [optax.sgd(1e-3), optax.adam(1e-3)], ids=["sgd", "adam"])
@pytest.mark.parametrize("name", CLIENTS)
@jax.numpy_dtype_promotion("standard")  # optax's own
def test_local_steps_of_narrow_parameters_are_not_rounded_away(name, local):
    """Steps of 1e-3 beside parameters of 3, which in bfloat16 have neighbours 0.016 away."""
    contribution = CLIENTS[name](lambda w, x, key: jnp.sum((w - x.astype(w.dtype)) ** 2), local)
    client = UnitData(jnp.ones((8, 2)), jnp.ones(8, bool))
    deltas = []
    for dtype in (jnp.float32, jnp.bfloat16, jnp.float16):
        delta, _ = jax.jit(contribution)(jnp.full(2, 3.0, dtype), client, jax.random.key(0))
        assert delta.dtype == dtype
        deltas.append(np.asarray(delta, np.float32))
    assert deltas[0].min() > 0.03
    for narrow in deltas[1:]:
        np.testing.assert_allclose(narrow, deltas[0], rtol=0.02)


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
