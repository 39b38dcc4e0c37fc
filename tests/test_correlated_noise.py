"""Correlated noise: its sensitivity, what is streamed, what that costs, and the sampler that it asks for.

Seeds are fixed. A bound of five standard errors fails by chance less than once in a million per comparison.
"""

import math
from dataclasses import replace
from functools import cache, partial
from itertools import combinations, pairwise, product

import dp_accounting
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import linalg

from dpjax import HParams, example_gradient, gaussian_privatizer, make_train, noise_stddev
from dpjax.accounting import (
    Factorization,
    Mechanism,
    Participation,
    banded_toeplitz,
    buffered_toeplitz,
    calibrate_noise,
    epsilon,
    event,
    independent_noise,
    optimal_toeplitz,
    prefix_stddev,
    rdp_epsilon,
    tree_aggregation,
)
from dpjax.accounting.participation import toeplitz_sensitivity, tree_sensitivity
from dpjax.accounting.toeplitz import square_root
from dpjax.correlated_noise import correlated_privatizer
from dpjax.sampling import PoissonSampler, cyclic_sampler, draw_cohort, poisson_sampler, shuffled_sampler

KEY = jax.random.key(0)
TF_ORDERS = [1 + tenth / 10 for tenth in range(1, 100)] + [float(order) for order in range(12, 64)]
SCHEMA = Participation(num_steps=11, max_participations=3, min_separation=4)
MAKERS = {
    "independent": independent_noise,
    "optimal": optimal_toeplitz,
    "banded": lambda schema: banded_toeplitz(schema, 4),
    "wide": lambda schema: banded_toeplitz(schema, 7, objective="max"),
    "buffered": lambda schema: buffered_toeplitz(schema, buffers=2),
    "by_hand": lambda schema: Factorization("by hand", "toeplitz", schema, (2.0, -0.5, 0.25, 0.0)),
    "tree": tree_aggregation,
}


@cache
def made(name, schema=SCHEMA):
    return MAKERS[name](schema)


def patterns(schema):
    """Every way to take part that the schema allows."""
    for count in range(1, schema.max_participations + 1):
        for steps in combinations(range(schema.num_steps), count):
            if all(b - a >= schema.min_separation for a, b in pairwise(steps)):
                yield list(steps)


def encoder(factorization):
    steps = factorization.participation.num_steps
    if factorization.kind == "tree":
        return tree_nodes(steps)
    return linalg.toeplitz(np.pad(factorization.column, (0, steps - factorization.bands)), np.zeros(steps))


def tree_nodes(steps):
    rows = []
    for height in range(steps.bit_length()):
        for node in range(steps >> height):
            rows.append(np.zeros(steps))
            rows[-1][node << height : (node + 1) << height] = 1
    return np.array(rows)


def worst(matrix, schema, signs=(1,)):
    """The largest norm of the matrix times a unit's contributions of norm 1, by trying them all."""
    return max(
        np.linalg.norm(matrix[:, steps] @ np.array(sign))
        for steps in patterns(schema)
        for sign in product(signs, repeat=len(steps))
    )


@cache
def stream(factorization, steps, shape=(), stddev=1.0, seed=0, dtype=jnp.float32):
    """``[steps, *shape]`` the noise of so many updates."""
    privatizer = correlated_privatizer(stddev, jax.random.key(seed), factorization)
    zero = jnp.zeros(shape, dtype)

    def step(state, _):
        noise, state = privatizer.update(zero, state)
        return state, noise

    return np.asarray(jax.jit(lambda: jax.lax.scan(step, privatizer.init(zero), length=steps)[1])())


class TestPublished:
    def test_row_11_production_keyboard(self):
        """z = 7 is the noise on each node; squared sensitivity 79, zCDP .8061, ε 8.8986."""
        noise = tree_aggregation(Participation(num_steps=2000, max_participations=6, min_separation=313))
        assert noise.sensitivity**2 == pytest.approx(79, abs=1e-9)
        run = Mechanism(
            unit="client",
            adjacency="zero_out",
            sampling="cyclic",
            sampling_rate=1 / 334,  # 2000 rounds make 6 cycles begun
            population=334_000,
            noise_multiplier=7 / noise.sensitivity,
            num_steps=2000,
            factorization=noise,
        )
        assert run.num_participations == 6
        assert 1 / (2 * run.noise_multiplier**2) == pytest.approx(0.8061, abs=5e-5)
        assert rdp_epsilon(run, 1e-10, orders=TF_ORDERS) == pytest.approx(8.8986, abs=5e-5)
        assert epsilon(run, 1e-10) == pytest.approx(8.526, abs=5e-4)  # as docs/concepts/accounting.md says
        assert epsilon(run, 1e-10) < rdp_epsilon(run, 1e-10) <= rdp_epsilon(run, 1e-10, orders=TF_ORDERS)

    @pytest.mark.parametrize(("steps", "expected", "digits"), [(512, 3.05184086, 5e-9), (1024, 3.272554, 5e-7)])
    def test_row_12_optimal_toeplitz(self, steps, expected, digits):
        noise = optimal_toeplitz(Participation(steps, 1, steps))
        assert noise.sensitivity**2 == pytest.approx(expected, abs=digits)
        # Its decoder is itself: the error of the last sum is sensitivity × norm of the column.
        assert prefix_stddev(noise)[-1] == pytest.approx(expected, abs=digits)

    def test_the_square_root_squared_is_the_prefix_sum(self):
        column = square_root(300)
        np.testing.assert_allclose(np.convolve(column, column)[:300], 1.0, rtol=1e-12)


class TestSensitivity:
    @settings(max_examples=150, deadline=None)
    @given(data=st.data())
    def test_toeplitz_against_every_participation(self, data):
        steps = data.draw(st.integers(1, 9))
        schema = Participation(steps, data.draw(st.integers(1, 4)), data.draw(st.integers(1, 5)))
        entries = data.draw(st.lists(st.floats(-1, 1), min_size=1, max_size=steps).map(np.array))
        entries[0] = 1.0
        if data.draw(st.booleans()):
            entries = -np.sort(-np.abs(entries))
        matrix = linalg.toeplitz(np.pad(entries, (0, steps - entries.size)), np.zeros(steps))
        stated, real = toeplitz_sensitivity(entries, schema), worst(matrix, schema, signs=(-1, 1))
        falling = (entries >= 0).all() and (np.diff(entries) <= 0).all()
        assert stated >= real * (1 - 1e-12)
        if falling or entries.size <= schema.min_separation or schema.most == 1:
            assert stated == pytest.approx(real, rel=1e-12)

    def test_entries_that_rise_are_bounded_not_guessed(self):
        """Participations 0, 2 would say 1.73; it is 0, 3 that are the worst: bounded by 2.45."""
        schema, entries = Participation(5, 2, 2), [1.0, 0.0, 0.0, 1.0]
        matrix = linalg.toeplitz([*entries, 0.0], np.zeros(5))
        assert worst(matrix, schema) == pytest.approx(math.sqrt(5))
        assert np.linalg.norm(matrix[:, [0, 2]].sum(1)) < math.sqrt(5) <= toeplitz_sensitivity(entries, schema)
        assert toeplitz_sensitivity(entries, schema) == pytest.approx(math.sqrt(6))

    @settings(max_examples=150, deadline=None)
    @given(steps=st.integers(1, 18), times=st.integers(1, 5), apart=st.integers(1, 9))
    def test_tree_against_every_participation(self, steps, times, apart):
        schema = Participation(steps, times, apart)
        assert tree_sensitivity(schema) == pytest.approx(worst(tree_nodes(steps), schema), rel=1e-12)

    @pytest.mark.parametrize("name", MAKERS)
    def test_a_factorization_states_its_own(self, name):
        real = worst(encoder(made(name)), SCHEMA, signs=(-1, 1))
        assert made(name).sensitivity == pytest.approx(real, rel=1e-9)

    def test_large_trees_are_quick_and_sensible(self):
        assert tree_sensitivity(Participation(1 << 12, 1, 1)) == pytest.approx(math.sqrt(13))
        everyone = Participation(500, 500, 1)
        assert tree_sensitivity(everyone) ** 2 == pytest.approx(tree_nodes(500).sum(1) @ tree_nodes(500).sum(1))


class TestStream:
    @pytest.mark.parametrize("name", [n for n in MAKERS if n != "tree"])
    def test_the_encoder_takes_the_noise_back_to_the_fresh_one(self, name):
        """C (C⁻¹ Z) = Z in float64."""
        with jax.enable_x64(True):
            noise = stream(made(name), 11, (50,), stddev=0.7, dtype=jnp.float64)
            fresh = stream(made("independent", Participation(11, 1, 11)), 11, (50,), stddev=0.7, dtype=jnp.float64)
        assert noise.dtype == np.float64
        scaled = encoder(made(name)) / made(name).sensitivity
        np.testing.assert_allclose(scaled @ noise, fresh, rtol=0, atol=1e-12)

    def test_without_correlation_it_is_the_gaussian_privatizer(self):
        plain = gaussian_privatizer(0.3, KEY)
        total = {"a": jnp.ones((3, 4)), "b": jnp.full(5, 2.0)}
        ours = correlated_privatizer(0.3, KEY, independent_noise(Participation(5, 1, 5)))
        state, other = plain.init(total), ours.init(total)
        update, our_update = jax.jit(plain.update), jax.jit(ours.update)
        for _ in range(3):
            expected, state = update(total, state)
            noisy, other = our_update(total, other)
            jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-6), expected, noisy)
        assert int(other.step) == 3

    @pytest.mark.parametrize("name", MAKERS)
    def test_the_covariance_is_that_of_the_decoder(self, name):
        """Every entry, to five standard errors over 200,000 coordinates."""
        size, chosen = 200_000, made(name)
        sums = np.cumsum(stream(chosen, 11, (size,)), axis=0, dtype=np.float64)
        found = sums @ sums.T / size
        if chosen.kind == "tree":
            expected = tree_covariance(11) * chosen.sensitivity**2
        else:
            decoder = np.cumsum(np.linalg.inv(encoder(chosen) / chosen.sensitivity), axis=0)
            expected = decoder @ decoder.T
        scale = np.sqrt(np.diag(expected))
        np.testing.assert_allclose(scale, prefix_stddev(chosen), rtol=1e-9)
        error = np.sqrt((np.outer(scale, scale) ** 2 + expected**2) / size)
        assert (np.abs(found - expected) <= 5 * error).all()

    @pytest.mark.parametrize("name", MAKERS)
    def test_what_all_updates_together_give_away(self, name):
        """End to end: over every way to take part, the sums are one Gaussian mechanism of the stated multiplier.

        The noise's covariance is estimated from what is added, so a wrong sensitivity, a wrong recursion or a stddev
        that is scaled twice shows. By the tree a little less is released than its nodes, so there it is a bound.
        """
        multiplier, clip_norm, size = 2.0, 0.5, 200_000
        noise = stream(made(name), 11, (size,), stddev=float(noise_stddev(multiplier, clip_norm))).astype(np.float64)
        precision = np.linalg.inv(noise @ noise.T / size)
        shifts = [np.eye(11)[steps].sum(0) * clip_norm for steps in patterns(SCHEMA)]
        if name == "by_hand":
            shifts = [
                np.eye(11)[s].T @ np.array(e) * clip_norm
                for s in patterns(SCHEMA)
                for e in product((-1, 1), repeat=len(s))
            ]
        worst_shift = max(math.sqrt(u @ precision @ u) for u in shifts)
        assert worst_shift <= 1.02 / multiplier
        if name != "tree":
            assert worst_shift == pytest.approx(1 / multiplier, rel=0.02)

    @pytest.mark.parametrize("name", ["banded", "tree"])
    def test_noise_for_one_participation_gives_six_away(self, name):
        """The mistake that the test above is there for: √6 too little noise, and no mechanism that says otherwise."""
        six, once = Participation(24, 6, 4), Participation(24, 1, 24)
        noise = stream(made(name, once), 24, (100_000,)).astype(np.float64)
        precision = np.linalg.inv(noise @ noise.T / 100_000)
        shift = np.eye(24)[::4].sum(0)
        assert math.sqrt(shift @ precision @ shift) > 2.2
        fields = {"unit": "client", "adjacency": "zero_out", "noise_multiplier": 1.0, "num_steps": 24}
        sampler = cyclic_sampler(40, 10)
        with pytest.raises(
            ValueError, match="factorization is for 24 steps with 1 participation, but sampling='cyclic'"
        ):
            Mechanism.from_sampler(sampler, factorization=made(name, once), **fields)
        assert Mechanism.from_sampler(sampler, factorization=made(name, six), **fields).participation == six

    def test_leaves_steps_and_keys_do_not_share_noise(self):
        privatizer = correlated_privatizer(1.0, KEY, made("tree"))
        zero = {"a": jnp.zeros(20_000), "b": jnp.zeros(20_000)}
        noise, _ = jax.jit(privatizer.update)(zero, privatizer.init(zero))
        other = stream(made("tree"), 1, (20_000,), seed=1)[0]
        three = np.stack([noise["a"], noise["b"], other])
        assert np.abs(np.corrcoef(three)[np.triu_indices(3, 1)]).max() <= 5 / math.sqrt(20_000)


def tree_covariance(steps):
    """Of the prefix sums' noise: by weighing each node's noise with its subtree's, level by level."""
    nodes, index = tree_nodes(steps), {}
    rows = []
    for position, row in enumerate(nodes):
        start, length = int(np.flatnonzero(row)[0]), int(row.sum())
        estimate = np.zeros(len(nodes))
        estimate[position] = 1.0
        if length > 1:
            halves = rows[index[start, length // 2]] + rows[index[start + length // 2, length // 2]]
            own = (halves @ halves) / (1 + halves @ halves)
            estimate = own * estimate + (1 - own) * halves
        index[start, length] = len(rows)
        rows.append(estimate)
    sums = []
    for end in range(1, steps + 1):
        total, start = np.zeros(len(nodes)), 0
        for height in reversed(range(end.bit_length())):
            if end >> height & 1:
                total, start = total + rows[index[start, 1 << height]], start + (1 << height)
        sums.append(total)
    # The decoder undoes the encoder: what is released is the true sum plus noise.
    np.testing.assert_allclose(np.array(sums) @ nodes, np.tri(steps), atol=1e-12)
    return np.array(sums) @ np.array(sums).T


class TestPrivatizer:
    @pytest.mark.parametrize("name", ["banded", "buffered", "tree"])
    def test_a_traced_stddev_compiles_once_and_changes_only_the_scale(self, name):
        traces = []

        @jax.jit
        def run(stddev, key):
            traces.append(1)
            privatizer = correlated_privatizer(stddev, key, made(name))

            def step(state, _):
                return privatizer.update(jnp.zeros(7), state)[::-1]

            return jax.lax.scan(step, privatizer.init(jnp.zeros(7)), length=11)[1]

        first = run(1.0, KEY)
        for stddev in (0.25, 3.0, 0.0):
            np.testing.assert_allclose(run(stddev, KEY), stddev * first, rtol=1e-6)
        assert len(traces) == 1
        np.testing.assert_allclose(first, stream(made(name), 11, (7,)), rtol=1e-5, atol=1e-6)

    @pytest.mark.parametrize("name", ["banded", "buffered", "tree"])
    def test_lanes_are_the_single_runs(self, name):
        def run(stddev, key):
            privatizer = correlated_privatizer(stddev, key, made(name))

            def step(state, _):
                return privatizer.update(jnp.zeros(6), state)[::-1]

            return jax.lax.scan(step, privatizer.init(jnp.zeros(6)), length=11)[1]

        stddevs, keys = jnp.array([0.5, 2.0]), jax.random.split(KEY, 2)
        lanes, alone = jax.jit(jax.vmap(run))(stddevs, keys), jax.jit(run)
        for lane, stddev, key in zip(np.asarray(lanes), stddevs, keys, strict=True):
            np.testing.assert_allclose(lane, alone(stddev, key), rtol=1e-5, atol=1e-6)

    @pytest.mark.parametrize("name", ["banded", "buffered", "tree"])
    def test_a_state_goes_on_where_it_was_left(self, name):
        zero = {"w": jnp.zeros((3, 2)), "b": jnp.zeros(4)}
        whole = correlated_privatizer(1.0, KEY, made(name))
        states, draws, update = [whole.init(zero)], [], jax.jit(whole.update)
        for _ in range(11):
            noise, state = update(zero, states[-1])
            states.append(state)
            draws.append(noise)
        data = jax.tree.map(np.asarray, states[5]._replace(key=jax.random.key_data(states[5].key)))  # as on disk
        state = jax.tree.map(jnp.asarray, data)
        state = state._replace(key=jax.random.wrap_key_data(state.key))
        again = jax.jit(correlated_privatizer(1.0, KEY, made(name)).update)
        for step in range(5, 11):
            noise, state = again(zero, state)
            jax.tree.map(np.testing.assert_array_equal, noise, draws[step])

    def test_memory_is_what_is_stated(self):
        for name, slots in {"independent": 0, "banded": 3, "buffered": 2, "tree": 4, "optimal": 10}.items():
            state = correlated_privatizer(1.0, KEY, made(name)).init({"w": jnp.zeros((3, 2), jnp.bfloat16)})
            assert state.past["w"].shape == (slots, 3, 2)
            assert state.past["w"].dtype == jnp.float32

    def test_bfloat16_sums_get_float32_noise(self):
        privatizer = correlated_privatizer(1e-3, KEY, made("banded"))
        total = jnp.ones(5000, jnp.bfloat16)
        noisy, _ = jax.jit(privatizer.update)(total, privatizer.init(total))
        assert noisy.dtype == jnp.float32
        assert np.asarray(noisy).std() == pytest.approx(1e-3 * made("banded").sensitivity, rel=0.06)

    @pytest.mark.parametrize("name", ["banded", "buffered", "tree"])
    def test_nothing_is_released_past_the_steps_accounted_for(self, name):
        noise = stream(made(name), 13, (4,))
        assert np.isfinite(noise[:11]).all()
        assert np.isnan(noise[11:]).all()

    def test_parts_of_one_release_may_have_deviations_of_their_own(self):
        privatizer = correlated_privatizer((2.0, 0.5), KEY, made("banded"))
        pair = {"w": jnp.zeros(30_000)}, jnp.zeros(30_000)
        state, update = privatizer.init(pair), jax.jit(privatizer.update)
        for _ in range(4):
            (tree, count), state = update(pair, state)
        assert np.asarray(tree["w"]).std() / np.asarray(count).std() == pytest.approx(4, rel=0.05)

    def test_a_clip_norm_that_moves_scales_the_same_stream(self):
        """Past noise is kept at multiplier 1: step t's is clip norm t × row t of the encoder's inverse × Z."""
        bounds = [1.0, 0.5, 2.0, 4.0]
        state, zero = correlated_privatizer(1.0, KEY, made("banded")).init(jnp.zeros(5)), jnp.zeros(5)
        fixed = stream(made("banded"), 4, (5,))
        update = jax.jit(lambda bound, state: correlated_privatizer(bound, KEY, made("banded")).update(zero, state))
        for bound, expected in zip(bounds, fixed, strict=True):
            noise, state = update(bound, state)
            np.testing.assert_allclose(noise, bound * expected, rtol=1e-5)


class TestTraining:
    @pytest.mark.parametrize("name", ["independent", "buffered", "tree"])
    def test_a_run_ends_with_the_noise_of_the_last_prefix_sum(self, name):
        """Nothing but noise reaches 16 lanes of 500 parameters in 24 steps of 8 of 32 units."""
        sampler = cyclic_sampler(32, 8)
        noise = made(name, Participation.from_sampler(sampler, 24))
        train = make_train(
            lambda key: jnp.zeros(500),
            example_gradient(lambda w, x, key: 0.0 * jnp.sum(w * x)),
            jnp.ones((32, 500)),
            sampler=sampler,
            num_steps=24,
            make_optimizer=lambda h: optax.sgd(h.learning_rate),
            noise=partial(correlated_privatizer, factorization=noise),
        )
        hparams = HParams(learning_rate=1.0, clip_norm=0.5, noise_multiplier=3.0)
        state, _ = jax.jit(jax.vmap(train, in_axes=(None, 0)))(hparams, jax.random.split(KEY, 16))
        expected = prefix_stddev(noise)[-1] * 3.0 * 0.5 / 8
        assert np.asarray(state.params).std() == pytest.approx(expected, rel=5 / math.sqrt(2 * 8000))


class TestError:
    def test_correlated_beats_independent_at_equal_epsilon(self):
        """100 rounds, 10 participations 10 apart: root mean squared noise of the sums, per unit of noise multiplier."""
        schema = Participation(num_steps=100, max_participations=10, min_separation=10)
        found = {
            name: math.sqrt(np.mean(prefix_stddev(noise) ** 2))
            for name, noise in {
                "independent": independent_noise(schema),
                "tree": tree_aggregation(schema),
                "optimal": optimal_toeplitz(schema),
                "buffered": buffered_toeplitz(schema, buffers=2),
                "banded": banded_toeplitz(schema, 10),
            }.items()
        }
        assert found == pytest.approx(
            {"independent": 22.472, "tree": 16.757, "optimal": 13.014, "buffered": 9.894, "banded": 9.318}, rel=2e-3
        )

    @pytest.mark.parametrize("objective", ["mean", "max"])
    @pytest.mark.parametrize("schema", [Participation(60, 1, 60), Participation(60, 6, 10)])
    def test_more_bands_never_hurt(self, schema, objective):
        reduce = {"mean": lambda e: math.sqrt(np.mean(e**2)), "max": np.max}[objective]
        errors = [reduce(prefix_stddev(banded_toeplitz(schema, b, objective=objective))) for b in (1, 2, 4, 8, 10)]
        assert errors == sorted(errors, reverse=True)
        assert errors[0] == pytest.approx(reduce(prefix_stddev(independent_noise(schema))), rel=1e-9)

    @pytest.mark.parametrize("name", MAKERS)
    def test_the_same_at_every_call(self, name):
        assert MAKERS[name](SCHEMA) == MAKERS[name](SCHEMA)


class TestAgainstJaxPrivacy:
    @pytest.fixture(autouse=True)
    def theirs(self):
        pytest.importorskip("jax_privacy")
        before = jax.config.jax_numpy_rank_promotion, jax.config.jax_numpy_dtype_promotion
        jax.config.update("jax_numpy_rank_promotion", "allow")
        jax.config.update("jax_numpy_dtype_promotion", "standard")
        yield
        jax.config.update("jax_numpy_rank_promotion", before[0])
        jax.config.update("jax_numpy_dtype_promotion", before[1])

    @pytest.mark.parametrize(("times", "apart"), [(1, 200), (5, 40), (8, 3)])
    def test_optimal_toeplitz(self, times, apart):
        from jax_privacy.matrix_factorization import toeplitz

        noise = optimal_toeplitz(Participation(200, times, apart))
        with jax.enable_x64(True):
            theirs = toeplitz.optimal_max_error_strategy_coefs(200)
            np.testing.assert_allclose(noise.column, theirs, rtol=1e-12)
            squared = toeplitz.minsep_sensitivity_squared(theirs, apart, times)
            error = toeplitz.per_query_error(strategy_coef=theirs)
        assert noise.sensitivity**2 == pytest.approx(float(squared), rel=1e-12)
        np.testing.assert_allclose(prefix_stddev(noise), np.sqrt(squared * error), rtol=1e-10)

    @pytest.mark.parametrize(("steps", "bands", "objective"), [(100, 5, "mean"), (100, 20, "max")])
    def test_banded_toeplitz_is_no_worse(self, steps, bands, objective):
        from jax_privacy.matrix_factorization import toeplitz

        reduce = {"mean": jnp.mean, "max": jnp.max}[objective]
        with jax.enable_x64(True):
            found = toeplitz.optimize_banded_toeplitz(steps, bands, reduction_fn=reduce)
            theirs = float(toeplitz.loss(found, steps, reduce))
        ours = banded_toeplitz(Participation(steps, 1, steps), bands, objective=objective)
        error = prefix_stddev(ours) ** 2
        assert {"mean": error.mean(), "max": error.max()}[objective] == pytest.approx(theirs, rel=1e-4)
        assert {"mean": error.mean(), "max": error.max()}[objective] <= theirs * (1 + 1e-6)

    def test_buffered_toeplitz_is_their_matrix(self):
        from jax_privacy.matrix_factorization import buffered_toeplitz as theirs

        noise = buffered_toeplitz(Participation(200, 5, 40), buffers=2)
        weights, decays = zip(*sorted(noise.buffers, key=lambda pair: -pair[1]), strict=True)
        with jax.enable_x64(True):
            blt = theirs.BufferedToeplitz.build(buf_decay=decays, output_scale=weights)
            np.testing.assert_allclose(noise.column, blt.toeplitz_coefs(200), rtol=1e-12)

    @pytest.mark.slow
    def test_buffered_toeplitz_is_as_good_as_theirs(self):
        from jax_privacy.matrix_factorization import buffered_toeplitz as theirs
        from jax_privacy.matrix_factorization import toeplitz

        with jax.enable_x64(True):
            blt = theirs.optimize(n=200, min_sep=40, max_participations=5, error="mean", max_buffers=2)
            column = blt.toeplitz_coefs(200)
            error = jnp.mean(toeplitz.per_query_error(strategy_coef=column))
            loss = float(toeplitz.minsep_sensitivity_squared(column, 40, 5) * error)
        ours = float(np.mean(prefix_stddev(buffered_toeplitz(Participation(200, 5, 40), buffers=2)) ** 2))
        assert ours <= loss * 1.001


class TestCyclicSampler:
    @pytest.mark.parametrize(("population", "size", "steps"), [(12, 4, 10), (10, 4, 11), (7, 7, 3), (5, 1, 5)])
    def test_the_separation_is_real(self, population, size, steps):
        sampler = cyclic_sampler(population, size)
        schema = Participation.from_sampler(sampler, steps)
        draw = jax.jit(lambda t: draw_cohort(sampler, KEY, t, jnp.arange(population)))
        seen = np.zeros((steps, population), int)
        for step in range(steps):
            cohort, info = draw(step)
            chosen = np.asarray(cohort.units)[np.asarray(cohort.mask)]
            assert len(set(chosen.tolist())) == int(info.cohort_size) == chosen.size <= size == cohort.mask.size
            seen[step, chosen] += 1
        apart = -(-population // size)
        assert schema == Participation(steps, -(-steps // apart), apart)
        assert (seen[:apart].sum(0) == 1).all()
        assert seen.sum(0).max() == schema.max_participations
        for unit in seen.T:
            assert set(np.diff(np.flatnonzero(unit))) <= {apart}

    def test_the_key_decides_the_order_and_shuffling_keeps_nothing_apart(self):
        units = jnp.arange(1000)
        first, other = (draw_cohort(cyclic_sampler(1000, 10), jax.random.key(k), 0, units)[0] for k in (0, 1))
        assert len(set(first.units.tolist()) & set(other.units.tolist())) < 5
        assert Participation.from_sampler(shuffled_sampler(100, 10), 20) == Participation(20, 2, 1)
        assert Participation.from_sampler(poisson_sampler(100, 0.1, num_steps=20), 20) == Participation(20, 20, 1)
        draws = [
            [
                set(draw_cohort(shuffled_sampler(4, 2), jax.random.key(k), t, jnp.arange(4))[0].units.tolist())
                for t in (1, 2)
            ]
            for k in range(8)
        ]
        assert any(last & following for last, following in draws)

    @pytest.mark.parametrize("size", [0, 6])
    def test_bad_size(self, size):
        with pytest.raises(ValueError, match=f"cohort_size={size} must be from 1 to 5; it is how many"):
            cyclic_sampler(5, size)


def run(noise_multiplier=1.5, **changes):
    fields = {"unit": "client", "adjacency": "zero_out", "num_steps": 100, "noise_multiplier": noise_multiplier}
    return Mechanism.from_sampler(cyclic_sampler(100, 10), **(fields | changes))


SCHEMA_100 = Participation.from_sampler(cyclic_sampler(100, 10), 100)


class TestAccounting:
    @pytest.mark.parametrize("adjacency", ["zero_out", "replace_one"])
    @pytest.mark.parametrize("accountant", ["pld", "rdp"])
    def test_correlated_noise_is_one_gaussian_mechanism(self, adjacency, accountant):
        one = Mechanism(
            unit="client", adjacency=adjacency, sampling="full", sampling_rate=1.0, noise_multiplier=1.5, num_steps=1
        )
        ours = run(adjacency=adjacency, factorization=banded_toeplitz(SCHEMA_100, 3))
        assert epsilon(ours, 1e-5, accountant) == epsilon(one, 1e-5, accountant)
        assert event(ours) == dp_accounting.GaussianDpEvent(1.5)
        noise = calibrate_noise(ours, epsilon=2.0, delta=1e-5, accountant=accountant)
        assert noise == calibrate_noise(one, epsilon=2.0, delta=1e-5, accountant=accountant)

    def test_independent_noise_is_the_same_both_ways(self):
        """Ten Gaussians of multiplier 1.5 × √10 are one of 1.5."""
        apart = run(1.5 * independent_noise(SCHEMA_100).sensitivity)
        assert event(apart) == dp_accounting.SelfComposedDpEvent(dp_accounting.GaussianDpEvent(1.5 * math.sqrt(10)), 10)
        together = run(1.5, factorization=independent_noise(SCHEMA_100))
        for accountant in ("pld", "rdp"):
            assert epsilon(apart, 1e-5, accountant) == pytest.approx(epsilon(together, 1e-5, accountant), rel=1e-9)

    @pytest.mark.parametrize("factorization", [None, independent_noise(SCHEMA_100)])
    def test_add_or_remove_is_refused(self, factorization):
        with pytest.raises(ValueError, match=r"no account with sampling='cyclic', .*use 'zero_out'"):
            epsilon(run(adjacency="add_or_remove_one", factorization=factorization), 1e-5)

    def test_other_samplings(self):
        """Any sampling that does not look at the data, at the participation that it allows; nothing is amplified."""
        always = independent_noise(Participation(20, 20, 1))
        fields = {"unit": "client", "num_steps": 20, "noise_multiplier": 3.0, "factorization": always}
        poisson = Mechanism(sampling="poisson", sampling_rate=0.1, adjacency="add_or_remove_one", **fields)
        assert event(poisson) == dp_accounting.GaussianDpEvent(3.0)
        everyone = Mechanism(sampling="full", sampling_rate=1.0, adjacency="add_or_remove_one", **fields)
        assert epsilon(everyone, 1e-5) == epsilon(poisson, 1e-5)
        fixed = Mechanism(sampling="fixed_size", sampling_rate=0.1, population=50, adjacency="replace_one", **fields)
        assert epsilon(fixed, 1e-5) > epsilon(everyone, 1e-5)
        with pytest.raises(ValueError, match="no account with sampling='fixed_size' and correlated noise"):
            epsilon(replace(fixed, adjacency="add_or_remove_one"), 1e-5)

    def test_overflow_is_paid_for_here_too(self):
        always = independent_noise(Participation(20, 20, 1))
        sampler = PoissonSampler(100, 0.1, 33, num_steps=20)
        fields = {"unit": "client", "adjacency": "zero_out", "num_steps": 20, "noise_multiplier": 3.0}
        cut = Mechanism.from_sampler(sampler, factorization=always, **fields)
        assert epsilon(cut, 1e-5) == epsilon(replace(cut, overflow_probability=0.0), 1e-5 * 0.999)
        noise = calibrate_noise(cut, epsilon=1.0, delta=1e-5)
        assert noise > calibrate_noise(replace(cut, overflow_probability=0.0), epsilon=1.0, delta=1e-5)

    def test_the_sampler_must_be_the_one_that_the_noise_is_for(self):
        noise = banded_toeplitz(SCHEMA_100, 4)
        assert run(factorization=noise, num_steps=60).num_participations == 6  # a shorter run is covered
        message = "factorization is for 100 steps with 10 participations at least 10 apart, but sampling="
        for sampler, steps in [
            (cyclic_sampler(100, 10), 101),
            (cyclic_sampler(90, 10), 90),
            (cyclic_sampler(100, 13), 100),
            (shuffled_sampler(100, 10), 100),
            (poisson_sampler(100, 0.1, num_steps=100), 100),
        ]:
            with pytest.raises(ValueError, match=message):
                Mechanism.from_sampler(
                    sampler, unit="client", adjacency="zero_out", num_steps=steps, factorization=noise
                )
        wider = Mechanism.from_sampler(
            cyclic_sampler(200, 10), unit="client", adjacency="zero_out", num_steps=100, factorization=noise
        )
        assert wider.participation == Participation(100, 5, 20)

    def test_describe_states_the_noise(self):
        words = run(factorization=banded_toeplitz(SCHEMA_100, 3)).describe()
        for fact in (
            "cycles through one order at rate 0.1",
            "100 steps that are one Gaussian mechanism of noise multiplier 1.5",
            "correlated by banded_toeplitz with 3 bands, for at most 10 participations at least 10 steps apart",
            "no amplification",
        ):
            assert fact in words
        assert "tree_aggregation, for at most 10 participations" in tree_aggregation(SCHEMA_100).describe()
        assert "with 2 buffers" in buffered_toeplitz(SCHEMA_100, buffers=2).describe()


class TestRefusals:
    @pytest.mark.parametrize(
        ("make", "message"),
        [
            (lambda: Participation(0, 1, 1), "num_steps=0 must be ≥ 1; it counts steps"),
            (lambda: Participation(5, True, 1), "max_participations=True must be a whole number"),
            (lambda: Participation(5, 1, -2), "min_separation=-2 must be ≥ 1"),
            (lambda: optimal_toeplitz(SCHEMA, bands=12), "bands=12 must be from 1 to 11;"),
            (lambda: banded_toeplitz(SCHEMA, 0), "bands=0 must be from 1 to 11;"),
            (
                lambda: banded_toeplitz(SCHEMA, 2, objective="least"),
                "objective='least' is not known; use one of",
            ),
            (lambda: buffered_toeplitz(SCHEMA, buffers=0), "buffers=0 must be from 1 to 10;"),
            (
                lambda: Factorization("x", "dense", SCHEMA),
                "kind='dense' is not known; use one of toeplitz",
            ),
            (lambda: Factorization("x", "toeplitz", SCHEMA), "coefficients=() with kind='toeplitz'"),
            (lambda: Factorization("x", "tree", SCHEMA, (1.0,)), "coefficients=(1.0,) with kind='tree'"),
            (lambda: Factorization("x", "toeplitz", SCHEMA, (0.0, 1.0)), "must be finite numbers, the first above 0"),
            (lambda: Factorization("x", "toeplitz", SCHEMA, (1.0, math.nan)), "must be finite numbers"),
            (lambda: Factorization("x", "toeplitz", SCHEMA, (1.0,) * 12), "coefficients has 12 entries; give at most"),
            (
                lambda: Factorization("x", "buffered", SCHEMA, (), ((0.5, 1.1),)),
                "a decay of buffers=1.1 must be in",
            ),
            (lambda: tree_aggregation(SCHEMA).column, "kind is 'tree', whose encoder is no Toeplitz matrix"),
            (lambda: correlated_privatizer(-1.0, KEY, made("tree")), "stddev=-1.0 must be finite"),
        ],
    )
    def test_one_sentence_names_the_field_and_the_fix(self, make, message):
        with pytest.raises(ValueError) as refused:  # noqa: PT011
            make()
        assert message in str(refused.value)
        assert "\n" not in str(refused.value)

    @pytest.mark.parametrize("key", [None, 0, jax.random.PRNGKey(0)])
    def test_the_noise_takes_nothing_but_a_key(self, key):
        with pytest.raises(TypeError, match=r"not a JAX key|key"):
            correlated_privatizer(1.0, key, made("banded"))

    def test_one_step_needs_no_correlation(self):
        once = Participation(1, 1, 1)
        for name in ("independent", "optimal", "tree"):
            assert made(name, once).sensitivity == 1.0
        assert buffered_toeplitz(once) == independent_noise(once)
