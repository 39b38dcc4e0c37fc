"""The federated algorithms, against loops in NumPy and against what they are for."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dpjax import Evaluation, HParams, UnitData, clipped_sum, fixed_size_sampler, make_train, poisson_sampler
from dpjax.federated import Broadcast, adaptive_fedprox, fedavg, personalized, scaffold
from dpjax.types import Cohort

KEY = jax.random.key(0)
CURVATURE = np.array([1.0, 10.0, 2.0, 5.0])
CENTRE = np.array([3.0, -1.0, 4.0, 0.5])
OPTIMUM = float(CURVATURE @ CENTRE / CURVATURE.sum())
CLIENTS = UnitData((jnp.float32(CURVATURE)[:, None], jnp.float32(CENTRE)[:, None]), jnp.ones((4, 1), bool))


def quadratic(w, example, key):
    a, b = example
    return 0.5 * a * (w - b) ** 2


def run(solver, *, rounds, sampler=None, server=None, clip_norm=jnp.inf, start=0.0, units=CLIENTS, noise=0.0):
    population = units.mask.shape[0]
    train = make_train(
        lambda key: jax.tree.map(jnp.float32, start),
        solver._replace(model_of=lambda carried: carried),
        units,
        sampler=sampler or fixed_size_sampler(population, population),
        num_steps=rounds,
        make_optimizer=lambda h: server or optax.sgd(1.0),
        evaluation=Evaluation(lambda carried: carried, every=1),
    )
    return jax.jit(train)(HParams(clip_norm=clip_norm, noise_multiplier=noise), KEY)


def test_scaffold_finds_the_optimum_that_fedavg_drifts_away_from():
    options = {"num_steps": 20}
    drifted = run(fedavg(quadratic, optax.sgd(0.05), **options), rounds=60)[0].params
    found = run(scaffold(quadratic, learning_rate=0.05, participation=1.0, **options), rounds=60)[0].params.model
    assert abs(float(drifted) - OPTIMUM) > 0.3
    assert abs(float(found) - OPTIMUM) < 1e-4


def test_scaffold_with_few_clients_a_round_equals_its_loop_in_numpy():
    rounds, lr, steps, q = 6, 0.05, 3, 0.5
    solver = scaffold(quadratic, learning_rate=lr, num_steps=steps, participation=q)
    sampler = fixed_size_sampler(4, 2)
    state, history = run(solver, rounds=rounds, sampler=sampler)
    from dpjax.sampling import draw_cohort

    sampling_key = jax.random.split(KEY, 4)[1]
    w, c, own = 0.0, 0.0, np.zeros(4)
    for t in range(rounds):
        cohort, _ = draw_cohort(sampler, sampling_key, t, jnp.arange(4))
        moves, changes = [], []
        for i in np.asarray(cohort.units):
            y = w
            for _ in range(steps):
                y -= lr * (CURVATURE[i] * (y - CENTRE[i]) - own[i] + c)
            new = own[i] - c + (w - y) / (steps * lr)
            moves.append(y - w)
            changes.append(new - own[i])
            own[i] = new
        w += np.mean(moves)
        c += sum(changes) / 4
    assert float(state.params.model) == pytest.approx(w, rel=1e-4)
    assert float(state.params.extra) == pytest.approx(c * steps * lr, rel=1e-4)
    np.testing.assert_allclose(state.unit_states, own * steps * lr, rtol=1e-4)
    assert history.evaluations.model.shape == (rounds,)


def test_delta_and_control_variate_are_clipped_as_one():
    solver = scaffold(quadratic, learning_rate=0.05, num_steps=3, participation=0.5)
    units = jax.tree.map(lambda x: x[:1], CLIENTS)
    from dpjax.types import Stateful

    cohort = Cohort(Stateful(units, jnp.array([5.0])), jnp.ones(1, bool))
    out = clipped_sum(solver.contribution_fn)(Broadcast(jnp.float32(0), jnp.float32(0)), cohort, KEY, 0.1)
    assert float(optax.tree.norm(out.total)) == pytest.approx(0.1, rel=1e-5)
    assert abs(float(out.total.model)) > 1e-3
    assert abs(float(out.total.extra)) > 1e-3


def test_a_client_that_never_took_part_has_no_control_variate_yet():
    solver = scaffold(quadratic, learning_rate=0.05, num_steps=3, participation=0.25)
    state, _ = run(solver, rounds=1, sampler=fixed_size_sampler(4, 1))
    assert int(jnp.sum(state.unit_states != 0)) == 1


def test_the_server_learns_scaffolds_variate_through_the_noise():
    """With noise, the server's variate is noised as the model is: its updates are the sum's, times participation."""
    solver = scaffold(quadratic, learning_rate=0.05, num_steps=3, participation=1.0)
    state, _ = run(solver, rounds=1, clip_norm=1e-6, noise=1e6)  # nothing but noise of deviation 1
    assert abs(float(state.params.extra)) > 1e-3
    assert abs(float(state.params.model)) > 1e-3


# ---- adaptive FedProx ----------------------------------------------------------------------------------------------


def test_the_proximal_term_grows_when_the_loss_rises_and_shrinks_after_falls_in_a_row():
    solver = adaptive_fedprox(
        quadratic, optax.sgd(0.01), initial=0.15, step=0.1, patience=3, loss_bound=50, num_steps=1
    )
    server = solver.wrap_optimizer(optax.sgd(1.0))
    carried = solver.init(jnp.float32(0))
    state = server.init(carried)
    seen = []
    for loss in [5, 4, 3, 2, 1, 3, 4, 3, 2, 1]:
        updates, state = server.update(Broadcast(jnp.float32(0), jnp.float32(loss)), state, carried)
        carried = optax.apply_updates(carried, updates)
        seen.append(round(float(carried.extra), 3))
    assert seen == [0.15, 0.15, 0.15, 0.05, 0.05, 0.15, 0.25, 0.25, 0.25, 0.15]


@pytest.mark.parametrize(
    ("losses", "end"), [([2.0], 0.3), ([2.0, 2.0, 2.0], 0.3), ([2.0, 1.0], 0.2), ([2.0, 3.0], 0.4)]
)
def test_the_first_loss_and_one_that_stays_are_no_fall(losses, end):
    solver = adaptive_fedprox(quadratic, optax.sgd(0.1), initial=0.3, step=0.1, patience=1, num_steps=1)
    server = solver.wrap_optimizer(optax.sgd(1.0))
    carried = solver.init(jnp.float32(0))
    state = server.init(carried)
    for loss in losses:
        updates, state = server.update(Broadcast(jnp.float32(0), jnp.float32(loss)), state, carried)
        carried = optax.apply_updates(carried, updates)
    assert float(carried.extra) == pytest.approx(end)


def test_clients_tell_their_loss_inside_the_bound_that_is_noised():
    solver = adaptive_fedprox(quadratic, optax.sgd(0.05), loss_bound=2.0, report_norm=0.5, num_steps=2)
    unit = jax.tree.map(lambda x: x[0], CLIENTS)
    vector, metrics = solver.contribution_fn(Broadcast(jnp.float32(0), jnp.float32(0)), unit, KEY)
    assert float(metrics["loss"]) > 2
    assert float(vector.extra) == 0.5  # cut to the bound
    vector, metrics = solver.contribution_fn(Broadcast(jnp.float32(2.5), jnp.float32(0)), unit, KEY)
    assert float(vector.extra) == pytest.approx(float(metrics["loss"]) / 2.0 * 0.5)
    state, _ = run(solver, rounds=30)
    assert float(state.params.model) == pytest.approx(
        float(run(fedavg(quadratic, optax.sgd(0.05), num_steps=2), rounds=30)[0].params), rel=0.2
    )


@pytest.mark.parametrize(("name", "value"), [("patience", 0), ("step", -1.0), ("initial", -0.5), ("loss_bound", 0.0)])
def test_bad_adaptive_fedprox_is_named(name, value):
    with pytest.raises(ValueError, match=f"{name}={value}"):
        adaptive_fedprox(quadratic, optax.sgd(0.1), num_steps=1, **{name: value})


# ---- personal heads ------------------------------------------------------------------------------------------------


def two_worlds():
    """Clients see the same inputs and the same hidden feature, but half of them the other way round."""
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(size=(8, 30, 5)), jnp.float32)
    feature = x @ jnp.asarray(rng.normal(size=5), jnp.float32)
    sign = jnp.array([1.0, -1.0] * 4)[:, None]
    return UnitData((x, sign * feature), jnp.ones((8, 30), bool))


def net(params, example, key):
    x, y = example
    return 0.5 * (x @ params["body"] * params["head"] - y) ** 2


@pytest.mark.parametrize("head_steps", [None, 3])
def test_personal_heads_fit_clients_that_contradict_each_other(head_steps):
    units = two_worlds()
    start = {"body": 0.1 * np.ones(5), "head": 0.5}
    options = {"num_steps": 5}
    shared, _ = run(fedavg(net, optax.sgd(0.05), **options), rounds=60, units=units, start=start)
    solver = personalized(net, optax.sgd(0.05), personal=lambda path: "head" in path, head_steps=head_steps, **options)
    state, _ = run(solver, rounds=60, units=units, start=start)

    def loss(params, client):
        unit = jax.tree.map(lambda x: x[client], units.examples)
        return float(jnp.mean(jax.vmap(net, (None, 0, None))(params, unit, KEY)))

    from dpjax import merge_params

    own = [
        loss(merge_params(state.params.model, jax.tree.map(lambda x, k=k: x[k], state.unit_states)), k)
        for k in range(8)
    ]
    assert max(own) < 0.05 < 10 * 0.05 < np.mean([loss(shared.params, k) for k in range(8)])
    heads = np.asarray(state.unit_states["head"])
    assert (np.sign(heads[::2]) == -np.sign(heads[1::2])).all()
    assert solver.model_of(state.params)["head"] == 0.5  # the common start, untouched


def test_a_head_is_no_part_of_what_a_client_sends():
    solver = personalized(net, optax.sgd(0.05), personal=lambda path: "head" in path, num_steps=2)
    from dpjax.types import Stateful

    carried = solver.init({"body": jnp.ones(5), "head": jnp.float32(0.5)})
    unit = jax.tree.map(lambda x: x[0], two_worlds())
    vector, report = solver.contribution_fn(carried, Stateful(unit, solver.init_unit_state(carried)), KEY)
    assert [x.shape for x in jax.tree.leaves(vector)] == [(5,)]
    assert float(report.unit_state["head"]) != 0.5


def test_everything_personal_is_refused():
    whole = {"body": jnp.ones(2), "head": jnp.ones(())}
    with pytest.raises(ValueError, match="every parameter is personal"):
        personalized(net, optax.sgd(0.05), personal=lambda path: True, num_steps=2).init(whole)
    with pytest.raises(ValueError, match="no parameter"):
        personalized(net, optax.sgd(0.05), personal=lambda path: False, num_steps=2).init(whole)


# ---- server optimizers ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "server", [optax.sgd(1.0, momentum=0.5), optax.adam(0.3, eps=1e-3), optax.yogi(0.3)], ids=["avgm", "adam", "yogi"]
)
@pytest.mark.parametrize("make", ["fedavg", "scaffold"])
def test_any_optimizer_serves(server, make):
    solver = (
        fedavg(quadratic, optax.sgd(0.02), num_steps=2)
        if make == "fedavg"
        else scaffold(quadratic, learning_rate=0.02, num_steps=2, participation=0.75)
    )
    with jax.numpy_dtype_promotion("standard"):  # optax's own arithmetic
        state, _ = run(solver, rounds=300, server=server, sampler=poisson_sampler(4, 0.75, num_steps=300))
    assert abs(float(jax.tree.leaves(solver.model_of(state.params))[0]) - OPTIMUM) < 0.8


def test_fednova_weighs_clients_alike_that_take_unequal_steps():
    """Two clients of equal curvature: who has four rows takes four steps an epoch, and pulls FedAvg to its side."""
    rows = jnp.array([[0.0, 0.0, 0.0, 0.0], [1.0, 1.0, 1.0, 1.0]])
    units = UnitData((rows,), jnp.array([[True, False, False, False], [True] * 4]))
    loss = lambda w, example, key: 0.5 * (w - example[0]) ** 2  # noqa: E731
    options = {"num_epochs": 1, "batch_size": 1}
    drifted = run(fedavg(loss, optax.sgd(0.02), **options), rounds=400, units=units)[0].params
    found = run(fedavg(loss, optax.sgd(0.02), effective_steps=2.5, **options), rounds=400, units=units)[0].params
    assert abs(float(drifted) - 0.5) > 0.25
    assert abs(float(found) - 0.5) < 0.03
    with pytest.raises(ValueError, match="effective_steps=0 must be"):
        fedavg(loss, optax.sgd(0.02), effective_steps=0, **options)
