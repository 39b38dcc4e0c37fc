"""Reading a sealed file, all of it or from anywhere in it: what comes back is what was sealed, or an error."""

import io
import os
from pathlib import Path
from typing import Any, BinaryIO

from dpjax.encryption.chunks import TAG_BYTES, Chunks
from dpjax.encryption.envelope import open_envelope
from dpjax.encryption.errors import changed
from dpjax.encryption.header import HEADER_BYTES, MAGIC, Header, read_header
from dpjax.encryption.keys import Keys


class SealedReader(io.RawIOBase):
    """A sealed file as a binary file that can be read from anywhere.

    Formal guarantees: no byte is handed on before its whole chunk is verified, and each is the one that was sealed for
    that place. The last chunk is verified at once, so a file that was cut, or added to, is told before anything of it
    is read; of a change elsewhere the first read that comes by there tells.

    Args:
      path: of the file.
      keys: one of which wrapped its data key.
      purpose: what it must have been sealed for.

    Attributes:
      size: bytes of plaintext.

    Raises:
      EncryptionError: it is not sealed, for another purpose, of a key that is not there, or was cut or changed.
      OSError: it can't be read.

    Example:
      >>> import tempfile
      >>> from dpjax.encryption.keys import new_key, ring_of
      >>> from dpjax.encryption.writer import write_sealed
      >>> keys = ring_of(new_key(), "this example")
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     path = write_sealed(Path(folder, "a.sealed"), b"one two three", keys, purpose="data")
      ...     with SealedReader(path, keys, purpose="data") as stream:
      ...         stream.size, stream.seek(4), stream.read(3)
      (13, 4, b'two')
    """

    def __init__(self, path: str | os.PathLike[str], keys: Keys, *, purpose: str) -> None:
        self._file: BinaryIO | None = None
        name = os.fspath(path)
        self._file = open(path, "rb", buffering=0)  # noqa: SIM115, closed by close
        try:
            self._chunks = open_envelope(_header_of(self._file, name), keys, purpose, name)
            body = os.fstat(self._file.fileno()).st_size - HEADER_BYTES
            self.size = self._chunks.plain_bytes(body)
            self._position, self._sealed = 0, bytearray(self._chunks.size + TAG_BYTES)
            self._last = max(0, -(-self.size // self._chunks.size) - 1)
            self._opened = (self._last, self._open(self._last))
        except BaseException:
            self.close()
            raise

    def readable(self) -> bool:
        """True."""
        return True

    def seekable(self) -> bool:
        """True."""
        return True

    def tell(self) -> int:
        """Where the next read begins, in bytes of plaintext."""
        self._check_open()
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Choose where the next read begins.

        Args:
          offset: in bytes of plaintext; past the end there is nothing to read.
          whence: 0: from the start; 1: from where it is; 2: from the end.

        Raises:
          ValueError: that is before the start.
        """
        self._check_open()
        if whence not in (io.SEEK_SET, io.SEEK_CUR, io.SEEK_END):
            raise ValueError(f"whence={whence} must be 0, 1 or 2.")
        target = offset + (0, self._position, self.size)[whence]
        if target < 0:
            raise ValueError(f"offset={offset} leads before the start; seek to 0 or more.")
        self._position = target
        return target

    def readinto(self, buffer: Any, /) -> int:
        """Fill a buffer, or as much of it as there is plaintext left.

        Args:
          buffer: contiguous and writable.

        Returns:
          How many bytes of it were filled; 0 at the end.

        Raises:
          ChangedError: a chunk is not what was sealed; the buffer has nothing of it.
        """
        self._check_open()
        whole = memoryview(buffer)
        into = whole.cast("B") if whole.nbytes else memoryview(bytearray())
        into = into[: max(0, self.size - self._position)]
        filled, size = 0, self._chunks.size
        while filled < len(into):
            index, offset = divmod(self._position + filled, size)
            held = min(size, self.size - index * size)
            if offset == 0 and len(into) - filled >= held and index != self._opened[0]:
                self._open_into(index, into[filled : filled + held])
                filled += held
                continue
            if index != self._opened[0]:
                self._opened = (index, self._open(index))
            piece = memoryview(self._opened[1])[offset : offset + len(into) - filled]
            into[filled : filled + len(piece)] = piece
            filled += len(piece)
        self._position += filled
        return filled

    def readall(self) -> bytes:
        """All that is left, in one piece."""
        self._check_open()
        left = max(0, self.size - self._position)
        if left == 0:
            return b""
        whole = io.BytesIO()  # whose bytes are handed on as they are, where a bytearray's would be copied
        whole.seek(left - 1)
        whole.write(b"\0")
        with whole.getbuffer() as into:
            self.readinto(into)
        return whole.getvalue()

    def close(self) -> None:
        """Close the file, and let go of what was opened of it."""
        if self._file is not None:
            self._file.close()
        self._opened = (-1, bytearray())
        super().close()

    def _check_open(self) -> None:
        if self.closed:
            raise ValueError("the sealed file is closed; open it again.")

    def _open(self, index: int) -> bytearray:
        into = bytearray(max(0, min(self._chunks.size, self.size - index * self._chunks.size)))
        self._open_into(index, into)
        return into

    def _open_into(self, index: int, into: bytearray | memoryview) -> None:
        assert self._file is not None
        start = HEADER_BYTES + index * (self._chunks.size + TAG_BYTES)
        sealed = memoryview(self._sealed)[: len(into) + TAG_BYTES]
        if _read_into(self._file, start, sealed) < len(sealed):  # cut while it was read
            raise changed(self._chunks.name)
        self._chunks.open_into(index, index == self._last, sealed, into)


def read_sealed(path: str | os.PathLike[str], keys: Keys, *, purpose: str) -> bytes:
    """All that a sealed file holds.

    Args:
      path: of the file.
      keys: one of which wrapped its data key.
      purpose: what it must have been sealed for.

    Raises:
      EncryptionError: it is not sealed, for another purpose, of a key that is not there, or was cut or changed.
      OSError: it can't be read.

    Example:
      >>> import tempfile
      >>> from dpjax.encryption.keys import new_key, ring_of
      >>> from dpjax.encryption.writer import write_sealed
      >>> keys = ring_of(new_key(), "this example")
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     path = write_sealed(Path(folder, "a.sealed"), b"all of it", keys, purpose="data")
      ...     read_sealed(path, keys, purpose="data")
      b'all of it'
    """
    with SealedReader(path, keys, purpose=purpose) as stream:
        return stream.readall()


def unseal(
    sealed: bytes | bytearray | memoryview, keys: Keys, purpose: str, name: str = "what is to be opened"
) -> bytes:
    """What ``seal`` was given.

    Args:
      sealed: from it, or all bytes of a sealed file.
      keys: one of which wrapped the data key.
      purpose: what it must have been sealed for.
      name: of the file, for messages.

    Raises:
      EncryptionError: it is not sealed, for another purpose, of a key that is not there, or was cut or changed.

    Example:
      >>> from dpjax.encryption.keys import new_key, ring_of
      >>> from dpjax.encryption.writer import seal
      >>> keys = ring_of(new_key(), "this example")
      >>> unseal(seal(b"all of it", keys, "data"), keys, "data")
      b'all of it'
    """
    body = memoryview(sealed)[HEADER_BYTES:]
    chunks: Chunks = open_envelope(read_header(bytes(sealed[:HEADER_BYTES]), name), keys, purpose, name)
    plain = bytearray(chunks.plain_bytes(len(body)))
    into = memoryview(plain)
    for index, last, there, here in chunks.spans(len(plain)):
        chunks.open_into(index, last, body[here], into[there])
    return bytes(plain)


def is_sealed(path: str | os.PathLike[str]) -> bool:
    """Whether a file says that it is sealed; whether it opens is not looked at.

    Args:
      path: of the file.

    Raises:
      OSError: it can't be read.

    Example:
      >>> import tempfile
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     _ = Path(folder, "a.txt").write_text("as it is")
      ...     is_sealed(Path(folder, "a.txt")), is_sealed(folder)
      (False, False)
    """
    if not Path(path).is_file():
        return False
    with open(path, "rb", buffering=0) as stream:
        return stream.read(len(MAGIC)) == MAGIC


def purpose_of(path: str | os.PathLike[str]) -> str:
    """What a file says that it was sealed for, which its reader verifies.

    Args:
      path: of the file.

    Raises:
      EncryptionError: it is not sealed, or its header was cut or changed.
      OSError: it can't be read.

    Example:
      >>> import tempfile
      >>> from dpjax.encryption.keys import new_key, ring_of
      >>> from dpjax.encryption.writer import write_sealed
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     purpose_of(write_sealed(Path(folder, "a"), b"", ring_of(new_key(), "this example"), purpose="results"))
      'results'
    """
    with open(path, "rb", buffering=0) as file:
        return read_header(_first_bytes(file), os.fspath(path)).purpose


def _header_of(file: BinaryIO, name: str) -> Header:
    header = read_header(_first_bytes(file), name)
    if not any(header.slots):  # read while a rotation moved the key from one slot to the other
        header = read_header(_first_bytes(file), name)
    return header


def _first_bytes(file: BinaryIO) -> bytes:
    raw = bytearray(HEADER_BYTES)
    return bytes(raw[: _read_into(file, 0, memoryview(raw))])


def _read_into(file: BinaryIO, start: int, into: memoryview) -> int:
    filled = 0
    while filled < len(into):  # a raw file may give less than all
        if hasattr(os, "preadv"):  # which leaves alone the position that a forked process shares
            got = os.preadv(file.fileno(), [into[filled:]], start + filled)
        else:
            file.seek(start + filled)
            got = file.readinto(into[filled:])  # pyright: ignore[reportAttributeAccessIssue]
        if not got:
            break
        filled += got
    return filled
