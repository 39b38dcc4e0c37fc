"""Results that lie encrypted: rows of sensitive data, whose scores are no DP output, for holders of a key alone."""

import hashlib
from collections.abc import Iterable
from pathlib import Path

from dpjax.encryption.header import HEADER_BYTES, MAGIC
from dpjax.results.errors import ResultsError

_PURPOSE = "results"


class SealedError(ResultsError):
    """Results are encrypted, and the keys that are named don't open them."""


def content_of(path: Path) -> bytes:
    """What a file holds, opened where it is sealed.

    Args:
      path: of the file.

    Raises:
      SealedError: it is sealed, and the keys that ``DPJAX_KEYS`` names don't open it.
      OSError: it can't be read.

    Example:
      >>> import tempfile
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     _ = Path(folder, "a.json").write_text("{}")
      ...     content_of(Path(folder, "a.json"))
      b'{}'
    """
    content = path.read_bytes()
    if not content.startswith(MAGIC):
        return content
    from dpjax.encryption.errors import EncryptionError
    from dpjax.encryption.keys import keys_from
    from dpjax.encryption.reader import unseal

    try:
        keys = keys_from()
    except EncryptionError as error:
        raise SealedError(f"{path} is sealed: {error}") from error
    try:
        return unseal(content, keys, _PURPOSE, str(path))
    except EncryptionError as error:
        raise SealedError(str(error)) from error


def sealed(content: bytes) -> bytes:
    """Bytes as they lie encrypted.

    Args:
      content: what is to be sealed.

    Raises:
      SealedError: ``DPJAX_KEYS`` names no keys, or they are out of reach.
    """
    from dpjax.encryption.errors import EncryptionError
    from dpjax.encryption.keys import keys_from
    from dpjax.encryption.writer import seal

    try:
        return seal(content, keys_from(), _PURPOSE)
    except EncryptionError as error:
        raise SealedError(f"results can't be sealed: {error}") from error


def is_sealed(path: Path) -> bool:
    """Whether a file is sealed; not, where there is none.

    Args:
      path: of the file.

    Example:
      >>> is_sealed(Path("/nowhere"))
      False
    """
    try:
        with path.open("rb", buffering=0) as stream:
            return stream.read(len(MAGIC)) == MAGIC
    except OSError:
        return False


def content_hash(path: Path) -> str:
    """SHA-256 of a file's content; of a sealed file without its header, as another key for it makes no other content.

    Args:
      path: of the file.

    Raises:
      OSError: it can't be read.
    """
    with path.open("rb") as file:
        if file.read(len(MAGIC)) == MAGIC:
            file.seek(HEADER_BYTES)
        else:
            file.seek(0)
        return hashlib.file_digest(file, "sha256").hexdigest()


def any_sealed(files: Iterable[Path]) -> bool:
    """Whether one of the files is sealed, for whose sake what is made of all of them is to be.

    Args:
      files: of a sweep.

    Example:
      >>> any_sealed([])
      False
    """
    return any(map(is_sealed, files))
