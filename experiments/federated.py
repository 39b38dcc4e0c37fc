"""The federated half of a config: who the clients are, how they train, and how their messages meet."""

import math
from typing import Any, NamedTuple

import jax
import numpy as np
import optax
from omegaconf import DictConfig

from dpjax import contributions, federated
from dpjax.buckets import Buckets, bucketed
from dpjax.clipping import Aggregation, ClippingRule
from dpjax.datasets import Dataset
from dpjax.types import HParams, Records
from experiments.config import ConfigError
from experiments.validation import threshold


class Clients(NamedTuple):
    """The population of a federated run.

    Attributes:
      units: ``Records`` or ``Buckets`` of them.
      records: the same clients in the same order, padded to one length.
      weights: ``[clients]`` p_k, or None where all are equal.
    """

    units: Records | Buckets
    records: Records
    weights: np.ndarray | None

    @property
    def number(self) -> int:
        return self.records.mask.shape[0]


def make_clients(cfg: DictConfig, dataset: Dataset) -> Clients:
    """The data set shared out among clients, the same for every seed of a run.

    Raises:
      ConfigError: a partition that this data set can't have.
    """
    fed = cfg.federated
    records = _partition(fed, dataset)
    clients = records.mask.shape[0]
    if fed.clients_per_round > clients:
        raise ConfigError(
            f"federated.clients_per_round={fed.clients_per_round} is more than the {clients} clients of "
            f"data={dataset.name} with federated.partition={fed.partition}; lower it."
        )
    units: Records | Buckets = records
    if fed.num_buckets > 1:
        units, order = bucketed(records, fed.num_buckets)
        records = jax.tree.map(lambda x: x[order], records)
    sizes = np.asarray(records.mask).sum(1)
    weights = sizes / sizes.sum() if fed.weights == "sizes" else None
    return Clients(units, records, weights)


def _partition(fed: DictConfig, dataset: Dataset) -> Records:
    labels, clients = dataset.train_labels, fed.num_clients
    match fed.partition:
        case "iid":
            return federated.iid_partition(len(labels), clients, seed=0)
        case "dirichlet":
            return federated.dirichlet_partition(labels, clients, alpha=fed.alpha, seed=0)
        case "shards":
            return federated.shard_partition(labels, clients, shards_per_client=fed.shards_per_client, seed=0)
        case "quantity":
            return federated.quantity_partition(len(labels), clients, alpha=fed.alpha, seed=0)
        case "sampled":
            return federated.sampled_partition(
                labels, clients, records_per_client=fed.records_per_client, alpha=fed.alpha, seed=0
            )
        case _:
            owners = getattr(dataset, "train_units", None)
            if owners is None:
                raise ConfigError(
                    f"federated.partition=natural needs to know whose the rows are, which data={dataset.name} does not "
                    "say; take a data set with natural clients (`dpjax data list`), or another partition."
                )
            return federated.natural_partition(owners, max_records=fed.records_per_client)[0]


def make_solver(cfg: DictConfig, loss_fn: Any, hparams: HParams, participation: float) -> federated.Solver:
    """The algorithm of ``federated.algorithm``, with traced hyper-parameters.

    Args:
      cfg: of the group of jobs.
      loss_fn: of one example.
      hparams: traced.
      participation: expected share of the clients in a round.
    """
    fed = cfg.federated
    if fed.algorithm == "fedsgd":
        return federated.Solver(contributions.user_gradient(loss_fn))
    steps = {"num_steps": fed.local_steps} if fed.local_epochs is None else {"num_epochs": fed.local_epochs}
    local: dict[str, Any] = {**steps, "batch_size": fed.local_batch_size}
    if fed.straggler_rate > 0:
        local["straggler_rate"] = hparams.straggler_rate
    optimizer = optax.sgd(hparams.client_learning_rate)
    match fed.algorithm:
        case "fedavg":
            return federated.fedavg(loss_fn, optimizer, **local)
        case "fedprox" if fed.adaptive_proximal:
            told = hparams.clip_norm / 10 if math.isfinite(cfg.privacy.epsilon) else 1.0
            return federated.adaptive_fedprox(loss_fn, optimizer, initial=hparams.proximal, report_norm=told, **local)
        case "fedprox":
            return federated.fedavg(loss_fn, optimizer, proximal=hparams.proximal, **local)
        case "scaffold":
            return federated.scaffold(
                loss_fn, learning_rate=hparams.client_learning_rate, participation=participation, **local
            )
        case _:
            return federated.personalized(
                loss_fn, optimizer, personal=lambda path: fed.personal in path, head_steps=fed.head_steps, **local
            )


def make_aggregation(cfg: DictConfig, hparams: HParams, rule: ClippingRule) -> Aggregation | None:
    """How messages meet; None for the plain sum that nothing disturbs."""
    fed = cfg.federated
    dropout_rate = hparams.dropout_rate if fed.dropout_rate > 0 else 0.0
    if fed.aggregation == "secure":
        return federated.secure_aggregation(
            threshold=threshold(cfg),
            bits=fed.bits,
            levels=fed.levels,
            dropout_rate=dropout_rate,
            masks=fed.masks,
            rule=rule,
        )
    if fed.aggregation == "homomorphic":
        return federated.homomorphic_aggregation(dropout_rate=dropout_rate, rule=rule)
    return federated.dropouts(dropout_rate) if fed.dropout_rate > 0 else None
