"""Groups of jobs that share a program, run one after the other in this process: what every other executor ends in."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

from experiments.error_words import explain, is_disk_full
from experiments.progress import Progress
from experiments.task import Job, Outcome, Task, Tell


class Executor(Protocol):
    """Where the groups of a sweep run: ``run_here``, or on the nodes of a cluster."""

    def __call__(
        self, task: Task, groups: Sequence[Sequence[Job]], progress: Progress, folder: Path
    ) -> Iterator[Outcome]:
        """Run groups of jobs.

        Formal guarantees: each job has one outcome; the result of one that has rows is in its folder before the
        outcome is given, whatever becomes of the others.

        Args:
          task: which knows how to run jobs of one key together.
          groups: jobs of one key each.
          progress: hears where the work is.
          folder: the sweep's.
        """
        ...


class Listener(Protocol):
    """Hears where the work is, and what is worth a line."""

    @property
    def tell(self) -> Tell: ...

    def say(self, text: str) -> None: ...


def run_here(task: Task, groups: Sequence[Sequence[Job]], progress: Progress, folder: Path) -> Iterator[Outcome]:
    """Run the groups one after the other in this process; see ``Executor``."""
    for number, jobs in enumerate(groups, start=1):
        progress.group(number, len(groups), len(jobs))
        yield from run_together(task, jobs, progress)


def run_together(task: Task, jobs: Sequence[Job], listener: Listener) -> Iterator[Outcome]:
    """The group's outcomes; if it fails as a whole for want of resources, or by one job's states, each job alone.

    Args:
      task: which runs them.
      jobs: of one key.
      listener: hears of it.
    """
    done: set[int] = set()
    try:
        for outcome in task.run(jobs, listener.tell):
            done.add(id(outcome.job))
            yield outcome
    except Exception as error:
        rest = [job for job in jobs if id(job) not in done]
        if len(jobs) == 1 or (isinstance(error, (ValueError, OSError)) and not _of_one_job(error)):
            yield from (Outcome(job, [], error) for job in rest)
            return
        listener.say(f"{len(rest)} jobs failed together, so each runs alone: {explain(error)}")
        for job in rest:
            yield from run_together(task, [job], listener)


def _of_one_job(error: Exception) -> bool:
    """Whether others of its group may be sound: it is of what was kept of one of them, and not of the disk of all."""
    from dpjax.checkpoints import CheckpointError  # with jax, which a group that ran has imported

    return isinstance(error, CheckpointError) and not is_disk_full(error)
