"""What can't be run is refused before anything is computed, in one sentence with the field, the value and the fix."""

import math
import re
from typing import Any

from dpjax.accounting.samplings import DRAWN
from experiments.combinations import validate_messages, validate_noise
from experiments.config import NOISES, Config, ConfigError, FederatedConf
from experiments.fields import value_of

LEAST_EPSILON, MOST_EPSILON = 1e-3, 500.0
LEAST_CLIP_NORM = 1e-12
"""The kernel's ``SMALLEST_CLIP_NORM``, said here too so that bad input need not wait for JAX; a test compares them."""


def validate(cfg: Config) -> None:
    """Refuse what can't run, before anything is computed.

    Raises:
      ConfigError: the first field that is wrong.
    """

    def need(ok: bool, name: str, fix: str) -> None:
        if not ok:
            raise ConfigError(f"{name}={value_of(cfg, name)} {fix}.")

    def one_of(name: str, *choices: str) -> None:
        need(value_of(cfg, name) in choices, name, f"is not known; use {' or '.join(choices)}")

    need(cfg.privacy.epsilon > 0, "privacy.epsilon", "must be > 0; use inf to train without privacy")
    need(
        cfg.privacy.epsilon >= LEAST_EPSILON,
        "privacy.epsilon",
        f"is below what accountants resolve; give at least {LEAST_EPSILON:g}",
    )
    need(
        cfg.privacy.epsilon <= MOST_EPSILON or not cfg.privacy.is_private,
        "privacy.epsilon",
        f"is beyond what accountants resolve; give at most {MOST_EPSILON:g}, or inf to train without privacy",
    )
    noise = cfg.privacy.noise_multiplier
    need(
        noise is None or (0 < noise < math.inf),
        "privacy.noise_multiplier",
        "must be > 0 and finite, or null to have it calibrated; use privacy.epsilon=inf to train without privacy",
    )
    need(
        noise is None or cfg.privacy.noise in ("gaussian", "correlated"),
        "privacy.noise_multiplier",
        f"is of noise on the sum, not of privacy.noise={cfg.privacy.noise}; leave it null",
    )
    need(0 <= cfg.data.validation < 1, "data.validation", "must be in [0, 1); 0.1 keeps a tenth out of training")
    need(
        cfg.data.validation == 0 or cfg.model.task != "synthetic",
        "data.validation",
        "is not for model.task=synthetic, whose texts are tested by their readers; leave it at 0",
    )
    need(0 < cfg.privacy.delta < 1, "privacy.delta", "must be in (0, 1); below 1/population is customary")
    need(
        cfg.privacy.clip_norm >= LEAST_CLIP_NORM,
        "privacy.clip_norm",
        f"must be at least {LEAST_CLIP_NORM:g}; use privacy.epsilon=inf to turn clipping off",
    )
    records = cfg.privacy.records_per_unit
    need(records is None or records >= 1, "privacy.records_per_unit", "must be at least 1, or null")
    for ok, what in (
        (not cfg.is_federated, "central training; federated=fedsgd draws users whole"),
        (cfg.optimizer.sampling == "poisson", "optimizer.sampling=poisson"),
        (cfg.privacy.noise == "gaussian", "privacy.noise=gaussian"),
        (cfg.privacy.adjacency != "replace_one", "privacy.adjacency=zero_out or add_or_remove_one"),
    ):
        need(records is None or ok, "privacy.records_per_unit", f"is for {what}; change that, or leave it null")
    relations = ("zero_out", "add_or_remove_one", "replace_one")
    need(
        cfg.privacy.adjacency in (None, *relations),
        "privacy.adjacency",
        f"is not known; use {' or '.join(relations)}, or null",
    )
    one_of("privacy.accountant", "pld", "rdp")
    one_of("privacy.noise", *NOISES)
    one_of("privacy.factorization", "banded", "optimal", "buffered", "tree")
    need(cfg.privacy.bands is None or cfg.privacy.bands >= 1, "privacy.bands", "must be at least 1, or null")
    one_of("clipping.name", "flat", "per_layer", "automatic", "adaptive")
    _validate_clipping(cfg, need)
    one_of("optimizer.name", "sgd", "adam", "adamw", "adam_corrected", "yogi")
    one_of("optimizer.decay", "none", "linear", "cosine")
    for name in ("optimizer.num_steps", "optimizer.evaluate_every", "num_seeds", "federated.num_clients"):
        need(value_of(cfg, name) >= 1, name, "must be at least 1")
    need(
        0 <= cfg.optimizer.warmup_steps <= cfg.optimizer.num_steps,
        "optimizer.warmup_steps",
        f"must be from 0 to optimizer.num_steps={cfg.optimizer.num_steps}",
    )
    need(0 <= cfg.optimizer.ema < 1, "optimizer.ema", "must be in [0, 1); 0 keeps no average")
    need(
        cfg.optimizer.ema == 0 or not cfg.is_federated,
        "optimizer.ema",
        "is for central training; leave it at 0, or use a server optimizer with momentum",
    )
    need(
        cfg.optimizer.name != "adam_corrected" or cfg.privacy.noise == "gaussian",
        "optimizer.name",
        f"takes out independent noise on the sum, not privacy.noise={cfg.privacy.noise}; use adam",
    )
    need(
        cfg.optimizer.name != "adam_corrected" or cfg.clipping.name != "adaptive",
        "optimizer.name",
        "needs a clip norm that stays; use adam, or clipping=flat",
    )
    one_of("optimizer.sampling", *DRAWN)
    need(
        0 < cfg.optimizer.sampling_rate <= 1,
        "optimizer.sampling_rate",
        "must be in (0, 1]; it is cohort size / population",
    )
    need(cfg.optimizer.learning_rate > 0, "optimizer.learning_rate", "must be > 0")
    need(0 <= cfg.optimizer.momentum < 1, "optimizer.momentum", "must be in [0, 1)")
    need(cfg.optimizer.weight_decay >= 0, "optimizer.weight_decay", "must be ≥ 0")
    need(0 <= cfg.optimizer.second_decay < 1, "optimizer.second_decay", "must be in [0, 1)")
    need(cfg.optimizer.adaptivity > 0, "optimizer.adaptivity", "must be > 0 and finite")
    need(
        0 <= cfg.seed <= 2**32 - cfg.num_seeds,
        "seed",
        f"must be from 0 to 2**32 - num_seeds = {2**32 - cfg.num_seeds}; seeds that are equal modulo 2**32 are one run",
    )
    one_of("engine", "auto", "bookkeeping", "microbatch", "materialize", "tuned")
    need(
        cfg.microbatch_size is None or cfg.microbatch_size >= 1,
        "microbatch_size",
        "must be at least 1, or null to have it chosen",
    )
    need(
        re.fullmatch(r"auto|map|vmap|[1-9][0-9]*|chunk\([1-9][0-9]*\)", cfg.lanes) is not None,
        "lanes",
        "is not known; use auto, map, vmap or a number ≥ 1 of lanes at a time",
    )
    one_of("tracker.name", "none", "wandb")
    one_of("resume", "same", "config")
    if cfg.plugin:
        from experiments.plugins import load_plugin  # jax, which no other config needs here

        load_plugin(cfg.plugin)
    _validate_language(cfg, need, one_of)
    validate_noise(cfg, need)
    if cfg.is_federated:
        _validate_federated(cfg, need, one_of)


def _validate_clipping(cfg: Config, need: Any) -> None:
    need(
        cfg.clipping.stability >= LEAST_CLIP_NORM,
        "clipping.stability",
        f"must be at least {LEAST_CLIP_NORM:g}; the paper of automatic clipping uses 0.01",
    )
    need(0 <= cfg.clipping.target_quantile <= 1, "clipping.target_quantile", "must be in [0, 1]; 0.5 is the median")
    need(0 < cfg.clipping.learning_rate < math.inf, "clipping.learning_rate", "must be > 0 and finite; 0.2 is usual")
    count_stddev = cfg.clipping.count_stddev
    need(
        count_stddev is None or 0 < count_stddev < math.inf,
        "clipping.count_stddev",
        "must be > 0 and finite, or null for the expected cohort size / 20",
    )


def _validate_language(cfg: Config, need: Any, one_of: Any) -> None:
    for name in ("data.num_train", "data.num_evaluated"):
        value = value_of(cfg, name)
        need(value is None or value >= 1, name, "must be at least 1, or null")
    one_of("tuning.name", "head", "bitfit", "lora", "last", "prompt", "prefix", "full")
    one_of("model.task", "classify", "causal", "masked", "completion", "synthetic")
    one_of("model.pooling", "mean", "first", "last", "pooler")
    one_of("model.dtype", "float32", "bfloat16")
    need("{class}" in cfg.synthesis.instruction, "synthesis.instruction", "must hold {class}, the name of a class")
    for name in ("num_texts", "num_tokens"):
        need(value_of(cfg, f"synthesis.{name}") >= 2, f"synthesis.{name}", "must be at least 2")
    need(cfg.synthesis.temperature > 0, "synthesis.temperature", "must be > 0, or all texts of a class are the same")
    need(0 < cfg.synthesis.top_p <= 1, "synthesis.top_p", "must be in (0, 1]; 1 draws from all tokens")
    need(cfg.model.max_length >= 4, "model.max_length", "leaves no room for a text; use at least 4 tokens")
    for name in ("model.num_lengths", "tuning.rank", "tuning.last_layers", "tuning.length"):
        need(value_of(cfg, name) >= 1, name, "must be at least 1")
    known = ("query", "key", "value", "output", "gate", "up", "down")
    need(
        bool(cfg.tuning.targets) and set(cfg.tuning.targets) <= set(known),
        "tuning.targets",
        f"must be some of {', '.join(known)}",
    )


def _validate_federated(cfg: Config, need: Any, one_of: Any) -> None:
    clients = cfg.federated.num_clients
    need(
        cfg.federated.expected_clients >= 1,
        "federated.clients_per_round",
        "must be at least 1, or null to train centrally",
    )
    need(
        cfg.federated.expected_clients <= clients or cfg.federated.partition == "natural",
        "federated.clients_per_round",
        f"is more than the population of federated.num_clients={clients}; lower it or add clients",
    )
    one_of("federated.algorithm", "fedavg", "fedprox", "fednova", "scaffold", "personalized", "fedsgd")
    gradients = cfg.federated.algorithm == "fedsgd"
    need(
        cfg.engine != "bookkeeping" or gradients,
        "engine",
        f"takes gradients, and a {cfg.federated.algorithm} client sends what it has learnt; use auto or microbatch",
    )
    one_of("federated.partition", "iid", "dirichlet", "shards", "quantity", "sampled", "natural")
    need(cfg.federated.alpha > 0, "federated.alpha", "must be > 0; large is close to iid")
    for name in ("local_steps", "local_batch_size", "shards_per_client", "num_buckets"):
        need(value_of(cfg, f"federated.{name}") >= 1, f"federated.{name}", "must be at least 1")
    for name in ("local_epochs", "records_per_client", "head_steps"):
        value = value_of(cfg, f"federated.{name}")
        need(value is None or value >= 1, f"federated.{name}", "must be at least 1, or null")
    need(
        cfg.federated.partition != "sampled" or cfg.federated.records_per_client is not None,
        "federated.records_per_client",
        "must be given with federated.partition=sampled",
    )
    need(
        cfg.federated.local_epochs is None or cfg.federated.algorithm != "scaffold",
        "federated.local_epochs",
        "is not for scaffold, whose control variates take equal numbers of steps; use federated.local_steps",
    )
    need(cfg.federated.client_learning_rate > 0, "federated.client_learning_rate", "must be > 0")
    need(0 <= cfg.federated.proximal < math.inf, "federated.proximal", "must be finite and ≥ 0")
    for name in ("straggler_rate", "dropout_rate"):
        need(0 <= value_of(cfg, f"federated.{name}") <= 1, f"federated.{name}", "must be in [0, 1]; it is a chance")
    need(cfg.federated.dropout_rate < 1, "federated.dropout_rate", "loses every message; lower it")
    one_of("federated.weights", "uniform", "sizes")
    need(
        cfg.federated.weights == "uniform" or not cfg.privacy.is_private,
        "federated.weights",
        "are private and would change the sensitivity; use uniform, or privacy.epsilon=inf",
    )
    one_of("federated.aggregation", "plain", "secure", "homomorphic")
    validate_messages(cfg, need, one_of)
    if cfg.federated.aggregation != "plain":
        _validate_aggregation(cfg, need)


def _validate_aggregation(cfg: Config, need: Any) -> None:
    need(
        cfg.clipping.name != "adaptive",
        "clipping.name",
        f"is not for federated.aggregation={cfg.federated.aggregation}, whose grid follows a fixed clip norm; use flat",
    )
    need(2 <= cfg.federated.bits <= 32, "federated.bits", "must be from 2 to 32, the width of a ring element")
    need(
        cfg.federated.levels is None or 1 <= cfg.federated.levels <= 2**22,
        "federated.levels",
        "must be from 1 to 2**22, or null to have it chosen",
    )
    clients = cfg.federated.expected_clients
    need(clients >= 2, "federated.clients_per_round", "must be at least 2 where nobody may see a single message")
    least = threshold(cfg.federated)
    need(
        0 < cfg.federated.threshold <= 1 and least <= clients,
        "federated.threshold",
        f"is a threshold above the cohort of {clients} clients or below 1; it is a share of it, in (0, 1]",
    )


def threshold(fed: FederatedConf) -> int:
    """Clients whose shares rebuild a secret under secure aggregation."""
    return max(2, math.ceil(fed.threshold * fed.expected_clients))
