"""Keys that wrap the data keys of files, by where they are kept: one text names a source."""

import os
from typing import Protocol, runtime_checkable

from dpjax.encryption.errors import EncryptionError
from dpjax.encryption.key_sources.rings import key_in, new_key, ring_of

__all__ = ["KINDS", "SOURCE", "Keys", "add_key", "keys_from", "new_key", "ring_of"]

SOURCE = "DPJAX_KEYS"
"""The environment variable that names a source where none is given."""
KINDS = {
    "env": "env:VARIABLE",
    "file": "file:PATH",
    "keyring": "keyring:SERVICE/NAME",
    "pkcs11": "pkcs11:TOKEN/LABEL?module=PATH",
}
"""Of sources, and how each is written."""


@runtime_checkable
class Keys(Protocol):
    """What wraps data keys. A key management service of your own is a class with these four.

    Attributes:
      source: how messages name it; never key material.
      ids: of the keys that it holds, 16 bytes each; the first wraps, all unwrap.
    """

    @property
    def source(self) -> str: ...

    @property
    def ids(self) -> tuple[bytes, ...]: ...

    def wrap(self, data_key: bytes, context: bytes) -> tuple[bytes, bytes]:
        """Wrap a data key, authenticated together with its context.

        Args:
          data_key: 32 bytes.
          context: without which it can't be unwrapped.

        Returns:
          The id of the key that wrapped it, and at most 1486 bytes.

        Raises:
          EncryptionError: the source is out of reach.
        """
        ...

    def unwrap(self, key_id: bytes, wrapped: bytes, context: bytes) -> bytes:
        """The data key that ``wrap`` was given.

        Args:
          key_id: from ``wrap``.
          wrapped: from ``wrap``.
          context: what it was wrapped with.

        Raises:
          UnknownKeyError: no key of that id is there.
          ChangedError: it was not wrapped by this key with this context.
          EncryptionError: the source is out of reach.
        """
        ...


def keys_from(source: str | None = None) -> Keys:
    """The keys of a source.

    Formal guarantees: no message and no ``repr`` holds key material or a PIN.

    Args:
      source: ``env:VARIABLE``, ``file:PATH`` or ``keyring:SERVICE/NAME`` of a key ring as text (a key a line, the
        base64 of 32 bytes; the first seals, all open), or ``pkcs11:TOKEN/LABEL?module=PATH`` of keys that never leave a
        token, with its PIN in ``DPJAX_PKCS11_PIN``; None: what ``DPJAX_KEYS`` names.

    Raises:
      EncryptionError: no source is named, it is out of reach, others can read it, or it holds no keys.

    Example:
      >>> os.environ["KEY_OF_THIS_EXAMPLE"] = new_key()
      >>> keys = keys_from("env:KEY_OF_THIS_EXAMPLE")
      >>> key_id, wrapped = keys.wrap(bytes(32), b"context")
      >>> key_id in keys.ids, keys.unwrap(key_id, wrapped, b"context") == bytes(32)
      (True, True)
    """
    kind, place = _split(source)
    if kind == "env":
        from dpjax.encryption.key_sources.environment import ring_in_environment

        return ring_in_environment(place)
    if kind == "file":
        from dpjax.encryption.key_sources.key_files import ring_in_file

        return ring_in_file(place)
    if kind == "keyring":
        from dpjax.encryption.key_sources.system_keyring import ring_in_keyring

        return ring_in_keyring(place)
    from dpjax.encryption.key_sources.tokens import token_keys

    return token_keys(place)


def add_key(source: str) -> Keys:
    """Make a key and put it on top of those of a source, which is made where there is none.

    Formal guarantees: the keys that it holds stay; a crash leaves them as they were.

    Args:
      source: as of ``keys_from``; not ``env:``, which no program can write.

    Returns:
      The keys, the new one first.

    Raises:
      EncryptionError: the source can't be written or is out of reach.

    Example:
      >>> import tempfile
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     once, twice = add_key(f"file:{folder}/keys"), add_key(f"file:{folder}/keys")
      >>> once.ids == twice.ids[1:]
      True
    """
    kind, place = _split(source)
    if kind == "env":
        raise EncryptionError("env: can't be written by a program; print a key with `dpjax keys new` and set it there.")
    if kind == "file":
        from dpjax.encryption.key_sources.key_files import add_to_file

        return add_to_file(place)
    if kind == "keyring":
        from dpjax.encryption.key_sources.system_keyring import add_to_keyring

        return add_to_keyring(place)
    from dpjax.encryption.key_sources.tokens import add_to_token

    return add_to_token(place)


def _split(source: str | None) -> tuple[str, str]:
    found = source if source is not None else os.environ.get(SOURCE)
    if not found:
        raise EncryptionError(
            f"no key is named; set {SOURCE} to where yours lie, or make the first with `dpjax keys new --to file:PATH`."
        )
    kind, colon, place = found.partition(":")
    # What is none may be a key that was put in the wrong place, and is not repeated.
    if not colon or kind not in KINDS or key_in(place):
        raise EncryptionError(f"the source of keys is none of its kinds; write {', '.join(KINDS.values())}.")
    if not place:
        raise EncryptionError(f"the source of keys {kind}: names none; write {KINDS[kind]}.")
    return kind, place
