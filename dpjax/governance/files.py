"""The files of a model: what they hash to, and whether all their numbers are numbers."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from dpjax.governance.errors import LedgerError

STATEMENT = "privacy.json"
"""What a model states of its privacy; it names the hash of the others, so that this is without it."""

WORDS = "README.md"
"""For people, who may write more into it: it is neither hashed nor released."""

_EXPONENTS = {
    "F64": (np.dtype("<u8"), 0x7FF0_0000_0000_0000),
    "F32": (np.dtype("<u4"), 0x7F80_0000),
    "F16": (np.dtype("<u2"), 0x7C00),
    "BF16": (np.dtype("<u2"), 0x7F80),
    "F8_E5M2": (np.dtype("u1"), 0x7C),
    "F8_E4M3": (np.dtype("u1"), 0x7F),
}
"""Type of a tensor → how it is read, and the bits that are all set in what is not finite: numpy has not all types."""

_PART = 2**24  # numbers that are looked at together


def hashes_of(folder: str | os.PathLike[str]) -> dict[str, str]:
    """SHA-256 of each file of a model, but for its README.md.

    Args:
      folder: of the model.

    Returns:
      Path in the folder → hash.

    Raises:
      LedgerError: there is a link in it, or what is no plain file.

    Example:
      >>> import tempfile
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     _ = (Path(folder) / "a.txt").write_bytes(b"")
      ...     hashes_of(folder)["a.txt"][:8]
      'e3b0c442'
    """
    root, found = Path(folder), {}
    for path in sorted(root.rglob("*")):
        name = path.relative_to(root).as_posix()
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            raise LedgerError(f"file {path} is a link or no plain file; put the file itself there.")
        if path.is_file() and name != WORDS:
            with path.open("rb") as file:
                found[name] = hashlib.file_digest(file, "sha256").hexdigest()
    return found


def digest_of(hashes: Mapping[str, str]) -> str:
    """One hash of all files but the statement, whatever their order.

    Args:
      hashes: of ``hashes_of``.

    Example:
      >>> digest_of({"b": "1", "a": "2"}) == digest_of({"a": "2", "b": "1", "privacy.json": "3"})
      True
    """
    lines = [f"{hashed}  {name}\n" for name, hashed in sorted(hashes.items()) if name != STATEMENT]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def not_finite(path: Path) -> str | None:
    """The name of a tensor that holds a NaN or an infinity; None: none does.

    Args:
      path: of a safetensors file.

    Raises:
      LedgerError: it can't be read, or has tensors of a type that nobody knows here.

    Example:
      >>> import tempfile
      >>> from safetensors.numpy import save_file
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     path = Path(folder) / "a.safetensors"
      ...     save_file({"w": np.ones(3, np.float32), "b": np.array([0, np.inf], np.float16)}, path)
      ...     not_finite(path)
      'b'
    """
    try:
        size = int.from_bytes(path.open("rb").read(8), "little")
        with path.open("rb") as file:
            file.seek(8)
            header = json.loads(file.read(min(size, path.stat().st_size)))
        tensors = [(name, told) for name, told in header.items() if name != "__metadata__"]
        for name, told in tensors:
            begin, end = told["data_offsets"]
            if told["dtype"] in _EXPONENTS:
                kind, mask = _EXPONENTS[told["dtype"]]
                count = (end - begin) // kind.itemsize
                if count and _any_set(np.memmap(path, kind, "r", 8 + size + begin, (count,)), mask):
                    return str(name)
            elif not told["dtype"].startswith(("I", "U", "BOOL")):
                raise LedgerError(f"file {path} has numbers of type {told['dtype']}; write it in float32.")
    except LedgerError:
        raise
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise LedgerError(
            f"file {path} is no whole safetensors file; run the job again with save_model=true."
        ) from error
    return None


def _any_set(bits: np.ndarray, mask: int) -> bool:
    wanted = bits.dtype.type(mask)
    parts = (bits[start : start + _PART] for start in range(0, len(bits), _PART))
    return any(bool(((part & wanted) == wanted).any()) for part in parts)
