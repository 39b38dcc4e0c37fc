"""The tables of a ledger, and what a record of its trail does to them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import sqlalchemy as sa

VERSION = 1
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
)

data_sets = sa.Table(
    "data_set",
    metadata,
    sa.Column("name", sa.String(255), primary_key=True),
    sa.Column("fingerprint", sa.Text, nullable=False),
    sa.Column("unit", sa.String(16), nullable=False),
    sa.Column("adjacency", sa.String(32), nullable=False),
    sa.Column("epsilon", sa.Float, nullable=False),
    sa.Column("delta", sa.Float, nullable=False),
    sa.Column("composition", sa.String(16), nullable=False),  # planned or adaptive
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
    sa.Column("state", sa.String(16), nullable=False),  # open: the whole counts; closed: the steps do
    sa.Column("process", sa.String(255), nullable=False),
    sa.Column("created", sa.String(40), nullable=False),
    sa.Column("updated", sa.String(40), nullable=False),
)


def _init(connection: sa.Connection, record: Mapping[str, Any], detail: Mapping[str, Any]) -> None:
    connection.execute(ledgers.insert().values(id=1, created=record["time"], **detail))


def _budget(connection: sa.Connection, record: Mapping[str, Any], detail: Mapping[str, Any]) -> None:
    named = data_sets.c.name == record["subject"]
    known = connection.execute(sa.select(data_sets.c.name).where(named)).first()
    if known is None:
        values = {"name": record["subject"], "revision": record["sequence"], **detail}
        connection.execute(data_sets.insert().values(**values))
    else:
        connection.execute(data_sets.update().where(named).values(revision=record["sequence"], **detail))


def _reserve(connection: sa.Connection, record: Mapping[str, Any], detail: Mapping[str, Any]) -> None:
    common = {"data_set": record["subject"], "who": record["who"], "created": record["time"], "updated": record["time"]}
    connection.execute(spends.insert(), [each | common for each in detail["runs"]])
    _touch(connection, record)


def _change(connection: sa.Connection, record: Mapping[str, Any], detail: Mapping[str, Any]) -> None:
    for run in detail["runs"]:
        changed = {name: value for name, value in run.items() if name != "id"}
        connection.execute(spends.update().where(spends.c.id == run["id"]).values(updated=record["time"], **changed))
    _touch(connection, record)


def _nothing(connection: sa.Connection, record: Mapping[str, Any], detail: Mapping[str, Any]) -> None:
    pass


def _touch(connection: sa.Connection, record: Mapping[str, Any]) -> None:
    named = data_sets.c.name == record["subject"]
    connection.execute(data_sets.update().where(named).values(revision=record["sequence"]))


ACTIONS: dict[str, Callable[[sa.Connection, Mapping[str, Any], Mapping[str, Any]], None]] = {
    "init": _init,
    "budget": _budget,
    "reserve": _reserve,
    "enter": _reserve,
    "commit": _change,
    "continue": _change,
    "close": _change,
    "refuse": _nothing,
    "model": _nothing,
    "release": _nothing,
}
"""What can be written down → what it does to the tables: all that they hold follows from the trail."""


def apply(connection: sa.Connection, record: Mapping[str, Any]) -> None:
    """Do to the tables what a record of the trail says.

    Args:
      connection: in a transaction.
      record: a row of ``trail``.
    """
    ACTIONS[record["action"]](connection, record, json.loads(record["detail"]))
