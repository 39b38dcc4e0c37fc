"""Which problem a config asks for."""

from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import jax

from dpjax import models
from dpjax.datasets import Dataset, load
from dpjax.datasets.selection import bounded, hold_out, only, subset
from experiments.argument_fields import SELECTION, in_fields
from experiments.config import Config, ConfigError, DataConf
from experiments.inputs import data_inputs, digest_of
from experiments.own_data import OWN, load_own
from experiments.own_model import own_loss, own_model
from experiments.plugins import load_plugin
from experiments.problems.canaries import planted
from experiments.problems.problem import Problem, plain_problem
from experiments.task import Tell


def make_problem(cfg: Config, tell: Tell, whole: Dataset | None = None) -> Problem:
    """The problem of a config.

    Args:
      cfg: of the group of jobs.
      tell: hears what takes long.
      whole: the data set in the place of the config's; None: load that.

    Raises:
      ValueError: data and model that do not go together, in one sentence.
    """
    tell("loading data", 0, 1)
    natural = cfg.is_federated and cfg.federated.partition == "natural"
    whole = whole or _load(cfg.data, natural or cfg.privacy.records_per_unit is not None)
    with in_fields(SELECTION):
        dataset, held_out = hold_out(subset(whole, cfg.data.num_train), cfg.data.validation)
        row_choice = bounded(dataset, cfg.privacy.records_per_unit)
    rows = dataset.num_train if row_choice is None else len(dataset.train_labels[row_choice])
    if (cfg.data.num_evaluated or 0) > rows:
        raise ConfigError(
            f"data.num_evaluated={cfg.data.num_evaluated} is more than the {rows} rows of data={dataset.name} that are "
            "trained on; lower it, or leave it null."
        )
    own = own_model(cfg.plugin, dataset)
    if own is not None or _has_loss(cfg.plugin):
        _refuse_with_plugin(cfg, dataset)
    if cfg.model.name == "pretrained":
        from experiments.problems import language  # tokenizers and checkpoints, which other models need none of

        return language.make_problem(cfg, dataset, row_choice, held_out, tell)
    if cfg.model.name == "scattering":
        from experiments.problems import wavelets

        return wavelets.make_problem(cfg, dataset, row_choice, held_out, tell)
    if dataset.task in ("document", "tokens", "chat"):
        kind = {"document": "texts", "tokens": "token ids"}.get(dataset.task, "conversations")
        raise ConfigError(
            f"model={cfg.model.name} reads no {kind}, which data={dataset.name} holds; use model=pretrained."
        )
    model = _model(cfg, dataset) if own is None else own
    loss_fn = own_loss(cfg.plugin, model, dataset)
    file = Path(cfg.plugin).name
    facts = {
        "model": cfg.model.name if own is None else f"{file}:make_model",
        "loss": None if loss_fn is None else f"{file}:make_loss",
    }
    return plain_problem(cfg, only(dataset, row_choice), model, facts, held_out, loss_fn=loss_fn)


def load_data(cfg: Config) -> Dataset:
    """The data set of a config, whole and as it was read.

    Args:
      cfg: of a job.
    """
    return _load(cfg.data, cfg.is_federated and cfg.federated.partition == "natural")


def _has_loss(plugin: str) -> bool:
    return hasattr(load_plugin(plugin), "make_loss")


def _refuse_with_plugin(cfg: Config, dataset: Dataset) -> None:
    """A plugin's model and loss are of rows of one shape."""
    if cfg.model.name in ("pretrained", "scattering"):
        raise ConfigError(
            f"plugin={cfg.plugin} has a make_model or make_loss, and model={cfg.model.name} brings its own; leave one "
            "out."
        )
    if dataset.task in ("document", "tokens", "chat"):
        kind = "token ids, as many as a text has" if dataset.task == "tokens" else "texts, which have no numbers"
        raise ConfigError(
            f"plugin={cfg.plugin} has a make_model or make_loss, and data={dataset.name} holds {kind}; use "
            "model=pretrained."
        )


def _load(data: DataConf, by_owner: bool = False) -> Dataset:
    digest = digest_of(data_inputs(data))
    found = _own(_Asked(data, by_owner), digest) if data.name == OWN else _loaded(data.name, digest)
    return planted(found, data)


@lru_cache(maxsize=4)
def _loaded(name: str, digest: str) -> Dataset:
    return load(name)


class _Asked(NamedTuple):
    """Data of one's own by what their config says of them, so that they are read once."""

    data: DataConf
    by_owner: bool

    def __hash__(self) -> int:
        return hash((repr(self.data), self.by_owner))


@lru_cache(maxsize=4)
def _own(asked: _Asked, digest: str) -> Dataset:
    return load_own(*asked)


def _model(cfg: Config, dataset: Dataset) -> models.Model:
    options = {}
    if cfg.model.name in ("mlp", "text"):
        options["hidden"] = tuple(cfg.model.hidden)
    if cfg.model.name in ("mlp", "cnn", "text"):
        options["activation"] = cfg.model.activation
    if cfg.model.name == "text":
        options |= {"context": cfg.model.context, "embedding": cfg.model.embedding}
    example = jax.ShapeDtypeStruct(dataset.input_shape, dataset.train_inputs.dtype)
    try:
        model = models.build(
            cfg.model.name, num_classes=dataset.num_classes, input_shape=dataset.input_shape, **options
        )
        # A model of numbers refuses characters, and the other way round, only when it is applied.
        jax.eval_shape(lambda x: model.apply(model.init(jax.random.key(0)), x, None), example)
        return model
    except ValueError as error:
        raise ConfigError(f"model={cfg.model.name} with data={cfg.data.name}: {error}") from error
