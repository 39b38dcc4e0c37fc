"""Values that only SQLite lets anybody put into a ledger: each is found in a sentence, and none ends in a traceback."""

import shutil
import sqlite3

import pytest

from benchmarks.ledger.edits import fill
from dpjax.governance.errors import LedgerError
from dpjax.governance.ledger import Ledger

TEXTS = {
    "trail": ("time", "who", "action", "subject", "detail", "hash", "signer", "signature"),
    "data_set": ("name", "fingerprint", "unit", "adjacency", "composition"),
    "spend": ("id", "data_set", "key", "who", "tool", "label", "spend", "state", "process", "created", "updated"),
    "ledger": ("name", "created", "secret_hash"),
    "secret": ("value",),
    "signer": ("key", "who", "public", "since"),
    "policy": ("text",),
    "proposal": ("who", "key", "data_set", "budget", "state"),
    "token": ("id", "key", "who"),
    "fingerprint": ("id", "value"),
}
NUMBERS = {
    "trail": ("sequence",),
    "data_set": ("epsilon", "delta", "revision", "sensitive"),
    "spend": ("steps",),
    "ledger": ("id", "version"),
    "secret": ("id",),
    "policy": ("id", "sequence"),
    "proposal": ("id",),
    "token": ("expires",),
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    path = tmp_path_factory.mktemp("ledger") / "whole.db"
    fill(path)
    return path


@pytest.fixture
def edited(whole, tmp_path):
    def do(statement, *values):
        path = shutil.copyfile(whole, tmp_path / "copy.db")
        connection = sqlite3.connect(path)
        connection.execute(statement, values)
        connection.commit()
        connection.close()
        return str(path)

    return do


@pytest.mark.parametrize(("table", "column"), [(table, column) for table, names in TEXTS.items() for column in names])
@pytest.mark.parametrize(
    "value",
    ["CAST({0} AS BLOB)", "CAST(x'ff41' AS TEXT)", "7", "''", "char(0)", "{0} || ' '"],
    ids=["bytes", "no UTF-8", "number", "empty", "zero", "blank"],
)
def test_a_text_of_another_type_or_that_is_none_is_found(edited, table, column, value):
    place = edited(
        f"UPDATE {table} SET {column} = {value.format(column)} WHERE rowid = (SELECT max(rowid) FROM {table})"
    )
    with pytest.raises(LedgerError):
        Ledger(place).verify()


@pytest.mark.parametrize(("table", "column"), [(table, column) for table, names in NUMBERS.items() for column in names])
@pytest.mark.parametrize("value", [float("inf"), "x", b"1", 2**63 - 1, -1, 0.5])
def test_a_number_of_another_type_or_beyond_all_is_found(edited, table, column, value):
    try:
        place = edited(f"UPDATE {table} SET {column} = ? WHERE rowid = (SELECT max(rowid) FROM {table})", value)
    except sqlite3.IntegrityError:
        assert (table, column) in (
            ("ledger", "id"),
            ("secret", "id"),
            ("policy", "id"),
        )  # which SQLite keeps whole itself
        return
    with pytest.raises(LedgerError):
        Ledger(place).verify()


@pytest.mark.parametrize("table", TEXTS)
@pytest.mark.parametrize("twice", [True, False])
def test_a_row_that_is_there_twice_and_a_table_that_is_empty_are_found(edited, whole, table, twice):
    key, *others = [row[1] for row in sqlite3.connect(whole).execute(f"PRAGMA table_info({table})")]
    again = f"SELECT {key} || '9', {', '.join(others)} FROM {table} ORDER BY rowid DESC LIMIT 1"
    place = edited(f"INSERT INTO {table} {again}" if twice else f"DELETE FROM {table}")
    with pytest.raises(LedgerError, match="restore"):
        Ledger(place).verify()


def test_an_untouched_copy_passes(edited):
    number, head = Ledger(edited("UPDATE spend SET steps = steps, label = label")).verify()
    assert number > 10
    assert len(head) == 64
