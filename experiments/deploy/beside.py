"""``dpjax deploy compare``: the simulation of a rehearsal's plan beside what the processes made of it."""

import dataclasses
import json
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
from safetensors.numpy import load_file

from dpjax.models.layer_stacks import flat_paths
from dpjax.results import claim, read_job_result, write_atomically
from experiments.config import ConfigError
from experiments.deploy.plan import read_plan
from experiments.jobs import calibrated, hparams_of
from experiments.rows import common, outputs
from experiments.setup import build
from experiments.task import Job


def compare(path: Path, deployed: Path, out: Path | None = None) -> None:
    """Print both sides.

    Args:
      path: of the plan.
      deployed: folder of its run.
      out: a file for the same as JSON; None: nowhere.

    Raises:
      ConfigError: no rehearsal, or no finished run in the folder.
    """
    plan = read_plan(path)
    if not plan.rehearsal:
        raise ConfigError(f"plan={path} is no rehearsal: its randomness is nobody's to repeat.")
    found = read_job_result(deployed)
    if found is None:
        raise ConfigError(f"{deployed} holds no finished run; give the --out of `dpjax deploy server`.")
    theirs = found[0][0]
    mine, params = simulate(plan.cfg)
    model = load_file(deployed / "model" / "trained.safetensors")
    worst = max(float(np.max(np.abs(np.asarray(params[name]) - model[name]))) for name in model)
    print(f"{'':28}{'simulated':>16}{'deployed':>16}")
    for name in ("test_accuracy", "test_loss", "test_r2"):
        if theirs.get(name) is not None:
            print(f"{name:28}{mine[name]:16.4f}{theirs[name]:16.4f}")
    print(f"{'bytes of a client a round':28}{mine['uplink_bytes']:16,.0f}{theirs['uplink_bytes']:16,.0f}")
    print(f"{'seconds':28}{mine['wall_seconds']:16.1f}{theirs['wall_seconds']:16.1f}")
    print(f"largest difference of a parameter: {worst:.2g}")
    same = claim(mine) == claim(theirs)
    print(f"ε, {'the same sentence' if same else 'DIFFERENT sentences'}: {claim(theirs)}")
    if not same:
        print(f"   simulated: {claim(mine)}")
    if out is not None:
        sides = {
            side: {name: row.get(name) for name in _COMPARED} | {"claim": claim(row)}
            for side, row in (("simulated", mine), ("deployed", theirs))
        }
        write_atomically(out, json.dumps(sides | {"largest_difference": worst}).encode())


_COMPARED = ("test_accuracy", "test_loss", "uplink_bytes", "wall_seconds", "epsilon_pld", "epsilon_rdp")


def simulate(cfg: Any) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """A config's run in this process: its row, and its parameters by path.

    Args:
      cfg: of one seed.
    """
    cfg = dataclasses.replace(cfg, save_model=True)
    setup = build(cfg)
    job = Job(cfg, Path(), "")
    point = calibrated(job, setup, lambda stage, done, total: None)
    run = jax.jit(setup.train)
    key = jax.random.key(cfg.seed)
    jax.block_until_ready(run(setup.arrays, hparams_of(point), key))
    began = time.monotonic()
    report = jax.block_until_ready(run(setup.arrays, hparams_of(point), key))
    row = common(job, point.noise_multiplier, point.epsilon_per_report, setup, {})
    row |= outputs(_Lane(0, report, time.monotonic() - began))  # pyright: ignore[reportArgumentType]
    return row, {path: np.asarray(leaf) for path, leaf in flat_paths(report.trained).items()}


@dataclasses.dataclass(frozen=True)
class _Lane:
    index: int
    output: Any
    wall_seconds: float
