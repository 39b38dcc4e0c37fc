"""One progress line for a sweep: what is being done, how many jobs are finished, how long it will take."""

import sys
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bar


class Progress:
    """A bar over the jobs of a sweep and one over the stage at hand; plain lines where there is no terminal."""

    def __init__(self, total: int) -> None:
        self._console = Console(file=sys.stderr, soft_wrap=True)
        self._bar = Bar(
            TextColumn("{task.description}"),
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(compact=True),
            console=self._console,
            transient=True,
            disable=not self._console.is_terminal,
        )
        self._jobs = self._bar.add_task("jobs", total=total)
        self._stage = self._bar.add_task("starting", total=None)
        self._name = "starting"
        self._skipped = 0

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()
        if self._skipped:
            self._console.print(f"{self._skipped} jobs were finished before and skipped.")

    def tell(self, stage: str, done: int, total: int) -> None:
        """Show where the stage at hand is."""
        if stage != self._name:
            self._bar.reset(self._stage, description=escape(stage), total=total)
            self._name = stage
        self._bar.update(self._stage, completed=done, total=total)

    def group(self, number: int, groups: int, jobs: int) -> None:
        """Say which group begins."""
        self._console.print(f"Group {number} of {groups}: {jobs} job{'s' * (jobs != 1)}, one compilation.")

    def finished(self) -> None:
        """Count a job that finished now."""
        self._bar.advance(self._jobs)

    def skipped(self) -> None:
        """Count a job that was finished before."""
        self._skipped += 1
        self._bar.advance(self._jobs)

    def failed(self, overrides: str, error: Exception | None) -> None:
        """Name a job that failed and go on."""
        self._console.print(f"[red]failed[/red] {escape(overrides)}: {escape(one_sentence(error))}")
        self._bar.advance(self._jobs)


def one_sentence(error: BaseException | None) -> str:
    """An error as one line of text, never empty."""
    text = " ".join(str(error).split())
    return text or type(error).__name__
