"""A file, or a page, that would lie open of results that lie sealed: only for who says so."""

from collections.abc import Iterable
from pathlib import Path

from dpjax.results.result_files import FAILURE_FILE, job_files, visible_files
from dpjax.results.sealing import SealedError, any_sealed, is_sealed

_TABLES = ("results.parquet", "results.json")


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
