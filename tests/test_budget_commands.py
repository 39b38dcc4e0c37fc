"""Budgets at the command line: what is not said stays as it was, and what waits for nothing is told."""

import json

import pytest

from dpjax.governance.errors import Denied
from dpjax.governance.ledger import Ledger, create_ledger
from dpjax.governance.policy import ACTIONS
from dpjax.governance.signing import new_signing_key
from tests.policies import grant

CLEO = new_signing_key()


@pytest.fixture
def dpjax(tmp_path, monkeypatch, capsys):
    from dpjax.cli import main

    rows = tmp_path / "patients.csv"
    rows.write_text("age,ill\n" + "".join(f"{20 + 0.37 * i:.2f},{i % 2}\n" for i in range(200)))
    monkeypatch.setenv("DPJAX_LEDGER", str(tmp_path / "ledger.db"))
    monkeypatch.setenv("DPJAX_SIGNING_KEY", str(tmp_path / "olga.key"))
    monkeypatch.setattr("dpjax.governance.identity.user", lambda: "olga")
    create_ledger(who="olga")

    def run(*words, data=True):
        given = ["--delta", "1e-5", *(["--data", str(rows)] if data else [])] if words[1] == "budget" else []
        with pytest.raises(SystemExit) as end:
            main([*words, *given])
        said = capsys.readouterr()
        return end.value.code or 0, said.out + said.err

    return run


def _governed():
    Ledger(who="olga").set_policy(grant(["olga"], "owner", ["*"]) + grant(["cleo"], "custodian", ["*"]))


def test_an_adaptive_budget_stays_so_until_it_is_said(dpjax):
    assert "composition" not in dpjax("ledger", "budget", "other", "--epsilon", "8", "--adjacency", "zero_out")[1]
    _, said = dpjax("ledger", "budget", "other", "--epsilon", "8", "--composition", "adaptive")
    assert "zero_out, composition=adaptive, for 200 rows" in said
    assert "composition=adaptive" in dpjax("ledger", "budget", "other", "--epsilon", "11")[1]
    assert "zero_out, composition=adaptive; 0 runs" in dpjax("ledger", "show")[1]
    assert json.loads(dpjax("ledger", "show", "--json")[1])[0]["composition"] == "adaptive"
    dpjax("ledger", "budget", "other", "--epsilon", "11", "--composition", "planned")
    assert "composition" not in dpjax("ledger", "show")[1]


def test_a_proposal_names_a_composition_that_is_adaptive_or_changes(dpjax):
    dpjax("ledger", "budget", "clinic", "--epsilon", "8", "--composition", "adaptive", "--sensitive")
    _governed()
    assert "proposed, composition=adaptive; a second" in dpjax("ledger", "budget", "clinic", "--epsilon", "11")[1]
    _, said = dpjax("ledger", "budget", "clinic", "--epsilon", "8", "--composition", "planned")
    assert "proposed, composition=planned instead of adaptive; a second" in said
    _, said = dpjax("ledger", "show")
    assert "ε=11 at δ=1e-05, composition=adaptive for clinic; a second" in said
    assert "ε=8 at δ=1e-05, composition=planned instead of adaptive for clinic; a second" in said


def test_what_another_change_overtook_is_told_and_forgotten(dpjax):
    dpjax("ledger", "budget", "clinic", "--epsilon", "8", "--sensitive")
    _governed()
    for epsilon in ("9", "11"):
        dpjax("ledger", "budget", "clinic", "--epsilon", epsilon)
    old, new = (each.number for each in Ledger(who="olga").proposals())
    Ledger(who="cleo", key=CLEO).approve(new)
    Ledger(who="olga").set_policy(grant(["olga"], "owner", ["*"]))
    _, said = dpjax("ledger", "show")
    assert "it is outdated, as what it changes has changed since; let it be forgotten with" in said
    assert f"dpjax ledger approve {old} --withdraw" in said
    assert said.count("a second person lets it hold") == said.count("another policy") == 1
    with pytest.raises(ValueError, match=f"`dpjax ledger approve {old} --withdraw`"):
        Ledger(who="cleo", key=CLEO).approve(old)
    dpjax("ledger", "approve", str(old), "--withdraw")
    assert "outdated" not in dpjax("ledger", "show")[1]


def test_what_names_no_rows_is_told_how_to_name_them(dpjax):
    status, said = dpjax("ledger", "budget", "customers", "--epsilon", "8", data=False)
    said = " ".join(said.split())
    assert status == 1
    assert "NAME=customers is no name of `dpjax data list`, and no file; name its rows with --data" in said
    dpjax("ledger", "budget", "customers", "--epsilon", "8")
    status, said = dpjax("ledger", "budget", "customers", "--epsilon", "9", data=False)
    said = " ".join(said.split())
    assert status == 1
    assert "data customers has a budget, and this is no name of" in said
    assert "--data FILE" in said


def test_a_denial_is_a_sentence(dpjax, tmp_path):
    dpjax("ledger", "budget", "clinic", "--epsilon", "8", "--sensitive")
    said = " ".join(dpjax("ledger", "export", str(tmp_path / "trail.jsonl"))[1].split())
    assert "this ledger has sensitive data, and no policy that lets anybody write the trail to a file; set one" in said
    _governed()
    for action in ACTIONS.keys() - {"policy"}:
        what = ACTIONS[action]
        with pytest.raises(Denied) as denied:
            Ledger(who="zed").check(action, "clinic")
        assert f"data clinic is sensitive, and to {what.split(',')[0].split(';')[0]} takes the role " in str(
            denied.value
        )
