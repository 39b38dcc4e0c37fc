"""What sealing and opening raise. No message holds a key, a PIN or plaintext."""


class EncryptionError(ValueError):
    """Something can't be sealed or opened: one sentence that names what, why, and what to do. Nothing was handed on."""


class UnknownKeyError(EncryptionError):
    """What was asked for was sealed with a key that the source at hand does not hold."""


class ChangedError(EncryptionError):
    """What is there is not what was sealed: changed, cut, of another place, or damaged."""


def changed(name: str) -> ChangedError:
    """What is said of bytes that are not those that were sealed.

    Args:
      name: of the file.

    Example:
      >>> str(changed("a.sealed"))
      'a.sealed was changed after it was sealed, or is damaged; restore it from a copy.'
    """
    return ChangedError(f"{name} was changed after it was sealed, or is damaged; restore it from a copy.")


def short(key_id: bytes) -> str:
    """How messages name a key.

    Args:
      key_id: which says nothing of the key itself.

    Example:
      >>> short(bytes.fromhex("0a1b2c3d4e5f") + bytes(10))
      '0a1b2c3d…'
    """
    return f"{key_id.hex()[:8]}…"
