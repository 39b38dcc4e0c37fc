"""The privacy rules that no other test would catch if they were broken; docs/concepts/privacy-rules.md lists all."""

import inspect
import math
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import dpjax
from dpjax import (
    Cohort,
    HParams,
    Mechanism,
    UnitData,
    client_delta,
    clipped_sum,
    example_gradient,
    fixed_size_sampler,
    gaussian_privatizer,
    make_train,
    poisson_sampler,
    private_grad,
    user_gradient,
)
from dpjax.accounting import Full, default_adjacency, epsilon
from dpjax.sampling import (
    BallsInBinsSampler,
    CyclicSampler,
    FixedSizeSampler,
    PoissonSampler,
    Sampler,
    ShuffledSampler,
)

KEY = jax.random.key(0)


def linear(w, x, key):
    return jnp.sum(w * x)


def silent(w, x, key):
    return 0.0 * jnp.sum(w)


def test_rule_2_the_sum_travels_with_the_bound_that_was_applied():
    cohort = Cohort(jnp.array([[30.0, 40.0]]), jnp.array([True]))
    for bound in (0.25, 3.0):
        out = jax.jit(clipped_sum(example_gradient(linear)))(jnp.zeros(2), cohort, KEY, bound)
        assert float(out.clip_norm) == bound
        assert float(jnp.linalg.norm(out.total)) == pytest.approx(bound, rel=1e-6)


@pytest.mark.parametrize(
    ("overrides", "kind", "rate"),
    [
        ([], "poisson", 0.25),
        (["optimizer.sampling_rate=0.1"], "poisson", 0.1),
        (["optimizer.sampling=fixed_size"], "fixed_size", 360 / 1438),
        (["optimizer.sampling=shuffled"], "shuffled", 360 / 1438),
        (["federated.clients_per_round=50"], "poisson", 0.125),
    ],
)
def test_rule_3_an_experiment_accounts_for_the_sampler_that_it_runs(overrides, kind, rate):
    from hydra import compose, initialize_config_dir

    from experiments import setup
    from experiments.border import from_hydra
    from experiments.privacy import as_run

    with initialize_config_dir(str(Path(__file__).parent.parent / "experiments/conf"), version_base="1.3"):
        cfg = from_hydra(compose("config", overrides))
    built = setup.build(cfg)
    ran = as_run(built.mechanism, cfg.federated, built.sampler, 1.0)
    assert (ran.sampling.name, ran.sampling_rate) == (kind, pytest.approx(rate))
    for field in ("population", "sampling_rate", "overflow_probability"):
        assert getattr(ran, field) == getattr(built.sampler, field)
    assert ran.num_steps == cfg.optimizer.num_steps
    assert ran.adjacency == default_adjacency(kind)
    assert ran.unit == ("client" if "federated" in str(overrides) else "example")
    assert len(jax.tree.leaves(built.arrays.units)[0]) == ran.population


def test_rule_4_overflow_is_paid_for_as_many_steps_as_are_accounted():
    """A sampler made for few steps must not lend its smaller overflow chance to a longer run."""
    short = poisson_sampler(60, 0.1, num_steps=10)
    relation = {"unit": "example", "adjacency": "add_or_remove_one", "noise_multiplier": 1.0}
    assert Mechanism.from_sampler(short, num_steps=10, **relation).overflow_probability > 0
    with pytest.raises(ValueError, match="num_steps=11 is more than the 10 that the sampler"):
        Mechanism.from_sampler(short, num_steps=11, **relation)
    with pytest.raises(ValueError, match="num_steps=11 is more than the 10 steps"):
        make_train(
            lambda key: jnp.zeros(2),
            example_gradient(linear),
            jnp.ones((60, 2)),
            sampler=short,
            num_steps=11,
            make_optimizer=lambda h: optax.sgd(1.0),
        )


def test_rule_5_no_public_function_has_a_key_of_its_own():
    keyed = [name for name in dpjax.__all__ if "key" in _parameters(getattr(dpjax, name))]
    assert {"draw_cohort", "gaussian_privatizer", "poisson_cohort"} <= set(keyed)
    for name in keyed:
        assert _parameters(getattr(dpjax, name))["key"].default is inspect.Parameter.empty, name
    for made in (
        make_train(
            lambda key: jnp.zeros(2),
            example_gradient(linear),
            jnp.ones((4, 2)),
            sampler=poisson_sampler(4, 0.5, num_steps=1),
            num_steps=1,
            make_optimizer=lambda h: optax.sgd(1.0),
        ),
        clipped_sum(example_gradient(linear)),
        private_grad(linear, clip_norm=1.0, noise_multiplier=1.0, expected_batch_size=1.0),
    ):
        assert _parameters(made)["key"].default is inspect.Parameter.empty


@pytest.mark.parametrize("key", [None, 0, jax.random.PRNGKey(0)])
def test_rule_5_the_noise_takes_nothing_but_a_key(key):
    with pytest.raises(TypeError, match=r"not a JAX key|key"):
        gaussian_privatizer(1.0, key)


def test_rule_5_the_loss_of_private_grad_does_not_see_the_noise():
    """A loss whose gradient is minus the noise its own key would give must not cancel the real noise."""

    def spy(w, x, key):
        return sum(-jnp.sum(w * jax.random.normal(k, (400,))) for k in _keys_one_may_try(key))

    arguments = {"clip_norm": jnp.inf, "expected_batch_size": 1.0}
    batch = jnp.zeros(1)
    heard = private_grad(spy, noise_multiplier=0.0, **arguments)(jnp.zeros(400), batch, KEY)
    noise = private_grad(silent, noise_multiplier=1.0, clip_norm=1.0, expected_batch_size=1.0)(
        jnp.zeros(400), batch, KEY
    )
    assert abs(np.corrcoef(np.asarray(heard), np.asarray(noise))[0, 1]) < 5 / np.sqrt(400)


def _keys_one_may_try(key):
    step = jax.random.fold_in(key, 0)
    return (key, step, jax.random.split(key, 1)[0], jax.random.split(step, 1)[0])


def test_rule_6_a_run_of_empty_cohorts_still_adds_its_noise():
    train = make_train(
        lambda key: jnp.zeros(2000),
        example_gradient(linear),
        jnp.ones((10, 2000)),
        sampler=PoissonSampler(10, 1e-6, capacity=4, num_steps=4),
        num_steps=4,
        make_optimizer=lambda h: optax.sgd(1.0),
    )
    hparams = HParams(clip_norm=0.5, noise_multiplier=3.0)
    state, history = jax.jit(train)(hparams, KEY)
    assert history.steps["cohort_size"].tolist() == [0, 0, 0, 0]
    # Four draws of σ C / (q N); the standard error of a deviation over 2,000 coordinates is 1.6 %.
    assert float(jnp.std(state.params)) == pytest.approx(2 * 3.0 * 0.5 / (1e-6 * 10), rel=0.08)


@pytest.mark.parametrize("make", [user_gradient, lambda loss: client_delta(loss, optax.sgd(1.0), num_steps=3)])
def test_rule_7_a_unit_with_more_records_weighs_no_more(make):
    records = jnp.tile(jnp.array([3.0, 4.0]), (20, 1))
    few, many = (UnitData(records, jnp.arange(20) < n) for n in (1, 20))
    sums = [
        clipped_sum(make(linear))(
            jnp.zeros(2), Cohort(jax.tree.map(lambda x: x[None], unit), jnp.array([True])), KEY, 1.0
        )
        for unit in (few, many)
    ]
    np.testing.assert_allclose(sums[0].total, sums[1].total, rtol=1e-6)
    assert float(jnp.linalg.norm(sums[1].total)) == pytest.approx(1.0, rel=1e-6)


def test_rule_8_a_loss_cannot_reach_over_to_other_units():
    def coupled(w, x, key):
        return jnp.sum(w * jax.lax.pmean(x, "batch"))

    with pytest.raises(ValueError, match=r"named axis .*batch.* couple the units"):
        clipped_sum(example_gradient(coupled))(jnp.zeros(2), Cohort(jnp.ones((3, 2)), jnp.ones(3, bool)), KEY, 1.0)


@pytest.mark.parametrize("sampler", [poisson_sampler(1000, 0.1, num_steps=20), fixed_size_sampler(1000, 100)])
def test_rule_9_a_mechanism_says_all_that_its_claim_needs(sampler):
    from dpjax.results import claim
    from dpjax.results.mechanisms import columns_of

    ran = Mechanism.from_sampler(sampler, unit="user", adjacency="replace_one", noise_multiplier=2.0, num_steps=20)
    sentence = claim(columns_of(ran) | {"delta": 1e-6, "epsilon_rdp": dpjax.epsilon(ran, 1e-6, "rdp")})
    for fact in ("RDP", "δ=1e-6", "per user", "replace_one", "q=0.1", "20 steps", "tuning not accounted"):
        assert fact in sentence


def _parameters(function):
    try:
        return inspect.signature(function).parameters
    except (TypeError, ValueError):
        return {}


# ---- samplers that are made or changed by hand ----------------------------------------------------------------------


def stated(sampler, num_steps=20, adjacency="zero_out"):
    run = Mechanism.from_sampler(
        sampler, unit="example", adjacency=adjacency, noise_multiplier=2.0, num_steps=num_steps
    )
    return epsilon(run, 1e-5)


@pytest.mark.parametrize("made", [PoissonSampler(40, 0.5, 1, 20), BallsInBinsSampler(40, 0.25, 3, 20)], ids=str)
def test_rule_4_slots_that_are_too_few_cost_everything_however_the_sampler_was_made(made):
    assert made.overflow_probability > 0.9
    assert stated(made) == math.inf


@pytest.mark.parametrize("change", [{"sampling_rate": 0.9}, {"capacity": 5}, {"num_steps": 10**9}, {"population": 400}])
def test_rule_4_a_sampler_that_is_changed_says_the_overflow_that_it_then_has(change):
    sound = poisson_sampler(40, 0.1, num_steps=20)
    assert math.isfinite(stated(sound))
    changed = replace(sound, **change)
    assert changed.overflow_probability > 1e4 * sound.overflow_probability
    assert stated(changed) == math.inf
    assert replace(changed, **{name: getattr(sound, name) for name in change}) == sound


@pytest.mark.parametrize("kind", [FixedSizeSampler, ShuffledSampler, CyclicSampler])
def test_rule_3_a_cohort_of_one_size_is_as_large_as_it_is_accounted(kind):
    with pytest.raises(ValueError, match=r"^capacity=20 must be sampling_rate × population = 4, as cohorts are"):
        kind(40, 0.1, 20)
    with pytest.raises(ValueError, match=r"^capacity=4 must be sampling_rate × population = 20, as cohorts are"):
        replace(kind(40, 0.1, 4), sampling_rate=0.5)


def test_rule_4_a_kind_of_sampler_that_does_not_bound_its_overflow_has_no_epsilon():
    class Crowded(Sampler):
        accounted_as = Full

        @classmethod
        def at_rate(cls, population, sampling_rate, **options):
            return cls(population, 1.0, population)

        def draw(self, key, step, units):
            raise NotImplementedError

    assert math.isfinite(stated(Crowded(40, 1.0, 40)))
    assert stated(Crowded(40, 1.0, 39)) == math.inf


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"population": 0}, "population=0 must be"),
        ({"sampling_rate": 1.5}, r"sampling_rate=1.5 must be in \(0, 1\]"),
        ({"num_steps": 0}, "num_steps=0 must be"),
        ({"num_steps": None}, "num_steps=None must be the steps of the run"),
        ({"abort_probability": 2.0}, r"abort_probability=2.0 must be in \[0, 1\]"),
    ],
)
def test_a_sampler_holds_numbers_that_it_can_have(wrong, words):
    with pytest.raises(ValueError, match=f"^{words}"):
        replace(poisson_sampler(40, 0.1, num_steps=20), **wrong)
