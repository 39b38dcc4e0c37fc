"""The shape of a ledger's tables: columns, keys and indexes, as they are and as this version makes them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from itertools import groupby
from typing import Any

import sqlalchemy as sa

from dpjax.governance.tables import metadata

_DEFAULTS = re.compile(r"'?0?'|0|''::character varying|nextval\('[^']+'::regclass\)")
"""Of columns that get one from the ledger's own tables: nothing, zero, or the next number."""

_POSTGRESQL = {"character varying": "VARCHAR", "double precision": "FLOAT"}

_OWN = """
WITH own AS (SELECT c.* FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
  WHERE c.relname = ANY(:names) AND n.nspname = :schema)
"""

_COLUMNS = """
SELECT relname, attname, format_type(atttypid, atttypmod), attnotnull, pg_get_expr(adbin, adrelid),
  attgenerated::text || attidentity::text || CASE WHEN attcollation = typcollation THEN '' ELSE 'c' END
FROM own JOIN pg_attribute ON attrelid = own.oid AND attnum > 0 AND NOT attisdropped JOIN pg_type t ON t.oid = atttypid
  LEFT JOIN pg_attrdef ON adrelid = own.oid AND adnum = attnum
"""
_CONSTRAINTS = """
SELECT own.relname, contype::text, conname::text, f.relname, convalidated AND NOT condeferrable,
  (SELECT string_agg(attname::text, ', ' ORDER BY place) FROM unnest(conkey) WITH ORDINALITY AS k (number, place)
   JOIN pg_attribute ON attrelid = conrelid AND attnum = k.number),
  (SELECT string_agg(attname::text, ', ' ORDER BY place) FROM unnest(confkey) WITH ORDINALITY AS k (number, place)
   JOIN pg_attribute ON attrelid = confrelid AND attnum = k.number)
FROM own JOIN pg_constraint ON conrelid = own.oid LEFT JOIN own f ON f.oid = confrelid WHERE contype <> 'n'
"""
_INDEXES = """
SELECT own.relname, i.relname, indisprimary, indisunique, indisvalid AND indisready AND indislive,
  indpred IS NOT NULL OR indexprs IS NOT NULL,
  (SELECT bool_and(opcnamespace = 'pg_catalog'::regnamespace) FROM unnest(indclass::oid[]) AS k (class)
   JOIN pg_opclass o ON o.oid = k.class),
  (SELECT string_agg(attname::text, ', ' ORDER BY place)
   FROM unnest(indkey::int2[]) WITH ORDINALITY AS k (number, place)
   JOIN pg_attribute ON attrelid = indrelid AND attnum = k.number)
FROM own JOIN pg_index ON indrelid = own.oid JOIN pg_class i ON i.oid = indexrelid
"""
_KINDS = """
SELECT relname, CASE WHEN relpersistence = 'p' THEN '' ELSE 'unlogged table' END,
  CASE WHEN relrowsecurity OR relforcerowsecurity THEN 'row security' ELSE '' END FROM own
"""


def differences(connection: sa.Connection, schema: str | None) -> tuple[list[str], list[str]]:
    """Where a ledger's tables are not as this version makes them.

    Formal guarantees: types, NOT NULL, defaults, primary and foreign keys, unique and other constraints and indexes
    are compared; in PostgreSQL also whether tables are logged, and whether an index is valid and of all rows.

    Args:
      connection: to the database.
      schema: that has the tables, in PostgreSQL.

    Returns:
      What they lack, and what they have besides, in words.

    Example:
      >>> with sa.create_engine("sqlite://").begin() as connection:
      ...     metadata.create_all(connection)
      ...     none = differences(connection, None)
      ...     _ = connection.exec_driver_sql("DROP INDEX ix_spend_key")
      ...     none, differences(connection, None)
      (([], []), (['index ix_spend_key (key) of spend'], []))
    """
    postgresql = connection.dialect.name == "postgresql"
    found = set(_of_postgresql(connection, schema) if postgresql else _of_sqlite(connection))
    wanted = _wanted()
    return sorted(wanted - found), sorted(found - wanted)


@cache
def _wanted() -> frozenset[str]:
    found = []
    for table in metadata.tables.values():
        found += [_column(table.name, each.name, str(each.type), not each.nullable) for each in table.columns]
        found.append(f"primary key ({', '.join(c.name for c in table.primary_key)}) of {table.name}")
        found += [
            f"foreign key ({key.parent.name}) of {table.name} to {key.column.table.name} ({key.column.name})"
            for key in table.foreign_keys
        ]
        found += [f"index {i.name} ({', '.join(c.name for c in i.columns)}) of {table.name}" for i in table.indexes]
    return frozenset(found)


def _column(table: str, name: str, kind: str, filled: bool, default: str | None = None, rest: str = "") -> str:
    odd = f" default {default}" if default is not None and not _DEFAULTS.fullmatch(default) else ""
    return f"column {table}.{name} {kind.upper()}{' NOT NULL' if filled else ''}{odd}{' of another kind' * bool(rest)}"


def _of_sqlite(connection: sa.Connection) -> Iterator[str]:
    def rows(pragma: str, columns: str, rest: str = "") -> list[Any]:
        joined = f"SELECT m.name, {columns} FROM sqlite_master m JOIN pragma_{pragma}(m.name) p {rest}"  # nosec B608 # ours
        return [
            tuple(row)
            for row in connection.exec_driver_sql(f"{joined} WHERE m.type = 'table'")
            if row[0] in metadata.tables
        ]

    columns = rows("table_xinfo", 'p.name, p.type, p."notnull", p.dflt_value, p.hidden, p.pk')
    for table, name, kind, filled, default, hidden, _ in columns:
        yield _column(table, name, kind, bool(filled), default, "hidden" if hidden else "")
    keys = sorted((row[0], row[-1], row[1]) for row in columns if row[-1])
    for table, parts in groupby(keys, key=lambda row: row[0]):
        yield f"primary key ({', '.join(row[2] for row in parts)}) of {table}"
    for table, mine, other, theirs in rows("foreign_key_list", 'p."from", p."table", p."to"'):
        yield f"foreign key ({mine}) of {table} to {other} ({theirs})"
    parts = 'p.name, p."unique", p.origin, p.partial, x.name, x.desc, x.coll'
    found = rows("index_list", parts, "JOIN pragma_index_xinfo(p.name) x ON x.key = 1")
    for (table, name, unique, origin, partial), columns in groupby(found, key=lambda row: row[:5]):
        of = list(columns)
        odd = any(each[5] is None or each[6] or each[7] != "BINARY" for each in of)
        if origin != "pk" or odd:
            yield _index(table, name, (str(each[5]) for each in of), bool(unique), bool(partial or odd), True)


def _index(table: str, name: str, columns: Iterable[str], unique: bool, partial: bool, valid: bool) -> str:
    kind = "partial " * partial + "unique " * unique + "invalid " * (not valid)
    return f"{kind}index {name} ({', '.join(columns)}) of {table}"


def _of_postgresql(connection: sa.Connection, schema: str | None) -> Iterator[str]:
    def rows(query: str) -> Sequence[Any]:
        return connection.execute(sa.text(_OWN + query), {"names": sorted(metadata.tables), "schema": schema}).all()

    for table, name, kind, filled, default, rest in rows(_COLUMNS):
        for theirs, ours in _POSTGRESQL.items():
            kind = kind.replace(theirs, ours)
        yield _column(table, name, kind, filled, default, rest)
    for table, kind, name, other, sound, mine, theirs in rows(_CONSTRAINTS):
        if kind == "p" and sound:
            yield f"primary key ({mine}) of {table}"
        elif kind == "f" and sound:
            yield f"foreign key ({mine}) of {table} to {other} ({theirs})"
        else:
            yield f"constraint {name} of {table}"
    for table, name, primary, unique, valid, partial, known, columns in rows(_INDEXES):
        if not primary or partial or not (valid and known):
            yield _index(table, name, [columns or ""], unique, partial, valid and known)
    for table, *kinds in rows(_KINDS):
        yield from (f"{kind} {table}" for kind in kinds if kind)
