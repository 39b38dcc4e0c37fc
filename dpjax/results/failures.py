"""Jobs that ended without a result: what is written of them, so that no table forgets them."""

import contextlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from dpjax.results.errors import ResultsError
from dpjax.results.result_files import FAILURE_FILE, JOB_FILE, parse_job_file, visible_files, write_atomically
from dpjax.results.sealing import SealedError, content_hash, content_of, sealed

_FORMAT, _VERSION = "dpjax-failure", 1
_UNSEALED = (
    "what was wrong may quote a row and could not be sealed, so that the terminal alone was told; name the keys in "
    "DPJAX_KEYS before the next run."
)


class Failure(NamedTuple):
    """A job that ended without a result.

    Attributes:
      folder: its folder, relative to the one that was read.
      experiment: name of the experiment.
      overrides: that made the job.
      error: what went wrong, in one sentence.
      refused: whether a ledger refused it, so that nothing went wrong.
    """

    folder: str
    experiment: str
    overrides: str
    error: str
    refused: bool = False

    def __str__(self) -> str:
        return f"failed: {self.overrides or self.folder}: {self.error}"


def write_failure(
    job_dir: Path | str, experiment: str, overrides: str, error: str, *, refused: bool = False, seal: bool = False
) -> Path | None:
    """Says in a job's folder that it failed, and why.

    Formal guarantees: a result that is written later counts, and this no more, whatever the clock says. A folder that
    can't be written is no reason to fail once more. What is to be sealed never lies open: without a key the file says
    no more than that the job failed.

    Args:
      job_dir: the job's folder; made if it is not there.
      experiment: name of the experiment.
      overrides: that made the job.
      error: one sentence.
      refused: whether a ledger refused it.
      seal: whether the file is encrypted, as the sentence may quote a row; readers find that out.

    Returns:
      The file; None if it could not be written.

    Example:
      >>> import tempfile
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     _ = write_failure(Path(folder) / "job", "mine", "privacy.epsilon=1", "too little noise")
      ...     print(*read_failures(folder)[0])
      failed: privacy.epsilon=1: too little noise
    """
    facts = {"experiment": experiment, "overrides": overrides, "error": error, "beside": _beside(Path(job_dir))}
    facts |= {"refused": True} if refused else {}
    try:
        content = sealed(_dump(facts)) if seal else _dump(facts)
    except SealedError:
        content = _dump(facts | {"error": _UNSEALED})
    try:
        Path(job_dir).mkdir(parents=True, exist_ok=True)
        return write_atomically(Path(job_dir) / FAILURE_FILE, content)
    except (OSError, ResultsError):
        return None


def _dump(facts: Mapping[str, Any]) -> bytes:
    document = {"format": _FORMAT, "version": _VERSION, **facts}
    return (json.dumps(document, ensure_ascii=False, indent=1) + "\n").encode()


def clear_failure(job_dir: Path | str) -> None:
    """Takes away what an earlier try left of its failure, now that the job is known to be finished.

    Args:
      job_dir: the job's folder.
    """
    with contextlib.suppress(OSError):
        (Path(job_dir) / FAILURE_FILE).unlink(missing_ok=True)


def read_failures(directory: Path | str) -> tuple[list[Failure], list[str]]:
    """Every job below a folder that failed and has not finished since; and the files that cannot be read.

    Args:
      directory: a sweep's folder, or one above.

    Example:
      >>> read_failures("/nowhere")
      ([], [])
    """
    root = Path(directory)
    failures, unreadable = [], []
    for path in visible_files(root, FAILURE_FILE):
        try:
            read = read_document(path, _FORMAT)
            if _has_finished_since(path.parent, read.get("beside")):
                continue  # it was run again
        except SealedError as error:
            unreadable.append(str(error))
            continue
        except (OSError, ValueError) as error:
            unreadable.append(f"{path} {reason(error)}")
            continue
        folder = str(path.parent.relative_to(root))
        told = (str(read.get(name) or "") for name in ("experiment", "overrides", "error"))
        failures.append(Failure(folder, *told, refused=read.get("refused") is True))
    return failures, unreadable


def failed_sentences(failures: Iterable[Failure]) -> list[str]:
    """One line for each job that failed; none for those that a ledger refused.

    Args:
      failures: what ``read_failures`` found.

    Example:
      >>> failed_sentences([Failure("0", "mine", "", "a full disk"), Failure("1", "mine", "", "too much", True)])
      ['failed: 0: a full disk']
    """
    return [str(failure) for failure in failures if not failure.refused]


def refused_sentences(failures: Iterable[Failure]) -> list[str]:
    """How many points a ledger refused, one line for each reason.

    Args:
      failures: what ``read_failures`` found.

    Example:
      >>> refused_sentences([Failure(f"{i}", "mine", "", "data clinic has spent all.", i > 0) for i in range(3)])
      ['2 points were refused by the ledger: data clinic has spent all.']
    """
    reasons = Counter(failure.error for failure in failures if failure.refused)
    return [
        f"{'1 point was' if number == 1 else f'{number:,} points were'} refused by the ledger: {error}"
        for error, number in reasons.items()
    ]


def read_document(path: Path, kind: str) -> dict[str, Any]:
    """A JSON file of dpjax's own.

    Args:
      path: the file.
      kind: its ``format``.

    Raises:
      ValueError: it is another's, of another version or not JSON.
      SealedError: it is sealed, and the keys that ``DPJAX_KEYS`` names don't open it.
      OSError: it can't be read.
    """
    try:
        document = json.loads(content_of(path))
    except RecursionError as error:
        raise ValueError("is nested too deeply to be read") from error
    if not isinstance(document, dict) or document.get("format") != kind:
        raise ValueError("was not written by dpjax")
    if document.get("version") != _VERSION:
        raise ValueError(f"has format version {document.get('version')}, this dpjax reads {_VERSION}")
    return document


def reason(error: Exception) -> str:
    """Why a file can't be used, in words that follow its name.

    Args:
      error: what ``read_document`` raised.
    """
    if isinstance(error, OSError):
        return f"cannot be read ({error.strerror})"
    if isinstance(error, (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError)):
        return "is cut short or not what dpjax writes"
    return str(error)


def _beside(job_dir: Path) -> str | None:
    """What names the result in a job's folder, which an earlier try has left; None: there is none."""
    try:
        return content_hash(job_dir / JOB_FILE)  # which stays when the file is given another key
    except OSError:
        return None


def _has_finished_since(job_dir: Path, beside: object) -> bool:
    if _beside(job_dir) in (None, beside):
        return False
    try:
        return bool(parse_job_file(job_dir / JOB_FILE))
    except ResultsError:
        return False
