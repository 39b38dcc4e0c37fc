"""A record of all that was done, each bound to the one before it by a hash."""

from __future__ import annotations

import datetime
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import sqlalchemy as sa

from dpjax.governance.errors import LedgerError
from dpjax.governance.tables import ACTIONS, apply, ledgers, metadata, secrets, trail

START = "0" * 64
"""What the first record is bound to."""

_BEHIND = datetime.timedelta(minutes=10)
"""By how much clocks of machines that share a ledger may differ."""

_BOUND = ("sequence", "time", "who", "action", "subject", "detail")


def canonical(detail: Mapping[str, Any]) -> str:
    """JSON of one spelling."""
    return json.dumps(detail, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def hash_of(before: str, record: Mapping[str, Any]) -> str:
    """Hash of a record and of all before it.

    Args:
      before: of the record before; ``START`` of the first.
      record: a row of the trail, whose own hash is not read.

    Example:
      >>> record = dict(sequence=1, time="t", who="ana", action="init", subject="", detail="{}")
      >>> hash_of(START, record) == hash_of(START, record | {"who": "bob"})
      False
    """
    content = canonical({"before": before} | {name: record[name] for name in _BOUND})
    return hashlib.sha256(content.encode()).hexdigest()


def append(connection: sa.Connection, who: str, action: str, subject: str, detail: Mapping[str, Any]) -> dict[str, Any]:
    """Write down what is done now, and do it.

    Args:
      connection: in a transaction that holds the ledger.
      who: does it.
      action: of ``ACTIONS``.
      subject: a data set, or empty.
      detail: what JSON holds.

    Returns:
      The record.

    Raises:
      LedgerError: this machine's clock is wrong.
    """
    last = connection.execute(sa.select(trail).order_by(trail.c.sequence.desc()).limit(1)).first()
    sequence, before = (0, START) if last is None else (last.sequence, last.hash)
    now = datetime.datetime.now(datetime.UTC)
    if last is not None and now + _BEHIND < datetime.datetime.fromisoformat(last.time):
        raise LedgerError(
            f"this machine's clock says {now.isoformat(timespec='seconds')}, which is before the ledger's last record "
            f"of {last.time}; set it right."
        )
    record = {
        "sequence": sequence + 1,
        "time": now.isoformat(timespec="milliseconds"),
        "who": who,
        "action": action,
        "subject": subject,
        "detail": canonical(detail),
    }
    record["hash"] = hash_of(before, record)
    connection.execute(trail.insert().values(**record))
    apply(connection, record)
    return record


def checked(records: Iterable[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    """The records of a trail, each as it was written and after the one that it was written after.

    Args:
      records: in their order.

    Raises:
      LedgerError: the first that is not.
    """
    before, expected = START, 1
    for record in records:
        if record["sequence"] != expected:
            raise LedgerError(
                f"trail: record {expected} is missing (the next is {record['sequence']}); the ledger was cut or "
                "reordered: restore it from a copy."
            )
        if record["action"] not in ACTIONS or record["hash"] != _hash_or_none(before, record):
            raise LedgerError(
                f"trail: record {expected} ({record['action']} by {record['who']}) is not what was written, or not "
                "after what it was written after; restore the ledger from a copy."
            )
        before, expected = record["hash"], expected + 1
        yield record


def _hash_or_none(before: str, record: Mapping[str, Any]) -> str | None:
    try:
        return hash_of(before, record)
    except (TypeError, ValueError):  # bytes, or half a letter, where SQLite lets anybody put them
        return None


def verify(connection: sa.Connection) -> tuple[int, str]:
    """Compare a ledger's tables with what its trail says, and the trail with its own hashes.

    Formal guarantees: any row of any table that is not what the records say, and any record that is not what was
    written, raises; but for records cut off at the end together with what they did, which only a head that was kept
    elsewhere shows.

    Args:
      connection: reads the ledger.

    Returns:
      Number and hash of the last record: the head.

    Raises:
      LedgerError: what was found first.
    """
    engine = sa.create_engine("sqlite://")
    head = (0, START)
    with engine.begin() as replay:
        metadata.create_all(replay)
        rows = connection.execute(sa.select(trail).order_by(trail.c.sequence)).mappings()
        for record in checked(dict[str, Any](row) for row in rows):
            try:
                apply(replay, record)
            except Exception as error:  # whatever a record makes of the tables that was never written by a ledger
                raise LedgerError(f"trail: record {record['sequence']} can't be what a ledger wrote.") from error
            head = record["sequence"], record["hash"]
        if head == (0, START):
            raise LedgerError("trail is empty; the ledger was cut: restore it from a copy.")
        for table in metadata.sorted_tables:
            if table in (trail, secrets):
                continue
            _compare(table, connection, replay)
    engine.dispose()
    found = connection.execute(sa.select(secrets)).all()
    hashed = connection.execute(sa.select(ledgers.c.secret_hash)).scalar_one()
    if [(row.id, hashlib.sha256(str(row.value).encode()).hexdigest()) for row in found] != [(1, hashed)]:
        raise LedgerError("secret is not the one that the ledger was made with; restore the ledger from a copy.")
    return head


def _compare(table: sa.Table, mine: sa.Connection, replay: sa.Connection) -> None:
    ordered = sa.select(table).order_by(*table.primary_key.columns)
    found = {tuple(row[c.name] for c in table.primary_key): dict(row) for row in mine.execute(ordered).mappings()}
    said = {tuple(row[c.name] for c in table.primary_key): dict(row) for row in replay.execute(ordered).mappings()}
    for key in said.keys() | found.keys():
        if key not in said or key not in found:
            where = "is not in the trail" if key in found else "is missing"
            raise LedgerError(f"{table.name} {'/'.join(map(str, key))} {where}; restore the ledger from a copy.")
        for name, value in said[key].items():
            if found[key][name] != value:
                raise LedgerError(
                    f"{table.name} {'/'.join(map(str, key))}: {name} is not what the trail says; restore the ledger "
                    "from a copy."
                )
