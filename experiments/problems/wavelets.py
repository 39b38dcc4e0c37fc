"""A linear model on scattering coefficients: images become fixed features once, and never again."""

import dataclasses
import hashlib

import jax
import numpy as np

from dpjax.datasets import Dataset
from dpjax.datasets.selection import Rows, only
from dpjax.models import logistic
from dpjax.models.scattering import scattering, scattering_features
from experiments.config import Config, ConfigError
from experiments.problems.problem import Problem, plain_problem
from experiments.task import Tell

KEPT = 3  # training, test and held-out images of one data set


def make_problem(cfg: Config, dataset: Dataset, kept: np.ndarray | None, held_out: Rows | None, tell: Tell) -> Problem:
    """Images as a problem for a linear model.

    Args:
      cfg: of the group of jobs.
      dataset: of images.
      kept: the rows of them that train; None: all.
      held_out: images for validation, which the data set has no more.
      tell: hears what takes long.

    Raises:
      ConfigError: no images, sides that do not fit, or groups that do not divide the channels.
    """
    if dataset.task != "image":
        raise ConfigError(
            f"model=scattering reads images, and data={dataset.name} is a {dataset.task}; use model=logistic."
        )
    groups = cfg.model.groups
    try:
        one = jax.ShapeDtypeStruct((1, *dataset.input_shape), np.float32)
        jax.eval_shape(lambda images: scattering(images, num_groups=groups), one)
    except ValueError as error:
        raise ConfigError(f"model=scattering with data={dataset.name} and model.groups={groups}: {error}") from error
    parts = {"train": dataset.train_inputs, "test": dataset.test_inputs}
    if held_out is not None:
        parts["held out"] = held_out.inputs
    features = {name: _features(images, groups, tell) for name, images in parts.items()}
    table = dataclasses.replace(
        dataset,
        train_inputs=features["train"],
        test_inputs=features["test"],
        input_shape=features["train"].shape[1:],
        task="table",
    )
    if held_out is not None:
        held_out = held_out._replace(inputs=features["held out"])
    model = logistic(num_classes=dataset.num_classes, input_shape=table.input_shape)
    return plain_problem(cfg, only(table, kept), model, {"model": "scattering"}, held_out)


_computed: dict[tuple[bytes, int], np.ndarray] = {}
"""Features of the last few sets of images: groups of one sweep read the same."""


def _features(images: np.ndarray, groups: int, tell: Tell) -> np.ndarray:
    key = (hashlib.sha256(np.ascontiguousarray(images).tobytes()).digest(), groups)
    if key not in _computed:
        while len(_computed) >= KEPT:
            _computed.pop(next(iter(_computed)))
        _computed[key] = scattering_features(
            images, num_groups=groups, progress=lambda done, total: tell("scattering images", done, total)
        )
    return _computed[key]
