"""Any change of what a ledger holds is found: random edits of its tables and of its trail, behind its back."""

from __future__ import annotations

import random
import shutil
import sqlite3
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

from benchmarks.ledger.runs import NAME, request, set_budget
from dpjax.governance import database, trail
from dpjax.governance.errors import LedgerError, Overspent
from dpjax.governance.events import stated
from dpjax.governance.ledger import Ledger, create_ledger
from dpjax.governance.signing import Author, new_signing_key
from dpjax.governance.spends import Spend

TABLES = ("ledger", "secret", "trail", "data_set", "spend", "signer", "policy", "proposal", "token", "fingerprint")
_POLICY = """
[[grant]]
to = ["ana"]
role = "owner"
data = ["*"]

[[grant]]
to = ["ana"]
role = "analyst"
data = ["*"]

[[grant]]
to = ["cleo"]
role = "custodian"
data = ["*"]
"""
KINDS = ("cell",) * 6 + ("deleted", "swapped", "repeated")
"""Cells are most of what there is to edit."""


def fill(path: Path) -> None:
    """A ledger of two data sets with runs in every state, and something in each table; its last record changes some."""
    ledger = create_ledger(str(path), who="ana", key=new_signing_key())
    cleo = Ledger(str(path), who="cleo", key=new_signing_key())
    ledger.set_policy(_POLICY)
    set_budget(ledger)
    set_budget(ledger, "other", 5000, "adaptive", sensitive=True)
    for epsilon in (9.0, 10.0):
        proposal = set_budget(ledger, "other", 5000, "adaptive", epsilon=epsilon)
        if epsilon == 9.0 and proposal is not None:
            cleo.approve(proposal.number)
    with database.writing(ledger._engine) as connection:
        trail.append(connection, Author("ana", ledger.key), "token", "", {"id": "5f", "expires": 2_000_000_000})
    for number in range(4):
        name = "other" if number % 2 else NAME
        first, _ = ledger.reserve(name, [request(f"{number}.{i}", 9.0 + number, 6) for i in range(2)])
        ledger.commit({first: 2 + number})
        if number:
            ledger.close({first: None})
    with suppress(Overspent):
        ledger.reserve(NAME, [request("large", 0.5, 60)])
    ledger.enter(NAME, Spend(stated(0.5, 1e-7), None, 1, claim=(0.5, 1e-7)), tool="a survey", label="2024")
    ledger.reserve("other", [request("last", 40.0, 1)])


def _keys(connection: sqlite3.Connection) -> dict[str, tuple[list[str], str]]:
    """Table → its columns, and the one that is its key."""
    found = {}
    for table in TABLES:
        columns = connection.execute(f"PRAGMA table_info({table})").fetchall()  # nosec B608 # names of TABLES
        found[table] = [row[1] for row in columns], next(row[1] for row in columns if row[5])
    return found


def _content(connection: sqlite3.Connection) -> dict[str, list[tuple[Any, ...]]]:
    """Every cell with its type, rows in the order of what they hold."""
    found, tables = {}, _keys(connection)
    connection.text_factory = bytes  # text need not be UTF-8 any more
    for table, (columns, _) in tables.items():
        cells = ", ".join(f"typeof({name}), quote({name}), CAST({name} AS BLOB)" for name in columns)
        rows = connection.execute(f"SELECT {cells} FROM {table}")  # nosec B608 # names of TABLES
        found[table] = sorted(rows.fetchall())
    connection.text_factory = str
    return found


def _other(value: Any, rng: random.Random) -> Any:
    """Something else for a cell: a near value, an extreme one, or one of another type."""
    near: list[Any]
    if isinstance(value, str):
        at = rng.randrange(len(value) + 1)
        letter = chr(rng.choice([rng.randrange(32, 127), rng.randrange(1, 0x2000)]))
        near = [value[:at] + letter + value[at + 1 :], value[:at] + value[at + 1 :], value + " ", value.upper(), ""]
        near += [value[:at] + letter + value[at:], value.swapcase(), "null", "{}", "[]", "NaN", rng.randrange(100)]
        near += [value.encode(), b"\xff\xfe", rng.random()]
    else:
        near = [value + 1, value - 1, -value, value * 10, 0, value + 0.5, value * (1 + 2**-40), 2**63 - 1, -(2**63)]
        near += [1e308, float("inf"), -float("inf"), float("nan"), "", f"{value} ", f"{value}x", "NaN", b"\x00"]
    return rng.choice([*near, None])


def edit(connection: sqlite3.Connection, rng: random.Random) -> str:
    """One random edit; in words, empty where the database refused it or nothing is other than before."""
    before = _content(connection)
    table = rng.choices(TABLES, [1, 1, 4, 2, 4, 1, 1, 1, 1, 1])[0]
    columns, key = _keys(connection)[table]
    rows = [dict(zip(columns, row, strict=True)) for row in connection.execute(f"SELECT * FROM {table}")]  # nosec B608 # names of TABLES
    row, kind = rng.choice(rows), rng.choice(KINDS)
    try:
        if kind == "cell":
            name = rng.choice(columns)
            value = _other(row[name], rng)
            text = rng.random() < 0.1 and isinstance(value, bytes)
            told = "CAST(? AS TEXT)" if text else "?"  # which need not be UTF-8
            connection.execute(f"UPDATE {table} SET {name} = {told} WHERE {key} = ?", (value, row[key]))  # nosec B608 # names of TABLES
            said = f"{table}.{name} {row[name]!r} -> {value!r}"
        elif kind == "deleted":
            connection.execute(f"DELETE FROM {table} WHERE {key} = ?", (row[key],))  # nosec B608 # names of TABLES
            said = f"{table} {row[key]!r} deleted"
        elif kind == "swapped":
            other = rng.choice(rows)
            for mine, its in ((row, other), (other, row)):
                values = [its[name] for name in columns if name != key]
                sets = ", ".join(f"{name} = ?" for name in columns if name != key)
                connection.execute(f"UPDATE {table} SET {sets} WHERE {key} = ?", (*values, mine[key]))  # nosec B608 # names of TABLES
            said = f"{table} {row[key]!r} and {other[key]!r} swapped"
        else:
            copy = row | {key: _other(row[key], rng)}
            marks = ", ".join("?" * len(columns))
            connection.execute(f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks})", list(copy.values()))  # nosec B608 # names of TABLES
            said = f"{table} {row[key]!r} again as {copy[key]!r}"
    except (sqlite3.IntegrityError, OverflowError):
        return ""
    return said if _content(connection) != before else ""


def measure(number: int, seed: int, folder: Path) -> dict[str, Any]:
    """So many edits, each of an untouched copy: how many were found, and what was not."""
    whole, copy, rng = folder / "whole.db", folder / "copy.db", random.Random(seed)  # nosec B311 # secures nothing
    fill(whole)
    Ledger(str(whole)).verify()
    done, found, missed, tables = 0, 0, [], Counter[str]()
    while done < number:
        shutil.copyfile(whole, copy)
        connection = sqlite3.connect(copy)
        said = edit(connection, rng)
        connection.commit()
        connection.close()
        if not said:
            continue
        done += 1
        tables[said.split()[0].split(".")[0]] += 1
        try:
            Ledger(str(copy)).verify()
            missed.append(f"{said}: passed")
        except LedgerError:
            found += 1
        except Exception as error:  # which a user would see as a traceback
            missed.append(f"{said}: {type(error).__name__}: {error}")
        if done % 250 == 0:
            print(f"edits: {found} of {done} found", flush=True)
    for line in missed[:20]:
        print(f"not found: {line}", flush=True)
    Ledger(str(whole)).verify()
    return {"edits": done, "found": found, "missed": missed, "tables": dict(tables)}


def lines(found: dict[str, Any]) -> list[str]:
    """Rows of the table."""
    tables = ", ".join(f"{number} in {name}" for name, number in sorted(found["tables"].items()))
    return [
        f"| random edits of cells and rows ({tables}) | found by `verify` | {found['found']:,} of {found['edits']:,} |"
    ]


def held(found: dict[str, Any]) -> bool:
    """Whether all is as it must be."""
    return found["found"] == found["edits"]
