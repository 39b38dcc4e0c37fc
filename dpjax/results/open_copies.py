"""A file, or a page, that would lie open of results that lie sealed: only for who says so."""

from collections.abc import Iterable
from contextlib import AbstractContextManager
from pathlib import Path

from dpjax.private_files import all_private
from dpjax.results.result_files import FAILURE_FILE, job_files, visible_files
from dpjax.results.sealing import SealedError, any_sealed, content_of, is_sealed

_TABLES = ("results.parquet", "results.json")
_COPIES = ("*.html", "summary.csv", "table.md", "table.tex", "figures/*", "study.journal")
_LOG, _SCORE = "run.log", b"] seed "


def sealed_at(place: Path | str, *, failures: bool = False) -> bool:
    """Whether results lie sealed: a table, or any job or table below a folder.

    Args:
      place: the folder or the file.
      failures: whether what is told of jobs that failed counts too, which may quote a row.

    Example:
      >>> sealed_at("/nowhere")
      False
    """
    path = Path(place)
    if not path.is_dir():
        return is_sealed(path)
    told = visible_files(path, FAILURE_FILE) if failures else []
    return any_sealed(path / name for name in _TABLES) or any_sealed((*job_files(path), *told))


def refuse_open_copy(
    places: Iterable[Path | str],
    what: str,
    *,
    allowed: bool,
    failures: bool = False,
    fix: str = "add --open if it may, or look at the results with `dpjax results show`",
) -> None:
    """Refuse what would write open what lies sealed. What is printed at a terminal needs no leave.

    Formal guarantees: nothing is opened to find this out, so it needs no key.

    Args:
      places: folders or tables that would be read.
      what: would be written, such as "the report".
      allowed: whether the user has said that it may lie open.
      failures: whether it would tell why jobs failed.
      fix: what to do instead.

    Raises:
      SealedError: one of them is sealed, and it is not allowed.

    Example:
      >>> refuse_open_copy(["/nowhere"], "the report", allowed=False)
    """
    sealed = None if allowed else next((each for each in places if sealed_at(each, failures=failures)), None)
    if sealed is not None:
        raise SealedError(f"{sealed} is sealed, and {what} would lie open; {fix}.")


def private_copies(places: Iterable[Path | str]) -> AbstractContextManager[None]:
    """While it lasts, what is written open of results that lie sealed is its owner's alone, of mode 600.

    Args:
      places: folders or tables that are read.

    Example:
      >>> with private_copies(["/nowhere"]):  # as of results that lie open
      ...     pass
    """
    return all_private(any(sealed_at(each, failures=True) for each in places))


def refuse_unopened(places: Iterable[Path | str]) -> None:
    """Refuse sealed results that the keys don't open, before what was made of them with the right key is written over.

    Args:
      places: folders or tables that would be read.

    Raises:
      SealedError: the keys that ``DPJAX_KEYS`` names don't open one of them.

    Example:
      >>> refuse_unopened(["/nowhere"])
    """
    for place in map(Path, places):
        jobs = job_files(place)
        tables = [place / name for name in _TABLES] if place.is_dir() else [place]
        for path in (*(jobs or tables), *visible_files(place, FAILURE_FILE)):
            if is_sealed(path):
                content_of(path)


def open_beside(folder: Path | str) -> list[str]:
    """Files with scores that lie open in a sweep's folder, as a run or a command wrote them before it was sealed.

    Args:
      folder: of the sweep, or of one job.

    Returns:
      Their names in the folder: reports, tables, figures, and logs that tell how seeds ended.

    Example:
      >>> open_beside("/nowhere")
      []
    """
    root = Path(folder)
    found = {path for pattern in _COPIES for path in root.glob(pattern) if path.is_file() and not is_sealed(path)}
    found |= {path for path in (*root.glob(_LOG), *root.glob(f"*/{_LOG}")) if _SCORE in path.read_bytes()}
    return sorted(path.relative_to(root).as_posix() for path in found)
