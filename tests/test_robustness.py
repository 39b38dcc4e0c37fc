"""Corrupted clients and robust means: against NumPy, against attacks, and never with noise."""

import math
from fractions import Fraction
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dpjax import (
    Cohort,
    HParams,
    Population,
    Records,
    Summing,
    bucketed,
    clipped_sum,
    example_gradient,
    fixed_size_sampler,
    make_train,
)
from dpjax.federated import (
    corruptible,
    corruption,
    draw_corrupted,
    dropouts,
    fedavg,
    flip_labels,
    robust_aggregation,
    scaffold,
    secure_aggregation,
)
from dpjax.federated.aggregation.robust import _assumed
from tests.problems import ITSELF

KEY = jax.random.key(0)
RNG = np.random.default_rng(0)
ROWS = jnp.asarray(RNG.normal(size=(9, 5)), jnp.float32)
MASK = jnp.arange(9) != 3


plain_sum = jax.jit(clipped_sum(ITSELF))


@cache
def robust_sum(kind, **options):
    return jax.jit(robust_aggregation(kind, **options)(clipped_sum)(ITSELF))


def total(kind, rows=ROWS, mask=MASK, clip_norm=jnp.inf, **options):
    out = robust_sum(kind, **options)(np.zeros(rows.shape[1], np.float32), Cohort(rows, mask), KEY, clip_norm)
    return np.asarray(out.total), out


def krum(rows, f, many):
    n = len(rows)
    distances = ((rows[:, None] - rows[None]) ** 2).sum(-1)
    scores = np.array([np.sort(np.delete(d, i))[: max(n - f - 2, 1)].sum() for i, d in enumerate(distances)])
    return rows[np.argsort(scores, kind="stable")[: n - f if many else 1]].mean(0)


KINDS = {
    "trimmed_mean": ({"corrupted_fraction": 0.25}, lambda x: np.sort(x, 0)[2:-2].mean(0)),
    "median": ({}, lambda x: np.median(x, 0)),
    "krum": ({"corrupted_fraction": 0.25}, lambda x: krum(x, 2, False)),
    "multi_krum": ({"corrupted_fraction": 0.25}, lambda x: krum(x, 2, True)),
}


@pytest.mark.parametrize("kind", KINDS)
def test_robust_means_are_those_of_numpy(kind):
    options, expected = KINDS[kind]
    present = np.asarray(ROWS)[np.asarray(MASK)]
    np.testing.assert_allclose(total(kind, **options)[0] / 8, expected(present.astype(np.float64)), rtol=2e-5)


def test_the_geometric_median_has_the_least_sum_of_distances():
    present = np.asarray(ROWS)[np.asarray(MASK)]
    point = total("geometric_median", num_iterations=60)[0] / 8

    def cost(x):
        return np.linalg.norm(present - x, axis=1).sum()

    for step in RNG.normal(size=(50, 5)) * 0.01:
        assert cost(point) <= cost(point + step) + 1e-4


@pytest.mark.parametrize("kind", [*KINDS, "geometric_median"])
def test_where_all_send_the_same_it_is_the_plain_sum(kind):
    rows = np.broadcast_to(np.asarray(ROWS)[0], ROWS.shape)
    plain = plain_sum(np.zeros(5, np.float32), Cohort(rows, MASK), KEY, 1.0).total
    options = KINDS[kind][0] if kind in KINDS else {}
    np.testing.assert_allclose(total(kind, rows, clip_norm=1.0, **options)[0], plain, rtol=1e-5)


@pytest.mark.parametrize("kind", [*KINDS, "geometric_median"])
def test_a_minority_cannot_carry_it_off(kind):
    """With two of eight anywhere in the clip ball, the mean stays among the honest; the plain sum does not."""
    honest = 0.1 * np.asarray(ROWS) + np.float32(0.3)
    attack = honest.copy()
    attack[[1, 5]] = -50.0
    options = KINDS[kind][0] if kind in KINDS else {}
    good = honest[[0, 2, 4, 6, 7, 8]]
    found = total(kind, attack, clip_norm=2.0, **options)[0] / 8
    assert np.linalg.norm(found - good.mean(0)) < 0.25
    plain = np.asarray(plain_sum(np.zeros(5, np.float32), Cohort(attack, MASK), KEY, 2.0).total) / 8
    assert np.linalg.norm(plain - good.mean(0)) > 0.5


@pytest.mark.parametrize("kind", [*KINDS, "geometric_median"])
def test_rejected_messages_and_empty_slots_have_no_vote(kind):
    options = KINDS[kind][0] if kind in KINDS else {}
    without = total(kind, **options)[0]
    nan = np.array(ROWS)
    nan[3] = np.nan
    found, out = total(kind, nan, np.ones(9, bool), **options)
    np.testing.assert_allclose(found, without, rtol=1e-6)
    assert int(out.num_rejected) == 1
    padded = np.concatenate([ROWS, np.full((4, 5), 7, np.float32)])
    mask = np.concatenate([MASK, np.zeros(4, bool)])
    np.testing.assert_allclose(total(kind, padded, mask, **options)[0], without, rtol=1e-5, atol=1e-6)
    assert (total(kind, mask=np.zeros(9, bool), **options)[0] == 0).all()


def attacked(seed, distance, offset, spread=0.01, size=8):
    """Ten messages: one attacker near, who is a little off, and one far away."""
    rng = np.random.default_rng(seed)
    rows = 100 * spread * rng.normal(size=size) + offset + spread * rng.normal(size=(10, size))
    rows[0] = rows[1:9].mean(0) + 1000 * spread * np.eye(size)[0]
    rows[9] = distance * rng.normal(size=size)
    return rows.astype(np.float32)


@pytest.mark.parametrize("distance", [1.0, 1e6, 1e18, np.inf])
@pytest.mark.parametrize(("offset", "spread"), [(0.0, 0.01), (300.0, 0.01), (0.0, 1e-8)])
def test_a_far_attacker_costs_the_others_no_digits(distance, offset, spread):
    """Against float64, whatever the messages have in common and however small they are."""
    for seed in range(5):
        rows = attacked(seed, distance, offset, spread)
        n = 10 if np.isfinite(distance) else 9  # a message that is not finite is not there
        there = rows[:n].astype(np.float64)
        near, everyone = 20 * spread + 1e-6 * offset, np.ones(10, bool)
        for many in (False, True):
            found = total("multi_krum" if many else "krum", rows, everyone, corrupted_fraction=0.25)[0] / n
            np.testing.assert_allclose(found, krum(there, 2, many), atol=near / 10, rtol=1e-6)
        for kind in ("median", "geometric_median", "trimmed_mean"):
            options = {"corrupted_fraction": 0.25} if kind == "trimmed_mean" else {}
            found = total(kind, rows, everyone, **options)[0] / n
            assert np.abs(found - there[1:9].mean(0)).max() < near, kind


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_a_share_in_decimals_or_as_a_quotient_is_reached_as_it_is_meant(data):
    """Whatever float32 makes of it: 7 / 23 of 23 are 7, and .036 of 750 are 27, where its product is just below."""
    clients = data.draw(st.integers(1, 1000), "clients")
    meant = data.draw(
        st.one_of(
            st.integers(0, 499).map(lambda thousandths: Fraction(thousandths, 1000)),
            st.integers(0, (clients - 1) // 2).map(lambda few: Fraction(few, clients)),
        ),
        "share",
    )
    count, assumed = _assumed_of(np.arange(1000) < clients, np.float32(float(meant)))
    assert int(count) == clients
    assert int(assumed) == min(math.floor(meant * clients), (clients - 1) // 2)


_assumed_of = jax.jit(_assumed)


@pytest.mark.parametrize(
    ("share", "clients", "assumed"),
    [
        (0.036, 750, 27),
        (7 / 23, 23, 7),
        (0.333, 3, 0),
        (1 / 3, 3, 1),
        (0.29, 100, 29),
        (0.4999, 100, 49),
        (0.2, 5, 1),
        (0.19999, 5, 0),
        (0.07, 100, 7),
    ],
)
def test_the_share_is_rounded_down(share, clients, assumed):
    rows = np.arange(clients, dtype=np.float32)[:, None] ** 2
    expected = np.sort(rows[:, 0])[assumed : clients - assumed].mean()

    def mean(share):
        fun = robust_aggregation("trimmed_mean", corrupted_fraction=share)(clipped_sum)(ITSELF)
        everyone = Cohort(jnp.asarray(rows), jnp.asarray(np.ones(clients, bool)))
        return fun(jnp.zeros(1), everyone, KEY, jnp.inf).total[0] / clients

    assert float(jax.jit(lambda: mean(share))()) == pytest.approx(expected, rel=1e-6)
    assert float(jax.jit(mean)(share)) == pytest.approx(expected, rel=1e-6)


def test_a_traced_share_out_of_range_is_no_mean():
    fun = jax.jit(lambda share: total_of_share(share))
    assert np.isnan(fun(0.5)).all()
    assert np.isfinite(fun(0.4)).all()


def total_of_share(share):
    fun = robust_aggregation("krum", corrupted_fraction=share)(clipped_sum)(ITSELF)
    return fun(jnp.zeros(5), Cohort(ROWS, MASK), KEY, 1.0).total


def test_the_sum_says_that_it_has_no_sensitivity_and_one_client_shows_why():
    """One client more moves the median of eight by more than the clip norm: no noise made for the sum covers that."""
    rows = np.asarray([[1.0]] * 4 + [[-1.0]] * 4 + [[-1.0]], np.float32)
    eight, out = total("median", rows, np.arange(9) < 8, 1.0)
    nine, _ = total("median", rows, np.ones(9, bool), 1.0)
    assert abs(float(nine[0] - eight[0])) > 5
    assert np.isinf(out.clip_norm)


def training(aggregation):
    return make_train(
        lambda key: jnp.zeros(5),
        ITSELF,
        ROWS,
        sampler=fixed_size_sampler(9, 9),
        num_steps=2,
        make_optimizer=lambda h: optax.sgd(h.learning_rate),
        sum_factory=Summing(aggregation=aggregation),
    )


def test_noise_on_a_robust_mean_is_refused_and_nan_where_it_is_traced():
    median = robust_aggregation("median")
    with pytest.raises(ValueError, match=r"noise_multiplier=1.0 .*no sensitivity.*set it to 0"):
        training(median)(HParams(noise_multiplier=1.0), KEY)

    def traced(aggregation):
        train = jax.jit(training(aggregation))
        return lambda noise_multiplier: train(HParams(noise_multiplier=noise_multiplier), KEY)[0].params

    trained = traced(median)
    assert np.isfinite(trained(0.0)).all()
    assert np.isnan(trained(1.0)).all()
    assert np.isnan(traced(lambda f: dropouts(0.1)(median(f)))(1.0)).all()


@pytest.mark.parametrize("outer", [secure_aggregation(threshold=5), robust_aggregation("median")])
def test_another_sum_around_a_robust_one_is_refused(outer):
    fun = outer(robust_aggregation("median")(clipped_sum))(ITSELF)
    with pytest.raises(ValueError, match="around each other, and each forms the sum"):
        fun(jnp.zeros(5), Cohort(ROWS, MASK), KEY, 1.0)


def test_a_robust_mean_around_secure_aggregation_is_refused():
    fun = robust_aggregation("median")(secure_aggregation(threshold=5)(clipped_sum))(ITSELF)
    with pytest.raises(ValueError, match="around each other, and each forms the sum"):
        fun(jnp.zeros(5), Cohort(ROWS, MASK), KEY, 1.0)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: robust_aggregation("mode"), "kind='mode' is not known; use one of trimmed_mean"),
        (lambda: robust_aggregation("krum"), "corrupted_fraction=None, but kind='krum' needs"),
        (lambda: robust_aggregation("trimmed_mean", corrupted_fraction=0.5), r"must be in \[0, 0.5\)"),
        (lambda: robust_aggregation("krum", corrupted_fraction=jnp.float32(0.7)), r"must be in \[0, 0.5\)"),
        (lambda: robust_aggregation("median", corrupted_fraction=0.1), "is not used by kind='median'"),
        (lambda: robust_aggregation("geometric_median", num_iterations=0), "num_iterations=0 must be ≥ 1"),
        (lambda: corruption("evil"), "kind='evil' is not known; use one of nan"),
        (lambda: corruption("scaled", factor=-1.0), "factor=-1.0 must be finite and ≥ 0"),
        (lambda: corruption("noise", stddev=-1.0), "stddev=-1.0 must be finite and ≥ 0"),
        (lambda: draw_corrupted(KEY, 10, 1.5), r"corrupted_fraction=1.5 must be in \[0, 1\]"),
        (lambda: corruptible(ROWS, [True]), r"is not for the 9 units there are; give one boolean each"),
        (lambda: flip_labels([0, 5], OWNERS, [True, False], 2), "labels reach from 0 to 5, but num_classes=2"),
    ],
)
def test_bad_input_is_one_sentence(call, words):
    with pytest.raises(ValueError, match=words):
        call()


# ---- corrupted clients ---------------------------------------------------------------------------------------------

OWNERS = Records(jnp.array([[0, 1], [2, 3]]), jnp.ones((2, 2), bool))


@pytest.mark.parametrize(
    ("kind", "options", "expected"),
    [
        ("nan", {}, 0.0),
        ("scaled", {}, 10.0),
        ("scaled", {"factor": 3.0}, 3.0),
        ("sign_flipped", {}, -1.0),
        ("sign_flipped", {"factor": 2.0}, -2.0),
    ],
)
def test_what_the_corrupted_send(kind, options, expected):
    marks = jnp.array([False, True, False])
    fun = jax.jit(corruption(kind, **options)(clipped_sum)(ITSELF))
    cohort = Cohort(corruptible(jnp.ones((3, 2)), marks), jnp.ones(3, bool))
    out = fun(jnp.zeros(2), cohort, KEY, jnp.inf)
    np.testing.assert_allclose(out.total, 2.0 + expected)
    assert int(out.num_rejected) == (kind == "nan")
    # What is sent is bounded like any message.
    bounded = fun(jnp.zeros(2), cohort, KEY, 0.1)
    np.testing.assert_array_less(np.asarray(bounded.norms) * 0, 1)
    assert np.linalg.norm(bounded.total) <= 0.3 + 1e-6


def test_noise_in_place_of_a_message_has_its_deviation():
    marks = jnp.ones(1, bool)
    fun = jax.jit(corruption("noise", stddev=3.0)(clipped_sum)(example_gradient(lambda w, x, key: jnp.sum(w) * x)))
    out = fun(jnp.zeros(20_000), Cohort(corruptible(jnp.ones(1), marks), jnp.ones(1, bool)), KEY, jnp.inf)
    assert abs(np.std(np.asarray(out.total, np.float64)) - 3) < 4 * 3 / np.sqrt(40_000)


def test_units_without_marks_are_refused():
    with pytest.raises(TypeError, match="without a mark of who is corrupted"):
        corruption("nan")(clipped_sum)(ITSELF)(jnp.zeros(5), Cohort(ROWS, MASK), KEY, 1.0)


def quadratic(w, example, key):
    return 0.5 * (w - example) ** 2


@pytest.mark.parametrize("buckets", [0, 2])
@pytest.mark.parametrize("solver_name", ["fedavg", "scaffold"])
def test_who_is_corrupted_stays_the_same_in_a_whole_run(solver_name, buckets):
    """30 % send ten times their delta with the sign turned: the plain mean runs away, the median does not."""
    clients, rows = 20, 3
    sizes = RNG.integers(1, rows + 1, clients)
    owners = Records(jnp.arange(clients * rows).reshape(clients, rows), jnp.asarray(np.arange(rows) < sizes[:, None]))
    examples = jnp.asarray(RNG.normal(2.0, 0.3, clients * rows), jnp.float32)
    units, order = bucketed(owners, buckets) if buckets else (owners, np.arange(clients))
    marks = draw_corrupted(KEY, clients, 0.3)
    assert int(marks.sum()) == 6
    if solver_name == "fedavg":
        solver = fedavg(quadratic, optax.sgd(0.3), num_steps=5)
    else:
        solver = scaffold(quadratic, learning_rate=0.3, num_steps=5, participation=1.0)

    def run(robust):
        def aggregation(factory):
            inner = robust_aggregation("median")(factory) if robust else factory
            return corruption("sign_flipped", factor=10.0)(inner)

        train = make_train(
            lambda key: jnp.float32(0),
            solver,
            Population(corruptible(units, marks[order]), examples),
            sampler=fixed_size_sampler(clients, clients),
            num_steps=8,
            make_optimizer=lambda h: optax.sgd(1.0),
            sum_factory=Summing(aggregation=aggregation),
        )
        state, history = jax.jit(train)(HParams(clip_norm=jnp.inf), KEY)
        np.testing.assert_allclose(history.steps["corrupted"], 0.3, rtol=1e-6)
        return abs(float(solver.model_of(state.params)) - 2)

    assert run(robust=False) > 5
    assert run(robust=True) < 0.5


def test_labels_are_turned_round_where_the_corrupted_hold_them():
    labels = RNG.integers(0, 10, 12)
    owners = Records(jnp.arange(12).reshape(4, 3), jnp.ones((4, 3), bool))
    flipped = flip_labels(labels, owners, [False, True, False, True], 10)
    np.testing.assert_array_equal(flipped[[3, 4, 5, 9, 10, 11]], 9 - labels[[3, 4, 5, 9, 10, 11]])
    np.testing.assert_array_equal(flipped[[0, 1, 2, 6, 7, 8]], labels[[0, 1, 2, 6, 7, 8]])


def test_a_row_of_both_kinds_of_client_is_refused():
    shared = Records(jnp.array([[0, 1], [1, 2]]), jnp.ones((2, 2), bool))
    with pytest.raises(ValueError, match="row 1 belongs to a corrupted and to an honest client"):
        flip_labels([0, 1, 0], shared, [True, False], 2)
