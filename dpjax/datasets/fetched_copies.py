"""The folder of fetched data sets: one self-describing file each, moved into place whole or not at all."""

import datetime
import hashlib
import json
import os
import re
import shlex
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from dpjax.datasets import texts
from dpjax.datasets.entries import Entry, RawArrays
from dpjax.fetching.sources import DatasetError
from dpjax.keeping import user_folder

LAYOUT = 1  # of the cached file; a copy of another layout is fetched again
_ENDS = "_ends"  # of each text of a field; its bytes are kept under the field's own name
_DAMAGED = (zipfile.BadZipFile, zlib.error, ValueError, KeyError, EOFError, OSError)


def cache_folder(cache_dir: str | os.PathLike[str] | None = None) -> Path:
    """Returns the folder of fetched data sets: the argument, ``DPJAX_DATA_DIR``, or the user's cache folder.

    Formal guarantees: the folder follows from the argument and the environment alone; it is not made.

    Args:
      cache_dir: the folder itself; None: not chosen.

    Returns:
      The folder.

    Example:
      >>> cache_folder("here").name
      'here'
    """
    return user_folder("datasets", "DPJAX_DATA_DIR", cache_dir)


def file_name(name: str) -> str:
    """Returns the name of the file that keeps a data set.

    Example:
      >>> file_name("digits"), file_name("hub:owner/name?text=a,b")
      ('digits.npz', 'hub-owner-name-text-a-b.npz')
    """
    return re.sub(r"[^\w.]+", "-", name) + ".npz"


def content_sha256(raw: RawArrays) -> str:
    """Returns one digest of the stored arrays that are there: dtypes, shapes and values, in order.

    Of texts the values are where each ends, and their bytes in UTF-8.
    """
    digest = hashlib.sha256()
    for array in raw:
        if array is None:
            continue
        if texts.is_text(array):
            content, ends = texts.pack(array)
            digest.update(f"text{array.shape}".encode())
            digest.update(ends.astype("<i8", copy=False).tobytes())
            digest.update(content.data)
            continue
        digest.update(f"{array.dtype.name}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array.astype(array.dtype.newbyteorder("<"), copy=False)).data)
    return digest.hexdigest()


def read_manifest(entry: Entry, folder: Path) -> dict[str, Any] | None:
    """Returns what the copy in the cache says of itself, or None where there is no usable copy."""
    try:
        with np.load(folder / file_name(entry.name), allow_pickle=False) as stored:
            manifest = json.loads(str(stored["manifest"]))
    except _DAMAGED:
        return None
    return manifest if _is_current(entry, manifest) else None


def read_copy(entry: Entry, folder: Path) -> tuple[RawArrays, dict[str, Any]]:
    """Reads a copy from the cache, with its manifest.

    Raises:
      DatasetError: there is none, or it is damaged or of another layout.
    """
    path = folder / file_name(entry.name)
    command = f"`dpjax data fetch {shlex.quote(entry.name)}"
    if not path.is_file():
        raise DatasetError(f"data.name={entry.name!r} is not on this machine; fetch it with {command}`")
    try:
        with np.load(path, allow_pickle=False) as stored:
            manifest = json.loads(str(stored["manifest"]))
            if not _is_current(entry, manifest):
                raise ValueError("written by another version of dpjax")
            optional = RawArrays._field_defaults.keys() - set(stored.files)
            present = [field for field in RawArrays._fields if field not in optional]
            return RawArrays(**{field: _read_array(stored, field) for field in present}), manifest
    except _DAMAGED as error:
        raise DatasetError(
            f"data.name={entry.name!r}: the copy on this machine cannot be read ({error}); fetch it again with "
            f"{command} --force`"
        ) from error


def _read_array(stored: Mapping[str, np.ndarray], field: str) -> np.ndarray:
    if field + _ENDS in stored:
        return texts.unpack(stored[field], stored[field + _ENDS])
    return stored[field]


def _is_current(entry: Entry, manifest: Mapping[str, Any]) -> bool:
    # Two names of texts on the hub can share a file.
    if (manifest.get("layout"), manifest.get("name", entry.name)) != (LAYOUT, entry.name):
        return False
    return entry.content_sha256 in (None, manifest.get("content_sha256"))


def write_copy(entry: Entry, raw: RawArrays, origin: Mapping[str, Any], workspace: Path, folder: Path) -> Path:
    """Writes a copy into the workspace and moves it into the cache in one step.

    Args:
      entry: its row of the registry.
      raw: the stored arrays.
      origin: where they came from: ``kind``, ``source`` and what else is known.
      workspace: a temporary folder on the cache's disk.
      folder: the cache.

    Returns:
      The path of the cached file.
    """
    manifest = {
        "layout": LAYOUT,
        "name": entry.name,
        "licence": entry.licence,
        "content_sha256": content_sha256(raw),
        "fetched_at": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        **origin,
    }
    # The manifest travels inside the file: two files could not be replaced in one step.
    arrays = {}
    for field, array in raw._asdict().items():
        if array is not None and texts.is_text(array):  # NumPy would pickle these
            arrays[field], arrays[field + _ENDS] = texts.pack(array)
        elif array is not None:
            arrays[field] = array
    np.savez(workspace / "stored.npz", manifest=np.array(json.dumps(manifest)), **arrays)
    return (workspace / "stored.npz").replace(folder / file_name(entry.name))
