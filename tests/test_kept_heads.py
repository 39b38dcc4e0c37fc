"""A head that was kept, and an exported trail, are evidence: nothing is written over them, and a cut end shows."""

import json
import sqlite3

import pytest

from dpjax.cli import main
from dpjax.governance.ledger import Ledger
from tests.ledgers import rows, set_budget


@pytest.fixture
def call(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DPJAX_LEDGER", "ledger.db")
    monkeypatch.setenv("DPJAX_SIGNING_KEY", str(tmp_path / "olga.key"))
    monkeypatch.setattr("dpjax.governance.identity.user", lambda: "olga")

    def run(words):
        with pytest.raises(SystemExit) as end:
            main(["ledger", *words.split()])
        said = capsys.readouterr()
        return end.value.code or 0, " ".join((said.out + said.err).split())

    run("init")
    set_budget(Ledger(), epsilon=8.0)
    return run


def test_a_kept_head_stays_until_a_newer_one_is_asked_for(call, tmp_path):
    file = tmp_path / "head.json"
    assert call("head head.json")[0] == 0
    before = file.read_bytes()
    assert "is the head of ledger" in call("head head.json")[1]
    set_budget(Ledger(), epsilon=9.0)
    status, said = call("head head.json")
    assert status == 1
    assert "head.json is there already, an older head; name another file, or take its place with --newer." in said
    assert file.read_bytes() == before
    assert call("head head.json --newer")[0] == 0
    assert json.loads(file.read_bytes())["sequence"] == json.loads(before)["sequence"] + 1


def test_no_newer_head_is_of_a_trail_that_was_cut(call, tmp_path):
    shorter = (tmp_path / "ledger.db").read_bytes()
    set_budget(Ledger(), epsilon=9.0)
    call("head head.json")
    kept = (tmp_path / "head.json").read_bytes()
    (tmp_path / "ledger.db").write_bytes(shorter)
    assert call("verify")[0] == 0
    for words in ("head head.json", "head head.json --newer", "verify --head head.json"):
        status, said = call(words)
        assert status == 1
        assert "the end was cut off" in said
    assert (tmp_path / "head.json").read_bytes() == kept


@pytest.mark.parametrize(
    ("words", "said"),
    {
        "head other.txt": "other.txt is there already, and is no head; name another file.",
        "head other.txt --newer": "other.txt is there already, and is no head; name another file.",
        "head none/head.json": "the folder none is not there; make it, or name another.",
        "export other.txt": "other.txt is there already; name another file.",
        "export other.txt --sealed": "other.txt is there already; name another file.",
        "verify --head none.json": "none.json is not there; name a file that is.",
        "verify --head .": ". is a folder; name a file in it.",
        "verify --head other.txt": "head 'mine' is none; take a file that `dpjax ledger head` wrote.",
    }.items(),
)
def test_what_is_there_stays_and_what_is_not_is_said(call, tmp_path, words, said):
    (tmp_path / "other.txt").write_text("mine")
    status, found = call(words)
    assert (status, found.removeprefix("error: ")) == (1, said)
    assert (tmp_path / "other.txt").read_text() == "mine"


def test_older_kinds_of_fingerprints_are_named_after_an_upgrade_and_by_show(tmp_path, call):
    from tests.test_known_rows import BEFORE

    (tmp_path / "ledger.db").unlink()
    with sqlite3.connect(tmp_path / "ledger.db") as connection:
        connection.executescript(BEFORE.read_text(encoding="utf-8"))
    fix = "clinic: its fingerprint is of an older version, by which a part of its rows may pass as new ones; set its"
    assert fix in call("upgrade")[1]
    assert fix in call("show")[1]
    book = Ledger()
    older = book.account("clinic").data_set.fingerprint
    set_budget(book, rows=older)
    assert fix in call("show")[1]
    set_budget(book, rows=rows(older.num_rows, 90_000))
    assert fix not in call("show")[1]
