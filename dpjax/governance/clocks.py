"""Times of a trail: they go on, but where a record says that a clock had been ahead."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from dpjax.governance.errors import LedgerError
from dpjax.governance.policy import Policy, owners_of_all
from dpjax.governance.tables import trail

CLOCK = "clock"
"""The action of a record after which times go on from its own, which is before that of the last."""

_APART = datetime.timedelta(minutes=10)
"""By how much clocks of machines that share a ledger may differ."""

_MOST_LETTERS = 1000


def now_utc() -> str:
    """This machine's time, as a trail has it."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")


def is_back(before: str, time: str) -> bool:
    """Whether a time is further before another than clocks differ.

    Args:
      before: of a record.
      time: of what comes after it.

    Example:
      >>> is_back("2031-05-01T08:00:00.000+00:00", "2026-05-01T08:00:00.000+00:00")
      True
      >>> is_back("2026-05-01T08:05:00.000+00:00", "2026-05-01T08:00:00.000+00:00")
      False
    """
    return datetime.datetime.fromisoformat(time) + _APART < datetime.datetime.fromisoformat(before)


def behind(now: str, sequence: int, time: str, who: str) -> str:
    """Why nothing is written by a machine whose clock is behind the last record, in a sentence.

    Args:
      now: of this machine.
      sequence, time, who: of the last record.
    """
    return (
        f"this machine's clock says {now[:19]} (UTC), which is before the ledger's last record, {sequence} of "
        f"{time[:19]} by {who}; set the clock right, or if {who}'s was ahead, let an owner write that down with "
        "`dpjax ledger clock --reason ...`."
    )


def ahead(connection: sa.Connection, reason: str) -> dict[str, Any]:
    """What the trail says of the records at its end whose time is ahead of this machine's.

    Args:
      connection: to the ledger.
      reason: in words, 1 to 1,000 letters.

    Raises:
      LedgerError: there is no reason, or none is ahead.
    """
    if not reason.strip() or len(reason) > _MOST_LETTERS:
        raise LedgerError(f"reason={reason[:40]!r} must say in 1 to {_MOST_LETTERS:,} letters whose clock was wrong.")
    now, last, first, was = now_utc(), 0, 0, ""
    for row in connection.execute(sa.select(trail.c.sequence, trail.c.time).order_by(trail.c.sequence.desc())):
        last, was = last or row.sequence, was or row.time
        if not is_back(row.time, now):
            break
        first = row.sequence
    if not first:
        raise LedgerError(
            f"this machine's clock says {now[:19]} (UTC), and the ledger's last record is of {was[:19]}, which is not "
            "ahead of it; nothing is to be set right."
        )
    return {"first": first, "last": last, "was": was, "why": reason.strip()}


def clock_denial(policy: Policy | None, who: str, maker: str) -> str:
    """Why a person may not say that a clock was wrong; empty: they may.

    Args:
      policy: that holds; None: there is none.
      who: the person.
      maker: wrote the first record.
    """
    may = {maker} if policy is None else owners_of_all(policy)
    whose = "who made the ledger" if policy is None else "who owns all data"
    return (
        ""
        if who in may
        else f"that a clock was wrong is for {' or '.join(sorted(may))} to say, {whose}, and not {who}."
    )


def check_clock(
    record: Mapping[str, Any],
    detail: Mapping[str, Any],
    policy: Policy | None,
    maker: str,
    before: Mapping[str, Any] | None,
) -> None:
    """Raise LedgerError unless a record says of those before it what a ledger would have written.

    Args:
      record: of the trail.
      detail: of the record.
      policy: that held then.
      maker: wrote the first record.
      before: the record before.
    """
    if why := clock_denial(policy, record["who"], maker):
        raise LedgerError(why)
    if set(detail) != {"first", "last", "was", "why"} or not detail["why"]:
        raise LedgerError("it sets a clock and does not say why.")
    if before is None or detail["was"] != before["time"] or not is_back(before["time"], record["time"]):
        raise LedgerError("it sets a clock that was not ahead.")
    if not 1 <= detail["first"] <= detail["last"] < record["sequence"]:
        raise LedgerError("it sets the clock of records that were not there.")
