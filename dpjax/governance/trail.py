"""A record of all that was done, each bound to the one before it by a hash."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import sqlalchemy as sa

from dpjax.checks import in_one_line
from dpjax.governance.clocks import CLOCK, behind, is_back, now_utc
from dpjax.governance.errors import LedgerError
from dpjax.governance.known_rows import fingerprint_id
from dpjax.governance.policy import check_key, read_policy
from dpjax.governance.retractions import is_retraction
from dpjax.governance.rules import check_rules
from dpjax.governance.schema import check_schema
from dpjax.governance.signing import Author, is_signed, key_id
from dpjax.governance.tables import ACTIONS, apply, fingerprints, ledgers, metadata, secrets, signers, trail

START = "0" * 64
"""What the first record is bound to."""

_BOUND = ("sequence", "time", "who", "action", "subject", "detail")


def canonical(detail: Mapping[str, Any]) -> str:
    """JSON of one spelling."""
    return json.dumps(detail, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def hash_of(before: str, record: Mapping[str, Any]) -> str:
    """Hash of a record and of all before it.

    Args:
      before: of the record before; ``START`` of the first.
      record: a row of the trail, whose own hash and signature are not read.

    Example:
      >>> record = dict(sequence=1, time="t", who="ana", action="init", subject="", detail="{}")
      >>> hash_of(START, record) == hash_of(START, record | {"who": "bob"})
      False
    """
    signer = {"signer": record["signer"]} if record.get("signer") else {}  # version 1 had none
    content = canonical({"before": before} | {name: record[name] for name in _BOUND} | signer)
    return hashlib.sha256(content.encode()).hexdigest()


def append(
    connection: sa.Connection,
    author: Author,
    action: str,
    subject: str,
    detail: Mapping[str, Any],
    *,
    sets_clock: bool = False,
) -> dict[str, Any]:
    """Write down what is done now, signed, and do it.

    The first that a key writes is that it is this person's.

    Args:
      connection: in a transaction that holds the ledger.
      author: does it.
      action: of ``ACTIONS``.
      subject: a data set, or empty.
      detail: what JSON holds.
      sets_clock: whether it is ``CLOCK``, or what its author's first record brings along before it.

    Returns:
      The record.

    Raises:
      LedgerError: this machine's clock, or that of the last record, is wrong; or the database did not keep it.
    """
    known = sa.exists().where(signers.c.key == author.key.id, signers.c.who == author.who).label("known")
    ends = sa.select(trail, known).order_by(trail.c.sequence.desc())
    last = connection.execute(ends.limit(1)).first()
    sequence, before = (0, START) if last is None else (last.sequence, last.hash)
    now = now_utc()
    if last is not None and is_back(last.time, now) and not sets_clock:
        raise LedgerError(behind(now, last.sequence, last.time, last.who))

    def write(action: str, subject: str, detail: Mapping[str, Any]) -> dict[str, Any]:
        nonlocal sequence, before
        sequence += 1
        record = {
            "sequence": sequence,
            "time": now if last is None or action == CLOCK or not sets_clock else max(now, last.time),
            "who": author.who,
            "action": action,
            "subject": subject,
            "detail": canonical(detail),
            "signer": author.key.id,
        }
        before = hash_of(before, record)
        record |= {"hash": before, "signature": author.key.sign("trail", before)}
        connection.execute(trail.insert().values(**record))
        apply(connection, record)
        kept = connection.execute(sa.select(trail).where(trail.c.sequence == sequence)).mappings().first()
        if kept is None or dict(kept) != record:
            raise LedgerError(
                f"trail: the database did not keep record {sequence} ({action}) as it was written; look for triggers, "
                "and restore it from a copy."
            )
        return record

    if last is None:
        return write(action, subject, dict(detail) | {"public": author.key.public})
    if not last.known:
        write("signer", "", {"public": author.key.public})
    return write(action, subject, detail)


def checked(records: Iterable[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    """The records of a trail, each as it was written, by whom it says, after the one that it was written after.

    Args:
      records: in their order.

    Raises:
      LedgerError: the first that is not.
    """
    before, time, expected = START, "", 1
    keys: dict[tuple[str, str], str] = {}
    policy = None
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
        try:
            if expected == 1 and json.loads(record["detail"])["version"] > 1 and not record["signer"]:
                raise LedgerError("it is not signed; restore the ledger from a copy.")
            _check_signature(record, keys)
            if record["signer"]:
                check_key(policy, record["who"], keys[record["signer"], record["who"]])
            if record["action"] == "policy":
                policy = read_policy(json.loads(record["detail"])["text"])
            if time and is_back(time, record["time"]) and record["action"] != CLOCK:
                raise LedgerError("its time is before that of the record before it; restore the ledger from a copy.")
        except LedgerError as error:
            raise LedgerError(f"trail: record {expected} ({record['action']}): {error}") from error
        except (TypeError, ValueError, KeyError, AttributeError) as error:
            raise LedgerError(f"trail: record {expected} can't be what a ledger wrote.") from error
        before, time, expected = record["hash"], record["time"], expected + 1
        yield record


def _check_signature(record: Mapping[str, Any], keys: dict[tuple[str, str], str]) -> None:
    """Raise LedgerError unless the record is signed by a key of whom it says, which is kept in ``keys``."""
    signer, who = record["signer"], record["who"]
    if not signer and not keys:  # of version 1
        return
    if record["action"] in ("init", "signer"):
        public = json.loads(record["detail"]).get("public", "")
        if key_id(public) == signer:
            keys[signer, who] = public
    if (signer, who) not in keys:
        raise LedgerError(f"it is signed by no key of {who}; restore the ledger from a copy.")
    if not is_signed("trail", record["hash"], record["signature"], keys[signer, who]):
        raise LedgerError(f"its signature is not {who}'s; restore the ledger from a copy.")


def _hash_or_none(before: str, record: Mapping[str, Any]) -> str | None:
    try:
        return hash_of(before, record)
    except (TypeError, ValueError):  # bytes, or half a letter, where SQLite lets anybody put them
        return None


def verify(connection: sa.Connection) -> tuple[int, str]:
    """Compare a ledger's tables with what its trail says, and the trail with its own hashes.

    Formal guarantees: any row of any table that is not what the records say, and any record that is not what was
    written and signed, or that no ledger lets its author write (``rules``), raises; but for records cut off at the end
    together with what they did, or all of them written anew with other keys, which only a head that was kept elsewhere
    shows.

    Args:
      connection: reads the ledger.

    Returns:
      Number and hash of the last record: the head.

    Raises:
      LedgerError: what was found first.
    """
    check_schema(connection)
    _check_indexes(connection)
    engine = sa.create_engine("sqlite://")
    head = (0, START)
    with engine.begin() as replay:
        metadata.create_all(replay)
        kept = list(_by_key(fingerprints, connection).values())
        if kept:
            replay.execute(fingerprints.insert(), kept)
        named = set[str]()
        rows = connection.execute(sa.select(trail).order_by(trail.c.sequence)).mappings()
        policy, maker, before = None, "", None
        for record in checked(dict[str, Any](row) for row in rows):
            maker = maker or record["who"]
            try:
                check_rules(replay, record, policy, maker, before)
                apply(replay, record)
                if record["action"] == "policy":
                    policy = read_policy(json.loads(record["detail"])["text"])
                named |= _fingerprints_in(record)
                before = record
            except LedgerError as error:
                raise LedgerError(
                    f"trail: record {record['sequence']} ({record['action']} by {record['who']}) is none that a ledger "
                    f"writes: {error} Restore the ledger from a copy."
                ) from error
            except Exception as error:  # whatever a record makes of the tables that was never written by a ledger
                raise LedgerError(f"trail: record {record['sequence']} can't be what a ledger wrote.") from error
            head = record["sequence"], record["hash"]
        if head == (0, START):
            raise LedgerError("trail is empty; the ledger was cut: restore it from a copy.")
        for table in metadata.sorted_tables:
            if table in (trail, secrets, fingerprints):
                continue
            _compare(table, connection, replay)
    engine.dispose()
    sound = all(row["id"] == hashlib.sha256(str(row["value"]).encode()).hexdigest() for row in kept)
    if not sound or {row["id"] for row in kept} != named:
        raise LedgerError("fingerprints are not those that the trail names; restore the ledger from a copy.")
    found = connection.execute(sa.select(secrets)).all()
    hashed = connection.execute(sa.select(ledgers.c.secret_hash)).scalar_one()
    if [(row.id, hashlib.sha256(str(row.value).encode()).hexdigest()) for row in found] != [(1, hashed)]:
        raise LedgerError("secret is not the one that the ledger was made with; restore the ledger from a copy.")
    return head


def _fingerprints_in(record: Mapping[str, Any]) -> set[str]:
    """Ids of the fingerprints that a record names."""
    detail = json.loads(record["detail"])
    if record["action"] == "budget":
        return {fingerprint_id(detail["fingerprint"])}
    if record["action"] == "propose" and record["subject"] and not is_retraction(detail["to"]):
        return {detail["to"]["fingerprint"]}
    return set()


def _check_indexes(connection: sa.Connection) -> None:
    """Raise LedgerError where an index lacks rows, or has others; PostgreSQL is told to read none."""
    if connection.dialect.name == "postgresql":
        for plan in ("indexscan", "indexonlyscan", "bitmapscan"):
            connection.exec_driver_sql(f"SET LOCAL enable_{plan} TO off")
        return
    found = str(connection.exec_driver_sql("PRAGMA integrity_check(1)").scalar())
    if found != "ok":
        raise LedgerError(f"ledger: its file is damaged ({in_one_line(found, 160)}); restore it from a copy.")


def _by_key(table: sa.Table, connection: sa.Connection) -> dict[tuple[Any, ...], dict[str, Any]]:
    """Rows by their primary keys, in order; LedgerError where one is there twice."""
    found: dict[tuple[Any, ...], dict[str, Any]] = {}
    for row in connection.execute(sa.select(table)).mappings():
        key = tuple(row[c.name] for c in table.primary_key)
        if key in found:
            raise LedgerError(f"{table.name} {'/'.join(map(str, key))} is there twice; restore the ledger from a copy.")
        found[key] = dict(row)
    return found


def _compare(table: sa.Table, mine: sa.Connection, replay: sa.Connection) -> None:
    found, said = _by_key(table, mine), _by_key(table, replay)
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
