"""A data key of its own for each file, wrapped by a key of the user."""

import secrets

from dpjax.encryption.chunks import Chunks, chunks_of
from dpjax.encryption.errors import ChangedError, EncryptionError, UnknownKeyError, changed, short
from dpjax.encryption.header import CHUNK_BYTES, Header, Slot, fixed_part, packed_header
from dpjax.encryption.keys import Keys

_CONTEXT = b"dpjax data key: "


def new_envelope(keys: Keys, purpose: str, chunk_bytes: int = CHUNK_BYTES) -> tuple[bytes, Chunks]:
    """The header of a new file, and how its chunks are sealed.

    Args:
      keys: whose first wraps the data key.
      purpose: what the file is for.
      chunk_bytes: plaintext of a chunk.

    Raises:
      EncryptionError: another purpose, or the keys are out of reach.

    Example:
      >>> from dpjax.encryption.keys import new_key, ring_of
      >>> header, chunks = new_envelope(ring_of(new_key(), "this example"), "data")
      >>> len(header), chunks.size
      (4096, 1048576)
    """
    fixed, data_key = fixed_part(purpose, chunk_bytes), secrets.token_bytes(32)
    slot = Slot(*keys.wrap(data_key, context_of(fixed)))
    return packed_header(fixed, slot), chunks_of(data_key, fixed[24:56], fixed, chunk_bytes, "the new file")


def open_envelope(header: Header, keys: Keys, purpose: str, name: str) -> Chunks:
    """How the chunks of a file are opened.

    Args:
      header: of the file.
      keys: one of which wrapped its data key.
      purpose: what the file must have been sealed for.
      name: of the file, for messages.

    Raises:
      EncryptionError: it is for another purpose, of a key that is not there, or was changed.

    Example:
      >>> from dpjax.encryption.header import read_header
      >>> from dpjax.encryption.keys import new_key, ring_of
      >>> keys = ring_of(new_key(), "this example")
      >>> header, _ = new_envelope(keys, "data")
      >>> open_envelope(read_header(header, "a file"), keys, "data", "a file").size
      1048576
    """
    if header.purpose != purpose:
        raise EncryptionError(
            f"{name} was sealed as {header.purpose!r}, not as {purpose!r}; name the file that is meant."
        )
    data_key, _ = unwrapped(header, keys, name)
    return chunks_of(data_key, header.file_id, header.fixed, header.chunk_bytes, name)


def unwrapped(header: Header, keys: Keys, name: str) -> tuple[bytes, int]:
    """The data key of a file, and the slot that gave it.

    Args:
      header: of the file.
      keys: one of which wrapped it.
      name: of the file, for messages.

    Raises:
      EncryptionError: no slot holds it for these keys.
    """
    unknown: list[bytes] = []
    for number, slot in enumerate(header.slots):
        if slot is None:
            continue
        try:
            return keys.unwrap(slot.key_id, slot.wrapped, context_of(header.fixed)), number
        except UnknownKeyError:
            unknown.append(slot.key_id)
        except ChangedError:
            pass
    if unknown:
        holds = "do" if " and " in keys.source else "does"
        raise UnknownKeyError(
            f"{name} was sealed with key {' or '.join(map(short, unknown))}, which {keys.source} {holds} not hold; "
            "name the source that does in DPJAX_KEYS, or put that key back into this one."
        )
    raise changed(name)


def context_of(fixed: bytes) -> bytes:
    """What the wrap of a data key is bound to.

    Args:
      fixed: what never changes of the header: file id and purpose are in it.

    Example:
      >>> context_of(b"...")
      b'dpjax data key: ...'
    """
    return _CONTEXT + fixed
