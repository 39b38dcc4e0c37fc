"""Writing a sealed file: whole or not at all, and no plaintext on the disk."""

import io
import os
import re
from pathlib import Path
from types import TracebackType
from typing import Any

from dpjax.encryption.chunks import TAG_BYTES
from dpjax.encryption.envelope import new_envelope
from dpjax.encryption.errors import EncryptionError
from dpjax.encryption.header import CHUNK_BYTES
from dpjax.encryption.keys import Keys
from dpjax.keeping import sync_folder, whole_file


class SealedWriter(io.BufferedIOBase):
    """A binary file that seals what is written to it, as it comes.

    Formal guarantees: at most a chunk of plaintext is held, and none is written. The file is there, whole, when
    ``close`` returns; a ``with`` block that ends by an exception, ``discard``, or a writer that is dropped without
    ``close`` leave what was there before.

    Args:
      path: what to write; its folder must exist.
      keys: whose first seals it.
      purpose: what the file is for, one of ``header.PURPOSES``; a reader must ask for the same.
      durable: whether it is on the disk, past a power cut, when ``close`` returns; some milliseconds.
      chunk_bytes: plaintext of a chunk: the least that a reader opens.

    Raises:
      EncryptionError: another purpose, or the keys are out of reach.
      OSError: the disk is full, or the folder is missing or can't be written.

    Example:
      >>> import tempfile
      >>> from dpjax.encryption.keys import new_key, ring_of
      >>> from dpjax.encryption.reader import read_sealed
      >>> keys = ring_of(new_key(), "this example")
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     with SealedWriter(Path(folder, "a.sealed"), keys, purpose="data") as stream:
      ...         _ = stream.write(b"all "), stream.write(b"of it")
      ...     read_sealed(Path(folder, "a.sealed"), keys, purpose="data")
      b'all of it'
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        keys: Keys,
        *,
        purpose: str,
        durable: bool = False,
        chunk_bytes: int = CHUNK_BYTES,
    ) -> None:
        self._out: io.BufferedWriter | None = None  # first, as __del__ comes by whatever fails below
        self._path, self._durable = Path(path), durable
        header, self._chunks = new_envelope(keys, purpose, chunk_bytes)
        self._index, self._written = 0, 0
        self._held, self._sealed = bytearray(), bytearray(chunk_bytes + TAG_BYTES)
        self._whole = whole_file(self._path)
        part = self._whole.__enter__()
        try:
            self._out = open(part, "wb")  # noqa: SIM115, closed by close and discard
            self._out.write(header)
        except BaseException as error:
            self._give_up(error)
            raise

    def writable(self) -> bool:
        """True."""
        return True

    def tell(self) -> int:
        """How many bytes were written to it."""
        return self._written

    def write(self, data: Any, /) -> int:
        """Seal what fills a chunk, and hold the rest.

        Args:
          data: bytes, or anything that has a contiguous buffer.

        Returns:
          How many bytes that was: all.

        Raises:
          EncryptionError: it has no such buffer.
          OSError: the disk is full.
          ValueError: it is closed.
        """
        if self._out is None:
            raise ValueError(f"{self._path} is closed; open another writer.")
        whole = left = _bytes_of(data)
        size = self._chunks.size
        while left:
            # A full chunk waits until more comes, as only the last is marked as such.
            if len(self._held) == size:
                self._emit(self._held, last=False)
                self._held.clear()
            if not self._held and len(left) > size:
                self._emit(left[:size], last=False)
                left = left[size:]
            else:
                fits = left[: size - len(self._held)]
                self._held += fits
                left = left[len(fits) :]
        self._written += whole.nbytes
        return whole.nbytes

    def close(self) -> None:
        """Seal what is held, as the last chunk, and put the file in its place."""
        if self._out is None:
            return
        try:
            self._emit(self._held, last=True)
            self._out.flush()
            if self._durable:
                os.fsync(self._out.fileno())
            self._out.close()
        except BaseException as error:
            self._give_up(error)
            raise
        self._out = None
        super().close()
        self._whole.__exit__(None, None, None)
        if self._durable:
            sync_folder(self._path.parent)

    def discard(self) -> None:
        """Leave what was there before."""
        self._give_up(GeneratorExit())

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is None:
            self.close()
        else:
            self._give_up(error)

    def __del__(self) -> None:
        # A file object closes itself when it is dropped; half a file must not become a whole one so.
        self.discard()

    def _emit(self, plain: bytearray | memoryview, last: bool) -> None:
        assert self._out is not None
        sealed = memoryview(self._sealed)[: len(plain) + TAG_BYTES]
        self._chunks.seal_into(self._index, last, plain, sealed)
        self._index += 1
        self._out.write(sealed)

    def _give_up(self, error: BaseException) -> None:
        out, self._out = self._out, None
        if out is not None:
            try:
                out.close()
            except OSError:
                pass  # the disk is full, and what is there goes
            finally:
                self._whole.__exit__(type(error), error, error.__traceback__)
        super().close()


def write_sealed(path: str | os.PathLike[str], data: Any, keys: Keys, *, purpose: str, durable: bool = False) -> Path:
    """Write a sealed file, whole or not at all.

    Formal guarantees: those of ``SealedWriter``; the data key is fresh, also where a file is written again.

    Args:
      path: what to write; its folder must exist.
      data: its bytes, or anything that has a contiguous buffer.
      keys: whose first seals it.
      purpose: what the file is for, one of ``header.PURPOSES``.
      durable: whether it is on the disk, past a power cut, when this returns; some milliseconds.

    Returns:
      The path.

    Raises:
      EncryptionError: another purpose, the keys are out of reach, or the data have no such buffer.
      OSError: the disk is full, or the folder is missing or can't be written.

    Example:
      >>> import tempfile
      >>> from dpjax.encryption.keys import new_key, ring_of
      >>> keys = ring_of(new_key(), "this example")
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     b"secret" in write_sealed(Path(folder, "a.sealed"), b"secret", keys, purpose="data").read_bytes()
      False
    """
    with SealedWriter(path, keys, purpose=purpose, durable=durable) as stream:
        stream.write(data)
    return Path(path)


def seal(data: Any, keys: Keys, purpose: str, *, chunk_bytes: int = CHUNK_BYTES) -> bytes:
    """Bytes as those of a sealed file.

    Args:
      data: bytes, or anything that has a contiguous buffer.
      keys: whose first seals it.
      purpose: what it is for, one of ``header.PURPOSES``.
      chunk_bytes: plaintext of a chunk.

    Raises:
      EncryptionError: another purpose, the keys are out of reach, or the data have no such buffer.

    Example:
      >>> from dpjax.encryption.keys import new_key, ring_of
      >>> from dpjax.encryption.reader import unseal
      >>> keys = ring_of(new_key(), "this example")
      >>> unseal(seal(b"all of it", keys, "data"), keys, "data")
      b'all of it'
    """
    header, chunks = new_envelope(keys, purpose, chunk_bytes)
    plain = _bytes_of(data)
    spans = list(chunks.spans(len(plain)))
    sealed = bytearray(len(header) + spans[-1][3].stop)
    sealed[: len(header)] = header
    body = memoryview(sealed)[len(header) :]
    for index, last, there, here in spans:
        chunks.seal_into(index, last, plain[there], body[here])
    return bytes(sealed)


def _bytes_of(data: Any) -> memoryview:
    try:
        whole = memoryview(data)
        if "O" in re.sub(":.*?:", "", whole.format):  # but in names of fields: addresses, and none of what lies there
            raise TypeError("it holds Python objects")
        return whole.cast("B") if whole.nbytes else memoryview(b"")
    except (TypeError, ValueError, NotImplementedError, BufferError) as error:
        kind = type(data).__name__
        raise EncryptionError(
            f"data of type {kind} has no contiguous buffer of plain numbers ({error}); give bytes, as array.tobytes()."
        ) from error
