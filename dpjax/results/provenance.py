"""Which rows of a table were made by other code, or of other files, than a run of today would read."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from dpjax._version import SAME_NUMBERS_SINCE, __version__
from dpjax.results.distinct import Distinct, Table
from dpjax.results.sealing import content_hash

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
    def revision(row: Mapping[str, Any]) -> str | None:
        code, version = row["code"], row["dpjax_version"]
        stated = code if isinstance(code, str) else version if version != __version__ else None
        return stated if isinstance(stated, str) and stated != SAME_NUMBERS_SINCE else None

    counts: dict[str, int] = {}
    for stated, count in _counted(Table(frame).each(revision)):
        if stated is not None:
            counts[stated] = counts.get(stated, 0) + count
    return [
        f"{_rows(count)} of dpjax {version}, whose numbers may differ from those of {__version__}: the same command "
        "run again makes them anew"
        for version, count in counts.items()
    ]


def _of_files(frame: pd.DataFrame) -> list[str]:
    hashes: dict[str, dict[str, int]] = {}
    for cell, count in _counted(Table(frame)["inputs"]):
        for name, hashed in _read(cell).items():
            stated = hashes.setdefault(name, {})
            stated[hashed] = stated.get(hashed, 0) + count
    sentences = []
    for name, stated in hashes.items():
        now = _now(name)
        stale = 0 if now is None else sum(count for each, count in stated.items() if each != now)
        if stale:
            sentences.append(
                f"{_rows(stale)} of another {name} than the one that is there now: the same command run again makes "
                "them anew"
            )
        elif len(stated) > 1:
            sentences.append(f"rows are of {len(stated)} different contents of {name}")
    return sentences


def _of_revisions(frame: pd.DataFrame) -> list[str]:
    revisions = [each for each in Table(frame)["git_revision"].cells if isinstance(each, str)]
    if len(revisions) < 2:
        return []
    more = ", ..." if len(revisions) > 4 else ""
    return [f"rows are of {len(revisions)} git revisions: {', '.join(revisions[:4])}{more}"]


def _counted(column: Distinct) -> Iterator[tuple[Any, int]]:
    """Each cell, and how many rows have it."""
    return zip(column.cells, np.bincount(column.codes, minlength=len(column.cells)).tolist(), strict=True)


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
        return content_hash(path)
    except (OSError, ValueError, RuntimeError):
        return None


def _rows(count: int) -> str:
    return "1 row is" if count == 1 else f"{count} rows are"
