"""Clients with adapters of different ranks: an exact mean of products, and nothing sent beyond a client's rank."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dpjax import Cohort, HParams, Population, UnitData, fixed_size_sampler, make_train
from dpjax.clipping import clipped_sum
from dpjax.federated import draw_ranks, fedavg, ranked_clients, secure_aggregation
from dpjax.models import objectives
from dpjax.models.layer_stacks import flat_paths
from dpjax.models.transformers import Head, Lora, tiny
from dpjax.models.tuning import fine_tune, fresh_parameters
from dpjax.models.tuning_methods import Method
from dpjax.population import remember
from dpjax.types import PerUnit, Stateful

RANKS = (1, 2, 4)
SOURCE = np.random.default_rng(0)


def tuned_of(family, scan, freeze_a=True):
    arch = tiny(family, num_layers=2 if scan else 1)
    lora = Lora(rank=4, alpha=8.0, targets=("query", "down"))
    body = fresh_parameters(arch, jax.random.key(0))
    return fine_tune(arch, body, Head("classify", 2), Method("lora", lora, freeze_a=freeze_a), scan_layers=scan)


def loss_of(tuned):
    return objectives.mean_loss(objectives.classification(tuned.applying(tuned.frozen)))


def clients_of(ranks, rows=3):
    ids = SOURCE.integers(3, 40, (len(ranks), rows, 6)).astype(np.int32)
    labels = SOURCE.integers(0, 2, (len(ranks), rows)).astype(np.int32)
    return UnitData((jnp.asarray(ids), jnp.asarray(labels)), jnp.ones((len(ranks), rows), bool))


FACTORS = {name: jnp.asarray(SOURCE.normal(size=(5, 4)), jnp.float32) for name in ("one", "two")}


def products(frozen, trained):
    """What the adapters add to each dense layer, by path, without their scale."""
    whole = flat_paths(frozen) | flat_paths(trained)
    return {path[:-2]: whole[path] @ whole[f"{path[:-2]}.b"] for path in whole if path.endswith(".lora.a")}


def small_round():
    """Two adapters on a linear model beside a head: what the algorithm needs to know of a model."""
    frozen = {name: {"lora": {"a": a}} for name, a in FACTORS.items()}
    start: dict[str, Any] = {
        name: {"lora": {"b": jnp.asarray(SOURCE.normal(size=(4, 3)), jnp.float32)}} for name in FACTORS
    }
    start["head"] = jnp.ones(3)

    def loss_fn(params, example, key):
        x, y = example
        features = sum(jnp.tanh(x @ FACTORS[name] @ params[name]["lora"]["b"]) for name in FACTORS)
        return (features @ params["head"] - y) ** 2

    rows = SOURCE.normal(size=(4, 3, 5)), SOURCE.normal(size=(4, 3))
    clients = UnitData(jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), rows), jnp.ones((4, 3), bool))
    return frozen, loss_fn, start, clients


def round_in(family):
    """Of a family, its layers as one loop."""
    tuned = tuned_of(family, True)
    start = tuned.init(tuned.start, jax.random.key(1))
    start = jax.tree.map(lambda x: x + 0.3 * jax.random.normal(jax.random.key(2), x.shape), start)
    return tuned.frozen, loss_of(tuned), start, clients_of(range(4))


WANTED = np.array([1, 4, 2, 4], np.int32)


@pytest.fixture(scope="module", params=["linear", "llama"])
def round_of(request):
    """One round of four clients: all that they computed."""
    frozen, loss_fn, start, clients = small_round() if request.param == "linear" else round_in(request.param)
    make = lambda loss: fedavg(loss, optax.sgd(0.05), num_steps=2, batch_size=2)  # noqa: E731
    solver = ranked_clients(make, loss_fn, WANTED)
    one = jax.jit(lambda unit, state, key: solver.contribution_fn(start, Stateful(unit, state), key))
    units = [jax.tree.map(lambda x, i=i: x[i], clients) for i in range(4)]
    sent = [one(u, jnp.int32(r), jax.random.key(i)) for i, (u, r) in enumerate(zip(units, WANTED, strict=True))]
    return frozen, solver, start, clients, sent


@pytest.fixture(scope="module")
def small():
    _, loss_fn, start, clients = small_round()
    solver = ranked_clients(lambda loss: fedavg(loss, optax.sgd(0.05), num_steps=2), loss_fn, WANTED)
    return solver, start, clients


def test_the_servers_products_move_by_the_mean_of_the_clients(round_of):
    """To rounding, though ranks differ, and for every adapter."""
    frozen, _, start, _, sent = round_of
    before = products(frozen, start)
    step = jax.tree.map(lambda *x: sum(x) / len(x), *(vector for vector, _ in sent))
    after = products(frozen, jax.tree.map(jnp.subtract, start, step))
    assert len(before) > 1
    ends = [products(frozen, jax.tree.map(jnp.subtract, start, vector)) for vector, _ in sent]
    for path, product in before.items():
        mean = sum(end[path] - product for end in ends) / len(ends)
        assert float(jnp.abs(mean).max()) > 1e-5
        np.testing.assert_allclose(after[path] - product, mean, atol=2e-6)


def test_a_client_sends_and_is_counted_for_nothing_beyond_its_rank(round_of):
    _, _, start, _, sent = round_of
    adapters = {path: x for path, x in flat_paths(start).items() if path.endswith(".lora.b")}
    others = sum(x.size for path, x in flat_paths(start).items() if path not in adapters)
    for (vector, report), rank in zip(sent, WANTED, strict=True):
        found = flat_paths(vector)
        for path in adapters:
            assert not np.any(found[path][..., rank:, :])
            assert np.all(np.any(np.asarray(found[path][..., :rank, :]) != 0, axis=-1))
        assert int(report.uplink_bytes) == 4 * (others + sum(x.size * int(rank) // 4 for x in adapters.values()))
        assert int(report.unit_state) == rank


def test_a_client_learns_nothing_from_rows_that_it_does_not_hold(round_of):
    """What the server has beyond a client's rank changes nothing of what that client sends."""
    _, solver, start, clients, sent = round_of
    other = jax.tree_util.tree_map_with_path(
        lambda path, x: x.at[..., 1:, :].add(1.0) if jax.tree_util.keystr(path).endswith("['lora']['b']") else x, start
    )
    unit = Stateful(jax.tree.map(lambda x: x[0], clients), jnp.int32(WANTED[0]))
    again, _ = jax.jit(solver.contribution_fn)(other, unit, jax.random.key(0))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), again, sent[0][0])


def test_removing_one_client_moves_the_sum_by_at_most_the_clip_norm(small):
    solver, start, clients = small
    units = Stateful(clients, jnp.asarray(WANTED))
    summed = jax.jit(clipped_sum(solver.contribution_fn))
    alone = [summed(start, Cohort(units, jnp.arange(4) == i), jax.random.key(3), 1e6).total for i in range(4)]
    norms = [float(optax.tree.norm(vector)) for vector in alone]
    for clip_norm in (0.5 * min(norms), 2 * max(norms)):
        whole = summed(start, Cohort(units, jnp.ones(4, bool)), jax.random.key(3), clip_norm).total
        for gone in range(4):
            rest = summed(start, Cohort(units, jnp.arange(4) != gone), jax.random.key(3), clip_norm).total
            moved = float(optax.tree.norm(jax.tree.map(jnp.subtract, whole, rest)))
            assert moved <= clip_norm * (1 + 1e-5)
            assert moved == pytest.approx(min(clip_norm, norms[gone]), rel=1e-3)


def test_secure_aggregation_gives_the_same_sum(small):
    solver, start, clients = small
    cohort = Cohort(Stateful(clients, jnp.asarray(WANTED)), jnp.ones(4, bool))
    plain = jax.jit(clipped_sum(solver.contribution_fn))(start, cohort, jax.random.key(3), 0.5).total
    hidden = secure_aggregation(threshold=3)(clipped_sum)(solver.contribution_fn)
    found = jax.jit(hidden)(start, cohort, jax.random.key(3), 0.5).total
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), found, plain)


@given(st.lists(st.sampled_from(RANKS), min_size=2, max_size=6), st.integers(0, 2**31))
@settings(max_examples=30, deadline=None)
def test_a_mean_of_padded_factors_is_no_mean_of_products(ranks, seed):
    """Of both factors, padded, the product of means is off; of stacked factors it is not, nor with one ``a``."""
    source = np.random.default_rng(seed)
    pairs = [(source.normal(size=(5, rank)), source.normal(size=(rank, 3))) for rank in ranks]
    mean: Any = sum(a @ b for a, b in pairs) / len(pairs)
    padded = [(np.pad(a, ((0, 0), (0, 4 - a.shape[1]))), np.pad(b, ((0, 4 - len(b)), (0, 0)))) for a, b in pairs]
    means: Any = [sum(factors) / len(pairs) for factors in zip(*padded, strict=True)]
    assert np.abs(means[0] @ means[1] - mean).max() > 1e-6
    stacked = np.concatenate([a for a, _ in pairs], 1) / len(pairs), np.concatenate([b for _, b in pairs])
    np.testing.assert_allclose(stacked[0] @ stacked[1], mean, atol=1e-9)
    shared = source.normal(size=(5, 4))
    with_one = sum(shared[:, : len(b)] @ b for _, b in pairs) / len(pairs)
    np.testing.assert_allclose(shared @ means[1], with_one, atol=1e-9)


def test_frozen_factors_are_the_same_for_all_and_as_large_as_those_that_train():
    """Whatever key a run has, and whether layers are one loop."""
    alone, scanned, free = tuned_of("bert", False), tuned_of("bert", True), tuned_of("bert", False, freeze_a=False)
    frozen = {path: x for path, x in flat_paths(alone.frozen).items() if path.endswith(".lora.a")}
    drawn = flat_paths(free.init(free.start, jax.random.key(5)))
    assert len(frozen) == 2
    assert frozen.keys() == {path for path in drawn if path.endswith(".lora.a")}
    assert not any(path.endswith(".lora.a") for path in flat_paths(alone.init(alone.start, jax.random.key(0))))
    for path, x in frozen.items():
        assert np.std(x) == pytest.approx(float(jnp.std(drawn[path])), rel=0.35)
    assert len({x.tobytes() for x in frozen.values()}) == 2
    assert {x.shape[-2:] for path, x in flat_paths(scanned.frozen).items() if path.endswith(".lora.a")} == {
        x.shape for x in frozen.values()
    }
    again = flat_paths(tuned_of("bert", False).frozen)
    assert all(np.array_equal(x, again[path]) for path, x in frozen.items())


def test_ranks_are_dealt_evenly_and_clients_keep_them(small):
    ranks = draw_ranks(40, RANKS, seed=0)
    assert sorted(np.bincount(ranks)[list(RANKS)].tolist()) == [13, 13, 14]
    assert not np.array_equal(ranks, draw_ranks(40, RANKS, seed=1))
    _, loss_fn, start, few = small_round()
    clients = jax.tree.map(lambda x: jnp.concatenate([x] * 10), few)
    solver = ranked_clients(lambda loss: fedavg(loss, optax.sgd(0.05), num_steps=1), loss_fn, ranks)
    run = make_train(
        lambda key: start,
        solver,
        Population(clients),
        sampler=fixed_size_sampler(40, 8),
        num_steps=2,
        make_optimizer=lambda h: optax.sgd(h.learning_rate),
    )
    state, history = jax.jit(run)(HParams(learning_rate=1.0, clip_norm=1.0, noise_multiplier=1.0), jax.random.key(0))
    assert np.array_equal(state.unit_states, ranks)
    assert all(4 * (3 + 6) < float(x) < 4 * (3 + 24) for x in history.report.uplink_bytes)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: draw_ranks(3, [], seed=0), r"ranks=\[\] names no rank"),
        (lambda: draw_ranks(3, [0], seed=0), "ranks=0 must be ≥ 1"),
        (lambda: of_ranks([5], True), "client_ranks=5 is above rank=4; raise rank to the largest"),
        (lambda: of_ranks([2], False), "freeze_a=False trains both factors"),
        (lambda: remember(lambda _: PerUnit(jnp.ones(3)), (), 4), "states for 3 units, but the population has 4"),
    ],
)
def test_what_cannot_be_shared_is_refused_in_words(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def of_ranks(ranks, freeze_a):
    tuned = tuned_of("bert", False, freeze_a)
    solver = ranked_clients(lambda loss: fedavg(loss, optax.sgd(0.1), num_steps=1), loss_of(tuned), np.array(ranks))
    return jax.eval_shape(lambda key: solver.init(tuned.init(tuned.start, key)), jax.random.key(0))
