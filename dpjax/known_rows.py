"""Rows that a ledger in a file knows, asked by those who do not keep it: without what opens a ledger."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from dpjax.fingerprints import Fingerprint

_WAIT_SECONDS = 1.0


class Known(NamedTuple):
    """A data set of a ledger, of which some rows are at hand.

    Attributes:
      name: in the ledger.
      sensitive: whether all that is done with it needs a grant.
      whole: whether the rows are the same, and not a part of them or more.
    """

    name: str
    sensitive: bool
    whole: bool


def ledger_place() -> str:
    """Where a ledger is looked for that nobody named: ``DPJAX_LEDGER``, or the user's own file.

    Example:
      >>> bool(ledger_place())
      True
    """
    if named := os.environ.get("DPJAX_LEDGER"):
        return named
    import platformdirs

    return str(Path(platformdirs.user_data_dir("dpjax")) / "ledger.db")


def ledger_file(place: str) -> Path | None:
    """The file of a ledger; None where there is none, or a server has it.

    Args:
      place: as of ``ledger_place``.

    Example:
      >>> ledger_file("postgresql://ana@db/l"), ledger_file("/nowhere/l.db")
      (None, None)
    """
    if "://" in place and not place.startswith("sqlite:///"):
        return None
    path = Path(place.removeprefix("sqlite:///")).expanduser()
    return path if path.is_file() else None


def known_in(file: Path, fingerprint: Callable[[Sequence[str]], Fingerprint | None]) -> Known | None:
    """The data set of a ledger that has these rows or a part of them; None: none has, or it can't be read.

    Formal guarantees: the file is read and not written. It is no check of the ledger, and none of the person.

    Args:
      file: of ``ledger_file``.
      fingerprint: of the rows, made when there is something to compare it with, of whose names it is told; None: it
        is not worth it.

    Example:
      >>> known_in(Path("/nowhere"), lambda names: None) is None
      True
    """
    try:
        with closing(sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True, timeout=_WAIT_SECONDS)) as opened:
            found = opened.execute(
                "SELECT d.name, d.sensitive, f.value FROM data_set d JOIN fingerprint f ON d.fingerprint = f.id "
                "ORDER BY d.name"
            ).fetchall()
        kept = [(str(name), bool(sensitive), Fingerprint.from_json(value)) for name, sensitive, value in found]
    except (sqlite3.Error, ValueError):  # another's, another version's, or no ledger: who uses it is told
        return None
    rows = fingerprint([name for name, _, _ in kept]) if kept else None
    if rows is None:
        return None
    shared = [Known(name, sensitive, rows.same(other)) for name, sensitive, other in kept if rows.shares(other)]
    return max(shared, key=lambda each: (each.whole, each.sensitive), default=None)
