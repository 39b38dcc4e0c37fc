"""Files that are there whole or not at all, and the user's folders. No JAX in here."""

import glob
import hashlib
import logging
import os
import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

MACHINE = hashlib.sha256(socket.gethostname().encode()).hexdigest()[:8]
LOCK_ENDING = ".lock"
"""Of the file beside a folder of states, which names the process that keeps them."""
STALE_SECONDS = 3600.0  # writing a file takes far less
PART = re.compile(r"\.(?P<whole>.+?)(?:\.\d+)?\.(?:(?P<machine>\w+)\.)?(?P<process>\d+)\.tmp")
"""Names of files that are being written; see ``whole_file``."""

log = logging.getLogger("dpjax.keeping")


def user_folder(kind: str, variable: str, chosen: str | os.PathLike[str] | None = None) -> Path:
    """The folder that was chosen, or named by an environment variable, or of this kind in the user's cache.

    Args:
      kind: such as ``"datasets"``.
      variable: of the environment; empty counts as not set.
      chosen: the folder itself, with ``~`` for the user's home; None: not chosen.

    Example:
      >>> user_folder("datasets", "DPJAX_DATA_DIR", "here").name
      'here'
    """
    folder = chosen or os.environ.get(variable)
    return Path(folder).expanduser() if folder else users_folder(kind)


def users_folder(kind: str) -> Path:
    """The folder of a kind in the user's own cache.

    Example:
      >>> users_folder("datasets").name
      'datasets'
    """
    import platformdirs

    return Path(platformdirs.user_cache_dir("dpjax")) / kind


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A path beside ``path`` to write to, which becomes ``path`` in one step when all went well.

    Formal guarantees: a reader, or a crash, sees the old file or the whole new one; on any failure, Ctrl-C included,
    ``path`` is as it was and nothing is left beside it. Two writers at once, on one machine or two, do not meet.

    Args:
      path: what to write; its folder must exist.

    Raises:
      OSError: the file can't be moved into place.

    Example:
      >>> import tempfile
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     with whole_file(Path(folder) / "a.txt") as part:
      ...         _ = part.write_text("all of it")
      ...     [(path.name, path.read_text()) for path in Path(folder).iterdir()]
      [('a.txt', 'all of it')]
    """
    # The dot keeps the file out of every listing of results.
    part = path.with_name(f".{path.name}.{threading.get_ident()}.{MACHINE}.{os.getpid()}.tmp")
    try:
        yield part
        os.replace(part, path)
    except BaseException:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        raise


def write_whole(path: Path, data: bytes, *, durable: bool = False) -> Path:
    """Writes a file so that a reader, or a crash, sees the old file or the whole new one.

    Formal guarantees: those of ``whole_file``.

    Args:
      path: what to write; its folder must exist.
      data: its bytes.
      durable: whether the bytes are on the disk, past a power cut, when this returns; some milliseconds.

    Returns:
      The path.

    Raises:
      OSError: the disk is full, or the folder is missing or can't be written.

    Example:
      >>> import tempfile
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     write_whole(Path(folder) / "table.csv", b"a,b").read_bytes()
      b'a,b'
    """
    with whole_file(path) as part, open(part, "wb") as stream:
        stream.write(data)
        if durable:
            stream.flush()
            os.fsync(stream.fileno())
    if durable:
        sync_folder(path.parent)
    return path


def sync_folder(folder: Path) -> None:
    """Put on the disk which files a folder has, where the file system lets it: a rename is to survive a power cut.

    Args:
      folder: that a file was moved into.
    """
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def discard_leftovers(directory: Path | str) -> list[Path]:
    """Removes the temporary files of writers that were killed.

    Formal guarantees: none of a process that lives on this machine goes, nor of another machine's within an hour.

    Args:
      directory: a sweep's folder; its jobs' folders are looked at too.

    Returns:
      What was removed.

    Example:
      >>> discard_leftovers("/nowhere")
      []
    """
    removed = []
    for path in Path(directory).rglob(".*.tmp"):
        try:
            if path.is_file() and is_left_behind(path):
                path.unlink(missing_ok=True)
                removed.append(path)
        except OSError:
            log.debug("left a temporary file behind: %s", path)
    return removed


def discard_parts_of(path: Path) -> list[Path]:
    """Removes what writers of one file left when they were killed.

    Formal guarantees: as ``discard_leftovers``; no other folder is looked at.

    Args:
      path: of the whole file, which stays.

    Returns:
      What was removed.

    Example:
      >>> discard_parts_of(Path("/nowhere/a.csv"))
      []
    """
    removed = []
    for part in path.parent.glob(f".{glob.escape(path.name)}.*.tmp"):
        with suppress(OSError):
            found = PART.fullmatch(part.name)
            if found and found["whole"] == path.name and is_left_behind(part):
                part.unlink(missing_ok=True)
                removed.append(part)
    return removed


def is_left_behind(path: Path) -> bool:
    """Whether a file is the temporary one of a writer that was killed.

    Raises:
      OSError: it is gone, or can't be looked at.

    Example:
      >>> is_left_behind(Path("whole.json"))
      False
    """
    writer = PART.fullmatch(path.name)
    if writer is None:
        return False
    stale = time.time() - path.stat().st_mtime > STALE_SECONDS
    return stale or (writer["machine"] == MACHINE and not _lives(int(writer["process"])))


def this_process() -> str:
    """What names this process on this machine, for a file that says who works on a folder."""
    return f"{MACHINE}.{os.getpid()}"


def runs_here(process: str) -> bool | None:
    """Whether the process that ``this_process`` named lives; None of another machine's, or where none is named.

    Args:
      process: its name.

    Example:
      >>> runs_here(this_process()), runs_here("elsewhere.1"), runs_here("")
      (True, None, None)
    """
    machine, _, number = process.partition(".")
    return _lives(int(number)) if machine == MACHINE and number.isdigit() else None


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return not _is_zombie(process)


def _is_zombie(process: int) -> bool:
    """Whether it has ended, and its parent has not asked how: in a container that may be so for good."""
    try:
        return Path(f"/proc/{process}/stat").read_text(errors="replace").rpartition(")")[2].split()[0] == "Z"
    except (OSError, IndexError):  # no such files here, or it has just gone
        return False
