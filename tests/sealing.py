"""Key rings, and the parts of a sealed file, for the tests of sealing."""

from dpjax.encryption.chunks import TAG_BYTES
from dpjax.encryption.header import HEADER_BYTES
from dpjax.encryption.keys import new_key, ring_of


def ring(*keys):
    """A ring of these keys, or of one made now."""
    return ring_of("\n".join(keys or [new_key()]), "the test")


def parts(sealed, chunk_bytes):
    """The header of a sealed file, and its chunks."""
    body, step = sealed[HEADER_BYTES:], chunk_bytes + TAG_BYTES
    return sealed[:HEADER_BYTES], [body[at : at + step] for at in range(0, len(body), step)]
