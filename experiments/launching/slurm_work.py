"""What a task of SLURM is asked for, and what it runs."""

import json
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from dpjax.keeping import write_whole
from dpjax.results.sealing import SealedError, is_of_keys, sealed
from experiments.error_words import explain, is_disk_full
from experiments.launching.worker import work
from experiments.withheld import UNTOLD


class SlurmOptions(NamedTuple):
    """How a sweep uses SLURM.

    Attributes:
      partition: where tasks run; None: SLURM's default, and so for ``account``, ``qos`` and ``constraint``.
      account: that pays.
      qos: quality of service.
      constraint: features that a node must have.
      timeout_min: minutes that a task may run at a time; one that reaches them is requeued and goes on from its states.
      cpus_per_task: CPUs of a task.
      gpus_per_task: GPUs of a task.
      mem_gb: GiB of memory of a task; None: SLURM's default.
      max_parallel: tasks at once, for which groups are cut.
      points_per_task: most points in a task; None: as few tasks as ``max_parallel`` can use.
      retries: times that jobs are submitted again whose task was lost and not requeued.
      max_num_timeout: times that a task is requeued which reached its minutes.
      signal_delay_s: seconds before its end at which a task is told of it.
      setup: lines of shell before a task starts, as ``module load cuda``.
      additional_parameters: of sbatch, by name.
    """

    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None
    timeout_min: int = 240
    cpus_per_task: int = 1
    gpus_per_task: int = 0
    mem_gb: float | None = None
    max_parallel: int = 8
    points_per_task: int | None = None
    retries: int = 3
    max_num_timeout: int = 50
    signal_delay_s: int = 120
    setup: Sequence[str] = ()
    additional_parameters: dict[str, Any] = {}  # noqa: RUF012  a NamedTuple's default, which nobody changes


class Work:
    """What a task of an array runs: a share of jobs, whose ends it writes where the driver looks.

    Args:
      site: pickled.
      jobs: pickled.
      inbox: folder of what it says.
      seal: whether that is encrypted, as an error may quote a row.
    """

    def __init__(self, site: bytes, jobs: bytes, inbox: Path, seal: bool = False) -> None:
        self._site, self._jobs, self._inbox, self._seal = site, jobs, inbox, seal

    def __call__(self) -> None:
        """Run it."""
        for ended in work(self._site, self._jobs):
            full = ended.error is not None and is_disk_full(ended.error)
            error = None if ended.error is None else explain(ended.error)
            # No pickles here: a folder of results is a thing that people send to each other.
            told = {"number": ended.number, "error": error, "disk_full": full, "said": ended.said}
            content = _sealed(told, ended.error) if self._seal else json.dumps(told).encode()
            write_whole(self._inbox / f"{time.time_ns()}-{os.getpid()}.json", content)

    def checkpoint(self) -> Any:
        """What submitit requeues: the same jobs, which go on from the states that were kept of them."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)


def _sealed(told: dict[str, Any], error: Exception | None) -> bytes:
    """What is told of a job, encrypted; without a key on this node, no more than that it failed."""
    try:
        return sealed(json.dumps(told).encode())
    except SealedError:
        instead = None if error is None else told["error"] if is_of_keys(error) else UNTOLD
        return json.dumps(told | {"error": instead, "said": []}).encode()
