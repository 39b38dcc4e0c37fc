"""Results that lie encrypted: rows of sensitive data, whose scores are no DP output, for holders of a key alone."""

import hashlib
import os
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from dpjax.encryption.header import HEADER_BYTES, MAGIC
from dpjax.results.errors import ResultsError

if TYPE_CHECKING:
    from dpjax.encryption.keys import Keys

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
        try:
            keys = held_keys()  # of a run whose source has gone since
        except EncryptionError:
            raise SealedError(f"{path} is sealed: {error}") from error
    try:
        return unseal(content, keys, _PURPOSE, str(path))
    except EncryptionError as error:
        raise SealedError(str(error)) from error


def sealed(content: bytes) -> bytes:
    """Bytes as they lie encrypted, by the keys that this process holds.

    Args:
      content: what is to be sealed.

    Raises:
      SealedError: ``DPJAX_KEYS`` names no keys, or they are out of reach.
    """
    from dpjax.encryption.errors import EncryptionError
    from dpjax.encryption.writer import seal

    try:
        return seal(content, held_keys(), _PURPOSE)
    except EncryptionError as error:
        raise SealedError(f"results can't be sealed: {error}") from error


def held_keys() -> "Keys":
    """The keys that ``DPJAX_KEYS`` names, as they were when this process asked first.

    Formal guarantees: a key ring that was there once is held until the process ends, so that what has cost ε can be
    sealed though its source is gone or another since; a token's keys are never in this process, and are asked for anew.

    Raises:
      EncryptionError: no source is named, or it is out of reach, and was never within.

    Example:
      >>> import os
      >>> from dpjax.encryption.keys import new_key
      >>> os.environ |= {"DPJAX_KEYS": "env:KEY_OF_THIS_EXAMPLE", "KEY_OF_THIS_EXAMPLE": new_key()}
      >>> held_keys().ids == held_keys().ids
      True
      >>> del os.environ["DPJAX_KEYS"], os.environ["KEY_OF_THIS_EXAMPLE"]
    """
    from dpjax.encryption.keys import SOURCE, keys_from

    source = os.environ.get(SOURCE, "")
    kind, _, place = source.partition(":")
    if kind not in ("file", "env", "keyring"):
        return keys_from()
    # A relative path names another file in another folder, and a variable that was set anew another ring.
    return _held(source, os.getcwd() if kind == "file" else os.environ.get(place, "") if kind == "env" else "")


@lru_cache(maxsize=8)
def _held(source: str, where: str) -> "Keys":
    from dpjax.encryption.keys import keys_from

    return keys_from(source)


def is_of_keys(error: BaseException | None) -> bool:
    """Whether an error is of keys or of sealing, so that it quotes no row and may lie open.

    Args:
      error: that a run ended by; one that was raised from such an error, in other words, is none.

    Example:
      >>> is_of_keys(SealedError("no key is named.")), is_of_keys(ValueError("row 5 has the label 'x'."))
      (True, False)
    """
    from dpjax.encryption.errors import EncryptionError

    return isinstance(error, SealedError | EncryptionError)


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
