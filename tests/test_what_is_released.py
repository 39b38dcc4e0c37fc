"""What a run releases, and that nothing but noise that ε pays for decides about it."""

import ast
import math
from dataclasses import replace
from functools import cache
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy import optimize, stats

from dpjax import (
    Cohort,
    HParams,
    Mechanism,
    Summing,
    adaptive_clipping,
    calibrate_noise,
    client_delta,
    clipped_sum,
    cyclic_sampler,
    draw_cohort,
    epsilon,
    example_gradient,
    fixed_size_sampler,
    gaussian_privatizer,
    make_train,
    noise_stddev,
    poisson_sampler,
    private_grad,
    shuffled_sampler,
)
from dpjax.accounting import abort_probability
from dpjax.auditing.bounds import epsilon_from_rates
from dpjax.federated import (
    corruption,
    dropouts,
    homomorphic_aggregation,
    local_privacy,
    robust_aggregation,
    secure_aggregation,
)
from dpjax.steps import make_stepper
from dpjax.types import Added, NoSensitivity
from tests.problems import ITSELF

KEY = jax.random.key(0)
X = jnp.linspace(-1, 1, 64)


@cache
def names_in_the_code() -> list[str]:
    """Every string in the package that could be the name of something."""
    names: set[str] = set()
    for path in [*Path("dpjax").rglob("*.py"), *Path("experiments").rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and len(node.value) < 40:
                names.add(node.value)
            names |= {node.attr} if isinstance(node, ast.Attribute) else set()
    return sorted(names | {"sensitivity_lost", "added_noise_multiplier", "noise", "released", "message", "present"})


def reporting(value):
    """A sum whose report holds every name that the code knows."""

    def aggregation(factory):
        def make(contribution_fn):
            inner = factory(contribution_fn)

            def fun(params, cohort, key, clip_norm):
                return inner(params, cohort, key, clip_norm)._replace(report=dict.fromkeys(names_in_the_code(), value))

            return fun

        return make

    return aggregation


def trained(noise_multiplier, aggregation=None):
    train = make_train(
        lambda key: jnp.zeros(()),
        example_gradient(lambda w, e, key: (w * e[0] - e[1]) ** 2),
        (X, 3 * X),
        sampler=fixed_size_sampler(64, 16),
        num_steps=3,
        make_optimizer=lambda h: optax.sgd(h.learning_rate),
        sum_factory=Summing(aggregation=aggregation),
    )
    return train(HParams(learning_rate=0.1, clip_norm=1.0, noise_multiplier=noise_multiplier), KEY)


@pytest.mark.parametrize("noise", [gaussian_privatizer, adaptive_clipping(count_stddev=9.0)])
def test_no_name_in_a_report_decides_anything(noise):
    assert len(names_in_the_code()) > 1000
    hparams = HParams(clip_norm=1.0, noise_multiplier=5.0)
    cohort, index = Cohort(jnp.ones((3, 4)), jnp.arange(3) < 2), jnp.arange(3)

    @jax.jit
    def step(value):
        factory = clipped_sum if value is None else reporting(value)(clipped_sum)
        given = {"expected_size": 2.0, "noise_key": KEY, "noise": noise}
        stepper = make_stepper(factory(ITSELF), optax.sgd(0.1), hparams, **given)
        state, metrics = stepper.step(stepper.init(jnp.zeros(4), jnp.zeros(4), ()), cohort, index, KEY)
        key = jax.random.key_data(state.privatizer_state.key)
        return state._replace(privatizer_state=(key, state.privatizer_state.step)), metrics.by_name()

    state, metrics = step(None)
    assert float(jnp.abs(state.params).max()) > 0.05  # noise, for the gradient moves it by 0.1 at most
    for value in (0.0, 1.0, jnp.nan):
        told, talkative = step(value)
        jax.tree.map(np.testing.assert_array_equal, state, told)
        for name, own in metrics.items():  # nor does it hide what the step itself says
            np.testing.assert_array_equal(own, talkative[name], err_msg=name)


def test_metrics_of_a_contribution_may_have_any_name():
    def chatty(params, unit, key):
        vector, metrics = ITSELF(params, unit, key)
        return vector, metrics | dict.fromkeys(names, jnp.float32(7.0))

    names = [*[name for name in names_in_the_code() if name.isidentifier()][::9], "message", "present"]
    cohort = Cohort(jnp.ones((3, 4)), jnp.arange(3) < 2)
    for aggregation in (robust_aggregation("median"), secure_aggregation(threshold=2, masks=False)):
        plain, told = (aggregation(clipped_sum)(f)(jnp.zeros(4), cohort, KEY, 1.0) for f in (ITSELF, chatty))
        np.testing.assert_array_equal(plain.total, told.total)
        assert float(told.aux["present"]) == float(told.aux["message"]) == 14.0


def at_a_larger_norm(factory):
    """Sums at twice the clip norm that it is asked for, and says so."""

    def make(contribution_fn):
        inner = factory(contribution_fn)
        return lambda params, cohort, key, clip_norm: inner(params, cohort, key, 2 * clip_norm)

    return make


def test_a_sum_at_a_larger_norm_than_its_noise_is_for_is_never_released():
    assert np.isfinite(trained(1.0)[0].params)
    assert np.isnan(trained(1.0, at_a_larger_norm)[0].params)
    assert np.isfinite(trained(0.0, at_a_larger_norm)[0].params)


def test_a_sum_that_may_wrap_around_has_no_sensitivity_and_says_so():
    def summed(mask, **ring):
        aggregation = secure_aggregation(threshold=2, masks=False, **ring)
        return aggregation(clipped_sum)(ITSELF)(jnp.zeros(1), Cohort(jnp.full((4, 1), 9.0), mask), KEY, 1.0)

    ring = {"bits": 4, "levels": 7, "allow_wraparound": True}
    everyone, one_less = summed(jnp.ones(4, bool), **ring), summed(jnp.arange(4) > 0, **ring)
    assert abs(float(everyone.total[0] - one_less.total[0])) > 1.1
    assert isinstance(everyone.noise, NoSensitivity)
    assert jnp.isinf(everyone.clip_norm)
    # A ring that holds every sum can't wrap around, whatever it would be allowed to.
    assert summed(jnp.ones(4, bool), bits=16, allow_wraparound=True).noise is None
    noise = {"noise": "skellam", "noise_multiplier": 1.0}
    assert isinstance(summed(jnp.ones(4, bool), **noise, **ring | {"bits": 6}).noise, Added)
    ring = {"bits": 8, "levels": 60, "allow_wraparound": True}
    with pytest.raises(ValueError, match=r"noise_multiplier=1.0 .*no sensitivity"):
        trained(1.0, secure_aggregation(threshold=2, masks=False, **ring))
    state, _ = jax.jit(lambda z: trained(z, secure_aggregation(threshold=2, masks=False, **ring)))(1.0)
    assert jnp.isnan(state.params)


@pytest.mark.parametrize("bad", [-1.0, jnp.nan, jnp.inf])
def test_noise_out_of_range_under_jit_is_never_no_noise(bad):
    cohort = Cohort(jnp.ones((3, 4)), jnp.ones(3, bool))

    def secure(z):
        return secure_aggregation(threshold=2, masks=False, noise="skellam", noise_multiplier=z)

    def local(z):
        return local_privacy("gaussian", noise_multiplier=z)

    def report(z):
        return local_privacy("laplace", epsilon_per_report=z)

    for make in (secure, local, report):
        with pytest.raises(ValueError, match=r"must be"):
            make(bad)
        out = jax.jit(lambda z, make=make: make(z)(clipped_sum)(ITSELF)(jnp.zeros(4), cohort, KEY, 1.0).total)(bad)
        assert jnp.isnan(out).all()
    state, _ = jax.jit(trained)(bad)
    assert not jnp.isfinite(state.params)


# ---- aborted rounds ------------------------------------------------------------------------------------------------


def divergence(first, second, epsilon):
    """The hockey-stick divergence of two laws of the same counts, the worse way round."""
    return max(float(np.maximum(p - math.exp(epsilon) * q, 0).sum()) for p, q in ((first, second), (second, first)))


def epsilon_of_counts(clients, rate, threshold, rounds, delta):
    """ε of the number of aborted rounds alone: two binomial laws, of all clients and of one less."""
    counts = np.arange(rounds + 1)
    laws = [stats.binom.pmf(counts, rounds, stats.binom.cdf(threshold - 1, n, rate)) for n in (clients, clients - 1)]
    return optimize.brentq(lambda e: divergence(*laws, e) - delta, 0, 50)


@pytest.mark.parametrize(
    ("threshold", "dropout_rate", "rounds", "published"), [(20, 0.0, 30, 2.74), (10, 0.2, 100, 2.07)]
)
def test_aborts_by_themselves_have_an_epsilon_and_are_refused(threshold, dropout_rate, rounds, published):
    """40 clients, 20 a round, by two binomial laws at δ = 1e-5; the sampler's own rate says nothing of it."""
    alone = epsilon_of_counts(40, 0.5 * (1 - dropout_rate), threshold, rounds, 1e-5)
    assert alone == pytest.approx(published, abs=0.005)
    sampler = poisson_sampler(40, 0.5, num_steps=rounds)
    chance = abort_probability(sampler, num_steps=rounds, threshold=threshold, dropout_rate=dropout_rate)
    for adjacency in ("add_or_remove_one", "zero_out", "replace_one"):
        run = Mechanism.from_sampler(
            sampler, unit="client", adjacency=adjacency, num_steps=rounds, abort_probability=chance
        )
        with pytest.raises(ValueError, match=r"abort_probability=.*lower the threshold or draw larger cohorts"):
            calibrate_noise(run, epsilon=0.1, delta=1e-5)
        assert epsilon(replace(run, noise_multiplier=1000.0), 1e-5) == math.inf


def test_a_run_that_can_abort_poisson_rounds_says_so_to_the_accountant_or_does_not_run():
    def run(sampler, **ring):
        given = {"sampler": sampler, "num_steps": 3, "make_optimizer": lambda h: optax.sgd(h.learning_rate)}
        given["sum_factory"] = Summing(aggregation=secure_aggregation(threshold=8, masks=False, **ring))
        train = make_train(lambda key: jnp.zeros(4), ITSELF, jnp.ones((20, 4)), **given)
        return jax.jit(train)(HParams(learning_rate=0.1, clip_norm=1.0, noise_multiplier=5.0), KEY)

    sampler = poisson_sampler(20, 0.5, num_steps=3, capacity=20)
    with pytest.raises(ValueError, match=r"sampler.abort_probability=None, .*use fixed_size_sampler, or replace"):
        run(sampler)
    run(sampler, noise="skellam", noise_multiplier=5.0)  # charged without amplification
    run(fixed_size_sampler(20, 10))
    told = replace(sampler, abort_probability=abort_probability(sampler, num_steps=3, threshold=8))
    run(told)
    ran = Mechanism.from_sampler(told, unit="client", adjacency="zero_out", num_steps=3, noise_multiplier=5.0)
    assert ran.abort_probability == told.abort_probability > 0.1
    assert epsilon(ran, 1e-5) == math.inf  # as it is not rare


def test_a_rare_abort_is_paid_out_of_delta():
    sampler = poisson_sampler(400, 0.5, num_steps=30)
    fields = {"unit": "client", "adjacency": "add_or_remove_one", "num_steps": 30, "noise_multiplier": 20.0}
    chance = abort_probability(sampler, num_steps=30, threshold=100)
    assert 0 < chance < 1e-20
    rare, never = (Mechanism.from_sampler(sampler, **fields, abort_probability=c) for c in (chance, 0.0))
    assert epsilon(rare, 1e-5) == epsilon(never, 1e-5) < 10
    assert "abort probability" in rare.describe()
    # As the chance of one unit less: it bounds both neighbours.
    assert chance == pytest.approx(30 * stats.binom.cdf(99, 399, 0.5), rel=1e-6)
    # The largest that still fits, and one that does not.
    value = epsilon(replace(never, overflow_probability=1e-30), 1e-5)
    most = 1e-8 / (1 + math.exp(value))
    assert epsilon(replace(rare, abort_probability=0.99 * most), 1e-5) == value
    assert epsilon(replace(rare, abort_probability=1.01 * most), 1e-5) == math.inf


def test_an_abort_weakens_amplification_where_the_number_of_units_is_public():
    """Zero-out, two clients of rate ½ and threshold 2: exactly, what is released is farther apart than is sampled for.

    A round that was not aborted had both, so that the unit was surely in it: ¼ of a whole Gaussian, not a mixture.
    """

    def gaussian(epsilon, stddev):
        mean = 1 / stddev
        tail = stats.norm.sf([epsilon / mean - mean / 2, epsilon / mean + mean / 2])
        return tail[0] - math.exp(epsilon) * tail[1]

    epsilon, stddev, rate = 2.0, 2.0, 0.5
    sampled = rate * gaussian(math.log1p(math.expm1(epsilon) / rate), stddev)
    released = rate**2 * gaussian(epsilon, stddev)
    assert released > 10 * sampled
    assert abort_probability(poisson_sampler(2, rate, num_steps=1), num_steps=1, threshold=2) == 1.0


def test_cohorts_of_fixed_size_abort_by_coins_alone():
    for sampler in (fixed_size_sampler(40, 20), shuffled_sampler(40, 20), cyclic_sampler(40, 20)):
        assert abort_probability(sampler, num_steps=30, threshold=20, dropout_rate=0.3) == 0.0


@pytest.fixture(scope="module")
def attack():
    """The lower bound on ε that whoever counts aborted rounds can show, in 95 of 100 attacks: 20 clients against 19."""
    num_runs = 3000

    def counts(sampler, threshold, dropout_rate):
        secure = secure_aggregation(threshold=threshold, dropout_rate=dropout_rate, masks=False)(clipped_sum)(ITSELF)
        units = jnp.ones((sampler.population, 1))

        def aborted(key, step):  # all but what it needs is left out of the program
            cohort, _ = draw_cohort(sampler, key, step, units)
            return ~secure(jnp.zeros(1), cohort, jax.random.fold_in(key, step), 1.0).released

        keys = jax.random.split(jax.random.key(sampler.population), num_runs)
        run = jax.vmap(jax.vmap(aborted, in_axes=(None, 0)), in_axes=(0, None))
        return np.asarray(jax.jit(run)(keys, jnp.arange(30))).sum(1)

    def lower_bound(make_sampler, threshold, dropout_rate=0.0):
        many, few = (counts(make_sampler(n), threshold, dropout_rate) for n in (20, 19))
        half = num_runs // 2
        # The cut is chosen on one half of the runs and judged on the other.
        cuts = range(31)
        cut = max(cuts, key=lambda c: np.mean(few[:half] >= c) - np.mean(many[:half] >= c))
        true, false = int((few[half:] >= cut).sum()), int((many[half:] >= cut).sum())
        return epsilon_from_rates(true, half, false, half, delta=1e-5)

    return lower_bound


def test_who_counts_aborts_learns_no_more_than_epsilon(attack):
    """Poisson cohorts with a threshold in their middle gave a client away at any noise; they are refused now."""

    def claimed(sampler, chance):
        given = {"unit": "client", "adjacency": "zero_out", "num_steps": 30, "noise_multiplier": 200.0}
        return epsilon(Mechanism.from_sampler(sampler, **given, abort_probability=chance), 1e-5)

    refused, allowed = poisson_sampler(20, 0.5, num_steps=30, capacity=20), fixed_size_sampler(20, 10)
    open_to_attack = attack(lambda n: replace(refused, population=n), 10)
    assert open_to_attack > 0.5 > 10 * claimed(refused, 0.0)  # what it would claim if aborts were nothing
    assert claimed(refused, abort_probability(refused, num_steps=30, threshold=10)) == math.inf
    chance = abort_probability(allowed, num_steps=30, threshold=8, dropout_rate=0.2)
    assert attack(lambda n: fixed_size_sampler(n, 10), 8, dropout_rate=0.2) <= claimed(allowed, chance) < 0.1


# ---- numbers of every type -----------------------------------------------------------------------------------------

OUT_OF_RANGE = {
    "dropouts": lambda of: dropouts(of(2.0)),
    "homomorphic": lambda of: homomorphic_aggregation(dropout_rate=of(-0.5)),
    "secure, dropouts": lambda of: secure_aggregation(threshold=2, dropout_rate=of(1.5)),
    "secure, late dropouts": lambda of: secure_aggregation(threshold=2, late_dropout_rate=of(-1.0)),
    "secure, noise": lambda of: secure_aggregation(threshold=2, noise="skellam", noise_multiplier=of(-1.0)),
    "local, laplace": lambda of: local_privacy("laplace", epsilon_per_report=of(1e4)),
    "local, gaussian": lambda of: local_privacy("gaussian", noise_multiplier=of(-2.0)),
    "corruption, factor": lambda of: corruption("scaled", factor=of(-1.0)),
    "corruption, stddev": lambda of: corruption("noise", stddev=of(math.inf)),
    "noise": lambda of: noise_stddev(of(-1.0), 1.0),
    "privatizer": lambda of: gaussian_privatizer(of(-1.0), KEY),
    "private_grad": lambda of: private_grad(
        lambda w, x: w * x, clip_norm=1.0, noise_multiplier=of(-1.0), expected_batch_size=2.0
    ),
    "stragglers": lambda of: client_delta(lambda w, x, key: w * x, optax.sgd(1.0), num_steps=1, straggler_rate=of(2.0)),
    "proximal": lambda of: client_delta(lambda w, x, key: w * x, optax.sgd(1.0), num_steps=1, proximal=of(-1.0)),
}


@pytest.mark.parametrize("of", [float, np.float16, np.float32, np.float64, np.array, jnp.float32, jnp.bfloat16])
def test_ranges_hold_for_every_scalar_type(of):
    for make in OUT_OF_RANGE.values():
        with pytest.raises(ValueError, match=r"^\w+=\S+ must be [^\n]*; [^\n]*\.$"):
            make(of)


def test_a_rate_out_of_range_under_jit_gives_no_sum():
    cohort = Cohort(jnp.ones((3, 4)), jnp.ones(3, bool))

    @jax.jit
    def totals(rate):
        made = dropouts(rate), secure_aggregation(threshold=2, masks=False, dropout_rate=rate)
        return [each(clipped_sum)(ITSELF)(jnp.zeros(4), cohort, KEY, 1.0).total for each in made]

    assert all(jnp.isfinite(total).all() for total in totals(0.5))
    assert all(jnp.isnan(total).all() for total in totals(1.5) + totals(-0.1))
