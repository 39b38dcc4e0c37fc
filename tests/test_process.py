"""The process that is taken round by round equals the run that is scanned."""

import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dpjax import (
    Cohort,
    HParams,
    Participation,
    Summing,
    UnitData,
    adaptive_clipping,
    banded_toeplitz,
    correlated_privatizer,
    draw_cohort,
    fixed_size_sampler,
    flat_clipping,
    gaussian_privatizer,
    make_train,
    per_layer_clipping,
)
from dpjax.federated import (
    ServerState,
    adaptive_fedprox,
    build_federated_averaging_process,
    count_sketch,
    fedavg,
    personalized,
    quantized,
    random_k,
    remember_residual,
    scaffold,
    secure_aggregation,
    top_k,
)
from dpjax.models import cross_entropy_loss, logistic

KEY = jax.random.key(0)
MODEL = logistic(num_classes=3, input_shape=(6,))
LOSS_FN = cross_entropy_loss(MODEL)
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
    solver = {
        "fedavg": fedavg(LOSS_FN, optax.sgd(0.3), num_steps=3),
        "scaffold": scaffold(LOSS_FN, learning_rate=0.3, num_steps=3, participation=1.0),
    }[name]
    process = build_federated_averaging_process(
        MODEL, solver, optax.sgd(1.0, momentum=0.5), expected_clients=8, clip_norm=0.5, num_clients=8
    )
    state, metrics = by_rounds(process, 4, clients=jnp.arange(8))
    train = make_train(
        MODEL.init,
        solver,
        CLIENTS,
        sampler=fixed_size_sampler(8, 8),
        num_steps=4,
        make_optimizer=lambda h: optax.sgd(1.0, momentum=0.5),
    )
    whole, history = jax.jit(train)(HParams(clip_norm=0.5), KEY)
    # Zero at the start, the whole client in each local step, and everyone in each round: no key matters.
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6),
        process.model_of(state),
        solver.model_of(whole.params),
    )
    assert float(metrics["loss"]) == pytest.approx(float(history.steps["loss"][-1]), rel=1e-5)
    assert int(state.train.step) == 4


NOISES = {
    "gaussian": gaussian_privatizer,
    "correlated": partial(
        correlated_privatizer,
        factorization=banded_toeplitz(Participation(5, max_participations=5, min_separation=1), 2),
    ),
    "adaptive": adaptive_clipping(0.6, 0.5, count_stddev=0.6),
}
SOLVERS = {
    "fedavg": fedavg(LOSS_FN, optax.sgd(0.3), num_steps=2, batch_size=2),
    "scaffold": scaffold(LOSS_FN, learning_rate=0.3, num_steps=2, participation=0.5),
    "personalized": personalized(LOSS_FN, optax.sgd(0.3), personal=lambda path: "bias" in path, num_steps=2),
}
SOLVERS["sketched"] = count_sketch(SOLVERS["personalized"], rows=2, columns=5, key=KEY)


@pytest.mark.parametrize(
    ("solver", "noise"),
    [("fedavg", "gaussian"), ("scaffold", "adaptive"), ("scaffold", "correlated"), ("sketched", "correlated")],
)
def test_by_rounds_of_its_cohorts_it_is_make_train_under_each_noise(solver, noise):
    """The same keys and the same cohorts, so the same clients, local batches, noise and clip norms."""
    sampler, hparams = fixed_size_sampler(8, 4), HParams(clip_norm=0.2, noise_multiplier=1.0)
    sums = {"sum_factory": Summing(per_layer_clipping() if noise != "adaptive" else flat_clipping())}
    given = {"noise": NOISES[noise], **sums}
    server = optax.sgd(0.5, momentum=0.5)
    train = make_train(
        MODEL.init, SOLVERS[solver], CLIENTS, sampler=sampler, num_steps=5, make_optimizer=lambda h: server, **given
    )
    whole, history = jax.jit(train)(hparams, KEY)

    process = build_federated_averaging_process(
        MODEL, SOLVERS[solver], server, expected_clients=4, clip_norm=0.2, noise_multiplier=1.0, num_clients=8, **given
    )
    _, sampling_key, contribution_key, noise_key = jax.random.split(KEY, 4)
    state = process.initialize(KEY)
    privatizer_state = state.train.privatizer_state._replace(key=noise_key)
    start = state.train._replace(privatizer_state=privatizer_state)
    state, advance = ServerState(start, noise_key, contribution_key), jax.jit(process.next)
    for step in range(5):
        cohort, _ = draw_cohort(sampler, sampling_key, step, (jnp.arange(8, dtype=jnp.int32), CLIENTS))
        index, units = cohort.units
        state, metrics = advance(state, cohort._replace(units=units), index)
        assert float(metrics["clip_norm"]) == pytest.approx(float(history.steps["clip_norm"][step]), rel=1e-6)
    assert history.steps["clip_norm"][-1] != 0.2 or noise != "adaptive"
    close = partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6)
    jax.tree.map(close, state.train.params, whole.params)
    jax.tree.map(close, state.train.unit_states, whole.unit_states)


def compressed(solver, name):
    send = solver.contribution_fn
    return {
        "quantized": lambda: solver._replace(contribution_fn=quantized(send, 4)),
        "random_k": lambda: solver._replace(contribution_fn=random_k(send, 0.5)),
        "top_k": lambda: solver._replace(contribution_fn=top_k(send, 0.5)),
        "top_k, fed back": lambda: solver._replace(
            contribution_fn=top_k(send, 0.5, error_feedback=True),
            init_unit_state=remember_residual(solver.init_unit_state, solver.message_like),
        ),
        "sketch": lambda: count_sketch(solver, rows=2, columns=5, key=KEY),
    }[name]()


@pytest.mark.parametrize("compression", ["quantized", "random_k", "top_k", "top_k, fed back", "sketch"])
@pytest.mark.parametrize("solver", ["fedavg", "scaffold", "personalized", "proximal"])
def test_noise_that_remembers_is_begun_in_the_shape_of_every_message(solver, compression):
    proximal = adaptive_fedprox(LOSS_FN, optax.sgd(0.3), num_steps=2)
    learner = compressed((SOLVERS | {"proximal": proximal})[solver], compression)
    process = build_federated_averaging_process(
        MODEL, learner, optax.sgd(1.0), expected_clients=8, clip_norm=1.0, noise_multiplier=1.0,
        noise=NOISES["correlated"], num_clients=8,
    )  # fmt: skip
    state = process.initialize(KEY)
    after, _ = jax.eval_shape(process.next, state, EVERYONE, jnp.arange(8))
    shapes = [jax.tree.map(lambda x: (x.shape, x.dtype), tree) for tree in (state, after)]
    assert shapes[0] == shapes[1]


def test_a_solver_that_misstates_its_message_is_refused_where_noise_goes_by_it():
    learner = SOLVERS["sketched"]._replace(message_like=lambda carried: carried)
    options = {"expected_clients": 8, "clip_norm": 1.0, "noise_multiplier": 1.0, "num_clients": 8}
    for name in ("gaussian", "correlated"):
        process = build_federated_averaging_process(
            MODEL, learner, optax.sgd(1.0), noise=NOISES[name], **options
        )  # fmt: skip
        arguments = process.initialize(KEY), EVERYONE, jnp.arange(8)
        if name == "gaussian":
            jax.eval_shape(process.next, *arguments)
            continue
        with pytest.raises(TypeError, match=r"not shaped as learner\.message_like says"):
            jax.eval_shape(process.next, *arguments)


def test_adaptive_clipping_does_not_take_weighted_clients_for_a_count():
    process = build_federated_averaging_process(
        MODEL, SOLVERS["fedavg"], optax.sgd(1.0), expected_clients=4, clip_norm=1.0, noise=NOISES["adaptive"]
    )
    with pytest.raises(ValueError, match=r"weights are given with noise=adaptive_clipping.*expected_clients=4"):
        process.next(process.initialize(KEY), EVERYONE._replace(weights=jnp.full(8, 0.5)))


def test_it_adds_fresh_noise_in_every_round_and_takes_other_aggregations():
    process = build_federated_averaging_process(
        MODEL,
        fedavg(LOSS_FN, optax.sgd(0.3), num_steps=1),
        optax.sgd(1.0),
        expected_clients=8,
        clip_norm=1e-6,
        noise_multiplier=1e6,
        sum_factory=Summing(aggregation=secure_aggregation(threshold=4, masks=False)),
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
        ({"clip_norm": 0.0}, "clip_norm=0.0 must be ≥ 1e-12"),
        ({"num_clients": 0}, "num_clients=0 must be ≥ 1"),
        (
            {"learner": scaffold(LOSS_FN, learning_rate=1.0, num_steps=1, participation=0.5)},
            "num_clients=None, but these clients remember something",
        ),
    ],
)
def test_bad_settings_are_named(options, words):
    settings = {"learner": fedavg(LOSS_FN, optax.sgd(0.1), num_steps=1), "expected_clients": 4} | options
    with pytest.raises(ValueError, match=words):
        build_federated_averaging_process(model=MODEL, server_optimizer=optax.sgd(1.0), **settings)


def test_a_sum_factory_that_makes_no_sum_is_named_as_by_make_train():
    given = {"learner": fedavg(LOSS_FN, optax.sgd(0.1), num_steps=1), "expected_clients": 4}
    given |= {"model": MODEL, "server_optimizer": optax.sgd(1.0)}
    with pytest.raises(TypeError, match=r"what sum_factory\(contribution\) returns=None must be a function"):
        build_federated_averaging_process(**given, sum_factory=lambda contribution: None)
    process = build_federated_averaging_process(**given, sum_factory=lambda contribution: lambda *a: None)
    with pytest.raises(TypeError, match=r"what sum_factory\(contribution\) returns=None must be of type ClippedSum"):
        process.next(process.initialize(KEY), EVERYONE)


def test_clients_that_remember_must_be_named():
    process = build_federated_averaging_process(
        MODEL,
        scaffold(LOSS_FN, learning_rate=0.1, num_steps=1, participation=1.0),
        optax.sgd(1.0),
        expected_clients=8,
        num_clients=8,
    )
    with pytest.raises(ValueError, match="clients=None, but these clients remember"):
        process.next(process.initialize(KEY), EVERYONE)
    assert math.isinf(float(process.initialize(KEY).train.clip_norm))
