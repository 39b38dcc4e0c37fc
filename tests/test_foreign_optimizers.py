"""Optimizers that ask for more than a noised mean and the parameters train, or are refused in one sentence."""

import jax
import jax.numpy as jnp
import optax
import pytest
from optax import contrib

from dpjax import HParams, example_gradient, fixed_size_sampler, make_train

TRAINED = {
    "apply if finite": optax.apply_if_finite(optax.adam(0.1), 3),
    "lbfgs without a line search": optax.lbfgs(0.1, linesearch=None),
    "accumulating": optax.MultiSteps(optax.adam(0.1), 2).gradient_transformation(),
    "injected": optax.inject_hyperparams(optax.sgd)(0.1),
    "muon": contrib.muon(0.1),
    "prodigy": contrib.prodigy(0.1),
}
REFUSED = {
    "lbfgs": optax.lbfgs(),
    "line search": optax.chain(optax.scale_by_backtracking_linesearch(5), optax.sgd(0.1)),
    "plateau": optax.chain(optax.sgd(0.1), contrib.reduce_on_plateau()),
    "polyak": optax.polyak_sgd(0.1),
    "momo": contrib.momo(0.1),
    "sophia": contrib.sophia(0.1),
    "lookahead": optax.lookahead(optax.sgd(0.1), 5, 0.5),
    "other shapes": optax.stateless(lambda updates, params: jax.tree.map(lambda x: jnp.stack([x, x]), updates)),
    "growing state": optax.GradientTransformation(
        lambda params: (), lambda updates, state, params=None: (updates, 1.0)
    ),
}


def run(optimizer):
    train = make_train(
        lambda key: {"w": jnp.zeros((2, 2)), "b": jnp.zeros(2)},
        example_gradient(lambda p, x, key: jnp.sum((p["w"] @ x + p["b"] - 1) ** 2)),
        jnp.ones((16, 2)),
        sampler=fixed_size_sampler(16, 8),
        num_steps=3,
        make_optimizer=lambda h: optimizer,
    )
    return jax.jit(train)(HParams(noise_multiplier=0.1), jax.random.key(0))[0].params


@pytest.mark.parametrize("name", TRAINED)
@jax.numpy_dtype_promotion("standard")  # optax's own
@jax.numpy_rank_promotion("allow")
def test_it_trains(name):
    params = run(TRAINED[name])
    assert all(bool(jnp.isfinite(x).all()) and bool((x != 0).any()) for x in jax.tree.leaves(params))


@pytest.mark.parametrize("name", REFUSED)
@jax.numpy_dtype_promotion("standard")
@jax.numpy_rank_promotion("allow")
def test_it_is_refused_in_one_sentence(name):
    with pytest.raises(TypeError) as caught:
        run(REFUSED[name])
    said = str(caught.value)
    assert said.startswith("the optimizer")
    assert said.endswith(", such as optax.adam.")
    assert "\n" not in said
    assert len(said) < 500
