"""One progress line for a sweep: what is being done, how many jobs are finished, how long it will take."""

import math
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self

from rich.console import Console, RenderableType
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Task, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bar
from rich.text import Text

from dpjax.report.sweep_state import in_words
from experiments.best_so_far import Best
from experiments.error_words import explain
from experiments.interrupts import Interrupts
from experiments.pace import Pace
from experiments.phases import Phases

Rows = Sequence[Mapping[str, Any]]

_EVERY = 10.0  # seconds between lines where there is no terminal
_EVERY_FEW = 2.0  # for what takes less than a minute in all


@contextmanager
def counted(things: str) -> Iterator[Callable[[int, int], None]]:
    """A bar over things of one kind, or a line now and then where there is no terminal.

    Args:
      things: what they are, in words.

    Yields:
      What is told how many of how many there are by now.

    Raises:
      KeyboardInterrupt: Ctrl-C was pressed; it ends what is told even where Python loses it.
    """
    console = Console(file=sys.stderr, soft_wrap=True)
    bar = _bar(console)
    task = bar.add_task(things, total=None)
    began = spoke = time.monotonic()

    def tell(done: int, total: int) -> None:
        nonlocal spoke
        interrupts.check()
        bar.update(task, completed=done, total=total)
        now = time.monotonic()
        if not console.is_terminal and 0 < done < total and now - spoke >= _EVERY_FEW:
            spoke = now
            console.print(f"{things}: {done} of {total} after {now - began:.0f} s.")

    with Interrupts() as interrupts, bar:
        yield tell


class _Bars(Bar):
    """Bars with a line below them."""

    below = ""

    def get_renderables(self) -> Iterable[RenderableType]:
        yield from super().get_renderables()
        if self.below:
            yield Text(self.below, no_wrap=True, overflow="ellipsis")


class _Remaining(TimeRemainingColumn):
    """The time left of a bar, or what it was told of it."""

    def render(self, task: Task) -> Text:
        if "left" not in task.fields or task.finished:
            return super().render(task)
        left = task.fields["left"]
        minutes, seconds = divmod(round(left or 0), 60)
        words = "--:--" if left is None else f"{minutes:02d}:{seconds:02d}"
        if minutes >= 60:
            words = f"{minutes // 60}:{minutes % 60:02d}:{seconds:02d}"
        return Text(words, style="progress.remaining")


def _bar(console: Console) -> _Bars:
    return _Bars(
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        _Remaining(compact=True),
        console=console,
        transient=True,
        disable=not console.is_terminal,
        speed_estimate_period=86_400.0,  # a job may take longer than the half minute that is usual
    )


class Progress:
    """A bar over the jobs of a sweep and one over the stage at hand; now and then a line where there is no terminal.

    Args:
      total: jobs.
      tell_left: hears how many seconds are left, now and then.
    """

    def __init__(self, total: int, tell_left: Callable[[float], object] = lambda seconds: None) -> None:
        self._tell_left = tell_left
        self._pace = Pace(total)
        self._told = -math.inf
        self._console = Console(file=sys.stderr, soft_wrap=True)
        self._bar = _bar(self._console)
        self._total = total
        self._ended = 0
        self._skipped = 0
        self._began = self._spoke = self._looked = time.monotonic()
        self._spent: dict[str, float] = {}  # by stage, since the last line
        self._jobs = self._bar.add_task("jobs", total=total, left=None)
        self._name = "starting"
        self._stage = self._bar.add_task(self._name, total=None)
        self._best = Best()
        self._reasons: dict[str, str] = {}
        self._interrupts = Interrupts()
        self._phases = None if self._console.is_terminal else Phases(self.say)

    def __enter__(self) -> Self:
        self._interrupts.__enter__()
        self._bar.start()
        if self._phases is not None:
            self._phases.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._phases is not None:
            self._phases.stop()
        self._bar.stop()
        self._interrupts.__exit__(kind, error, trace)

    def tell(self, stage: str, done: int, total: int) -> None:
        """Show where the stage at hand is.

        Raises:
          KeyboardInterrupt: Ctrl-C was pressed where Python loses it.
        """
        self._interrupts.check()
        now = time.monotonic()
        self._spent[self._name] = self._spent.get(self._name, 0.0) + now - self._looked
        self._pace.passed(now - self._looked)
        self._looked = now
        if stage == "training":
            self._pace.trains(done, total)
        left = self._pace.seconds_left
        self._bar.update(self._jobs, left=left)
        if left is not None and now - self._told >= _EVERY / 2:
            self._told = now
            self._tell_left(left)
        if self._phases is not None:
            self._phases.begin(stage)
        if stage != self._name:
            self._bar.reset(self._stage, description=escape(stage), total=total)
            self._name = stage
        self._bar.update(self._stage, completed=done, total=total)
        if not self._console.is_terminal and now - self._spoke >= _EVERY:
            self._spoke = now
            longest = max(self._spent, key=lambda name: self._spent[name])
            most = f" (most of it: {escape(longest)})" if longest != stage else ""
            self._spent.clear()
            jobs = f"{self._ended} of {self._total} jobs ended"
            most += "" if left is None else f", about {in_words(left)} left"
            best = f" {escape(str(self._best))}".rstrip()
            if self._phases is not None:
                self._phases.silence()
            self._console.print(
                f"{jobs} after {now - self._began:.0f} s{most}; {escape(stage)}, {done} of {total}.{best}"
            )

    def group(self, number: int, groups: int, jobs: int) -> None:
        """Say which group begins, and once before them how many jobs there is nothing to do for."""
        if number == 1 and self._skipped:
            self._console.print(f"{_jobs(self._skipped)} finished before and skipped.")
        self._flush()
        self._pace.group(number, groups, jobs)
        self._console.print(f"Group {number} of {groups}: {_jobs(jobs)}, one program.")
        self.tell("starting", 0, 1)

    def spread(self, groups: int, tasks: int, jobs: int, where: str) -> None:
        """Say that all groups begin at once, somewhere else.

        Args:
          groups: that share a program each.
          tasks: that they were cut into.
          jobs: of them all.
          where: in words.
        """
        if self._skipped:
            self._console.print(f"{_jobs(self._skipped)} finished before and skipped.")
        self._flush()
        programs, each = "program" + "s" * (groups != 1), "task" + "s" * (tasks != 1)
        self._console.print(f"{_jobs(jobs)}, {groups} {programs}, {tasks} {each} on {where}.")
        self.tell(f"tasks on {where}", 0, tasks)

    def check(self) -> None:
        """Raise what asked the run to end, where it was lost.

        Raises:
          Stopped: a signal did.
        """
        self._interrupts.check()

    def say(self, text: str) -> None:
        """Put a line of its own above the bars."""
        self._console.print(escape(text))

    def finished(self, overrides: str = "", rows: Rows = ()) -> None:
        """Count a job that finished now."""
        self._flush()
        self._note(overrides, rows)
        self._count()

    def skipped(self, overrides: str = "", rows: Rows = ()) -> None:
        """Count a job that was finished before."""
        self._skipped += 1
        self._pace.over()
        self._note(overrides, rows)
        self._count()

    def all_skipped(self) -> None:
        """Say that there was nothing to do."""
        self._console.print(f"All {_jobs(self._total)} finished before; delete the folder to run them again.")

    def failed(self, overrides: str, error: Exception) -> None:
        """Name a job that failed, the first one of each reason, as soon as the sweep goes on."""
        reason = explain(error)
        self._pace.over()
        self._reasons.setdefault(reason, f"[red]failed[/red] {escape(overrides)}: {escape(reason)}")
        self._count()

    def _note(self, overrides: str, rows: Rows) -> None:
        self._best.note(overrides, rows)
        self._bar.below = str(self._best)

    def _count(self) -> None:
        self._ended += 1
        self._bar.advance(self._jobs)

    def _flush(self) -> None:
        # Held back till here: where nothing follows, the report at the end says it once.
        for reason, line in self._reasons.items():
            if line:
                self._console.print(line)
                self._reasons[reason] = ""


def _jobs(number: int) -> str:
    return f"{number} job{'s' * (number != 1)}"
