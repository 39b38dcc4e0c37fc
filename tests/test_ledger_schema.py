"""What would drop, change, hide or double what is written in a ledger's database is found by its name."""

import re
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


TABLES = {
    "lack primary key (name) of data_set": ("data_set", "PRIMARY KEY (name)", "CHECKED"),
    "lack primary key (id) of spend": ("spend", "PRIMARY KEY (id)", "CHECKED"),
    "lack foreign key (data_set) of spend": ("spend", ", FOREIGN KEY(data_set) REFERENCES data_set (name)", ""),
    "lack column spend.steps BIGINT NOT NULL": ("spend", "steps BIGINT NOT NULL", "steps BIGINT"),
    "have column spend.more": ("spend", "steps BIGINT NOT NULL", "steps BIGINT NOT NULL, more TEXT"),
    "have unique index sqlite_autoindex_spend_1": ("spend", "label TEXT NOT NULL", "label TEXT NOT NULL UNIQUE"),
}


@pytest.mark.parametrize("name", TABLES)
def test_tables_of_another_shape_are_refused(tmp_path, name):
    place = str(tmp_path / "ledger.db")
    ledger, id = opened(place)
    table, what, instead = TABLES[name]
    with sqlite3.connect(place) as connection:
        [made] = connection.execute("SELECT sql FROM sqlite_master WHERE name = ?", (table,)).fetchone()
        indexes = connection.execute(
            "SELECT sql FROM sqlite_master WHERE tbl_name = ? AND sql LIKE '%INDEX%'", (table,)
        )
        made = re.sub(r"\s+", " ", made)
        assert what in made
        made = re.sub(r",\s*CHECKED", "", made.replace(what, instead))
        again = [row[0] for row in indexes]
    put(place, [f"CREATE TABLE kept AS SELECT * FROM {table}", f"DROP TABLE {table}", made])
    order = ", ".join(
        row[1] for row in sqlite3.connect(place).execute(f"PRAGMA table_info({table})") if row[1] != "more"
    )
    put(place, [f"INSERT INTO {table} ({order}) SELECT {order} FROM kept", "DROP TABLE kept", *again])
    for refused in (lambda: Ledger(place), lambda: ledger.commit({id: 1}), ledger.verify):
        with pytest.raises(LedgerError, match=re.escape(name)):
            refused()


def test_a_second_row_of_a_budget_is_found_where_nobody_looks_at_keys(tmp_path, monkeypatch):
    place = str(tmp_path / "ledger.db")
    ledger, _ = opened(place)
    put(
        place,
        [
            "CREATE TABLE kept AS SELECT * FROM data_set",
            "DELETE FROM data_set",
            "DROP TABLE data_set",
            "ALTER TABLE kept RENAME TO data_set",
            "INSERT INTO data_set SELECT * FROM data_set",
        ],
    )
    for module in (database, trail):
        monkeypatch.setattr(module, "check_schema", lambda connection: None)
    with pytest.raises(LedgerError, match="data_set clinic is there twice"):
        ledger.verify()


def test_an_index_that_lacks_entries_hides_no_spend_and_is_found(tmp_path):
    place = str(tmp_path / "ledger.db")
    ledger, _ = opened(place)
    spent = ledger.account("clinic").reserved
    put(place, ["DROP INDEX ix_spend_data_set", "CREATE INDEX ix_spend_data_set ON spend (data_set) WHERE steps > 99"])
    with pytest.raises(LedgerError, match="have partial index ix_spend_data_set"):
        Ledger(place)
    whole = "CREATE INDEX ix_spend_data_set ON spend (data_set)"
    put(
        place,
        [
            "PRAGMA writable_schema = ON",
            f"UPDATE sqlite_master SET sql = '{whole}' WHERE name = 'ix_spend_data_set'",
        ],
    )
    with sqlite3.connect(place) as connection:
        assert connection.execute("SELECT count(*) FROM spend WHERE data_set = 'clinic'").fetchone() == (0,)
    assert Ledger(place, who="ana", key=KEY).account("clinic").reserved == spent > 0
    with pytest.raises(LedgerError, match="missing from index ix_spend_data_set"):
        ledger.verify()


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
    "operator =, function veq": [
        "CREATE FUNCTION veq(varchar, varchar) RETURNS bool LANGUAGE sql AS 'SELECT false'",
        "CREATE OPERATOR = (leftarg = varchar, rightarg = varchar, function = veq)",
    ],
    "cast character varying as integer": ["CREATE CAST (varchar AS int) WITH INOUT AS IMPLICIT"],
}
SHAPES = {
    "have unlogged table spend": ["ALTER TABLE spend SET UNLOGGED"],
    "primary key (name) of data_set": ["ALTER TABLE data_set DROP CONSTRAINT data_set_pkey CASCADE"],
    "lack primary key (sequence) of trail": ["ALTER TABLE trail DROP CONSTRAINT trail_pkey"],
    "lack foreign key (data_set) of spend": ["ALTER TABLE spend DROP CONSTRAINT spend_data_set_fkey"],
    "lack column spend.steps BIGINT NOT NULL": ["ALTER TABLE spend ALTER steps DROP NOT NULL"],
    "have constraint few of spend": ["ALTER TABLE spend ADD CONSTRAINT few CHECK (steps < 100)"],
    "have partial index ix_spend_data_set": [
        "DROP INDEX ix_spend_data_set",
        "CREATE INDEX ix_spend_data_set ON spend (data_set) WHERE steps > 0",
    ],
    "have invalid index ix_spend_key": [
        "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'ix_spend_key'::regclass"
    ],
    "have row security spend": ["ALTER TABLE spend ENABLE ROW LEVEL SECURITY"],
    "have column spend.label TEXT NOT NULL default": ["ALTER TABLE spend ALTER label SET DEFAULT 'x'"],
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
                with pytest.raises(LedgerError, match=f"its database has {name}.*, which no ledger makes"):
                    refused()
        for number, (name, statements) in enumerate(SHAPES.items()):
            place = fresh_database(server, f"shape{number}")
            ledger, id = opened(place)
            with psycopg.connect(place, autocommit=True) as connection:
                for statement in statements:
                    connection.execute(statement.encode())
            for refused in (lambda: Ledger(place), lambda: ledger.commit({id: 2}), ledger.verify):  # noqa: B023
                with pytest.raises(LedgerError, match=re.escape(name)):
                    refused()
        hidden(fresh_database(server, "hidden"))


def hidden(place):
    """An operator that says that nothing is equal hides nothing, even where nobody looks for it."""
    import psycopg

    ledger, _ = opened(place)
    spent = ledger.account("clinic").reserved
    with psycopg.connect(place, autocommit=True) as connection:
        for statement in POSTGRESQL["operator =, function veq"]:
            connection.execute(statement.encode())
    with pytest.MonkeyPatch.context() as patch:
        for module in (database, trail):
            patch.setattr(module, "check_schema", lambda connection: None)
        again = Ledger(place, who="ana", key=KEY)
        assert again.account("clinic").reserved == spent > 0
        ledger.verify()
        with again._engine.connect() as connection:  # as a query would ask that no test has
            assert connection.execute(sa.text("SELECT 'a'::varchar = 'a'::varchar")).scalar()
