"""Files for their owner alone, which have no name before they are whole: who is killed leaves nothing to be read."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from dpjax.keeping import discard_parts_of, sync_folder, whole_file

_MODE = 0o600


@contextmanager
def all_private(wanted: bool = True) -> Iterator[None]:
    """While it lasts, what this process and those that it starts make is for its owner alone.

    Args:
      wanted: whether it is; else all stays as it is.

    Example:
      >>> import tempfile
      >>> with tempfile.TemporaryDirectory() as folder, all_private():
      ...     _ = Path(folder, "a.txt").write_text("mine")
      ...     oct(Path(folder, "a.txt").stat().st_mode & 0o777)
      '0o600'
    """
    before = os.umask(0o077) if wanted else None
    try:
        yield
    finally:
        if before is not None:
            os.umask(before)


@contextmanager
def private_file(path: Path, *, replace: bool = False) -> Iterator[BinaryIO]:
    """A binary file to write to, which is at ``path``, and on the disk, when all went well.

    Formal guarantees: a reader, or a crash, sees what was there before or the whole new file, of mode 600. On Linux,
    where the file system can, it has no name until then, so that a kill at any moment leaves nothing of it; elsewhere
    it lies beside ``path`` under a hidden name, goes with any exception, Ctrl-C included, and after a kill with the
    next call. Without ``replace`` what is at ``path`` stays, and with unnamed files also what came there meanwhile.

    Args:
      path: what to write; its folder must exist.
      replace: whether what is there may go.

    Raises:
      FileExistsError: something is there, and may not go.
      OSError: the disk is full, or the folder is missing or can't be written.

    Example:
      >>> import tempfile
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     with private_file(Path(folder) / "a.txt") as stream:
      ...         _ = stream.write(b"all of it")
      ...     [(path.name, path.read_text()) for path in Path(folder).iterdir()]
      [('a.txt', 'all of it')]
    """
    discard_parts_of(path)
    _refuse_existing(path, replace)
    handle = _unnamed(path.parent)
    if handle is None:
        with _named(path, replace) as stream:
            yield stream
    else:
        with os.fdopen(handle, "wb") as stream:
            yield stream
            _flush(stream)
            if replace:
                with whole_file(path) as part:  # a link is never put in the place of another file
                    _link(handle, part)
            else:
                _link(handle, path)
    sync_folder(path.parent)


@contextmanager
def _named(path: Path, replace: bool) -> Iterator[BinaryIO]:
    with whole_file(path) as part:
        with os.fdopen(os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, _MODE), "wb") as stream:
            yield stream
            _flush(stream)
        _refuse_existing(path, replace)


def _refuse_existing(path: Path, replace: bool) -> None:
    if not replace and os.path.lexists(path):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))


def _unnamed(folder: Path) -> int | None:
    """A file without a name on the disk of a folder; None where there are none."""
    if not hasattr(os, "O_TMPFILE"):
        return None
    with suppress(OSError):
        handle = os.open(folder, os.O_TMPFILE | os.O_WRONLY, _MODE)
        if os.path.exists(f"/proc/self/fd/{handle}"):
            return handle
        os.close(handle)
    return None


def _link(handle: int, path: Path) -> None:
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        # Python follows the link in /proc only where it is given folders.
        os.link(f"/proc/self/fd/{handle}", path.name, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=True)
    finally:
        os.close(folder)


def _flush(stream: BinaryIO) -> None:
    stream.flush()
    os.fsync(stream.fileno())
