"""What a text model is scored by: its class, its next tokens, or its hidden tokens; one score serves loss and test."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from dpjax.metrics import map_rows
from dpjax.models.model import Model
from dpjax.models.transformers.vocabulary import TokenScores, of_logits
from dpjax.types import Metrics, Params


class Score(NamedTuple):
    """How well ONE example's targets are predicted; sums, so that examples of any length add up.

    Attributes:
      loss: nats, summed over the targets.
      correct: those whose largest logit is theirs.
      targets: 1 for a class, tokens for a language model. Padding is none.
    """

    loss: Float[Array, ""]
    correct: Float[Array, ""]
    targets: Float[Array, ""]


Example = tuple[Int[Array, "length"], Int[Array, "*marks"]]
"""Token ids ``[length]`` (``PADDING`` beyond the end), and a number: the class, or the answer's first token; of a
conversation ``[its length or more]``, 1 where a token counts."""

ScoreFn = Callable[[Params, Example, Key[Array, ""] | None], Score]
"""``score(params, example, key)`` of ONE example; with key ``None`` it is deterministic."""


def classification(model: Model) -> ScoreFn:
    """The class of a text.

    Args:
      model: its ``apply`` gives logits ``[num_classes]``.

    Example:
      >>> model = Model(lambda key: jnp.zeros(2), lambda params, ids, key: params)
      >>> score = classification(model)(jnp.zeros(2), (jnp.array([1, 2]), jnp.int32(0)), None)
      >>> print(f"{score.loss:.3f} {score.correct} {score.targets}")
      0.693 1.0 1.0
    """

    def score(params: Params, example: Example, key: Key[Array, ""] | None) -> Score:
        ids, label = example
        logits = model.apply(params, ids, key)
        return _sums(logits[None], label[None], jnp.ones(1, bool))

    return score


NextTokens = Callable[[Params, Int[Array, "length"], Key[Array, ""] | None], TokenScores]
"""``scores(params, ids, key)`` of the targets ``ids[1:]`` of ONE text, as ``Tuned.next_tokens`` makes it."""


def causal(model: Model | NextTokens, separator: int | None = None) -> ScoreFn:
    """The next token after each; of a pair, the answer's tokens only.

    The example's number is the first token that counts: 0 for a whole text, the answer's place for an instruction with
    its answer, as ``TextTokenizer.encode`` gives it; or marks of the tokens that count, as
    ``encode_conversations`` does.

    Args:
      model: its ``apply`` gives logits ``[length, vocab]``; token t may look at tokens up to t. Or what scores the
        next tokens itself, without the logits of a whole text.
      separator: of packed rows; the first token of a text is then no target, since nothing before it is its own.

    Example:
      >>> model = Model(lambda key: (), lambda params, ids, key: jax.nn.one_hot(ids + 1, 9) * 50.0)
      >>> score = causal(model)((), (jnp.array([3, 4, 5, 7, -1]), jnp.int32(0)), None)
      >>> print(score.correct, score.targets)
      2.0 3.0
    """
    next_tokens = next_tokens_of(model)

    def score(params: Params, example: Example, key: Key[Array, ""] | None) -> Score:
        ids, answer = example
        losses, correct = next_tokens(params, ids, key)
        said = answer[1 : ids.shape[0]] > 0 if answer.ndim else jnp.arange(1, ids.shape[0]) >= answer
        counts = (ids[1:] >= 0) & said
        if separator is not None:
            counts &= ids[:-1] != separator
        return _counted(losses, correct, counts)

    return score


def next_tokens_of(model: Model | NextTokens) -> NextTokens:
    """What scores next tokens: a model by its logits, anything else by itself.

    Args:
      model: as ``causal`` takes it.
    """
    if not isinstance(model, Model):
        return model
    return lambda params, ids, key: of_logits(model.apply(params, ids, key)[:-1], jnp.maximum(ids[1:], 0))


def masked(model: Model, mask: int, vocab_size: int, *, rate: float = 0.15, special: Sequence[int] = ()) -> ScoreFn:
    """Tokens hidden from the model: 80 % shown as ``[MASK]``, 10 % as a random token, 10 % as they are.

    Which are hidden is drawn anew from the key for every pass over a text.

    Args:
      model: its ``apply`` gives logits ``[length, vocab]``.
      mask: id of ``[MASK]``.
      vocab_size: of the random tokens.
      rate: chance of a token to be hidden.
      special: ids that are never hidden.

    References:
      Devlin et al., BERT, 2019 (https://arxiv.org/abs/1810.04805).
    """

    def score(params: Params, example: Example, key: Key[Array, ""] | None) -> Score:
        ids, _ = example
        root = jax.random.key(0) if key is None else key
        chosen_key, shown_key, random_key, model_key = jax.random.split(root, 4)
        open_to = ids >= 0
        for token in special:
            open_to &= ids != token
        hidden = open_to & jax.random.bernoulli(chosen_key, rate, ids.shape)
        draw = jax.random.uniform(shown_key, ids.shape)
        anything = jax.random.randint(random_key, ids.shape, 0, vocab_size, ids.dtype)
        shown = jnp.where(draw < 0.8, jnp.asarray(mask, ids.dtype), jnp.where(draw < 0.9, anything, ids))
        logits = model.apply(params, jnp.where(hidden, shown, ids), None if key is None else model_key)
        return _sums(logits, jnp.maximum(ids, 0), hidden)

    return score


def mean_loss(score: ScoreFn) -> Callable[[Params, Example, Key[Array, ""] | None], tuple[Array, Metrics]]:
    """The loss that contributions take: the mean over ONE example's own targets, so that long texts weigh no more.

    Args:
      score: of one example.

    Returns:
      ``loss_fn(params, example, key) -> (nats per target, {"accuracy": share of the targets})``; an example without
      targets has loss 0.
    """

    def loss_fn(params: Params, example: Any, key: Key[Array, ""] | None) -> tuple[Array, Metrics]:
        scored = score(params, example, key)
        count = jnp.maximum(scored.targets, 1)
        return scored.loss / count, {"accuracy": scored.correct / count}

    return loss_fn


def evaluate(score: ScoreFn, params: Params, groups: Sequence[Any], *, batch_size: int = 64) -> Metrics:
    """The mean over all targets of a data set, whose rows may come in groups of one length each.

    Args:
      score: of one example.
      params: of the model.
      groups: ``(ids [rows, length], numbers [rows])``, as ``by_length`` makes them.
      batch_size: rows at once.

    Returns:
      ``{"loss": nats per target, "accuracy": share of targets}``, float32 scalars.

    Raises:
      ValueError: no rows.
    """
    if not groups or not sum(len(numbers) for _, numbers in groups):
        raise ValueError("groups hold 0 rows; evaluate on at least one.")
    sums = [
        jax.tree.map(jnp.sum, map_rows(lambda row: score(params, row, None), group, batch_size=batch_size))
        for group in groups
    ]
    total = jax.tree.map(lambda *parts: sum(parts), *sums)
    return {"loss": total.loss / total.targets, "accuracy": total.correct / total.targets}


def by_length(ids: Any, numbers: Any, lengths: Sequence[int]) -> list[Any]:
    """Rows in groups that are cut to one length each, so that short texts do not pay for long ones.

    Args:
      ids: ``[rows, length]`` NumPy or JAX, padded at the end.
      numbers: ``[rows]``.
      lengths: where rows are cut; the last must hold the longest.

    Example:
      >>> groups = by_length(jnp.array([[1, -1, -1], [1, 2, 3]]), jnp.array([0, 1]), (1, 3))
      >>> [ids.tolist() for ids, _ in groups]
      [[[1]], [[1, 2, 3]]]
    """
    import numpy as np

    ids, numbers = np.asarray(ids), np.asarray(numbers)
    home = np.searchsorted(np.asarray(sorted(lengths)), (ids >= 0).sum(1))
    if len(home) and home.max() >= len(lengths):
        raise ValueError(f"lengths={list(lengths)} end before the longest text, of {(ids >= 0).sum(1).max()} tokens.")
    return [
        (jnp.asarray(ids[home == i, :length]), jnp.asarray(numbers[home == i]))
        for i, length in enumerate(sorted(lengths))
        if (home == i).any()
    ]


def _sums(logits: Float[Array, "targets classes"], labels: Int[Array, "targets"], counts: Array) -> Score:
    return _counted(*of_logits(logits, labels), counts)


def _counted(losses: Array, correct: Array, counts: Array) -> Score:
    return Score(
        jnp.sum(jnp.where(counts, losses, 0)),
        jnp.sum(counts & correct, dtype=jnp.float32),
        jnp.sum(counts, dtype=jnp.float32),
    )
