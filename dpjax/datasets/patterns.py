"""Paths with asterisks, in a file's name or in the folders above it."""

from pathlib import Path


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
    """
    first = next(i for i, part in enumerate(path.parts) if "*" in part)
    base, rest = Path(*path.parts[:first]), path.parts[first:]
    try:
        found = [each for each in base.glob("/".join(rest)) if each.is_file()]
    except (OSError, ValueError):
        return []
    return sorted(each for each in found if not any(part[0] == "." for part in each.relative_to(base).parts))
