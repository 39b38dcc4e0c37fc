"""What took long is kept, and made again when it is gone: kinds, folders, names of files. No JAX in here."""

import hashlib
import os
import re
import stat
from contextlib import suppress
from errno import EDQUOT, ENOSPC
from pathlib import Path
from typing import NamedTuple

from dpjax.keeping import PART, users_folder

_NAME = 32  # hexadecimal digits


class CacheKind(NamedTuple):
    """What is kept of a kind, to be made again when it is gone, and the ending of its files' names."""

    what: str
    ending: str


CACHES = {
    "calibration": CacheKind("noise multipliers that buy an ε", ".json"),
    "autotune": CacheKind("the fastest engine of a model", ".json"),
    "programs": CacheKind("compiled programs", ".program"),
}


def cache_folder(kind: str, chosen: str | os.PathLike[str] | None = None) -> Path:
    """The folder of one kind below what was chosen, below ``DPJAX_CACHE_DIR``, or in the user's cache.

    Args:
      kind: such as ``"calibration"``.
      chosen: the folder above it; None: not chosen.

    Example:
      >>> cache_folder("calibration", "here").parts
      ('here', 'calibration')
    """
    above = chosen or os.environ.get("DPJAX_CACHE_DIR")
    return Path(above).expanduser() / kind if above else users_folder(kind)


def cache_file(folder: Path, kind: str, key: str) -> Path:
    """Where a cache keeps what belongs to a key.

    Args:
      folder: of the kind.
      kind: of ``CACHES``.
      key: all that it depends on.

    Example:
      >>> cache_file(Path("here"), "programs", "a key").name
      '8fa3aab2faa9b79e0a0398da5b5abd07.program'
    """
    return folder / f"{hashlib.sha256(key.encode()).hexdigest()[:_NAME]}{CACHES[kind].ending}"


def cached_files(folder: Path, kind: str) -> list[Path]:
    """The files that a cache has put into its folder, those of writers that were killed among them.

    Formal guarantees: no file of another name, no folder and no link, which are somebody else's.

    Args:
      folder: of the kind; it need not exist.
      kind: of ``CACHES``.

    Raises:
      OSError: the folder can't be read.

    Example:
      >>> cached_files(Path("/nowhere"), "programs")
      []
    """
    own = re.compile(rf"[0-9a-f]{{{_NAME}}}{re.escape(CACHES[kind].ending)}")
    try:
        with os.scandir(folder) as entries:
            files = [Path(folder, entry.name) for entry in entries if entry.is_file(follow_symlinks=False)]
    except (FileNotFoundError, NotADirectoryError):
        return []
    return [path for path in files if own.fullmatch(path.name) or _is_part_of(own, path.name)]


def _is_part_of(own: re.Pattern[str], name: str) -> bool:
    part = PART.fullmatch(name)
    return part is not None and own.fullmatch(part["whole"]) is not None


def read_cached(path: Path) -> bytes:
    """The bytes of a file, which counts as used just now.

    Args:
      path: as ``cache_file`` gave it.

    Raises:
      OSError: it is missing, can't be read, or is no file: a pipe, say, which would never end.

    Example:
      >>> read_cached(Path("/"))
      Traceback (most recent call last):
      OSError: it is no file
    """
    if not stat.S_ISREG(path.stat().st_mode):
        raise OSError("it is no file")
    content = path.read_bytes()
    with suppress(OSError):
        os.utime(path)
    return content


def cache_trouble(what: str, path: Path, done: str, problem: Exception) -> str:
    """The one sentence about a cache that can't be used, with what helps.

    Args:
      what: such as ``"program cache"``.
      path: the file or folder.
      done: what could not be done with it.
      problem: why.

    Example:
      >>> print(cache_trouble("program cache", Path("a"), "written", OSError(28, "No space left on device")))
      program cache a could not be written (No space left on device); going on without it: free some space
    """
    why = problem.strerror if isinstance(problem, OSError) and problem.strerror else str(problem)
    full = isinstance(problem, OSError) and problem.errno in (ENOSPC, EDQUOT)
    fix = "free some space" if full else "set DPJAX_CACHE_DIR to a folder of your own"
    return f"{what} {path} could not be {done} ({why}); going on without it: {fix}"
