"""Where a sweep stands: how much of it has ended, whether it is still worked on, and the best so far."""

import datetime
import math
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal, NamedTuple

from dpjax.keeping import LOCK_ENDING, runs_here
from dpjax.report.contents import Contents, gather
from dpjax.report.sweep_state import PROGRESS_FILE, Progress, naming
from dpjax.results.claims import number, sampling_word, stated_epsilon, text
from dpjax.results.failures import FAILURE_FILE, refused_sentences
from dpjax.results.metric import metric_of
from dpjax.results.result_files import JOB_FILE, STATES_FOLDER, job_files, visible_files

State = Literal["complete", "running", "stalled", "stopped", "incomplete"]

_PATIENCE = 600.0  # seconds without a result, where jobs are quick
_UNTOLD = 3600.0  # where no job of this start has ended, and so no pace is known
_JOBS = 5  # as long as so many take
_LIVES = 6  # times as long, where the process is known to be there


class Best(NamedTuple):
    """The best point of a family of comparable ones at one ε, by the mean over its seeds.

    Attributes:
      family: what it is of: experiment, data set, model and unit; where families agree in these, what they differ in.
      epsilon: that was asked for; inf without privacy, None where a table holds none.
      stated: ε of the mechanism that ran, by ``accountant``; None where it has none.
      accountant: PLD or RDP.
      mean: of the metric.
      std: over seeds; None of a single one.
      seeds: how many.
      overrides: what names the job in its sweep.
      claim: the point's privacy sentence.
    """

    family: str
    epsilon: float | None
    stated: float | None
    accountant: str
    mean: float
    std: float | None
    seeds: int
    overrides: str
    claim: str


class Status(NamedTuple):
    """What ``dpjax status`` says.

    Attributes:
      state: complete, running, stalled (nothing has changed for long), stopped (its process is gone), or
        incomplete (jobs failed, or there is no result).
      planned: jobs; None where the folder does not tell.
      finished: those with a result.
      failed: those that ended without; not those that a ledger refused, which are in ``notes``.
      seconds_left: what the sweep told, or at the pace so far; None where that is not known, or nobody works on it.
      seconds_since_change: since the last result, failure or start; None where there is none of them.
      metric: that ``best`` is by; None without any.
      best: by family and ε.
      failures: one sentence each.
      unreadable: one sentence for each file.
      notes: one sentence each on what was run more than once, or was stopped and can go on.
      results: the table, or where there is none yet the folder.
    """

    state: State
    planned: int | None
    finished: int
    failed: int
    seconds_left: float | None
    seconds_since_change: float | None
    metric: str | None
    best: list[Best]
    failures: list[str]
    unreadable: list[str]
    notes: list[str]
    results: Path


def status(directory: Path | str, now: datetime.datetime | None = None) -> Status:
    """Where the sweeps below a folder stand.

    Formal guarantees: nothing is written. A sweep is *complete* only if every planned job has a result and every file
    could be read; in a folder that tells no plan, if it holds a result and no failure.

    Args:
      directory: a sweep's folder, or one above several.
      now: the time; the clock's if None.

    Raises:
      ResultsError: there is no such folder.

    Example:
      >>> status("/nowhere")
      Traceback (most recent call last):
          ...
      dpjax.results.errors.ResultsError: there is no /nowhere: give the folder of a sweep, such as results/quickstart
    """
    root = Path(directory)
    now = now or datetime.datetime.now(datetime.UTC)
    contents = gather(root, now)
    going, changed = contents.progress, _last_change(root)
    since = None if changed is None else max(0.0, now.timestamp() - changed)
    finished = len(job_files(root)) or contents.frame["config_hash"].nunique() if going is None else going.finished
    metric, best = _best(contents)
    under_way, kept = _kept_on_their_way(root)
    state = _state(contents, going, now, since, under_way, kept)
    failed = sum(not each.refused for each in contents.failures)
    tables = [root / name for name in ("results.parquet", "results.json") if (root / name).is_file()]
    return Status(
        state=state,
        planned=None if going is None else going.planned,
        finished=int(finished),
        failed=failed if going is None else min(failed, going.failed),
        seconds_left=going.seconds_left if going is not None and state == "running" else None,
        seconds_since_change=since,
        metric=metric,
        best=best,
        failures=[
            f"{naming(each.overrides) or each.folder}: {each.error}" for each in contents.failures if not each.refused
        ],
        unreadable=list(contents.unreadable),
        notes=[*refused_sentences(contents.failures), *_run_twice(contents.frame), *_kept_sentences(under_way, kept)],
        results=root if root.is_file() else tables[0] if tables else root,
    )


def _run_twice(frame: Any) -> list[str]:
    from dpjax.results.summarize import run_twice  # pandas: a second

    return run_twice(frame)


def _kept_sentences(under_way: list[Path], kept: list[Path]) -> list[str]:
    said = []
    if under_way:
        runs = "1 run is under way and" if len(under_way) == 1 else f"{len(under_way)} runs are under way and"
        said.append(f"{runs} kept on the way ({min(under_way)})")
    if kept:
        runs = "1 run was stopped and is" if len(kept) == 1 else f"{len(kept)} runs were stopped and are"
        said.append(f"{runs} kept on the way: the same command goes on ({min(kept)})")
    return said


def _kept_on_their_way(root: Path) -> tuple[list[Path], list[Path]]:
    """Folders of runs that are kept and have no result: those whose process lives, and those that were stopped."""
    found = root.rglob(STATES_FOLDER) if root.is_dir() else ()
    kept = [path.parent for path in found if path.is_dir() and not (path.parent / JOB_FILE).exists()]
    under_way = [path for path in kept if _is_under_way(path)]
    return under_way, [path for path in kept if path not in under_way]


def _is_under_way(job: Path) -> bool:
    """Whether a process of this machine keeps one of its seeds."""
    for lock in (job / STATES_FOLDER).glob(f"*{LOCK_ENDING}"):
        with suppress(OSError, UnicodeDecodeError):
            if runs_here(lock.read_text(encoding="utf-8")):
                return True
    return False


def _state(
    contents: Contents,
    going: Progress | None,
    now: datetime.datetime,
    since: float | None,
    under_way: list[Path],
    kept: list[Path],
) -> State:
    rest = 0 if going is None else going.planned - going.finished - going.failed
    if going is None and under_way:
        return "running"
    if going is None and kept:
        return "stopped"
    if going is None or rest <= 0:
        # What a ledger refused of a point that is planned no more is missing from nothing.
        lost = [each for each in contents.failures if not each.refused or going is None or going.failed]
        lacks = lost or contents.unreadable or not len(contents.frame)
        return "incomplete" if lacks else "complete"
    if going.runs is False:
        return "stopped"
    return "stalled" if since is not None and since > _patience(going, now, since) else "running"


def _patience(going: Progress, now: datetime.datetime, since: float) -> float:
    """Seconds that a sweep may be without a change before it is said to stall: some jobs' worth at its own pace."""
    times = _LIVES if going.runs else 1
    if going.pace is None:
        return _UNTOLD * times
    elapsed = (now - datetime.datetime.fromisoformat(going.started)).total_seconds()
    # The pace counts the time without a change, which is in question.
    pace = going.pace * max(0.0, elapsed - since) / max(elapsed, 1e-9)
    return max(_PATIENCE, _JOBS * pace) * times


def _last_change(root: Path) -> float | None:
    if root.is_file():
        return root.stat().st_mtime
    times = []
    for name in (JOB_FILE, FAILURE_FILE, PROGRESS_FILE):
        for path in visible_files(root, name):
            try:
                times.append(path.stat().st_mtime)
            except OSError:  # it was just taken away
                continue
    return max(times, default=None)


def _best(contents: Contents) -> tuple[str | None, list[Best]]:
    """The metric, and the best point of each family and ε, as ``dpjax.results.summary`` marks them."""
    from dpjax.results.rivals import FAMILY
    from dpjax.results.sheet_notes import title

    points = contents.points
    if points is None:
        return None, []
    metric = metric_of(contents.frame)
    # Of equals the first: one line an ε is enough to see how a sweep goes.
    rows = points[points["best"]].drop_duplicates([*FAMILY, "epsilon"]).to_dict("records")
    titles = [title(row) for row in rows]
    alike = [[row for row, other in zip(rows, titles, strict=True) if other == each] for each in titles]
    return metric, [
        _of_point(row, metric, ", ".join(filter(None, [each, *_differing(row, same)])))
        for row, each, same in zip(rows, titles, alike, strict=True)
    ]


def _differing(row: dict[str, Any], same: list[dict[str, Any]]) -> list[str]:
    """What makes a point of a family of its own, of those that its title does not tell it from."""
    from dpjax.results.wording import cell_text, label

    words = []
    for name in ("adjacency", "sampling", "delta"):
        told = cell_text(row, name)
        if len({cell_text(other, name) for other in same}) > 1:
            word = f"δ={told}" if name == "delta" else sampling_word(told) + " sampling" if name == "sampling" else told
            words.append(f"{label(name)} not stated" if told == "–" else word)
    return words


def _of_point(row: dict[str, Any], metric: str, family: str) -> Best:
    stated, accountant = stated_epsilon(row)
    std = number(row, f"{metric}_std")
    return Best(
        family=family,
        epsilon=number(row, "epsilon"),
        stated=stated,
        accountant=accountant,
        mean=float(row[f"{metric}_mean"]),
        std=None if std is None or math.isnan(std) else std,
        seeds=int(row["n"]),
        overrides=naming(text(row, "overrides")),
        claim=row["claim"],
    )
