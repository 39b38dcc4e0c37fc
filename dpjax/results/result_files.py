"""Result files that are either whole or absent: one ``result.json`` per finished job, written by rename.

The file is ``{"format": "dpjax-result", "version": 1, "digest": ..., "rows": [...]}``: valid JSON, in which numbers
that JSON lacks are the texts "inf", "-inf" and "nan" (see ``dpjax.results.schema``).
"""

import errno
import json
import logging
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from dpjax.keeping import write_whole
from dpjax.results.errors import ResultsError
from dpjax.results.forged import refuse_open_among_sealed
from dpjax.results.schema import decode, encode, plainly_fits
from dpjax.results.sealing import SealedError, content_of, sealed

JOB_FILE = "result.json"
FAILURE_FILE = "failure.json"
STATES_FOLDER = "checkpoints"
"""Of a job's folder: what its seeds are kept in on their way, until there is a result."""
_FORMAT = "dpjax-result"
_VERSION = 1
_FIXES = {
    errno.ENOSPC: "free space on that disk and run the same command again, finished jobs are skipped",
    errno.EDQUOT: "free space in your quota and run the same command again, finished jobs are skipped",
    errno.EACCES: "make the folder writable or choose another output folder",
    errno.EPERM: "make the folder writable or choose another output folder",
    errno.EROFS: "choose an output folder on a disk that can be written",
    errno.ENOENT: "create the folder first",
}

log = logging.getLogger("dpjax.results")


def write_atomically(path: Path | str, data: bytes) -> Path:
    """Writes a file so that a reader, or a crash, sees the old file or the whole new one.

    Formal guarantees: on return the bytes are on disk under ``path``; on any failure, Ctrl-C included, ``path`` is as
    it was and no temporary file is left.

    Args:
      path: file to write; its folder must exist.
      data: its bytes.

    Returns:
      The path.

    Raises:
      ResultsError: the disk is full, the folder is missing or cannot be written.

    Example:
      >>> import tempfile
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     write_atomically(Path(folder) / "table.csv", b"a,b\\n").read_bytes()
      b'a,b\\n'
    """
    try:
        return write_whole(Path(path), data, durable=True)
    except OSError as error:
        reason = error.strerror or str(error)
        fix = _FIXES.get(error.errno or 0, "choose another output folder")
        raise ResultsError(f"could not write {path}: {reason}; {fix}") from error


def write_job_result(
    job_dir: Path | str, rows: Iterable[Mapping[str, Any]], digest: str, *, seal: bool = False
) -> Path:
    """Writes a finished job's rows as ``result.json``: the mark that a rerun may skip the job.

    Formal guarantees: atomic and durable, so a job is finished exactly if the file is there and its digest is that of
    the config; valid JSON; ``read_job_result`` gives back equal rows. What an earlier try left of its failure goes.

    Args:
      job_dir: the job's output folder; created if missing.
      rows: one mapping per seed, from column name to value; columns outside the schema are kept.
      digest: digest of the job's config.
      seal: whether the file is encrypted, by the keys that ``DPJAX_KEYS`` names; readers find that out.

    Returns:
      The path of the file.

    Raises:
      ResultsError: no row, no key to seal with, a value that does not fit its column, or the file could not be written
        (a full disk, say).

    Example:
      >>> import tempfile
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     path = write_job_result(folder, [{"seed": 0, "epsilon": float("inf")}], "d1")
      ...     read_job_result(folder)
      ([{'seed': 0, 'epsilon': inf}], 'd1')
    """
    encoded = [{name: encode(name, value) for name, value in row.items()} for row in rows]
    if not encoded:
        raise ResultsError(f"the job of {job_dir} has no rows: give one for each seed")
    document = {"format": _FORMAT, "version": _VERSION, "digest": digest, "rows": encoded}
    job_dir = Path(job_dir)
    try:
        job_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        fix = _FIXES.get(error.errno or 0, "choose another output folder")
        raise ResultsError(f"could not create the job folder {job_dir}: {error.strerror}; {fix}") from error
    content = _dump(document)
    path = write_atomically(job_dir / JOB_FILE, sealed(content) if seal else content)
    _discard(job_dir / FAILURE_FILE)  # what failed here before has now been done
    return path


def read_job_result(job_dir: Path | str) -> tuple[list[dict[str, Any]], str] | None:
    """A finished job's rows and digest, or None if it has not finished.

    Formal guarantees: never raises for what lies on disk, but for a whole file that is sealed with a key that is not
    here, as its job is not to be run and paid for again. A file that is cut short, not JSON or not dpjax's counts as
    absent, with a warning of one line in the log ``dpjax.results``.

    Args:
      job_dir: the job's output folder.

    Returns:
      (rows, digest of the config); None without a whole file of dpjax's.

    Raises:
      SealedError: it is sealed, and the keys that ``DPJAX_KEYS`` names don't open it; or it lies open where what lies
        beside it says that it was sealed.

    Example:
      >>> read_job_result("/nowhere") is None
      True
    """
    path = Path(job_dir) / JOB_FILE
    if not path.exists():
        return None
    refuse_open_among_sealed(path)
    try:
        return _parse(path)
    except SealedError:
        raise
    except ResultsError as error:
        log.warning("%s; the job counts as not finished", error)
        return None


def job_files(directory: Path | str) -> list[Path]:
    """Every ``result.json`` below a folder, hidden folders left out, sorted so that job 10 comes after job 9.

    Args:
      directory: a sweep's folder, or any folder above.

    Example:
      >>> job_files("/nowhere")
      []
    """
    return sorted(visible_files(Path(directory), JOB_FILE), key=lambda path: _natural(str(path)))


def visible_files(root: Path, name: str) -> list[Path]:
    """Files of a name below a folder, sorted; hidden folders, of which a job has one, are not looked into.

    Args:
      root: the folder.
      name: of the files.

    Example:
      >>> visible_files(Path("/nowhere"), "result.json")
      []
    """
    found = []
    for folder, below, names in os.walk(root):
        below[:] = [each for each in below if not each.startswith(".")]
        if name in names:
            found.append(Path(folder, name))
    return sorted(found)


def parse_job_file(path: Path) -> list[dict[str, Any]]:
    """The rows of one ``result.json``.

    Args:
      path: the file.

    Raises:
      ResultsError: it is sealed for others, cut short, not JSON, not dpjax's, without rows, or a cell of it does not
        fit its column.

    Example:
      >>> parse_job_file(Path("/nowhere/result.json"))
      Traceback (most recent call last):
          ...
      dpjax.results.errors.ResultsError: /nowhere/result.json cannot be read (No such file or directory)
    """
    return _parse(path)[0]


def _parse(path: Path) -> tuple[list[dict[str, Any]], str]:
    try:
        document = json.loads(content_of(path))
    except OSError as error:
        raise ResultsError(f"{path} cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise ResultsError(f"{path} is cut short or not JSON") from error
    except RecursionError as error:
        raise ResultsError(f"{path} is nested too deeply to be read") from error
    known = isinstance(document, dict) and document.get("format") == _FORMAT
    rows = document.get("rows") if known else None
    digest = document.get("digest") if known else None
    if not isinstance(rows, list) or not isinstance(digest, str) or not all(isinstance(r, dict) for r in rows):
        raise ResultsError(f"{path} was not written by dpjax")
    if document.get("version") != _VERSION:
        raise ResultsError(f"{path} has format version {document.get('version')}, this dpjax reads {_VERSION}")
    if not rows:
        raise ResultsError(f"{path} holds no rows")
    try:
        decoded = [{name: decode(name, value) for name, value in row.items()} for row in rows]
        for row in decoded:
            for name, value in row.items():
                if not plainly_fits(name, value):
                    encode(name, value)  # raises where a cell does not fit its column
    except (ResultsError, RecursionError) as error:
        raise ResultsError(f"{path} holds a row of another schema ({error})") from error
    return decoded, digest


def _dump(document: Mapping[str, Any]) -> bytes:
    return (json.dumps(document, allow_nan=False, ensure_ascii=False, indent=1) + "\n").encode()


def _natural(text: str) -> list[tuple[int, float, str]]:
    # Digits compare as numbers; the leading 0 or 1 keeps numbers and texts from being compared with each other.
    parts = re.split(r"(\d+(?:\.\d+)?)", text)
    return [(0, float(p), "") if i % 2 else (1, 0.0, p) for i, p in enumerate(parts)]


def _discard(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError:
        log.debug("left a temporary file behind: %s", path)
