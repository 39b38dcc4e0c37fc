"""What was entered by mistake is taken back: it counts no more, and nobody can tell less of it than before."""

import json
import re

import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st

from dpjax.governance import trail
from dpjax.governance.decisions import Held, spent_of
from dpjax.governance.errors import Denied, LedgerError, Overspent
from dpjax.governance.events import stated
from dpjax.governance.ledger import Ledger, create_ledger
from dpjax.governance.signing import Author, new_signing_key
from dpjax.governance.spends import Spend
from tests.ledgers import request, rows, set_budget

OLGA, ANA, CLEO = (new_signing_key() for _ in range(3))
POLICY = """
[[grant]]
to = ["olga"]
role = "owner"
data = ["*"]

[[grant]]
to = ["ana"]
role = "analyst"
data = ["clinic"]

[[grant]]
to = ["cleo"]
role = "custodian"
data = ["clinic"]
"""
WRONG = Spend(stated(7.5, 1e-6), None, 1, claim=(7.5, 1e-6))
RIGHT = Spend(stated(0.75, 1e-6), None, 1, claim=(0.75, 1e-6))


@pytest.fixture
def place(tmp_path):
    olga = create_ledger(str(tmp_path / "ledger.db"), who="olga", key=OLGA)
    set_budget(olga, sensitive=True)
    set_budget(olga, "open", rows=rows(50, 4000))
    olga.set_policy(POLICY)
    return str(tmp_path / "ledger.db")


def as_(place, who):
    return Ledger(place, who=who, key={"olga": OLGA, "ana": ANA, "cleo": CLEO}[who])


def test_an_entry_that_is_taken_back_counts_no_more_and_stays(place):
    ledger = as_(place, "ana")
    wrong = ledger.enter("open", WRONG, tool="opacus", label="a typing error")
    ledger.enter("open", RIGHT, tool="opacus", label="what was meant")
    with pytest.raises(Overspent):
        ledger.reserve("open", [request("a", noise_multiplier=4.0)])
    before = ledger.history()
    assert ledger.retract("open", wrong, " ε was 0.75 ") is None
    account = ledger.account("open")
    assert account.spent == account.reserved == pytest.approx(0.75, rel=1e-3)
    assert [(run.state, run.label) for run in account.runs] == [
        ("retracted", "a typing error"),
        ("closed", "what was meant"),
    ]
    assert re.fullmatch(r"by ana on \d{4}-\d\d-\d\d: ε was 0\.75", account.retracted[wrong])
    ledger.reserve("open", [request("a", noise_multiplier=4.0)])
    assert ledger.history()[: len(before)] == before
    ledger.verify()
    with pytest.raises(LedgerError, match="was taken back already"):
        ledger.retract("open", wrong, "again")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"reason": "  "}, r"reason='  ' must say in 1 to 1,000 letters what was wrong"),
        ({"reason": "x" * 1001}, "must say in 1 to 1,000 letters"),
        ({"id": "f" * 32}, "is none of data open; see `dpjax ledger show open`"),
        ({"name": "nothing"}, "is none of data nothing|has no budget"),
        ({"own": True}, "was reserved by dpjax, which saw it run, so what it spent stays spent"),
        ({"other": True}, "is none of data open"),
    ],
)
def test_what_can_not_be_taken_back_is_told_and_counts(place, change, said):
    ledger = as_(place, "olga")
    entered = ledger.enter("open", RIGHT, tool="t", label="")
    [own] = ledger.reserve("open", [request("a", noise_multiplier=9.0)])
    ledger.close({own: 10})
    other = ledger.enter("clinic", RIGHT, tool="t", label="")
    before = ledger.account("open")
    id = own if "own" in change else other if "other" in change else change.get("id", entered)
    with pytest.raises(LedgerError, match=said):
        ledger.retract(change.get("name", "open"), id, change.get("reason", "a reason"))
    assert ledger.account("open") == before
    ledger.verify()


def test_of_sensitive_data_it_takes_an_owner_and_a_second_person(place):
    olga = as_(place, "olga")
    id = as_(place, "cleo").enter("clinic", WRONG, tool="opacus", label="")
    for who in ("ana", "cleo"):
        with pytest.raises(Denied, match=r"to take back what was entered by mistake takes the role owner"):
            as_(place, who).retract("clinic", id, "no reason")
    proposal = olga.retract("clinic", id, "ε was 0.75")
    again = olga.retract("clinic", id, "twice proposed")
    assert olga.account("clinic").spent == pytest.approx(7.5, rel=1e-3)
    with pytest.raises(LedgerError, match="is olga's own"):
        olga.approve(proposal.number)
    with pytest.raises(Denied):
        as_(place, "ana").approve(proposal.number)
    as_(place, "cleo").approve(proposal.number)
    account = olga.account("clinic")
    assert account.spent == 0
    assert account.retracted[id].endswith(": ε was 0.75")
    with pytest.raises(LedgerError, match="takes back what was taken back already; let it be forgotten with"):
        as_(place, "cleo").approve(again.number)
    olga.withdraw(again.number)
    olga.verify()


def _forge(place, author, *records):
    with sa.create_engine(f"sqlite:///{place}").begin() as connection:
        for action, subject, detail in records:
            trail.append(connection, author, action, subject, detail)


@pytest.mark.parametrize("who", ["ana", "olga", "cleo"])
@pytest.mark.parametrize("how", ["alone", "own proposal", "another's proposal", "a run of dpjax", "no reason", "open"])
def test_one_that_no_ledger_let_through_is_found(place, who, how):
    olga = as_(place, "olga")
    entered = olga.enter("clinic", RIGHT, tool="opacus", label="")
    [own] = as_(place, "ana").reserve("clinic", [request("a", noise_multiplier=9.0)])
    [run] = as_(place, "ana").reserve("open", [request("b", noise_multiplier=9.0)])
    as_(place, "ana").close({own: 10})
    as_(place, "ana").close({run: 10})
    author = Author(who, {"olga": OLGA, "ana": ANA, "cleo": CLEO}[who])
    detail = {"runs": [{"id": entered, "state": "retracted"}], "why": "so"}
    if how == "alone":
        forged = [("retract", "clinic", detail)]
    elif how == "own proposal":
        number = olga.verify()[0] + 1 + (who == "cleo")  # whose key is written down first
        forged = [
            ("propose", "clinic", {"from": {"state": "closed"}, "to": detail}),
            ("settle", "clinic", {"id": number, "state": "approved"}),
            ("retract", "clinic", detail),
        ]
    elif how == "another's proposal":
        number = olga.retract("clinic", entered, "so").number
        other = olga.enter("clinic", RIGHT, tool="opacus", label="")
        forged = [
            ("settle", "clinic", {"id": number, "state": "approved"}),
            ("retract", "clinic", {"runs": [{"id": other, "state": "retracted"}], "why": "so"}),
        ]
    elif how == "a run of dpjax":
        forged = [("retract", "open", {"runs": [{"id": run, "state": "retracted"}], "why": "so"})]
    elif how == "no reason":
        id = olga.enter("open", RIGHT, tool="opacus", label="")
        forged = [("retract", "open", {"runs": [{"id": id, "state": "retracted"}]})]
    else:
        id = olga.enter("open", RIGHT, tool="opacus", label="")
        forged = [("retract", "open", {"runs": [{"id": id, "state": "open"}], "why": "so"})]
    olga.verify()
    _forge(place, author, *forged)
    with pytest.raises(LedgerError, match="is none that a ledger writes"):
        olga.verify()


def test_a_reservation_that_looks_like_an_entry_is_found(place):
    run = {"id": "f" * 32, "key": "", "tool": "dpjax", "label": "", "process": "", "steps": 0, "state": "open"}
    run["spend"] = request("x").spend.as_json()
    _forge(place, Author("ana", ANA), ("reserve", "open", {"runs": [run]}))
    with pytest.raises(LedgerError, match="it has a run that has not begun as runs do"):
        as_(place, "olga").verify()


@settings(max_examples=6, deadline=None)
@given(st.lists(st.tuples(st.sampled_from([0.25, 0.5]), st.booleans()), min_size=1, max_size=5))
def test_a_budget_stands_as_if_they_had_never_been_entered(entries):
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        ledger = create_ledger(f"{folder}/ledger.db", who="olga", key=OLGA)
        set_budget(ledger)
        for epsilon, wrong in entries:
            spend = Spend(stated(epsilon, 1e-7), None, 1, claim=(epsilon, 1e-7))
            id = ledger.enter("clinic", spend, tool="t", label="")
            if wrong:
                ledger.retract("clinic", id, "wrong")
        account = ledger.account("clinic")
        right = [Spend(stated(each, 1e-7), None, 1, claim=(each, 1e-7)) for each, wrong in entries if not wrong]
        there = Held(account.data_set, spent_of((each, 1) for each in right)).epsilon()
        assert (account.spent, account.reserved) == (there, there)
        ledger.verify()


def test_the_command_takes_back_and_shows_it(place, capsys, monkeypatch):
    from dpjax.cli import main

    def dpjax(*words):
        with pytest.raises(SystemExit) as end:
            main(list(words))
        said = capsys.readouterr()
        return end.value.code or 0, said.out + said.err

    monkeypatch.setenv("DPJAX_LEDGER", place)
    monkeypatch.setenv("DPJAX_SIGNING_KEY", place + ".key")
    monkeypatch.setattr("dpjax.governance.identity.user", lambda: "olga")
    ids = {name: as_(place, "olga").enter(name, WRONG, tool="opacus", label="wrong") for name in ("open", "clinic")}
    status, said = dpjax("ledger", "retract", "open", ids["open"][:6], "--reason", "")
    assert (status, "reason='' must say" in said) == (1, True)
    status, said = dpjax("ledger", "retract", "open", "nobody", "--reason", "x")
    assert (status, "RUN='nobody' is the id of 0 runs of open" in said) == (1, True)
    status, said = dpjax("ledger", "retract", "open", ids["open"][:6], "--reason", "ε was 0.75")
    assert (status, "open: ε=0 of 8 spent" in said, "1 run, 1 of them taken back" in said) == (0, True, True)
    status, said = dpjax("ledger", "show", "open")
    assert "retracted" in said
    assert re.search(r"wrong \(taken back by olga on [-\d]+: ε was 0\.75\)", said)
    shown = json.loads(dpjax("ledger", "show", "open", "--json")[1])
    assert shown[0]["runs"][0]["retracted"].endswith(": ε was 0.75")
    status, said = dpjax("ledger", "retract", "clinic", ids["clinic"][:6], "--reason", "ε was 0.75")
    assert (status, "proposed; a second person lets it hold with: dpjax ledger approve" in said) == (0, True)
    assert f"entry {ids['clinic'][:8]} of clinic is taken back (ε was 0.75); a second" in dpjax("ledger", "show")[1]
