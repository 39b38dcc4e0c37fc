"""What the launcher asks of a task function, and the words they share."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from omegaconf import DictConfig

from experiments.config import Config

Rows = list[dict[str, Any]]


class Told(list[dict[str, Any]]):
    """A job's rows as it hands them to Hydra; as a number, what a sweeper that searches is to make large.

    That is the mean over seeds of the validation accuracy where rows were held out (``data.validation``), else of the
    test accuracy, and of R² where a number is predicted; nan if there is neither.

    Example:
      >>> float(Told([{"test_accuracy": 0.5}, {"test_accuracy": 1.0}])), len(Told([{}]))
      (0.75, 1)
    """

    def __float__(self) -> float:
        for name in ("validation_accuracy", "validation_r2", "test_accuracy", "test_r2"):
            values = [row.get(name) for row in self]
            if values and all(isinstance(value, int | float) for value in values):
                return float(sum(values)) / len(values)  # pyright: ignore[reportArgumentType, reportCallIssue]
        return math.nan


Tell = Callable[[str, int, int], None]
"""``tell(stage, done, total)``: where the work is, for a progress bar."""


class Job(NamedTuple):
    """One point: its config, its folder, the overrides that made it, and the process of its sweep, if it has one."""

    cfg: Config
    folder: Path
    overrides: str
    launcher: str = ""


class Outcome(NamedTuple):
    """A job that ended: its rows, or the reason it has none."""

    job: Job
    rows: Rows
    error: Exception | None = None


class Task(Protocol):
    """A task function that can also run many jobs together."""

    def __call__(self, cfg: DictConfig) -> Rows: ...

    def typed(self, cfg: DictConfig) -> Config:
        """The typed config of a job; ConfigError if it can't run."""
        ...

    def checked(self, cfg: Config) -> None:
        """ConfigError if a config can't run whose fields are what the schema says."""
        ...

    def key(self, cfg: Config) -> str:
        """The static signature; jobs of equal key can be run together."""
        ...

    def finished(self, cfg: Config, folder: Path) -> Rows | None:
        """The rows of a job that is done already."""
        ...

    def admit(self, groups: Sequence[Sequence[Job]]) -> None:
        """ValueError where a ledger can't let jobs begin, whatever they spend."""
        ...

    def reserve(self, groups: Sequence[Sequence[Job]], tell: Tell) -> AbstractContextManager[object]:
        """Reserve what all groups spend, or ValueError; what none has taken is given back at the end of the context."""
        ...

    def run(self, jobs: Sequence[Job], tell: Tell) -> Iterator[Outcome]:
        """Run jobs of one key together, each result on disk before it is given back."""
        ...
