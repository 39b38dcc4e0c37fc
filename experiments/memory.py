"""What a run will hold, estimated before anything is made: what can't fit is refused, with the estimate."""

import os
from collections.abc import Mapping
from pathlib import Path

import jax

from experiments.config import Config, ConfigError
from experiments.fields import value_of

_NUMBER = 4  # bytes: float32, int32
_COPIES = 6  # of the parameters: they, the optimizer's two, a contribution, the sum and its noise
_STEP = 60 * _NUMBER  # what a step reports: bins of norms and some twenty scalars; and its number on the host
_LANE = 4096  # columns of a row, and Python's own
_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


def machine_bytes() -> float:
    """Memory that this machine, this container or its accelerator has."""
    stats = jax.devices()[0].memory_stats() or {}
    if "bytes_limit" in stats:
        return float(stats["bytes_limit"])
    sizes = [float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))]
    limits = [limit.read_text().strip() for limit in map(Path, _LIMITS) if limit.is_file()]
    return min([*sizes, *(float(text) for text in limits if text.isdigit())])


def refuse_lanes(cfg: Config, num_lanes: int) -> None:
    """Refuse more runs than can be kept track of.

    Raises:
      ConfigError: an estimate above what the machine has.
    """
    refuse_oversized(cfg, {("num_seeds", "rows"): num_lanes * _LANE})


def refuse_partition(cfg: Config) -> None:
    """Refuse clients whose lists of rows do not fit; other partitions share out what is there.

    Raises:
      ConfigError: an estimate above what the machine has.
    """
    fed = cfg.federated
    if fed.partition == "sampled":
        rows = float(fed.num_clients) * (fed.records_per_client or 0)
        refuse_oversized(cfg, {("federated.num_clients", "lists of rows"): rows * (2 * _NUMBER)})


def refuse_run(cfg: Config, *, num_parameters: int, slots: int, clients: int) -> None:
    """Refuse a run that does not fit: its parameters, messages kept one by one, clients' own states and history.

    Args:
      cfg: of the group of jobs.
      num_parameters: numbers that are trained.
      slots: of a cohort.
      clients: of the federation; 0 if central.

    Raises:
      ConfigError: an estimate above what the machine has; it names the field of the largest part.
    """
    fed, model = cfg.federated, float(num_parameters) * _NUMBER
    parts = {(_of_the_model(cfg), "parameters"): model * _COPIES}
    parts["optimizer.num_steps", "history"] = float(cfg.optimizer.num_steps) * _STEP
    if cfg.privacy.noise == "correlated":
        parts["privacy.bands", "noise that is kept"] = float(cfg.privacy.bands or 1) * model
    if clients and (fed.aggregation != "plain" or fed.robust != "none"):
        parts["federated.clients_per_round", "messages"] = float(slots) * model
    if clients and (fed.algorithm in ("scaffold", "personalized") or fed.compression.error_feedback):
        parts["federated.num_clients", "states of clients"] = float(clients) * model
    if cfg.model.name == "pretrained" and cfg.model.task == "synthetic":
        texts = float(cfg.synthesis.num_texts) * (cfg.synthesis.num_tokens + 64) * _NUMBER
        parts["synthesis.num_texts", "texts"] = texts
    refuse_oversized(cfg, parts)


def refuse_oversized(cfg: Config, parts: Mapping[tuple[str, str], float]) -> None:
    """Refuse what is more than the machine has.

    Args:
      cfg: whose fields are named.
      parts: (field, what it makes) → bytes.

    Raises:
      ConfigError: it names the field of the largest part.
    """
    needed, there = sum(parts.values()), machine_bytes()
    if needed <= there:
        return
    field, what = max(parts, key=lambda part: parts[part])
    raise ConfigError(
        f"{field}={value_of(cfg, field)} makes {what} of about {_gib(parts[field, what])}, but this machine "
        f"has {_gib(there)}; lower it."
    )


def _of_the_model(cfg: Config) -> str:
    model = cfg.model
    if model.name == "text":
        sizes = {"hidden": max(model.hidden, default=0), "embedding": model.embedding, "context": model.context}
        return f"model.{max(sizes, key=lambda name: sizes[name])}"
    if model.name == "pretrained":
        return "tuning.rank" if cfg.tuning.name in ("lora", "dora") else "tuning.name"
    return "model.hidden" if model.name == "mlp" else "model.name"


def _gib(size: float) -> str:
    return f"{size / 2**30:,.0f} GiB" if size >= 2**33 else f"{size / 2**30:.2g} GiB"
