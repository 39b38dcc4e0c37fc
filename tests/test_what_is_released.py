"""What a run releases, and that nothing but noise that ε pays for decides about it."""

import ast
from functools import cache
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dpjax import Cohort, HParams, adaptive_clipping, clipped_sum, example_gradient, fixed_size_sampler, make_train
from dpjax.federated import local_privacy, robust_aggregation, secure_aggregation
from dpjax.steps import make_stepper
from dpjax.types import Added, NoSensitivity

KEY = jax.random.key(0)
X = jnp.linspace(-1, 1, 64)
LINEAR = example_gradient(lambda w, x, key: w @ x)


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
        aggregation=aggregation,
    )
    return train(HParams(learning_rate=0.1, clip_norm=1.0, noise_multiplier=noise_multiplier), KEY)


@pytest.mark.parametrize("adaptive", [None, adaptive_clipping(count_stddev=9.0)])
def test_no_name_in_a_report_decides_anything(adaptive):
    assert len(names_in_the_code()) > 1000
    hparams = HParams(clip_norm=1.0, noise_multiplier=5.0)
    cohort, index = Cohort(jnp.ones((3, 4)), jnp.arange(3) < 2), jnp.arange(3)

    @jax.jit
    def step(value):
        factory = clipped_sum if value is None else reporting(value)(clipped_sum)
        given = {"expected_size": 2.0, "noise_key": KEY, "adaptive": adaptive}
        stepper = make_stepper(factory(LINEAR), optax.sgd(0.1), hparams, **given)
        state, metrics = stepper.step(stepper.init(jnp.zeros(4), jnp.zeros(4), ()), cohort, index, KEY)
        key = jax.random.key_data(state.privatizer_state.key)
        return state._replace(privatizer_state=(key, state.privatizer_state.step)), metrics

    state, metrics = step(None)
    assert float(jnp.abs(state.params).max()) > 0.05  # noise, for the gradient moves it by 0.1 at most
    for value in (0.0, 1.0, jnp.nan):
        told, talkative = step(value)
        jax.tree.map(np.testing.assert_array_equal, state, told)
        for name, own in metrics.items():  # nor does it hide what the step itself says
            np.testing.assert_array_equal(own, talkative[name], err_msg=name)


def test_metrics_of_a_contribution_may_have_any_name():
    def chatty(params, unit, key):
        vector, metrics = LINEAR(params, unit, key)
        return vector, metrics | dict.fromkeys(names, jnp.float32(7.0))

    names = [*[name for name in names_in_the_code() if name.isidentifier()][::9], "message", "present"]
    cohort = Cohort(jnp.ones((3, 4)), jnp.arange(3) < 2)
    for aggregation in (robust_aggregation("median"), secure_aggregation(threshold=2, masks=False)):
        plain, told = (aggregation(clipped_sum)(f)(jnp.zeros(4), cohort, KEY, 1.0) for f in (LINEAR, chatty))
        np.testing.assert_array_equal(plain.total, told.total)
        assert float(told.aux["present"]) == float(told.aux["message"]) == 14.0


def test_a_sum_that_may_wrap_around_has_no_sensitivity_and_says_so():
    def summed(mask, **ring):
        aggregation = secure_aggregation(threshold=2, masks=False, **ring)
        return aggregation(clipped_sum)(LINEAR)(jnp.zeros(1), Cohort(jnp.full((4, 1), 9.0), mask), KEY, 1.0)

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
        out = jax.jit(lambda z, make=make: make(z)(clipped_sum)(LINEAR)(jnp.zeros(4), cohort, KEY, 1.0).total)(bad)
        assert jnp.isnan(out).all()
    state, _ = jax.jit(trained)(bad)
    assert not jnp.isfinite(state.params)
