"""Groups of jobs as tasks of a SLURM array; they outlive the driver, which follows them when it comes back."""

import os
import pickle
import shutil
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from experiments.config import ConfigError
from experiments.launching.secrets_here import needed, refuse_unset
from experiments.launching.shares import Share, again_in_words, cut
from experiments.launching.site import NodeError, make_site
from experiments.launching.slurm_tasks import Journal, State, last_words, no_controller, states, waits
from experiments.launching.slurm_work import SlurmOptions
from experiments.launching.worker import Ended
from experiments.progress import Progress
from experiments.task import Job, Outcome, Task

FOLDER = ".slurm"
"""In the sweep's: what tasks are given, what they say, and which of them there are."""

_READ_SECONDS, _ASK_SECONDS = 0.5, 5.0
"""Between two looks at what tasks have said, which cost nobody anything; and at the queue, which SLURM answers."""


class SlurmExecutor:
    """Runs the groups of a sweep as tasks of SLURM; see ``experiments.launching.groups.Executor``.

    Formal guarantees: those of an ``Executor``. No job is in two tasks at once: what an earlier driver submitted is
    followed, not submitted again.

    Args:
      options: how.

    Raises:
      ConfigError: an option that can't be, or no SLURM here.
    """

    def __init__(self, options: SlurmOptions) -> None:
        self._options = options
        _check(options)

    def __call__(
        self, task: Task, groups: Sequence[Sequence[Job]], progress: Progress, folder: Path
    ) -> Iterator[Outcome]:
        """Run groups of jobs."""
        if not groups:
            return
        if shutil.which("sbatch") is None or shutil.which("squeue") is None:
            raise ConfigError(
                "hydra/launcher=slurm_batched finds no sbatch and squeue here; start the sweep where SLURM's commands "
                "are, as on a login node, or use hydra/launcher=batched."
            )
        cfgs = [job.cfg for jobs in groups for job in jobs]
        refuse_unset(needed(cfgs, os.environ), self._options.setup)
        progress.tell("asking SLURM", 0, 1)
        if trouble := no_controller():
            raise ConfigError(f"SLURM does not answer here ({trouble}); start the sweep where squeue does.")
        options, site = self._options, pickle.dumps(make_site(folder, cfgs))
        journal = Journal(folder.absolute() / FOLDER)
        followed, rest = journal.follow(groups)
        shares = cut(rest, options.max_parallel, options.points_per_task)
        number, jobs = len(shares) + len(followed), sum(map(len, groups))
        progress.spread(len(groups), number, jobs, "SLURM")
        if followed:
            progress.say(
                f"SLURM has {sum(len(s.open) for s in followed.values())} of the jobs already: these are followed."
            )
        running = followed | journal.submit(shares, site, options)
        failed = False
        try:
            for outcome in _follow(journal, running, site, options, progress):
                failed = failed or outcome.error is not None
                yield outcome
        except (KeyboardInterrupt, GeneratorExit):
            ids = sorted({name.partition("_")[0] for name in running})
            if ids:
                progress.say(f"SLURM goes on with {', '.join(ids)}: the same command follows it, and scancel ends it.")
            raise
        if not failed:  # or the logs say why
            journal.close()


def _check(options: SlurmOptions) -> None:
    least = {"timeout_min": 1, "cpus_per_task": 1, "gpus_per_task": 0, "max_parallel": 1, "points_per_task": 1}
    for name, bound in (least | {"retries": 0, "max_num_timeout": 0, "signal_delay_s": 1}).items():
        value = getattr(options, name)
        if value is not None and value < bound:
            raise ConfigError(f"hydra.launcher.{name}={value} must be ≥ {bound}.")
    if options.signal_delay_s >= 60 * options.timeout_min:
        raise ConfigError(
            f"hydra.launcher.signal_delay_s={options.signal_delay_s} must be less than timeout_min="
            f"{options.timeout_min}, which is {60 * options.timeout_min} s; set signal_delay_s="
            f"{20 * options.timeout_min}."
        )
    try:
        import submitit  # noqa: F401
    except ImportError:
        raise ConfigError("hydra/launcher=slurm_batched needs submitit; install it with the extra slurm.") from None


def _follow(
    journal: Journal, running: dict[str, Share], site: bytes, options: SlurmOptions, progress: Progress
) -> Iterator[Outcome]:
    """Outcomes of tasks as they say them; what is lost is submitted again."""
    said: set[str] = set()
    total, asked, found = len(running), time.monotonic(), dict[str, State]()
    while running:
        progress.tell("tasks on SLURM", total - len(running), total)
        for name in list(running):
            share = running[name]
            ended = journal.said(name, share)
            for each in ended:
                for line in each.said:
                    if line not in said:
                        said.add(line)
                        progress.say(line)
                yield from share.outcomes(each)
            if not share.open:
                del running[name]
            elif found.get(name, State.ALIVE) != State.ALIVE and not ended:
                del running[name]
                yield from _lost(journal, running, name, share, found.pop(name), site, options, progress)
                total = max(total, len(running))
        if running:
            time.sleep(_READ_SECONDS)
        if time.monotonic() - asked >= _ASK_SECONDS:
            asked, found = time.monotonic(), states(list(running))
            for line in waits(list(running)):
                if line not in said:
                    said.add(line)
                    progress.say(line)


def _lost(
    journal: Journal,
    running: dict[str, Share],
    name: str,
    share: Share,
    state: State,
    site: bytes,
    options: SlurmOptions,
    progress: Progress,
) -> Iterator[Outcome]:
    """What to do about a task that ended and left jobs."""
    words = last_words(journal.folder, name)
    if state == State.CANCELLED:
        error = NodeError(f"SLURM's task {name} of this job was cancelled; run the same command again to go on.")
        yield from share.outcomes(Ended(None, error=error))
    elif "No module named 'experiments'" in words or "No module named 'dpjax'" in words:
        error = NodeError(f"the node of SLURM's task {name} has no dpjax; install there what this machine has.")
        yield from share.outcomes(Ended(None, error=error))
    elif share.attempts < options.retries:
        progress.say(
            f"SLURM's task {name} ended early ({words or 'without a word'}): {again_in_words(len(share.open))}."
        )
        running |= journal.submit([share.rest()], site, options)
    else:
        yield from share.give_up(words or f"see {journal.folder}")
