"""What can't be run of noise, corruption, robust means and compression: which of them go together."""

import math
from typing import Any

from experiments.config import LOCAL_NOISE, SHARED_NOISE, Config


def validate_noise(cfg: Config, need: Any) -> None:
    """Refuse noise that the rest of the config has no room for.

    Raises:
      ConfigError: the first field that is wrong.
    """
    noise, fed = cfg.privacy.noise, cfg.federated
    need(
        cfg.privacy.noise_multiplier is None or noise in ("gaussian", "correlated"),
        "privacy.noise_multiplier",
        f"is of noise on the sum, not of privacy.noise={noise}; leave it null",
    )
    need(
        cfg.privacy.records_per_unit is None or not cfg.is_federated,
        "privacy.records_per_unit",
        "is for central training; federated=fedsgd draws users whole, so leave it null",
    )
    released = not cfg.data.release
    need(
        released or noise in ("gaussian", "correlated"),
        "data.release",
        f"adds noise to counts that the server sees, and with privacy.noise={noise} it is not trusted; leave it out",
    )
    need(
        released or not cfg.is_federated or fed.partition == "natural",
        "data.release",
        f"counts owners of rows, which federated.partition={fed.partition} spreads over clients; use natural",
    )
    if noise == "gaussian":
        return
    shown = f"with privacy.noise={noise}"
    need(
        cfg.clipping.name != "adaptive",
        "clipping.name",
        f"noises its count with the sum, which {shown} is not done; use flat",
    )
    if noise == "correlated":
        return
    need(
        fed.clients_per_round is not None,
        "privacy.noise",
        "is added by clients; set federated.clients_per_round, or use gaussian or correlated",
    )
    need(fed.weights == "uniform" or not cfg.privacy.is_private, "federated.weights", f"must be uniform {shown}")
    need(
        fed.noise_cohort is None,
        "federated.noise_cohort",
        f"is for noise that the server adds, and {shown} clients do; set it to null",
    )
    if noise in LOCAL_NOISE:
        need(fed.aggregation == "plain", "federated.aggregation", f"must be plain {shown}, which nobody need hide")
    elif noise in SHARED_NOISE:
        need(fed.aggregation == "secure", "federated.aggregation", f"must be secure {shown}: shares hide only a sum")
    else:
        _validate_inside(cfg, need, shown)


def _validate_inside(cfg: Config, need: Any, shown: str) -> None:
    fed = cfg.federated
    need(fed.algorithm == "fedavg", "federated.algorithm", f"must be fedavg {shown}")
    need(fed.aggregation == "plain", "federated.aggregation", f"must be plain {shown}, as deltas have no bound")
    need(fed.local_epochs is None, "federated.local_epochs", f"must be null {shown}; use federated.local_steps")
    need(fed.straggler_rate == 0, "federated.straggler_rate", f"must be 0 {shown}")
    need(
        cfg.privacy.adjacency != "add_or_remove_one",
        "privacy.adjacency",
        f"must be zero_out or replace_one {shown}, as the number of a client's rows is public",
    )


def validate_messages(cfg: Config, need: Any) -> None:
    """Refuse corruption, robust means and compression that do not go together, or with the aggregation.

    Raises:
      ConfigError: the first field that is wrong.
    """
    fed = cfg.federated
    if fed.robust != "none":
        need(
            not cfg.privacy.is_private or cfg.privacy.noise == "inside_clients",
            "federated.robust",
            "has no sensitivity, so that no noise makes it private; use none, privacy.epsilon=inf or "
            "privacy.noise=inside_clients",
        )
        need(fed.aggregation == "plain", "federated.robust", "reads every message; use federated.aggregation=plain")
        need(fed.weights == "uniform", "federated.weights", "must be uniform with federated.robust, one vote each")
    assumed = math.floor(fed.robust_fraction * fed.expected_clients + 1e-3)
    need(
        fed.robust not in ("krum", "multi_krum") or fed.expected_clients >= 2 * assumed + 3,
        "federated.clients_per_round",
        f"is too few for federated.robust={fed.robust}, which with {assumed} corrupted clients takes "
        f"{2 * assumed + 3}; raise it, or lower federated.robust_fraction",
    )
    need(
        fed.corruption.name != "labels" or fed.partition != "sampled",
        "federated.corruption.name",
        "can't be labels with federated.partition=sampled, whose clients share rows",
    )
    need(
        fed.compression.name in ("none", "sketch") or fed.aggregation == "plain",
        "federated.compression.name",
        f"saves nothing under federated.aggregation={fed.aggregation}, which hides where zeros are; use sketch or none",
    )
    need(
        fed.compression.name != "sketch" or fed.algorithm != "personalized",
        "federated.compression.name",
        "decodes to what the run carries, and personalized clients send a part of it; use another, or none",
    )
    need(
        not fed.compression.error_feedback or fed.compression.name == "top_k",
        "federated.compression.error_feedback",
        "is for federated.compression.name=top_k; set it to false",
    )
    if fed.client_ranks:
        _validate_ranks(cfg, need)
    cohort = fed.noise_cohort
    need(
        cohort is None or cfg.clipping.name != "adaptive",
        "federated.noise_cohort",
        "scales the noise on the sum, and clipping=adaptive has noise on a count too; use clipping=flat, or null",
    )
    need(
        cohort is None or cohort >= fed.expected_clients,
        "federated.noise_cohort",
        f"must be at least federated.clients_per_round={fed.clients_per_round}, or null",
    )


def _validate_ranks(cfg: Config, need: Any) -> None:
    """Refuse clients of different ranks where a mean of messages is not a mean of products, or zeros would count."""
    fed, name = cfg.federated, "federated.client_ranks"
    need(
        cfg.tuning.name == "lora" and cfg.tuning.freeze_a,
        name,
        "is aggregated exactly only where clients share one factor; set tuning=lora and tuning.freeze_a=true",
    )
    need(min(fed.client_ranks) >= 1, name, "must hold ranks ≥ 1, such as [4,8,16]")
    need(
        max(fed.client_ranks) == cfg.tuning.rank,
        "tuning.rank",
        f"must be {max(fed.client_ranks)}, the largest of {name}",
    )
    need(
        fed.algorithm in ("fedavg", "fedprox", "fednova") and not fed.adaptive_proximal,
        name,
        "is for clients that send deltas and remember nothing; use federated=fedavg, fedprox or fednova",
    )
    need(
        fed.compression.name == "none" and fed.robust == "none",
        name,
        "sends zeros for what a client does not hold, which a robust mean or compression would take for values; use "
        "federated.compression.name=none and federated.robust=none",
    )
    need(
        cfg.privacy.noise in ("gaussian", "correlated", *SHARED_NOISE),
        name,
        f"sends nothing beyond a client's rank, and privacy.noise={cfg.privacy.noise} would noise it there; use "
        "gaussian",
    )
