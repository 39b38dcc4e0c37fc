"""Where a ledger lies: SQLite or PostgreSQL, one writer at a time, and every failure in a sentence."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event, exc
from sqlalchemy.engine import URL, make_url

from dpjax.checks import in_one_line
from dpjax.governance.errors import LedgerError
from dpjax.governance.schema import check_schema, schema_of
from dpjax.governance.tables import VERSION, ledgers, trail
from dpjax.known_rows import ledger_place
from dpjax.transport import is_this_machine

WAIT_SECONDS = 120
"""For others that write; a composition of thousands of runs takes many seconds."""


def ledger_url(place: str | None = None) -> URL:
    """The address of a ledger.

    Args:
      place: of a file, or a URL as ``postgresql://user@host/name``; None: ``DPJAX_LEDGER``, or the user's own file.

    Raises:
      LedgerError: a database of another kind.

    Example:
      >>> ledger_url("clinic.db").database
      'clinic.db'
    """
    found = place or ledger_place()
    if "://" not in found:
        return URL.create("sqlite", database=str(Path(found).expanduser()))
    try:
        url = make_url(found)
    except (exc.ArgumentError, ValueError) as error:
        raise LedgerError("ledger: its URL can't be read; write postgresql://user@host/name or a file.") from error
    kind = url.get_backend_name()
    if kind not in ("sqlite", "postgresql"):
        raise LedgerError(
            f"ledger: {kind} is none of its databases; use sqlite:///FILE or postgresql://user@host/name."
        )
    if kind == "sqlite" and url.database in (None, "", ":memory:"):
        raise LedgerError("ledger: a database in memory forgets what was spent; name a file.")
    return url.set(drivername="postgresql+psycopg") if kind == "postgresql" else url


def shown(url: URL) -> str:
    """How messages name a ledger: never with a password.

    Example:
      >>> shown(ledger_url("postgresql://ana:secret@db/privacy"))
      'postgresql://ana:***@db/privacy'
    """
    if url.get_backend_name() == "sqlite":
        return str(url.database)
    return url.set(drivername="postgresql").render_as_string(hide_password=True)


def connect(url: URL) -> sa.Engine:
    """An engine whose transactions are serialised.

    Args:
      url: of ``ledger_url``.

    Raises:
      LedgerError: the driver is not installed.
    """
    if url.get_backend_name() == "sqlite":
        engine = sa.create_engine(url, connect_args={"timeout": WAIT_SECONDS}, poolclass=sa.NullPool)
        event.listen(engine, "connect", _plain_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
        return engine
    try:
        connect_args = {"connect_timeout": 10, "options": f"-c lock_timeout={WAIT_SECONDS * 1000}", **_tls(url)}
        engine = sa.create_engine(url, connect_args=connect_args, poolclass=sa.NullPool)
    except ImportError as error:
        raise LedgerError(
            "ledger: PostgreSQL needs psycopg, which is not installed; run pip install 'dpjax[governance]'."
        ) from error
    event.listen(engine, "connect", _plain_postgresql)
    event.listen(engine, "engine_connect", _name_schema)
    return engine


def _tls(url: URL) -> dict[str, str]:
    """How a server elsewhere is connected to: by TLS 1.3, after a look at its certificate."""
    if is_this_machine(url.host):
        return {}
    mode = url.query.get("sslmode", "verify-full")
    if mode != "verify-full":
        raise LedgerError(
            f"ledger {shown(url)}: sslmode={mode} does not look at who answers; leave it out, which is verify-full, "
            "and name an authority of your own with sslrootcert=FILE."
        )
    own = {} if "sslrootcert" in url.query else {"sslrootcert": "system"}
    return {"sslmode": "verify-full", "ssl_min_protocol_version": "TLSv1.3", **own}


def _plain_sqlite(connection: Any, _: Any) -> None:
    connection.isolation_level = None  # it would begin transactions by itself, and late
    connection.execute("PRAGMA foreign_keys=ON")
    connection.execute("PRAGMA synchronous=FULL")  # what was spent stays spent past a power cut


def _plain_postgresql(connection: Any, record: Any) -> None:
    """Let no operator or function of the ledger's schema, nor of any other, be taken for PostgreSQL's own.

    Before them in the path is not enough: one of exactly a column's types is taken wherever it is found.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_catalog.current_schema()")
        [schema] = cursor.fetchone()
        cursor.execute("SET search_path TO pg_catalog")
    connection.commit()
    record.info["schema"] = schema or "public"


def _name_schema(connection: sa.Connection) -> None:
    connection.execution_options(schema_translate_map={None: schema_of(connection)})


def _begin_sqlite(connection: sa.Connection) -> None:
    reads = connection.get_execution_options().get("reads", False)
    connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")


@contextmanager
def writing(engine: sa.Engine) -> Iterator[sa.Connection]:
    """A transaction that nobody else writes beside; all of it is kept, or nothing.

    Args:
      engine: of ``connect``.

    Raises:
      LedgerError: it is locked, read-only or out of reach, its disk is full, it is of another version, or holds
        what no ledger makes.
    """
    with sentences(engine.url), engine.begin() as connection:
        if engine.dialect.name == "postgresql":
            named = connection.dialect.identifier_preparer.quote(str(schema_of(connection)))
            connection.exec_driver_sql(f"LOCK TABLE {named}.trail IN EXCLUSIVE MODE")
        check_schema(connection)  # under the lock, so that nothing that acts by itself comes in between
        yield connection


@contextmanager
def reading(engine: sa.Engine) -> Iterator[sa.Connection]:
    """A transaction that sees one moment of the ledger.

    Args:
      engine: of ``connect``.

    Raises:
      LedgerError: it is out of reach.
    """
    reads = engine.execution_options(reads=True)
    with sentences(engine.url), reads.begin() as connection:
        if engine.dialect.name == "postgresql":
            connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        yield connection


@contextmanager
def sentences(url: URL) -> Iterator[None]:
    """What the database raises, as a LedgerError."""
    try:
        yield
    except exc.DBAPIError as error:
        raise LedgerError(f"ledger {shown(url)} {_what(error)}") from error


def _what(error: exc.DBAPIError) -> str:
    said = in_one_line(str(error.orig), 160)
    if isinstance(error.orig, sqlite3.Error):
        name = getattr(error.orig, "sqlite_errorname", "")
        for kind, sentence in _SQLITE.items():
            if name.startswith(kind):
                return sentence
        return f"can't be used ({said}); restore it from a copy, or name another."
    state = getattr(error.orig, "sqlstate", None) or ""
    for kind, sentence in _POSTGRESQL.items():
        if state.startswith(kind):
            return sentence
    return f"can't be used ({said}); look at the server and the URL."


_SQLITE = {
    "SQLITE_BUSY": f"is locked by another process for more than {WAIT_SECONDS} s; end that one, or wait.",
    "SQLITE_READONLY": "is read-only; let its owner give you the right to write to it and to its folder.",
    "SQLITE_CANTOPEN": "can't be opened; look whether its folder is there and may be written.",
    "SQLITE_FULL": "can't be written, as its disk is full; make room.",
    "SQLITE_IOERR": "can't be read or written, as its disk fails; look at the disk.",
    "SQLITE_NOTADB": "is no ledger; name another file.",
    "SQLITE_CORRUPT": "is damaged; restore it from a copy.",
}
_POSTGRESQL = {
    "55P03": f"is locked by another process for more than {WAIT_SECONDS} s; end that one, or wait.",
    "25006": "is read-only; let its owner give you the right to write to it.",
    "42501": "does not let this user write; let its owner grant the right.",
    "53": "can't be written, as its server is out of room; make room.",
    "28": "does not let this user in; look at user and password.",
    "3D000": "is not there; make the database, then `dpjax ledger init`.",
    "42P01": "is none yet; make it with `dpjax ledger init`.",
}


def check_there(url: URL) -> None:
    """Raise LedgerError where SQLite would make an empty file instead of opening one."""
    if url.get_backend_name() == "sqlite" and not Path(str(url.database)).is_file():
        raise LedgerError(f"ledger {shown(url)} is not there; make it with `dpjax ledger init`.")


def has_trail(connection: sa.Connection) -> bool:
    """Whether there is a ledger in a database.

    Args:
      connection: of an engine of ``connect``.
    """
    return sa.inspect(connection).has_table(trail.name, schema=schema_of(connection))


def check_version(connection: sa.Connection, url: URL) -> None:
    """Raise LedgerError unless a ledger is there, of this version, and nothing that no ledger makes."""
    if not has_trail(connection):
        raise LedgerError(f"ledger {shown(url)} is none yet; make it with `dpjax ledger init`.")
    check_schema(connection)
    versions = connection.execute(sa.select(ledgers.c.version)).scalars().all()
    if versions == [VERSION]:
        return
    found = versions[0] if len(versions) == 1 else None
    if not isinstance(found, int):  # none, several, or what SQLite lets anybody put in its place
        raise LedgerError(f"ledger {shown(url)} has no version; it was cut: restore it from a copy.")
    fix = "install the dpjax that wrote it" if found > VERSION else "bring it here with `dpjax ledger upgrade`"
    age = "a newer" if found > VERSION else "an older"
    raise LedgerError(f"ledger {shown(url)} is of {age} version ({found}, this dpjax has {VERSION}); {fix}.")
