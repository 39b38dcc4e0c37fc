"""What acts by itself in a ledger's database, and would drop or change what is written there, is found by its name."""

import sqlite3

import pytest
import sqlalchemy as sa

from dpjax.governance import database, trail
from dpjax.governance.errors import LedgerError
from dpjax.governance.ledger import Ledger, create_ledger
from dpjax.governance.signing import new_signing_key
from tests.databases import fresh_database, postgresql
from tests.ledgers import request, set_budget

KEY = new_signing_key()
BEFORE = "CREATE TRIGGER quiet BEFORE INSERT ON trail WHEN NEW.action='commit' BEGIN SELECT RAISE(IGNORE); END"
AFTER = "CREATE TRIGGER later AFTER INSERT ON trail BEGIN DELETE FROM trail WHERE action = 'commit'; END"
OTHER = "CREATE TRIGGER other AFTER INSERT ON trail BEGIN UPDATE trail SET subject = 'x' WHERE action = 'commit'; END"
STEPS = "CREATE TRIGGER steps BEFORE UPDATE ON spend WHEN NEW.steps > 0 BEGIN SELECT RAISE(IGNORE); END"
OBJECTS = {
    "trigger quiet on trail": [BEFORE],
    "trigger later on trail": [AFTER],
    "trigger steps on spend": [STEPS],
    "view spent": ["CREATE VIEW spent AS SELECT * FROM spend"],
    "table notes": ["CREATE TABLE notes (id INTEGER)"],
    "index once on spend": ["CREATE UNIQUE INDEX once ON spend (label)"],
    "table signer with ON": [
        "CREATE TABLE kept AS SELECT * FROM signer",
        "DROP TABLE signer",
        'CREATE TABLE signer ("key" TEXT, who TEXT, public TEXT, since TEXT, PRIMARY KEY ("key") ON CONFLICT IGNORE)',
        "INSERT INTO signer SELECT * FROM kept",
        "DROP TABLE kept",
    ],
}


def opened(place):
    ledger = create_ledger(place, who="ana", key=KEY)
    set_budget(ledger)
    [id] = ledger.reserve("clinic", [request("a", steps=2)])
    return ledger, id


def put(place, statements):
    connection = sqlite3.connect(place)
    for statement in statements:
        connection.execute(statement)
    connection.commit()
    connection.close()


@pytest.mark.parametrize("name", OBJECTS)
def test_what_no_ledger_makes_is_refused_by_its_name(tmp_path, name):
    place = str(tmp_path / "ledger.db")
    ledger, id = opened(place)
    put(place, OBJECTS[name])
    for refused in (lambda: Ledger(place), lambda: ledger.commit({id: 1}), ledger.verify):
        with pytest.raises(LedgerError, match=f"its database has {name}, which no ledger makes"):
            refused()


def test_what_sqlite_makes_by_itself_is_no_such_thing(tmp_path):
    place = str(tmp_path / "ledger.db")
    ledger, id = opened(place)
    put(place, ["ANALYZE"])
    ledger.commit({id: 1})
    Ledger(place).verify()


@pytest.mark.parametrize("trigger", [BEFORE, AFTER, OTHER, STEPS])
def test_nor_is_a_step_taken_that_was_not_written_down(tmp_path, monkeypatch, trigger):
    place = str(tmp_path / "ledger.db")
    ledger, id = opened(place)
    put(place, [trigger])
    monkeypatch.setattr(database, "check_schema", lambda connection: None)
    with pytest.raises(LedgerError, match=r"did not keep record 4 \(commit\)|was to reach 1 rows, and reached 0"):
        ledger.commit({id: 1})
    with sa.create_engine(f"sqlite:///{place}").connect() as connection:
        assert "commit" not in connection.execute(sa.select(trail.trail.c.action)).scalars().all()


POSTGRESQL = {
    "trigger quiet on trail": [
        "CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'",
        "CREATE TRIGGER quiet BEFORE INSERT ON trail FOR EACH ROW EXECUTE FUNCTION nothing()",
    ],
    "rule quiet on spend": ["CREATE RULE quiet AS ON UPDATE TO spend DO INSTEAD NOTHING"],
    "row policy part on spend": ["CREATE POLICY part ON spend USING (steps = 0)"],
    "heir more on spend": ["CREATE TABLE more () INHERITS (spend)"],
}


def test_on_postgresql_too_where_others_have_tables_of_their_own():
    import psycopg

    with postgresql() as server:
        for number, (name, statements) in enumerate(POSTGRESQL.items()):
            place = fresh_database(server, f"ledger{number}")
            ledger, id = opened(place)
            with psycopg.connect(place, autocommit=True) as connection:
                connection.execute("CREATE TABLE others (id INTEGER)")
                ledger.commit({id: 1})
                ledger.verify()
                for statement in statements:
                    connection.execute(statement.encode())
            for refused in (lambda: Ledger(place), lambda: ledger.commit({id: 2}), ledger.verify):  # noqa: B023
                with pytest.raises(LedgerError, match=f"its database has {name}, which no ledger makes"):
                    refused()
