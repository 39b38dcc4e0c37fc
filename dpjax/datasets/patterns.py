"""Paths with asterisks, in a file's name or in the folders above it."""

from pathlib import Path

from dpjax.datasets.row_files import ending_of
from dpjax.datasets.sealed_rows import SEALED, refuse_both, without_sealed


def is_pattern(path: Path) -> bool:
    """Whether a path has an asterisk, and nothing is called so.

    Args:
      path: as the config says it.

    Example:
      >>> is_pattern(Path("data/*/visits.csv")), is_pattern(Path("data/visits.csv"))
      (True, False)
    """
    try:
        return "*" in str(path) and not path.exists()
    except OSError:  # a name too long, a folder that may not be entered: whoever opens it says so
        return False


def files_of(path: Path) -> list[Path]:
    """The files that a pattern names, in the order of their paths, but for hidden ones and those in hidden folders.

    Args:
      path: for which ``is_pattern`` holds.

    Raises:
      DatasetError: two of them hold the same rows: one is sealed, a link to the other, or of its name in another form.
    """
    first = next(i for i, part in enumerate(path.parts) if "*" in part)
    base, rest = Path(*path.parts[:first]), path.parts[first:]
    try:
        found = [each for each in base.glob("/".join(rest)) if each.is_file()]
    except (OSError, ValueError):
        return []
    files = sorted(each for each in found if not any(part[0] == "." for part in each.relative_to(base).parts))
    where = f"data.path={str(path)!r}:"
    refuse_both(files, where)
    _refuse_forms(files, where)
    return files


def _refuse_forms(files: list[Path], where: str) -> None:
    """Refuse ``v.csv`` beside ``v.csv.gz``, which a folder refuses as two of one name."""
    from dpjax.fetching.sources import DatasetError

    named: dict[Path, Path] = {}
    for file in files:
        ending = ending_of(file.name)
        stem = file.name[: -len(ending)] if ending else Path(without_sealed(file.name)).stem
        if (other := named.setdefault(file.parent / stem, file)) is not file:
            raise DatasetError(f"{where} {other.name} and {file.name} are both called {stem!r}; keep one, or name one")


def any_sealed(path: str) -> bool:
    """Whether a path names a sealed file of rows, or a folder or a pattern with one among its files.

    Args:
      path: as the config says it; empty: none is named.

    Example:
      >>> any_sealed("rows.csv"), any_sealed("rows.csv.sealed"), any_sealed("")
      (False, True, False)
    """
    place = Path(path).expanduser()
    found = [place]
    if path and is_pattern(place):
        found = files_of(place)
    elif path and place.is_dir():
        found = list(place.rglob(f"*{SEALED}"))
    return any(without_sealed(each.name) != each.name for each in found)
