"""Which figures of a folder are there already, drawn of the same rows by the same code. No matplotlib in here."""

import functools
import hashlib
import json
import logging
import os
import platform
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import dpjax
import experiments
from dpjax.keeping import write_whole

if TYPE_CHECKING:
    import pandas as pd

FILE = "drawn.json"
"""Stands beside the figures; without it, or where it says nothing that can be read, all are drawn anew."""
_DRAWN_BY = ("matplotlib", "numpy", "pandas", "scipy", "dp-accounting")

log = logging.getLogger("dpjax.figures")


class OnDisk(NamedTuple):
    """What came of drawing one figure.

    Attributes:
      inputs: ``inputs_of`` what it was drawn of.
      files: digest of each file's bytes, by its ending; a file that has other bytes was not drawn here.
      missing: the sentence that says what the rows lack; empty if they lack nothing.
      caption: what it rests on.
    """

    inputs: str
    files: dict[str, str]
    missing: str = ""
    caption: str = ""

    def has(self, path: Path) -> bool:
        """Whether a file is the one that was drawn.

        Args:
          path: of the file.
        """
        digest = self.files.get(path.suffix)
        return bool(digest) and digest == digest_of_file(path)


def remove_outdated(folder: Path, before: Mapping[str, OnDisk], now: Mapping[str, OnDisk]) -> list[Path]:
    """Removes the files that were drawn here and are not what would be drawn now; those that somebody has edited stay.

    Args:
      folder: of the figures.
      before: what was drawn into it.
      now: what stands there as it should.

    Returns:
      What is gone.

    Example:
      >>> remove_outdated(Path("/nowhere"), {"curve": OnDisk("a", {".png": "b"})}, {})
      []
    """
    removed = []
    for name, figure in before.items():
        for ending in figure.files:
            path = folder / f"{name}{ending}"
            if (name not in now or ending not in now[name].files) and figure.has(path):
                with suppress(OSError):
                    path.unlink()
                    removed.append(path)
    return removed


def inputs_of(name: str, rows: "pd.DataFrame", metric: str, look: "tuple[Any, ...]" = ()) -> str:
    """Digest of all that a figure is made of: its rows, its metric, and the code and packages that draw it.

    Formal guarantees: every cell of every column counts, each number to its last bit, and every line of dpjax.

    Args:
      name: of the figure.
      rows: that it is handed.
      metric: the column that it is asked for.
      look: what else it is asked for.

    Example:
      >>> import pandas as pd
      >>> rows = pd.DataFrame({"epsilon": [1.0, 2.0]})
      >>> inputs_of("curve", rows, "loss") == inputs_of("curve", rows.copy(), "loss")
      True
      >>> inputs_of("curve", rows, "loss") == inputs_of("curve", rows + 1e-15, "loss")
      False
    """
    columns: Any = rows.items()
    cells = [(label, str(column.dtype), column.tolist()) for label, column in columns]
    return digest_of(json.dumps([name, metric, look, _code(), cells], default=_plain).encode())


def read_drawn(folder: Path) -> dict[str, OnDisk]:
    """What was drawn into a folder, by the names of the figures; nothing of what can't be read.

    Args:
      folder: of the figures.

    Example:
      >>> read_drawn(Path("/nowhere"))
      {}
    """
    try:
        content = json.loads((folder / FILE).read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    figures = content.items() if isinstance(content, Mapping) else ()
    return {name: OnDisk(**fields) for name, fields in figures if _is_drawn(fields)}


def write_drawn(folder: Path, before: Mapping[str, OnDisk], now: Mapping[str, OnDisk]) -> None:
    """Writes what was drawn into a folder; where that fails, the figures are drawn again another time.

    Formal guarantees: what another process has written of other figures since ``before`` was read stays, and of one
    figure both processes' files where they drew it of the same rows. Two at once wait for each other.

    Args:
      folder: of the figures.
      before: what ``read_drawn`` said when the drawing began.
      now: what stands there as it should, by the names of the figures.
    """
    try:
        with _alone_in(folder):
            merged = _merged(read_drawn(folder), before, now)
            content = {name: figure._asdict() for name, figure in merged.items()}
            write_whole(folder / FILE, json.dumps(content, indent=1).encode())
    except OSError as error:
        log.debug("what was drawn into %s is not written down: %s", folder, error)


def _merged(there: Mapping[str, OnDisk], before: Mapping[str, OnDisk], now: Mapping[str, OnDisk]) -> dict[str, OnDisk]:
    """What stands in a folder after this process's changes from ``before`` to ``now`` are made to what is there."""
    merged = dict(there)
    for name, figure in now.items():
        other = there.get(name)
        if other is None or other == before.get(name):
            merged[name] = figure
        elif other.inputs == figure.inputs and other.missing == figure.missing:
            merged[name] = figure._replace(files={**other.files, **figure.files})
        elif figure != before.get(name):  # both were drawn anew of other rows: the files are the last writer's
            merged[name] = figure
    for name in before.keys() - now.keys():
        if there.get(name) == before[name]:
            merged.pop(name, None)
    return merged


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Within it no other process is; on a disk or a system without locks it may be."""
    try:
        import fcntl
    except ImportError:
        yield
        return
    handle = os.open(folder, os.O_RDONLY)  # of the folder itself: a file beside the figures would outlive it
    try:
        with suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def digest_of(content: bytes) -> str:
    """Digest of a file's bytes.

    Args:
      content: of the file.

    Example:
      >>> len(digest_of(b""))
      64
    """
    return hashlib.sha256(content).hexdigest()


def digest_of_file(path: Path) -> str:
    """Digest of a file's bytes; empty if there is none to read.

    Args:
      path: of the file.

    Example:
      >>> digest_of_file(Path("/nowhere"))
      ''
    """
    try:
        return digest_of(path.read_bytes())
    except OSError:
        return ""


@functools.cache
def _code() -> str:
    """Digest of all modules: what a figure shows is computed in many of them, and reading all takes 20 ms."""
    files = [path for package in (dpjax, experiments) for path in sorted(Path(package.__path__[0]).rglob("*.py"))]
    packages = [platform.python_version(), *map(_version, _DRAWN_BY)]
    return digest_of(b"\0".join([*(path.read_bytes() for path in files), *(each.encode() for each in packages)]))


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _plain(value: Any) -> Any:
    """A cell that JSON does not know: an array, a scalar of numpy's, or a missing value."""
    return value.tolist() if hasattr(value, "tolist") else repr(value)


def _is_drawn(fields: Any) -> bool:
    if not isinstance(fields, dict) or not fields.keys() <= set(OnDisk._fields):
        return False
    files = fields.get("files")
    texts = [
        fields.get("inputs"),
        fields.get("missing", ""),
        fields.get("caption", ""),
        *(files.values() if isinstance(files, dict) else [None]),
    ]
    return all(isinstance(text, str) for text in texts)
