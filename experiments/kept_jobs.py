"""Lanes of a group of jobs as one program, kept on their way or not: where each is kept, and whose it is."""

import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Protocol

import jax

from dpjax.checkpoints import Checkpoints
from dpjax.kept_lanes import KeptProgram, compile_kept_lanes, run_kept_lanes
from dpjax.results.result_files import STATES_FOLDER
from dpjax.sweeps import Lane, Program, compile_lanes, run_lanes
from dpjax.types import HParams
from experiments import identity
from experiments.config import Config
from experiments.inputs import digest_of
from experiments.setup import Setup
from experiments.task import Job


class Meter(Protocol):
    """Writes down what lanes spend; see ``experiments.governed``."""

    def keys(self, lanes: Sequence[tuple[Job, int]]) -> list[jax.Array]: ...

    def id_of(self, job: Job, seed: int) -> str: ...

    def spends(self, lanes: Sequence[tuple[Job, int]], index: Sequence[int], step: int | None = None) -> None: ...


def compile_group(cfg: Config, setup: Setup, num_lanes: int) -> Program | KeptProgram:
    """The program of a group of jobs.

    Args:
      cfg: of the group.
      setup: of the group.
      num_lanes: jobs times seeds.
    """
    options = {"num_lanes": num_lanes, "lanes": cfg.lanes}
    if cfg.checkpoint_seconds is None:
        return compile_lanes(setup.train, setup.arrays, **options)
    return compile_kept_lanes(setup.stretches, setup.arrays, **options)


def run_group_lanes(
    program: Program | KeptProgram,
    lanes: Sequence[tuple[Job, int, HParams]],
    files: dict[str, str],
    meter: Meter | None = None,
) -> Iterator[Lane]:
    """Run lanes; those of a ``KeptProgram`` go on from what was kept of them.

    Args:
      program: from ``compile_group``.
      lanes: job, seed and hyper-parameters of each.
      files: what ``inputs`` found.
      meter: writes down what they spend, and has their keys; None: nobody asks.

    Raises:
      CheckpointError: what was kept is of another run.
      LedgerError: what they spend can't be written down; they end before they spend it.
    """
    hparams = [lane[2] for lane in lanes]
    seeds = [lane[1] for lane in lanes] if meter is None else meter.keys([lane[:2] for lane in lanes])
    spends = None if meter is None else partial(meter.spends, [lane[:2] for lane in lanes])
    if isinstance(program, Program):
        yield from run_lanes(program, hparams, seeds, workers=_workers(program.width.lanes), begun=spends)
        return
    kept = [
        _states(
            job,
            seed,
            identity_of(job, h, files) | ({} if meter is None else {"reservation": meter.id_of(job, seed)}),
        )
        for job, seed, h in lanes
    ]
    seconds = lanes[0][0].cfg.checkpoint_seconds or 60.0
    yield from run_kept_lanes(
        program,
        hparams,
        seeds,
        kept,
        seconds=seconds,
        workers=_workers(program.width.lanes),
        tell=lambda steps: _tell(steps, program.run.num_steps),
        begun=spends,
    )


def _states(job: Job, seed: int, identity: dict[str, str]) -> Checkpoints:
    folder = job.folder / STATES_FOLDER / f"seed-{seed}"
    if not job.cfg.governance.seal:
        return Checkpoints(folder, identity)
    from dpjax.results.sealing import held_keys
    from dpjax.sealed_checkpoints import SealedCheckpoints

    return SealedCheckpoints(folder, identity, held_keys())


def _tell(steps: Sequence[int], num_steps: int) -> None:
    """Say where lanes go on."""
    if gone := [step for step in steps if step]:
        runs = "1 run goes" if len(gone) == 1 else f"{len(gone)} of {len(steps)} runs go"
        where = f"step {gone[0]:,}" if len(set(gone)) == 1 else f"steps {min(gone):,} to {max(gone):,}"
        print(f"note: {runs} on from what was kept, at {where} of {num_steps:,}.", file=sys.stderr)


def forget_lanes(folder: Path) -> None:
    """Take away what was kept of a job whose result is on disk; not what another process keeps of the same job.

    Args:
      folder: of the job.
    """
    for kept in (folder / STATES_FOLDER).glob("seed-*/"):
        Checkpoints(kept, {}).clear()
    if not list((folder / STATES_FOLDER).glob("seed-*/")):
        shutil.rmtree(folder / STATES_FOLDER, ignore_errors=True)


def identity_of(job: Job, hparams: HParams, files: dict[str, str]) -> dict[str, str]:
    """What a state that was kept must share with the run that goes on from it.

    Args:
      job: of the run.
      hparams: of the run.
      files: what ``inputs`` found.
    """
    return {
        "config": identity.point_hash(job.cfg),
        **{f"content of {name}": hashed for name, hashed in files.items()},
        "code or data": digest_of(files),
        "noise or rate": ", ".join(f"{float(value):.9g}" for value in jax.tree.leaves(hparams)),
        "jax": jax.__version__,
        "device": f"{jax.device_count()} × {jax.devices()[0].device_kind}",
    }


def _workers(width: int) -> int:
    """Lanes under way at once: a small program leaves most of a CPU's cores idle."""
    one_by_one = width == 1 and jax.default_backend() == "cpu"
    return min(os.cpu_count() or 1, 8) if one_by_one else 1
