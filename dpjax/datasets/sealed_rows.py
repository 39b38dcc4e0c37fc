"""Files of rows that lie encrypted: how they are called, and what they hold, opened in memory alone."""

import io
from pathlib import Path

SEALED = ".sealed"
"""After any other ending of a file of rows: encrypted, see ``dpjax.encryption``."""


def without_sealed(name: str) -> str:
    """A file's name as it is before the file is sealed.

    Args:
      name: of the file.

    Example:
      >>> without_sealed("x.npy.sealed"), without_sealed("x.npy")
      ('x.npy', 'x.npy')
    """
    return name[: -len(SEALED)] if name.lower().endswith(SEALED) else name


def opened(file: Path) -> bytes:
    """What a sealed file holds.

    Args:
      file: sealed as ``data``.

    Raises:
      EncryptionError: the keys that ``DPJAX_KEYS`` names don't open it.
      OSError: it can't be read.
    """
    from dpjax.encryption.keys import keys_from
    from dpjax.encryption.reader import read_sealed

    return read_sealed(file, keys_from(), purpose="data")


def refuse_unnamed(file: Path) -> None:
    """Refuse a file that is sealed while its name does not say so, before it is read as what its name says.

    Args:
      file: of rows.

    Raises:
      DatasetError: it is; a file that can't be read is left to whoever reads it.

    Example:
      >>> refuse_unnamed(Path("/nowhere.csv"))
    """
    from dpjax.encryption.header import MAGIC
    from dpjax.fetching.sources import DatasetError

    if without_sealed(file.name) != file.name or not file.is_file():  # a pipe would be waited for
        return
    try:
        with file.open("rb") as stream:
            found = stream.read(len(MAGIC)) == MAGIC
    except OSError:
        return
    if found:
        raise DatasetError(
            f"{file.name} is sealed, and must be called so to be opened; rename it to {file.name}{SEALED}"
        )


def content_of(file: Path) -> bytes:
    """What a file holds, opened where its name says that it is sealed.

    Args:
      file: of rows.

    Raises:
      EncryptionError: the keys that ``DPJAX_KEYS`` names don't open it.
      OSError: it can't be read.

    Example:
      >>> import tempfile
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     _ = Path(folder, "a.txt").write_text("a row")
      ...     content_of(Path(folder, "a.txt"))
      b'a row'
    """
    refuse_unnamed(file)
    return opened(file) if without_sealed(file.name) != file.name else file.read_bytes()


def readable(file: Path) -> Path | io.BytesIO:
    """What a reader of files takes: the file, or in memory what a sealed one holds.

    Args:
      file: of rows.

    Raises:
      EncryptionError: the keys that ``DPJAX_KEYS`` names don't open it.
      OSError: it can't be read.

    Example:
      >>> readable(Path("x.npy")).name
      'x.npy'
    """
    refuse_unnamed(file)
    return io.BytesIO(opened(file)) if without_sealed(file.name) != file.name else file


def refuse_both(files: list[Path], where: str) -> None:
    """Refuse a file that is there sealed and open too, or under two names, whose rows would be read twice.

    Args:
      files: that are read.
      where: names them in messages.

    Raises:
      DatasetError: naming the first.
    """
    from dpjax.fetching.sources import DatasetError

    open_ones = {file for file in files if without_sealed(file.name) == file.name}
    for file in files:
        if (other := file.with_name(without_sealed(file.name))) != file and other in open_ones:
            raise DatasetError(f"{where} {other.name} is there open and sealed; take one of the two away")
    seen: dict[tuple[int, int], Path] = {}
    for file in files:
        try:
            found = file.stat()
        except OSError:  # whoever reads it says so
            continue
        if (other := seen.setdefault((found.st_dev, found.st_ino), file)) is not file:
            raise DatasetError(f"{where} {other} and {file} are one file by a link; take the link away")
