"""Scores of a large vocabulary, a part after another: the plain ones, and their gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dpjax.models.transformers.layers import capped
from dpjax.models.transformers.vocabulary import of_logits, token_scores


def plain(hidden, table, targets, cap):
    logits = (hidden @ table.astype(hidden.dtype).T).astype(jnp.float32)
    return of_logits(logits if cap is None else capped(logits, cap), targets)


@settings(max_examples=30, deadline=None)
@given(
    vocab=st.integers(1, 40),
    chunk=st.integers(1, 50),
    cap=st.sampled_from([None, 2.0, 30.0]),
    size=st.sampled_from([1e-3, 1.0, 30.0, 300.0]),
    offset=st.sampled_from([0.0, 100.0]),
)
def test_losses_and_slopes_are_those_of_the_whole_vocabulary(vocab, chunk, cap, size, offset):
    keys = jax.random.split(jax.random.key(vocab * 64 + chunk), 3)
    hidden = jax.random.normal(keys[0], (5, 6)) * size + offset
    table = jax.random.normal(keys[1], (vocab, 6))
    targets = jax.random.randint(keys[2], (5,), 0, vocab)

    def loss(scores):
        return lambda hidden: jnp.sum(scores(hidden).losses * jnp.array([1.0, 0, 2, -1, 1]))

    ours = lambda h: token_scores(h, table, targets, cap=cap, chunk=chunk)  # noqa: E731
    theirs = lambda h: plain(h, table, targets, cap)  # noqa: E731
    scale = size * 4 + offset * 6
    np.testing.assert_allclose(ours(hidden).losses, theirs(hidden).losses, atol=2e-6 * scale, rtol=1e-5)
    logits = hidden @ table.T if cap is None else capped(hidden @ table.T, cap)
    best = jnp.sort(logits, axis=1)[:, ::-1][:, :2]
    clear = jnp.ones(5, bool) if vocab == 1 else best[:, 0] - best[:, 1] > 1e-5 * (1 + jnp.abs(best[:, 0]))
    assert (ours(hidden).correct == theirs(hidden).correct)[clear].all()  # rounding decides the others
    np.testing.assert_allclose(
        jax.grad(loss(ours))(hidden), jax.grad(loss(theirs))(hidden), atol=2e-5 * max(1, scale / 10), rtol=1e-4
    )


@pytest.mark.parametrize("wrong", [jnp.nan, jnp.inf, -jnp.inf])
def test_scores_that_decide_nothing_are_right_about_nothing(wrong):
    hidden, table = jnp.ones((2, 3)), jnp.ones((7, 3)).at[4].set(wrong)
    targets = jnp.array([4, 0])
    ours, theirs = token_scores(hidden, table, targets, chunk=3), plain(hidden, table, targets, None)
    assert (ours.correct == theirs.correct).all()
    assert (jnp.isfinite(ours.losses) == jnp.isfinite(theirs.losses)).all()


def test_ties_go_to_the_first_across_chunks():
    scores = token_scores(jnp.ones((2, 1)), jnp.ones((6, 1)), jnp.array([0, 3]), chunk=2)
    assert scores.correct.tolist() == [True, False]


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_narrow_numbers_lose_no_more_than_their_rounding(dtype):
    keys = jax.random.split(jax.random.key(0), 3)
    hidden = jax.random.normal(keys[0], (4, 32))
    table = jax.random.normal(keys[1], (50, 32))
    targets = jax.random.randint(keys[2], (4,), 0, 50)
    wide = plain(hidden.astype(dtype).astype(jnp.float32), table.astype(dtype), targets, None).losses
    ours = token_scores(hidden.astype(dtype), table.astype(dtype), targets, chunk=16)
    assert ours.losses.dtype == jnp.float32
    np.testing.assert_allclose(ours.losses, wide, rtol=2e-2, atol=2e-2)
    slope = jax.grad(lambda h: token_scores(h, table.astype(dtype), targets, chunk=16).losses.sum())(
        hidden.astype(dtype)
    )
    assert slope.dtype == dtype
    assert jnp.isfinite(slope.astype(jnp.float32)).all()


def test_no_scores_of_the_whole_vocabulary_are_ever_held():
    def step(hidden, table, targets):
        losses = lambda h: jax.vmap(lambda x, t: token_scores(x, table, t).losses.sum())(h, targets).sum()  # noqa: E731
        return jax.grad(losses)(hidden)

    units, length, width, vocab = 4, 64, 32, 150_000
    shapes = [
        jax.ShapeDtypeStruct((units, length, width), jnp.float32),
        jax.ShapeDtypeStruct((vocab, width), jnp.bfloat16),
        jax.ShapeDtypeStruct((units, length), jnp.int32),
    ]
    whole = units * length * vocab * 4
    memory = jax.jit(step).lower(*shapes).compile().memory_analysis()
    assert memory is not None
    assert memory.temp_size_in_bytes < whole / 8
