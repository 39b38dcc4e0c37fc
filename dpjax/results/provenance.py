"""Which rows of a table were made by other code, or of other files, than a run of today would read."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pandas as pd

from dpjax._version import SAME_NUMBERS_SINCE, __version__

_LARGEST = 64 * 2**20
"""Bytes of a file that a table is worth reading for."""


def made_by_other_code(frame: pd.DataFrame) -> list[str]:
    """What is to be said of the code and the files that rows were made of, one sentence each; none if nothing is.

    Formal guarantees: a row of a version whose numbers may differ from this one's is told, and so is one that read a
    plugin or a data file which has other bytes now, or had others in another row. Files that are not here, or larger
    than 64 MiB, are compared between rows alone. Never raises.

    Args:
      frame: what ``collect`` or ``load`` gave.

    Example:
      >>> from dpjax.results.table import frame_of
      >>> made_by_other_code(frame_of([{"seed": 0, "code": "0.0.1"}]))[0].partition(",")[0]
      '1 row is of dpjax 0.0.1'
    """
    return [*_of_versions(frame), *_of_files(frame), *_of_revisions(frame)]


def _of_versions(frame: pd.DataFrame) -> list[str]:
    counts: dict[str, int] = {}
    for code, version in zip(frame["code"], frame["dpjax_version"], strict=True):
        revision = code if isinstance(code, str) else version if version != __version__ else None
        if isinstance(revision, str) and revision != SAME_NUMBERS_SINCE:
            counts[revision] = counts.get(revision, 0) + 1
    return [
        f"{_rows(count)} of dpjax {version}, whose numbers may differ from those of {__version__}: the same command "
        "run again makes them anew"
        for version, count in counts.items()
    ]


def _of_files(frame: pd.DataFrame) -> list[str]:
    hashes: dict[str, list[str]] = {}
    for cell in frame["inputs"]:
        for name, hashed in _read(cell).items():
            hashes.setdefault(name, []).append(hashed)
    sentences = []
    for name, stated in hashes.items():
        now = _now(name)
        stale = 0 if now is None else sum(each != now for each in stated)
        if stale:
            sentences.append(
                f"{_rows(stale)} of another {name} than the one that is there now: the same command run again makes "
                "them anew"
            )
        elif len(set(stated)) > 1:
            sentences.append(f"rows are of {len(set(stated))} different contents of {name}")
    return sentences


def _of_revisions(frame: pd.DataFrame) -> list[str]:
    revisions = list(dict.fromkeys(each for each in frame["git_revision"] if isinstance(each, str)))
    if len(revisions) < 2:
        return []
    more = ", ..." if len(revisions) > 4 else ""
    return [f"rows are of {len(revisions)} git revisions: {', '.join(revisions[:4])}{more}"]


def _read(cell: Any) -> dict[str, str]:
    try:
        content = json.loads(cell) if isinstance(cell, str) else cell
    except (ValueError, RecursionError):
        return {}
    return {str(name): str(value) for name, value in content.items()} if isinstance(content, dict) else {}


def _now(name: str) -> str | None:
    try:
        path = Path(name).expanduser()
        if not path.is_file() or path.stat().st_size > _LARGEST:
            return None
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except (OSError, ValueError, RuntimeError):
        return None


def _rows(count: int) -> str:
    return "1 row is" if count == 1 else f"{count} rows are"
