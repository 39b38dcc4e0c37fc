"""A key ring as text: one key a line, the first seals, all open."""

import base64
import binascii
import hashlib
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field

from dpjax.encryption.errors import EncryptionError, UnknownKeyError, changed, short

KEY_BYTES = 32
_NONCE = 12
_ID_DOMAIN = b"dpjax key id: "


@dataclass(frozen=True)
class KeyRing:
    """Keys in this process's memory, from text. Made by ``ring_of``.

    Formal guarantees: a data key is wrapped by AES-256-GCM under a random nonce, which is good for 2³² files a key;
    what it was wrapped for is authenticated with it. The id of a key is a hash, which tells it from all others and says
    nothing else of it.

    Args:
      source: how messages name it.
      keys: id → key, the first seals.
    """

    source: str
    keys: Mapping[bytes, bytes] = field(repr=False)

    @property
    def ids(self) -> tuple[bytes, ...]:
        """Of all its keys, the one that seals first."""
        return tuple(self.keys)

    def wrap(self, data_key: bytes, context: bytes) -> tuple[bytes, bytes]:
        """Wrap a data key by the first key.

        Args:
          data_key: 32 bytes.
          context: without which it can't be unwrapped.
        """
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        key_id, key = next(iter(self.keys.items()))
        nonce = secrets.token_bytes(_NONCE)
        return key_id, nonce + AESGCM(key).encrypt(nonce, data_key, context)

    def unwrap(self, key_id: bytes, wrapped: bytes, context: bytes) -> bytes:
        """The data key that ``wrap`` was given.

        Args:
          key_id: from ``wrap``.
          wrapped: from ``wrap``.
          context: what it was wrapped with.

        Raises:
          UnknownKeyError: the ring has no key of that id.
          ChangedError: it was not wrapped by this key with this context.
        """
        from cryptography.exceptions import InvalidTag
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        if key_id not in self.keys:
            raise UnknownKeyError(f"key {short(key_id)} is not in {self.source}; name the source that holds it.")
        try:
            return AESGCM(self.keys[key_id]).decrypt(wrapped[:_NONCE], wrapped[_NONCE:], context)
        except (InvalidTag, ValueError):
            raise changed(f"a key that {short(key_id)} wrapped") from None


def new_key() -> str:
    """A fresh key as a line of a ring: the base64 of 32 random bytes.

    Example:
      >>> len(new_key())
      44
    """
    return base64.b64encode(secrets.token_bytes(KEY_BYTES)).decode()


def ring_of(text: str, source: str) -> KeyRing:
    """The keys of a text.

    Args:
      text: a key a line; empty lines count for nothing.
      source: how messages name it.

    Raises:
      EncryptionError: it has no key, a line that is none, or one twice.

    Example:
      >>> len(ring_of(f"{new_key()}\\n{new_key()}", "this example").ids)
      2
    """
    found: dict[bytes, bytes] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        key = key_in(line.strip())
        if key is None:
            raise EncryptionError(
                f"{source}: line {number} is no key, the base64 of {KEY_BYTES} bytes; make one with `dpjax keys new`."
            )
        key_id = id_of(key)
        if key_id in found:
            raise EncryptionError(f"{source}: line {number} is a key that a line above it has too; take one away.")
        found[key_id] = key
    if not found:
        to = f" --to {source}" if source.startswith(("file:", "keyring:")) else ""
        raise EncryptionError(f"{source} holds no key; make one with `dpjax keys new{to}`.")
    return KeyRing(source, found)


def id_of(key: bytes) -> bytes:
    """The id of a key of a ring.

    Args:
      key: 32 bytes.

    Example:
      >>> id_of(bytes(32)).hex()
      'c77a71e1ca35d612902b09ced86412b5'
    """
    return hashlib.sha256(_ID_DOMAIN + key).digest()[:16]


def key_in(line: str) -> bytes | None:
    """The key that a line is; None where it is none.

    Args:
      line: of a ring, without spaces around.

    Example:
      >>> key_in("hunter2") is None
      True
    """
    try:
        key = base64.b64decode(line, validate=True)
    except (binascii.Error, ValueError):
        return None
    same = base64.b64encode(key).decode() == line  # base64 of 32 bytes has 2 bits to spare, which are to be 0
    return key if same and len(key) == KEY_BYTES else None
