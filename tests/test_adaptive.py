"""Adaptive clipping: its update, its joint sensitivity, its noise, and that a run is what it says it is."""

from functools import partial

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
    Summing,
    adaptive_clipping,
    clipped_sum,
    draw_cohort,
    example_gradient,
    fixed_size_sampler,
    gaussian_privatizer,
    make_train,
    per_layer_clipping,
    poisson_sampler,
)
from dpjax.clipping.adaptive import (
    LARGEST,
    SMALLEST,
    centred_count,
    next_clip_norm,
    split_noise,
    sum_noise_multiplier,
)

KEY = jax.random.key(0)


def linear(w, x, key):
    return jnp.sum(w * x)


def make(units, sampler, num_steps, noise, loss_fn=linear, **options):
    return make_train(
        lambda key: jnp.zeros(jax.tree.leaves(units)[0].shape[1]),
        example_gradient(loss_fn),
        units,
        sampler=sampler,
        num_steps=num_steps,
        make_optimizer=lambda h: optax.sgd(h.learning_rate),
        noise=noise,
        **options,
    )


# ---- the formulas -------------------------------------------------------------------------------------------------


def test_the_published_value():
    """NUMBERS.md row 14: z=1, expected cohort 100."""
    z, stddev = split_noise(adaptive_clipping(), 1.0, 100.0)
    assert float(z) == pytest.approx(1.0050378, rel=1e-6)
    assert float(stddev) == 5.0


@settings(max_examples=50, deadline=None)
@given(stddev=st.floats(0.1, 1e4), share=st.floats(1e-4, 0.9999))
def test_the_two_noises_together_are_what_is_accounted(stddev, share):
    z = share * 2 * stddev
    gradient = float(sum_noise_multiplier(z, stddev))
    assert gradient**-2 + (2 * stddev) ** -2 == pytest.approx(z**-2, rel=1e-5)
    assert gradient >= z * (1 - 1e-6)


def test_without_noise_nothing_is_noised():
    assert [float(x) for x in split_noise(adaptive_clipping(), 0.0, 40.0)] == [0.0, 0.0]
    assert [float(x) for x in jax.jit(lambda z: split_noise(adaptive_clipping(), z, 40.0))(0.0)] == [0.0, 0.0]


@pytest.mark.parametrize("z", [10.0, 11.0, float("inf"), -1.0, float("nan")])
def test_a_noise_multiplier_that_cannot_be_covered_is_named_or_gives_no_information(z):
    with pytest.raises(ValueError, match=r"noise_multiplier=\S+ must be"):
        sum_noise_multiplier(z, 5.0)
    if not z < 0:
        assert float(jax.jit(lambda z: sum_noise_multiplier(z, 5.0))(z)) == np.inf


@settings(max_examples=50, deadline=None)
@given(
    clip_norm=st.floats(1e-3, 1e3),
    count=st.floats(-300, 300),
    quantile=st.floats(0, 1),
    rate=st.floats(0.01, 1),
    size=st.floats(50, 500),
)
def test_the_update_is_geometric_and_divides_by_the_expected_size(clip_norm, count, quantile, rate, size):
    moved = next_clip_norm(adaptive_clipping(quantile, rate), jnp.float32(clip_norm), jnp.float32(count), size)
    expected = clip_norm * np.exp(-rate * (count / size + 0.5 - quantile))
    assert float(moved) == pytest.approx(expected, rel=1e-4)


def test_the_clip_norm_stays_where_the_kernel_can_guarantee_it():
    config = adaptive_clipping(learning_rate=100.0)
    assert float(next_clip_norm(config, jnp.float32(1.0), jnp.float32(100.0), 10)) == np.float32(SMALLEST)
    assert float(next_clip_norm(config, jnp.float32(1.0), jnp.float32(-100.0), 10)) == np.float32(LARGEST)
    assert float(next_clip_norm(config, jnp.float32(np.inf), jnp.float32(100.0), 10)) == np.inf


# ---- sensitivity --------------------------------------------------------------------------------------------------


@jax.jit
def released(units, mask, clip_norm):
    """(sum, centred count) of a cohort whose gradients are the units themselves."""
    out = clipped_sum(example_gradient(linear), engine="materialize")(
        jnp.zeros(units.shape[1]), Cohort(units, mask), KEY, clip_norm
    )
    return out.total, centred_count(out.norms, mask, clip_norm)


def distance(a, b, stddevs):
    parts = [np.linalg.norm(np.float64(x) - np.float64(y)) / s for x, y, s in zip(a, b, stddevs, strict=True)]
    return float(np.linalg.norm(parts))


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    clip_norm=st.floats(1e-2, 1e2),
    z=st.floats(0.1, 3.9),
    scale=st.sampled_from([0.0, 0.1, 1.0, 100.0, 1e30, np.nan]),
    other=st.sampled_from([0.0, 1.0, 100.0, np.inf]),
)
def test_one_unit_moves_sum_and_count_together_by_at_most_one_over_z(seed, clip_norm, z, scale, other):
    units = np.array(jax.random.normal(jax.random.key(seed), (6, 4)))
    changed = units.copy()
    units[2], changed[2] = units[2] * scale, -units[2] * other
    count_stddev = 2.0
    stddevs = clip_norm * float(sum_noise_multiplier(z, count_stddev)), count_stddev
    everyone = np.ones(6, bool)
    with_unit = released(units, everyone, clip_norm)
    without = released(units, np.arange(6) != 2, clip_norm)
    replaced = released(changed, everyone, clip_norm)
    rounding = 1 + 1e-5
    assert distance(with_unit, without, stddevs) <= rounding / z  # add or remove, zero out
    assert distance(with_unit, replaced, stddevs) <= 2 * rounding / z  # replace


def test_a_count_that_nobody_accounts_for_would_break_the_bound():
    """The opposite: all of z on the sum, and a noisy count on top."""
    z, count_stddev, clip_norm = 1.0, 2.0, 0.5
    units = np.full((3, 4), 10.0, np.float32)
    pair = [released(units, np.arange(3) < n, clip_norm) for n in (3, 2)]
    assert distance(*pair, (clip_norm * z, count_stddev)) > 1.02 / z
    reached = distance(*pair, (clip_norm * float(sum_noise_multiplier(z, count_stddev)), count_stddev))
    assert reached == pytest.approx(1 / z, rel=1e-5)  # and the joint formula is tight


def test_empty_slots_count_nothing_and_rejected_units_half():
    units = np.array([[0.1], [9.0], [np.nan], [0.1], [np.inf]], np.float32)
    mask = np.array([True, True, True, False, False])
    assert float(released(units, mask, 1.0)[1]) == 0.5 - 0.5 + 0.5
    assert float(released(units, np.zeros(5, bool), 1.0)[1]) == 0.0


# ---- a run --------------------------------------------------------------------------------------------------------

UNITS = jax.random.normal(jax.random.key(5), (60, 3)) * jnp.geomspace(0.1, 10.0, 60)[:, None]


def make_small(noise=None):
    """A run that several tests make: the same program, and so compiled once."""
    return make(UNITS, fixed_size_sampler(60, 20), 3, noise or adaptive_clipping())


def test_a_run_equals_its_definition_step_by_step():
    sampler, z = poisson_sampler(60, 0.5, num_steps=6), 0.8
    hparams = HParams(learning_rate=0.1, clip_norm=0.3, noise_multiplier=z)
    config = adaptive_clipping(0.6, 0.5, count_stddev=2.0)
    state, history = jax.jit(make(UNITS, sampler, 6, config))(hparams, KEY)
    _, sampling_key, contribution_key, noise_key = jax.random.split(KEY, 4)

    @jax.jit
    def step(params, clip_norm, t):
        cohort, info = draw_cohort(sampler, sampling_key, t, UNITS)
        step_key = jax.random.fold_in(contribution_key, t)
        out = clipped_sum(example_gradient(linear))(params, cohort, step_key, clip_norm)
        (draw_key,) = jax.random.split(jax.random.fold_in(noise_key, t), 1)
        return cohort, info, out, jax.random.normal(draw_key, (4,))  # of the sum, then of the count

    params, clip_norm = np.zeros(3), 0.3
    for t in range(6):
        cohort, info, out, samples = jax.device_get(step(np.float32(params), clip_norm, t))
        below = int(np.sum(out.norms[cohort.mask] <= clip_norm))
        stddev = (z**-2 - (2 * 2.0) ** -2) ** -0.5 * clip_norm
        noised = out.total + stddev * samples[:3]
        count = below - int(info.cohort_size) / 2 + 2.0 * float(samples[3])
        assert float(history.steps["clip_norm"][t]) == pytest.approx(clip_norm, rel=1e-5)
        params = params - 0.1 * noised / 30
        clip_norm *= np.exp(-0.5 * (count / 30 + 0.5 - 0.6))
    np.testing.assert_allclose(state.params, params, rtol=1e-4, atol=1e-6)
    assert float(state.clip_norm) == pytest.approx(clip_norm, rel=1e-5)


def test_the_quantile_is_that_of_the_units_whatever_their_weights():
    """One unit of five-fold weight: the noised sum's divisor is then a fifth of the cohort, the count's is not."""
    weights = np.where(np.arange(60) == 0, 5.0, 1.0) / 64
    sampler, config = poisson_sampler(60, 0.5, num_steps=300), adaptive_clipping(0.8, 0.2, count_stddev=0.1)
    hparams = HParams(learning_rate=0.0, clip_norm=1.0, noise_multiplier=0.1)
    alike, heavy = (
        jax.jit(make(Population(UNITS, weights=w), sampler, 300, config))(hparams, KEY)[0].clip_norm
        for w in (None, weights)
    )
    assert float(heavy) == pytest.approx(float(alike), rel=1e-5)
    norms = np.linalg.norm(UNITS, axis=1)
    assert np.mean(norms <= float(heavy)) == pytest.approx(0.8, abs=0.1)


@pytest.mark.parametrize("quantile", [0.2, 0.5, 0.9])
def test_the_clip_norm_finds_the_quantile(quantile):
    config = adaptive_clipping(quantile, 0.2)
    train = jax.jit(make(UNITS, fixed_size_sampler(60, 60), 200, config))
    norms = np.linalg.norm(UNITS, axis=1)
    for z in (0.0, 0.5):
        state, _ = train(HParams(learning_rate=0.0, clip_norm=0.01, noise_multiplier=z), KEY)
        share = np.mean(norms <= float(state.clip_norm))
        # With noise: each step adds 3/60 to the share; the average over 1/0.2 steps or so has .02 of it left.
        assert share == pytest.approx(quantile, abs=0.02 if z == 0 else 0.1)


def test_the_noise_follows_the_clip_norm_and_the_count_has_noise_of_its_own():
    width, size, z = 4000, 40.0, 1.5
    units = jnp.zeros((80, width))  # every norm is 0, so that the clip norm falls by itself
    hparams = HParams(learning_rate=1.0, clip_norm=2.0, noise_multiplier=z)
    sampler, config = fixed_size_sampler(80, 40), adaptive_clipping(0.5, 1.0)
    gradient = float(sum_noise_multiplier(z, size / 20))
    before, done = np.zeros(width), 0
    for steps in (1, 4):
        state, history = jax.jit(make(units, sampler, steps, config))(hparams, KEY)
        since = np.asarray(history.steps["clip_norm"])[done:]
        noise = (before - np.asarray(state.params)) * size
        # The standard error of a deviation over 4,000 coordinates is 1.1 %; four of them.
        assert noise.std() == pytest.approx(gradient * np.sqrt(np.sum(since**2)), rel=0.045)
        before, done = np.asarray(state.params), steps
    falls = np.diff(np.log(np.asarray(history.steps["clip_norm"])))
    assert np.all(falls < 0)
    assert len(set(falls.round(4))) == 3  # the count's noise is fresh at every step


def test_the_noises_of_sum_and_count_are_independent_and_of_their_size():
    units, draws = jnp.zeros((40, 1)), 4000
    sampler, config = fixed_size_sampler(40, 20), adaptive_clipping(0.5, 0.01, count_stddev=3.0)
    hparams = HParams(learning_rate=1.0, clip_norm=1.0, noise_multiplier=1.0)
    train = make(units, sampler, 1, config)
    state = jax.jit(jax.vmap(lambda k: train(hparams, k)[0]))(jax.random.split(KEY, draws))
    total = -np.asarray(state.params)[:, 0] * 20
    count = -np.log(np.asarray(state.clip_norm, np.float64)) / 0.01 * 20
    error = 4 / np.sqrt(2 * draws)
    assert total.std() == pytest.approx(float(sum_noise_multiplier(1.0, 3.0)), rel=error)
    assert count.std() == pytest.approx(3.0, rel=error)
    assert count.mean() == pytest.approx(20 / 2, abs=4 * 3 / np.sqrt(draws))
    for power in (1, 2):
        assert abs(np.corrcoef(total**power, (count - 10) ** power)[0, 1]) < 5 / np.sqrt(draws)


def test_a_run_without_noise_is_a_pure_function_of_the_data():
    # As many steps as above, so that it is the program of one of those.
    train = jax.jit(make(UNITS, fixed_size_sampler(60, 60), 200, adaptive_clipping(0.5, 0.2)))
    hparams = HParams(clip_norm=1.0, noise_multiplier=0.0)
    (a, _), (b, _) = train(hparams, jax.random.key(1)), train(hparams, jax.random.key(2))
    assert float(a.clip_norm) == pytest.approx(float(b.clip_norm), rel=1e-6)
    np.testing.assert_allclose(a.params, b.params, rtol=1e-4, atol=1e-6)


def test_too_much_noise_to_share_surfaces_when_traced_and_is_named_when_not():
    train = make_small()
    hparams = HParams(clip_norm=1.0, noise_multiplier=2.5)
    with pytest.raises(ValueError, match=r"noise_multiplier=2\.5 must be below 2 × count_stddev = 2"):
        train(hparams, KEY)
    state, _ = jax.jit(train)(hparams, KEY)
    assert not np.any(np.isfinite(state.params))


@pytest.mark.parametrize("clip_norm", [np.inf, 0.0, np.nan])
def test_a_clip_norm_that_cannot_adapt_is_named(clip_norm):
    train = make(UNITS, fixed_size_sampler(60, 20), 2, adaptive_clipping())
    with pytest.raises(ValueError, match=f"clip_norm={clip_norm} must be .* where adaptive clipping starts"):
        train(HParams(clip_norm=clip_norm), KEY)


def test_an_infinite_clip_norm_is_a_reference_lane_without_noise_and_undefined_with_it():
    adapted, plain = jax.jit(make_small()), jax.jit(make_small(gaussian_privatizer))
    reference = HParams(clip_norm=np.inf)
    (a, history), (b, _) = adapted(reference, KEY), plain(reference, KEY)
    np.testing.assert_allclose(a.params, b.params, rtol=1e-5)
    assert np.all(np.isinf(history.steps["clip_norm"]))
    noisy, _ = adapted(reference._replace(noise_multiplier=0.5), KEY)
    assert not np.any(np.isfinite(noisy.params))


def test_without_adapting_the_state_and_the_history_hold_the_clip_norm():
    state, history = jax.jit(make_small(gaussian_privatizer))(HParams(clip_norm=0.25), KEY)
    assert float(state.clip_norm) == 0.25
    assert history.steps["clip_norm"].tolist() == [0.25] * 3


def test_lanes_of_a_sweep_adapt_by_themselves():
    train = make_small()
    hparams = HParams(clip_norm=jnp.array([0.1, 5.0]), noise_multiplier=jnp.array([0.5, 1.0]))
    axes = HParams(*[None] * len(HParams._fields))._replace(clip_norm=0, noise_multiplier=0)
    lanes, _ = jax.jit(jax.vmap(train, (axes, None)))(
        HParams()._replace(clip_norm=hparams.clip_norm, noise_multiplier=hparams.noise_multiplier), KEY
    )
    for i in range(2):
        one = HParams(clip_norm=float(hparams.clip_norm[i]), noise_multiplier=float(hparams.noise_multiplier[i]))
        alone, _ = jax.jit(train)(one, KEY)
        np.testing.assert_allclose(lanes.params[i], alone.params, rtol=1e-4, atol=1e-6)
        assert float(lanes.clip_norm[i]) == pytest.approx(float(alone.clip_norm), rel=1e-5)


@pytest.mark.parametrize("factory", [Summing(per_layer_clipping()), partial(clipped_sum, rule=per_layer_clipping())])
def test_groups_cannot_adapt(factory):
    with pytest.raises(ValueError, match=r"rule\.groups"):
        make(UNITS, fixed_size_sampler(60, 20), 2, adaptive_clipping(), sum_factory=factory)(HParams(), KEY)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("target_quantile", -0.1),
        ("target_quantile", 1.5),
        ("target_quantile", float("nan")),
        ("learning_rate", 0.0),
        ("learning_rate", float("inf")),
        ("count_stddev", 0.0),
        ("count_stddev", -1.0),
        ("count_stddev", float("nan")),
    ],
)
def test_bad_configurations_are_named(name, value):
    with pytest.raises(ValueError, match=f"{name}={value}"):
        adaptive_clipping(**{name: value})
