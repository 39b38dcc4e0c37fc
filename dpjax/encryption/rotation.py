"""Another key for a file that is sealed, by its header alone."""

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import BinaryIO

from dpjax.encryption.envelope import context_of, unwrapped
from dpjax.encryption.errors import EncryptionError
from dpjax.encryption.header import HEADER_BYTES, SLOT_BYTES, SLOTS, Slot, packed_slot, read_header
from dpjax.encryption.keys import Keys
from dpjax.encryption.reader import is_sealed
from dpjax.keeping import PART


def rewrap(path: str | os.PathLike[str], keys: Keys) -> bool:
    """Wrap a file's data key by the first of the keys, and take the wraps of all others away.

    Formal guarantees: only the header is written to. The new wrap is on the disk before the old one goes, so a kill or
    a power cut at any moment leaves a file that opens, by the new key or by the old one, and a second call finishes.
    One process at a time does this to a file, where the file system has locks. The data key stays: whoever held the old
    key and a copy of the file can still read that copy, and what the same file holds; after a theft write it anew.

    Args:
      path: of a sealed file, of any purpose.
      keys: the new one first; one of them must open the file.

    Returns:
      Whether there was anything to do.

    Raises:
      EncryptionError: it is not sealed, its header was cut or changed, none of the keys opens it, or the new wrap can't
        be read back.
      OSError: it can't be written.

    Example:
      >>> import tempfile
      >>> from dpjax.encryption.keys import new_key, ring_of
      >>> from dpjax.encryption.reader import read_sealed
      >>> from dpjax.encryption.writer import write_sealed
      >>> old, new = new_key(), new_key()
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     path = write_sealed(f"{folder}/a", b"all of it", ring_of(old, "this example"), purpose="data")
      ...     both = ring_of(f"{new}\\n{old}", "this example")
      ...     rewrap(path, both), rewrap(path, both), read_sealed(path, ring_of(new, "this example"), purpose="data")
      (True, False, b'all of it')
    """
    name = os.fspath(path)
    with open(path, "r+b", buffering=0) as file:
        _lock(file)
        return _rewrap(file, keys, name, lambda at, data: _write(file, at, data))


def sealed_under(paths: Iterable[str | os.PathLike[str]]) -> tuple[list[Path], list[str]]:
    """Every sealed file among paths and in the folders among them; links to folders are not followed.

    Args:
      paths: of files and folders.

    Returns:
      The files, each once, and a sentence for each path that could not be looked at, whose files are none of them.

    Raises:
      EncryptionError: a path is not there.

    Example:
      >>> import tempfile
      >>> from dpjax.encryption.keys import new_key, ring_of
      >>> from dpjax.encryption.writer import write_sealed
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     _ = write_sealed(f"{folder}/a", b"", ring_of(new_key(), "this example"), purpose="data")
      ...     _ = Path(folder, "b").write_bytes(b"as it is")
      ...     [path.name for path in sealed_under([folder, f"{folder}/a"])[0]]
      ['a']
    """
    found: dict[Path, None] = {}
    unread: list[str] = []

    def unreadable(error: OSError) -> None:
        unread.append(f"{error.filename} can't be read ({error.strerror}); let its owner give you the right to.")

    for path in map(Path, paths):
        if not path.exists():
            raise EncryptionError(f"{path} is not there; name a sealed file, or a folder that holds some.")
        files = [path]
        if path.is_dir():
            files = [Path(at, name) for at, _, names in os.walk(path, onerror=unreadable) for name in sorted(names)]
        for file in files:
            if PART.fullmatch(file.name):  # being written, by whom it is his to seal
                continue
            try:
                if is_sealed(file):
                    found[file.resolve()] = None
            except OSError as error:
                unreadable(error)
    return list(found), unread


def _rewrap(file: BinaryIO, keys: Keys, name: str, write: Callable[[int, bytes], None]) -> bool:
    raw = _read(file)
    header = read_header(raw, name)
    data_key, found = unwrapped(header, keys, name)
    held = [number for number, at in enumerate(SLOTS) if any(raw[at : at + SLOT_BYTES])]
    slot = header.slots[found]
    assert slot is not None
    if slot.key_id == keys.ids[0]:
        if held == [found]:
            return False
        kept = found  # a rotation was cut off after its new wrap was written
    else:
        kept = 1 - found
        context = context_of(header.fixed)
        write(SLOTS[kept], packed_slot(Slot(*keys.wrap(data_key, context))))
        there = read_header(_read(file), name).slots[kept]
        if there is None or keys.unwrap(there.key_id, there.wrapped, context) != data_key:
            raise EncryptionError(f"{name} gives back another wrap than was written; look at the disk, and try again.")
    write(SLOTS[1 - kept], bytes(SLOT_BYTES))
    return True


def _read(file: BinaryIO) -> bytes:
    file.seek(0)
    return file.read(HEADER_BYTES)


def _write(file: BinaryIO, at: int, data: bytes) -> None:
    file.seek(at)
    while data:  # a raw file may take less than all
        data = data[file.write(data) :]
    os.fsync(file.fileno())


def _lock(file: BinaryIO) -> None:
    """Wait until no other process rewraps the file: two at once would write to the same slot."""
    try:
        import fcntl

        fcntl.flock(file.fileno(), fcntl.LOCK_EX)
    except (ImportError, OSError):  # of a system, or a file system, that has none
        pass
