"""A key ring in a file that its owner alone can read."""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from dpjax.encryption.errors import EncryptionError
from dpjax.encryption.key_sources.rings import KeyRing, new_key, ring_of
from dpjax.private_files import private_file

_MOST_BYTES = 1 << 16  # over 1,000 keys


def ring_in_file(place: str) -> KeyRing:
    """The key ring that a file holds.

    Formal guarantees: what is read is the file that was looked at; on POSIX it is the user's own, and neither its group
    nor others can read or write it. A symlink is followed, and what it leads to is looked at.

    Args:
      place: of the file, with ``~`` for the user's home.

    Raises:
      EncryptionError: it is not there, can't be read, is another's or others' too, or is no key ring.

    Example:
      >>> import tempfile
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     len(add_to_file(f"{folder}/keys").ids), len(ring_in_file(f"{folder}/keys").ids)
      (1, 1)
    """
    path = Path(place).expanduser()
    source = f"file:{path}"
    try:
        # O_NONBLOCK: a named pipe would wait for its writer.
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    except FileNotFoundError:
        raise EncryptionError(f"{source} is not there; make it with `dpjax keys new --to {source}`.") from None
    except OSError as error:
        raise EncryptionError(f"{source} can't be read ({error.strerror}); name a file of your own.") from None
    try:
        _refuse_others(path, os.fstat(handle))
        with os.fdopen(handle, "rb", closefd=False) as stream:
            raw = stream.read(_MOST_BYTES + 1)
    finally:
        os.close(handle)
    try:
        text = raw.decode("ascii") if len(raw) <= _MOST_BYTES else None
    except UnicodeDecodeError:
        text = None
    if text is None:
        raise EncryptionError(f"{source} is no key ring, which has a key a line; name another file.")
    return ring_of(text, source)


def add_to_file(place: str) -> KeyRing:
    """Put a fresh key on top of those of a file, which is made, for its owner alone, where there is none.

    Formal guarantees: a crash leaves the file as it was; two that add at once both add. A file of nothing, as ``touch``
    makes it, gets its first key.

    Args:
      place: of the file.

    Raises:
      EncryptionError: what is there can't be read or written, or is no key ring.

    Example:
      >>> import tempfile
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     _ = add_to_file(f"{folder}/keys")
      ...     oct(Path(folder, "keys").stat().st_mode & 0o777)
      '0o600'
    """
    path = Path(place).expanduser()
    path = path.resolve() if path.is_symlink() else path
    try:
        with _alone(path.parent):
            held = None if _is_empty(path) else ring_in_file(str(path))
            lines = [new_key(), *([] if held is None else path.read_text(encoding="ascii").split())]
            with private_file(path, replace=True) as stream:
                stream.write("".join(f"{line}\n" for line in lines).encode())
    except OSError as error:
        raise EncryptionError(
            f"file:{path} can't be written ({error.strerror}); name a file in a folder of yours."
        ) from None
    return ring_in_file(str(path))


def _is_empty(path: Path) -> bool:
    """Whether there is no file, or one of the user's own without a byte."""
    if not path.exists():
        return True
    found = path.stat()
    if stat.S_ISREG(found.st_mode) and not found.st_size:
        _refuse_others(path, found)
        return True
    return False


def _refuse_others(path: Path, found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise EncryptionError(f"file:{path} is no file; name one with a key a line.")
    if os.name != "posix":
        return
    if found.st_uid != os.geteuid():
        raise EncryptionError(f"file:{path} is another user's; copy it to a file of yours, with chmod 600.")
    if found.st_mode & 0o077:
        mode = stat.S_IMODE(found.st_mode)
        raise EncryptionError(f"file:{path} is open to others (mode {mode:o}); run chmod 600 {path}.")


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """One writer at a time, by a lock on the folder itself, where there are locks: it leaves no file behind."""
    handle = None
    with suppress(ImportError, OSError):
        import fcntl

        handle = os.open(folder, os.O_RDONLY)
        fcntl.flock(handle, fcntl.LOCK_EX)
    try:
        yield
    finally:
        if handle is not None:
            os.close(handle)
