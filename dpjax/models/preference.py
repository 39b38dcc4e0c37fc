"""Direct preference optimisation: of two answers the chosen one becomes likelier than the frozen start has it."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from dpjax.models.model import Model
from dpjax.models.objectives import NextTokens, Score, next_tokens_of
from dpjax.types import Params


class Judged(NamedTuple):
    """What is known of ONE pair of answers beside its ids.

    Attributes:
      answer: ``[2]`` the first token of the chosen and of the rejected answer.
      reference: ``[2]`` their log-probabilities under the frozen start, nats.
    """

    answer: Int[Array, "pair"]
    reference: Float[Array, "pair"]


PairExample = tuple[Int[Array, "pair length"], Float[Array, "facts"]]
"""Ids ``[2, length]``, the chosen answer's first, each after its prompt; and ``packed`` facts ``[4]``."""


def packed(judged: Judged) -> Float[Array, "*rows facts"]:
    """Facts of pairs as one array of float32, which holds places up to 2²⁴ as they are.

    Args:
      judged: of one pair or of many, ``[..., 2]`` each.

    Example:
      >>> print(packed(Judged(jnp.array([3, 3]), jnp.array([-1.5, -2.0]))))
      [ 3.   3.  -1.5 -2. ]
    """
    answer = jnp.asarray(judged.answer).astype(jnp.float32)
    return jnp.concatenate([answer, jnp.asarray(judged.reference, jnp.float32)], axis=-1)


def log_probabilities(
    model: Model | NextTokens,
    params: Params,
    ids: Int[Array, "pair length"],
    answer: Int[Array, "pair"],
    key: Key[Array, ""] | None = None,
) -> Float[Array, "pair"]:
    """Log-probability of each answer after its prompt, summed over the answer's own tokens.

    Formal guarantees: padding and the prompt's tokens add nothing.

    Args:
      model: its ``apply`` gives logits ``[length, vocab]``, token t looking at tokens up to t; or what scores next
        tokens itself.
      params: of it.
      ids: ``PADDING`` beyond the end.
      answer: first token of each.
      key: of the model; None: deterministic.

    Example:
      >>> model = Model(lambda key: (), lambda params, ids, key: jnp.zeros((ids.shape[0], 8)))
      >>> ids = jnp.array([[5, 6, 7, -1], [5, 6, 7, 7]])
      >>> print(log_probabilities(model, (), ids, jnp.array([2, 2])) / jnp.log(8))
      [-1. -2.]
    """
    # Both rows in one application, so that a layer is met once and its gradient's norm is that of the pair.
    scores = jax.vmap(lambda row: next_tokens_of(model)(params, row, key))(ids)
    counts = (ids[:, 1:] >= 0) & (jnp.arange(1, ids.shape[1])[None] >= answer[:, None])
    return jnp.sum(jnp.where(counts, -scores.losses, 0), axis=-1, dtype=jnp.float32)


def preference(
    model: Model | NextTokens, beta: float | Float[Array, ""]
) -> Callable[[Params, PairExample, Key[Array, ""] | None], Score]:
    """How far a model prefers the chosen answer of ONE pair, against the start that it is tuned from.

    With log-ratios r = log π(answer) − log π₀(answer) of the chosen (w) and the rejected (l) answer the loss is
    ``−log σ(beta · (r_w − r_l))``.

    Formal guarantees: a pair is one example: both answers are in one gradient, which one clip norm bounds. The
    reference's log-probabilities are a function of public weights and of the pair alone.

    Args:
      model: as ``log_probabilities`` takes it.
      beta: how near it stays to its start, > 0; may be traced.

    Returns:
      ``score(params, (ids, facts), key)``; ``correct`` is 1 where the chosen answer gained more, and a half where both
      gained alike, as at the start.

    Example:
      >>> model = Model(lambda key: jnp.zeros(8), lambda params, ids, key: jnp.tile(params, (ids.shape[0], 1)))
      >>> facts = packed(Judged(jnp.array([1, 1]), -jnp.log(jnp.array([8.0, 8.0]))))
      >>> score = preference(model, 0.1)(jnp.zeros(8), (jnp.array([[5, 6], [5, 7]]), facts), None)
      >>> print(f"{score.loss:.3f} {score.correct}")
      0.693 0.5

    References:
      Rafailov et al., Direct Preference Optimization, 2023 (https://arxiv.org/abs/2305.18290).
    """

    def score(params: Params, example: PairExample, key: Key[Array, ""] | None) -> Score:
        ids, facts = example
        gained = log_probabilities(model, params, ids, facts[:2].astype(jnp.int32), key) - facts[2:]
        margin = gained[0] - gained[1]
        return Score(
            -jax.nn.log_sigmoid(beta * margin),
            jnp.where(jnp.abs(margin) <= _ALIKE, 0.5, (margin > 0).astype(jnp.float32)),
            jnp.ones((), jnp.float32),
        )

    return score


_ALIKE = 1e-4
"""Nats that two ways of computing the same log-probability may differ by."""
