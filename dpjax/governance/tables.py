"""The tables of a ledger, and what a record of its trail does to them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from typing import Any

import sqlalchemy as sa

from dpjax.governance.errors import LedgerError

VERSION = 2
"""Of the tables; a ledger of another is refused, and ``dpjax ledger upgrade`` brings an older one here."""

metadata = sa.MetaData()

ledgers = sa.Table(
    "ledger",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),  # 1: there is one
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("name", sa.String(64), nullable=False),  # drawn when it was made
    sa.Column("created", sa.String(40), nullable=False),
    sa.Column("secret_hash", sa.String(64), nullable=False),
)

secrets = sa.Table(
    "secret",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),  # 1: there is one
    sa.Column("value", sa.String(64), nullable=False),  # what the noise of runs is drawn from; in no trail
)

trail = sa.Table(
    "trail",
    metadata,
    sa.Column("sequence", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("time", sa.String(40), nullable=False),
    sa.Column("who", sa.String(255), nullable=False),
    sa.Column("action", sa.String(32), nullable=False),
    sa.Column("subject", sa.String(255), nullable=False),
    sa.Column("detail", sa.Text, nullable=False),  # canonical JSON
    sa.Column("hash", sa.String(64), nullable=False),
    sa.Column("signer", sa.String(16), nullable=False, server_default=""),  # a key; empty: of version 1
    sa.Column("signature", sa.String(128), nullable=False, server_default=""),
)

signers = sa.Table(
    "signer",
    metadata,
    sa.Column("key", sa.String(16), primary_key=True),  # see ``signing.key_id``
    sa.Column("who", sa.String(255), primary_key=True),
    sa.Column("public", sa.String(64), nullable=False),
    sa.Column("since", sa.String(40), nullable=False),
)

policies = sa.Table(
    "policy",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),  # 1: there is one, or none yet
    sa.Column("text", sa.Text, nullable=False),  # as its file says it
    sa.Column("sequence", sa.BigInteger, nullable=False),  # of the record that set it
)

proposals = sa.Table(
    "proposal",
    metadata,
    sa.Column("id", sa.BigInteger, primary_key=True, autoincrement=False),  # of the record that made it
    sa.Column("who", sa.String(255), nullable=False),
    sa.Column("key", sa.String(16), nullable=False),
    sa.Column("data_set", sa.String(255), nullable=False),
    sa.Column("budget", sa.Text, nullable=False),  # what it would be
    sa.Column("state", sa.String(16), nullable=False),  # open, approved or withdrawn
)

tokens = sa.Table(
    "token",
    metadata,
    sa.Column("id", sa.String(128), primary_key=True),  # its jti
    sa.Column("key", sa.String(16), nullable=False),  # that used it first, and alone may
    sa.Column("who", sa.String(255), nullable=False),
    sa.Column("expires", sa.BigInteger, nullable=False),
)

fingerprints = sa.Table(
    "fingerprint",
    metadata,
    sa.Column(
        "id", sa.String(64), primary_key=True
    ),  # its SHA-256: by a fingerprint rows can be told, and the trail is to tell none
    sa.Column("value", sa.Text, nullable=False),
)

data_sets = sa.Table(
    "data_set",
    metadata,
    sa.Column("name", sa.String(255), primary_key=True),
    sa.Column("fingerprint", sa.Text, nullable=False),  # id of one
    sa.Column("unit", sa.String(16), nullable=False),
    sa.Column("adjacency", sa.String(32), nullable=False),
    sa.Column("epsilon", sa.Float, nullable=False),
    sa.Column("delta", sa.Float, nullable=False),
    sa.Column("composition", sa.String(16), nullable=False),  # planned or adaptive
    sa.Column("sensitive", sa.Integer, nullable=False, server_default="0"),  # 1: all that is done with it needs a grant
    sa.Column("revision", sa.BigInteger, nullable=False),  # of all that was spent of it
)

spends = sa.Table(
    "spend",
    metadata,
    sa.Column("id", sa.String(64), primary_key=True),
    sa.Column("data_set", sa.String(255), sa.ForeignKey("data_set.name"), nullable=False, index=True),
    sa.Column("key", sa.String(128), nullable=False, index=True),  # what the run is; empty: of another tool
    sa.Column("who", sa.String(255), nullable=False),
    sa.Column("tool", sa.String(64), nullable=False),
    sa.Column("label", sa.Text, nullable=False),
    sa.Column("spend", sa.Text, nullable=False),  # of the whole run
    sa.Column("steps", sa.BigInteger, nullable=False),  # taken, or about to be
    sa.Column(
        "state", sa.String(16), nullable=False
    ),  # open: the whole counts; closed: the steps do; retracted: nothing
    sa.Column("process", sa.String(255), nullable=False),
    sa.Column("created", sa.String(40), nullable=False),
    sa.Column("updated", sa.String(40), nullable=False),
)


def keep_fingerprint(connection: sa.Connection, value: str) -> str:
    """Keep a fingerprint where it is not kept yet.

    Args:
      connection: in a transaction.
      value: of ``Fingerprint.as_json``.

    Returns:
      Its id.
    """
    id = hashlib.sha256(value.encode()).hexdigest()
    if connection.execute(sa.select(fingerprints.c.id).where(fingerprints.c.id == id)).first() is None:
        connection.execute(fingerprints.insert().values(id=id, value=value))
    return id


def _change_rows(connection: sa.Connection, statement: Any, rows: list[dict[str, Any]] | None = None) -> None:
    """Write to a table; LedgerError unless it changed as many rows as it was to: one, or those that are given."""
    wanted = 1 if rows is None else len(rows)
    done = connection.execute(statement, rows, execution_options={"preserve_rowcount": True})  # of inserts too
    if done.rowcount != wanted:
        raise LedgerError(
            f"a change of {statement.table.name} was to reach {wanted:,} rows, and reached {done.rowcount:,}."
        )


def _init(connection: sa.Connection, record: Mapping[str, Any], detail: Mapping[str, Any]) -> None:
    values = {name: value for name, value in detail.items() if name != "public"}
    _change_rows(connection, ledgers.insert().values(id=1, created=record["time"], **values))
    if "public" in detail:  # since version 2
        _signer(connection, record, detail)


def _signer(connection: sa.Connection, record: Mapping[str, Any], detail: Mapping[str, Any]) -> None:
    values = {"key": record["signer"], "who": record["who"], "public": detail["public"], "since": record["time"]}
    _change_rows(connection, signers.insert().values(**values))


def _upgrade(connection: sa.Connection, record: Mapping[str, Any], detail: Mapping[str, Any]) -> None:
    _change_rows(connection, ledgers.update().values(version=detail["version"]))


def _policy(connection: sa.Connection, record: Mapping[str, Any], detail: Mapping[str, Any]) -> None:
    connection.execute(policies.delete())
    _change_rows(connection, policies.insert().values(id=1, text=detail["text"], sequence=record["sequence"]))


def _propose(connection: sa.Connection, record: Mapping[str, Any], detail: Mapping[str, Any]) -> None:
    values = {"id": record["sequence"], "who": record["who"], "key": record["signer"], "data_set": record["subject"]}
    _change_rows(
        connection, proposals.insert().values(**values, budget=json.dumps(detail, sort_keys=True), state="open")
    )


def _settle(connection: sa.Connection, record: Mapping[str, Any], detail: Mapping[str, Any]) -> None:
    _change_rows(connection, proposals.update().where(proposals.c.id == detail["id"]).values(state=detail["state"]))


def _token(connection: sa.Connection, record: Mapping[str, Any], detail: Mapping[str, Any]) -> None:
    values = {"id": detail["id"], "key": record["signer"], "who": record["who"], "expires": detail["expires"]}
    _change_rows(connection, tokens.insert().values(**values))


def _budget(connection: sa.Connection, record: Mapping[str, Any], detail: Mapping[str, Any]) -> None:
    if detail["fingerprint"].startswith("["):  # version 1 had it here
        detail = {**detail, "fingerprint": keep_fingerprint(connection, detail["fingerprint"])}
    if "sensitive" in detail:  # since version 2
        detail = {**detail, "sensitive": int(detail["sensitive"])}
    named = data_sets.c.name == record["subject"]
    known = connection.execute(sa.select(data_sets.c.name).where(named)).first()
    if known is None:
        values = {"name": record["subject"], "revision": record["sequence"], **detail}
        _change_rows(connection, data_sets.insert().values(**values))
    else:
        _change_rows(connection, data_sets.update().where(named).values(revision=record["sequence"], **detail))


def _reserve(connection: sa.Connection, record: Mapping[str, Any], detail: Mapping[str, Any]) -> None:
    common = {"data_set": record["subject"], "who": record["who"], "created": record["time"], "updated": record["time"]}
    _change_rows(connection, spends.insert(), [each | common for each in detail["runs"]])
    _touch(connection, record)


def _change(connection: sa.Connection, record: Mapping[str, Any], detail: Mapping[str, Any]) -> None:
    for run in detail["runs"]:
        changed = {name: value for name, value in run.items() if name != "id"}
        _change_rows(
            connection, spends.update().where(spends.c.id == run["id"]).values(updated=record["time"], **changed)
        )
    _touch(connection, record)


def _nothing(connection: sa.Connection, record: Mapping[str, Any], detail: Mapping[str, Any]) -> None:
    pass


def _touch(connection: sa.Connection, record: Mapping[str, Any]) -> None:
    named = data_sets.c.name == record["subject"]
    _change_rows(connection, data_sets.update().where(named).values(revision=record["sequence"]))


ACTIONS: dict[str, Callable[[sa.Connection, Mapping[str, Any], Mapping[str, Any]], None]] = {
    "init": _init,
    "budget": _budget,
    "reserve": _reserve,
    "enter": _reserve,
    "commit": _change,
    "continue": _change,
    "close": _change,
    "retract": _change,
    "refuse": _nothing,
    "signer": _signer,
    "upgrade": _upgrade,
    "policy": _policy,
    "propose": _propose,
    "settle": _settle,
    "token": _token,
    "deny": _nothing,
    "clock": _nothing,
    "access": _nothing,
    "model": _nothing,
    "release": _nothing,
}
"""What can be written down → what it does to the tables: all that they hold follows from the trail."""


def apply(connection: sa.Connection, record: Mapping[str, Any]) -> None:
    """Do to the tables what a record of the trail says.

    Args:
      connection: in a transaction.
      record: a row of ``trail``.

    Raises:
      LedgerError: a row that it is about is not there, or was not changed.
    """
    ACTIONS[record["action"]](connection, record, json.loads(record["detail"]))
