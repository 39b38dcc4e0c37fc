"""Parameter averaging: the averages that are promised, untouched updates, any optax state, any transform."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dpjax import Evaluation, HParams, averaged_params, example_gradient, make_train, parameter_ema, shuffled_sampler

GRADIENTS = jax.random.normal(jax.random.key(0), (12, 3))
START = {"w": jnp.array([1.0, -2.0, 0.5]), "b": jnp.float32(3.0)}


def walk(optimizer, steps=12, start=START):
    """Parameters after every update, and the last state."""
    params, state, path = start, optimizer.init(start), []
    for g in GRADIENTS[:steps]:
        updates, state = optimizer.update({"w": g, "b": g[0]}, state, params)
        params = optax.apply_updates(params, updates)
        path.append(params)
    return path, state


def close(a, b, rtol=2e-5):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=rtol, atol=1e-6), a, b)


@settings(max_examples=20, deadline=None)
@given(decay=st.floats(0, 1), steps=st.integers(1, 12))
def test_without_warm_up_it_is_the_normalised_weighted_mean_of_what_followed_each_update(decay, steps):
    path, state = walk(optax.chain(optax.sgd(0.3), parameter_ema(decay, warm_up=False)), steps)
    weights = np.array([decay ** (steps - 1 - k) for k in range(steps)])
    expected = sum(w * np.float64(p["w"]) for w, p in zip(weights / weights.sum(), path, strict=True))
    np.testing.assert_allclose(averaged_params(state)["w"], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("decay", [0.0, 0.3, 0.999])
def test_warm_up_forgets_the_start_as_published(decay):
    path, state = walk(optax.chain(optax.sgd(0.3), parameter_ema(decay)))
    average = np.float64(START["w"])
    for t, params in enumerate(path):
        d = min(decay, (1 + t) / (10 + t))
        average = d * average + (1 - d) * np.float64(params["w"])
    np.testing.assert_allclose(averaged_params(state)["w"], average, rtol=1e-5, atol=1e-6)


def test_updates_pass_through():
    plain, _ = walk(optax.sgd(0.3))
    averaged, _ = walk(optax.chain(optax.sgd(0.3), parameter_ema(0.9)))
    jax.tree.map(np.testing.assert_array_equal, plain, averaged)


def test_a_decay_of_zero_is_the_latest_parameters():
    path, state = walk(optax.chain(optax.sgd(0.3), parameter_ema(0.0)))
    close(averaged_params(state), path[-1])


@pytest.mark.parametrize(
    "wrap",
    [
        lambda ema: optax.chain(optax.chain(optax.sgd(0.3)), optax.chain(optax.identity(), ema)),
        lambda ema: optax.inject_hyperparams(
            lambda learning_rate: optax.chain(optax.scale_by_learning_rate(learning_rate), ema)
        )(learning_rate=0.3),
        lambda ema: optax.named_chain(("sgd", optax.sgd(0.3)), ("ema", ema)),
    ],
)
def test_the_average_is_found_in_any_nest(wrap):
    _, expected = walk(optax.chain(optax.sgd(0.3), parameter_ema(0.9)))
    _, state = walk(wrap(parameter_ema(0.9)))
    close(averaged_params(state), averaged_params(expected))


@pytest.mark.parametrize(
    "optimizer", [optax.sgd(0.1), optax.chain(parameter_ema(0.9), optax.sgd(0.1), parameter_ema(0.5))]
)
def test_none_or_two_averages_are_an_error(optimizer):
    with pytest.raises(ValueError, match=r"holds [02] averages"):
        averaged_params(optimizer.init(START))


def test_scan_jit_and_vmap_over_decay_agree_with_a_loop():
    decays = jnp.array([0.0, 0.5, 0.99])

    def run(decay):
        optimizer = optax.chain(optax.sgd(0.3), parameter_ema(decay))

        def step(carry, g):
            params, state = carry
            updates, state = optimizer.update({"w": g, "b": g[0]}, state, params)
            return (optax.apply_updates(params, updates), state), None

        (_, state), _ = jax.lax.scan(step, (START, optimizer.init(START)), GRADIENTS)
        return averaged_params(state)

    lanes = jax.jit(jax.vmap(run))(decays)
    for i, decay in enumerate(decays):
        _, state = walk(optax.chain(optax.sgd(0.3), parameter_ema(float(decay))))
        close(jax.tree.map(lambda x, i=i: x[i], lanes), averaged_params(state))


def test_bfloat16_parameters_are_averaged_in_float32():
    params = {"w": jnp.ones(3, jnp.bfloat16)}
    optimizer = parameter_ema(0.999, warm_up=False)
    state = optimizer.init(params)
    for _ in range(3):
        updates, state = optimizer.update({"w": jnp.full(3, 1e-2, jnp.bfloat16)}, state, params)
        params = optax.apply_updates(params, updates)
    average = averaged_params(state)["w"]
    assert average.dtype == jnp.float32
    assert 1.0 < float(average[0]) < float(params["w"][0])


def training(optimizer, params=None):
    return make_train(
        lambda key: jnp.zeros(3),
        example_gradient(lambda w, x, key: jnp.sum((w - x) ** 2)),
        GRADIENTS,
        sampler=shuffled_sampler(12, 4),
        num_steps=9,
        make_optimizer=optimizer,
        evaluation=Evaluation(lambda params: params, every=3, params=params),
    )


def test_a_run_evaluates_the_average_when_asked_and_trains_as_before():
    hparams, key = HParams(learning_rate=0.1, clip_norm=1.0, noise_multiplier=1.0), jax.random.key(1)
    optimizer = lambda h: optax.chain(optax.sgd(h.learning_rate), parameter_ema(0.9))  # noqa: E731
    state, history = jax.jit(training(optimizer, averaged_params))(hparams, key)
    plain, plain_history = jax.jit(training(optimizer))(hparams, key)
    np.testing.assert_array_equal(state.params, plain.params)
    np.testing.assert_allclose(history.evaluations[-1], averaged_params(state), rtol=1e-6)
    np.testing.assert_array_equal(plain_history.evaluations[-1], plain.params)
    assert not np.allclose(history.evaluations, plain_history.evaluations)


def test_a_run_without_an_average_to_evaluate_is_an_error():
    with pytest.raises(ValueError, match="parameter_ema"):
        training(lambda h: optax.sgd(h.learning_rate), averaged_params)(HParams(), jax.random.key(0))


@pytest.mark.parametrize("decay", [-0.1, 1.1, float("nan")])
def test_bad_decays_are_named(decay):
    with pytest.raises(ValueError, match=f"decay={decay}"):
        parameter_ema(decay)


def test_the_parameters_are_needed():
    optimizer = parameter_ema(0.9)
    with pytest.raises(ValueError, match=r"optimizer\.update\(gradients, state, params\)"):
        optimizer.update(START, optimizer.init(START))
