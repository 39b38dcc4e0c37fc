"""DP-SGD inside clients: each row's part is bounded, drawn by its own coin and hidden by noise of the stated size."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dpjax import HParams, Population, Records, UnitData, fixed_size_sampler, make_train, poisson_sampler
from dpjax.contributions import private_client_delta
from dpjax.sampling import PoissonSampler

KEY = jax.random.key(0)
RNG = np.random.default_rng(0)
ROWS = jnp.asarray(RNG.normal(size=(12, 3)), jnp.float32)
EVERYONE = PoissonSampler(12, 1.0, 12, 100)


def linear(w, x, key):
    return w @ x  # a row's gradient is the row


def deltas(rows=ROWS, mask=None, *, sampler=EVERYONE, clip_norm=1.0, noise_multiplier=0.0, num_steps=1, keys=KEY[None]):
    contribution = private_client_delta(
        linear,
        optax.sgd(1.0),
        num_steps=num_steps,
        sampler=sampler,
        clip_norm=clip_norm,
        noise_multiplier=noise_multiplier,
    )
    unit = UnitData(rows, jnp.ones(len(rows), bool) if mask is None else mask)
    return np.asarray(jax.jit(jax.vmap(lambda key: contribution(jnp.zeros(rows.shape[1]), unit, key)[0]))(keys))


def delta(rows=ROWS, mask=None, **options):
    return deltas(rows, mask, **options)[0]


def clipped(rows):
    rows = np.asarray(rows)
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1)


def test_a_local_step_is_the_clipped_sum_over_the_expected_size():
    np.testing.assert_allclose(delta(), clipped(ROWS).sum(0) / 12, rtol=1e-5)
    mask = jnp.arange(12) % 3 > 0
    np.testing.assert_allclose(delta(mask=mask), clipped(ROWS)[np.asarray(mask)].sum(0) / 8, rtol=1e-5)


def test_one_row_moves_a_step_by_no_more_than_the_clip_norm():
    """Whatever it holds; the divisor stays, as the number of rows does under zero-out and replace-one."""
    for other in (0.0, 1e6, np.nan):
        moved = delta(ROWS.at[4].set(other)) - delta()
        assert np.linalg.norm(moved) <= (2 if np.isfinite(other) and other else 1) / 12 * (1 + 1e-5)


def test_the_noise_of_every_local_step_has_the_stated_deviation():
    rows = jnp.zeros((12, 20_000))
    one = delta(rows, clip_norm=3.0, noise_multiplier=2.0)
    assert one.std() == pytest.approx(2 * 3 / 12, rel=0.03)
    four = delta(rows, clip_norm=3.0, noise_multiplier=2.0, num_steps=4)
    assert four.std() == pytest.approx(2 * one.std(), rel=0.03)  # independent in each
    other = delta(rows, clip_norm=3.0, noise_multiplier=2.0, keys=jax.random.key(1)[None])
    assert abs(np.corrcoef(one, other)[0, 1]) < 4.5 / np.sqrt(20_000)


def test_every_row_is_drawn_by_its_own_coin_at_the_stated_rate():
    sampler = poisson_sampler(12, 0.3, num_steps=1)
    rows = jnp.eye(12)
    sent = deltas(rows, sampler=sampler, keys=jax.random.split(KEY, 400))
    drawn = sent > 0
    error = np.sqrt(0.3 * 0.7 / 400)
    assert (np.abs(drawn.mean(0) - 0.3) < 4.5 * error).all()
    sizes = drawn.sum(1)
    assert abs(sizes.var() - 12 * 0.3 * 0.7) < 4.5 * 12 * 0.3 * 0.7 * np.sqrt(2 / 400)
    assert set(np.round(sent[drawn], 5)) == {np.float32(np.round(1 / 3.6, 5))}  # the expected size divides


def test_rows_beyond_the_slots_are_counted():
    """Four slots for twelve rows that are all drawn: every local step overflows, and says so."""
    small = PoissonSampler(12, 1.0, 4, 100)
    options = {"num_steps": 3, "clip_norm": 1.0, "noise_multiplier": 0.0}
    unit = UnitData(ROWS, jnp.ones(12, bool))
    for sampler, expected in ((small, 3.0), (EVERYONE, 0.0)):
        contribution = private_client_delta(linear, optax.sgd(1.0), sampler=sampler, **options)
        assert float(contribution(jnp.zeros(3), unit, KEY)[1].local_overflows) == expected


def test_padding_and_empty_clients_say_nothing():
    padded = jnp.concatenate([ROWS, jnp.full((5, 3), 9.0)])
    big = PoissonSampler(17, 1.0, 17, 100)
    mask = jnp.arange(17) < 12
    np.testing.assert_allclose(delta(padded, mask, sampler=big), delta(), rtol=1e-5)
    assert (delta(padded, mask & False, sampler=big, noise_multiplier=2.0) == 0).all()


def test_a_run_over_hospitals_adds_nothing_to_what_clients_send():
    owners = Records(jnp.arange(12).reshape(3, 4), jnp.ones((3, 4), bool))
    contribution = private_client_delta(
        linear,
        optax.sgd(1.0),
        num_steps=1,
        sampler=PoissonSampler(4, 1.0, 4, 1),
        clip_norm=1.0,
        noise_multiplier=0.0,
    )
    train = make_train(
        lambda key: jnp.zeros(3),
        contribution,
        Population(owners, ROWS),
        sampler=fixed_size_sampler(3, 3),
        num_steps=1,
        make_optimizer=lambda h: optax.sgd(1.0),
    )
    state, _ = jax.jit(train)(HParams(clip_norm=jnp.inf, noise_multiplier=0.0), KEY)
    np.testing.assert_allclose(state.params, -clipped(ROWS).sum(0) / 4 / 3, rtol=1e-5)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"num_steps": 0}, "num_steps=0 must be ≥ 1"),
        ({"sampler": fixed_size_sampler(12, 3)}, "draws no rows by coins, as clients do"),
        ({"sampler": poisson_sampler(5, 0.5, num_steps=1)}, "a client has room for 12 rows"),
    ],
)
def test_bad_input_is_one_sentence(options, words):
    with pytest.raises(ValueError, match=words):
        delta(**options)
