"""How the commands end in an error: one sentence, and an exit status."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import typer

_FULL = (errno.ENOSPC, errno.EDQUOT)
_MISSING = (errno.ENOENT, errno.ENOTDIR)


@contextmanager
def errors_in_one_line(kind: type[ValueError | OSError] | None = None) -> Iterator[None]:
    """Errors of a kind, of data sets if None, as one sentence and exit status 1."""
    from dpjax.fetching.sources import DatasetError

    expected = kind or DatasetError
    try:
        yield
    except expected as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from None


@contextmanager
def disk_in_one_line(read: Path | None, written: Path | None = None) -> Iterator[None]:
    """What a disk refuses as a sentence with the file and the fix.

    Args:
      read: the file that is read within; None: none is.
      written: the file that is written; None: none is.

    Raises:
      ValueError: in the place of each OSError.
    """
    try:
        yield
    except OSError as error:
        there = written is not None and error.errno == errno.EEXIST  # of what is written, though it is what is read
        if read is not None and not there and (written is None or error.filename == os.fspath(read)):
            raise ValueError(_unread(read, error)) from error
        if written is None:
            raise
        raise ValueError(_unwritten(written, error)) from error


def _unread(path: Path, error: OSError) -> str:
    if error.errno in _MISSING:
        return f"{path} is not there; name a file that is."
    if error.errno == errno.EISDIR:
        return f"{path} is a folder; name a file in it."
    return f"{path} can't be read ({error.strerror}); let its owner give you the right to."


def _unwritten(path: Path, error: OSError) -> str:
    if error.errno in (errno.EEXIST, errno.EISDIR):
        return f"{path} is there already; name another file."
    if error.errno in _MISSING:
        return f"the folder {path.parent} is not there; make it, or name another."
    if error.errno in _FULL:
        return f"{path} can't be written ({error.strerror}); make room on that disk, or name a folder on another."
    if error.errno == errno.EFBIG:
        return f"{path} can't be written ({error.strerror}); raise the limit with `ulimit -f`, or name another disk."
    return f"{path} can't be written ({error.strerror}); name a file in a folder that you may write to."
