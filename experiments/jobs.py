"""A group of jobs that share one compilation: calibrate, run as lanes, make rows."""

import datetime
import functools
import json
import math
import platform
import resource
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
from omegaconf import DictConfig, OmegaConf

import dpjax
from dpjax import accounting
from dpjax.results import ResultsError, write_job_result
from dpjax.sweeps import Lane, compile_lanes, run_lanes
from dpjax.types import HParams
from experiments import config
from experiments.setup import Setup, build
from experiments.task import Job, Outcome, Tell


def run_group(jobs: Sequence[Job], tell: Tell = lambda stage, done, total: None) -> Iterator[Outcome]:
    """Run jobs of one signature with one compilation; each job's result is on disk before it is given back.

    Args:
      jobs: validated jobs whose ``config.signature`` is equal.
      tell: hears what is being done.

    Raises:
      ConfigError, ValueError: what fails all of them alike.
    """
    first = jobs[0].cfg
    setup = build(first)
    multipliers = _calibrate(jobs, setup, tell)
    seeds = [job.cfg.seed + i for job in jobs for i in range(job.cfg.num_seeds)]
    owners = [j for j, job in enumerate(jobs) for _ in range(job.cfg.num_seeds)]
    hparams = [_hparams(jobs[j].cfg, multipliers[j]) for j in owners]
    tell("compiling", 0, 1)
    program = compile_lanes(setup.train, setup.arrays, num_lanes=len(seeds), lanes=first.lanes)
    share = program.compile_seconds / len(seeds)
    finished: dict[int, dict[int, dict[str, Any]]] = {j: {} for j in range(len(jobs))}
    for done, lane in enumerate(run_lanes(program, hparams, seeds), start=1):
        j = owners[lane.index]
        finished[j][seeds[lane.index]] = _outputs(lane)
        tell("training", done, len(seeds))
        if len(finished[j]) == jobs[j].cfg.num_seeds:
            yield _finish(jobs[j], setup, multipliers[j], finished.pop(j), share)


def _finish(
    job: Job, setup: Setup, multiplier: float, outputs: dict[int, dict[str, Any]], compile_share: float
) -> Outcome:
    try:
        common = _common(job, setup, multiplier)
        rows = [{**common, "seed": s, "compile_seconds": compile_share, **outputs[s]} for s in sorted(outputs)]
        job.folder.mkdir(parents=True, exist_ok=True)
        write_job_result(job.folder, rows, config.digest(job.cfg))
    except (ValueError, ResultsError, OSError) as error:
        return Outcome(job, [], error)
    return Outcome(job, rows)


def _calibrate(jobs: Sequence[Job], setup: Setup, tell: Tell) -> list[float]:
    """Noise multiplier of each job, a grid at a time; the grid is cached on disk."""
    wanted: dict[tuple[float, str], list[float]] = {}
    for job in jobs:
        wanted.setdefault((job.cfg.privacy.delta, job.cfg.privacy.accountant), []).append(job.cfg.privacy.epsilon)
    found = {}
    for (delta, accountant), epsilons in wanted.items():
        unique = sorted(set(epsilons))
        multipliers = accounting.calibrate_noise_grid(
            mechanism(jobs[0].cfg, setup, 1.0),
            epsilons=unique,
            delta=delta,
            accountant=accountant,
            progress=lambda done, total, epsilon: tell(f"calibrating noise for ε={epsilon:g}", done, total),
        )
        found.update({(delta, accountant, e): m for e, m in zip(unique, multipliers, strict=True)})
    return [found[job.cfg.privacy.delta, job.cfg.privacy.accountant, job.cfg.privacy.epsilon] for job in jobs]


def mechanism(cfg: DictConfig, setup: Setup, noise_multiplier: float) -> accounting.Mechanism:
    """The mechanism that runs, read off the sampler that runs."""
    return accounting.Mechanism.from_sampler(
        setup.sampler,
        unit=setup.unit,
        adjacency=cfg.privacy.adjacency,
        noise_multiplier=noise_multiplier,
        num_steps=cfg.optimizer.num_steps,
    )


def _hparams(cfg: DictConfig, multiplier: float) -> HParams:
    return HParams(
        learning_rate=cfg.optimizer.learning_rate,
        clip_norm=_clip_norm(cfg),
        noise_multiplier=multiplier,
        momentum=cfg.optimizer.momentum,
        weight_decay=cfg.optimizer.weight_decay,
        client_learning_rate=cfg.federated.client_learning_rate,
    )


def _clip_norm(cfg: DictConfig) -> float:
    return math.inf if math.isinf(cfg.privacy.epsilon) else cfg.privacy.clip_norm


def _outputs(lane: Lane) -> dict[str, Any]:
    """The columns that a lane's output fills."""
    steps, evaluations, counts = lane.output
    return {
        "overflow_count": int(counts["overflowed"]),
        "rejected_count": int(counts["num_rejected"]),
        "test_accuracy": float(evaluations["test"]["accuracy"][-1]),
        "train_accuracy": float(evaluations["train"]["accuracy"][-1]),
        "test_loss": float(evaluations["test"]["loss"][-1]),
        "train_loss": float(evaluations["train"]["loss"][-1]),
        "eval_steps": [int(x) for x in steps],
        "eval_test_accuracy": [float(x) for x in evaluations["test"]["accuracy"]],
        "eval_test_loss": [float(x) for x in evaluations["test"]["loss"]],
        "train_loss_curve": [float(x) for x in evaluations["train"]["loss"]],
        "wall_seconds": lane.wall_seconds,
        "peak_memory_mib": peak_memory_mib(),
        "timestamp": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


def _common(job: Job, setup: Setup, multiplier: float) -> dict[str, Any]:
    """The columns that all seeds of a job share."""
    cfg, ran = job.cfg, mechanism(job.cfg, setup, multiplier)
    federated = cfg.federated.clients_per_round is not None
    content = OmegaConf.to_container(cfg, resolve=True)
    return {
        "experiment": cfg.experiment,
        "config_hash": config.point_hash(cfg),
        "overrides": job.overrides,
        "dataset": cfg.data.name,
        "model": cfg.model.name,
        "unit": setup.unit,
        "adjacency": ran.adjacency,
        "sampling": ran.sampling,
        "sampling_rate": ran.sampling_rate,
        "num_steps": ran.num_steps,
        "population": setup.sampler.population,
        "capacity": setup.sampler.capacity,
        "epsilon": cfg.privacy.epsilon,
        "delta": cfg.privacy.delta,
        "accountant": cfg.privacy.accountant,
        "epsilon_pld": _epsilon(ran, cfg.privacy.delta, "pld"),
        "epsilon_rdp": _epsilon(ran, cfg.privacy.delta, "rdp"),
        "tuning_accounted": False,
        "noise_multiplier": multiplier,
        "clip_norm": _clip_norm(cfg),
        "learning_rate": cfg.optimizer.learning_rate,
        "clients_per_round": cfg.federated.clients_per_round if federated else None,
        "num_clients": cfg.federated.num_clients if federated else None,
        "device": jax.devices()[0].device_kind,
        "git_revision": git_revision(),
        "dpjax_version": dpjax.__version__,
        "jax_version": jax.__version__,
        "python_version": platform.python_version(),
        "config": json.dumps(content).replace("Infinity", '"inf"'),
    }


@functools.lru_cache(maxsize=1024)
def _epsilon(ran: accounting.Mechanism, delta: float, accountant: str) -> float | None:
    try:
        return accounting.epsilon(ran, delta, accountant)
    except ValueError:  # this accountant has no event for the sampler; the one that calibrated has
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
