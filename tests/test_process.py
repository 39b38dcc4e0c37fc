"""The process that is taken round by round equals the run that is scanned."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dpjax import Cohort, HParams, UnitData, fixed_size_sampler, make_train
from dpjax.federated import build_federated_averaging_process, fedavg, scaffold, secure_aggregation
from dpjax.models import cross_entropy_loss, logistic

KEY = jax.random.key(0)
MODEL = logistic(num_classes=3, input_shape=(6,))
RNG = np.random.default_rng(0)
CLIENTS = UnitData(
    (jnp.asarray(RNG.normal(size=(8, 5, 6)), jnp.float32), jnp.asarray(RNG.integers(0, 3, (8, 5)), jnp.int32)),
    jnp.asarray(RNG.random((8, 5)) < 0.9),
)
EVERYONE = Cohort(CLIENTS, jnp.ones(8, bool))


def by_rounds(process, rounds, **options):
    state, advance = process.initialize(KEY), jax.jit(process.next)
    for _ in range(rounds):
        state, metrics = advance(state, EVERYONE, **options)
    return state, metrics


@pytest.mark.parametrize("name", ["fedavg", "scaffold"])
def test_it_is_the_run_that_make_train_scans(name):
    def solver(loss):
        if name == "fedavg":
            return fedavg(loss, optax.sgd(0.3), num_steps=3)
        return scaffold(loss, learning_rate=0.3, num_steps=3, participation=1.0)

    process = build_federated_averaging_process(
        MODEL,
        optax.sgd(0.3),
        optax.sgd(1.0, momentum=0.5),
        expected_clients=8,
        num_steps=3,
        clip_norm=0.5,
        solver=None if name == "fedavg" else solver,
        num_clients=8,
    )
    state, metrics = by_rounds(process, 4, clients=jnp.arange(8))
    algorithm = solver(cross_entropy_loss(MODEL))
    train = make_train(
        lambda key: algorithm.init(MODEL.init(key)),
        algorithm.contribution_fn,
        CLIENTS,
        sampler=fixed_size_sampler(8, 8),
        num_steps=4,
        make_optimizer=lambda h: algorithm.wrap_optimizer(optax.sgd(1.0, momentum=0.5)),
        init_unit_state=algorithm.init_unit_state,
    )
    whole, history = jax.jit(train)(HParams(clip_norm=0.5), KEY)
    # Zero at the start, the whole client in each local step, and everyone in each round: no key matters.
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6),
        process.model_of(state),
        algorithm.model_of(whole.params),
    )
    assert float(metrics["loss"]) == pytest.approx(float(history.steps["loss"][-1]), rel=1e-5)
    assert int(state.train.step) == 4


def test_it_adds_fresh_noise_in_every_round_and_takes_other_aggregations():
    process = build_federated_averaging_process(
        MODEL,
        optax.sgd(0.3),
        optax.sgd(1.0),
        expected_clients=8,
        num_steps=1,
        clip_norm=1e-6,
        noise_multiplier=1e6,
        aggregation=secure_aggregation(threshold=4, masks=False),
    )
    one, _ = by_rounds(process, 1)
    two, metrics = by_rounds(process, 2)
    first = process.model_of(one)["head"]["kernel"]
    second = process.model_of(two)["head"]["kernel"] - first
    # Noise of deviation 1 on the sum, so 1/8 on the mean; 18 numbers a round.
    assert abs(float(jnp.std(first)) - 1 / 8) < 4 / 8 / 36**0.5
    assert abs(float(jnp.corrcoef(first.ravel(), second.ravel())[0, 1])) < 4 / 18**0.5
    assert float(metrics["aborted"]) == 0


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"expected_clients": 0}, "expected_clients=0 must be finite and > 0"),
        ({"noise_multiplier": 1.0}, "clip_norm=inf bounds nothing"),
        ({"noise_multiplier": -1.0, "clip_norm": 1.0}, "noise_multiplier=-1.0 must be finite and ≥ 0"),
        ({"noise_multiplier": math.inf, "clip_norm": 1.0}, "noise_multiplier=inf must be finite and ≥ 0"),
        ({"clip_norm": 0.0}, "clip_norm=0.0 must be > 0"),
        ({"num_clients": 0}, "num_clients=0 must be ≥ 1"),
        (
            {"solver": lambda loss: scaffold(loss, learning_rate=1.0, num_steps=1, participation=0.5)},
            "num_clients=None, but these clients remember something",
        ),
    ],
)
def test_bad_settings_are_named(options, words):
    settings = {"expected_clients": 4, "num_steps": 1} | options
    with pytest.raises(ValueError, match=words):
        build_federated_averaging_process(MODEL, optax.sgd(0.1), optax.sgd(1.0), **settings)


def test_clients_that_remember_must_be_named():
    process = build_federated_averaging_process(
        MODEL,
        optax.sgd(0.1),
        optax.sgd(1.0),
        expected_clients=8,
        num_clients=8,
        solver=lambda loss: scaffold(loss, learning_rate=0.1, num_steps=1, participation=1.0),
    )
    with pytest.raises(ValueError, match="clients=None, but these clients remember"):
        process.next(process.initialize(KEY), EVERYONE)
    assert math.isinf(float(process.initialize(KEY).train.clip_norm))
