"""Secure aggregation: exact sums, uniform uploads, recovery, aborts, bounded rounding, and what is refused."""

from dataclasses import replace
from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import shamirs
from scipy.stats import chi2

from dpjax import (
    Cohort,
    HParams,
    Population,
    Summing,
    bucketed,
    client_delta,
    clipped_sum,
    example_gradient,
    fixed_size_sampler,
    make_train,
    poisson_sampler,
)
from dpjax.federated import dirichlet_partition, scaffold, secure_aggregation
from dpjax.federated.aggregation.key_agreement import agree
from dpjax.federated.aggregation.masking import masked_vectors, unmasked_sum
from dpjax.federated.aggregation.quantization import inner_fraction, safe_levels, stochastic_round
from tests.problems import ITSELF, softmax_loss, three_classes

KEY = jax.random.key(0)
X, Y, PARAMS, RNG = three_classes(60)


def ring(rng, *shape):
    return rng.integers(0, 2**32, shape, dtype=np.uint32)


mask_all, unmask = jax.jit(masked_vectors), jax.jit(unmasked_sum)


def protocol(vectors, present, arrived, answering, threshold):
    done = agree(present, arrived, answering, threshold)
    uploads = mask_all(vectors, done.pair_seeds, done.self_seeds, present)
    total = unmask(uploads, done.recovered_pairs, done.recovered_selves, present, arrived)
    return done, np.asarray(uploads), np.asarray(total)


# ---- the protocol --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(6))
def test_the_sum_of_who_arrived_is_exact_whoever_drops_out(seed):
    rng = np.random.default_rng(seed)
    vectors = ring(rng, 9, 7)
    present = rng.random(9) < 0.9
    arrived = present & (rng.random(9) < 0.7)
    answering = arrived & (rng.random(9) < 0.8)
    threshold = max(2, int(answering.sum()))
    done, _, total = protocol(vectors, present, arrived, answering, threshold)
    assert bool(done.released) == bool(answering.sum() > 1)
    if done.released:
        assert (total == vectors[arrived].sum(0, dtype=np.uint32)).all()
        assert (done.recovered_selves[~arrived] == 0).all()  # one of two shares, never both
        assert (done.recovered_pairs[arrived] == 0).all()


def test_too_few_answers_rebuild_nothing():
    everyone = np.ones(6, bool)
    answering = np.arange(6) < 3
    done, _, _ = protocol(ring(RNG, 6, 5), everyone, everyone, answering, 4)
    assert not done.released
    assert not done.recovered_selves.any()
    assert not done.recovered_pairs.any()
    assert done.pair_seeds.any()
    few = agree(answering, answering, answering, 4)
    assert not few.released
    assert not few.pair_seeds.any()  # nobody starts


def uniform(words):
    """Whether the bytes of some words look uniform: the chi-square statistic, at a chance of 1e-6 to fail."""
    counts = np.bincount(words.astype(np.uint32).view(np.uint8).ravel(), minlength=256)
    expected = counts.sum() / 256
    return np.sum((counts - expected) ** 2 / expected) < chi2.isf(1e-6, 255)


@pytest.mark.parametrize("vector", [0, 1, 2**31])
def test_what_the_server_sees_of_a_client_is_uniform_whatever_it_sends(vector):
    vectors = np.full((5, 20_000), vector, np.uint32)
    everyone = np.ones(5, bool)
    _, uploads, total = protocol(vectors, everyone, everyone, everyone, 3)
    assert all(uniform(row) for row in uploads)
    assert (total == np.uint32(5 * vector % 2**32)).all()
    assert not uniform(vectors[0])  # or the test could not fail
    # Jointly as well: no two uploads, nor their difference, give a vector away.
    assert all(uniform(uploads[i] - uploads[j]) for i in range(5) for j in range(i))


def test_a_coalition_below_the_threshold_learns_the_sum_of_the_others_and_nothing_else():
    """The server and two of six clients strip every mask they know from what the other four sent."""
    n, size, threshold, bad = 6, 20_000, 3, [1, 4]
    vectors = np.zeros((n, size), np.uint32) + np.arange(n, dtype=np.uint32)[:, None] * 1000
    everyone = np.ones(n, bool)
    done, uploads, _ = protocol(vectors, everyone, everyone, everyone, threshold)
    honest = [k for k in range(n) if k not in bad]
    # What the server rebuilds: everyone's own mask. What the coalition knows: its members' pairs.
    known = np.zeros((n, n, 2), np.uint32)
    for k in bad:
        known[k], known[:, k] = done.pair_seeds[k], done.pair_seeds[:, k]
    present_bad = np.array([k in bad for k in range(n)])
    stripped = {}
    for k in honest:
        there = present_bad.copy()
        there[k] = True
        mask = np.asarray(mask_all(np.zeros((n, size), np.uint32), known, done.self_seeds, there))
        stripped[k] = uploads[k] - mask[k]
    for subset in ([0], [2], [0, 2], [0, 2, 3], [2, 3, 5]):
        assert uniform(sum(stripped[k] for k in subset))  # any part of the honest is masked by the rest
    assert (sum(stripped[k] for k in honest) == vectors[honest].sum(0)).all()


def test_fewer_shares_than_the_threshold_say_nothing_of_a_secret():
    """In a field of seven, where all can be counted: any two of the shares of a 3-threshold secret are uniform."""
    tables = []
    for secret in (2, 5):
        counts = np.zeros((7, 7))
        for _ in range(7000):
            shares = shamirs.shares(secret, quantity=4, modulus=7, threshold=3)
            counts[shares[0][1], shares[3][1]] += 1
        tables.append(np.sum((counts - 7000 / 49) ** 2 / (7000 / 49)))
    assert max(tables) < chi2.isf(1e-6, 48)
    from dpjax.federated.aggregation.parties import PRIME, _dealt, _weights_at_zero

    shares, secret = _dealt(bytes(range(32)), 5, 3), int.from_bytes(bytes(range(32)), "big")
    for chosen in ([1, 2, 3], [5, 1, 4]):
        assert sum(w * shares[i - 1] for w, i in zip(_weights_at_zero(chosen), chosen, strict=True)) % PRIME == secret
        assert shamirs.interpolate([shamirs.share(i, shares[i - 1], PRIME) for i in chosen], PRIME) == secret
    two = [1, 2]
    assert sum(w * shares[i - 1] for w, i in zip(_weights_at_zero(two), two, strict=True)) % PRIME != secret


def test_each_round_has_keys_of_its_own():
    there = np.ones(3, bool)
    one, other = agree(there, there, there, 2), agree(there, there, there, 2)
    assert (one.pair_seeds != other.pair_seeds).any()
    assert (one.self_seeds != other.self_seeds).any()


# ---- rounding ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("size", "levels"), [(1, 5), (7, 6), (60, 12), (200, 40), (200, 4000)])
def test_a_rounded_vector_keeps_the_bound(size, levels):
    vectors = np.random.default_rng(0).normal(size=(300, size))
    vectors *= levels * inner_fraction(levels, size) / np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors = jnp.asarray(vectors, jnp.float32)
    rounded = jax.jit(jax.vmap(lambda v, k: stochastic_round(v, k, levels)))(vectors, jax.random.split(KEY, 300))
    rounded = np.asarray(rounded)
    assert np.linalg.norm(rounded, axis=1).max() <= levels * (1 + 1e-6)
    assert np.abs(rounded - np.asarray(vectors)).max() < 1 + 1e-3
    assert (rounded != np.trunc(vectors)).any()


def test_rounding_has_no_bias_and_half_as_much_variance_as_a_coin():
    vector = jnp.array([0.25, -0.25, 3.0, 10.5])
    round_with = jax.jit(jax.vmap(lambda k: stochastic_round(vector, k, 100)))
    draws = np.asarray(round_with(jax.random.split(KEY, 20_000)), np.float64)
    np.testing.assert_allclose(draws.mean(0), vector, atol=4 * 0.5 / 20_000**0.5)
    np.testing.assert_allclose(draws.var(0), [3 / 16, 3 / 16, 0, 1 / 4], atol=0.01)


def test_a_vector_that_no_draw_fits_is_rounded_towards_zero():
    vector = np.full(100, 1.5, np.float32)  # norm 15; of 100 coordinates about half would go up to 2: norm 15.8
    np.testing.assert_array_equal(jax.jit(lambda v, k: stochastic_round(v, k, 12))(vector, KEY), np.ones(100))


def test_a_grid_that_rounding_alone_fills_is_refused():
    with pytest.raises(ValueError, match="levels=50 are too few for 10000 coordinates"):
        inner_fraction(50, 10_000)
    assert 0 < inner_fraction(100, 10_000) < 1


# ---- the aggregation -----------------------------------------------------------------------------------------------


def cohort_of(size=9):
    return Cohort((X[:size], Y[:size]), jnp.arange(size) != 3, jnp.linspace(0.2, 1, size))


plain_sum = jax.jit(clipped_sum(example_gradient(softmax_loss)))


@pytest.mark.parametrize(("bits", "tolerance"), [(32, 1e-5), (20, 1e-3), (16, 2e-2)])
@pytest.mark.parametrize("masks", [True, False])
def test_it_equals_the_plain_sum_to_the_precision_it_states(bits, tolerance, masks):
    plain = plain_sum(PARAMS, cohort_of(), KEY, 0.5)
    secure = secure_aggregation(threshold=4, bits=bits, masks=masks)(clipped_sum)(example_gradient(softmax_loss))
    out = jax.jit(secure)(PARAMS, cohort_of(), KEY, 0.5)
    assert bool(out.released)
    error = max(jax.tree.leaves(jax.tree.map(lambda a, b: np.abs(np.subtract(a, b)).max(), out.total, plain.total)))
    assert error == pytest.approx(0.5 * float(out.report["aggregation_error"]), abs=1e-6)
    assert error < tolerance * 0.5
    if bits < 32:
        assert error > 0
    np.testing.assert_allclose(out.norms, plain.norms, rtol=1e-6)


def test_masks_change_nothing():
    contribution = example_gradient(softmax_loss)
    sums = [
        jax.jit(secure_aggregation(threshold=2, bits=16, dropout_rate=0.3, masks=masks)(clipped_sum)(contribution))(
            PARAMS, cohort_of(), KEY, 0.5
        )
        for masks in (True, False)
    ]
    assert all(np.array_equal(a, b) for a, b in zip(*map(jax.tree.leaves, sums), strict=True))
    assert int(sums[0].report["dropped"]) > 0


def test_one_client_moves_the_sum_by_no_more_than_the_clip_norm_rounding_included():
    """On a grid so coarse that rounding up alone would break the bound."""
    rows = jnp.asarray(np.random.default_rng(1).normal(size=(4, 400)), jnp.float32)
    secure = secure_aggregation(threshold=2, levels=30, masks=False)(clipped_sum)(ITSELF)
    run = jax.jit(lambda mask, key: secure(jnp.zeros(400), Cohort(rows, mask), key, 0.7).total)
    moved = []
    for seed, k in product(range(10), range(4)):
        key = jax.random.key(seed)
        everyone, without = (np.asarray(run(mask, key)) for mask in (np.ones(4, bool), np.arange(4) != k))
        moved.append(np.linalg.norm(everyone - without))
    assert max(moved) <= 0.7 * (1 + 1e-5)
    assert max(moved) > 0.68  # and the room is used


def test_a_small_ring_that_wraps_is_counted_and_elsewhere_refused():
    cohort = Cohort(jnp.ones((20, 1)) * 5, jnp.ones(20, bool))
    with pytest.raises(ValueError, match="levels=60 with bits=8 let a sum over 20 clients wrap around; take at most 6"):
        jax.jit(secure_aggregation(threshold=2, bits=8, levels=60)(clipped_sum)(ITSELF))(jnp.zeros(1), cohort, KEY, 1.0)
    options = {"threshold": 2, "bits": 8, "levels": 60, "allow_wraparound": True}
    fun = jax.jit(secure_aggregation(**options)(clipped_sum)(ITSELF))
    out = fun(jnp.zeros(1), cohort, KEY, 1.0)
    assert int(out.report["wrapped"]) == 1  # 20 x 60 steps in a ring of 256
    one = fun(jnp.zeros(1), cohort._replace(mask=np.arange(20) < 2), KEY, 1.0)
    assert int(one.report["wrapped"]) == 0
    assert float(one.total[0]) == pytest.approx(2 * inner_fraction(60, 1), abs=2 / 60)


@pytest.mark.parametrize("bits", [8, 16, 32])
def test_the_safe_grid_is_the_largest_that_cannot_wrap(bits):
    clients = 7
    levels = safe_levels(bits, clients)
    assert clients * levels < 2 ** (bits - 1)
    assert levels == 2**22 or clients * (levels + 1) >= 2 ** (bits - 1)


def test_a_client_that_sends_nan_counts_as_zero_and_is_reported():
    rows = jnp.ones((5, 3)).at[2].set(jnp.nan)
    fun = jax.jit(secure_aggregation(threshold=2)(clipped_sum)(ITSELF))
    out = fun(jnp.zeros(3), Cohort(rows, np.ones(5, bool)), KEY, 1.0)
    assert int(out.num_rejected) == 1
    np.testing.assert_allclose(out.total, 4 / 3**0.5, rtol=1e-4)


# ---- whole runs ----------------------------------------------------------------------------------------------------


def run(
    aggregation=None, solver=None, *, rounds=5, units=None, noise=0.5, weights=None, sampler=None, contribution=None
):
    records = dirichlet_partition(np.asarray(Y), 8, alpha=0.5, seed=0)
    train = make_train(
        lambda key: PARAMS,
        solver or contribution or client_delta(softmax_loss, optax.sgd(0.3), num_steps=2, batch_size=4),
        Population(records if units is None else units, (X, Y), weights),
        sampler=sampler or fixed_size_sampler(8, 6),
        num_steps=rounds,
        make_optimizer=lambda h: optax.sgd(1.0),
        sum_factory=Summing(aggregation=aggregation),
    )
    return train, HParams(clip_norm=0.5, noise_multiplier=noise)


def test_a_run_is_the_plain_run_whatever_the_solver_the_buckets_and_the_weights():
    solver = scaffold(softmax_loss, learning_rate=0.3, num_steps=2, participation=0.75, batch_size=4)
    records = dirichlet_partition(np.asarray(Y), 8, alpha=0.5, seed=0)
    buckets, _ = bucketed(records, 2)
    cases = [
        {"solver": solver, "units": buckets, "weights": np.arange(1, 9) / 36},
        {"sampler": replace(poisson_sampler(8, 0.75, num_steps=5), abort_probability=1.0)},
    ]
    for case in cases:
        ends = []
        for aggregation in (None, secure_aggregation(threshold=3, masks="solver" not in case)):
            train, hparams = run(aggregation, **case)
            state, history = jax.jit(train)(hparams, KEY)
            ends.append(state.params)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4), *ends)
        assert int(history.steps["aborted"].sum()) == 0
        assert float(history.steps["uplink_bytes"].min()) > 4 * 21


def test_too_many_dropouts_abort_the_round_without_harm():
    train, hparams = run(secure_aggregation(threshold=6, dropout_rate=0.15), rounds=12)
    state, history = jax.jit(train)(hparams, KEY)
    aborted = np.asarray(history.steps["aborted"])
    np.testing.assert_array_equal(aborted, np.asarray(history.steps["dropped"]) > 0)
    assert 0 < aborted.sum() < 12
    assert all(bool(jnp.isfinite(x).all()) for x in jax.tree.leaves(state.params))
    nobody = secure_aggregation(threshold=2, dropout_rate=1.0, masks=False)
    never, history = jax.jit(run(nobody, rounds=3)[0])(hparams, KEY)
    assert int(history.steps["aborted"].sum()) == 3
    jax.tree.map(np.testing.assert_array_equal, never.params, PARAMS)


def test_lanes_of_a_sweep_run_the_protocol_each_for_itself():
    train, hparams = run(secure_aggregation(threshold=3, dropout_rate=0.1), rounds=2)
    keys = jax.random.split(KEY, 2)
    both = jax.jit(jax.vmap(train, in_axes=(None, 0)))(hparams, keys)[0].params
    single = jax.jit(train)
    for lane in range(2):
        alone = single(hparams, keys[lane])[0].params
        jax.tree.map(lambda a, b, k=lane: np.testing.assert_allclose(a[k], b, atol=1e-5), both, alone)


# ---- bad input -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"threshold": 1}, "threshold=1 must be ≥ 2"),
        ({"threshold": 20}, "threshold=20 is above the cohort's 9 slots"),
        ({"threshold": 2, "bits": 33}, "bits=33 must be from 2 to 32"),
        ({"threshold": 2, "bits": 4}, "bits=4 are too few for a cohort of 9 clients"),
        ({"threshold": 2, "levels": 0}, "levels=0 must be from 1"),
        ({"threshold": 2, "levels": 2}, "levels=2 are too few for 21 coordinates"),
        ({"threshold": 2, "dropout_rate": 1.5}, r"dropout_rate=1.5 must be in \[0, 1\]"),
        ({"threshold": 2, "late_dropout_rate": -0.1}, "late_dropout_rate=-0.1"),
    ],
)
def test_bad_settings_are_named(options, words):
    with pytest.raises(ValueError, match=words):
        jax.jit(secure_aggregation(**options)(clipped_sum)(example_gradient(softmax_loss)))(
            PARAMS, cohort_of(), KEY, 0.5
        )


def test_a_ring_needs_a_bound():
    with pytest.raises(ValueError, match="clip_norm=inf must be finite"):
        secure_aggregation(threshold=2)(clipped_sum)(example_gradient(softmax_loss))(
            PARAMS, cohort_of(), KEY, float("inf")
        )
