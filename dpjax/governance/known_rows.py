"""All tables that a data set's name has ever had a budget for: each of them is held to it for good."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import sqlalchemy as sa

from dpjax.fingerprints import KIND, Fingerprint
from dpjax.governance.errors import LedgerError
from dpjax.governance.tables import fingerprints, trail


class KnownRows(NamedTuple):
    """What each name's budget was ever set for.

    Formal guarantees: a budget that is set again, for a part of its rows or for more, frees none of those that it had:
    what was spent on them is still spent.

    Attributes:
      tables: name of the data set → its fingerprints, the last one first.
      older: names of which the last one is of an older kind, by which parts of the rows may not be known again.
    """

    tables: Mapping[str, Sequence[Fingerprint]]
    older: frozenset[str]

    def share(self, name: str, rows: Fingerprint) -> float:
        """The largest share that rows have in common with a table of a name; 0 where it is next to none.

        Args:
          name: of the data set.
          rows: in hand.
        """
        return max((rows.shares(each) for each in self.tables.get(name, ())), default=0.0)

    def may_be_of(self, name: str, rows: Fingerprint) -> bool:
        """Whether a name's budget may be set for these rows: they are its own, or an older kind can't tell.

        Args:
          name: of the data set.
          rows: in hand.
        """
        if name not in self.tables or self.share(name, rows):
            return True
        return name in self.older and self.tables[name][0].num_rows == rows.num_rows


def known_rows(connection: sa.Connection) -> KnownRows:
    """Every fingerprint that a budget was ever set for, as the trail has them.

    Args:
      connection: to the ledger.

    Raises:
      LedgerError: one is lost.
    """
    values = {row.id: row.value for row in connection.execute(sa.select(fingerprints))}
    chosen = sa.select(trail.c.sequence, trail.c.subject, trail.c.detail).where(trail.c.action == "budget")
    found: dict[str, dict[str, Fingerprint]] = {}
    older = set[str]()
    for row in sorted(connection.execute(chosen), key=lambda row: row.sequence, reverse=True):
        id = fingerprint_id(json.loads(row.detail)["fingerprint"])
        if id not in values:
            raise LedgerError(f"data {row.subject} has lost a fingerprint; restore the ledger from a copy.")
        if row.subject not in found and is_of_older_kind(values[id]):
            older.add(row.subject)
        found.setdefault(row.subject, {}).setdefault(id, Fingerprint.from_json(values[id]))
    return KnownRows({name: list(each.values()) for name, each in found.items()}, frozenset(older))


def fingerprint_id(named: str) -> str:
    """The id of a fingerprint as a record of a budget names it: version 1 had the whole of it there.

    Args:
      named: of the record.

    Example:
      >>> fingerprint_id("[]") == hashlib.sha256(b"[]").hexdigest(), fingerprint_id("4f53")
      (True, '4f53')
    """
    return hashlib.sha256(named.encode()).hexdigest() if named.startswith("[") else named


def is_of_older_kind(value: str) -> bool:
    """Whether a fingerprint lacks what one of today has, so that parts of its rows may not be known again.

    Args:
      value: as the ledger keeps it.

    Example:
      >>> is_of_older_kind('[3, "4f53", "", ""]'), is_of_older_kind(Fingerprint(3, "4f53", (), (), kind=KIND).as_json())
      (True, False)
    """
    return Fingerprint.from_json(value).kind < KIND
