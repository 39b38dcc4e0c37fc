"""Keys of several sources as one: while files move from one source to another."""

from dataclasses import dataclass

from dpjax.encryption.errors import UnknownKeyError, short
from dpjax.encryption.keys import Keys


@dataclass(frozen=True)
class JoinedKeys:
    """Keys of several sources, of which the first seals and all open.

    Args:
      sources: at least one.

    Example:
      >>> from dpjax.encryption.keys import new_key, ring_of
      >>> new, old = ring_of(new_key(), "the new one"), ring_of(new_key(), "the old one")
      >>> keys = JoinedKeys((new, old))
      >>> keys.source, keys.ids == new.ids + old.ids
      ('the new one and the old one', True)
    """

    sources: tuple[Keys, ...]

    @property
    def source(self) -> str:
        """How messages name them."""
        return " and ".join(dict.fromkeys(each.source for each in self.sources))

    @property
    def ids(self) -> tuple[bytes, ...]:
        """Of all keys, the one that seals first."""
        return tuple(key_id for each in self.sources for key_id in each.ids)

    def wrap(self, data_key: bytes, context: bytes) -> tuple[bytes, bytes]:
        """Wrap a data key by the first source.

        Args:
          data_key: 32 bytes.
          context: without which it can't be unwrapped.

        Raises:
          EncryptionError: that source is out of reach.
        """
        return self.sources[0].wrap(data_key, context)

    def unwrap(self, key_id: bytes, wrapped: bytes, context: bytes) -> bytes:
        """The data key that ``wrap`` of any of the sources was given.

        Args:
          key_id: from ``wrap``.
          wrapped: from ``wrap``.
          context: what it was wrapped with.

        Raises:
          UnknownKeyError: no source has a key of that id.
          ChangedError: it was not wrapped by this key with this context.
          EncryptionError: a source is out of reach.
        """
        for each in self.sources:
            try:
                return each.unwrap(key_id, wrapped, context)
            except UnknownKeyError:
                continue
        raise UnknownKeyError(f"key {short(key_id)} is not in {self.source}; name the source that holds it.")
