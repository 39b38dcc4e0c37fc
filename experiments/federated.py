"""The federated half of a config: who the clients are, how they train, and how their messages meet."""

import functools
import math
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import numpy as np
import optax

from dpjax import contributions, federated
from dpjax.buckets import bucketed
from dpjax.clipping import Aggregation, ClippingRule
from dpjax.datasets import Dataset
from dpjax.sampling import Sampler
from dpjax.types import HParams, Records
from experiments.accountable import reports, threshold
from experiments.argument_fields import PARTITION, SECURE, in_fields
from experiments.config import SHARED_NOISE, CompressionConf, ConfigError, FederatedConf, PrivacyConf


class Clients(NamedTuple):
    """The population of a federated run.

    Attributes:
      units: ``Records`` or ``Buckets`` of them.
      records: the same clients in the same order, padded to one length.
      weights: ``[clients]`` p_k, or None where all are equal.
      labels: ``[rows]`` that clients train on: those of the data set, unless some are flipped.
    """

    units: Any
    records: Records
    weights: np.ndarray | None
    labels: np.ndarray

    @property
    def number(self) -> int:
        return self.records.mask.shape[0]

    @property
    def most_records(self) -> int:
        """Rows of the largest client."""
        return self.records.mask.shape[1]


def make_clients(fed: FederatedConf, dataset: Dataset) -> Clients:
    """The data set shared out among clients, the same for every seed of a run.

    Raises:
      ConfigError: a partition that this data set can't have.
    """
    records = _partition(fed, dataset)
    clients = records.mask.shape[0]
    if fed.expected_clients > clients:
        raise ConfigError(
            f"federated.clients_per_round={fed.clients_per_round} is more than the {clients} clients of "
            f"data={dataset.name} with federated.partition={fed.partition}; lower it."
        )
    units: Any = records
    if fed.num_buckets > 1:
        units, order = bucketed(records, fed.num_buckets)
        records = jax.tree.map(lambda x: x[order], records)
    sizes = np.asarray(records.mask).sum(1)
    weights = sizes / sizes.sum() if fed.weights == "sizes" else None
    labels = dataset.train_labels
    if dataset.target is not None and fed.corruption.name == "labels":
        raise ConfigError(
            f"federated.corruption.name=labels flips classes, and data={dataset.name} has numbers; use noise."
        )
    if labels.ndim > 1 and fed.corruption.name == "labels":
        raise ConfigError(
            f"federated.corruption.name=labels flips classes, and of data={dataset.name} tokens or pairs are scored; "
            "use noise."
        )
    if fed.corruption.name != "none":
        marks = federated.draw_corrupted(jax.random.key(0), clients, fed.corruption.fraction)
        if fed.corruption.name == "labels":
            labels = federated.flip_labels(labels, units, marks, dataset.num_classes)
        else:
            units = federated.corruptible(units, marks)
    return Clients(units, records, weights, labels)


def _partition(fed: FederatedConf, dataset: Dataset) -> Records:
    with in_fields(PARTITION):
        return _shared_out(fed, dataset)


def _shared_out(fed: FederatedConf, dataset: Dataset) -> Records:
    labels, clients = dataset.train_labels, fed.num_clients
    if dataset.target is not None and fed.partition in ("dirichlet", "shards", "sampled"):
        raise ConfigError(
            f"federated.partition={fed.partition} goes by classes, and data={dataset.name} has numbers to predict; use "
            "natural, iid or quantity."
        )
    if labels.ndim > 1 and fed.partition in ("dirichlet", "shards", "sampled"):
        raise ConfigError(
            f"federated.partition={fed.partition} goes by classes, and of data={dataset.name} tokens or pairs are "
            "scored; use natural, iid or quantity."
        )
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
                labels, clients, records_per_client=fed.records_per_client or 0, alpha=fed.alpha, seed=0
            )
        case _:
            owners = getattr(dataset, "train_units", None)
            if owners is None:
                raise ConfigError(
                    f"federated.partition=natural needs to know whose the rows are, which data={dataset.name} does not "
                    "say; take a data set with natural clients (`dpjax data list`), or another partition."
                )
            return federated.natural_partition(owners, max_records=fed.records_per_client)[0]


def make_solver(
    fed: FederatedConf,
    loss_fn: Any,
    hparams: HParams,
    *,
    is_private: bool,
    participation: float,
    local_sampler: Sampler | None,
    rule: ClippingRule,
    clients: Clients,
) -> federated.Solver:
    """The algorithm of ``federated.algorithm``, with traced hyper-parameters.

    Args:
      fed: the federated part of the config.
      loss_fn: of one example.
      hparams: traced.
      is_private: whether there is a finite ε.
      participation: expected share of the clients in a round.
      local_sampler: of a client's own rows, if it protects each of them by itself.
      rule: of clipping.
      clients: whose number and rows fednova is told.
    """
    if fed.client_ranks:
        alike = replace(fed, client_ranks=[])
        more = {"is_private": is_private, "participation": participation, "local_sampler": local_sampler}
        ranks = federated.draw_ranks(clients.number, fed.client_ranks, seed=0)
        return federated.ranked_clients(
            lambda loss: make_solver(alike, loss, hparams, **more, rule=rule, clients=clients), loss_fn, ranks
        )
    if local_sampler is not None:
        contribution_fn = contributions.private_client_delta(
            loss_fn,
            optax.sgd(hparams.client_learning_rate),
            num_steps=fed.local_steps,
            sampler=local_sampler,
            clip_norm=hparams.clip_norm,
            noise_multiplier=hparams.noise_multiplier,
            rule=rule,
        )
        return federated.Solver(contribution_fn)
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
            report_norm = hparams.clip_norm / 10 if is_private else 1.0
            return federated.adaptive_fedprox(
                loss_fn, optimizer, initial=hparams.proximal, report_norm=report_norm, **local
            )
        case "fedprox":
            return federated.fedavg(loss_fn, optimizer, proximal=hparams.proximal, **local)
        case "fednova":
            return federated.fedavg(loss_fn, optimizer, effective_steps=_usual_steps(fed, clients), **local)
        case "scaffold":
            return federated.scaffold(
                loss_fn, learning_rate=hparams.client_learning_rate, participation=participation, **local
            )
        case _:
            return federated.personalized(
                loss_fn, optimizer, personal=lambda path: fed.personal in path, head_steps=fed.head_steps, **local
            )


def refuse_personal(word: str, params: Any) -> None:
    """Refuse a word that names no parameter to keep, or leaves none to share.

    Raises:
      ConfigError: it lists the parameters.
    """
    paths = [jax.tree_util.keystr(path) for path, _ in jax.tree.leaves_with_path(params)]
    named = [path for path in paths if word in path]
    if not named or len(named) == len(paths):
        says = "is in the path of every parameter, so that none is shared" if named else "is in no parameter's path"
        raise ConfigError(f"federated.personal={word} {says}; use a word of some of {', '.join(paths)}.")


def _usual_steps(fed: FederatedConf, clients: Clients) -> float:
    """Local steps of a client with a mean number of rows, which is public as the number of rows and clients are."""
    if fed.local_epochs is None:
        return fed.local_steps
    rows = float(np.asarray(clients.records.mask).sum()) / clients.number
    return fed.local_epochs * max(1.0, rows / fed.local_batch_size)


def compressed(made: CompressionConf, solver: federated.Solver, size: int) -> federated.Solver:
    """The algorithm with ``federated.compression`` on what its clients send.

    Args:
      made: how.
      solver: of ``make_solver``.
      size: coordinates of what the run carries.
    """
    send = solver.contribution_fn
    match made.name:
        case "quantized":
            return solver._replace(contribution_fn=federated.quantized(send, made.bits))
        case "random_k":
            return solver._replace(contribution_fn=federated.random_k(send, made.fraction))
        case "top_k":
            solver = solver._replace(
                contribution_fn=federated.top_k(send, made.fraction, error_feedback=made.error_feedback)
            )
            if not made.error_feedback:
                return solver
            return solver._replace(
                init_unit_state=federated.remember_residual(solver.init_unit_state, solver.message_like)
            )
        case "sketch":
            columns = message_size(made, size)
            return federated.count_sketch(solver, rows=1, columns=columns, key=jax.random.key(0))
        case _:
            return solver


def message_size(made: CompressionConf, size: int) -> int:
    """Coordinates of what a client sends, for so many of what the run carries."""
    return math.ceil(made.fraction * size) if made.name == "sketch" else size


def make_aggregation(fed: FederatedConf, privacy: PrivacyConf, hparams: HParams) -> Aggregation | None:
    """How messages meet; None for the plain sum that nothing disturbs."""
    parts = [_sum_of_messages(fed, privacy, hparams)]
    corruption = fed.corruption
    if corruption.name not in ("none", "labels"):
        factor: dict[str, Any] = {"factor": corruption.factor} if corruption.name in ("scaled", "sign_flipped") else {}
        parts.append(federated.corruption(corruption.name, **factor))
    aggregations = [part for part in parts if part is not None]
    if not aggregations:
        return None
    return lambda factory: functools.reduce(lambda inner, part: part(inner), aggregations, factory)


def _sum_of_messages(fed: FederatedConf, privacy: PrivacyConf, hparams: HParams) -> Aggregation | None:
    noise, private = privacy.noise, privacy.is_private
    dropout_rate = hparams.dropout_rate if fed.dropout_rate > 0 else 0.0
    if fed.aggregation == "secure":
        shared = noise in SHARED_NOISE and private
        with in_fields(SECURE):
            return federated.secure_aggregation(
                threshold=threshold(fed),
                bits=fed.bits,
                levels=fed.levels,
                dropout_rate=dropout_rate,
                masks=fed.masks,
                noise=noise if shared else None,
                noise_multiplier=hparams.noise_multiplier if shared else 0.0,
                colluding=privacy.colluding if shared else 0,
            )
    if fed.aggregation == "homomorphic":
        return federated.homomorphic_aggregation(dropout_rate=dropout_rate)
    lost = federated.dropouts(dropout_rate) if fed.dropout_rate > 0 else None
    aggregation: Aggregation | None = None
    randomised = reports(noise) if private else None
    if randomised is not None:
        amount = "epsilon_per_report" if randomised.pure else "noise_multiplier"
        aggregation = federated.local_privacy(randomised.kind, **{amount: getattr(hparams, amount)})
    elif fed.robust != "none":
        share: dict[str, Any] = {} if "median" in fed.robust else {"corrupted_fraction": fed.robust_fraction}
        aggregation = federated.robust_aggregation(fed.robust, **share)
    if aggregation is None or lost is None:
        return aggregation or lost
    return lambda factory: lost(aggregation(factory))
