"""Tasks that a sweep has in SLURM's queue: how they are submitted, remembered, asked for and heard."""

import enum
import errno
import json
import os
import pickle
import re
import shutil
import subprocess
import time
import uuid
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from dpjax.keeping import write_whole
from dpjax.results import read_job_result
from dpjax.results.sealing import content_of
from experiments import identity
from experiments.config import ConfigError
from experiments.launching.secrets_here import kept_back
from experiments.launching.shares import Share
from experiments.launching.site import NodeError
from experiments.launching.slurm_work import SlurmOptions, Work
from experiments.launching.worker import Ended
from experiments.task import Job
from experiments.withheld import is_withheld

_ALIVE = {
    *("PENDING", "RUNNING", "COMPLETING", "CONFIGURING", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "RESIZING"),
    *("RESV_DEL_HOLD", "SIGNALING", "SPECIAL_EXIT", "STAGE_OUT", "STOPPED", "SUSPENDED"),
}
_PASSING = ("None", "Priority", "Resources", "BeginTime", "JobArrayTaskLimit", "Cleaning", "Prolog")
"""Why jobs wait that will run."""
_OWNERS_FOLDER, _OWNERS_FILE = 0o700, 0o600
_MOST_IN_AN_ARRAY = 500  # SLURM's own bound is 1001 unless a site has set another
_PATIENCE_SECONDS = 60
_CLOSING_SECONDS = 15


class State(enum.Enum):
    """Of a task, as far as the driver of a sweep need know it."""

    ALIVE = "waits or runs, or nobody can say"
    ENDED = "ended, whatever came of it"
    CANCELLED = "was cancelled by somebody"


def states(names: Sequence[str]) -> dict[str, State]:
    """What SLURM's queue says of tasks; needs no accounting.

    Args:
      names: as ``12_0``, or ``12`` of a job that is no array.
    """
    if not names:
        return {}
    jobs = ",".join(sorted({name.partition("_")[0] for name in names}))
    command = ["squeue", "--noheader", "--array", "--states=all", f"--jobs={jobs}", "--format=%i %T"]
    try:
        asked = subprocess.run(command, capture_output=True, text=True, timeout=_PATIENCE_SECONDS)
    except (OSError, subprocess.TimeoutExpired):
        return {}
    if asked.returncode and "Invalid job id" not in asked.stderr:
        return {}  # the controller is away: nobody knows, and tasks go on
    found = dict(line.split()[:2] for line in asked.stdout.splitlines() if len(line.split()) >= 2)
    return {name: _state(found.get(name)) for name in names}


def no_controller() -> str:
    """Why SLURM's commands have no controller to talk to; "" where they have one."""
    try:
        command = ["sinfo", "--noheader"]
        asked = subprocess.run(command, capture_output=True, text=True, timeout=_CLOSING_SECONDS)
    except (OSError, subprocess.TimeoutExpired) as error:
        return type(error).__name__
    said = [line.partition("error: ")[2] or line for line in asked.stderr.splitlines() if line.strip()]
    return (said[-1].strip().rstrip(".") if said else f"exit status {asked.returncode}") if asked.returncode else ""


def waits(names: Sequence[str]) -> list[str]:
    """Lines on jobs that wait for what may never come, by what SLURM says of them.

    Args:
      names: of tasks.
    """
    jobs = ",".join(sorted({name.partition("_")[0] for name in names}))
    command = ["squeue", "--noheader", "--states=PENDING", f"--jobs={jobs}", "--format=%A %r"]
    try:
        asked = subprocess.run(command, capture_output=True, text=True, timeout=_PATIENCE_SECONDS)
    except (OSError, subprocess.TimeoutExpired):
        return []
    told = sorted({line.strip() for line in asked.stdout.splitlines() if len(line.split()) >= 2})
    reasons = [(line.split()[0], line.split(maxsplit=1)[1]) for line in told]
    return [
        f"SLURM's job {job} waits: {why}; where that can't pass, scancel {job} and change hydra.launcher.partition, "
        "cpus_per_task, gpus_per_task, mem_gb or constraint."
        for job, why in reasons
        if why not in _PASSING
    ]


def _state(word: str | None) -> State:
    if word is None:  # SLURM forgets what ended some minutes ago
        return State.ENDED
    if word in _ALIVE:
        return State.ALIVE
    return State.CANCELLED if word.startswith("CANCELLED") else State.ENDED


def last_words(folder: Path, name: str) -> str:
    """The last line of a task's log that says something, cut to a line; "" if there is none.

    Args:
      folder: of the logs.
      name: of the task.
    """
    lines: list[str] = []
    for path in sorted(folder.glob(f"{name}_*_log.err")):
        with suppress(OSError):
            lines += path.read_text(encoding="utf-8", errors="replace").splitlines()
    telling = [
        line.strip() for line in lines if re.search(r"error|limit|kill|denied|No such|CANCEL", line, re.IGNORECASE)
    ]
    return re.sub(r"\s+", " ", telling[-1])[:200].rstrip(".") if telling else ""


def _settings(job: Job) -> str:
    return identity.digest(job.cfg, {})


class Journal:
    """The tasks that drivers of a sweep have submitted, on disk before SLURM can start one.

    Args:
      folder: of the sweep, for this alone.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._file = folder / "tasks.json"
        self._tasks: dict[str, dict[str, Any]] = {}
        self._heard: dict[str, set[str]] = {}
        with suppress(OSError, ValueError, AttributeError):
            self._tasks = dict(json.loads(self._file.read_text(encoding="utf-8")).items())

    def follow(self, groups: Sequence[Sequence[Job]]) -> tuple[dict[str, Share], list[list[Job]]]:
        """Tasks of an earlier driver that still have jobs of these, and the jobs that no task has.

        Args:
          groups: jobs that are to be run.

        Raises:
          ConfigError: a task trains one of the jobs with other settings.
        """
        jobs = {str(job.folder): job for group in groups for job in group}
        taken: set[str] = set()
        followed: dict[str, Share] = {}
        found = states(list(self._tasks))
        for name, task in self._tasks.items():
            if found.get(name, State.ALIVE) != State.ALIVE:
                continue
            listed = [jobs.get(each["folder"]) for each in task["jobs"]]
            here = {i for i, job in enumerate(listed) if job is not None}
            for i in here:
                job = listed[i]
                assert job is not None
                if task["jobs"][i]["settings"] != _settings(job):
                    raise ConfigError(
                        f"SLURM's task {name} still trains {job.overrides} with other settings; wait for it, or "
                        f"scancel {name} first."
                    )
            if here:
                followed[name] = Share([job or next(iter(jobs.values())) for job in listed], open=here)
                taken |= {str(listed[i].folder) for i in here}  # pyright: ignore[reportOptionalMemberAccess]
        rest = [[job for job in group if str(job.folder) not in taken] for group in groups]
        return followed, [group for group in rest if group]

    def submit(self, shares: Sequence[Share], site: bytes, options: SlurmOptions) -> dict[str, Share]:
        """Submit shares as tasks of arrays.

        Args:
          shares: each a task.
          site: pickled.
          options: of sbatch.

        Returns:
          The task's name → its share.

        Raises:
          ConfigError: SLURM refuses them.
        """
        submitted: dict[str, Share] = {}
        for begin in range(0, len(shares), _MOST_IN_AN_ARRAY):
            part = shares[begin : begin + _MOST_IN_AN_ARRAY]
            inboxes = [self.folder / f"said-{uuid.uuid4().hex}" for _ in part]
            names = self._sbatch(part, inboxes, site, options)
            for name, share, inbox in zip(names, part, inboxes, strict=True):
                listed = [{"folder": str(j.folder), "settings": _settings(j)} for j in share.jobs]
                self._tasks[name] = {"inbox": inbox.name, "jobs": listed}
                submitted[name] = share
            write_whole(self._file, json.dumps(self._tasks, indent=1).encode(), durable=True)
            for file in (each for each in self.folder.iterdir() if each.is_file() and not each.is_symlink()):
                with suppress(OSError):  # a task may have taken it away
                    file.chmod(_OWNERS_FILE)
        return submitted

    def _sbatch(
        self, shares: Sequence[Share], inboxes: Sequence[Path], site: bytes, options: SlurmOptions
    ) -> list[str]:
        import submitit

        self.folder.mkdir(parents=True, exist_ok=True)
        self.folder.chmod(_OWNERS_FOLDER)  # what lies in it is for its owner alone, whoever writes it
        for inbox in inboxes:
            inbox.mkdir(mode=_OWNERS_FOLDER)
        executor = submitit.SlurmExecutor(self.folder, max_num_timeout=options.max_num_timeout)
        given = {name: getattr(options, name) for name in ("partition", "account", "qos", "constraint")}
        if options.mem_gb is not None:
            given["mem"] = f"{round(1024 * options.mem_gb)}M"
        if options.gpus_per_task:
            given["gpus_per_node"] = options.gpus_per_task
        if options.setup:
            given["setup"] = list(options.setup)
        executor.update_parameters(
            job_name="dpjax",
            time=options.timeout_min,
            cpus_per_task=options.cpus_per_task,
            # Since SLURM 22.05 srun takes it from its own line only.
            srun_args=[f"--cpus-per-task={options.cpus_per_task}"],
            array_parallelism=options.max_parallel,
            signal_delay_s=options.signal_delay_s,
            additional_parameters={"requeue": True, **options.additional_parameters},
            **{name: value for name, value in given.items() if value is not None},
        )
        try:
            with kept_back(), executor.batch():
                jobs = [
                    executor.submit(Work(site, pickle.dumps(list(share.jobs)), inbox, is_withheld(share.jobs[0].cfg)))
                    for share, inbox in zip(shares, inboxes, strict=True)
                ]
        except Exception as error:
            said = re.sub(r"\s+", " ", str(error)).strip()
            told = re.findall(r"sbatch: error: ([^:]+?)(?= sbatch:|$)", said)
            raise ConfigError(
                f"SLURM takes no task of this sweep ({told[-1] if told else said}); see hydra.launcher.partition, "
                "account, cpus_per_task, gpus_per_task and mem_gb, and sinfo for what there is."
            ) from error
        return [str(job.job_id) for job in jobs]

    def said(self, name: str, share: Share) -> list[Ended]:
        """What a task has said since it was asked last.

        Args:
          name: of the task.
          share: its own.
        """
        heard = self._heard.setdefault(name, set())
        new: list[Ended] = []
        for path in sorted((self.folder / self._tasks[name]["inbox"]).glob("[!.]*.json")):
            if path.name not in heard:
                told = json.loads(content_of(path))
                heard.add(path.name)
                new.append(_ended(told, share))
        return new

    def close(self) -> None:
        """Take away what tasks have left, once they have ended; nothing while one of them still runs."""
        until = time.monotonic() + _CLOSING_SECONDS
        while State.ALIVE in states(list(self._tasks)).values():
            if time.monotonic() > until:
                return
            time.sleep(1)
        shutil.rmtree(self.folder, ignore_errors=True)


def _ended(told: dict[str, Any], share: Share) -> Ended:
    """What a task told of a job; rows are in the job's folder."""
    number, said = told["number"], tuple(told["said"])
    if told["disk_full"]:
        return Ended(number, [], OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(share.jobs[number].folder)), said)
    if told["error"] is not None:
        return Ended(number, [], NodeError(told["error"]), said)
    on_disk = read_job_result(share.jobs[number].folder)
    if on_disk is None:
        return Ended(number, [], NodeError(f"the result of this job is gone from {share.jobs[number].folder}."), said)
    return Ended(number, on_disk[0], None, said)
