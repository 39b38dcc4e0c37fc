"""The first bytes of a sealed file: what never changes, and two slots for the wrapped data key.

| offset | bytes | what |
|---|---|---|
| 0 | 16 | ``MAGIC`` |
| 16 | 4 | version, big-endian, as all numbers are |
| 20 | 4 | plaintext bytes of a chunk |
| 24 | 32 | file id, random |
| 56 | 32 | purpose, in ASCII, filled up with zeros |
| 88 | 32 | SHA-256 of all before |
| 512 | 1536 | slot 0 |
| 2048 | 1536 | slot 1 |

All other bytes are zero. A slot is zero where it holds nothing; else 16 bytes of key id, 2 of length, the wrapped data
key, zeros, and in the last 32 the SHA-256 of all before. The hashes protect nothing, for which the wrap is there: they
tell what is damaged, or half written, from what is of another version or key.

The wrap is bound to ``dpjax data key: `` and the first 88 bytes. Behind the header lie the chunks, each 16 bytes longer
than its plaintext: AES-256-GCM under the HKDF-SHA256 of the data key (salt: the file id; info: ``dpjax sealed file 1:
key of the chunks``), with the first 88 bytes as associated data and a nonce of 11 bytes of position and 1 that is 1 for
the last. A key ring's wrap is a nonce of 12 bytes and the AES-256-GCM of the data key; the id of its key the first 16
bytes of the SHA-256 of ``dpjax key id: `` and the key.
"""

import hashlib
import secrets
from typing import NamedTuple

from dpjax.encryption.errors import ChangedError, EncryptionError, changed

MAGIC = b"\x89dpjax sealed\r\n\x1a"
VERSION = 1
HEADER_BYTES = 4096
CHUNK_BYTES = 1 << 20
"""Plaintext of a chunk, but of the last."""
PURPOSES = ("checkpoint", "results", "data", "ledger export")
"""What a file may be sealed for; one of another purpose is refused by its reader."""
SLOTS = (512, 2048)
"""Where they begin: no two in one sector of a disk."""
SLOT_BYTES = 1536
_FIXED = 88
_KEY_ID, _LENGTH, _HASH = 16, 2, 32
_LARGEST_CHUNK = 1 << 26


class Slot(NamedTuple):
    """A data key as some key has wrapped it.

    Attributes:
      key_id: of that key.
      wrapped: by it.
    """

    key_id: bytes
    wrapped: bytes


class Header(NamedTuple):
    """What a sealed file says of itself, before anything of it is verified.

    Attributes:
      fixed: the bytes that never change; the wrap and every chunk are bound to them.
      file_id: random, of this file alone.
      purpose: one of ``PURPOSES``.
      chunk_bytes: plaintext of a chunk.
      slots: what each holds; None of one that is empty or half written.
    """

    fixed: bytes
    file_id: bytes
    purpose: str
    chunk_bytes: int
    slots: tuple[Slot | None, ...]


def fixed_part(purpose: str, chunk_bytes: int = CHUNK_BYTES) -> bytes:
    """What never changes of a new file's header.

    Args:
      purpose: one of ``PURPOSES``.
      chunk_bytes: plaintext of a chunk.

    Raises:
      EncryptionError: another purpose, or a chunk of no bytes or too many.

    Example:
      >>> fixed_part("data")[:13]
      b'\\x89dpjax sealed'
    """
    if purpose not in PURPOSES:
        raise EncryptionError(f"purpose={purpose!r} is none of {', '.join(PURPOSES)}; choose one of them.")
    if not 1 <= chunk_bytes <= _LARGEST_CHUNK:
        raise EncryptionError(f"chunk_bytes={chunk_bytes} must be from 1 to {_LARGEST_CHUNK}.")
    numbers = VERSION.to_bytes(4, "big") + chunk_bytes.to_bytes(4, "big")
    return MAGIC + numbers + secrets.token_bytes(32) + purpose.encode().ljust(32, b"\0")


def packed_header(fixed: bytes, slot: Slot) -> bytes:
    """The header of a new file.

    Args:
      fixed: from ``fixed_part``.
      slot: with its data key; the other slot stays empty.

    Raises:
      EncryptionError: the wrapped key does not fit a slot.

    Example:
      >>> len(packed_header(fixed_part("data"), Slot(bytes(16), b"wrapped")))
      4096
    """
    hashed = fixed + hashlib.sha256(fixed).digest()
    return (hashed.ljust(SLOTS[0], b"\0") + packed_slot(slot)).ljust(HEADER_BYTES, b"\0")


def packed_slot(slot: Slot) -> bytes:
    """The bytes of a slot.

    Args:
      slot: what it is to hold.

    Raises:
      EncryptionError: the wrapped key does not fit.

    Example:
      >>> len(packed_slot(Slot(bytes(16), b"wrapped"))) == SLOT_BYTES
      True
    """
    room = SLOT_BYTES - _KEY_ID - _LENGTH - _HASH
    if len(slot.key_id) != _KEY_ID or len(slot.wrapped) > room:
        raise EncryptionError(
            f"a key id of {len(slot.key_id)} and a wrapped key of {len(slot.wrapped)} bytes do not fit; a source of "
            f"keys must give {_KEY_ID} and at most {room}."
        )
    body = slot.key_id + len(slot.wrapped).to_bytes(_LENGTH, "big") + slot.wrapped
    body = body.ljust(SLOT_BYTES - _HASH, b"\0")
    return body + hashlib.sha256(body).digest()


def read_header(raw: bytes, name: str) -> Header:
    """What a header says.

    Args:
      raw: the first ``HEADER_BYTES`` of a file, or all of a shorter one.
      name: of the file, for messages.

    Raises:
      EncryptionError: it is no sealed file, of another version, or was cut or changed.

    Example:
      >>> read_header(packed_header(fixed_part("data"), Slot(bytes(16), b"wrapped")), "a file").purpose
      'data'
    """
    if raw[: len(MAGIC)] != MAGIC:
        raise EncryptionError(f"{name} is not sealed; read it as it is, or name the sealed file.")
    if len(raw) < HEADER_BYTES:
        raise ChangedError(f"{name} was cut after it was sealed; restore it from a copy.")
    if hashlib.sha256(raw[:_FIXED]).digest() != raw[_FIXED : _FIXED + _HASH]:
        raise changed(name)
    version, chunk_bytes = (int.from_bytes(raw[at : at + 4], "big") for at in (16, 20))
    if version != VERSION:
        raise EncryptionError(
            f"{name} is of version {version} of sealed files, and this dpjax reads {VERSION}; install the dpjax that "
            "wrote it."
        )
    purpose = raw[56:_FIXED].rstrip(b"\0").decode("ascii", "replace")
    rest = (
        raw[_FIXED + _HASH : SLOTS[0]]
        + raw[SLOTS[0] + SLOT_BYTES : SLOTS[1]]
        + raw[SLOTS[1] + SLOT_BYTES : HEADER_BYTES]
    )
    if any(rest) or purpose not in PURPOSES or not 1 <= chunk_bytes <= _LARGEST_CHUNK:
        raise changed(name)
    slots = tuple(_read_slot(raw[at : at + SLOT_BYTES]) for at in SLOTS)
    return Header(raw[:_FIXED], raw[24:56], purpose, chunk_bytes, slots)


def _read_slot(raw: bytes) -> Slot | None:
    body, hashed = raw[:-_HASH], raw[-_HASH:]
    if hashlib.sha256(body).digest() != hashed:
        return None
    start = _KEY_ID + _LENGTH
    return Slot(body[:_KEY_ID], body[start : start + int.from_bytes(body[_KEY_ID:start], "big")])
