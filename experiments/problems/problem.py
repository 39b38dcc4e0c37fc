"""What is learnt: data and model as pure functions, whether the model starts from scratch or from a checkpoint."""

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dpjax import metrics, models
from dpjax.clipping import Aggregation
from dpjax.datasets import Dataset, bound_contributions
from experiments.config import Config, ConfigError
from experiments.task import Tell

BATCH = 2048

Finish = Callable[[Any, int, Path, Mapping[str, Any], Tell], dict[str, Any]]
"""``finish(trained, seed, folder, row, tell)``: what is done with a lane's parameters, and the columns it overrides."""


class Rows(NamedTuple):
    """Rows of a data set, as they are before any tokenizer."""

    inputs: np.ndarray
    labels: np.ndarray


class Problem(NamedTuple):
    """Data and model of a run. Functions take ``frozen`` first, so that it is an argument of the compiled program.

    Attributes:
      dataset: its training arrays are what runs train on.
      frozen: pytree of arrays that are not trained; ``()`` without a checkpoint.
      init: ``init(frozen, key) -> params``.
      loss_fn: ``loss_fn(frozen)`` → the loss of one example.
      evaluate: ``evaluate(frozen, params, rows)`` → loss and accuracy.
      train_rows, test_rows: what is evaluated.
      predict: ``predict(frozen)`` → batched logits ``(params, inputs)``; None where there is no class to predict.
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
    cfg: Config, dataset: Dataset, model: models.Model, facts: dict[str, Any], held_out: Rows | None = None
) -> Problem:
    """A classifier that starts from scratch, on rows of one shape."""
    batched = jax.vmap(lambda params, inputs: model.apply(params, inputs, None), in_axes=(None, 0))
    put = jnp.asarray
    some = slice(cfg.data.num_evaluated)
    return Problem(
        dataset=dataset,
        frozen=(),
        init=lambda frozen, key: model.init(key),
        loss_fn=lambda frozen: models.cross_entropy_loss(model),
        evaluate=lambda frozen, params, rows: metrics.evaluate(batched, params, *rows, batch_size=BATCH),
        train_rows=(put(dataset.train_inputs[some]), put(dataset.train_labels[some])),
        test_rows=(put(dataset.test_inputs), put(dataset.test_labels)),
        predict=lambda frozen: batched,
        by_length=None,
        facts=facts,
        validation_rows=None if held_out is None else jax.tree.map(put, tuple(held_out)),
    )


def hold_out(dataset: Dataset, share: float) -> tuple[Dataset, Rows | None]:
    """The data set without a share of its training rows, or of their owners, and the rows that it lost.

    Chosen with a fixed seed, the same for every run.

    Raises:
      ConfigError: nobody would be left on one side.
    """
    if share == 0:
        return dataset, None
    owners = dataset.train_units
    number = len(dataset.train_labels) if owners is None else dataset.num_train_units
    count = round(share * number)
    if not 0 < count < number:
        raise ConfigError(f"data.validation={share:g} of {number} leaves one side of data={dataset.name} empty.")
    out = np.zeros(number, bool)
    out[np.random.default_rng(1).permutation(number)[:count]] = True
    held = out if owners is None else out[owners]
    rest = only(dataset, np.flatnonzero(~held))
    if owners is not None:
        # Owners are numbered without gaps, those who train first.
        order = np.concatenate([np.flatnonzero(~out), np.flatnonzero(out), np.arange(number, dataset.num_units)])
        renumbered = np.argsort(order).astype(np.int32)
        names, tested = dataset.unit_names, dataset.test_units
        rest = dataclasses.replace(
            rest,
            train_units=renumbered[owners[~held]],
            test_units=None if tested is None else renumbered[tested],
            num_train_units=number - count,
            unit_names=tuple(names[i] for i in order) if names else (),
        )
    return rest, Rows(dataset.train_inputs[held], dataset.train_labels[held])


def subset(dataset: Dataset, num_train: int | None) -> Dataset:
    """The data set with so many training rows, of a shuffle that is always the same; they then stand alone.

    Raises:
      ConfigError: more rows than there are.
    """
    rows = len(dataset.train_labels)
    if num_train is None:
        return dataset
    if not 1 <= num_train <= rows:
        raise ConfigError(f"data.num_train={num_train} must be from 1 to the {rows} rows of data={dataset.name}.")
    kept = np.random.default_rng(0).permutation(rows)[:num_train]
    return dataclasses.replace(
        dataset,
        train_inputs=dataset.train_inputs[kept],
        train_labels=dataset.train_labels[kept],
        train_units=None,
        test_units=None,
        num_units=0,
        num_train_units=0,
        unit_names=(),
    )


def bounded(dataset: Dataset, records_per_unit: int | None) -> np.ndarray | None:
    """Which training rows are left with at most so many of each owner, chosen with a fixed seed; None: all.

    Raises:
      ConfigError: nobody knows whose the rows are.
    """
    if records_per_unit is None:
        return None
    if dataset.train_units is None:
        raise ConfigError(
            f"privacy.records_per_unit={records_per_unit} needs to know whose the rows are, which data={dataset.name} "
            "does not say, nor does any with data.num_train; take all of a data set with natural clients "
            "(`dpjax data list`), or leave it null."
        )
    return bound_contributions(dataset.train_units, records_per_unit, seed=0)


def only(dataset: Dataset, kept: np.ndarray | None) -> Dataset:
    """The data set with these training rows; all if None."""
    if kept is None:
        return dataset
    return dataclasses.replace(
        dataset,
        train_inputs=dataset.train_inputs[kept],
        train_labels=dataset.train_labels[kept],
        train_units=None if dataset.train_units is None else dataset.train_units[kept],
    )


def num_owners(dataset: Dataset) -> int:
    """Those that have rows to train on."""
    return 0 if dataset.train_units is None else len(np.unique(dataset.train_units))
