"""A results row: what ran, what came out, and what it cost."""

import datetime
import functools
import json
import math
import platform
import resource
import subprocess
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np

import dpjax
from dpjax import accounting
from dpjax._version import SAME_NUMBERS_SINCE
from dpjax.datasets import Dataset
from dpjax.ranges import MOST_EPSILON
from dpjax.results.claims import delta_sentence, learnt_sentence, owners_sentence, rounded_up
from dpjax.results.mechanisms import columns_of
from dpjax.scores import ERRORS, NAMES, number_scores, scores
from dpjax.sweeps import Lane
from experiments import identity
from experiments.config import CompressionConf, Config, ConfigError, CorruptionConf, FederatedConf
from experiments.naming import named
from experiments.own_data import name_of
from experiments.planting import changes, describe
from experiments.privacy import as_run, clip_norm, describe_noise
from experiments.setup import Setup
from experiments.task import Job


def outputs(lane: Lane) -> dict[str, Any]:
    """The columns that a lane's output fills."""
    steps, evaluations, counts, traces, _, clients, *_ = lane.output
    losses = [float(split["loss"][-1]) for split in evaluations.values()]
    diverged = not (bool(counts["finite"]) and all(map(math.isfinite, losses)))

    def last(split: str, name: str) -> float | None:
        """One rule for every run that diverged, whatever its logits still were: right about nothing, and no loss."""
        if split not in evaluations or name not in evaluations[split]:
            return None
        return float(evaluations[split][name][-1]) if not diverged else 0.0 if name == "accuracy" else math.nan

    return {
        "diverged": diverged,
        **_fairness(None if clients is None else np.zeros_like(clients) if diverged else clients),
        **{column: None if (x := counts.get(name)) is None else float(x) for name, column in _REPORTED.items()},
        "overflow_count": int(counts["overflowed"]),
        "rejected_count": int(counts["num_rejected"]),
        "final_clip_norm": float(counts["clip_norm"]),
        **{f"{split}_{name}": last(split, name) for split in ("test", "train", "validation") for name in _FINAL},
        **{name: None if np.isnan(values).all() else values.tolist() for name, values in traces.items()},
        "eval_steps": [int(x) for x in steps],
        "eval_test_accuracy": [float(x) for x in evaluations["test"].get("accuracy", ())] or None,
        "eval_test_loss": [float(x) for x in evaluations["test"]["loss"]],
        "train_loss_curve": [float(x) for x in evaluations["train"]["loss"]],
        "wall_seconds": lane.wall_seconds,
        "peak_memory_mib": peak_memory_mib(),
        "timestamp": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


def test_scores(lane: Lane, dataset: Dataset, diverged: bool) -> dict[str, float | None]:
    """The columns that the predictions for the test rows fill.

    Args:
      lane: that ended.
      dataset: that it was trained and is tested on.
      diverged: no score of such a run is a result.
    """
    logits, labels = lane.output.test_logits, dataset.test_labels
    if (target := dataset.target) is not None:
        errors = dict.fromkeys(ERRORS)
        if logits is not None and not diverged:
            errors = number_scores(target.unscaled(np.asarray(logits)[:, 0]), target.unscaled(labels))
        return {f"test_{name}": value for name, value in errors.items()}
    found = dict.fromkeys(NAMES) if logits is None or diverged else scores(np.asarray(logits), labels)
    commonest = None if logits is None else float(np.mean(labels == dataset.commonest))
    return {f"test_{name}": value for name, value in found.items()} | {"test_majority": commonest}


def pace(cfg: Config, setup: Setup, wall_seconds: float) -> dict[str, Any]:
    """How fast a lane went through its data."""
    steps, sampler = cfg.optimizer.num_steps, setup.sampler
    tokens = steps * sampler.expected_cohort_size * setup.problem.tokens_per_row
    central = not cfg.is_federated
    return {
        "epoch_seconds": wall_seconds / (steps * sampler.sampling_rate),
        # A client passes over its texts as often as its local steps make it: no plain count.
        "tokens_per_second": tokens / wall_seconds if tokens and central else None,
    }


def stated(cfg: Config, spent: Mapping[str, float | None], ample: Callable[[], float | None]) -> float:
    """The ε of a job whose noise was given, by the accountant that it names.

    Args:
      cfg: of the job.
      spent: accountant → ε; infinite where the cohorts' capacity was not made for it.
      ample: ε if the cohorts had room for everybody.

    Raises:
      ConfigError: no accountant knows the mechanism, or its cohorts were not made for an ε as large.
    """
    known = [value for value in (spent[cfg.privacy.accountant], *spent.values()) if value is not None]
    epsilon = next((value for value in known if math.isfinite(value)), known[0] if known else None)
    noise = cfg.privacy.noise_multiplier
    if epsilon is None:
        raise ConfigError(f"privacy.noise_multiplier={noise:g} has no ε with this sampling; calibrate to an ε instead.")
    supported = identity.capacity_epsilon(cfg.privacy)
    if epsilon > supported:
        beyond = ample()
        if beyond is None or beyond > MOST_EPSILON:
            raise ConfigError(
                f"privacy.noise_multiplier={noise:g} has an ε beyond what accountants resolve, which is "
                f"{MOST_EPSILON:g}; give more noise."
            )
        raise ConfigError(
            f"privacy.noise_multiplier={noise:g} has a larger ε than the capacity of the cohorts supports, which is "
            f"{supported:g}; set privacy.epsilon beside it to the ε that you expect, about "
            f"{beyond:.3g}, or above."
        )
    return float(rounded_up(epsilon))


_FINAL = ("accuracy", "r2", "loss")

_REPORTED = {
    "dropped": "dropped_count",
    "aborted": "aborted_count",
    "wrapped": "wrapped_count",
    "aggregation_error": "aggregation_error",
    "uplink_bytes": "uplink_bytes",
    "encrypt_seconds": "encrypt_seconds",
    "add_seconds": "add_seconds",
    "decrypt_seconds": "decrypt_seconds",
}
"""What an aggregation reports → its column."""


def _fairness(clients: np.ndarray | None) -> dict[str, float | None]:
    """How evenly the model serves the clients, each on its own rows."""
    if clients is None:
        return {"client_accuracy_mean": None, "client_accuracy_p10": None, "client_accuracy_std": None}
    accuracies = clients[np.isfinite(clients)]
    return {
        "client_accuracy_mean": float(np.mean(accuracies)),
        "client_accuracy_p10": float(np.quantile(accuracies, 0.1)),
        "client_accuracy_std": float(np.std(accuracies)),
    }


def common(
    job: Job, noise_multiplier: float, epsilon_per_report: float | None, setup: Setup, files: Mapping[str, str]
) -> dict[str, Any]:
    """The columns that all seeds of a job share.

    Args:
      job: that ran.
      noise_multiplier, epsilon_per_report: its noise.
      setup: of its group.
      files: what ``experiments.inputs.inputs`` found before the group was built.
    """
    cfg = job.cfg
    ran = as_run(setup.mechanism, cfg.federated, setup.sampler, noise_multiplier, epsilon_per_report)
    private = cfg.privacy.is_private
    federated = cfg.is_federated
    spent = {name: _epsilon(ran, cfg.privacy.delta, name) if private else math.inf for name in ("pld", "rdp")}
    target = cfg.privacy.epsilon
    if private and cfg.privacy.noise_multiplier is not None:
        target = stated(cfg, spent, lambda: _epsilon(replace(ran, overflow_probability=0.0), cfg.privacy.delta, "rdp"))
    return {
        "experiment": cfg.experiment,
        "method": cfg.method or None,
        "config_hash": identity.point_hash(cfg),
        "overrides": job.overrides,
        "dataset": name_of(cfg.data) + changes(cfg.data),
        "canaries": describe(cfg.data),
        "pseudonymised": True if cfg.data.pseudonymise else None,
        **setup.problem.facts,
        **named(cfg, files, setup.rule, setup.read, setup.problem.facts["model"]),
        "trained_parameters": setup.num_parameters,
        **columns_of(ran),
        "noise": describe_noise(cfg.privacy, ran),
        "records_per_unit": cfg.privacy.records_per_unit,
        **owners(cfg, setup),
        "split": setup.problem.dataset.split or None,
        "learnt": setup.problem.dataset.learnt or None,
        "released": setup.problem.dataset.released and setup.problem.dataset.released.words,
        "num_units": setup.num_units,
        "capacity": setup.protected.capacity,
        "epsilon": target,
        "delta": cfg.privacy.delta,
        "accountant": cfg.privacy.accountant,
        "epsilon_pld": spent["pld"],
        "epsilon_rdp": spent["rdp"],
        "tuning_accounted": False,
        "ledger": None,  # of a run that has a reservation its ``Metered`` says it
        "ledger_run": None,
        "noise_cohort_size": cfg.federated.noise_cohort if federated and private else None,
        "clip_norm": clip_norm(cfg.privacy, cfg.federated),
        "clients_per_round": cfg.federated.clients_per_round if federated else None,
        "num_clients": setup.sampler.population if federated else None,
        "algorithm": algorithm(cfg, setup.read is not None) if federated else None,
        "aggregation": cfg.federated.aggregation if federated else None,
        "robust": _robust(cfg.federated) if federated else None,
        "corruption": _corruption(cfg.federated.corruption) if federated else None,
        "compression": _compression(cfg.federated.compression) if federated else None,
        "partition": _partition(cfg.federated)
        if federated
        else None
        if cfg.privacy.records_per_unit is None
        else "natural",
        "device": jax.devices()[0].device_kind,
        "git_revision": git_revision(),
        "dpjax_version": dpjax.__version__,
        "jax_version": jax.__version__,
        "python_version": platform.python_version(),
        "code": SAME_NUMBERS_SINCE,
        "inputs": json.dumps(files, ensure_ascii=False),
        "config": identity.written_config(cfg),
    }


def owners(cfg: Config, setup: Setup) -> dict[str, int | None]:
    """Whose the training rows are, where ε is not for an owner of rows.

    Args:
      cfg: of a job.
      setup: of its group.
    """
    known = setup.problem.dataset.train_units
    natural = cfg.is_federated and cfg.federated.partition == "natural"
    is_theirs = cfg.privacy.records_per_unit is not None or (natural and setup.mechanism.unit != "example")
    if known is None or is_theirs:
        return {"owners": None, "rows_per_owner": None}
    counts = np.unique(known, return_counts=True)[1]
    return {"owners": len(counts), "rows_per_owner": int(counts.max())}


def warn_of_what_is_not_covered(jobs: Sequence[Job], setup: Setup) -> None:
    """Say once for jobs of one group what their ε does not cover: whose the rows are, and what was read off them."""
    private = [job.cfg for job in jobs if job.cfg.privacy.is_private]
    if private:
        cfg, unit = private[0], setup.mechanism.unit
        row = {"unit": unit, "clients_per_round": cfg.federated.clients_per_round} | owners(cfg, setup)
        sentence = owners_sentence(row)
        if sentence:
            warnings.warn(f"data={name_of(cfg.data)}: {sentence}", stacklevel=2)
        loose = delta_sentence(cfg.privacy.delta, setup.num_units, unit)
        if loose:
            warnings.warn(f"privacy.delta={cfg.privacy.delta:g}: {loose}", stacklevel=2)
        learnt = learnt_sentence({"learnt": setup.problem.dataset.learnt, "epsilon": cfg.privacy.epsilon})
        if learnt:
            of_label = "data.classes" if setup.problem.dataset.target is None else "data.target_range"
            fix = (
                f"say in data.columns and {of_label} what you know without them, see `dpjax data inspect`, or count a "
                "column with noise, data.release=[COLUMN]"
            )
            warnings.warn(f"data={name_of(cfg.data)}: {learnt}; {fix}", stacklevel=2)


def tell_of_release(cfgs: Sequence[Config], dataset: Dataset) -> None:
    """Say once for jobs that have their noise what their inputs were made with that is released.

    Args:
      cfgs: of jobs that will run.
      dataset: that they train on.
    """
    if dataset.released is not None:
        paid = ", and in ε" if any(cfg.privacy.is_private for cfg in cfgs) else ""
        warnings.warn(f"data={dataset.name}: released with noise{paid}: {dataset.released.words}", stacklevel=2)


def _partition(fed: FederatedConf) -> str:
    name = fed.partition
    number = {"shards": f"({fed.shards_per_client})"}
    number |= dict.fromkeys(("dirichlet", "quantity", "sampled"), f"({fed.alpha:g})")
    return name + number.get(name, "")


def algorithm(cfg: Config, own: bool = False) -> str:
    """Name of what clients and server do together; ``own``: the server's optimizer is a plugin's."""
    name = cfg.federated.algorithm
    server = Path(cfg.plugin).stem if own else cfg.optimizer.name
    if name == "fedprox":
        name = "fedprox(adaptive)" if cfg.federated.adaptive_proximal else f"fedprox({cfg.federated.proximal:g})"
    if server == "sgd" and not own:
        return name
    # Reddi et al. name a FedAvg whose server adapts after the server.
    return f"fed{server}" if name == "fedavg" and not own else f"{name}+{server}"


def _robust(fed: FederatedConf) -> str:
    name, share = fed.robust, fed.robust_fraction
    return f"{name}({share:g})" if name in ("trimmed_mean", "krum", "multi_krum") else name


def _corruption(made: CorruptionConf) -> str:
    return "none" if made.name == "none" else f"{made.name}({made.fraction:g})"


def _compression(made: CompressionConf) -> str:
    if made.name == "none":
        return "none"
    fed_back = " fed back" if made.error_feedback else ""
    return f"{made.name}({made.bits if made.name == 'quantized' else made.fraction:g}{fed_back})"


@functools.lru_cache(maxsize=1024)
def _epsilon(ran: accounting.Mechanism, delta: float, accountant: str) -> float | None:
    try:
        return accounting.epsilon(ran, delta, accountant)
    except (ValueError, OverflowError):  # it has no event for the sampler, or an ε beyond what it can count
        return None


def peak_memory_mib() -> float:
    """Peak memory in MiB: of the device where it says, else of this process."""
    stats = jax.devices()[0].memory_stats()
    if stats and "peak_bytes_in_use" in stats:
        return stats["peak_bytes_in_use"] / 2**20
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


@functools.cache
def git_revision() -> str | None:
    """Commit of this checkout, with ``-dirty`` if files differ from it; None outside of one."""
    here = Path(__file__).parent
    try:
        ask = functools.partial(subprocess.run, cwd=here, capture_output=True, text=True, timeout=10)
        commit = ask(["git", "rev-parse", "--short=12", "HEAD"])
        if commit.returncode:
            return None
        changed = ask(["git", "status", "--porcelain", "--untracked-files=no"]).stdout.strip()
    except (OSError, subprocess.TimeoutExpired):
        return None
    return commit.stdout.strip() + ("-dirty" if changed else "")
