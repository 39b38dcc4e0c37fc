"""One process at a time for the folder of a job."""

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from dpjax.keeping import LOCK_ENDING, runs_here, this_process
from experiments.config import ConfigError

_LOCK = f".run{LOCK_ENDING}"


@contextmanager
def alone(folders: Sequence[Path]) -> Iterator[None]:
    """Keep other processes of this machine from running the jobs of these folders meanwhile.

    Formal guarantees: where the file system has locks, one process at a time is in the context of a folder; who is
    killed leaves no lock. Where it has none, the ledger alone keeps them apart.

    Args:
      folders: of jobs.

    Raises:
      ConfigError: another process is at one of them; it is left as it is.

    Example:
      >>> import tempfile
      >>> with tempfile.TemporaryDirectory() as folder, alone([Path(folder)]):
      ...     [path.name for path in Path(folder).iterdir()]
      ['.run.lock']
    """
    with ExitStack() as held:
        for folder in folders:
            folder.mkdir(parents=True, exist_ok=True)
            held.enter_context(_held(folder))
        yield


def refuse_others(folders: Sequence[Path]) -> None:
    """Refuse jobs of which another process of this machine is at one now; nothing is kept from it.

    Args:
      folders: of jobs.

    Raises:
      ConfigError: it is.

    Example:
      >>> refuse_others([Path("/nowhere")])
    """
    for folder in folders:
        if runs_here(_whose(folder)) and (handle := _locked(folder / _LOCK)) is not None:
            os.close(handle)  # it was left by a process whose number another has now
        elif runs_here(_whose(folder)):
            raise _is_at(folder)


def _whose(folder: Path) -> str:
    try:
        return (folder / _LOCK).read_text(encoding="utf-8", errors="replace")[:40]
    except OSError:
        return ""


def _is_at(folder: Path) -> ConfigError:
    return ConfigError(
        f"the folder {folder} is being worked on by process {_whose(folder) or 'of another'}; wait for it, and run the "
        "same command again to have its result."
    )


@contextmanager
def _held(folder: Path) -> Iterator[None]:
    path = folder / _LOCK
    handle = _locked(path)
    if handle is None:
        raise _is_at(folder)
    try:
        yield
    finally:
        with suppress(OSError):
            path.unlink(missing_ok=True)
        os.close(handle)


def _locked(path: Path) -> int | None:
    """A handle of a file that nobody else has locked; None: somebody has."""
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            import fcntl

            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except ImportError:  # of a system that has none
            return handle
        except BlockingIOError:
            os.close(handle)
            return None
        except OSError:  # of a file system that has none
            return handle
        if os.fstat(handle).st_nlink:
            with suppress(OSError):  # it is for people to read
                os.ftruncate(handle, 0)
                os.pwrite(handle, this_process().encode(), 0)
            return handle
        os.close(handle)  # who had it before took it away between our two lines
