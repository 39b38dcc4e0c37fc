"""What a node of a cluster does: it joins the sweep's site, and runs a share of a group's jobs."""

import contextlib
import io
import pickle
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple, TextIO

from experiments.error_words import explain, is_disk_full
from experiments.launching.groups import run_together
from experiments.launching.site import NodeError, join
from experiments.task import Job, Outcome, Rows, Task

STATES_SECONDS = 60.0
"""How often a job keeps its state where ``checkpoint_seconds`` is not set: a node can be taken at any time."""


class Ended(NamedTuple):
    """A job that ended on a node.

    Attributes:
      number: of the job in its share; None: all of the share, which the node can't run.
      rows: its own.
      error: why it has none; it can be pickled.
      said: lines for whoever watches the sweep.
    """

    number: int | None
    rows: Rows = []  # noqa: RUF012  a NamedTuple's default, which nobody changes
    error: Exception | None = None
    said: tuple[str, ...] = ()


def work(site: bytes, jobs: bytes) -> Iterator[Ended]:
    """Run a share of a group's jobs on this node, as they were pickled.

    Formal guarantees: those of ``run_share``; jobs are unpickled after the versions were looked at.

    Args:
      site: a ``Site``, which this process joins.
      jobs: a list of ``Job``.
    """
    try:
        notes = join(pickle.loads(site))  # nosec B301 # by the driver of this sweep
    except NodeError as error:
        yield Ended(None, error=error)
        return
    from experiments.run import task

    share = pickle.loads(jobs)  # nosec B301 # by the driver of this sweep
    yield from run_share(share, task, notes)  # pyright: ignore[reportArgumentType]  set on it


def run_share(jobs: Sequence[Job], task: Task, notes: Sequence[str] = ()) -> Iterator[Ended]:
    """Run a share of a group's jobs in this process.

    Formal guarantees: each job has one ``Ended`` with its number, and where that has rows they are in the job's folder.
    A job that is finished is not run again. States are kept, so that another node goes on from them.

    Args:
      jobs: of one key.
      task: which runs them.
      notes: what the driver should say besides.
    """
    lines = _Lines([f"note: {line}" for line in notes])
    with contextlib.redirect_stderr(_Log(lines, sys.stderr)):
        number: dict[int, int] = {}
        rest: list[Job] = []
        for i, job in enumerate(jobs):
            rows = task.finished(job.cfg, job.folder)
            if rows is not None:
                yield Ended(i, rows, None, lines.take())
                continue
            rest.append(job if job.cfg.checkpoint_seconds is not None else _keeping(job))
            number[id(rest[-1])] = i
        if rest:
            for outcome in run_together(task, rest, lines):
                yield Ended(number[id(outcome.job)], outcome.rows, _portable(outcome), lines.take())


def _keeping(job: Job) -> Job:
    return job._replace(cfg=replace(job.cfg, checkpoint_seconds=STATES_SECONDS))


def _portable(outcome: Outcome) -> Exception | None:
    """The error, or its sentence, where its class can't be unpickled elsewhere."""
    error = outcome.error
    if error is None:
        return None
    if is_disk_full(error) and isinstance(error, OSError):
        return OSError(error.errno, error.strerror, error.filename)
    with contextlib.suppress(Exception):  # whatever its class does when it is unpickled
        again = pickle.loads(pickle.dumps(error))  # nosec B301 # dumped here
        if explain(again) == explain(error):
            return error
    return NodeError(explain(error))


class _Lines:
    """Hears what a run says, for the driver."""

    def __init__(self, kept: list[str]) -> None:
        self._kept = kept

    def tell(self, stage: str, done: int, total: int) -> None:
        """Nobody watches a node's stages."""

    def say(self, text: str) -> None:
        """Keep a line."""
        self._kept.append(text)

    def take(self) -> tuple[str, ...]:
        """The lines so far, once."""
        taken, self._kept = tuple(self._kept), []
        return taken


class _Log(io.TextIOBase):
    """The node's own log, of which notes and warnings are kept for the driver."""

    def __init__(self, lines: _Lines, log: TextIO) -> None:
        self._lines, self._log, self._part = lines, log, ""

    def write(self, text: str, /) -> int:
        """Pass it on, and keep what begins as a note or a warning does."""
        *whole, self._part = (self._part + text).split("\n")
        for line in whole:
            if line.startswith(("note: ", "warning: ")):
                self._lines.say(line)
        return self._log.write(text)

    def flush(self) -> None:
        """Pass it on."""
        self._log.flush()
