"""Results that lie open where they were sealed: not what the run wrote, for all that anybody can tell."""

import re
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from dpjax.results.sealing import SealedError, any_sealed, is_sealed

_TABLES = ("results.parquet", "results.json")
_SEALS = re.compile(r"^governance:\n(?: .*\n)*? +seal: true$", re.MULTILINE)


def refuse_open_among_sealed(path: Path) -> None:
    """Refuse a result that lies open though what lies beside it says that it was sealed.

    Args:
      path: of a job's ``result.json``; one that is not there is none.

    Raises:
      SealedError: it lies open, and its table is sealed, or the settings of its run or sweep say that it was to be.

    Example:
      >>> refuse_open_among_sealed(Path("/nowhere/0/result.json"))
    """
    if path.is_file() and not is_sealed(path) and (_was_sealed(path.parent) or _was_sealed(_sweep_of(path))):
        raise SealedError(told(path))


def lies_sealed_beside(path: Path) -> bool:
    """Whether a table is sealed in the folder of a job or of its sweep.

    Args:
      path: of a job's ``result.json``, which need not be there.

    Example:
      >>> lies_sealed_beside(Path("/nowhere/0/result.json"))
      False
    """
    return any_sealed(folder / name for folder in {path.parent, _sweep_of(path)} for name in _TABLES)


def open_among_sealed(files: Iterable[Path]) -> list[Path]:
    """Results that lie open in a sweep of which others are sealed, or whose settings say that all were to be.

    Args:
      files: ``result.json`` of jobs.

    Example:
      >>> open_among_sealed([Path("/nowhere/0/result.json"), Path("/nowhere/1/result.json")])
      []
    """
    sweeps: dict[Path, list[Path]] = {}
    for file in files:
        sweeps.setdefault(file.parent.parent, []).append(file)
    found: list[Path] = []
    for members in sweeps.values():
        groups = [members] if _sweep_of(members[0]) != members[0].parent else [[each] for each in members]
        for group in groups:
            if any_sealed(group) or _was_sealed(_sweep_of(group[0])):
                found += [each for each in group if not is_sealed(each)]
    return found


def refuse_open_table(table: Path) -> None:
    """Refuse a table that lies open in the folder of a sweep whose settings, or other table, say that it was sealed.

    Args:
      table: of the sweep's folder.

    Raises:
      SealedError: it does.

    Example:
      >>> refuse_open_table(Path("/nowhere/results.parquet"))
    """
    if not is_sealed(table) and _was_sealed(table.parent):
        raise SealedError(told(table))


def told(path: Path) -> str:
    """What is said of such a file.

    Args:
      path: of it.

    Example:
      >>> told(Path("0/result.json"))[:61]
      '0/result.json lies open where it was sealed, so anybody may h'
    """
    return (
        f"{path} lies open where it was sealed, so anybody may have written it; put the sealed file back from a copy, "
        "or seal it by `dpjax keys seal` if you know that it is what your run wrote before it was sealed."
    )


def _sweep_of(path: Path) -> Path:
    """The folder of a job's sweep; of a run that is no sweep, its own."""
    above = path.parent.parent
    of_a_sweep = (above / "multirun.yaml").is_file() or any((above / name).is_file() for name in _TABLES)
    return above if of_a_sweep else path.parent


def _was_sealed(folder: Path) -> bool:
    """Whether a folder of a run or a sweep says that its results are sealed."""
    if any_sealed(folder / name for name in _TABLES):
        return True
    for settings in (folder / "multirun.yaml", folder / ".hydra" / "config.yaml"):
        with suppress(OSError, UnicodeDecodeError):
            if _SEALS.search(settings.read_text(encoding="utf-8")):
                return True
    return False
