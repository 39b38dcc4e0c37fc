"""Distributed noise: its samples, its bounds against exact divergences, and its sum under secure aggregation."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy import special, stats

from dpjax import (
    Cohort,
    HParams,
    Mechanism,
    Summing,
    calibrate_noise,
    clipped_sum,
    epsilon,
    make_train,
)
from dpjax.accounting import DistributedNoise, rdp_epsilon
from dpjax.accounting.accountants import rdp_bound
from dpjax.accounting.mechanism import dominating_pair
from dpjax.federated import distributed_noise, secure_aggregation
from dpjax.federated.aggregation.discrete import discrete_gaussian, skellam
from dpjax.sampling import fixed_size_sampler
from tests.problems import ITSELF

KEY = jax.random.key(0)
BASE: dict[str, Any] = {"unit": "client", "adjacency": "zero_out", "sampling": "full", "sampling_rate": 1.0}

# ---- samples -------------------------------------------------------------------------------------------------------


def weights(kind, stddev, reach):
    k = np.arange(-reach, reach + 1)
    w = special.ive(np.abs(k), stddev**2) if kind == "skellam" else np.exp(-(k**2) / (2 * stddev**2))
    return k, w / w.sum()


SAMPLERS = {"discrete_gaussian": discrete_gaussian, "skellam": skellam}


@pytest.mark.parametrize("kind", SAMPLERS)
@pytest.mark.parametrize("stddev", [0.4, 1.0, 3.3, 7.9, 8.1, 50.0])
def test_samples_have_the_distribution(kind, stddev):
    size = 200_000
    samples = np.asarray(SAMPLERS[kind](KEY, size, stddev))
    k, p = weights(kind, stddev, int(12 * stddev) + 12)
    edges = k[(p * size > 20)]
    inside = (k >= edges[0]) & (k <= edges[-1])
    counts = np.array([(samples == v).sum() for v in edges] + [((samples < edges[0]) | (samples > edges[-1])).sum()])
    expected = np.append(p[inside], 1 - p[inside].sum()) * size
    keep = expected > 5
    chi = ((counts - expected)[keep] ** 2 / expected[keep]).sum()
    assert stats.chi2.sf(chi, keep.sum() - 1) > 1e-4


@pytest.mark.parametrize("kind", SAMPLERS)
def test_large_deviations_have_the_moments_of_the_normal(kind):
    stddev, size = 30_000.0, 200_000
    samples = np.asarray(SAMPLERS[kind](KEY, size, stddev), np.float64) / stddev
    assert abs(samples.mean()) < 4.5 / np.sqrt(size)
    assert abs(samples.var() - 1) < 4.5 * np.sqrt(2 / size)
    assert stats.kstest(samples, "norm").pvalue > 1e-3


@pytest.mark.parametrize("kind", SAMPLERS)
def test_the_deviation_may_be_traced_and_zero_is_zero(kind):
    fun = jax.jit(lambda s: SAMPLERS[kind](KEY, 1000, s))
    assert not fun(0.0).any()
    assert float(fun(40.0).std()) == pytest.approx(40, rel=0.1)
    with pytest.raises(ValueError, match=r"stddev=-1\.0 must be in \[0, 524288\]"):
        SAMPLERS[kind](KEY, 5, -1.0)


# ---- accounting ----------------------------------------------------------------------------------------------------


def run(kind, *, dimension, levels, shares, noise_multiplier, num_steps=1, secret=False, **fields):
    noise = DistributedNoise(kind, dimension, levels, shares, secret)
    return Mechanism(**BASE | fields, noise_multiplier=noise_multiplier, num_steps=num_steps, noise=noise)


def summed(kind, stddev, shares, reach):
    """The exact distribution of the sum of so many shares, by convolution."""
    _, one = weights(kind, stddev / math.sqrt(shares), reach)
    total = one
    for _ in range(shares - 1):
        total = np.convolve(total, one)
    middle = len(total) // 2
    return total[middle - reach : middle + reach + 1]


def exact_renyi(order, p, q):
    ok = (p > 1e-290) & (q > 1e-290)
    return special.logsumexp(order * np.log(p[ok]) - (order - 1) * np.log(q[ok])) / (order - 1)


@pytest.mark.parametrize("kind", SAMPLERS)
@pytest.mark.parametrize(("stddev", "shares"), [(1.2, 1), (1.5, 4), (2.0, 3), (3.0, 9), (8.0, 4)])
def test_the_bound_holds_for_the_exact_divergence_of_a_sum(kind, stddev, shares):
    """In one dimension, at grids so coarse that the sum of discrete Gaussians is none itself."""
    reach = int(30 * stddev) + 20
    p = summed(kind, stddev, shares, reach)
    for levels in (1, 2):
        pair = dominating_pair(run(kind, dimension=1, levels=levels, shares=shares, noise_multiplier=stddev / levels))
        assert pair.model is not None
        for order in (1.3, 2.0, 3.0, 4.6, 8.0):
            exact = exact_renyi(order, p[levels:], p[:-levels])
            assert exact <= pair.model.renyi([order])[0] * (1 + 1e-9)


def test_with_a_fine_grid_it_is_the_gaussian():
    gauss = epsilon(Mechanism(**BASE, noise_multiplier=3.0, num_steps=10), 1e-5, "rdp")
    for kind in SAMPLERS:
        fine = run(kind, dimension=10_000, levels=2**14, shares=50, noise_multiplier=3.0, num_steps=10)
        assert gauss <= epsilon(fine, 1e-5, "rdp") * (1 + 1e-9)
        assert epsilon(fine, 1e-5, "rdp") == pytest.approx(gauss, rel=2e-3)
        coarse = run(kind, dimension=10_000, levels=2, shares=50, noise_multiplier=3.0, num_steps=10)
        assert epsilon(coarse, 1e-5, "rdp") > 1.01 * gauss


def test_against_the_server_sampling_amplifies_nothing():
    fields = {"sampling": "fixed_size", "sampling_rate": 0.01, "population": 1000}
    options: dict[str, Any] = {"dimension": 100, "levels": 2**12, "shares": 5, "noise_multiplier": 2.0, "num_steps": 10}
    seen = epsilon(run("skellam", **options, **fields), 1e-5, "rdp")
    assert seen == pytest.approx(epsilon(run("skellam", **options), 1e-5, "rdp"), rel=1e-9)
    hidden = epsilon(run("skellam", **options, secret=True, **fields), 1e-5, "rdp")
    assert hidden < 0.3 * seen
    assert "holds against the server" in run("skellam", **options, **fields).describe()


@pytest.mark.parametrize("kind", SAMPLERS)
@pytest.mark.parametrize("rate", [0.05, 0.5])
def test_the_mixture_bound_holds_where_the_share_of_an_absent_unit_is_missing(kind, rate):
    """Neighbours differ only if the unit is there; if it is not, its noise is not there either."""
    stddev, shares, reach = 2.0, 4, 80
    with_it = summed(kind, stddev, shares, reach)
    _, one = weights(kind, stddev / math.sqrt(shares), reach)
    rest = one
    for _ in range(shares - 2):
        rest = np.convolve(rest, one)
    middle = len(rest) // 2
    rest = rest[middle - reach : middle + reach + 1]
    fields = {"sampling": "poisson", "sampling_rate": rate}
    model = dominating_pair(
        run(kind, dimension=1, levels=1, shares=shares, noise_multiplier=stddev, secret=True, **fields)
    ).model
    assert model is not None
    p = (1 - rate) * rest[1:] + rate * with_it[:-1]
    q = (1 - rate) * rest[1:] + rate * with_it[1:]
    for order in (1.5, 2.0, 4.0, 7.5):
        assert max(exact_renyi(order, p, q), exact_renyi(order, q, p)) <= model.renyi([order])[0] * (1 + 1e-9)


def test_sampling_without_replacement_meets_its_published_bound():
    """Theorem 9 of arXiv 1808.00087 at order 2, by hand: log(1 + q² min(4 (e^D - 1), 2 e^D)), D at distance 2."""
    rate, noise = 0.1, 4.0
    fields = {"sampling": "fixed_size", "sampling_rate": rate, "population": 100}
    mechanism = run(
        "discrete_gaussian", dimension=1, levels=2**12, shares=5, noise_multiplier=noise, secret=True, **fields
    )
    model = dominating_pair(mechanism).model
    assert model is not None
    divergence = 4 / noise**2
    expected = math.log(1 + rate**2 * min(4 * math.expm1(divergence), 2 * math.exp(divergence)))
    mixture = math.log1p(rate * math.expm1(divergence / 4))
    assert model.renyi([2.0])[0] == pytest.approx(min(expected, mixture), rel=1e-6)


def test_calibration_by_rdp_meets_its_target():
    mechanism = run("skellam", dimension=5000, levels=2**12, shares=40, noise_multiplier=0.0, num_steps=60)
    noise = calibrate_noise(mechanism, epsilon=4.0, delta=1e-5, accountant="rdp")
    options: dict[str, Any] = {"dimension": 5000, "levels": 2**12, "shares": 40, "num_steps": 60}
    assert rdp_epsilon(run("skellam", **options, noise_multiplier=noise), 1e-5) <= 4.0
    assert rdp_epsilon(run("skellam", **options, noise_multiplier=noise * 0.998), 1e-5) > 4.0


def test_too_little_noise_for_a_discrete_gaussian_sum_is_infinite():
    """Below a variance of 1/4 in a share nothing is known of the sum."""
    mechanism = run("discrete_gaussian", dimension=1, levels=1, shares=100, noise_multiplier=2.0)
    assert rdp_bound(dominating_pair(mechanism), 1e-5) == math.inf


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (
            lambda: DistributedNoise("laplace", 1, 1, 1),
            "kind='laplace' is not known; use one of discrete",
        ),
        (lambda: DistributedNoise("skellam", 0, 1, 1), "dimension=0 must be ≥ 1; see distributed_noise"),
        (lambda: run("skellam", **COARSE, adjacency="add_or_remove_one"), "takes its share of the noise along"),
        (lambda: epsilon(run("skellam", **COARSE), 1e-5), "use accountant='rdp'"),
        (lambda: calibrate_noise(run("skellam", **COARSE), epsilon=1.0, delta=1e-5), "use accountant='rdp'"),
        (lambda: secure_aggregation(threshold=3, noise="laplace"), "noise='laplace' is not known"),
        (lambda: secure_aggregation(threshold=3, noise="skellam", colluding=3), "colluding=3 must be from 0 to below"),
        (lambda: distributed_noise("skellam", dimension=5, slots=40, threshold=3, bits=6), "are too few for a cohort"),
    ],
)
def test_bad_input_is_one_sentence(call, words):
    with pytest.raises(ValueError, match=words):
        call()


COARSE: dict[str, Any] = {"dimension": 1, "levels": 1, "shares": 2, "noise_multiplier": 2.0}

# ---- under secure aggregation --------------------------------------------------------------------------------------


@pytest.mark.parametrize("noise", SAMPLERS)
def test_a_released_sum_has_the_noise_that_is_accounted(noise):
    """Exactly the threshold's clients: no less noise than is told, and the same with masks as without."""
    rows = jnp.zeros((4, 10_000))

    def summed(masks, mask, colluding=0):
        aggregation = secure_aggregation(
            threshold=4, noise=noise, noise_multiplier=2.0, colluding=colluding, masks=masks
        )
        fun = jax.jit(aggregation(clipped_sum)(ITSELF))
        return fun(jnp.zeros(10_000), Cohort(rows, mask), KEY, 3.0)

    # Masks cancel exactly, and their program takes seconds to compile: once is enough.
    out = summed(noise == "skellam", jnp.ones(4, bool))
    assert bool(out.released)
    assert float(out.total.std()) == pytest.approx(6.0, rel=0.03)
    np.testing.assert_allclose(out.total, summed(False, jnp.ones(4, bool)).total)
    assert float(out.noise.multiplier) == 2.0
    assert float(out.report["aggregation_error"]) < 1e-3  # of rounding; the noise is no error
    # One of four may collude: three others' noise must be enough by itself.
    assert float(summed(False, jnp.ones(4, bool), 1).total.std()) == pytest.approx(6 * math.sqrt(4 / 3), rel=0.03)
    assert not bool(summed(False, jnp.arange(4) < 3).released)


def test_the_step_adds_none_to_what_clients_added():
    noise = {"noise": "skellam", "noise_multiplier": 2.0}
    train = make_train(
        lambda key: jnp.zeros(5000),
        ITSELF,
        jnp.zeros((6, 5000)),
        sampler=fixed_size_sampler(6, 6),
        num_steps=1,
        make_optimizer=lambda h: optax.sgd(1.0),
        sum_factory=Summing(aggregation=secure_aggregation(threshold=6, masks=False, **noise)),
    )
    for told in (0.0, 2.0):
        state, _ = jax.jit(train)(HParams(clip_norm=3.0, noise_multiplier=told), KEY)
        assert float(state.params.std()) == pytest.approx(2 * 3 / 6, rel=0.05)
    for other in (1.0, 100.0):  # whoever states an ε by it states another run's
        for run in (train, jax.jit(train)):
            assert jnp.isnan(run(HParams(clip_norm=3.0, noise_multiplier=other), KEY)[0].params).all()


def test_the_accountant_is_told_what_runs():
    told = distributed_noise("skellam", dimension=100, slots=50, threshold=30, colluding=5)
    assert (told.shares, told.levels) == (25, 2**14)
    assert distributed_noise("skellam", dimension=100, slots=50, threshold=30, bits=16).levels == 2**14 // 50
