"""Where what was fetched is kept, and where it is unpacked before it is."""

import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dpjax.fetching.sources import DatasetError
from dpjax.keeping import user_folder

MODELS = "DPJAX_MODELS_DIR"
"""The variable of the environment that names the folder of fetched checkpoints."""


def models_folder(cache_dir: str | os.PathLike[str] | None = None) -> Path:
    """The folder of fetched checkpoints: the argument, ``DPJAX_MODELS_DIR``, or the user's cache folder.

    Formal guarantees: the folder follows from the argument and the environment alone; it is not made.

    Args:
      cache_dir: the folder itself; None: not chosen.

    Returns:
      The folder.

    Example:
      >>> models_folder("here").name
      'here'
    """
    return user_folder("models", MODELS, cache_dir)


def checkpoint_folder(name: str, cache_dir: str | os.PathLike[str] | None = None) -> Path:
    """Where the copy of a checkpoint, or of a hub repository ``owner/name``, is kept.

    Formal guarantees: the folder follows from the name and ``models_folder`` alone; it is not made.

    Args:
      name: of the registry of models, or ``owner/name`` of the hub.
      cache_dir: see ``models_folder``.

    Returns:
      The folder.

    Example:
      >>> checkpoint_folder("owner/name", "here").parts
      ('here', 'owner--name')
    """
    return models_folder(cache_dir) / name.replace("/", "--")


@contextmanager
def workspace_in(folder: Path, name: str, variable: str = "DPJAX_DATA_DIR") -> Iterator[Path]:
    """Opens a temporary folder inside the cache, and removes it with all it holds, whatever happens.

    Args:
      folder: the cache.
      name: of what is fetched.
      variable: of the environment, which names the cache.

    Raises:
      DatasetError: the disk is full or the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".fetch-{name}-", dir=folder) as path:  # same disk: atomic move
            yield Path(path)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            why = f"the disk of {folder} is full; free some space or set {variable} to another disk"
        else:
            why = f"{folder} cannot be used ({error.strerror or error}); set {variable} to a folder you can write"
        raise DatasetError(why) from error
