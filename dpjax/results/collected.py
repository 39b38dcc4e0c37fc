"""What a ``results.parquet`` was collected from: whether it still says what the files of the jobs beside it say."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from dpjax.results.columns import CURVES

_KEY = b"dpjax_collected"


class Collected(NamedTuple):
    """The ``result.json`` files that a table holds the rows of.

    Attributes:
      digest: of their places below the folder, their sizes and when they were written last; empty if they are not all
        in the table.
      finished: place of each below the folder → overrides of its job.
      older: places of those that lack curves of today's schema, and which.
    """

    digest: str
    finished: dict[str, str]
    older: dict[str, list[str]]


def digest_of(root: Path, files: Sequence[Path]) -> str:
    """What ``Collected.digest`` is of files as they are now; empty where there are none, or one can't be looked at.

    Args:
      root: the folder.
      files: in it.

    Example:
      >>> digest_of(Path("/nowhere"), [])
      ''
    """
    hashed, start = hashlib.sha256(), f"{root.as_posix()}/"
    try:
        for path in files:
            seen, place = (
                path.stat(),
                path.as_posix().removeprefix(start),
            )  # `relative_to` of 10,000 takes longer than stat
            hashed.update(f"{place}\n{seen.st_size}\n{seen.st_mtime_ns}\n".encode())
    except OSError:
        return ""
    return hashed.hexdigest() if files else ""


def lacking(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Curves of today's schema that a job's rows lack; none of a loop of one's own, which records what it has.

    Args:
      rows: of one ``result.json``.

    Example:
      >>> lacking([{"seed": 0}])
      []
    """
    had = {name for row in rows for name in row}
    return [name for name in CURVES if name not in had] if "config" in had else []


def as_metadata(collected: Collected) -> dict[bytes, bytes]:
    """It, as a Parquet file holds it beside its columns.

    Args:
      collected: of a table.
    """
    return {_KEY: json.dumps(collected).encode()}


def from_metadata(metadata: Mapping[bytes, bytes] | None) -> Collected | None:
    """What ``as_metadata`` gave; None where a file has nothing of the kind.

    Args:
      metadata: of a Parquet file.

    Example:
      >>> from_metadata(as_metadata(Collected("a", {"b": "c=1"}, {})))
      Collected(digest='a', finished={'b': 'c=1'}, older={})
      >>> from_metadata({}) is None
      True
    """
    try:
        digest, finished, older = json.loads((metadata or {})[_KEY])
        return Collected(str(digest), dict(finished), dict(older))
    except (KeyError, ValueError, TypeError):
        return None
