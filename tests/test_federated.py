"""Federated runs: weights, buckets, states of clients, aborted rounds, and the solvers."""

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dpjax import (
    Buckets,
    Cohort,
    Engine,
    HParams,
    Population,
    Records,
    Reported,
    Solver,
    Stateful,
    Summing,
    UnitData,
    bucketed,
    client_delta,
    clipped_sum,
    fixed_size_sampler,
    make_train,
    poisson_sampler,
    user_gradient,
)
from dpjax.bucket_sums import bucketed_sum
from dpjax.contributions import gather_records
from dpjax.federated import (
    adaptive_fedprox,
    dirichlet_partition,
    dropouts,
    homomorphic_aggregation,
    local_privacy,
    robust_aggregation,
    secure_aggregation,
)
from tests.problems import softmax_loss, three_classes

KEY = jax.random.key(0)
ITSELF = lambda params, unit, key: (unit, {})  # noqa: E731
X, Y, PARAMS, RNG = three_classes(120)


def close(a, b, rtol=1e-5):
    jax.tree.map(lambda u, v: np.testing.assert_allclose(u, v, rtol=rtol, atol=1e-6), a, b)


def ragged(num_clients=12):
    return dirichlet_partition(np.asarray(Y), num_clients, alpha=0.3, seed=1)


# ---- local training -----------------------------------------------------------------------------------------------


def softmax_gradients(params, x, y):
    """One a row, as NumPy has them."""
    scores = x @ params["w"] + params["b"]
    off = np.exp(scores - scores.max(1, keepdims=True))
    off = off / off.sum(1, keepdims=True) - np.eye(3)[y]
    return {"w": x[:, :, None] * off[:, None, :], "b": off}


def by_hand(unit_rows, lr, num_epochs, size):
    params, x, y = jax.tree.map(np.asarray, (PARAMS, X, Y))
    for _ in range(num_epochs):
        for start in range(0, len(unit_rows), size):
            rows = unit_rows[start : start + size]
            gradients = softmax_gradients(params, x[rows], y[rows])
            params = jax.tree.map(lambda p, g: p - lr * g.mean(0), params, gradients)
    return params


def test_epochs_pass_over_every_row_once_and_stop_when_a_client_has_no_more():
    """Against a loop in Python, whose batches are the whole client: their order inside a batch does not matter."""
    rows = np.array([3, 8, 1])
    unit = Records(jnp.array([3, 8, 1, 0, 0, 0, 0]), jnp.arange(7) < 3)
    for size, epochs in ((3, 2), (7, 3)):
        fun = gather_records(client_delta(softmax_loss, optax.sgd(0.3), num_epochs=epochs, batch_size=size), (X, Y))
        delta, _ = jax.jit(fun)(PARAMS, unit, KEY)
        close(jax.tree.map(np.subtract, PARAMS, delta), by_hand(rows, 0.3, epochs, 3))


def test_each_epoch_uses_each_row_once():
    unit = UnitData((jnp.eye(7),), jnp.arange(7) < 5)
    fun = jax.jit(client_delta(lambda p, e, k: p @ e[0], optax.sgd(1.0), num_epochs=3, batch_size=2))
    delta, _ = fun(jnp.zeros(7), unit, KEY)
    # Batches of 2, 2 and 1 rows: a row weighs 1/2 or, where it is alone, 1.
    assert sorted(np.round(np.asarray(delta), 4)) == [0, 0, 1.5, 1.5, 1.5, 1.5, 3.0]


def test_the_proximal_term_pulls_towards_the_start():
    unit = UnitData((X[:8], Y[:8]), jnp.ones(8, bool))

    def delta(**proximal):
        return client_delta(softmax_loss, optax.sgd(0.05), num_steps=50, **proximal)(PARAMS, unit, KEY)[0]

    traced = jax.jit(delta)
    norms = [float(optax.tree.norm(traced(proximal=mu))) for mu in (0.0, 1.0, 10.0)]
    assert norms[0] > 1.5 * norms[1] > 3 * norms[2] > 0
    close(traced(proximal=0.0), traced())
    close(traced(proximal=1.0), jax.jit(partial(delta, proximal=1.0))())


def test_stragglers_stop_after_some_of_their_steps_and_never_before_the_first():
    unit = UnitData(jnp.ones(4), jnp.ones(4, bool))
    fun = client_delta(lambda p, e, k: p * e, optax.sgd(1.0), num_steps=10, batch_size=1, straggler_rate=0.5)
    steps = np.asarray(jax.jit(jax.vmap(lambda k: fun(jnp.float32(0), unit, k)[0]))(jax.random.split(KEY, 2000)))
    assert set(np.unique(steps)) == set(range(1, 11))
    # Half of them stop, a ninth of those after each of 1 to 9 steps (the draw of ten stays below ten).
    assert abs(np.mean(steps < 10) - 0.5) < 4 * 0.5 / 2000**0.5
    none = client_delta(lambda p, e, k: p * e, optax.sgd(1.0), num_steps=10, batch_size=1)
    assert float(jax.jit(none)(jnp.float32(0), unit, KEY)[0]) == 10


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "num_steps=None and num_epochs=None: give exactly one"),
        ({"num_steps": 1, "num_epochs": 1}, "give exactly one"),
        ({"num_epochs": 0}, "num_epochs=0 must be ≥ 1"),
        ({"num_steps": 1, "proximal": -1.0}, "proximal=-1.0 must be finite"),
        ({"num_steps": 1, "straggler_rate": 1.5}, r"straggler_rate=1.5 must be in \[0, 1\]"),
    ],
)
def test_bad_local_training_is_named(options, words):
    with pytest.raises(ValueError, match=words):
        client_delta(softmax_loss, optax.sgd(0.1), **options)


# ---- buckets ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("num_buckets", [1, 2, 3, 8])
def test_buckets_hold_every_row_once_in_the_least_room(num_buckets):
    records = ragged()
    buckets, order = bucketed(records, num_buckets)
    assert len(buckets.tables) <= num_buckets
    assert sorted(order) == list(range(12))
    original = [set(np.asarray(i)[np.asarray(m)]) for i, m in zip(*records, strict=True)]
    got = [set(np.asarray(i)[np.asarray(m)]) for t in buckets.tables for i, m in zip(*t, strict=True)]
    assert [original[k] for k in order] == got
    # Against every way to cut 12 clients into that many parts.
    import itertools

    sizes = sorted(len(rows) for rows in original)
    cells = min(
        sum((b - a) * sizes[b - 1] for a, b in itertools.pairwise((0, *cuts, 12)))
        for n in range(num_buckets)
        for cuts in itertools.combinations(range(1, 12), n)
    )
    assert sum(t.mask.size for t in buckets.tables) == cells


@pytest.mark.parametrize("make", [user_gradient, partial(client_delta, local_optimizer=optax.sgd(0.3), num_steps=3)])
@pytest.mark.parametrize("num_buckets", [1, 3])
def test_buckets_change_no_sum(make, num_buckets):
    """Every client sends what it would send alone, whatever bucket it is in and whoever is beside it."""
    records = ragged()
    buckets, order = bucketed(records, num_buckets)
    contribution = gather_records(make(softmax_loss), (X, Y))
    weights = np.linspace(0, 1, 9, dtype=np.float32)
    numbers, mask = np.array([11, 3, 0, 7, 5, 5, 2, 9, 10]), np.array([1, 1, 1, 0, 1, 1, 1, 1, 0], bool)
    units = jax.tree.map(lambda x: np.asarray(x)[order[numbers]], records)
    plain = jax.jit(clipped_sum(contribution))(PARAMS, Cohort(units, mask, weights), KEY, 0.5)
    fun = jax.jit(bucketed_sum(clipped_sum, buckets)(contribution))
    got = fun(PARAMS, Cohort(numbers, mask, weights), KEY, 0.5)
    close(got.total, plain.total)
    close(got.norms, plain.norms)
    close(got.aux, plain.aux)
    assert int(got.num_rejected) == 0


def test_a_bucketed_run_equals_the_padded_one():
    records = ragged()
    buckets, order = bucketed(records, 3)
    padded = jax.tree.map(lambda x: x[order], records)
    options = {
        "sampler": poisson_sampler(12, 0.5, num_steps=4),
        "num_steps": 4,
        "make_optimizer": lambda h: optax.sgd(1.0),
    }
    contribution = client_delta(softmax_loss, optax.sgd(0.2), num_steps=2, batch_size=4)
    runs = [
        jax.jit(make_train(lambda key: PARAMS, contribution, population, **options))(HParams(noise_multiplier=1.0), KEY)
        for population in (Population(padded, (X, Y)), Population(buckets, (X, Y)))
    ]
    close(runs[0][0].params, runs[1][0].params)
    assert isinstance(buckets, Buckets)


@pytest.mark.parametrize("num_buckets", [2, 4])
def test_a_bucketed_run_of_adaptive_fedprox_equals_the_padded_one(num_buckets):
    """What clients tell of their loss, and μ with it, is of their own rows, however far their bucket pads them."""
    records = ragged()
    buckets, order = bucketed(records, num_buckets)
    assert len(buckets.tables) == num_buckets
    padded = jax.tree.map(lambda x: x[order], records)
    options = {
        "sampler": poisson_sampler(12, 0.5, num_steps=6),
        "num_steps": 6,
        "make_optimizer": lambda h: optax.sgd(1.0),
    }
    solver = adaptive_fedprox(
        softmax_loss, optax.sgd(0.2), initial=0.5, step=0.25, patience=1, num_steps=3, batch_size=4
    )
    states = [
        jax.jit(make_train(lambda key: PARAMS, solver, population, **options))(HParams(noise_multiplier=0.0), KEY)[0]
        for population in (Population(padded, (X, Y)), Population(buckets, (X, Y)))
    ]
    close(states[0].params, states[1].params)
    assert states[0].params.extra != 0.5


# ---- weights p_k --------------------------------------------------------------------------------------------------


def constant(params, unit, key):
    return unit, {}


def test_weights_scale_what_was_clipped_and_never_raise_it():
    cohort = Cohort(jnp.array([[3.0, 4.0], [0.0, 0.5], [0.0, 7.0]]), jnp.ones(3, bool), jnp.array([0.5, 1.0, 9.0]))
    for engine in ("materialize", "microbatch"):
        out = jax.jit(clipped_sum(constant, engine=engine, microbatch_size=2))(jnp.zeros(2), cohort, KEY, 1.0)
        np.testing.assert_allclose(out.total, [0.3, 0.4 + 0.5 + 1.0], rtol=1e-6)
    spoilt = cohort._replace(weights=jnp.array([jnp.nan, -1.0, 1.0]))
    out = jax.jit(clipped_sum(constant))(jnp.zeros(2), spoilt, KEY, 1.0)
    np.testing.assert_allclose(out.total, [0, 1.0], rtol=1e-6)


def test_weights_hold_in_the_bookkeeping_engine_too():
    records = ragged()
    cohort = Cohort(records, jnp.ones(12, bool), jnp.linspace(0, 1, 12))
    contribution = gather_records(user_gradient(softmax_loss), (X, Y))
    one, other = (
        jax.jit(clipped_sum(contribution, engine=engine))(PARAMS, cohort, KEY, 0.5)
        for engine in ("bookkeeping", "materialize")
    )
    close(one.total, other.total)


def test_weighted_rounds_estimate_the_weighted_sum_of_deltas():
    """E[update] = Σ p_k Δ_k over many Poisson cohorts."""
    p = np.array([0.4, 0.3, 0.2, 0.1])
    units = jnp.array([1.0, -2.0, 3.0, 5.0])
    train = make_train(
        lambda key: jnp.zeros(()),
        constant,
        Population(units, weights=p),
        sampler=poisson_sampler(4, 0.5, num_steps=4000),
        num_steps=4000,
        make_optimizer=lambda h: optax.sgd(-1.0 / 4000),
    )
    state, _ = jax.jit(train)(HParams(clip_norm=10.0), KEY)
    deviation = np.sqrt(np.sum((p * np.asarray(units)) ** 2) / 4000)  # of a mean over fair coins
    assert abs(float(state.params) - float(p @ np.asarray(units))) < 4 * deviation


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        ([0.5, 0.5, 0.5, 0.5], "weights sum to 2, but p_k must sum to 1"),
        ([1.5, -0.5, 0, 0], "weights hold -0.5"),
        ([np.nan, 0.5, 0.5, 0], "weights hold nan"),
        ([0.5, 0.5], "4 units; give one p_k each"),
    ],
)
def test_bad_weights_are_named(weights, words):
    with pytest.raises(ValueError, match=words):
        make_train(
            lambda key: jnp.zeros(()),
            constant,
            Population(jnp.ones(4), weights=weights),
            sampler=fixed_size_sampler(4, 2),
            num_steps=1,
            make_optimizer=lambda h: optax.sgd(1.0),
        )


# ---- what units remember -------------------------------------------------------------------------------------------


def counting(params, unit, key):
    """Each unit counts the rounds that it took part in; the unit that holds NaN sends what is refused."""
    value, count = unit
    return value * jnp.ones(()), Reported({}, unit_state=count + 1)


COUNTING = Solver(counting, init_unit_state=lambda params: jnp.int32(0))


@pytest.mark.parametrize("engine", ["materialize", "microbatch"])
def test_a_unit_remembers_its_own_rounds_and_a_rejected_one_forgets(engine):
    units = jnp.arange(10.0).at[4].set(jnp.nan)
    train = make_train(
        lambda key: jnp.zeros(()),
        COUNTING,
        units,
        sampler=poisson_sampler(10, 0.5, num_steps=40),
        num_steps=40,
        make_optimizer=lambda h: optax.sgd(1.0),
        sum_factory=Summing(engine=Engine(engine, microbatch_size=3)),
    )
    state, history = jax.jit(train)(HParams(), KEY)
    counts = np.asarray(state.unit_states)
    assert counts[4] == 0
    assert counts.sum() + int(history.steps["num_rejected"].sum()) == int(history.steps["cohort_size"].sum())
    assert counts[np.arange(10) != 4].min() > 5  # 40 fair coins


def test_states_that_are_not_handed_over_are_missed():
    train = make_train(
        lambda key: jnp.zeros(()),
        COUNTING._replace(contribution_fn=lambda params, unit, key: (unit.unit, {})),
        jnp.arange(10.0),
        sampler=fixed_size_sampler(10, 5),
        num_steps=1,
        make_optimizer=lambda h: optax.sgd(1.0),
    )
    with pytest.raises(ValueError, match="hands no unit_state over"):
        train(HParams(), KEY)
    assert Stateful(1, 2).state == 2


# ---- aggregations --------------------------------------------------------------------------------------------------


def test_an_aborted_round_leaves_everything_as_it_was():
    def aborting(factory):
        def make(contribution_fn):
            inner = factory(contribution_fn)

            def fun(params, cohort, key, clip_norm):
                coin = jax.random.bernoulli(key)
                return inner(params, cohort, key, clip_norm)._replace(
                    released=coin, report={"aborted": (~coin).astype(jnp.float32)}
                )

            return fun

        return make

    @cache
    def run(num_steps):
        train = make_train(
            lambda key: jnp.zeros(()),
            COUNTING,
            jnp.ones(10),
            sampler=fixed_size_sampler(10, 5),
            num_steps=num_steps,
            make_optimizer=lambda h: optax.sgd(1.0, momentum=0.9),
            sum_factory=Summing(aggregation=aborting),
        )
        return jax.jit(train)(HParams(noise_multiplier=1.0), KEY)

    _, history = run(8)
    aborted = np.asarray(history.steps["aborted"])
    assert 0 < aborted.sum() < 8
    for step in range(1, 8):
        before, after = run(step)[0], run(step + 1)[0]
        same = all(np.array_equal(a, b) for a, b in zip(*map(jax.tree.leaves, (before[:2], after[:2])), strict=True))
        assert same == bool(aborted[step])
        assert int(after.unit_states.sum() - before.unit_states.sum()) == (0 if aborted[step] else 5)
        assert int(after.step) == step + 1


# ---- what stacking changes in the program, and not in the numbers ----------------------------------------------------


@pytest.mark.parametrize("widths", [(64, 40), (40, 64)])
def test_stacked_clients_send_what_each_would_send_alone(widths):
    """Weights of a client's own make thin matmuls, which are computed in another way once clients are stacked."""
    rng = np.random.default_rng(0)
    wide = {
        "in": jnp.asarray(rng.normal(size=widths) / 8, jnp.float32),
        "out": jnp.asarray(rng.normal(size=(widths[1], 32)) / 8, jnp.float32),
    }

    def loss(params, example, key):
        return jnp.mean((jnp.tanh(example @ params["in"]) @ params["out"]) ** 2)

    rows = jnp.asarray(rng.normal(size=(5, 20, widths[0])), jnp.float32).at[3, 4].set(jnp.nan)
    units = UnitData(rows, jnp.asarray(rng.random((5, 20)) < 0.8).at[3, 4].set(True))
    contribution = client_delta(loss, optax.sgd(0.5), num_steps=6, batch_size=8)
    cohort = Cohort(units, jnp.arange(5) != 1)
    sums = [
        jax.jit(clipped_sum(contribution, engine=engine, microbatch_size=size))(wide, cohort, KEY, 1e3)
        for engine, size in (("materialize", None), ("microbatch", 2), ("microbatch", 1))
    ]
    keys = jax.vmap(jax.random.fold_in, (None, 0))(KEY, jnp.arange(5))
    by_itself = jax.jit(contribution)
    alone = [by_itself(wide, jax.tree.map(lambda x, k=k: x[k], units), keys[k])[0] for k in (0, 2, 4)]
    total = jax.tree.map(lambda *x: sum(x), *alone)
    for out in sums:
        close(out.total, total, rtol=1e-4)
        assert int(out.num_rejected) == 1
    text = str(jax.make_jaxpr(clipped_sum(contribution, engine="materialize"))(wide, cohort, KEY, 1.0))
    if jax.default_backend() == "cpu":
        assert f"f32[5,{widths[0]},{widths[1]}] = dot_general" not in text


# ---- dropouts --------------------------------------------------------------------------------------------------------


def test_dropouts_are_lost_at_their_rate_and_forget_the_round():
    train = make_train(
        lambda key: jnp.zeros(()),
        COUNTING,
        jnp.ones(50),
        sampler=fixed_size_sampler(50, 40),
        num_steps=50,
        make_optimizer=lambda h: optax.sgd(-1.0),
        sum_factory=Summing(aggregation=dropouts(0.2)),
    )
    state, history = jax.jit(train)(HParams(), KEY)
    dropped = int(history.steps["dropped"].sum())
    assert abs(dropped - 400) < 4 * (2000 * 0.2 * 0.8) ** 0.5
    assert int(state.unit_states.sum()) == 2000 - dropped
    assert float(state.params) == pytest.approx((2000 - dropped) / 40, rel=1e-5)
    with pytest.raises(ValueError, match=r"dropout_rate=1\.1"):
        dropouts(1.1)


@pytest.mark.parametrize("name", ["secure", "homomorphic", "local", "robust"])
def test_a_client_that_is_lost_is_not_there_to_an_aggregation_around_it_or_within(name):
    """Below the threshold the round is aborted either way, and who is lost adds no noise."""
    aggregation = {
        "secure": secure_aggregation(threshold=3, masks=False, noise="skellam", noise_multiplier=1.0),
        "homomorphic": homomorphic_aggregation(),
        "local": local_privacy("gaussian", noise_multiplier=1.0),
        "robust": robust_aggregation("median"),
    }[name]
    units = jnp.arange(12.0).reshape(4, 3) / 10
    cohort = Cohort(units, jnp.arange(4) < 3 + (name != "secure"))

    @jax.jit
    def both(key):
        around = dropouts(0.4)(aggregation(clipped_sum))(ITSELF)(jnp.zeros(3), cohort, key, 1.0)
        within = aggregation(dropouts(0.4)(clipped_sum))(ITSELF)(jnp.zeros(3), cohort, key, 1.0)
        return around, within

    lost = 0
    for seed in range(6):
        around, within = both(jax.random.key(seed))
        np.testing.assert_allclose(around.total, within.total, atol=1e-5)
        for one in (around, within):
            assert int(one.report["dropped"]) == int(jnp.sum(cohort.mask & ~one.accepted))
            if name == "secure":
                assert bool(one.released) == bool(one.report["dropped"] == 0)
        np.testing.assert_array_equal(around.accepted, within.accepted)
        lost += int(within.report["dropped"])
    assert lost > 3


def test_dropouts_twice_count_all_that_were_lost():
    lossy = dropouts(0.0)(dropouts(1.0)(clipped_sum))(ITSELF)
    out = jax.jit(lossy)(jnp.zeros(()), Cohort(jnp.ones(4), jnp.ones(4, bool)), KEY, 1.0)
    assert int(out.report["dropped"]) == 4
    assert not out.accepted.any()
