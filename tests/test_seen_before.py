"""What is decided is seen first: proposals whole, budgets below what is spent, entries that do not fit, tokens."""

import json

import pytest

from dpjax.accounting import Mechanism
from dpjax.governance.errors import LedgerError
from dpjax.governance.filters import order_of
from dpjax.governance.ledger import Ledger, create_ledger
from dpjax.governance.signing import new_signing_key, signing_key
from dpjax.governance.spends import spend_of
from tests.ledgers import DELTA, request, set_budget
from tests.policies import grant, section

CLEO, ANA = new_signing_key(), new_signing_key()


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.setenv("DPJAX_LEDGER", str(tmp_path / "ledger.db"))
    monkeypatch.setenv("DPJAX_SIGNING_KEY", str(tmp_path / "olga.key"))
    monkeypatch.delenv("DPJAX_TOKEN", raising=False)
    monkeypatch.setattr("dpjax.governance.identity.user", lambda: "olga")
    create_ledger(who="olga")
    rows = tmp_path / "patients.csv"
    rows.write_text("age,ill\n" + "".join(f"{20 + 0.37 * i:.2f},{i % 2}\n" for i in range(200)))
    return tmp_path


@pytest.fixture
def dpjax(place, capsys):
    from dpjax.cli import main

    def run(*words):
        if words[1] == "budget":
            words = (*words, "--delta", "1e-5", "--data", str(place / "patients.csv"))
        with pytest.raises(SystemExit) as end:
            main(list(words))
        said = capsys.readouterr()
        return end.value.code or 0, " ".join((said.out + said.err).split())

    return run


def _policy(place, text):
    (place / "policy.toml").write_text(text)
    return str(place / "policy.toml")


GRANTS = grant(["olga"], "owner", ["*"]) + grant(["cleo"], "custodian") + grant(["ana"], "analyst", max_epsilon=1.0)


def test_whoever_may_approve_sees_all_that_it_would_change(place, dpjax, monkeypatch):
    dpjax("ledger", "budget", "clinic", "--epsilon", "8", "--sensitive")
    status, said = dpjax("policy", "set", _policy(place, GRANTS))
    assert (status, "warning: the policy knows cleo, olga by the operating system's word alone" in said) == (0, True)
    more = GRANTS.replace("max_epsilon = 1.0", "max_epsilon = 50.0")
    assert "dpjax ledger approve 4 (cleo)" in dpjax("policy", "set", _policy(place, more))[1]
    dpjax("ledger", "budget", "clinic", "--epsilon", "11")
    policy, budget = (each.number for each in Ledger(who="olga").proposals())
    monkeypatch.setenv("DPJAX_SIGNING_KEY", str(place / "cleo.key"))
    monkeypatch.setattr("dpjax.governance.identity.user", lambda: "cleo")
    status, said = dpjax("ledger", "show", str(policy))
    assert status == 0
    assert "another policy --- the policy in force +++ as proposed" in said
    assert "-max_epsilon = 1.0 +max_epsilon = 50.0" in said
    assert said.endswith("who may approve it: cleo")
    assert "epsilon: 11.0 instead of 8.0" in dpjax("ledger", "show", str(budget))[1]
    shown = json.loads(dpjax("ledger", "show", "--json")[1])
    assert [each.get("proposal") for each in shown] == [None, policy, budget]
    assert shown[1]["to"]["text"] == more
    assert (shown[2]["from"]["epsilon"], shown[2]["to"]["epsilon"], shown[2]["may_approve"]) == (8.0, 11.0, ["cleo"])
    status, said = dpjax("ledger", "approve", str(policy))
    assert (status, "+max_epsilon = 50.0" in said, said.index("+max") < said.index("holds")) == (0, True, True)
    assert "note: the policy knows cleo by the operating system's word alone" in said
    assert Ledger(who="olga").policy_text() == more
    monkeypatch.setattr("dpjax.governance.identity.user", lambda: "eve")  # who has no role sees none of the data's
    monkeypatch.setenv("DPJAX_SIGNING_KEY", str(place / "eve.key"))
    assert dpjax("ledger", "show", str(budget))[0] == 1
    assert [each.get("proposal") for each in json.loads(dpjax("ledger", "show", "--json")[1])] == []
    assert "proposal 99 is not open" in dpjax("ledger", "show", "99")[1]


def test_at_a_terminal_it_is_asked_for(place, dpjax, monkeypatch):
    dpjax("ledger", "budget", "clinic", "--epsilon", "8", "--sensitive")
    keys = section("keys", olga=[signing_key().public], cleo=[CLEO.public])
    assert "warning" not in dpjax("policy", "set", _policy(place, keys + GRANTS))[1]
    dpjax("ledger", "budget", "clinic", "--epsilon", "11")
    [proposal] = Ledger(who="olga").proposals()
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("typer.confirm", lambda *_, **__: False)
    status, said = dpjax("ledger", "approve", str(proposal.number))
    assert (status, "nothing was approved" in said) == (1, True)
    assert Ledger(who="olga").proposals() == [proposal]


def test_a_retraction_is_shown_with_what_was_entered(place, dpjax):
    dpjax("ledger", "budget", "clinic", "--epsilon", "8", "--sensitive")
    dpjax("policy", "set", _policy(place, GRANTS))
    dpjax("ledger", "enter", "clinic", "--tool", "opacus", "--label", "a table", "--epsilon", "0.5", "--delta", "0")
    [entry] = Ledger(who="olga").account("clinic").runs
    dpjax("ledger", "retract", "clinic", entry.id[:6], "--reason", "twice")
    [proposal] = Ledger(who="olga").proposals()
    said = dpjax("ledger", "show", str(proposal.number))[1]
    assert f"entry {entry.id} of clinic why: twice opacus, entered by olga on" in said
    assert "a table" in said
    assert '"epsilon":0.5' in said.replace('\\"', '"').replace(": ", ":")


@pytest.mark.parametrize("sensitive", [True, False])
def test_a_budget_below_what_is_spent_is_told_and_asked_for(place, dpjax, sensitive):
    dpjax("ledger", "budget", "clinic", "--epsilon", "8", "--sensitive" if sensitive else "--not-sensitive")
    dpjax("policy", "set", _policy(place, GRANTS))
    dpjax("ledger", "enter", "clinic", "--tool", "t", "--epsilon", "3", "--delta", "0")
    status, said = dpjax("ledger", "budget", "clinic", "--epsilon", "0.5")
    assert status == 1
    assert "--epsilon 0.5 at --delta 1e-05 is below what clinic has spent or reserved, ε=3" in said
    assert ("to go back to 8 at 1e-05 is a larger budget: cleo would have to approve that" in said) == sensitive
    assert Ledger(who="olga").budget_of("clinic").epsilon == 8.0
    assert dpjax("ledger", "budget", "clinic", "--epsilon", "3.5")[0] == 0
    assert dpjax("ledger", "budget", "clinic", "--epsilon", "0.5", "--yes")[0] == 0
    assert Ledger(who="olga").budget_of("clinic").epsilon == 0.5


@pytest.mark.parametrize(
    ("given", "own"),
    [
        (("--noise-multiplier", "0.1", "--num-steps", "10"), r"this entry has ε="),
        (("--epsilon", "0.1", "--delta", "1e-5"), "this entry has ε=0.1 by itself"),
        (("--epsilon", "9", "--delta", "0"), "this entry has ε=9 by itself at δ=1e-05, and takes clinic from ε="),
    ],
)
def test_an_entry_that_takes_the_sum_beyond_the_budget_is_asked_for_and_named(dpjax, given, own):
    dpjax("ledger", "budget", "clinic", "--epsilon", "8")
    ledger = Ledger(who="olga")
    run = Mechanism(
        unit="example",
        adjacency="zero_out",
        sampling="poisson",
        sampling_rate=0.02,
        noise_multiplier=1.0,
        num_steps=100,
    )
    ledger.enter("clinic", spend_of(run, DELTA)._replace(overflow=1e-9, delta=1e-7), tool="dpjax", label="before")
    status, said = dpjax("ledger", "enter", "clinic", "--tool", "opacus", "--label", "typed", *given)
    assert (
        status,
        own in said,
        "nothing was written down, and if it is meant so, say it again with --yes" in said,
    ) == (1, True, True), said
    assert len(ledger.account("clinic").runs) == 1
    status, said = dpjax("ledger", "enter", "clinic", "--tool", "opacus", "--label", "typed", *given, "--yes")
    assert status == 0
    account = ledger.account("clinic")
    id = account.runs[-1].id[:8]
    if account.spent == float("inf"):
        assert f"without entry {id} of opacus (typed) it would be ε=" in account.endless
        assert f"`dpjax ledger retract clinic {id}`" in account.endless
    else:
        assert "OVERSPENT" in said


def test_the_order_of_an_adaptive_budget_stays_once_there_are_runs(place):
    ledger = Ledger(who="olga")
    orders = [order_of(each, DELTA) for each in (8.0, 6.2, 12.0)]
    assert len({*orders}) == 3  # else this shows nothing
    for epsilon, order in zip((8.0, 6.2, 12.0, 8.0), [*orders, orders[0]], strict=True):
        set_budget(ledger, epsilon=epsilon, composition="adaptive")  # before any run it is as suits the budget
        assert ledger.budget_of("clinic").order == order
    ledger.reserve("clinic", [request("a", noise_multiplier=90.0, steps=1)])
    for epsilon in (6.2, 12.0, 8.0):
        set_budget(ledger, epsilon=epsilon)
        assert (ledger.budget_of("clinic").composition, ledger.budget_of("clinic").order) == ("adaptive", orders[0])
    with pytest.raises(
        LedgerError, match="is less than order 4 can state, at which this budget counts since its first"
    ):
        set_budget(ledger, epsilon=1.0)
    ledger.verify()
    with ledger._engine.begin() as connection:  # written past dpjax, it is found
        ledger._append(
            connection, "budget", "clinic", ledger.budget_of("clinic").budget() | {"composition": "adaptive 5"}
        )
    with pytest.raises(LedgerError, match="it counts at order 5 after runs that counted at 4"):
        ledger.verify()


def test_a_unit_is_no_column(dpjax):
    status, said = dpjax("ledger", "budget", "clinic", "--epsilon", "8", "--unit", "patient_id")
    assert (status, "patient_id" in said, "is no kind of unit; it says what a unit is, and not which" in said) == (
        1,
        True,
        True,
    )


def test_a_token_of_no_use_is_told_and_no_key_is_made_unasked(place, dpjax, monkeypatch):
    issuer, other = str(place / "issuer.pem"), str(place / "isuer.pem")
    status, said = dpjax("policy", "token", "olga", "--issuer", "hospital", "--key", issuer)
    assert (status, "is not there; name the issuer's, or have a new one made with --new-key" in said) == (1, True)
    assert not (place / "issuer.pem").exists()
    status, said = dpjax("policy", "token", "olga", "--issuer", "hospital", "--key", issuer, "--new-key")
    assert (status, "warning" in said) == (0, False)
    monkeypatch.setenv("DPJAX_TOKEN", said.split()[-1] if "." in said.split()[-1] else said.split()[0])
    text = section("issuers", hospital=signing_key(issuer).public) + GRANTS
    assert dpjax("policy", "set", _policy(place, text))[0] == 0
    for words, warned in (
        (("ana", "--issuer", "hospital", "--key", issuer), ""),
        (("ann", "--issuer", "hospital", "--key", issuer), "'ann' is in no grant of the policy"),
        (("ana", "--issuer", "hospitl", "--key", issuer), "'hospitl' is none of the policy's, so that the token is"),
        (("ana", "--issuer", "hospital", "--key", other, "--new-key"), "the policy knows hospital by the key"),
    ):
        status, said = dpjax("policy", "token", *words)
        assert (status, "warning" in said, warned in said) == (0, bool(warned), True), said
    assert (
        "is there already" in dpjax("policy", "token", "ana", "--issuer", "hospital", "--key", issuer, "--new-key")[1]
    )
