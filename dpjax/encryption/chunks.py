"""Chunks that can't be swapped, dropped, repeated or moved to another file: STREAM with AES-256-GCM."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from dpjax.encryption.errors import changed

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    type Readable = bytes | bytearray | memoryview
    type Writable = bytearray | memoryview

TAG_BYTES = 16
_INFO = b"dpjax sealed file 1: key of the chunks"


class Chunks(NamedTuple):
    """How the chunks of one file are sealed and opened. Made by ``chunks_of``.

    Formal guarantees: a nonce is the chunk's position and whether it is the last, and the key is of this file alone, so
    no nonce comes twice; a chunk opens at its own place in its own file or not at all (Hoang, Reyhanitabar, Rogaway
    and Vizár 2015: an online authenticated encryption, nOAE2, of which each whole prefix of chunks is authentic).

    Attributes:
      cipher: with the file's own key.
      bound: associated data of every chunk.
      size: plaintext bytes of a chunk, but of the last.
      name: of the file, for messages.
    """

    cipher: AESGCM
    bound: bytes
    size: int
    name: str

    def seal_into(self, index: int, last: bool, plain: Readable, into: Writable) -> None:
        """Seal a chunk.

        Args:
          index: its position, from 0.
          last: whether it ends the file.
          plain: its plaintext.
          into: ``TAG_BYTES`` longer than that.
        """
        self.cipher.encrypt_into(_nonce(index, last), plain, self.bound, into)

    def open_into(self, index: int, last: bool, sealed: Readable, into: Writable) -> None:
        """Open a chunk; nothing of one that is not authentic is left in ``into``.

        Args:
          index: its position, from 0.
          last: whether it ends the file.
          sealed: the chunk.
          into: ``TAG_BYTES`` shorter than that.

        Raises:
          ChangedError: it is not what was sealed for this place.
        """
        from cryptography.exceptions import InvalidTag

        try:
            self.cipher.decrypt_into(_nonce(index, last), sealed, self.bound, into)
        except InvalidTag:
            into[:] = bytes(len(into))  # decrypt_into leaves there what it could not verify
            raise changed(self.name) from None

    def spans(self, plain_bytes: int) -> Iterator[tuple[int, bool, slice, slice]]:
        """Position, whether it is the last, and where in plaintext and in the sealed chunks each chunk lies.

        Args:
          plain_bytes: of the whole file; 0 is one empty chunk.
        """
        count = max(1, -(-plain_bytes // self.size))
        for index in range(count):
            start, end = index * self.size, min((index + 1) * self.size, plain_bytes)
            yield (
                index,
                index == count - 1,
                slice(start, end),
                slice(start + index * TAG_BYTES, end + (index + 1) * TAG_BYTES),
            )

    def plain_bytes(self, sealed_bytes: int) -> int:
        """How much plaintext so many bytes of chunks hold.

        Args:
          sealed_bytes: of all chunks together.

        Raises:
          ChangedError: no plaintext gives so many.
        """
        count = max(1, -(-sealed_bytes // (self.size + TAG_BYTES)))
        plain = sealed_bytes - count * TAG_BYTES
        if plain < 0 or (count > 1 and plain <= (count - 1) * self.size):  # only a file of nothing has an empty chunk
            raise changed(self.name)
        return plain


def chunks_of(data_key: bytes, file_id: bytes, fixed: bytes, size: int, name: str) -> Chunks:
    """How the chunks of a file are sealed.

    Args:
      data_key: 32 random bytes of this file alone.
      file_id: from its header.
      fixed: what its header says, to which every chunk is bound.
      size: plaintext bytes of a chunk.
      name: of the file, for messages.

    Example:
      >>> chunks = chunks_of(bytes(32), bytes(32), b"", size=4, name="a file")
      >>> sealed, opened = bytearray(20), bytearray(4)
      >>> chunks.seal_into(0, False, b"text", sealed)
      >>> chunks.open_into(0, False, sealed, opened)
      >>> bytes(opened)
      b'text'
      >>> chunks.open_into(1, False, sealed, opened)  # doctest: +ELLIPSIS
      Traceback (most recent call last):
      dpjax.encryption.errors.ChangedError: a file was changed after it was sealed, or is damaged; ...

    References:
      Hoang, Reyhanitabar, Rogaway and Vizár (2015), Online authenticated-encryption and its nonce-reuse
      misuse-resistance, https://eprint.iacr.org/2015/189.
    """
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    key = HKDF(algorithm=SHA256(), length=32, salt=file_id, info=_INFO).derive(data_key)
    return Chunks(AESGCM(key), fixed, size, name)


def _nonce(index: int, last: bool) -> bytes:
    return index.to_bytes(11, "big") + bytes([last])
