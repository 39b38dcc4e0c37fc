"""A name's budget holds for all rows that it ever had, however often it is set again, and for an older ledger's too."""

import sqlite3
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dpjax.fingerprints import Fingerprint
from dpjax.governance.errors import LedgerError
from dpjax.governance.known_rows import KnownRows
from dpjax.governance.ledger import Ledger, create_ledger
from dpjax.governance.migrations import upgrade_ledger
from dpjax.governance.signing import new_signing_key
from tests.ledgers import request, rows, set_budget

KEY = new_signing_key()
BEFORE = Path(__file__).parent / "golden/ledger_version_1.sql"


@pytest.fixture
def ledger(tmp_path):
    made = create_ledger(str(tmp_path / "ledger.db"), who="ana", key=KEY)
    set_budget(made, epsilon=4.0)
    return made


def test_a_budget_for_a_part_of_the_rows_frees_none_of_the_others(ledger):
    [id] = ledger.reserve("clinic", [request("a")])
    ledger.close({id: 10})
    spent = ledger.account("clinic").spent
    set_budget(ledger, epsilon=4.0, rows=rows(20))
    with pytest.raises(LedgerError, match="has rows of clinic, which has a budget already"):
        set_budget(ledger, "other", epsilon=4.0, rows=rows(80, 20))
    with pytest.raises(LedgerError, match="this is a part of it"):
        ledger.find(rows(80, 20))
    assert [ledger.find(each).name for each in (rows(20), rows(100))] == ["clinic", "clinic"]
    set_budget(ledger, epsilon=4.0, rows=rows(80, 20))  # which shares none of the last ones, and is its own
    assert ledger.find(rows(80, 20)).name == "clinic"
    assert ledger.account("clinic").spent == spent > 0
    ledger.verify()


@settings(max_examples=20, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 60), st.integers(20, 60)), min_size=1, max_size=5), st.data())
def test_no_row_of_any_table_of_a_name_is_another_names(tables, data):
    known = KnownRows({"clinic": [rows(size, start) for start, size in tables]}, frozenset())
    start, size = data.draw(st.sampled_from(tables))
    part = data.draw(st.integers(0, size - 10))
    assert known.share("clinic", rows(10, start + part)) > 0
    assert known.share("other", rows(10, start + part)) == 0
    assert known.share("clinic", rows(20, 5000)) == 0


def test_an_older_kind_of_fingerprint_is_told_and_its_name_set_again(tmp_path):
    place = str(tmp_path / "old.db")
    with sqlite3.connect(place) as connection:
        connection.executescript(BEFORE.read_text(encoding="utf-8"))
    upgrade_ledger(place, who="ana", key=KEY)
    ledger = Ledger(place, who="ana", key=KEY)
    assert ledger.of_older_kind() == {"clinic"}
    before = ledger.account("clinic")
    number = before.data_set.fingerprint.num_rows
    with pytest.raises(LedgerError, match="is the name of other rows"):
        set_budget(ledger, rows=rows(number + 1, 90_000))
    set_budget(ledger, rows=rows(number, 90_000))  # whose hashes an older kind may not have in common
    assert ledger.of_older_kind() == frozenset()
    assert ledger.account("clinic").spent >= before.spent > 0
    assert ledger.find(before.data_set.fingerprint).name == ledger.find(rows(number, 90_000)).name == "clinic"
    with pytest.raises(LedgerError, match="is the name of other rows"):
        set_budget(ledger, rows=rows(number, 5000))
    ledger.verify()


def test_what_can_not_tell_is_of_the_number_of_rows_alone():
    known = KnownRows({"clinic": [Fingerprint(3, "a", (), ())]}, frozenset({"clinic"}))
    assert known.may_be_of("clinic", Fingerprint(3, "b", (), ()))
    assert not known.may_be_of("clinic", Fingerprint(4, "b", (), ()))
    assert known.may_be_of("new", Fingerprint(4, "b", (), ()))
