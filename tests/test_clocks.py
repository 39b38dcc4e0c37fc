"""A machine whose clock is ahead writes a record: others may go on, and only where somebody said so time steps back."""

import pytest
import sqlalchemy as sa

from dpjax.governance import trail
from dpjax.governance.errors import Denied, LedgerError
from dpjax.governance.ledger import Ledger, create_ledger
from dpjax.governance.signing import Author, new_signing_key
from tests.ledgers import clock_off, request, set_budget

OLGA, HUGO, ANA = (new_signing_key() for _ in range(3))
KEYS = {"olga": OLGA, "hugo": HUGO, "ana": ANA}
POLICY = "[[grant]]\nto = ['hugo']\nrole = 'owner'\ndata = ['*']\n[[grant]]\nto = ['olga', 'ana']\nrole = 'owner'\n"
POLICY += "data = ['clinic']\n"


@pytest.fixture
def place(tmp_path):
    set_budget(create_ledger(str(tmp_path / "ledger.db"), who="olga", key=OLGA))
    return str(tmp_path / "ledger.db")


def as_(place, who):
    return Ledger(place, who=who, key=KEYS[who])


def _write_ahead(place, monkeypatch, number=2, **by):
    with monkeypatch.context() as ahead:
        clock_off(ahead, **(by or {"days": 1800}))
        for i in range(number):
            as_(place, "ana").reserve("clinic", [request(f"ahead {i}", noise_multiplier=30.0)])


def _write(place, who="ana"):
    as_(place, who).reserve("clinic", [request(f"of {who}", noise_multiplier=30.0)])


def test_after_a_clock_that_was_ahead_the_ledger_goes_on(place, monkeypatch):
    _write_ahead(place, monkeypatch)
    with pytest.raises(LedgerError, match=r"by ana; set the clock right, or if ana's was ahead, .*`dpjax ledger clock"):
        _write(place)
    before = as_(place, "olga").history()
    first, last, was = as_(place, "olga").set_clock("ana's clock was ahead")
    assert (first, last, was) == (3, 5, before[-1]["time"])  # her key, and two runs
    _write(place)
    after = as_(place, "olga").history()
    assert after[: len(before)] == before
    assert (after[5]["action"], after[5]["who"], after[5]["detail"]["why"]) == (
        "clock",
        "olga",
        "ana's clock was ahead",
    )
    assert after[5]["time"] < was
    as_(place, "olga").verify()
    _write_ahead(place, monkeypatch, number=1, days=900)  # and again
    assert as_(place, "olga").set_clock("once more")[:2] == (8, 8)
    as_(place, "olga").verify()


def test_a_clock_that_is_right_is_not_set(place, monkeypatch):
    with pytest.raises(LedgerError, match="which is not ahead of it; nothing is to be set right"):
        as_(place, "olga").set_clock("a reason")
    _write_ahead(place, monkeypatch, minutes=9)  # as clocks differ
    with pytest.raises(LedgerError, match="nothing is to be set right"):
        as_(place, "olga").set_clock("a reason")
    _write_ahead(place, monkeypatch)
    with pytest.raises(LedgerError, match="reason='' must say in 1 to 1,000 letters whose clock was wrong"):
        as_(place, "olga").set_clock("")
    as_(place, "olga").verify()


@pytest.mark.parametrize("policy", ["", POLICY])
def test_who_made_it_says_so_or_an_owner_of_all(place, monkeypatch, policy):
    if policy:
        as_(place, "olga").set_policy(POLICY + "[[grant]]\nto = ['olga']\nrole = 'owner'\ndata = ['*']\n")
        as_(place, "hugo").set_policy(POLICY)
        proposals = as_(place, "olga").proposals()
        for each in proposals:
            as_(place, "olga").approve(each.number)
    with pytest.raises(Denied):  # written down, as clocks are right
        as_(place, "ana").set_clock("a reason")
    assert as_(place, "olga").history()[-1]["action"] == "deny"
    _write_ahead(place, monkeypatch)
    may = "hugo" if policy else "olga"
    for who in {"olga", "hugo", "ana"} - {may}:
        with pytest.raises(Denied, match=f"that a clock was wrong is for {may} to say, who .*, and not {who}"):
            as_(place, who).set_clock("a reason")
    as_(place, may).set_clock("a reason")
    _write(place)
    as_(place, "olga").verify()


def test_an_owner_who_never_wrote_may(place, monkeypatch):
    as_(place, "olga").set_policy("[[grant]]\nto = ['hugo', 'olga']\nrole = 'owner'\ndata = ['*']\n")
    _write_ahead(place, monkeypatch)
    as_(place, "hugo").set_clock("a reason")  # his key comes with it
    assert [each["action"] for each in as_(place, "olga").history()[-2:]] == ["signer", "clock"]
    as_(place, "olga").verify()


def _forge(place, who, action, detail, time=None, monkeypatch=None):
    with sa.create_engine(f"sqlite:///{place}").begin() as connection:
        trail.append(connection, Author(who, KEYS[who]), action, "", detail, sets_clock=True)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"who": "ana"}, "that a clock was wrong is for olga to say"),
        ({"why": ""}, "it sets a clock and does not say why"),
        ({"was": "2027-01-01T00:00:00.000+00:00"}, "it sets a clock that was not ahead"),
        ({"last": 90}, "it sets the clock of records that were not there"),
        ({"first": 0}, "it sets the clock of records that were not there"),
    ],
)
def test_a_clock_that_nobody_could_set_is_found(place, monkeypatch, change, said):
    _write_ahead(place, monkeypatch)
    last = as_(place, "olga").history()[-1]
    detail = {"first": 3, "last": 5, "was": last["time"], "why": "so"} | change
    who = detail.pop("who", "olga")
    _forge(place, who, "clock", detail)
    with pytest.raises(LedgerError, match=said):
        as_(place, "olga").verify()


def test_time_that_steps_back_elsewhere_is_found(place, monkeypatch):
    _write_ahead(place, monkeypatch)
    monkeypatch.setattr(trail, "is_back", lambda before, time: False)
    _write(place)
    monkeypatch.undo()
    with pytest.raises(LedgerError, match="its time is before that of the record before it"):
        as_(place, "olga").verify()


def test_the_command_says_which_records(place, capsys, monkeypatch):
    from dpjax.cli import main

    monkeypatch.setenv("DPJAX_LEDGER", place)
    monkeypatch.setenv("DPJAX_SIGNING_KEY", place + ".key")
    monkeypatch.setattr("dpjax.governance.identity.user", lambda: "olga")
    _write_ahead(place, monkeypatch)
    for words, status, said in (
        (["--reason", "node 3 was ahead"], 0, "written down that the time of records 3 to 5, up to 20"),
        (["--reason", "again"], 1, "nothing is to be set right"),
    ):
        with pytest.raises(SystemExit) as end:
            main(["ledger", "clock", *words])
        found = capsys.readouterr()
        assert (end.value.code or 0, said in found.out + found.err) == (status, True), found
