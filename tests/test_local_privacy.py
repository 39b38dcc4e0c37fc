"""Local privacy: what a report costs, what it says, and that the server is told nothing else."""

import math
from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy import stats

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
from dpjax.accounting import LocalReports, calibrate_report_epsilon, composed_epsilon
from dpjax.federated import local_privacy
from dpjax.federated.aggregation.local_reports import privunit, privunit_cap
from dpjax.sampling import fixed_size_sampler, poisson_sampler
from dpjax.steps import make_stepper
from tests.problems import ITSELF

KEY = jax.random.key(0)
BASE = {"unit": "client", "adjacency": "replace_one", "sampling": "full", "sampling_rate": 1.0}


def mechanism(kind, per_report=None, *, noise_multiplier=0.0, num_steps=1, **fields):
    noise = LocalReports(kind, per_report)
    return Mechanism(**BASE | fields, noise_multiplier=noise_multiplier, num_steps=num_steps, noise=noise)


# ---- accounting ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("per_report", "times"), [(0.3, 1), (0.5, 3), (1.0, 5), (2.0, 4)])
def test_composition_is_that_of_randomised_responses_counted_one_by_one(per_report, times):
    yes = 1 / (1 + math.exp(-per_report))

    def delta(eps):
        total = 0.0
        for answers in product((True, False), repeat=times):
            p = math.prod(yes if a else 1 - yes for a in answers)
            q = math.prod(1 - yes if a else yes for a in answers)
            total += max(p - math.exp(eps) * q, 0)
        return total

    for target in (1e-6, 1e-3, 0.05):
        value = composed_epsilon(per_report, times, target)
        assert value <= times * per_report
        assert delta(value) <= target * (1 + 1e-9)
        assert value == 0 or delta(value * (1 - 1e-6)) > target * (1 - 1e-6) or value == pytest.approx(0)


def test_reports_of_gaussian_noise_are_one_gaussian_between_any_two_contributions():
    """Two contributions differ by up to 2 clip norms, and sampling amplifies nothing against the server."""
    run = mechanism("gaussian", noise_multiplier=4.0, num_steps=9)
    twin = Mechanism(**BASE, noise_multiplier=4.0 / 3, num_steps=1)
    assert epsilon(run, 1e-5) == pytest.approx(epsilon(twin, 1e-5), rel=1e-6)
    sampler = poisson_sampler(1000, 0.01, num_steps=9)
    fields = {"unit": "client", "adjacency": "replace_one", "noise": LocalReports("gaussian")}
    sampled = Mechanism.from_sampler(sampler, num_steps=9, noise_multiplier=4.0, **fields)
    assert epsilon(sampled, 1e-5) == pytest.approx(epsilon(run, 1e-5), rel=1e-9)
    assert "holds against the server" in run.describe()
    assert "no amplification" in run.describe()


@pytest.mark.parametrize("accountant", ["pld", "rdp"])
def test_calibration_of_pure_reports_meets_its_target_and_wastes_nothing(accountant):
    run = mechanism("privunit", 1.0, num_steps=50)
    found = calibrate_report_epsilon(run, epsilon=6.0, delta=1e-5, accountant=accountant)

    def at(per_report):
        return epsilon(mechanism("privunit", per_report, num_steps=50), 1e-5, accountant)

    assert 6.0 * (1 - 1e-4) < at(found) <= 6.0 < at(found * 1.001)
    assert found > 6.0 / 50  # better than adding up


def test_rdp_of_pure_reports_is_above_the_exact_one_and_never_above_their_sum():
    for per_report, times in ((0.1, 100), (1.0, 10), (4.0, 2)):
        run = mechanism("laplace", per_report, num_steps=times)
        assert epsilon(run, 1e-6) <= epsilon(run, 1e-6, "rdp") * (1 + 1e-9) <= times * per_report * (1 + 1e-9)


def test_calibration_of_gaussian_reports():
    run = mechanism("gaussian", num_steps=20)
    noise = calibrate_noise(run, epsilon=4.0, delta=1e-5)
    assert epsilon(mechanism("gaussian", noise_multiplier=noise, num_steps=20), 1e-5) <= 4.0
    assert epsilon(mechanism("gaussian", noise_multiplier=noise * 0.998, num_steps=20), 1e-5) > 4.0


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: LocalReports("cauchy"), "kind='cauchy' is not known; use one of gaussian, laplace, privunit"),
        (lambda: LocalReports("gaussian", 1.0), "whose reports have no pure ε"),
        (lambda: LocalReports("laplace"), "it is the ε of one report"),
        (lambda: LocalReports("privunit", 0.0), "it is the ε of one report"),
        (lambda: mechanism("gaussian", adjacency="zero_out"), "adjacency='zero_out' must be 'replace_one' with local"),
        (lambda: mechanism("laplace", 1.0, noise_multiplier=1.0), "noise_multiplier=1.0 must be 0 with local reports"),
        (lambda: calibrate_noise(mechanism("laplace", 1.0), epsilon=1.0, delta=1e-5), "use calibrate_report_epsilon"),
        (lambda: calibrate_report_epsilon(mechanism("gaussian"), epsilon=1.0, delta=1e-5), "use calibrate_noise"),
        (lambda: local_privacy("cauchy"), "kind='cauchy' is not known; use one of gaussian, laplace, privunit"),
        (lambda: local_privacy("gaussian"), "is set by noise_multiplier and by nothing else"),
        (lambda: local_privacy("laplace", epsilon_per_report=1.0, noise_multiplier=1.0), "by nothing else"),
        (lambda: local_privacy("laplace", epsilon_per_report=0.0), r"epsilon_per_report=0.0 must be in \(0, 500\]"),
        (lambda: local_privacy("gaussian", noise_multiplier=-1.0), "noise_multiplier=-1.0 must be finite and ≥ 0"),
    ],
)
def test_bad_input_is_one_sentence(call, words):
    with pytest.raises(ValueError, match=words):
        call()


# ---- PrivUnit ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("eps", [0.1, 1.0, 4.0, 12.0, 80.0, 100.0, 250.0, 500.0])
def test_the_cap_has_densities_of_ratio_e_to_the_epsilon(eps):
    """The report's density is normal × probability / mass inside, and × (1 − probability) / (1 − mass) outside."""
    cap = jax.tree.map(float, privunit_cap(jnp.float32(eps)))
    log_mass, log_rest = stats.norm.logsf(cap.threshold), stats.norm.logcdf(cap.threshold)  # in float64
    assert cap.log_mass == pytest.approx(log_mass, rel=1e-6)
    inside, outside = math.log(cap.probability) - log_mass, math.log1p(-cap.probability) - log_rest
    assert inside - outside == pytest.approx(eps, abs=2e-4, rel=1e-6)
    at = stats.norm.logpdf(cap.threshold)
    assert cap.length == pytest.approx(math.exp(inside + at) - math.exp(outside + at), rel=2e-4)
    # No other cap has less noise.
    others = np.linspace(-2, 40, 4201)
    both = np.logaddexp(stats.norm.logsf(others), stats.norm.logcdf(others) - eps)
    longest = np.exp(stats.norm.logpdf(others) + np.log(-np.expm1(-eps)) - both).max()
    assert cap.length == pytest.approx(longest, rel=1e-3)


@pytest.mark.parametrize("eps", [0.5, 8.0, 80.0, 100.0, 500.0])
def test_reports_have_the_distribution_that_epsilon_is_for(eps):
    """Along the direction: outside as often as accounted, and normal on either side of the threshold."""
    cap = jax.tree.map(float, privunit_cap(jnp.float32(eps)))
    keys = jax.random.split(KEY, 50_000)
    # Of a vector whose squares are below every float32, too.
    for scale in (3.0, 1e-30):
        row = jnp.zeros(3).at[1].set(scale)
        along = np.asarray(jax.jit(jax.vmap(lambda k, r=row: privunit(r, k, jnp.float32(eps))[1]))(keys), float)
        assert np.isfinite(along).all()
        # A unit vector's mean is 1: its direction is told without bias.
        assert abs(along.mean() - 1) < 4.5 * along.std() / math.sqrt(len(along))
        values = along * cap.length
        out = values < cap.threshold * (1 - 1e-6) if cap.threshold > 0 else values < cap.threshold
        assert stats.binomtest(int(out.sum()), len(out), 1 - cap.probability).pvalue > 1e-4
        beyond = np.exp(stats.norm.logsf(values[~out]) - stats.norm.logsf(cap.threshold))
        assert stats.kstest(beyond[:5000], "uniform").pvalue > 1e-4
        if out.sum() > 20:
            below = np.exp(stats.norm.logcdf(values[out]) - stats.norm.logcdf(cap.threshold))
            assert stats.kstest(below[:5000], "uniform").pvalue > 1e-4


@pytest.mark.parametrize("eps", [0.5, 3.0])
def test_a_direction_is_told_without_bias(eps):
    row = jnp.array([3.0, -4.0, 0.0, 0.0])
    reports = np.asarray(jax.jit(jax.vmap(lambda k: privunit(row, k, jnp.float32(eps))))(jax.random.split(KEY, 40_000)))
    spread = 1.3 / float(privunit_cap(jnp.float32(eps)).length) / np.sqrt(len(reports))
    np.testing.assert_allclose(reports.mean(0), np.asarray(row) / 5, atol=4.5 * spread)


def test_the_chance_to_be_told_apart_is_within_epsilon():
    """Any test that guesses the direction from a report: e^ε bounds the odds. Here the best of them, by its cap."""
    eps = 1.0
    direction = jnp.eye(3)[0]
    cap = privunit_cap(jnp.float32(eps))

    def hits(row):
        reports = jax.vmap(lambda k: privunit(row, k, jnp.float32(eps)))(jax.random.split(KEY, 60_000))
        return jnp.mean(reports @ direction * cap.length > cap.threshold)

    true, opposite, zero = (float(jax.jit(hits)(row)) for row in (direction, -direction, jnp.zeros(3)))
    assert true / zero <= math.exp(eps) * 1.03
    assert true / opposite <= math.exp(eps) * 1.03
    assert true / opposite > math.exp(eps) * 0.9  # the bound is met, so a report with half of the noise would fail
    assert zero / opposite <= math.exp(eps)


# ---- sums of reports -----------------------------------------------------------------------------------------------


def reported(kind, rows, mask=None, clip_norm=1.0, **options):
    mask = jnp.ones(len(rows), bool) if mask is None else mask
    fun = jax.jit(local_privacy(kind, **options)(clipped_sum)(ITSELF))
    return fun(jnp.zeros(rows.shape[1]), Cohort(rows, mask), KEY, clip_norm)


@pytest.mark.parametrize(
    ("kind", "options", "spread"),
    [
        ("gaussian", {"noise_multiplier": 2.0}, 2.0),
        ("laplace", {"epsilon_per_report": 0.5}, math.sqrt(2) * 4),
        ("privunit", {"epsilon_per_report": 0.5}, 1 / 0.19),
        ("sphere", {"epsilon_per_report": 0.5}, math.sqrt(math.pi / 2) / math.tanh(0.25)),
    ],
)
def test_noise_has_the_deviation_that_is_told_and_is_as_much_for_zeros(kind, options, spread):
    for rows in (jnp.zeros((5, 20_000)), jnp.full((5, 20_000), jnp.nan)):
        out = reported(kind, rows, clip_norm=3.0, **options)
        told = float(out.noise.multiplier)
        assert told == pytest.approx(spread, rel=0.06)
        assert float(out.total.std()) == pytest.approx(told * 3 * math.sqrt(5), rel=0.05)


def test_who_does_not_take_part_reports_nothing_and_p_k_weigh_reports():
    rows = jnp.zeros((6, 20_000))
    out = reported("gaussian", rows, jnp.arange(6) < 2, noise_multiplier=1.0)
    assert float(out.total.std()) == pytest.approx(math.sqrt(2), rel=0.05)
    fun = local_privacy("gaussian", noise_multiplier=1.0)(clipped_sum)(ITSELF)
    weighted = fun(jnp.zeros(20_000), Cohort(rows[:2], jnp.ones(2, bool), jnp.array([1.0, 0.5])), KEY, 1.0)
    assert float(weighted.total.std()) == pytest.approx(math.sqrt(1.25), rel=0.05)


def test_laplace_bounds_the_l1_norm():
    """With hardly any noise left the sum shows the bound: (3, 4) at clip norm 1 is told as (3, 4) / 7."""
    out = reported("laplace", jnp.array([[3.0, 4.0]]), epsilon_per_report=500.0, clip_norm=1.0)
    np.testing.assert_allclose(out.total, [3 / 7, 4 / 7], atol=0.05)
    small = reported("laplace", jnp.array([[0.3, 0.4]]), epsilon_per_report=500.0, clip_norm=1.0)
    np.testing.assert_allclose(small.total, [0.3, 0.4], atol=0.05)


def train_with(aggregation, hparams, **options):
    train = make_train(
        lambda key: jnp.zeros(4000),
        ITSELF,
        jnp.zeros((8, 4000)),
        sampler=fixed_size_sampler(8, 8),
        num_steps=1,
        make_optimizer=lambda h: optax.sgd(1.0),
        sum_factory=Summing(aggregation=aggregation),
        **options,
    )
    return jax.jit(train)(hparams, KEY)[0].params


def test_a_step_adds_no_noise_to_reports():
    for told in (0.0, 2.0):
        hparams = HParams(clip_norm=1.0, noise_multiplier=told)
        params = train_with(local_privacy("gaussian", noise_multiplier=2.0), hparams)
        assert float(params.std()) == pytest.approx(2.0 * math.sqrt(8) / 8, rel=0.06)


def test_a_run_that_is_told_of_other_noise_than_its_clients_add_is_refused_or_nan():
    hparams = HParams(clip_norm=1.0, noise_multiplier=50.0)
    assert jnp.isnan(train_with(local_privacy("gaussian", noise_multiplier=2.0), hparams)).all()
    summed = local_privacy("gaussian", noise_multiplier=2.0)(clipped_sum)(ITSELF)
    stepper = make_stepper(summed, optax.sgd(1.0), hparams, expected_size=8, noise_key=KEY)
    start = jnp.zeros(4000)
    cohort = Cohort(jnp.zeros((8, 4000)), jnp.ones(8, bool))
    with pytest.raises(
        ValueError, match=r"noise_multiplier=50 is added by nobody, .* noise of 2 themselves; give both"
    ):
        stepper.step(stepper.init(start, start, ()), cohort, jnp.arange(8), KEY)


def test_adaptive_clipping_of_reports_is_refused():
    from dpjax.clipping.adaptive import adaptive_clipping

    with pytest.raises(ValueError, match="leave out adaptive"):
        train_with(
            local_privacy("gaussian", noise_multiplier=2.0),
            HParams(clip_norm=1.0, noise_multiplier=2.0),
            noise=adaptive_clipping(0.5, 0.2, 5.0),
        )


def test_an_infinite_clip_norm_is_refused():
    with pytest.raises(ValueError, match="clip_norm=inf must be finite"):
        local_privacy("gaussian", noise_multiplier=1.0)(clipped_sum)(ITSELF)(
            jnp.zeros(2), Cohort(jnp.ones((1, 2)), jnp.ones(1, bool)), KEY, float("inf")
        )
