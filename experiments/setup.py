"""From a config to what runs: data, model, units, sampler and the training function."""

from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from omegaconf import DictConfig

from dpjax import clipping, contributions, metrics, models, sampling
from dpjax.clipping.adaptive import AdaptiveClipping, adaptive_clipping
from dpjax.datasets import Dataset, load
from dpjax.federated import partitions
from dpjax.training import make_train
from dpjax.types import HParams
from experiments.config import ConfigError, capacity_epsilon


class Arrays(NamedTuple):
    """Every array of a run, handed to the compiled program as an argument."""

    units: Any
    examples: Any
    train: tuple[jax.Array, jax.Array]
    test: tuple[jax.Array, jax.Array]


class Setup(NamedTuple):
    """A static signature made real: what jobs of one group share.

    Attributes:
      train: ``(arrays, hparams, key) → (evaluation_steps, evaluations, counts)``; pure. The counts hold the clip norm
        of the last step too.
      arrays: its data.
      sampler: the sampler that runs, which is the one accounted.
      unit: unit of privacy: example, user or client.
    """

    train: Callable[..., Any]
    arrays: Arrays
    sampler: sampling.Sampler
    unit: str


def build(cfg: DictConfig) -> Setup:
    """Load the data, build the model and the sampler, and tie them into one training function.

    Raises:
      ValueError: what can't be run, in one sentence.
    """
    dataset = _load(cfg.data.name)
    model = _model(cfg, dataset)
    unit, units, examples, sampler = _units(cfg, dataset)
    put = jnp.asarray
    arrays = Arrays(
        jax.tree.map(put, units),
        jax.tree.map(put, examples),
        (put(dataset.train_inputs), put(dataset.train_labels)),
        (put(dataset.test_inputs), put(dataset.test_labels)),
    )
    loss_fn = models.cross_entropy_loss(model)
    batched = jax.vmap(lambda params, inputs: model.apply(params, inputs, None), in_axes=(None, 0))

    def train(arrays: Arrays, hparams: HParams, key: jax.Array) -> Any:
        def evaluate(params: Any) -> Any:
            split = {"train": arrays.train, "test": arrays.test}
            return {name: metrics.evaluate(batched, params, *data, batch_size=2048) for name, data in split.items()}

        run = make_train(
            model.init,
            _contribution(cfg, loss_fn, hparams),
            arrays.units,
            sampler=sampler,
            num_steps=cfg.optimizer.num_steps,
            make_optimizer=lambda h: _optimizer(cfg.optimizer.name, h),
            examples=arrays.examples,
            evaluate=evaluate,
            evaluate_every=cfg.optimizer.evaluate_every,
            rule=_rule(cfg),
            adaptive=adaptive(cfg),
            engine=cfg.engine,
            microbatch_size=cfg.microbatch_size,
        )
        _, history = run(hparams, key)
        counts = {name: jnp.sum(history.steps[name]) for name in ("overflowed", "num_rejected")}
        counts["clip_norm"] = history.steps["clip_norm"][-1]
        return history.evaluation_steps, history.evaluations, counts

    return Setup(train, arrays, sampler, unit)


@lru_cache(maxsize=4)
def _load(name: str) -> Dataset:
    return load(name)


def _model(cfg: DictConfig, dataset: Dataset) -> models.Model:
    options = {}
    if cfg.model.name == "mlp":
        options["hidden"] = tuple(cfg.model.hidden)
    if cfg.model.name in ("mlp", "cnn"):
        options["activation"] = cfg.model.activation
    try:
        return models.build(cfg.model.name, num_classes=dataset.num_classes, input_shape=dataset.input_shape, **options)
    except ValueError as error:
        raise ConfigError(f"model={cfg.model.name} with data={cfg.data.name}: {error}") from error


def _units(cfg: DictConfig, dataset: Dataset) -> tuple[str, Any, Any, sampling.Sampler]:
    """(unit of privacy, population, shared examples, sampler)."""
    rows = (dataset.train_inputs, dataset.train_labels)
    fed = cfg.federated
    if fed.clients_per_round is None:
        return "example", rows, None, _sampler(cfg, len(dataset.train_labels), cfg.optimizer.sampling_rate)
    if fed.partition == "iid":
        records = partitions.iid_partition(len(dataset.train_labels), fed.num_clients, seed=0)
    else:
        records = partitions.dirichlet_partition(dataset.train_labels, fed.num_clients, alpha=fed.alpha, seed=0)
    unit = "client" if fed.algorithm == "fedavg" else "user"
    return unit, records, rows, _sampler(cfg, fed.num_clients, fed.clients_per_round / fed.num_clients)


def _sampler(cfg: DictConfig, population: int, sampling_rate: float) -> sampling.Sampler:
    if cfg.optimizer.sampling == "poisson":
        return sampling.poisson_sampler(
            population,
            sampling_rate,
            num_steps=cfg.optimizer.num_steps,
            epsilon=capacity_epsilon(cfg),
            delta=cfg.privacy.delta,
        )
    make = {
        "fixed_size": sampling.fixed_size_sampler,
        "shuffled": sampling.shuffled_sampler,
        "cyclic": sampling.cyclic_sampler,
    }
    return make[cfg.optimizer.sampling](population, max(1, round(sampling_rate * population)))


def adaptive(cfg: DictConfig) -> AdaptiveClipping | None:
    """How the clip norm adapts in a run; None where it stays."""
    if cfg.clipping.name != "adaptive":
        return None
    return adaptive_clipping(cfg.clipping.target_quantile, cfg.clipping.learning_rate, cfg.clipping.count_stddev)


def _rule(cfg: DictConfig) -> clipping.ClippingRule:
    if cfg.clipping.name == "per_layer":
        return clipping.per_layer_clipping()
    if cfg.clipping.name == "automatic":
        return clipping.automatic_clipping(cfg.clipping.stability)
    return clipping.flat_clipping()


def _contribution(cfg: DictConfig, loss_fn: Any, hparams: HParams) -> Any:
    fed = cfg.federated
    if fed.clients_per_round is None:
        return contributions.example_gradient(loss_fn)
    if fed.algorithm == "fedsgd":
        return contributions.user_gradient(loss_fn)
    local = optax.sgd(hparams.client_learning_rate)
    return contributions.client_delta(loss_fn, local, num_steps=fed.local_steps, batch_size=fed.local_batch_size)


def _optimizer(name: str, hparams: HParams) -> optax.GradientTransformation:
    if name == "sgd":
        return optax.sgd(hparams.learning_rate, momentum=hparams.momentum)
    if name == "adam":
        return optax.adam(hparams.learning_rate)
    return optax.adamw(hparams.learning_rate, weight_decay=hparams.weight_decay)
