"""What is asked of figures before any is drawn: names, and a place for the files. No matplotlib in here."""

from collections.abc import Sequence
from pathlib import Path

from dpjax.results import ResultsError


def known(what: str, given: Sequence[str], names: Sequence[str]) -> None:
    """Refuses a name that is none of those known.

    Args:
      what: the option that it was given for.
      given: what was given.
      names: those that there are.

    Raises:
      ResultsError: one of them is not known, or there is none where one is needed.
    """
    for name in given:
        if name not in names:
            raise ResultsError(f"--{what} {name} is not known: choose one of {', '.join(names)}")
    if what == "format" and not given:
        raise ResultsError(f"--format is empty: choose one or more of {', '.join(names)}")


def folder_of(directories: Sequence[Path | str], out: Path | str | None) -> Path:
    """Where figures go.

    Args:
      directories: the results that they are of.
      out: the folder; ``figures`` below the results if None.

    Raises:
      ResultsError: there are several results, and no folder is named.

    >>> folder_of(["results/quickstart.d"], None).as_posix()
    'results/figures'
    """
    if out is not None:
        return Path(out)
    if len(directories) > 1:
        raise ResultsError("--out is not given, and several folders share none: give one, such as --out figures")
    directory = Path(directories[0])
    return (directory if directory.is_dir() else directory.parent) / "figures"
