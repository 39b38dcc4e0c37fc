"""What is learnt: data and model as pure functions, whether the model starts from scratch or from a checkpoint."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from dpjax import metrics, models
from dpjax.clipping import Aggregation
from dpjax.datasets import Dataset
from dpjax.datasets.selection import Rows
from experiments.config import Config
from experiments.task import Tell

BATCH = 2048

Finish = Callable[[Any, int, Path, Mapping[str, Any], Tell], dict[str, Any]]
"""``finish(trained, seed, folder, row, tell)``: what is done with a lane's parameters, and the columns it overrides."""


class Problem(NamedTuple):
    """Data and model of a run. Functions take ``frozen`` first, so that it is an argument of the compiled program.

    Attributes:
      dataset: its training arrays are what runs train on.
      frozen: pytree of arrays that are not trained; ``()`` without a checkpoint.
      init: ``init(frozen, key) -> params``.
      loss_fn: ``loss_fn(frozen)`` → the loss of one example.
      evaluate: ``evaluate(frozen, params, rows)`` → loss, and accuracy or of a number R².
      train_rows, test_rows: what is evaluated.
      predict: ``predict(frozen)`` → batched logits ``(params, inputs)``; None where there is nothing to predict.
      by_length: how a central cohort's texts are summed by length; None if all are of one length.
      facts: columns of the results that it fills.
      validation_rows: evaluated too; None: there are none.
      tokens_per_row: mean over the training set; 0 where rows are no texts.
      finish: what is done with what was trained; None: nothing.
    """

    dataset: Dataset
    frozen: Any
    init: Callable[[Any, jax.Array], Any]
    loss_fn: Callable[[Any], Any]
    evaluate: Callable[[Any, Any, Any], Any]
    train_rows: Any
    test_rows: Any
    predict: Callable[[Any], Callable[[Any, Any], jax.Array]] | None
    by_length: Aggregation | None
    facts: dict[str, Any]
    validation_rows: Any = None
    tokens_per_row: float = 0.0
    finish: Finish | None = None


def plain_problem(
    cfg: Config,
    dataset: Dataset,
    model: models.Model,
    facts: dict[str, Any],
    held_out: Rows | None = None,
    *,
    loss_fn: Callable[..., Any] | None = None,
) -> Problem:
    """A model that starts from scratch, on rows of one shape; its loss is cross-entropy, or of a number the squared
    error, if None is given.
    """
    of_number = dataset.target is not None
    loss_fn = loss_fn or (models.squared_error_loss if of_number else models.cross_entropy_loss)(model)
    evaluate = metrics.evaluate_numbers if of_number else metrics.evaluate
    batched = jax.vmap(lambda params, inputs: model.apply(params, inputs, None), in_axes=(None, 0))
    put = jnp.asarray
    some = slice(cfg.data.num_evaluated)
    return Problem(
        dataset=dataset,
        frozen=(),
        init=lambda frozen, key: model.init(key),
        loss_fn=lambda frozen: loss_fn,
        evaluate=lambda frozen, params, rows: evaluate(batched, params, *rows, batch_size=BATCH),
        train_rows=(put(dataset.train_inputs[some]), put(dataset.train_labels[some])),
        test_rows=(put(dataset.test_inputs), put(dataset.test_labels)),
        predict=lambda frozen: batched,
        by_length=None,
        facts=facts,
        validation_rows=None if held_out is None else jax.tree.map(put, tuple(held_out)),
    )
