"""How well a text's next tokens are predicted, without ever holding the scores of the whole vocabulary."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from dpjax.metrics import predicted

CHUNK = 4096
"""Tokens of the vocabulary that are scored at once: their matrix stays in a processor's cache or near it."""


class TokenScores(NamedTuple):
    """Of each place of ONE text.

    Attributes:
      losses: nats, float32.
      correct: whether the likeliest token is the target; ties go to the first, scores that decide nothing to nobody.
    """

    losses: Float[Array, "length"]
    correct: Bool[Array, "length"]


def token_scores(
    hidden: Float[Array, "length width"],
    table: Float[Array, "vocab width"],
    targets: Int[Array, "length"],
    *,
    cap: float | None = None,
    chunk: int = CHUNK,
) -> TokenScores:
    """Cross-entropy of each place's target over the vocabulary, a part of the vocabulary after another.

    What a place adds to the gradient of ``hidden`` is summed while its scores are at hand, so that the backward pass
    computes none of them again: two products with the table in all, as without chunks.

    Formal guarantees: losses and gradients are those of ``logsumexp(logits) − logits[target]`` to float32's rounding,
    so that a unit's gradient, and its norm, are what they are without chunks. The table is a constant: no gradient
    reaches it, which is why a table that is trained must not come here.

    Args:
      hidden: ``[length, width]``, of the last layer.
      table: ``[vocab, width]``, one row a token; any floating dtype, widened a chunk at a time.
      targets: ``[length]`` ids in ``[0, vocab)``.
      cap: scores are held below it by ``cap · tanh(score / cap)``; None: not.
      chunk: rows of the table at once.

    Returns:
      Losses in nats and whether each was right.

    Example:
      >>> scores = token_scores(jnp.eye(3), jnp.eye(5, 3) * 9, jnp.array([0, 1, 4]), chunk=2)
      >>> scores.correct.tolist(), [round(float(loss), 3) for loss in scores.losses]
      ([True, True, False], [0.0, 0.0, 9.0])

    References:
      Milakov and Gimelshein, Online normalizer calculation for softmax, 2018 (https://arxiv.org/abs/1805.02867); Dao et
      al., FlashAttention, 2022 (https://arxiv.org/abs/2205.14135), with the vocabulary in the keys' place.
    """
    table = jax.lax.stop_gradient(table)
    chunk = min(chunk, table.shape[0])
    losses, correct = _scores(cap, chunk, hidden, table, targets)
    return TokenScores(losses, correct)


def of_logits(logits: Float[Array, "length vocab"], targets: Int[Array, "length"]) -> TokenScores:
    """The same of scores that are there, through which a gradient reaches the table.

    Args:
      logits: ``[length, vocab]``.
      targets: ``[length]`` ids in ``[0, vocab)``.

    Example:
      >>> of_logits(jnp.zeros((1, 2)), jnp.array([1])).losses.tolist() == [float(jnp.log(2.0))]
      True
    """
    chosen = jnp.take_along_axis(logits, targets[:, None], axis=1)[:, 0]
    return TokenScores(jax.nn.logsumexp(logits, axis=1) - chosen, predicted(logits) == targets)


@partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _scores(cap: float | None, chunk: int, hidden: Array, table: Array, targets: Array) -> tuple[Array, Array]:
    read = _read(cap, chunk, hidden, table, targets, slopes=False)
    return _said(read, targets)


def _forward(
    cap: float | None, chunk: int, hidden: Array, table: Array, targets: Array
) -> tuple[tuple[Array, Array], Array]:
    read = _read(cap, chunk, hidden, table, targets, slopes=True)
    chosen = table[targets].astype(jnp.float32)
    if cap is not None:
        chosen = chosen * _slope(read.chosen, cap)[:, None]
    assert read.pulled is not None
    slopes = read.pulled / read.mass[:, None] - chosen
    return _said(read, targets), slopes.astype(hidden.dtype)


def _backward(cap: float | None, chunk: int, slopes: Array, cotangents: tuple[Array, Any]) -> tuple[Array, None, None]:
    return (slopes * cotangents[0][:, None].astype(slopes.dtype), None, None)


_scores.defvjp(_forward, _backward)


class _Read(NamedTuple):
    """What is known after some chunks: all ``[length]``, but ``pulled`` ``[length, width]``."""

    largest: Array
    mass: Array  # sum of exp(score − largest)
    chosen: Array  # the target's score
    likeliest: Array
    pulled: Array | None  # sum of exp(score − largest) · slope · row


def _read(cap: float | None, chunk: int, hidden: Array, table: Array, targets: Array, *, slopes: bool) -> _Read:
    length, vocab = hidden.shape[0], table.shape[0]
    empty = jnp.zeros(length, jnp.float32)
    pulled = jnp.zeros(hidden.shape, jnp.float32) if slopes else None
    start = _Read(jnp.full(length, -jnp.inf), empty, empty, jnp.zeros(length, jnp.int32), pulled)
    product = partial(jnp.matmul, preferred_element_type=jnp.float32)

    def add(read: _Read, begin: Array) -> tuple[_Read, None]:
        # The last chunk overlaps the one before it; what was read is left out by its weight.
        first = jnp.minimum(begin, vocab - chunk)
        rows = jax.lax.dynamic_slice_in_dim(table, first, chunk).astype(hidden.dtype)
        ids = first + jnp.arange(chunk, dtype=jnp.int32)
        scores = jax.lax.optimization_barrier(product(hidden, rows.T))
        if cap is not None:
            scores = cap * jnp.tanh(scores / cap)
        scores = jnp.where(ids >= begin, scores, -jnp.inf)
        most = jnp.max(scores, axis=1)
        likeliest = jnp.where(most > read.largest, ids[jnp.argmax(scores, axis=1)], read.likeliest)
        largest = jnp.maximum(read.largest, most)
        # Scores may all be −inf, or one +inf or NaN: the mass is NaN then, as a plain logsumexp of NaN would be.
        kept = jnp.exp(read.largest - jnp.where(jnp.isneginf(largest), 0, largest))
        weights = jnp.exp(scores - largest[:, None])
        mass = read.mass * kept + jnp.sum(weights, axis=1)
        is_target = ids[None, :] == targets[:, None]
        chosen = read.chosen + jnp.sum(jnp.where(is_target & (ids >= begin)[None, :], scores, 0), axis=1)
        pulled = read.pulled
        if pulled is not None:
            sloped = weights if cap is None else weights * _slope(scores, cap)
            sloped = jax.lax.optimization_barrier(sloped.astype(hidden.dtype))
            pulled = pulled * kept[:, None] + product(sloped, rows)
        return _Read(largest, mass, chosen, likeliest, pulled), None

    begins = jnp.arange(0, vocab, chunk, dtype=jnp.int32)
    return jax.lax.scan(add, start, begins)[0]


def _slope(capped: Array, cap: float) -> Array:
    """Of ``cap · tanh(score / cap)`` in the score, where its value is known; a score left out has none."""
    return jnp.where(jnp.isfinite(capped), 1 - jnp.square(capped / cap), 0)


def _said(read: _Read, targets: Array) -> tuple[Array, Array]:
    losses = read.largest + jnp.log(read.mass) - read.chosen
    return losses, jnp.isfinite(read.largest) & (read.likeliest == targets)
