"""A key ring in an environment variable: for containers, whose runtime keeps secrets and hands them out so."""

import os

from dpjax.encryption.errors import EncryptionError
from dpjax.encryption.key_sources.rings import KeyRing, ring_of


def ring_in_environment(variable: str) -> KeyRing:
    """The key ring that an environment variable holds.

    Args:
      variable: its name.

    Raises:
      EncryptionError: it is not set, or holds what is no key ring.

    Example:
      >>> from dpjax.encryption.key_sources.rings import new_key
      >>> os.environ["KEY_OF_THIS_EXAMPLE"] = new_key()
      >>> len(ring_in_environment("KEY_OF_THIS_EXAMPLE").ids)
      1
    """
    if not variable.isidentifier():  # which may be a key that was put in the wrong place, and is not repeated
        raise EncryptionError("env: wants the name of an environment variable; write env:DPJAX_KEY.")
    text = os.environ.get(variable)
    if not text:
        raise EncryptionError(f"env:{variable} is not set; set {variable} to what `dpjax keys new` prints.")
    return ring_of(text, f"env:{variable}")
