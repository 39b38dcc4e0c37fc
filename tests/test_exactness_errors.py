"""What no engine may clip: one sentence that names the operation or the parameter, and the fix, under every engine."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.experimental import io_callback

from dpjax import Cohort, UnitData, client_delta, clipped_sum, example_gradient
from dpjax.clipping import ENGINES

PARAMS = {"body": {"w": jnp.ones((3, 2)), "b": jnp.zeros(2)}}
COHORT = Cohort(jnp.linspace(-1, 1, 12).reshape(4, 3), jnp.arange(4) < 3)
KEY = jax.random.key(0)

every_engine = pytest.mark.parametrize("engine", [*ENGINES, "auto"])


def dense(params, x):
    return jnp.tanh(x @ params["body"]["w"] + params["body"]["b"])


def refusal(kind, loss_fn, engine, params=PARAMS, contribution=example_gradient, cohort=COHORT):
    """The message, which is one line and one sentence."""
    with pytest.raises(kind) as caught:
        clipped_sum(contribution(loss_fn), engine=engine, microbatch_size=2)(params, cohort, KEY, 1.0)
    message = str(caught.value)
    assert "\n" not in message
    assert message.endswith(".")
    return message


COLLECTIVES = {
    "psum": lambda h: jax.lax.psum(h, "batch"),
    "pmean": lambda h: jax.lax.pmean(h, "batch"),
    "pmax": lambda h: jax.lax.pmax(jax.lax.stop_gradient(h), "batch"),
    "all_gather": lambda h: jax.lax.all_gather(h, "batch"),
    "axis_index": lambda h: h * jax.lax.axis_index("batch").astype(h.dtype),
}
WRAPPINGS = {
    "plain": lambda f: f,
    "jit": jax.jit,
    "checkpoint": jax.checkpoint,
    "scan": lambda f: lambda h: jax.lax.scan(lambda c, _: (c, f(c)), h, None, length=2)[1],
    "cond": lambda f: lambda h: jax.lax.cond(h[0] > 0, lambda: jnp.sum(f(h)), lambda: jnp.sum(h)),
}


@every_engine
@pytest.mark.parametrize("collective", COLLECTIVES)
@pytest.mark.parametrize("bound", [False, True])
def test_collectives(engine, collective, bound):
    def loss_fn(params, x, key):
        return jnp.sum(COLLECTIVES[collective](dense(params, x)))

    def call(_):
        return refusal(ValueError, loss_fn, engine)

    # Even where somebody's outer vmap gives the name a meaning.
    message = []
    if bound:
        jax.vmap(lambda x: (message.append(call(x)), x)[1], axis_name="batch")(jnp.zeros(2))
    else:
        message.append(call(None))
    assert "batch" in message[0]
    assert "axis" in message[0]


@every_engine
@pytest.mark.parametrize("wrapping", WRAPPINGS)
def test_host_callbacks(engine, wrapping):
    def ask(h):
        return jax.pure_callback(np.sin, jax.ShapeDtypeStruct(h.shape, h.dtype), jax.lax.stop_gradient(h))

    def loss_fn(params, x, key):
        h = dense(params, x)
        return jnp.sum(h) + jnp.sum(WRAPPINGS[wrapping](ask)(h))

    assert "pure_callback" in refusal(ValueError, loss_fn, engine)


@every_engine
def test_ordered_callbacks(engine):
    def loss_fn(params, x, key):
        seen = io_callback(lambda: np.float32(1), jax.ShapeDtypeStruct((), jnp.float32))
        return seen * jnp.sum(dense(params, x))

    assert "io_callback" in refusal(ValueError, loss_fn, engine)


@every_engine
def test_batch_statistics_by_axis_name(engine):
    norm = nn.BatchNorm(use_running_average=False, axis_name="batch")
    variables = norm.init(KEY, jnp.ones((1, 3)))

    def loss_fn(params, x, key):
        out, _ = norm.apply({**variables, "params": params}, x[None], mutable=["batch_stats"])
        return jnp.sum(out**2)

    with jax.numpy_rank_promotion("allow"):
        assert "batch" in refusal(ValueError, loss_fn, engine, variables["params"])


@every_engine
@pytest.mark.parametrize("leaf", [jnp.arange(3), jnp.ones(3, bool), jnp.ones(3, jnp.complex64)])
def test_parameters_that_are_not_floating(engine, leaf):
    params = {**PARAMS, "table": {"counts": leaf}}
    message = refusal(TypeError, lambda p, x, key: jnp.sum(dense(p, x)), engine, params)
    assert "['table']['counts']" in message
    assert str(leaf.dtype) in message


@every_engine
def test_a_loss_that_is_not_a_scalar(engine):
    assert "(2,)" in refusal(TypeError, lambda p, x, key: dense(p, x), engine)
    assert "(1,)" in refusal(TypeError, lambda p, x, key: (jnp.sum(dense(p, x))[None], {"a": x[0]}), engine)


@every_engine
def test_a_loss_that_is_not_floating(engine):
    assert "int32" in refusal(TypeError, lambda p, x, key: jnp.sum(dense(p, x) > 0, dtype=jnp.int32), engine)


def test_bookkeeping_needs_a_gradient():
    def contribution(loss_fn):
        return client_delta(loss_fn, optax.sgd(0.1), num_steps=2)

    clients = Cohort(UnitData(jnp.ones((4, 2, 3)), jnp.ones((4, 2), bool)), jnp.ones(4, bool))
    loss_fn = lambda p, x, key: jnp.sum(dense(p, x))  # noqa: E731
    for kind in [contribution, lambda loss_fn: lambda p, unit, key: (p, {})]:
        message = refusal((TypeError, ValueError), loss_fn, "bookkeeping", PARAMS, kind, clients)
        assert "bookkeeping" in message
        assert "microbatch" in message
    clipped_sum(contribution(loss_fn), engine="auto")(PARAMS, clients, KEY, 1.0)


# --- What looks like the above, and is fine -------------------------------------------------------------------------


@every_engine
def test_collectives_over_a_units_own_positions(engine):
    def loss_fn(params, x, key):
        h = jax.vmap(lambda t: jax.lax.pmean(jnp.tanh(t * params["body"]["b"] + 1), "own"), axis_name="own")(x)
        return jnp.sum(h)

    out = clipped_sum(example_gradient(loss_fn), engine=engine)(PARAMS, COHORT, KEY, jnp.inf)
    expected = jax.grad(lambda p: sum(loss_fn(p, x, KEY) for x in COHORT.units[:3]))(PARAMS)
    np.testing.assert_allclose(out.total["body"]["b"], expected["body"]["b"], rtol=1e-5)


@every_engine
def test_printing_is_allowed(engine, capfd):
    def loss_fn(params, x, key):
        jax.debug.print("loss of {}", x[0])
        return jnp.sum(dense(params, x))

    out = clipped_sum(example_gradient(loss_fn), engine=engine)(PARAMS, COHORT, KEY, 1.0)
    assert int(out.num_rejected) == 0
