"""What the launcher asks of a task function, and the words they share."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from omegaconf import DictConfig

Rows = list[dict[str, Any]]

Tell = Callable[[str, int, int], None]
"""``tell(stage, done, total)``: where the work is, for a progress bar."""


class Job(NamedTuple):
    """One point: its resolved config, its folder, and the overrides that made it."""

    cfg: DictConfig
    folder: Path
    overrides: str


class Outcome(NamedTuple):
    """A job that ended: its rows, or the reason it has none."""

    job: Job
    rows: Rows
    error: Exception | None = None


class Task(Protocol):
    """A task function that can also run many jobs together."""

    def __call__(self, cfg: DictConfig) -> Rows: ...

    def validate(self, cfg: DictConfig) -> None:
        """Raise ConfigError if the job can't run."""
        ...

    def key(self, cfg: DictConfig) -> str:
        """The static signature; jobs of equal key can be run together."""
        ...

    def finished(self, cfg: DictConfig, folder: Path) -> Rows | None:
        """The rows of a job that is done already."""
        ...

    def run(self, jobs: Sequence[Job], tell: Tell) -> Iterator[Outcome]:
        """Run jobs of one key together, each result on disk before it is given back."""
        ...
