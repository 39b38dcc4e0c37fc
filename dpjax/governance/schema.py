"""What a ledger's database may hold besides its rows: its own tables, and nothing that acts by itself."""

from __future__ import annotations

import re
from collections.abc import Sequence

import sqlalchemy as sa

from dpjax.governance.errors import LedgerError
from dpjax.governance.shapes import differences
from dpjax.governance.tables import VERSION, ledgers, metadata

_OWN = {table.name for table in metadata.tables.values()}
_INDEXES = {str(index.name) for table in metadata.tables.values() for index in table.indexes}

_STATISTICS = re.compile(r"sqlite_stat\d")
"""What SQLite's ANALYZE makes by itself."""

_ACTS = re.compile(r"\b(ON|CHECK|GENERATED|AS|COLLATE|VIRTUAL)\b", re.IGNORECASE)
"""By which a table of SQLite drops, changes or confuses what is written to it; none of the ledger's has one."""

_POSTGRESQL = """
WITH home AS (SELECT oid FROM pg_namespace WHERE nspname = :schema),
own AS (SELECT c.oid, relname, relkind FROM pg_class c JOIN home ON home.oid = relnamespace
  WHERE relname = ANY(:names)),
lent AS (SELECT classid, objid FROM pg_depend WHERE deptype = 'e')
SELECT 'trigger' AS kind, tgname::text AS name, relname::text AS place
  FROM pg_trigger JOIN own ON own.oid = tgrelid WHERE NOT tgisinternal OR tgenabled <> 'O'
UNION ALL SELECT 'rule', rulename::text, relname::text FROM pg_rewrite JOIN own ON own.oid = ev_class
UNION ALL SELECT 'row policy', polname::text, relname::text FROM pg_policy JOIN own ON own.oid = polrelid
UNION ALL SELECT 'heir', h.relname::text, own.relname::text
  FROM pg_inherits JOIN own ON own.oid = inhparent JOIN pg_class h ON h.oid = inhrelid
UNION ALL SELECT 'other kind of table', relname::text, relname::text FROM own WHERE relkind <> 'r'
UNION ALL SELECT 'operator', oprname::text, '' FROM pg_operator o JOIN home ON home.oid = oprnamespace
  WHERE NOT EXISTS (SELECT FROM lent WHERE classid = 'pg_operator'::regclass AND objid = o.oid)
UNION ALL SELECT 'function', proname::text, '' FROM pg_proc p JOIN home ON home.oid = pronamespace
  WHERE NOT EXISTS (SELECT FROM lent WHERE classid = 'pg_proc'::regclass AND objid = p.oid)
UNION ALL SELECT 'cast', format_type(castsource, NULL) || ' as ' || format_type(casttarget, NULL), '' FROM pg_cast c
  WHERE c.oid >= 16384 AND NOT EXISTS (SELECT FROM lent WHERE classid = 'pg_cast'::regclass AND objid = c.oid)
"""


def check_schema(connection: sa.Connection) -> None:
    """Raise LedgerError where a ledger's database holds what no ledger makes, or lacks what each has.

    Formal guarantees: in SQLite every object of the file is of the tables; in PostgreSQL, which holds others'
    tables too, the ledger's own have no trigger, rule, row policy or heir, and their schema no operator or function
    but of an extension, nor the database a cast. Tables of this version have its columns, keys and indexes, and no
    others; see ``differences``.

    Args:
      connection: to the database.

    Raises:
      LedgerError: what was found, each by its name.
    """
    if found := foreign_objects(connection):
        named = ", ".join(found[:5]) + (f" and {len(found) - 5:,} more" if len(found) > 5 else "")
        raise LedgerError(
            f"ledger: its database has {named}, which no ledger makes and which may change or drop what is written; "
            "restore it from a copy, or drop that and verify what is left."
        )
    if list(connection.execute(sa.select(ledgers.c.version)).scalars()) != [VERSION]:
        return  # an older one has others, and is verified once it is brought here
    lacks, has = differences(connection, schema_of(connection))
    if lacks or has:
        told = [f"{verb} {', '.join(what[:5])}" for verb, what in (("lack", lacks), ("have", has)) if what]
        raise LedgerError(
            f"ledger: its tables {' and '.join(told)}, otherwise than each ledger's, by which rows may be hidden or "
            "there twice; restore it from a copy."
        )


def schema_of(connection: sa.Connection) -> str | None:
    """The schema that a ledger's tables are in, of PostgreSQL; None: SQLite has none.

    Args:
      connection: of an engine of ``connect``.
    """
    return connection.info["schema"] if connection.dialect.name == "postgresql" else None


def foreign_objects(connection: sa.Connection) -> Sequence[str]:
    """What a ledger's database holds and no ledger makes, in words.

    Args:
      connection: to the database.

    Example:
      >>> with sa.create_engine("sqlite://").begin() as connection:
      ...     metadata.create_all(connection)
      ...     none = foreign_objects(connection)
      ...     _ = connection.exec_driver_sql("CREATE VIEW spent AS SELECT * FROM spend")
      ...     none, foreign_objects(connection)
      ([], ['view spent'])
    """
    if connection.dialect.name == "postgresql":
        given = {"names": sorted(_OWN), "schema": schema_of(connection)}
        rows = connection.execute(sa.text(_POSTGRESQL), given).all()
        return [f"{row.kind} {row.name}" + (f" on {row.place}" if row.place else "") for row in rows]
    found = []
    for kind, name, place, sql in connection.exec_driver_sql("SELECT type, name, tbl_name, sql FROM sqlite_master"):
        if kind == "table" and name in _OWN:
            if acts := _ACTS.search(str(sql)):
                found.append(f"table {name} with {acts[0].upper()}")
        elif not _is_own(kind, str(name), place, sql):
            found.append(f"{kind} {name}" + ("" if kind in ("view", "table") else f" on {place}"))
    return found


def _is_own(kind: str, name: str, place: str, sql: str | None) -> bool:
    if kind == "table":
        return bool(_STATISTICS.fullmatch(name))
    return kind == "index" and place in _OWN and (name in _INDEXES or sql is None)  # without: of a primary key
