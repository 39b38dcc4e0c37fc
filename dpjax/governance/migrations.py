"""Older ledgers, brought to the tables of today in one transaction, by Alembic's operations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import sqlalchemy as sa

from dpjax.governance import trail
from dpjax.governance.database import check_there, connect, has_trail, ledger_url, reading, shown, writing
from dpjax.governance.errors import LedgerError
from dpjax.governance.identity import user
from dpjax.governance.schema import schema_of
from dpjax.governance.signing import Author, SigningKey, signing_key
from dpjax.governance.tables import VERSION, keep_fingerprint, ledgers


def upgrade_ledger(place: str | None = None, *, who: str | None = None, key: SigningKey | None = None) -> int:
    """Bring a ledger to this version: all of it or, on any failure, nothing.

    Formal guarantees: no record is changed, so that a head or an export of before is one of it still; what was done is
    written down, and the ledger is verified before it is kept.

    Args:
      place: of the database, see ``ledger_url``.
      who: does it; None: the operating system's user.
      key: signs; None: the person's own.

    Returns:
      The version that it had.

    Raises:
      LedgerError: there is none, it is newer, it was edited, or Alembic is not installed.
    """
    url = ledger_url(place)
    check_there(url)
    engine = connect(url)
    with reading(engine) as connection:
        if not has_trail(connection):
            raise LedgerError(f"ledger {shown(url)} is none yet; make it with `dpjax ledger init`.")
    author = Author(who or user(), key or signing_key())
    with writing(engine) as connection:
        found = connection.execute(sa.select(ledgers.c.version)).scalar_one()
        if found > VERSION:
            raise LedgerError(
                f"ledger {shown(url)} is of a newer version ({found}, this dpjax has {VERSION}); install the dpjax "
                "that wrote it."
            )
        if found == VERSION:
            return found
        for version in range(found, VERSION):
            _STEPS[version](_operations(connection))
        trail.append(connection, author, "upgrade", "", {"version": VERSION})
        trail.verify(connection)
    return found


def _operations(connection: sa.Connection) -> Any:
    try:
        from alembic.operations import Operations
        from alembic.runtime.migration import MigrationContext
    except ImportError as error:
        raise LedgerError(
            "an older ledger needs Alembic, which is not installed; run pip install 'dpjax[governance]'."
        ) from error
    return Operations(MigrationContext.configure(connection))


def _sign_and_mark(op: Any) -> None:
    """From 1: signatures in the trail, marks of sensitive data, and who may do what with them."""
    connection = op.get_bind()
    schema = schema_of(connection)
    op.add_column("trail", sa.Column("signer", sa.String(16), nullable=False, server_default=""), schema=schema)
    op.add_column("trail", sa.Column("signature", sa.String(128), nullable=False, server_default=""), schema=schema)
    op.add_column("data_set", sa.Column("sensitive", sa.Integer, nullable=False, server_default="0"), schema=schema)
    op.create_table(
        "fingerprint",
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column("value", sa.Text, nullable=False),
        schema=schema,
    )
    before = sa.table("data_set", sa.column("name"), sa.column("fingerprint"), schema=schema)
    for name, value in connection.execute(sa.select(before)).all():
        id = keep_fingerprint(connection, value)
        connection.execute(before.update().where(before.c.name == name).values(fingerprint=id))
    op.create_table(
        "signer",
        sa.Column("key", sa.String(16), primary_key=True),
        sa.Column("who", sa.String(255), primary_key=True),
        sa.Column("public", sa.String(64), nullable=False),
        sa.Column("since", sa.String(40), nullable=False),
        schema=schema,
    )
    op.create_table(
        "policy",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("sequence", sa.BigInteger, nullable=False),
        schema=schema,
    )
    op.create_table(
        "proposal",
        sa.Column("id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("who", sa.String(255), nullable=False),
        sa.Column("key", sa.String(16), nullable=False),
        sa.Column("data_set", sa.String(255), nullable=False),
        sa.Column("budget", sa.Text, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        schema=schema,
    )
    op.create_table(
        "token",
        sa.Column("id", sa.String(128), primary_key=True),
        sa.Column("key", sa.String(16), nullable=False),
        sa.Column("who", sa.String(255), nullable=False),
        sa.Column("expires", sa.BigInteger, nullable=False),
        schema=schema,
    )


_STEPS: dict[int, Callable[[Any], None]] = {1: _sign_and_mark}
"""Version → what makes the next one of its tables; the tables of a version never change afterwards."""
