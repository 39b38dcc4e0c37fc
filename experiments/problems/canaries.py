"""Secrets that are planted among the training texts, and how well a run's model knows them afterwards.

Each is a person of its own with so many copies of one text: what ε says of any person holds for it, and the data set
is another one. Exposure is an empirical figure and no bound.
"""

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dpjax.auditing.canaries import Canaries, exposure, make_canaries, repetitions_of
from dpjax.datasets import Dataset
from dpjax.datasets.texts import text_array
from dpjax.metrics import map_rows
from dpjax.models.objectives import ScoreFn
from dpjax.models.pretrained import Pretrained
from dpjax.models.tuning import Tuned
from experiments.config import ConfigError, DataConf, ModelConf
from experiments.problems.problem import Finish
from experiments.task import Tell

CANARY = "planted secret"
"""What such a person is called; a number comes behind."""


def canaries_of(data: DataConf) -> Canaries:
    """The secrets of a config, and what they are ranked among.

    Raises:
      ConfigError: the form has too few blanks, or a repetition is none.
    """
    if not data.canary_repetitions or min(data.canary_repetitions) < 1:
        raise ConfigError(f"data.canary_repetitions={data.canary_repetitions} must be counts ≥ 1, as [1, 4, 16].")
    try:
        return make_canaries(data.canary_form, data.canaries, data.canary_candidates, data.canary_seed)
    except ValueError as error:
        raise ConfigError(f"data.canary_{error}.") from error


def planted(dataset: Dataset, data: DataConf) -> Dataset:
    """The data set with planted persons behind all that train.

    Args:
      dataset: of texts whose owners are known.
      data: says how many, and what they say.

    Raises:
      ConfigError: rows that are no single texts or stand alone, or of which some are left out later.
    """
    if not data.canaries:
        return dataset
    shown = f"data.canaries={data.canaries}"
    if dataset.task != "document" or dataset.input_shape != ():
        raise ConfigError(f"{shown}: data={dataset.name} has no single texts to plant one among; leave it at 0.")
    if dataset.train_units is None:
        raise ConfigError(
            f"{shown} plants persons, and rows of data={dataset.name} are nobody's; say data.unit=COLUMN."
        )
    if data.num_train is not None or data.validation:
        field = "num_train" if data.num_train is not None else "validation"
        raise ConfigError(f"{shown} with data.{field} might leave a secret out; give one of the two.")
    canaries, counts = canaries_of(data), repetitions_of(data.canaries, data.canary_repetitions)
    texts = [text for text, count in zip(canaries.planted, counts, strict=True) for _ in range(count)]
    units = np.repeat(np.arange(data.canaries), counts).astype(np.int32) + np.int32(dataset.num_train_units)
    tested = dataset.test_units
    if tested is not None:  # those who only test come behind all who train
        tested = np.where(tested < dataset.num_train_units, tested, tested + np.int32(data.canaries)).astype(np.int32)
    names = dataset.unit_names
    if names:
        mine = tuple(f"{CANARY} {number}" for number in range(data.canaries))
        if taken := set(mine) & set(names):
            raise ConfigError(f"{shown}: an owner is called {min(taken)!r} already; rename it.")
        names = (*names[: dataset.num_train_units], *mine, *names[dataset.num_train_units :])
    return dataclasses.replace(
        dataset,
        train_inputs=np.concatenate([dataset.train_inputs, text_array(texts)]),
        train_labels=np.concatenate([dataset.train_labels, np.zeros(len(texts), dataset.train_labels.dtype)]),
        train_units=np.concatenate([dataset.train_units, units]),
        test_units=tested,
        num_units=dataset.num_units + data.canaries,
        num_train_units=dataset.num_train_units + data.canaries,
        unit_names=names,
    )


def make_finish(
    data: DataConf,
    model: ModelConf,
    body: Pretrained,
    tuned: Tuned,
    score: Callable[[Any], ScoreFn],
) -> Finish:
    """What is done with a tuned decoder: its secrets' exposure, before training and after.

    Args:
      data: of the config.
      model: of the config.
      body: the checkpoint, whose tokenizer reads.
      tuned: how it was split.
      score: ``score(frozen)`` gives the score of one example.

    Raises:
      ConfigError: a secret is longer than what the model reads.
    """
    canaries = canaries_of(data)
    read = body.tokenizer.encode(text_array([*canaries.planted, *canaries.others]), model.max_length)
    if bool(np.any(read.cut)):
        raise ConfigError(
            f"data.canary_form={data.canary_form!r} is longer than model.max_length={model.max_length} tokens, and its "
            "secret would be cut off; shorten it, or raise that."
        )
    length = int((read.ids >= 0).sum(1).max())
    rows = jnp.asarray(read.ids[:, :length]), jnp.asarray(read.answer)
    frozen = tuned.start, tuned.frozen
    start = jax.jit(tuned.init)(tuned.start, jax.random.key(0))  # what is new of a tuning changes nothing yet
    scored = jax.jit(
        lambda frozen, params: map_rows(lambda row: score(frozen)(params, row, None).loss, rows, batch_size=64)
    )

    def exposures(params: Any) -> list[float]:
        losses = np.asarray(scored(frozen, params), np.float64)
        return exposure(losses[: data.canaries], losses[data.canaries :]).tolist()

    def finish(trained: Any, seed: int, folder: Path, row: Mapping[str, Any], tell: Tell) -> dict[str, Any]:
        tell("ranking planted secrets", 0, 1)
        after, before = exposures(trained), exposures(start)
        return {
            "exposure": float(np.mean(after)),
            "exposure_before": float(np.mean(before)),
            "exposures": after,
            "exposures_before": before,
            "canary_copies": repetitions_of(data.canaries, data.canary_repetitions).tolist(),
            "canary_candidates": data.canary_candidates,
        }

    return finish
