"""What was entered by mistake and is taken back: it stays written down, and counts no more."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from dpjax.governance.errors import LedgerError
from dpjax.governance.tables import spends, trail

RETRACTED = "retracted"
"""State of an entry that was taken back."""

_MOST_LETTERS = 1000


def retraction_of(connection: sa.Connection, name: str, id: str, reason: str) -> dict[str, Any]:
    """What the trail says of an entry that is taken back.

    Args:
      connection: to the ledger.
      name: of its data set.
      id: of the entry.
      reason: in words, 1 to 1,000 letters.

    Raises:
      LedgerError: there is no reason, or no such entry, or it is a run of dpjax, or was taken back already.
    """
    if not reason.strip() or len(reason) > _MOST_LETTERS:
        raise LedgerError(f"reason={reason[:40]!r} must say in 1 to {_MOST_LETTERS:,} letters what was wrong.")
    detail = {"runs": [{"id": id, "state": RETRACTED}], "why": reason.strip()}
    check_retraction(connection, name, detail)
    return detail


def check_retraction(connection: sa.Connection, name: str, detail: Mapping[str, Any]) -> None:
    """Raise LedgerError unless it takes back one entry of another tool, once.

    Args:
      connection: to the ledger, or to one that is replayed.
      name: of the data set.
      detail: of the record.
    """
    if set(detail) != {"runs", "why"} or not isinstance(detail["why"], str) or not detail["why"]:
        raise LedgerError("it takes something back and does not say why.")
    [run] = detail["runs"]
    if set(run) != {"id", "state"} or run["state"] != RETRACTED:
        raise LedgerError("it takes something back in another way than a ledger does.")
    found = connection.execute(sa.select(spends).where(spends.c.id == run["id"])).mappings().first()
    if found is None or found["data_set"] != name:
        raise LedgerError(f"entry {str(run['id'])[:40]} is none of data {name}; see `dpjax ledger show {name}`.")
    row = dict[str, Any](found)
    if not is_entered(row):
        raise LedgerError(
            f"run {row['label']} was reserved by dpjax, which saw it run, so what it spent stays spent; only what was "
            "entered of other tools is taken back."
        )
    if row["state"] == RETRACTED:
        raise LedgerError(f"entry {run['id'][:8]} was taken back already; see `dpjax ledger show {name}`.")


def is_entered(run: Mapping[str, Any]) -> bool:
    """Whether a run was entered as of another tool: dpjax's own have a key and a process.

    Args:
      run: a row, or as the trail has it.
    """
    return run["key"] == "" and run["process"] == ""


def is_retraction(proposed: Mapping[str, Any]) -> bool:
    """Whether what was proposed is to take an entry back.

    Args:
      proposed: of a ``Proposal``.
    """
    return "runs" in proposed


def state_of(connection: sa.Connection, proposed: Mapping[str, Any]) -> dict[str, Any]:
    """How the entry is now that a proposal would take back.

    Args:
      connection: to the ledger.
      proposed: of the ``Proposal``.
    """
    [run] = proposed["runs"]
    return {"state": connection.execute(sa.select(spends.c.state).where(spends.c.id == run["id"])).scalar_one()}


def reasons_of(connection: sa.Connection, name: str) -> dict[str, str]:
    """Why entries were taken back: id → who did it, when and why.

    Args:
      connection: to the ledger.
      name: of their data set.
    """
    chosen = sa.select(trail).where(trail.c.action == "retract", trail.c.subject == name)
    found = {}
    for row in connection.execute(chosen).mappings():
        detail = json.loads(row["detail"])
        found |= {run["id"]: f"by {row['who']} on {row['time'][:10]}: {detail['why']}" for run in detail["runs"]}
    return found
