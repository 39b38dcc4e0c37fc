"""A key ring in the keyring of the desktop: Secret Service, macOS Keychain, Windows Credential Locker."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from dpjax.checks import in_one_line
from dpjax.encryption.errors import EncryptionError
from dpjax.encryption.key_sources.rings import KeyRing, new_key, ring_of


def ring_in_keyring(place: str) -> KeyRing:
    """The key ring that the system's keyring holds.

    Args:
      place: ``SERVICE/NAME``.

    Raises:
      EncryptionError: there is no keyring, it is locked, or it holds no key ring under that name.
    """
    service, name = _split(place)
    with _sentences(place) as keyring:
        text = keyring.get_password(service, name)
    if text is None:
        raise EncryptionError(f"keyring:{place} holds nothing; make a key with `dpjax keys new --to keyring:{place}`.")
    return ring_of(text, f"keyring:{place}")


def add_to_keyring(place: str) -> KeyRing:
    """Put a fresh key on top of those that the system's keyring holds.

    Args:
      place: ``SERVICE/NAME``.

    Raises:
      EncryptionError: there is no keyring, it keeps nothing, it is locked, or what it holds is no key ring.
    """
    service, name = _split(place)
    with _sentences(place) as keyring:
        held = keyring.get_password(service, name)
        if held is not None:
            ring_of(held, f"keyring:{place}")
        text = "\n".join([new_key(), *(held or "").split()])
        keyring.set_password(service, name, text)
        kept = keyring.get_password(service, name)
    if kept != text:  # keyring's own null backend takes all and keeps nothing, without a word
        raise EncryptionError(f"keyring:{place} keeps nothing; choose another backend of keyring, or use file:PATH.")
    return ring_of(text, f"keyring:{place}")


def _split(place: str) -> tuple[str, str]:
    service, slash, name = place.rpartition("/")
    if not (service and slash and name):
        raise EncryptionError("keyring: wants a service and a name; write keyring:dpjax/keys.")
    return service, name


@contextmanager
def _sentences(place: str) -> Iterator[Any]:
    try:
        import keyring
        from keyring.errors import NoKeyringError
    except ImportError as error:
        raise EncryptionError(
            "keyring: needs the package keyring, which is not installed; run pip install 'dpjax[governance]'."
        ) from error
    try:
        yield keyring
    except NoKeyringError:
        raise EncryptionError("keyring: this machine has none; keep the keys in file:PATH or env:VARIABLE.") from None
    except EncryptionError:
        raise
    except Exception as error:  # a backend hands on what its own libraries raise, of any type
        said = in_one_line(str(error) or type(error).__name__, 120)
        raise EncryptionError(f"keyring:{place} can't be used ({said}); unlock it, or use file:PATH.") from None
