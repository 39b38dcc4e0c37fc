"""Compressed messages: without bias where they say so, counted in bytes, and bounded by the kernel like any other."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dpjax import Cohort, HParams, Summing, UnitData, clipped_sum, fixed_size_sampler, make_train
from dpjax.federated import (
    count_sketch,
    dropouts,
    fedavg,
    quantized,
    random_k,
    remember_residual,
    scaffold,
    secure_aggregation,
    top_k,
)

KEY = jax.random.key(0)
RNG = np.random.default_rng(0)
VECTOR = jnp.asarray(RNG.normal(size=40), jnp.float32)


def send(params, unit, key):
    return unit, {}


def draws(contribution, number=4000):
    keys = jax.random.split(KEY, number)
    return np.asarray(jax.jit(jax.vmap(lambda k: contribution(VECTOR, VECTOR, k)[0]))(keys))


@pytest.mark.parametrize("bits", [2, 4, 8, 16])
def test_quantized_messages_lie_on_the_grid_without_bias(bits):
    messages = draws(quantized(send, bits))
    scale, steps = float(jnp.abs(VECTOR).max()), 2 ** (bits - 1) - 1
    places = messages / scale * steps
    np.testing.assert_allclose(places, places.round(), atol=1e-2 if bits == 16 else 1e-4)
    error = np.abs(messages.mean(0, dtype=np.float64) - np.asarray(VECTOR))
    assert error.max() < 4.5 * scale / steps / 2 / np.sqrt(len(messages)) + 1e-6
    assert messages.var(0, dtype=np.float64).max() <= (scale / steps) ** 2 / 4 * 1.05 + 1e-9


def test_random_coordinates_stand_for_all_without_bias():
    messages = draws(random_k(send, 0.25))
    assert ((messages != 0).sum(1) == 10).all()
    spread = np.abs(np.asarray(VECTOR)) * np.sqrt(3 / len(messages))
    assert (np.abs(messages.mean(0) - np.asarray(VECTOR)) < 4.5 * spread).all()


def test_the_largest_are_kept_whole():
    message = np.asarray(top_k(send, 0.25)((), VECTOR, KEY)[0])
    kept = np.argsort(-np.abs(np.asarray(VECTOR)))[:10]
    np.testing.assert_array_equal(np.flatnonzero(message), np.sort(kept))
    np.testing.assert_array_equal(message[kept], np.asarray(VECTOR)[kept])


@pytest.mark.parametrize(
    ("compress", "price"),
    [
        (lambda c: quantized(c, 4), 40 * 4 / 8 + 4),
        (lambda c: random_k(c, 0.1), 4 * 4 + 4),
        (lambda c: top_k(c, 0.1), 4 * 4 + 3),  # four places of 6 bits
        (lambda c: top_k(c, 1.0), 4 * 40 + 5),  # a map of 40 bits is less than 40 places
        (lambda c: count_sketch(c, rows=3, columns=5, key=KEY).contribution_fn, 60),
    ],
)
def test_bytes_are_counted_and_nothing_is_compressed_twice(compress, price):
    assert float(compress(send)(VECTOR, VECTOR, KEY)[1].uplink_bytes) == price
    with pytest.raises(ValueError, match="compressed twice"):
        compress(quantized(send, 4))(VECTOR, VECTOR, KEY)


COMPRESSIONS = {
    "quantized": lambda c: quantized(c, 4),
    "random_k": lambda c: random_k(c, 0.2),
    "top_k": lambda c: top_k(c, 0.2),
    "sketch": lambda c: count_sketch(c, rows=3, columns=20, key=KEY).contribution_fn,
}


@pytest.mark.parametrize("name", COMPRESSIONS)
def test_a_message_is_clipped_after_it_is_compressed(name):
    """Neighbours differ by at most the clip norm, and a message that is not finite is rejected, not repaired."""
    fun = jax.jit(clipped_sum(COMPRESSIONS[name](send)))
    rows = jnp.asarray(RNG.normal(size=(6, 40)) * 50, jnp.float32)
    params, everyone = jnp.zeros(40), jnp.ones(6, bool)
    whole = fun(params, Cohort(rows, everyone), KEY, 0.5).total
    for i in range(6):
        without = fun(params, Cohort(rows, everyone.at[i].set(False)), KEY, 0.5).total
        assert float(jnp.linalg.norm(whole - without)) <= 0.5 * (1 + 1e-5)
    broken = fun(params, Cohort(rows.at[2, 7].set(jnp.inf), everyone), KEY, 0.5)
    assert int(broken.num_rejected) == 1
    np.testing.assert_allclose(broken.total, fun(params, Cohort(rows, everyone.at[2].set(False)), KEY, 0.5).total)


def quadratic(w, example, key):
    return 0.5 * jnp.sum((w - example) ** 2)


CLIENTS = UnitData(jnp.asarray(RNG.normal(size=(10, 1, 30)), jnp.float32), jnp.ones((10, 1), bool))


def run(solver, rounds=60, aggregation=None, clients=CLIENTS, **options):
    train = make_train(
        lambda key: jnp.zeros(clients.examples.shape[-1]),
        solver,
        clients,
        sampler=fixed_size_sampler(10, 10),
        num_steps=rounds,
        make_optimizer=lambda h: optax.sgd(h.learning_rate),
        sum_factory=Summing(aggregation=aggregation),
    )
    hparams = HParams(**{"learning_rate": 1.0, "clip_norm": float("inf")} | options)
    state, history = jax.jit(train)(hparams, KEY)
    optimum = np.asarray(clients.examples).mean((0, 1))
    return float(np.linalg.norm(np.asarray(solver.model_of(state.params)) - optimum)), state, history


def test_error_feedback_sends_later_what_it_kept_back():
    """Of 30 coordinates one is sent: what a client never says by itself is said with error feedback."""
    solver = fedavg(quadratic, optax.sgd(0.1), num_steps=1)
    lossy = solver._replace(contribution_fn=top_k(solver.contribution_fn, 0.03))
    fed_back = solver._replace(
        contribution_fn=top_k(solver.contribution_fn, 0.03, error_feedback=True),
        init_unit_state=remember_residual(solver.init_unit_state),
    )
    plain_error = run(lossy, 600, learning_rate=0.5)[0]
    error, state, _ = run(fed_back, 600, learning_rate=0.5)
    assert error < 0.7 * plain_error
    assert state.unit_states.residual.shape == (10, 30)


def test_what_a_client_keeps_back_and_sends_is_all_that_it_had():
    contribution = top_k(send_stateful, 0.2, error_feedback=True)
    residual, sent = jnp.zeros(40), jnp.zeros(40)
    from dpjax.federated.compression import Residual
    from dpjax.types import Stateful

    for _ in range(7):
        message, report = contribution(VECTOR, Stateful(VECTOR, Residual(residual, ())), KEY)
        residual, sent = report.unit_state.residual, sent + message
    np.testing.assert_allclose(sent + residual, 7 * VECTOR, rtol=1e-5, atol=1e-5)


def send_stateful(params, unit, key):
    return unit, {}


def test_a_lost_client_keeps_its_residual():
    solver = fedavg(quadratic, optax.sgd(0.1), num_steps=1)
    fed_back = solver._replace(
        contribution_fn=top_k(solver.contribution_fn, 0.1, error_feedback=True),
        init_unit_state=remember_residual(solver.init_unit_state),
    )
    assert float(jnp.abs(run(fed_back, 3, dropouts(1.0))[1].unit_states.residual).max()) == 0
    assert float(jnp.abs(run(fed_back, 3)[1].unit_states.residual).max()) > 0


def test_scaffold_remembers_its_variate_beside_the_residual():
    solver = scaffold(quadratic, learning_rate=0.1, num_steps=2, participation=1.0)
    both = solver._replace(
        contribution_fn=top_k(solver.contribution_fn, 1.0, error_feedback=True),
        init_unit_state=remember_residual(solver.init_unit_state),
    )
    error, state, _ = run(both, 40)
    assert abs(error - run(solver, 40)[0]) < 1e-4
    assert float(jnp.abs(state.unit_states.residual.model).max()) == 0
    assert float(jnp.abs(jax.tree.leaves(state.unit_states.state)[0]).max()) > 0


def test_error_feedback_without_a_residual_is_refused():
    solver = fedavg(quadratic, optax.sgd(0.1), num_steps=1)
    with pytest.raises(TypeError, match="needs Solver"):
        run(solver._replace(contribution_fn=top_k(solver.contribution_fn, 0.1, error_feedback=True)), 1)


# ---- sketches ------------------------------------------------------------------------------------------------------


def test_a_sketch_is_without_bias_over_hashes_and_as_long_as_the_message():
    def both_ways(key):
        sketched = count_sketch(send, rows=1, columns=10, key=key)
        table, _ = sketched.contribution_fn(VECTOR, VECTOR, KEY)
        optimizer = sketched.wrap_optimizer(optax.sgd(1.0))
        updates, _ = optimizer.update(table, optimizer.init(VECTOR), VECTOR)
        return -updates, jnp.sum(table**2)

    decoded, lengths = map(np.asarray, jax.jit(jax.vmap(both_ways))(jax.random.split(KEY, 300)))
    length = float(jnp.linalg.norm(VECTOR))
    assert np.abs(decoded.mean(0) - np.asarray(VECTOR)).max() < 4.5 * length / np.sqrt(10 * 300)
    assert abs(lengths.mean() - length**2) < 0.1 * length**2


def test_a_run_on_sketches_learns_also_under_secure_aggregation():
    """40 words for 60 coordinates reach a part of the way: what collides once, collides in every round."""
    clients = UnitData(jnp.concatenate([CLIENTS.examples + 1] * 2, axis=-1), CLIENTS.mask)
    plain = fedavg(quadratic, optax.sgd(0.1), num_steps=1)
    solver = count_sketch(plain, rows=1, columns=40, key=KEY)
    start, error = run(solver, 1, clients=clients, learning_rate=0.0)[0], run(solver, 40, clients=clients)[0]
    assert error < 0.75 * start
    secure = secure_aggregation(threshold=6, masks=False)
    near, _, history = run(solver, 40, secure, clients=clients, clip_norm=50.0)
    assert abs(near - error) < 1e-2
    whole = run(plain, 2, secure, clients=clients, clip_norm=50.0)[2]
    # Keys and shares cost the same.
    assert float(whole.steps["uplink_bytes"][0] - history.steps["uplink_bytes"][0]) == 4 * (60 - 40)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: quantized(send, 1), "bits=1 must be from 2 to 16"),
        (lambda: random_k(send, 0.0), r"fraction=0.0 must be in \(0, 1\]"),
        (lambda: top_k(send, 1.5), r"fraction=1.5 must be in \(0, 1\]"),
        (lambda: count_sketch(send, rows=0, columns=5, key=KEY), "rows=0 must be ≥ 1"),
    ],
)
def test_bad_input_is_one_sentence(call, words):
    with pytest.raises(ValueError, match=words):
        call()
