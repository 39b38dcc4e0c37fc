"""Keys that never leave a token: hardware security modules and SoftHSM, by PKCS#11."""

import hashlib
import os
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, quote, unquote

from dpjax.checks import in_one_line
from dpjax.encryption.errors import EncryptionError, UnknownKeyError, changed, short

PIN = "DPJAX_PKCS11_PIN"
_ID_DOMAIN = b"dpjax token key id: "
_GCM, _KEY_WRAP = b"G", b"W"
_NONCE, _TAG, _DATA_KEY, _WRAPPED_KEY = 12, 16, 32, 40

_ONE_AT_A_TIME = threading.Lock()
"""A token knows one login a process, which the first session to close ends for all."""


@dataclass(frozen=True)
class TokenKeys:
    """AES-256 keys of one label in a token. Made by ``token_keys``.

    Formal guarantees: the keys stay in the token, which does the wrapping; the PIN is read from ``DPJAX_PKCS11_PIN``
    when it is needed, and kept nowhere. A wrap is by AES-GCM in the token; where that has none, by AES-GCM under a
    fresh key that the token wraps by RFC 3394. Either way what it was wrapped for is authenticated with it.

    Args:
      token: its label.
      label: of the keys; the one whose CKA_ID is the highest seals, all open.
      module: the library of its maker.
      key_wrap: whether to wrap by RFC 3394 also where the token has AES-GCM.
    """

    token: str
    label: str
    module: str
    key_wrap: bool = False

    @property
    def source(self) -> str:
        """How messages name it."""
        return f"pkcs11:{self.token}/{self.label}"

    @property
    def ids(self) -> tuple[bytes, ...]:
        """Of all its keys, the one that seals first."""
        with self._session() as (_, session):
            return tuple(self._keys(session))

    def wrap(self, data_key: bytes, context: bytes) -> tuple[bytes, bytes]:
        """Wrap a data key by the newest key.

        Args:
          data_key: 32 bytes.
          context: without which it can't be unwrapped.

        Raises:
          EncryptionError: the token is out of reach, or wraps by no way that is known here.
        """
        from pkcs11 import Attribute, GCMParams, KeyType, Mechanism, ObjectClass

        with self._session() as (token, session):
            key_id, key = next(iter(self._keys(session).items()))
            can, nonce = token.slot.get_mechanisms(), secrets.token_bytes(_NONCE)
            if Mechanism.AES_GCM in can and not self.key_wrap:
                params = GCMParams(nonce, context, _TAG * 8)
                sealed = key.encrypt(data_key, mechanism=Mechanism.AES_GCM, mechanism_param=params)
                return key_id, _GCM + nonce + sealed
            if Mechanism.AES_KEY_WRAP not in can:
                raise EncryptionError(
                    f"{self.source}: the token has neither AES-GCM nor AES key wrap; use another token."
                )
            from cryptography.hazmat.primitives.ciphers.aead import AESGCM

            middle = secrets.token_bytes(_DATA_KEY)
            template = {
                Attribute.CLASS: ObjectClass.SECRET_KEY,
                Attribute.KEY_TYPE: KeyType.GENERIC_SECRET,
                Attribute.VALUE: middle,
                **_passing(),
            }
            wrapped = key.wrap_key(session.create_object(template), mechanism=Mechanism.AES_KEY_WRAP)
            return key_id, _KEY_WRAP + wrapped + nonce + AESGCM(middle).encrypt(nonce, data_key, context)

    def unwrap(self, key_id: bytes, wrapped: bytes, context: bytes) -> bytes:
        """The data key that ``wrap`` was given.

        Args:
          key_id: from ``wrap``.
          wrapped: from ``wrap``.
          context: what it was wrapped with.

        Raises:
          UnknownKeyError: the token has no key of that id.
          ChangedError: it was not wrapped by this key with this context.
          EncryptionError: the token is out of reach.
        """
        with self._session() as (_, session):
            key = self._keys(session).get(key_id)
            if key is None:
                raise UnknownKeyError(f"key {short(key_id)} is not in {self.source}; name the source that holds it.")
            return _unwrap(key, wrapped, context, f"a key that {short(key_id)} wrapped")

    def make_key(self) -> None:
        """Let the token make a key, which seals from then on.

        Raises:
          EncryptionError: the token is out of reach or can't be written.
        """
        from pkcs11 import Attribute, KeyType

        # By time, so that the newest is the highest, and by chance, as two machines may make one at once.
        made = time.time_ns().to_bytes(8, "big") + secrets.token_bytes(8)
        template = {Attribute.SENSITIVE: True, Attribute.EXTRACTABLE: False, Attribute.PRIVATE: True}
        with self._session(writes=True) as (_, session):
            session.generate_key(KeyType.AES, 256, label=self.label, id=made, store=True, template=template)

    def _keys(self, session: Any) -> dict[bytes, Any]:
        from pkcs11 import Attribute, KeyType, ObjectClass

        wanted = {Attribute.CLASS: ObjectClass.SECRET_KEY, Attribute.KEY_TYPE: KeyType.AES, Attribute.LABEL: self.label}
        found = {bytes(key.id): key for key in session.get_objects(wanted) if key.key_length == 256}
        if not found:
            raise EncryptionError(
                f"{self.source} holds no AES-256 key; make one with `dpjax keys new --to {self.written}`."
            )
        return {self._id_of(found[each].id): found[each] for each in sorted(found, reverse=True)}

    @property
    def written(self) -> str:
        """As a source is written."""
        return f"pkcs11:{quote(self.token, safe='')}/{quote(self.label, safe='')}?module={quote(self.module)}"

    def _id_of(self, cka_id: bytes) -> bytes:
        return hashlib.sha256(_ID_DOMAIN + self.label.encode() + b"\0" + bytes(cka_id)).digest()[:16]

    @contextmanager
    def _session(self, *, writes: bool = False) -> Iterator[tuple[Any, Any]]:
        pin = os.environ.get(PIN)
        if not pin:
            raise EncryptionError(f"{self.source}: its PIN is not set; set it in the environment variable {PIN}.")
        try:
            import pkcs11
        except ImportError as error:
            raise EncryptionError(
                "pkcs11: needs python-pkcs11, which is not installed; run pip install 'dpjax[governance]'."
            ) from error
        with _ONE_AT_A_TIME:
            try:
                token = self._token(pkcs11)
                try:
                    opened = token.open(user_pin=pin, rw=writes)
                except pkcs11.UserAlreadyLoggedIn:  # other code of this process is, and so is all of the process
                    opened = token.open(rw=writes)
                with opened as session:
                    yield token, session
            except pkcs11.PKCS11Error as error:
                raise EncryptionError(f"{self.source} {_what(error)}") from None

    def _token(self, pkcs11: Any) -> Any:
        library = pkcs11.lib(self.module)
        try:
            return library.get_token(token_label=self.token)
        except pkcs11.NoSuchToken:
            library.reinitialize()  # of one that was plugged in since, a library knows nothing before that
            return library.get_token(token_label=self.token)


def token_keys(place: str) -> TokenKeys:
    """The keys of a token.

    Args:
      place: ``TOKEN/LABEL?module=PATH``, percent-encoded where a label has ``/``, ``?`` or ``%``.

    Raises:
      EncryptionError: it is written in another way.

    Example:
      >>> token_keys("clinic/dpjax?module=/usr/lib/softhsm/libsofthsm2.so").source
      'pkcs11:clinic/dpjax'
    """
    path, _, query = place.partition("?")
    token, slash, label = path.partition("/")
    given = parse_qsl(query, keep_blank_values=True)
    if [name for name, _ in given] != ["module"] or not (token and slash and label and given[0][1]):
        # What is there is not repeated: it may hold a PIN.
        raise EncryptionError(
            f"pkcs11: wants a token, a label and a library; write pkcs11:TOKEN/LABEL?module=PATH, and the PIN in {PIN}."
        )
    return TokenKeys(unquote(token), unquote(label), given[0][1])


def add_to_token(place: str) -> TokenKeys:
    """Let a token make a key, which seals from then on.

    Args:
      place: as of ``token_keys``.

    Raises:
      EncryptionError: the token is out of reach or can't be written.
    """
    keys = token_keys(place)
    keys.make_key()
    return keys


def _unwrap(key: Any, wrapped: bytes, context: bytes, name: str) -> bytes:
    import pkcs11
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    from pkcs11 import Attribute, GCMParams, KeyType, Mechanism, ObjectClass

    kind, rest = wrapped[:1], wrapped[1:]
    try:
        if kind == _GCM and len(rest) == _NONCE + _DATA_KEY + _TAG:
            params = GCMParams(rest[:_NONCE], context, _TAG * 8)
            return key.decrypt(rest[_NONCE:], mechanism=Mechanism.AES_GCM, mechanism_param=params)
        if kind == _KEY_WRAP and len(rest) == _WRAPPED_KEY + _NONCE + _DATA_KEY + _TAG:
            by, nonce, sealed = rest[:_WRAPPED_KEY], rest[_WRAPPED_KEY:][:_NONCE], rest[_WRAPPED_KEY + _NONCE :]
            of = {"mechanism": Mechanism.AES_KEY_WRAP, "template": _passing()}
            middle = key.unwrap_key(ObjectClass.SECRET_KEY, KeyType.GENERIC_SECRET, by, **of)
            return AESGCM(bytes(middle[Attribute.VALUE])).decrypt(nonce, sealed, context)
    except InvalidTag:
        pass
    except pkcs11.PKCS11Error:
        # Of a wrong tag SoftHSM says CKR_GENERAL_ERROR, as it does of all that fails; the key is tried on what is
        # right.
        _try(key, by_gcm=kind == _GCM)
    raise changed(name)


def _try(key: Any, *, by_gcm: bool) -> None:
    """Raise PKCS11Error unless the key still opens what it seals."""
    from pkcs11 import GCMParams, Mechanism

    nonce = secrets.token_bytes(_NONCE)
    how = {
        "mechanism": Mechanism.AES_GCM if by_gcm else Mechanism.AES_ECB,
        "mechanism_param": GCMParams(nonce, b"", _TAG * 8) if by_gcm else None,
    }
    key.decrypt(key.encrypt(bytes(_DATA_KEY), **how), **how)


def _passing() -> dict[Any, bool]:
    """Of a key that is in the token only while it is wrapped."""
    from pkcs11 import Attribute

    return {Attribute.TOKEN: False, Attribute.SENSITIVE: False, Attribute.EXTRACTABLE: True}


def _what(error: Exception) -> str:
    said = in_one_line(str(error), 120)
    kind = type(error).__name__
    known = {
        "PinIncorrect": f"refuses the PIN; set the right one in {PIN}: a few wrong ones lock most tokens.",
        "PinLocked": "is locked after too many wrong PINs; let its security officer unlock it.",
        "NoSuchToken": "is not there; look at its label, and whether it is plugged in or SOFTHSM2_CONF is set.",
        "MultipleTokensReturned": "is the label of several tokens; give them labels of their own.",
        "TokenNotPresent": "is not there any more; plug it in.",
        "TokenWriteProtected": "can't be written; let its security officer make the key.",
        "UserPinNotInitialized": "has no PIN yet; let its security officer set one.",
    }
    if kind in known:
        return known[kind]
    if said.startswith("OS exception while loading"):
        return "has a module that can't be loaded; give the path of the library of the token's maker."
    return f"can't be used ({kind}{': ' if said else ''}{said}); look at the token and its module."
