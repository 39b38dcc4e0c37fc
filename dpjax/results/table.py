"""Every job's rows as one data frame, and the files that hold it: Parquet for programs, JSON for everything else."""

import io
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import pyarrow.parquet as pq

from dpjax.results.as_json import as_json
from dpjax.results.claims import text
from dpjax.results.collected import Collected, digest_of, from_metadata, lacking
from dpjax.results.errors import ResultsError
from dpjax.results.failures import failed_sentences, read_failures, refused_sentences
from dpjax.results.forged import open_among_sealed, refuse_open_table, told
from dpjax.results.frames import frame_of
from dpjax.results.result_files import job_files, parse_job_file, write_atomically
from dpjax.results.sealing import SealedError, any_sealed, is_sealed, sealed
from dpjax.results.table_files import UNREADABLE, arrow_table, parquet_at, read_table, stamped


def collect(directory: Path | str) -> pd.DataFrame:
    """Every job's rows below a folder, one per (point, seed).

    Formal guarantees: the order depends only on what the rows say, not on when the jobs ended; every column of the
    schema is there with its dtype, filled with missing values where no row has it; columns outside the schema are kept,
    at the end. A file that cannot be read costs its own rows only and is named in ``df.attrs["unreadable"]``, as is a
    job that failed and has not finished since; how many a ledger refused is said in ``df.attrs["refused"]``.

    Args:
      directory: a sweep's folder, or any folder above several.

    Returns:
      One row per (point, seed), in the schema's columns and dtypes.

    Example:
      >>> frame = collect("/nowhere")
      >>> len(frame), frame.attrs["unreadable"]
      (0, [])
    """
    return _collected(directory, True, True)[0]


def _collected(directory: Path | str, curves: bool, configs: bool) -> tuple[pd.DataFrame, Collected, list[str]]:
    jobs = read_jobs(directory, curves=curves, configs=configs)
    failures, spoilt = read_failures(directory)
    jobs.frame.attrs["unreadable"] = [*jobs.unreadable, *spoilt, *failed_sentences(failures)]
    jobs.frame.attrs["refused"] = refused_sentences(failures)
    return jobs.frame, jobs.collected, jobs.locked


class Jobs(NamedTuple):
    """The jobs below a folder.

    Attributes:
      frame: their rows.
      collected: which files they are from.
      unreadable: one sentence for each file that could not be read.
      locked: those of them that are of sealed files, or of open ones in the place of such.
    """

    frame: pd.DataFrame
    collected: Collected
    unreadable: list[str]
    locked: list[str] = []  # noqa: RUF012  a NamedTuple's default, which nobody changes


def read_jobs(directory: Path | str, *, curves: bool = True, configs: bool = True, compact: bool = False) -> Jobs:
    """Every job's rows below a folder, from its ``results.parquet`` where that was made of these very files.

    Formal guarantees: a table is taken for the files only if each has the size and the time of its last change that it
    had then, and no other is there. The rows are the same either way.

    Args:
      directory: a sweep's folder, or any folder above several.
      curves: as for ``load``.
      configs: as for ``load``.
      compact: as for ``table_files.read_table``, where there is such a table.

    Example:
      >>> len(read_jobs("/nowhere").frame)
      0
    """
    root, files = Path(directory), job_files(directory)
    digest, table = digest_of(root, files), root / "results.parquet"
    forged = set(open_among_sealed(files))
    if digest and table.is_file() and (is_sealed(table) or not (forged or any_sealed(files))):
        try:
            collected = from_metadata(pq.read_metadata(parquet_at(table)).metadata)
            if collected is not None and collected.digest == digest:
                return Jobs(read_table(table, curves, configs, compact), collected, [])
        except (*UNREADABLE, ResultsError):
            pass  # the files say it all
    rows: list[dict[str, Any]] = []
    finished: dict[str, str] = {}
    older: dict[str, list[str]] = {}
    unreadable: list[str] = []
    locked: list[str] = []
    for path in files:
        if path in forged:
            unreadable.append(told(path))
            locked.append(unreadable[-1])
            continue
        try:
            read = parse_job_file(path)
        except ResultsError as error:
            unreadable.append(str(error))
            locked += [str(error)] if isinstance(error, SealedError) else []
            continue
        rows += read
        place = path.relative_to(root).as_posix()
        finished[place] = text(read[0], "overrides")
        if less := lacking(read):
            older[place] = less
    return Jobs(frame_of(rows), Collected("" if unreadable else digest, finished, older), unreadable, locked)


def load(path: Path | str, *, curves: bool = True, configs: bool = True) -> pd.DataFrame:
    """A results table from a sweep's folder, or from a ``results.parquet`` or ``results.json`` that was passed on.

    Formal guarantees: a folder's ``result.json`` files come before its ``results.parquet`` or ``.json``, so that a
    table is never older than the jobs beside it; where none of these can be read, that is said and no table is given.

    Args:
      path: the folder or the file.
      curves: whether columns of lists are needed, which take longest to read; without, they may be empty.
      configs: whether the column ``config`` is needed, which has the longest texts; without, it may be empty.

    Returns:
      One row per (point, seed), in the schema's columns and dtypes.

    Raises:
      ResultsError: there is nothing to read.

    Example:
      >>> load("/nowhere")
      Traceback (most recent call last):
          ...
      dpjax.results.errors.ResultsError: there is no /nowhere: give the folder of a sweep, such as results/quickstart
    """
    return collected_with(path, curves=curves, configs=configs)[0]


def collected_with(
    path: Path | str, *, curves: bool = True, configs: bool = True
) -> tuple[pd.DataFrame, Collected | None]:
    """What ``load`` gives, and the files of the folder that it was collected from.

    Args:
      path: as for ``load``.
      curves: as for ``load``.
      configs: as for ``load``.

    Returns:
      The table, and what ``write_frame`` may write beside it; None where it is not of jobs.

    Raises:
      ResultsError: there is nothing to read.

    Example:
      >>> collected_with("/nowhere")
      Traceback (most recent call last):
          ...
      dpjax.results.errors.ResultsError: there is no /nowhere: give the folder of a sweep, such as results/quickstart
    """
    path = Path(path)
    if not path.exists():
        raise ResultsError(f"there is no {path}: give the folder of a sweep, such as results/quickstart")
    if path.is_file():
        return read_table(path, curves, configs), None
    frame, collected, locked = _collected(path, curves, configs)
    if len(frame):
        return frame, collected
    spoilt, refused = frame.attrs["unreadable"], frame.attrs["refused"]
    # A table of before would hide that its jobs can't be read any more.
    tables = [] if job_files(path) else [path / name for name in ("results.parquet", "results.json")]
    for table in tables:
        if table.exists():
            refuse_open_table(table)
            frame = read_table(table, curves, configs)
            frame.attrs |= {"unreadable": spoilt, "refused": refused}
            return frame, None
    if refused and not spoilt:
        raise ResultsError(f"no point of {path} has run: {'; '.join(refused).rstrip('.')}")
    if locked:  # more jobs would not help
        others = len(locked) - 1
        more = f" ({others:,} other file{'s' if others > 1 else ''} alike)" if others else ""
        raise SealedError(f"{locked[0].rstrip('.')}{more}.")
    why = f" that can be read ({spoilt[0]})" if spoilt else ""
    raise ResultsError(f"there is no result.json{why} below {path}: give the folder of a sweep with finished jobs")


def write_table(directory: Path | str) -> tuple[Path, Path]:
    """Collects a sweep's jobs into ``results.parquet`` and ``results.json`` in its folder.

    Formal guarantees: each file is replaced in one step; both hold the same rows, in the order of ``collect``.

    Args:
      directory: the sweep's folder.

    Returns:
      The paths of the Parquet and the JSON file.

    Raises:
      ResultsError: there is no result below the folder, or a file could not be written.

    Example:
      >>> write_table("/nowhere")
      Traceback (most recent call last):
          ...
      dpjax.results.errors.ResultsError: there is no /nowhere: give the folder of a sweep, such as results/quickstart
    """
    frame, collected = collected_with(directory)
    return write_frame(frame, directory, collected)


def write_frame(frame: pd.DataFrame, directory: Path | str, collected: Collected | None = None) -> tuple[Path, Path]:
    """Writes a results table as ``results.parquet`` and ``results.json``, sealed if any of the folder's jobs is.

    Args:
      frame: what ``collect`` or ``load`` gave.
      directory: existing folder to write to.
      collected: which files of the folder the rows are from, if they are all that those hold.

    Returns:
      The paths of the Parquet and the JSON file.

    Raises:
      ResultsError: a file could not be written.

    Example:
      >>> import tempfile
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     paths = write_frame(frame_of([{"seed": 0, "epsilon": float("inf")}]), folder)
      ...     [load(path)["epsilon"].item() for path in paths]
      [inf, inf]
    """
    directory = Path(directory)
    buffer = io.BytesIO()
    pq.write_table(stamped(arrow_table(frame), collected), buffer)
    kept = sealed if any_sealed(job_files(directory)) else bytes
    parquet = write_atomically(directory / "results.parquet", kept(buffer.getvalue()))
    return parquet, write_atomically(directory / "results.json", kept(as_json(frame)))
