"""What a sweep's folder says besides results: which jobs were planned, which failed, how long the rest takes."""

import datetime
import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from dpjax.keeping import runs_here
from dpjax.results.failures import read_document, read_failures, reason
from dpjax.results.result_files import visible_files

PROGRESS_FILE = "progress.json"
_NAMELESS = ("experiment", "results_dir", "lanes", "figures", "resume", "notify", "tracker")  # decide no result


class Progress(NamedTuple):
    """How far a sweep is, or several taken together.

    Attributes:
      planned: jobs that it has.
      finished: those with a result.
      failed: those that ended without.
      started: when it began, ISO 8601; the latest of several.
      seconds_left: as the sweep told it last, or else at the pace so far; None while no job of this start has
        finished, or none is left.
      pending: overrides of the jobs that have not ended, where the sweep has told them.
      runs: whether a process that works on it lives on this machine; None where that can't be told, as from another.
      pace: seconds for a job so far, whatever they went into; None while no job of this start has finished.
    """

    planned: int
    finished: int
    failed: int
    started: str
    seconds_left: float | None
    pending: list[str]
    runs: bool | None = None
    pace: float | None = None


def progress(root: Path, finished: Mapping[Path, str], now: datetime.datetime) -> tuple[Progress | None, list[str]]:
    """How far the sweeps below a folder are, None if none has told what it planned; and the files that cannot be read.

    Formal guarantees: jobs that an earlier start had finished count as finished but not towards the pace.

    Args:
      root: a sweep's folder, or one above.
      finished: result file → overrides of its job.
      now: the time, with its zone.

    Example:
      >>> progress(Path("/nowhere"), {}, datetime.datetime.now(datetime.UTC))
      (None, [])
    """
    sweeps, unreadable = [], []
    for path in visible_files(root, PROGRESS_FILE):
        try:
            document = read_document(path, "dpjax-progress")
            started = datetime.datetime.fromisoformat(str(document["started"]))
            planned, jobs = int(document["planned"]), document.get("jobs")
            sweep = _of_sweep(path.parent, planned, started, jobs, finished, now)
            if sweep.seconds_left is not None and "left" in document:
                sweep = sweep._replace(seconds_left=_told(document["left"], now))
            sweeps.append(sweep._replace(runs=runs_here(str(document.get("process", "")))))
        except (OSError, ValueError, KeyError, TypeError) as error:
            unreadable.append(f"{path} {reason(error)}")
    return together(sweeps), unreadable


def together(sweeps: Sequence[Progress]) -> Progress | None:
    """Several sweeps' progress as one's; None of none.

    Args:
      sweeps: of each.

    Example:
      >>> one = Progress(4, 2, 0, "2026-01-01T00:00:00+00:00", 5.0, ["a=1", "a=2"])
      >>> together([one, one])[:3]
      (8, 4, 0)
    """
    if not sweeps:
        return None
    left = [sweep.seconds_left for sweep in sweeps if sweep.seconds_left is not None]
    return Progress(
        planned=sum(sweep.planned for sweep in sweeps),
        finished=sum(sweep.finished for sweep in sweeps),
        failed=sum(sweep.failed for sweep in sweeps),
        started=max(sweep.started for sweep in sweeps),
        seconds_left=max(left, default=None),
        pending=[overrides for sweep in sweeps for overrides in sweep.pending],
        runs=_any_runs([sweep.runs for sweep in sweeps]),
        pace=max((sweep.pace for sweep in sweeps if sweep.pace is not None), default=None),
    )


def naming(overrides: str) -> str:
    """What names a job within its sweep: its overrides without those that decide no result.

    Args:
      overrides: the job's, as its rows hold them.

    Example:
      >>> naming("results_dir=here privacy.epsilon=1 figures=false")
      'privacy.epsilon=1'
    """
    return " ".join(part for part in split_overrides(overrides) if _is_naming(part))


def _is_naming(override: str) -> bool:
    return override.partition("=")[0].split(".")[0] not in _NAMELESS


def _any_runs(each: list[bool | None]) -> bool | None:
    """Of several sweeps together, whether one is worked on."""
    return True if True in each else None if None in each else False


def in_words(seconds: float) -> str:
    """A time to two digits, in the unit that it is told in.

    Args:
      seconds: that it takes.

    Example:
      >>> in_words(8.2), in_words(200), in_words(5000), in_words(1e6)
      ('8 s', '3 min', '83 min', '12 days')
    """
    for unit, size, below in (("s", 1, 100), ("min", 60, 5400), ("h", 3600, 2 * 86_400)):
        if seconds < below:
            count = seconds / size
            return f"{count:.1f} {unit}" if unit == "h" and count < 10 else f"{count:.0f} {unit}"
    return f"{seconds / 86_400:.0f} days"


def split_overrides(overrides: str) -> list[str]:
    """The overrides of a job, which a row holds as one text.

    Args:
      overrides: with spaces between them; a value may have spaces too.

    Example:
      >>> split_overrides("a.b=1 c=[1, 2] ++d=x y")
      ['a.b=1', 'c=[1, 2]', '++d=x y']
    """
    return [part for part in re.split(r"\s+(?=[+~]{0,2}[\w./@]+=|~)", overrides.strip()) if part]


def command(overrides: str) -> str:
    """The command that runs a job again.

    Args:
      overrides: the job's, as its rows hold them.

    Example:
      >>> command("model.hidden=[64,32] privacy.epsilon=1")
      "uv run python -m experiments.run 'model.hidden=[64,32]' privacy.epsilon=1"
      >>> command("experiment=own/patients")  # as rows of before call a file of one's own
      'uv run python -m experiments.run experiment=patients.yaml'
    """
    words = [re.sub(r"^experiment=own/(.*)", r"experiment=\1.yaml", each) for each in split_overrides(overrides)]
    return shlex.join(["uv", "run", "python", "-m", "experiments.run", *words])


def _of_sweep(
    folder: Path,
    planned: int,
    started: datetime.datetime,
    jobs: Any,
    finished: Mapping[Path, str],
    now: datetime.datetime,
) -> Progress:
    names = [str(job) for job in jobs] if isinstance(jobs, list) else None
    ended = {path: overrides for path, overrides in finished.items() if folder in path.parents}
    failed, _ = read_failures(folder)
    if names is None:
        done, lost = list(ended), len(failed)
        pending: list[str] = []
    else:
        # An earlier start may have left results of other jobs beside these.
        wanted = {_canonical(name): name for name in names}
        done = [path for path, overrides in ended.items() if _canonical(overrides) in wanted]
        gone = {_canonical(each.overrides) for each in failed} & wanted.keys()
        had = {_canonical(ended[path]) for path in done}
        lost = len(gone - had)
        pending = [name for key, name in wanted.items() if key not in had | gone]
    rest = max(0, planned - len(done) - lost)
    fresh = sum(path.stat().st_mtime >= started.timestamp() for path in done)
    pace = (now - started).total_seconds() / fresh if fresh else None
    return Progress(
        planned=planned,
        finished=min(len(done), planned),
        failed=lost,
        started=started.isoformat(timespec="seconds"),
        seconds_left=pace * rest if pace is not None and rest else None,
        pending=pending,
        pace=pace,
    )


def _told(left: Mapping[str, Any], now: datetime.datetime) -> float | None:
    """What is left by now of what the sweep told; None where that time is over."""
    rest = float(left["seconds"]) - (now - datetime.datetime.fromisoformat(str(left["at"]))).total_seconds()
    return rest if rest > 0 else None


def _canonical(overrides: str) -> frozenset[str]:
    """What names a job within its sweep, in any order: a run again for its figures, say, is the same job."""

    return frozenset(part for part in split_overrides(overrides) if _is_naming(part))
