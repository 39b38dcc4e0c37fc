"""What a report says: a folder's rows and points, what failed, what could not be read, and how far the sweep is."""

import datetime
from pathlib import Path
from typing import Any, Literal, NamedTuple

from dpjax.report.sweep_state import Progress, progress
from dpjax.results.claims import learnt_sentence, released_sentence
from dpjax.results.distinct import Table
from dpjax.results.errors import ResultsError
from dpjax.results.failures import Failure, read_failures
from dpjax.results.metric import metric_of
from dpjax.results.mishaps import count_sentences, rows_counted
from dpjax.results.result_files import job_files


class Notice(NamedTuple):
    """What a reader has to know before the numbers.

    Attributes:
      level: "error" if something is missing from the report that should be in it, "pending" if it is yet to come,
        "note" if nothing is.
      text: one sentence.
      items: what it is about, one line each.
    """

    level: Literal["error", "pending", "note"]
    text: str
    items: list[str]


class Contents(NamedTuple):
    """What was found below a folder.

    Attributes:
      name: of the folder.
      frame: the rows, as ``dpjax.results.collect`` orders them; columns of lists and ``config`` may be compact.
      points: means over seeds, from ``dpjax.results.summary``; None if no row has a metric.
      notices: in the order to be read in.
      failures: jobs without a result.
      progress: of the sweep, if it tells.
      unreadable: one sentence for each file that could not be read.
    """

    name: str
    frame: Any
    points: Any
    notices: list[Notice]
    failures: list[Failure]
    progress: Progress | None
    unreadable: tuple[str, ...] = ()

    @property
    def is_complete(self) -> bool:
        """Whether every planned job has a result and every file was read."""
        return all(notice.level == "note" for notice in self.notices)


def gather(directory: Path | str, now: datetime.datetime | None = None) -> Contents:
    """Everything that a report says of a folder.

    Formal guarantees: what cannot be read never stops the rest; it is in the notices, with the file's name below the
    folder.

    Args:
      directory: a sweep's folder, one above several, or a ``results.parquet`` or ``results.json``.
      now: the time, for what is left of a running sweep; the clock's if None.

    Raises:
      ResultsError: there is no such folder, or the file is no results table.

    Example:
      >>> gather("/nowhere")
      Traceback (most recent call last):
          ...
      dpjax.results.errors.ResultsError: there is no /nowhere: give the folder of a sweep, such as results/quickstart
    """
    from dpjax.results.table import read_jobs
    from dpjax.results.table_files import read_table

    root = Path(directory)
    if not root.exists():
        raise ResultsError(f"there is no {root}: give the folder of a sweep, such as results/quickstart")
    name = root.resolve().name
    if root.is_file():
        frame = read_table(root, compact=True)
        notices = _about(frame, {})
        return Contents(name, frame, _points(frame), notices, [], None)
    jobs = read_jobs(root, compact=True)
    frame, unreadable = jobs.frame, jobs.unreadable
    finished = {root / place: overrides for place, overrides in jobs.collected.finished.items()}
    tables = [root / table for table in ("results.parquet", "results.json") if (root / table).exists()]
    if not len(frame) and tables and not job_files(root):
        try:
            frame = read_table(tables[0], compact=True)
        except ResultsError as error:
            unreadable.append(str(error))
    failed, spoilt = read_failures(root)
    going, unknown = progress(root, finished, now or datetime.datetime.now(datetime.UTC))
    unreadable += [*spoilt, *unknown]
    notices = [*_left_out(root, unreadable, failed, going), *_about(frame, jobs.collected.older)]
    return Contents(name, frame, _points(frame), notices, failed, going, tuple(unreadable))


def _left_out(root: Path, unreadable: list[str], failed: list[Failure], going: Progress | None) -> list[Notice]:
    notices = []
    if unreadable:
        # A report is passed on: it names files below the folder, not where that folder was.
        files = [sentence.replace(f"{root}/", "") for sentence in unreadable]
        notices.append(
            Notice("error", f"{_count(len(files), 'file')} could not be read and {_are(files)} left out.", files)
        )
    if refused := [each for each in failed if each.refused]:
        were = "was" if len(refused) == 1 else "were"
        sentence = f"{_count(len(refused), 'point')} {were} refused by the ledger and {_has(refused)} no result."
        notices.append(Notice("note", sentence, [f"{each.overrides or each.folder}: {each.error}" for each in refused]))
    if failed := [each for each in failed if not each.refused]:
        lines = [f"{each.overrides or each.folder}: {each.error}" for each in failed]
        notices.append(Notice("error", f"{_count(len(failed), 'job')} failed and {_has(failed)} no result.", lines))
    waiting = 0 if going is None else going.planned - going.finished - going.failed
    if going is not None and waiting > 0:
        sentence = f"{waiting} of {_count(going.planned, 'planned job')} {_has([0] * waiting)} no result yet."
        notices.append(Notice("pending", sentence, going.pending))
    return notices


def _about(frame: Any, older: dict[str, list[str]]) -> list[Notice]:
    from dpjax.results.provenance import made_by_other_code
    from dpjax.results.summarize import run_twice

    notices = []
    if not len(frame):
        notices.append(Notice("error", "There is no finished job to report on.", []))
    by_columns: dict[tuple[str, ...], list[str]] = {}
    for path, lacking in older.items():
        by_columns.setdefault(tuple(lacking), []).append(path)
    for lacking, files in by_columns.items():
        what = f"{_count(len(files), 'file')} of an older schema {_has(files)} no"
        notices.append(Notice("note", f"{what} {', '.join(lacking)}; charts of those are left out.", files))
    dropped = [] if not len(frame) else [_named(v) for v in frame["overrides"][frame["overflow_count"].fillna(0) > 0]]
    if dropped:
        runs = _count(len(dropped), "run")
        sentence = f"{runs} drew more units than there are slots in some steps; the claim of each says so."
        notices.append(Notice("note", sentence, list(dict.fromkeys(dropped))))
    for column, sentence in count_sentences(rows_counted(frame)).items():
        if column != "overflow_count":
            these = frame["overrides"][frame[column].fillna(0) > 0]
            notices.append(Notice("note", sentence, list(dict.fromkeys(map(_named, these)))))
    table = Table(frame)
    for sentences in (learnt_sentence, released_sentence):
        said = dict.fromkeys(filter(None, table.each(sentences).cells))
        notices += [Notice("note", f"{sentence}.", []) for sentence in said]
    notices += [Notice("note", f"{sentence[0].upper()}{sentence[1:]}.", []) for sentence in run_twice(frame)]
    other = made_by_other_code(frame)
    if other:
        notices.append(Notice("note", "Rows were made by other code, or of other files.", other))
    diverged = [] if not len(frame) else [_named(v) for v in frame["overrides"][frame["diverged"].fillna(False)]]
    if diverged:
        sentence = f"{_count(len(diverged), 'run')} diverged: no metric of them is a result."
        notices.append(Notice("note", sentence, list(dict.fromkeys(diverged))))
    return notices


def _points(frame: Any) -> Any:
    from dpjax.results.summarize import summary

    known = len(frame) and frame[metric_of(frame)].notna().any()
    return summary(frame) if known else None


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' * (number != 1)}"


def _are(things: list[Any]) -> str:
    return "is" if len(things) == 1 else "are"


def _has(things: list[Any]) -> str:
    return "has" if len(things) == 1 else "have"


def _named(overrides: Any) -> str:
    """A run by what it was asked for, or as one that was asked for nothing."""
    return overrides if isinstance(overrides, str) and overrides else "a run without overrides"
