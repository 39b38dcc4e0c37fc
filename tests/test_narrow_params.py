"""Parameters narrower than float32 train under any optimizer; nothing sticks at the precision of bfloat16."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dpjax import HParams, example_gradient, fixed_size_sampler, make_train
from dpjax.optimizers import scale_by_corrected_adam

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
    for dtype in (jnp.float32, jnp.bfloat16):
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
    np.testing.assert_allclose(ends[1], ends[0], atol=0.02)


def test_the_second_moment_does_not_stick():
    optimizer = scale_by_corrected_adam(0.0)
    gradient = jnp.ones(1, jnp.bfloat16)

    def step(state, _):
        return optimizer.update(gradient, state)[1], None

    state, _ = jax.lax.scan(step, optimizer.init(gradient), length=1000)
    assert float(jax.tree.leaves(state)[2][0]) == pytest.approx(1 - 0.999**1000, rel=1e-3)
