"""The columns of a data set as it is stored, before anything is made of them: what its fingerprint is taken of."""

from __future__ import annotations

import hashlib
import io
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from dpjax.cell_hashes import Renewed
from dpjax.datasets import fetched_copies, own, registry
from dpjax.datasets.entries import EmbeddedSource, RawArrays
from dpjax.datasets.own_tables.images import is_images
from dpjax.datasets.own_tables.reading import open_tables
from dpjax.datasets.own_tables.source import TableSource
from dpjax.datasets.sealed_rows import content_of
from dpjax.encryption.errors import EncryptionError
from dpjax.fetching.sources import DatasetError


def columns_of(name: str) -> Mapping[str, Any]:
    """The columns of a data set of the registry, or of texts that it does not know, to train and to test.

    Args:
      name: as ``data.name``.

    Returns:
      Name → ``[rows, ...]``; labels are no column, as their numbers are dpjax's.

    Raises:
      DatasetError: it is not on this machine, or can't be read.

    Example:
      >>> columns_of("breast_cancer")["inputs"].shape
      (569, 30)
    """
    if own.is_own(name) and not (location := own.parse_name(name)).on_hub:
        whole = Path(location.place, location.config or "")
        try:  # all columns of a table, whichever of them are taken for texts: it has one fingerprint
            return columns_at(str(whole), location.encoding)
        except DatasetError:  # documents, which are no table
            return _inputs(own.read_own(name, lambda message, fraction: None)[1])
    entry = own.find(name) if own.is_own(name) else registry.find(name)
    first = entry.sources[0]
    if isinstance(first, EmbeddedSource):
        return _inputs(first.read())
    return _inputs(fetched_copies.read_copy(entry, fetched_copies.cache_folder())[0])


def _inputs(raw: RawArrays) -> Mapping[str, Any]:
    return {"inputs": np.concatenate([raw.train_inputs, raw.test_inputs])}


def columns_at(path: str, encoding: str | None = None) -> Mapping[str, Any]:
    """The columns of a table, of arrays, or of a folder of images of one's own.

    Args:
      path: as ``data.path``.
      encoding: of the characters; None: as ``read_tables`` finds it.

    Returns:
      Name → ``[rows]`` cells; of images a hash of each one's pixels, beside that of its file.

    Raises:
      DatasetError: it can't be read.

    Example:
      >>> import tempfile
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     _ = Path(folder, "a.csv").write_text("age,ill\\n40,no\\n51,yes\\n")
      ...     {name: list(column) for name, column in columns_at(f"{folder}/a.csv").items()}
      {'age': ['40', '51'], 'ill': ['no', 'yes']}
    """
    if path and is_images(path):
        files = sorted(each for each in Path(path).expanduser().rglob("*") if each.is_file())
        try:
            found = [_of_file(content_of(each)) for each in files]
        except EncryptionError as error:
            raise DatasetError(f"data.path={path!r}: {error}") from error
        return {"file": Renewed(*map(list, zip(*found, strict=True)))}
    table, _ = open_tables(TableSource(path, encoding=encoding), f"data.path={path!r}:")
    return {name: _column(table.column(name)) for name in table.column_names}


def _of_file(content: bytes) -> tuple[str, str]:
    """A hash of a picture's pixels, however it is compressed, and of its file; of no picture, twice the latter."""
    from PIL import Image, ImageOps

    of_file = hashlib.sha256(content).hexdigest()
    try:
        with warnings.catch_warnings(), Image.open(io.BytesIO(content)) as opened:
            warnings.simplefilter("ignore")
            if getattr(opened, "n_frames", 1) > 1:
                return of_file, of_file
            picture: Any = ImageOps.exif_transpose(opened)
            mode = picture.mode
            if mode[0] not in "IF":  # of 8 bits or fewer, which may be kept as grey, as a palette, or in three colours
                picture, mode = picture.convert("RGBA"), "RGBA"
            pixels = hashlib.sha256(f"{mode} {picture.size}".encode() + picture.tobytes()).hexdigest()
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return of_file, of_file
    return pixels, of_file


def _column(column: Any) -> Any:
    """Numbers as an array, all else as Python has it."""
    import pyarrow.types as kinds

    number = kinds.is_integer(column.type) or kinds.is_floating(column.type)
    if number and not column.null_count:
        return column.to_numpy()
    return np.array(column.to_pylist(), dtype=object)


def names_rows(name: str) -> bool:
    """Whether a word names rows by itself: of the registry or the hub, or as a path.

    Args:
      name: what a person calls a data set.

    Example:
      >>> names_rows("breast_cancer"), names_rows("./patients.csv"), names_rows("customers")
      (True, True, False)
    """
    listed = name in registry.ENTRIES or name.startswith("hub:") or "?" in name
    return listed or "/" in name or "." in name or Path(name).expanduser().exists()


def columns_named(name: str) -> Mapping[str, Any]:
    """The columns of what a person calls a data set: a name of the registry or the hub, or a path.

    Args:
      name: of either.

    Raises:
      DatasetError: it is neither.
    """
    if name in registry.ENTRIES or name.startswith("hub:") or "?" in name:
        return columns_of(name)
    if Path(name).expanduser().exists() or "/" in name or "." in name:
        return columns_at(name)
    raise DatasetError(f"data {name!r} is no name of `dpjax data list`, and no file; name one of them, or give a path")
