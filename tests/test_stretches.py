"""A run in stretches is the run: equal to the last bit wherever it is cut, and to the whole within rounding."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dpjax import HParams, adaptive_clipping, example_gradient, make_train, poisson_sampler
from dpjax.accounting import Participation, banded_toeplitz
from dpjax.correlated_noise import correlated_privatizer
from dpjax.sampling import cyclic_sampler
from dpjax.training import Evaluation

X = np.random.default_rng(0).normal(size=(96, 4)).astype(np.float32)
Y = (X @ np.arange(4.0) > 0).astype(np.float32)
STEPS = 23
POINT = HParams(learning_rate=0.3, clip_norm=0.7, noise_multiplier=1.3), jax.random.key(5)


def loss_fn(params, row, key):
    x, y = row
    logit = jnp.tanh(x @ params["w"]) @ params["v"] + 0.01 * jax.random.normal(key)
    return jnp.logaddexp(0.0, -(2 * y - 1) * logit), {"logit": logit}


def init(key):
    return {"w": jax.random.normal(key, (4, 3)), "v": jnp.zeros(3)}


def run_of(kind, every):
    sampler, noise = poisson_sampler(96, 0.25, num_steps=STEPS), None
    optimizer = partial(optax.sgd, momentum=0.9)
    if kind == "adaptive":
        noise = adaptive_clipping(0.5, 0.2)
    if kind == "correlated":
        sampler = cyclic_sampler(96, 24)
        participation = Participation.from_sampler(sampler, STEPS)
        noise = partial(correlated_privatizer, factorization=banded_toeplitz(participation, 4))
    looks = Evaluation(lambda params: {"size": jnp.sum(params["w"] ** 2)}, every=every)
    return make_train(
        init,
        example_gradient(loss_fn),
        (X, Y),
        sampler=sampler,
        num_steps=STEPS,
        make_optimizer=lambda h: optimizer(h.learning_rate),
        evaluation=looks,
        **({} if noise is None else {"noise": noise}),
    )


def in_stretches(train, cuts, point=POINT, wrap=jax.jit):
    begin, advance, finish = wrap(train.begin), wrap(train.advance), wrap(train.finish)
    progress, start = begin(*point), 0
    for stop in [*cuts, STEPS]:
        progress, start = advance(progress, start, stop, *point), stop
    return finish(progress, *point)


def bits(tree):
    leaves = [
        jax.random.key_data(x) if jnp.issubdtype(x.dtype, jax.dtypes.prng_key) else x for x in jax.tree.leaves(tree)
    ]
    return [np.asarray(x).tobytes() for x in leaves]


@pytest.mark.parametrize("every", [1, 5, 23, 40])
@pytest.mark.parametrize("kind", ["independent", "adaptive", "correlated"])
def test_cuts_change_no_bit_and_the_whole_is_the_same_run(kind, every):
    train = run_of(kind, every)
    once = in_stretches(train, [])
    for cuts in ([1], [7, 8, 20], list(range(1, STEPS))):
        assert bits(in_stretches(train, cuts)) == bits(once)
    whole = jax.jit(train)(*POINT)
    assert jax.tree.structure(whole) == jax.tree.structure(once)
    for a, b in zip(
        jax.tree.leaves((whole[0].params, whole[1])), jax.tree.leaves((once[0].params, once[1])), strict=True
    ):
        assert a.shape == b.shape
        assert a.dtype == b.dtype
        np.testing.assert_allclose(np.asarray(a, np.float64), np.asarray(b, np.float64), rtol=2e-5, atol=2e-6)


def test_one_program_serves_every_length():
    train, compiled = run_of("independent", 5), []

    def advance(*arguments):
        compiled.append(1)
        return train.advance(*arguments)

    jitted = jax.jit(advance)
    progress = jax.jit(train.begin)(*POINT)
    for start, stop in ((0, 1), (1, 9), (9, 10), (10, 23)):
        progress = jitted(progress, start, stop, *POINT)
    assert len(compiled) == 1


def test_lanes_are_cut_alike():
    train = run_of("independent", 5)
    points = jax.tree.map(lambda *x: jnp.stack(x), HParams(0.3, 0.7, 1.3), HParams(0.1, 0.2, 2.0))
    keys = jax.random.split(jax.random.key(1), 2)

    def wrap(function):
        if function == train.advance:
            return jax.jit(jax.vmap(function, in_axes=(0, None, None, 0, 0)))
        return jax.jit(jax.vmap(function, in_axes=(0,) * (2 if function == train.begin else 3)))

    once = in_stretches(train, [], (points, keys), wrap)
    assert bits(in_stretches(train, [4, 11], (points, keys), wrap)) == bits(once)
    alone = in_stretches(train, [], (jax.tree.map(lambda x: x[1], points), keys[1]))
    np.testing.assert_allclose(once[0].params["w"][1], alone[0].params["w"], rtol=1e-5)
