"""Ed25519 keys with which people sign what they write into a ledger."""

from __future__ import annotations

import hashlib
import os
import stat
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from dpjax.governance.errors import LedgerError
from dpjax.private_files import private_file

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

VARIABLE = "DPJAX_SIGNING_KEY"
"""Names the file of a person's key."""


def key_id(public: str) -> str:
    """Short name of a public key.

    Args:
      public: 32 bytes as 64 hexadecimal digits.

    Raises:
      LedgerError: it is none.

    Example:
      >>> key_id("00" * 32)
      '09cbdb21aae8b803'
    """
    try:
        raw = bytes.fromhex(public)
    except ValueError as error:
        raise LedgerError("public key must be 64 hexadecimal digits; see `dpjax whoami`.") from error
    if len(raw) != 32 or raw.hex() != public:
        raise LedgerError("public key must be 64 hexadecimal digits; see `dpjax whoami`.")
    return hashlib.sha256(b"dpjax public key\n" + raw).hexdigest()[:16]


class SigningKey:
    """A person's key on one machine.

    Args:
      private: of ``cryptography``.

    Example:
      >>> key = new_signing_key()
      >>> signature = key.sign("trail", "what was done")
      >>> is_signed("trail", "what was done", signature, key.public)
      True
      >>> is_signed("head", "what was done", signature, key.public)
      False
    """

    def __init__(self, private: Ed25519PrivateKey) -> None:
        self._private = private

    @cached_property
    def public(self) -> str:
        """Its public half: 64 hexadecimal digits."""
        return self._private.public_key().public_bytes_raw().hex()

    @property
    def id(self) -> str:
        """Short name of its public half."""
        return key_id(self.public)

    def sign(self, purpose: str, text: str) -> str:
        """A signature of 128 hexadecimal digits, good for one purpose alone.

        Args:
          purpose: what is signed: ``trail``, ``head`` or ``release``.
          text: all of it.
        """
        return self._private.sign(_content(purpose, text)).hex()

    def private(self) -> Any:
        """The key as ``cryptography`` has it, for tokens."""
        return self._private


class Author(NamedTuple):
    """Who writes into a ledger.

    Attributes:
      who: a person's name.
      key: that signs.
    """

    who: str
    key: SigningKey


def _content(purpose: str, text: str) -> bytes:
    return f"dpjax {purpose} 1\n{text}".encode()


def is_signed(purpose: str, text: str, signature: str, public: str) -> bool:
    """Whether a signature is of this text, for this purpose, by the holder of a key.

    Args:
      purpose: as of ``SigningKey.sign``.
      text: that is said to be signed.
      signature: hexadecimal.
      public: hexadecimal.
    """
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        raw = bytes.fromhex(signature)
        if raw.hex() != signature:  # blanks and capitals, which fromhex takes too
            return False
        Ed25519PublicKey.from_public_bytes(bytes.fromhex(public)).verify(raw, _content(purpose, text))
    except (InvalidSignature, ValueError):
        return False
    return True


def new_signing_key() -> SigningKey:
    """A key that nobody else has."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    return SigningKey(Ed25519PrivateKey.generate())


def signing_key(place: str | os.PathLike[str] | None = None) -> SigningKey:
    """The key of the person who runs this process; made when it is first needed.

    Formal guarantees: a file that others may read, or that is another user's, is not used; of processes that make it at
    once all have the same.

    Args:
      place: its file, PEM of PKCS 8; None: ``DPJAX_SIGNING_KEY``, or the user's own.

    Raises:
      LedgerError: it can't be read or made, others may read it, or it is none.
    """
    path = Path(place or os.environ.get(VARIABLE) or _users_own()).expanduser()
    try:
        if not path.exists():
            _make(path)
        return _read(path)
    except OSError as error:
        raise LedgerError(
            f"signing key {path} can't be used ({error.strerror}); name a file of yours in {VARIABLE}."
        ) from error


def _users_own() -> Path:
    import platformdirs

    return Path(platformdirs.user_config_dir("dpjax")) / "signing.pem"


def _make(path: Path) -> None:
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    pem = new_signing_key().private().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with suppress(FileExistsError), private_file(path) as stream:  # another process was first, whose key it is then
        stream.write(pem)


def _read(path: Path) -> SigningKey:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    with open(path, "rb") as stream:
        found = os.fstat(stream.fileno())
        if os.name == "posix" and stat.S_IMODE(found.st_mode) & 0o077:
            raise LedgerError(f"signing key {path} can be read by others; run chmod 600 on it.")
        if os.name == "posix" and found.st_uid not in (os.geteuid(), 0):
            raise LedgerError(f"signing key {path} is another user's; name a file of yours in {VARIABLE}.")
        pem = stream.read(1 << 16)
    try:
        private = load_pem_private_key(pem, password=None)
    except (ValueError, TypeError) as error:
        raise LedgerError(
            f"signing key {path} is no PEM file without a password; take it away to have one made, or name another."
        ) from error
    if not isinstance(private, Ed25519PrivateKey):
        raise LedgerError(f"signing key {path} is no Ed25519 key; take it away to have one made, or name another.")
    return SigningKey(private)
