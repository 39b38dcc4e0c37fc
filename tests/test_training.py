"""A whole run: what it computes, what it reports, and the door for other training loops."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.flatten_util import ravel_pytree

from dpjax import (
    Cohort,
    Evaluation,
    HParams,
    Mechanism,
    Population,
    Records,
    Sampler,
    clipped_sum,
    correlated_privatizer,
    draw_cohort,
    example_gradient,
    make_train,
    poisson_sampler,
    private_grad,
    shuffled_sampler,
    user_gradient,
)
from dpjax.accounting import Participation, tree_aggregation
from dpjax.clipping import Summing

N = 40
X = jax.random.normal(jax.random.key(1), (N, 3))
Y = X @ jnp.array([1.0, -2.0, 0.5])


def loss_fn(params, example, key):
    x, y = example
    return jnp.square(x @ params["w"] + params["b"] - y)


def init_fn(key):
    return {"w": 0.1 * jax.random.normal(key, (3,)), "b": jnp.zeros(())}


def linear(w, x, key):
    return jnp.sum(w * x)


def sgd(hparams):
    return optax.sgd(0.1)


def make(num_steps=7, sampler=None, optimizer=lambda h: optax.sgd(h.learning_rate), **options):
    sampler = sampler or poisson_sampler(N, 0.4, num_steps=num_steps)
    contribution = example_gradient(loss_fn)
    return make_train(
        init_fn, contribution, (X, Y), sampler=sampler, num_steps=num_steps, make_optimizer=optimizer, **options
    )


HPARAMS = HParams(learning_rate=0.1, clip_norm=0.5, noise_multiplier=0.7)


def test_a_run_equals_its_definition_step_by_step():
    """Clip, sum, noise once, divide by the EXPECTED cohort size, then the optimizer: by a plain Python loop."""
    sampler, key = poisson_sampler(N, 0.4, num_steps=5), jax.random.key(3)
    state, history = jax.jit(make(5, sampler))(HPARAMS, key)
    init_key, sampling_key, contribution_key, noise_key = jax.random.split(key, 4)
    params = init_fn(init_key)
    for t in range(5):
        cohort, info = draw_cohort(sampler, sampling_key, t, (X, Y))
        step_key = jax.random.fold_in(contribution_key, t)
        total = clipped_sum(example_gradient(loss_fn))(params, cohort, step_key, 0.5).total
        flat, as_tree = ravel_pytree(total)
        (draw_key,) = jax.random.split(jax.random.fold_in(noise_key, t), 1)
        mean = as_tree((flat + 0.7 * 0.5 * jax.random.normal(draw_key, flat.shape)) / (0.4 * N))
        params = jax.tree.map(lambda p, g: p - 0.1 * g, params, mean)
        assert int(history.steps["cohort_size"][t]) == int(info.cohort_size)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), state.params, params)


@pytest.mark.parametrize(
    ("clip_norm", "noise_multiplier"), [(-1.0, 0.0), (0.0, 1.0), (float("nan"), 0.0), (float("inf"), 1.0), (1.0, -1.0)]
)
def test_concrete_hyper_parameters_out_of_range_are_refused_before_a_step(clip_norm, noise_multiplier):
    with pytest.raises(ValueError, match=r"clip_norm=|noise_multiplier="):
        make(1)(HParams(0.1, clip_norm, noise_multiplier), jax.random.key(0))


def test_the_divisor_is_the_expected_size_whatever_was_drawn():
    """Rule 1: with one step, no noise and no clipping the update is the sum / (q N), not / realised size."""
    sampler = poisson_sampler(N, 0.4, num_steps=1)
    key = jax.random.key(2)
    state, _ = make(1, sampler)(HParams(learning_rate=1.0, clip_norm=np.inf), key)
    init_key, sampling_key = jax.random.split(key, 4)[:2]
    params = init_fn(init_key)
    cohort, info = draw_cohort(sampler, sampling_key, 0, (X, Y))
    total = clipped_sum(example_gradient(loss_fn))(params, cohort, key, np.inf).total
    assert int(info.cohort_size) != round(0.4 * N)  # else this could not fail
    moved = jax.tree.map(jnp.subtract, params, state.params)
    jax.tree.map(lambda m, t: np.testing.assert_allclose(m, t / (0.4 * N), rtol=1e-5), moved, total)


@pytest.mark.parametrize(
    "optimizer",
    [
        lambda h: optax.sgd(h.learning_rate, momentum=h.momentum),
        lambda h: optax.adam(h.learning_rate),
        lambda h: optax.adamw(h.learning_rate, weight_decay=h.weight_decay),
        lambda h: optax.chain(optax.clip(1.0), optax.rmsprop(h.learning_rate)),
    ],
)
def test_any_optax_optimizer_trains(optimizer):
    hparams = HParams(learning_rate=0.1, clip_norm=5.0, noise_multiplier=0.1)
    with jax.numpy_dtype_promotion("standard"):  # optax counts in int32
        _, history = jax.jit(make(60, optimizer=optimizer))(hparams, jax.random.key(0))
    losses = np.asarray(history.steps["loss"])
    assert losses[-5:].mean() < 0.5 * losses[:5].mean()


@pytest.mark.parametrize(("num_steps", "every", "at"), [(7, 3, [3, 6, 7]), (6, 3, [3, 6]), (4, None, [4]), (2, 9, [2])])
def test_evaluation_happens_at_the_stated_interval_and_at_the_end(num_steps, every, at):
    train = make(num_steps, evaluation=Evaluation(lambda p: {"w": p["w"]}, every))
    state, history = jax.jit(train)(HPARAMS, jax.random.key(0))
    assert history.evaluation_steps.tolist() == at
    assert history.steps["loss"].shape == (num_steps,)
    assert history.evaluations["w"].shape == (len(at), 3)
    np.testing.assert_array_equal(history.evaluations["w"][-1], state.params["w"])


def test_evaluating_more_often_changes_nothing():
    often, _ = jax.jit(make(6, evaluation=Evaluation(lambda p: p, every=1)))(HPARAMS, jax.random.key(0))
    never, _ = jax.jit(make(6))(HPARAMS, jax.random.key(0))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), often.params, never.params)


def test_a_larger_capacity_changes_nothing():
    small = poisson_sampler(N, 0.4, num_steps=6)
    large = poisson_sampler(N, 0.4, num_steps=6, capacity=N + 13)
    a, _ = jax.jit(make(6, small))(HPARAMS, jax.random.key(0))
    b, _ = jax.jit(make(6, large))(HPARAMS, jax.random.key(0))
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-5), a.params, b.params)


def test_an_overflow_is_reported():
    _, history = jax.jit(make(20, poisson_sampler(N, 0.4, num_steps=20, capacity=10)))(HPARAMS, jax.random.key(0))
    assert int(history.steps["overflowed"].sum()) > 10
    assert int(history.steps["cohort_size"].max()) == 10


def test_rejected_units_are_counted_and_the_run_stays_finite():
    train = make_train(
        init_fn,
        example_gradient(loss_fn),
        (X.at[3].set(jnp.nan), Y),
        sampler=shuffled_sampler(N, 10),
        num_steps=8,
        make_optimizer=lambda h: optax.sgd(h.learning_rate),
    )
    state, history = jax.jit(train)(HPARAMS, jax.random.key(0))
    assert int(history.steps["num_rejected"].sum()) == 2  # once in each of the two epochs
    assert all(bool(jnp.isfinite(x).all()) for x in jax.tree.leaves((state.params, history.steps)))


def test_users_with_one_record_train_like_examples():
    units = Records(jnp.arange(N, dtype=jnp.int32)[:, None], jnp.ones((N, 1), bool))
    sampler = poisson_sampler(N, 0.4, num_steps=5)
    optimizer = lambda h: optax.sgd(h.learning_rate)  # noqa: E731
    users = make_train(
        init_fn,
        user_gradient(loss_fn),
        Population(units, (X, Y)),
        sampler=sampler,
        num_steps=5,
        make_optimizer=optimizer,
    )
    a, _ = jax.jit(users)(HPARAMS, jax.random.key(0))
    b, _ = jax.jit(make(5, sampler))(HPARAMS, jax.random.key(0))
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-5), a.params, b.params)


def test_the_sampler_that_runs_is_the_sampler_that_is_accounted():
    """Rule 3: every field of the mechanism that the sampler decides is read off it."""
    sampler = poisson_sampler(N, 0.4, num_steps=5)
    mechanism = Mechanism.from_sampler(
        sampler, unit="example", adjacency="add_or_remove_one", noise_multiplier=1.0, num_steps=5
    )
    assert (mechanism.sampling.name, mechanism.sampling_rate, mechanism.population) == ("poisson", 0.4, N)
    assert mechanism.overflow_probability == sampler.overflow_probability


@pytest.mark.parametrize(
    ("options", "words"),
    [({"num_steps": 0}, "num_steps=0"), ({"evaluation": Evaluation(lambda params: params, 0)}, "evaluation.every=0")],
)
def test_bad_lengths_are_named(options, words):
    with pytest.raises(ValueError, match=words):
        make(**({"sampler": shuffled_sampler(N, 4)} | options))


@pytest.mark.parametrize(
    ("made_for", "num_steps", "words"),
    [
        ((10, 1, 10), 10, "is for 10 steps with 1 participation, but sampling='poisson' has 10 steps with 10"),
        ((5, 5, 1), 10, "is for 5 steps with 5 participations at least 1 apart, but sampling='poisson' has 10 steps"),
    ],
)
def test_noise_that_is_correlated_for_other_units_or_fewer_steps_is_refused(made_for, num_steps, words):
    noise = partial(correlated_privatizer, factorization=tree_aggregation(Participation(*made_for)))
    options = {"sampler": poisson_sampler(8, 0.5, num_steps=10), "num_steps": num_steps, "noise": noise}
    with pytest.raises(ValueError, match=words):
        make_train(lambda key: jnp.zeros(2), example_gradient(linear), jnp.ones((8, 2)), make_optimizer=sgd, **options)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            {"learner": lambda w, x, key: jnp.sum(w * x)},
            "the contribution returned .* where a pair is expected.*example",
        ),
        (
            {"noise": correlated_privatizer},
            "noise must be called with 2 arguments.*partial.correlated_priv",
        ),
        ({"noise": lambda: None}, "noise must be called with 2 arguments"),
        (
            {"sum_factory": Summing},
            "sum_factory=Summing is a class, no object of it; make one, such as",
        ),
        (
            {"sum_factory": lambda fn: lambda *a: (1, 2)},
            "what sum_factory.contribution. returns=.* must be of type Cl",
        ),
        ({"init_fn": lambda: 0}, "init_fn must be called with 1 arguments"),
    ],
)
def test_what_a_run_is_made_of_is_looked_at_and_the_sentence_says_what_to_write(options, words):
    given = {
        "init_fn": lambda key: jnp.zeros(2),
        "learner": example_gradient(linear),
        "units": jnp.ones((8, 2)),
        "sampler": poisson_sampler(8, 0.5, num_steps=2),
        "num_steps": 2,
        "make_optimizer": sgd,
    }
    with pytest.raises(TypeError, match=words):
        make_train(**given | options)(HPARAMS, jax.random.key(0))


def test_a_loss_of_other_arguments_is_refused_before_it_is_called():
    with pytest.raises(TypeError, match=r"^loss_fn must be called with 3 arguments, which .* is not; give loss_fn"):
        example_gradient(lambda w, x: jnp.sum(w * x))


def test_a_sampler_is_of_a_kind():
    with pytest.raises(TypeError, match="Sampler has kinds of its own, each with a function: write poisson_sampler"):
        Sampler("poisson", 64, 0.5)


def test_private_grad_is_clipped_noised_and_divided():
    params, key = init_fn(jax.random.key(0)), jax.random.key(5)
    grad = private_grad(lambda p, e: loss_fn(p, e, None), clip_norm=0.5, noise_multiplier=0.0, expected_batch_size=20.0)
    mask = jnp.arange(N) < 25
    total = clipped_sum(example_gradient(loss_fn))(params, Cohort((X, Y), mask), key, 0.5).total
    gradient = jax.jit(grad)(params, (X, Y), key, mask)
    jax.tree.map(lambda g, t: np.testing.assert_allclose(g, t / 20, rtol=1e-5), gradient, total)
    noisy = private_grad(loss_fn, clip_norm=0.5, noise_multiplier=3.0, expected_batch_size=20.0)
    draws = jax.vmap(lambda k: noisy(params, (X, Y), k, mask)["w"])(jax.random.split(key, 4000))
    # 4000 × 3 draws: the standard error of a standard deviation is 1/√24000 = .65 %; four of them.
    assert float(jnp.std(draws - gradient["w"][None])) == pytest.approx(3.0 * 0.5 / 20, rel=0.026)


@pytest.mark.parametrize(
    ("name", "value"), [("clip_norm", 0.0), ("noise_multiplier", -1.0), ("expected_batch_size", 0)]
)
def test_private_grad_names_bad_input(name, value):
    arguments = {"clip_norm": 1.0, "noise_multiplier": 1.0, "expected_batch_size": 4.0, name: value}
    with pytest.raises(ValueError, match=f"{name}={value}"):
        private_grad(loss_fn, **arguments)(init_fn(jax.random.key(0)), (X, Y), jax.random.key(0))


def test_norms_fall_into_their_bins_and_padding_into_none():
    from dpjax.norm_bins import NORM_BIN_EDGES

    units = jnp.array([0.0, 2.0**-20, 0.5, 0.5, 0.6, 1.0, 3.0, 1e9], jnp.float32)
    train = make_train(
        lambda key: jnp.zeros(()),
        lambda params, unit, key: (unit, {}),
        units,
        sampler=poisson_sampler(len(units), 1.0, num_steps=1),
        num_steps=1,
        make_optimizer=lambda h: optax.sgd(0.0),
    )
    for clip_norm, scale in ((0.5, 0.5), (jnp.inf, 1.0)):
        _, history = train(HParams(clip_norm=clip_norm), jax.random.key(0))
        edges = np.array([-np.inf, *NORM_BIN_EDGES, np.inf])
        expected, _ = np.histogram(np.asarray(units) / scale, edges)
        assert history.steps["norm_counts"][0].tolist() == expected.tolist()
    clipped = np.minimum(np.asarray(units), 0.5).sum()
    _, history = train(HParams(clip_norm=0.5), jax.random.key(0))
    assert float(history.steps["total_norm"][0]) == pytest.approx(clipped, rel=1e-6)
