"""Typed configs: every field says what it means and whether a sweep over it recompiles."""

import hashlib
import json
import math
import re
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig, OmegaConf

CONF = Path(__file__).parent / "conf"


class ConfigError(ValueError):
    """A value that can't be run: one sentence with the field, the value and the fix."""


def static(default: Any, meaning: str) -> Any:
    """A field that fixes a shape or a program: each of its values is compiled once."""
    metadata = {"traced": False, "meaning": meaning}
    if isinstance(default, list):
        return field(default_factory=lambda: list(default), metadata=metadata)
    return field(default=default, metadata=metadata)


def traced(default: Any, meaning: str) -> Any:
    """A field that one compiled program takes as an argument, or that the program does not see at all."""
    return field(default=default, metadata={"traced": True, "meaning": meaning})


@dataclass
class DataConf:
    name: str = static("digits", "name in `dpjax data list`")


@dataclass
class ModelConf:
    name: str = static("mlp", "logistic, mlp or cnn")
    hidden: list[int] = static([64], "widths of the MLP's hidden layers")
    activation: str = static("tanh", "activation of MLP and CNN; tanh bounds gradients, which helps under DP")


@dataclass
class PrivacyConf:
    epsilon: float = traced(1.0, "target ε; inf trains without clipping and noise")
    delta: float = static(1e-5, "target δ, below 1/population; it decides the cohorts' capacity")
    clip_norm: float = traced(1.0, "bound on one unit's L2 norm; with clipping=adaptive the first of them")
    adjacency: str = static("add_or_remove_one", "add_or_remove_one, zero_out or replace_one")
    accountant: str = traced("pld", "which accountant calibrates the noise: pld (tight) or rdp")


@dataclass
class ClippingConf:
    name: str = static("flat", "flat, per_layer, automatic or adaptive")
    stability: float = static(0.01, "γ of automatic clipping: gradients far below it stay small")
    target_quantile: float = static(0.5, "share of units that adaptive clipping leaves whole")
    learning_rate: float = static(0.2, "step size of the clip norm under adaptive clipping")
    count_stddev: float | None = static(
        None, "noise on the count of adaptive clipping; null: expected cohort size / 20"
    )


@dataclass
class OptimizerConf:
    name: str = static("sgd", "sgd, adam or adamw, applied to the noised mean")
    learning_rate: float = traced(0.5, "step size; of the server if federated")
    momentum: float = traced(0.9, "heavy-ball momentum of sgd")
    weight_decay: float = traced(0.0, "decoupled weight decay of adamw")
    num_steps: int = static(100, "steps; rounds if federated")
    sampling: str = static("poisson", "poisson, fixed_size, shuffled or cyclic cohorts")
    sampling_rate: float = static(0.25, "share of examples in a step; federated: clients_per_round / num_clients")
    evaluate_every: int = static(10, "steps between evaluations")


@dataclass
class FederatedConf:
    clients_per_round: int | None = static(None, "expected clients in a round; null trains centrally")
    num_clients: int = static(400, "clients that share the training set")
    algorithm: str = static("fedavg", "fedavg (clients send deltas) or fedsgd (clients, as users, send gradients)")
    partition: str = static("iid", "iid or dirichlet")
    alpha: float = static(0.5, "concentration of the dirichlet partition; small is skewed")
    local_steps: int = static(5, "local steps of a fedavg client")
    local_batch_size: int = static(10, "records in a local step")
    client_learning_rate: float = traced(0.5, "step size of local training")


@dataclass
class TrackerConf:
    name: str = traced("none", "none or wandb")
    project: str = traced("dpjax", "wandb project")
    entity: str | None = traced(None, "wandb account or team")
    mode: str | None = traced(None, "online, offline or disabled; null is offline without an account")
    group: str | None = traced(None, "wandb group; the experiment's name if null")


@dataclass
class Config:
    experiment: str = traced("default", "name of the sweep and of its results folder")
    data: DataConf = field(default_factory=DataConf)
    model: ModelConf = field(default_factory=ModelConf)
    privacy: PrivacyConf = field(default_factory=PrivacyConf)
    clipping: ClippingConf = field(default_factory=ClippingConf)
    optimizer: OptimizerConf = field(default_factory=OptimizerConf)
    federated: FederatedConf = field(default_factory=FederatedConf)
    tracker: TrackerConf = field(default_factory=TrackerConf)
    num_seeds: int = traced(3, "runs of each point, as lanes; mean and deviation are over them")
    seed: int = traced(0, "first seed; the others follow")
    engine: str = static("auto", "clipping engine: auto, bookkeeping, microbatch or materialize")
    microbatch_size: int | None = static(None, "contributions formed at once; chosen if null")
    lanes: str = static("auto", "how lanes run: auto, map, vmap or chunk(k)")
    figures: bool = traced(True, "whether a sweep ends in figures")
    results_dir: str = traced("results", "folder of all results")


ConfigStore.instance().store(name="schema", node=Config)

_NOT_OF_THE_RESULT = ("results_dir", "tracker", "experiment", "lanes", "figures")


def job_dir(override_dirname: str) -> str:
    """Folder name of a job: its overrides, cut and hashed where a file system would refuse their length.

    Example:
      >>> job_dir("privacy.epsilon=1,privacy.clip_norm=0.1")
      'privacy.epsilon=1,privacy.clip_norm=0.1'
    """
    name = override_dirname.replace("/", "_") or "defaults"
    if len(name.encode()) <= 200:
        return name
    return f"{name[:160]}...{hashlib.sha256(name.encode()).hexdigest()[:12]}"


OmegaConf.register_new_resolver("job_dir", job_dir, replace=True)


def signature(cfg: DictConfig) -> str:
    """What fixes the compiled program: jobs with equal signatures share one compilation.

    Example:
      >>> one, two = (OmegaConf.structured(Config(privacy=PrivacyConf(epsilon=e))) for e in (1.0, 8.0))
      >>> signature(one) == signature(two)
      True
    """
    chosen = {path: OmegaConf.select(cfg, path) for path, is_traced in _leaves(Config) if not is_traced}
    # A run beyond ε = 10 wants a larger capacity: a shape of its own.
    chosen["capacity"] = capacity_epsilon(cfg)
    return json.dumps(chosen, default=OmegaConf.to_container, sort_keys=True)


def capacity_epsilon(cfg: DictConfig) -> float:
    """The ε that the cohorts' capacity supports: one value for all usual sweeps, so that they share a shape."""
    return 10.0 if math.isinf(cfg.privacy.epsilon) else max(10.0, float(cfg.privacy.epsilon))


def digest(cfg: DictConfig) -> str:
    """Hash of everything that decides a job's result; where it is written and tracked is left out."""
    return _hash(cfg, without=_NOT_OF_THE_RESULT)


def point_hash(cfg: DictConfig) -> str:
    """Hash that names a point of a sweep: the digest without seeds."""
    return _hash(cfg, without=(*_NOT_OF_THE_RESULT, "seed", "num_seeds"))


def _hash(cfg: DictConfig, without: tuple[str, ...]) -> str:
    content = OmegaConf.to_container(cfg, resolve=True)
    assert isinstance(content, dict)
    for name in without:
        content.pop(name, None)
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def describe() -> list[tuple[str, Any, str, str]]:
    """(field, default, "traced" or "static", meaning) of every field, for help texts and docs."""
    rows = []
    for path, is_traced in _leaves(Config):
        holder: Any = Config()
        spec: Any = None
        for part in path.split("."):
            spec = next(f for f in fields(holder) if f.name == part)
            holder = getattr(holder, part)
        rows.append((path, holder, "traced" if is_traced else "static", spec.metadata["meaning"]))
    return rows


def _leaves(node: Any, prefix: str = "") -> list[tuple[str, bool]]:
    leaves: list[tuple[str, bool]] = []
    for spec in fields(node):
        if isinstance(spec.type, type) and is_dataclass(spec.type):
            leaves += _leaves(spec.type, f"{prefix}{spec.name}.")
        else:
            leaves.append((prefix + spec.name, spec.metadata["traced"]))
    return leaves


def validate(cfg: DictConfig) -> None:
    """Refuse what can't run, before anything is computed.

    Raises:
      ConfigError: the first field that is wrong.
    """

    def need(ok: bool, name: str, fix: str) -> None:
        if not ok:
            raise ConfigError(f"{name}={OmegaConf.select(cfg, name)} {fix}.")

    def one_of(name: str, *choices: str) -> None:
        need(OmegaConf.select(cfg, name) in choices, name, f"is not known; use {' or '.join(choices)}")

    for name, _ in _leaves(Config):
        value = OmegaConf.select(cfg, name)
        need(not (isinstance(value, float) and math.isnan(value)), name, "is not a number; give it a value")
    need(cfg.privacy.epsilon > 0, "privacy.epsilon", "must be > 0; use inf to train without privacy")
    need(0 < cfg.privacy.delta < 1, "privacy.delta", "must be in (0, 1); below 1/population is customary")
    need(
        cfg.privacy.clip_norm >= 1e-12, "privacy.clip_norm", "must be > 0; use privacy.epsilon=inf to turn clipping off"
    )
    need(
        math.isfinite(cfg.privacy.clip_norm),
        "privacy.clip_norm",
        "must be finite; use privacy.epsilon=inf to turn clipping off",
    )
    one_of("privacy.adjacency", "add_or_remove_one", "zero_out", "replace_one")
    one_of("privacy.accountant", "pld", "rdp")
    one_of("clipping.name", "flat", "per_layer", "automatic", "adaptive")
    _validate_clipping(cfg, need)
    one_of("optimizer.name", "sgd", "adam", "adamw")
    one_of("optimizer.sampling", "poisson", "fixed_size", "shuffled", "cyclic")
    need(
        0 < cfg.optimizer.sampling_rate <= 1,
        "optimizer.sampling_rate",
        "must be in (0, 1]; it is cohort size / population",
    )
    need(cfg.optimizer.learning_rate > 0, "optimizer.learning_rate", "must be > 0")
    need(0 <= cfg.optimizer.momentum < 1, "optimizer.momentum", "must be in [0, 1)")
    need(cfg.optimizer.weight_decay >= 0, "optimizer.weight_decay", "must be ≥ 0")
    for name in ("optimizer.num_steps", "optimizer.evaluate_every", "num_seeds", "federated.num_clients"):
        need(OmegaConf.select(cfg, name) >= 1, name, "must be at least 1")
    one_of("engine", "auto", "bookkeeping", "microbatch", "materialize")
    need(
        cfg.microbatch_size is None or cfg.microbatch_size >= 1,
        "microbatch_size",
        "must be at least 1, or null to have it chosen",
    )
    need(
        re.fullmatch(r"auto|map|vmap|chunk\([1-9][0-9]*\)", cfg.lanes) is not None,
        "lanes",
        "is not known; use auto, map, vmap or chunk(k) with k ≥ 1",
    )
    one_of("tracker.name", "none", "wandb")
    if cfg.federated.clients_per_round is not None:
        _validate_federated(cfg, need, one_of)


def _validate_clipping(cfg: DictConfig, need: Any) -> None:
    need(cfg.clipping.stability > 0, "clipping.stability", "must be > 0; the paper of automatic clipping uses 0.01")
    need(0 <= cfg.clipping.target_quantile <= 1, "clipping.target_quantile", "must be in [0, 1]; 0.5 is the median")
    need(0 < cfg.clipping.learning_rate < math.inf, "clipping.learning_rate", "must be > 0 and finite; 0.2 is usual")
    count_stddev = cfg.clipping.count_stddev
    need(
        count_stddev is None or 0 < count_stddev < math.inf,
        "clipping.count_stddev",
        "must be > 0 and finite, or null for the expected cohort size / 20",
    )


def _validate_federated(cfg: DictConfig, need: Any, one_of: Any) -> None:
    clients = cfg.federated.num_clients
    need(
        cfg.federated.clients_per_round >= 1,
        "federated.clients_per_round",
        "must be at least 1, or null to train centrally",
    )
    need(
        cfg.federated.clients_per_round <= clients,
        "federated.clients_per_round",
        f"is more than the population of federated.num_clients={clients}; lower it or add clients",
    )
    one_of("federated.algorithm", "fedavg", "fedsgd")
    need(
        (cfg.engine, cfg.federated.algorithm) != ("bookkeeping", "fedavg"),
        "engine",
        "takes gradients, and a FedAvg client sends what it has learnt; use auto or microbatch",
    )
    one_of("federated.partition", "iid", "dirichlet")
    need(cfg.federated.alpha > 0, "federated.alpha", "must be > 0; large is close to iid")
    for name in ("federated.local_steps", "federated.local_batch_size"):
        need(OmegaConf.select(cfg, name) >= 1, name, "must be at least 1")
    need(cfg.federated.client_learning_rate > 0, "federated.client_learning_rate", "must be > 0")
