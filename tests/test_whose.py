"""Whose budget it is: runs add up where they are for the same users or clients, and nowhere else."""

import csv
import json
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dpjax.cli.app import run as dpjax
from dpjax.datasets.raw_columns import columns_at, columns_of
from dpjax.fingerprints import fingerprint_of
from dpjax.governance.errors import LedgerError
from dpjax.governance.events import stated
from dpjax.governance.ledger import Ledger, create_ledger
from dpjax.governance.spends import Spend
from dpjax.governance.whose import Whose
from dpjax.grouping import grouping_of
from experiments.config import Config, DataConf, FederatedConf
from experiments.protected_units import whose_of
from tests.ledgers import request, set_budget

PATIENT = Whose("data.unit=patient", "a" * 64, "rows")
VISIT = Whose("data.unit=visit", "b" * 64, "rows")


def visits(patients: int = 10, each: int = 8, seed: int = 0) -> dict[str, list]:
    """As many visits of each patient: sizes alone tell no column from the other."""
    source = random.Random(seed)
    pairs = [(i, j) for i in range(patients) for j in range(each)]
    ages = [source.randint(20, 90) for _ in range(patients)]
    return {
        "patient": [f"P{i:03d}" for i, _ in pairs],
        "visit": [j for _, j in pairs],
        "age": [ages[i] for i, _ in pairs],
        "sugar": [round(source.gauss(6, 1), 3) for _ in pairs],
        "ill": [source.choice(["no", "yes"]) for _ in pairs],
    }


@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=25, deadline=None)
def test_a_grouping_is_the_same_in_any_order_and_by_any_names_and_of_no_other_column(seed):
    rng, table = np.random.default_rng(seed), visits(8, 8, seed % 1000)
    was = grouping_of(table, "patient")
    order = rng.permutation(len(table["visit"]))
    names = {name: str(1000 + i) for i, name in enumerate(rng.permutation(sorted(set(table["patient"]))))}
    turned = {name: [table[name][i] for i in order] for name in rng.permutation(list(table))}
    turned["who"] = [names[each] for each in turned.pop("patient")]
    turned["ill"] = ["nein" if each == "no" else "ja" for each in turned["ill"]]
    assert grouping_of(turned, "who") == was
    turned["number"] = [f"N{each}" for each in turned["who"]]
    assert grouping_of(turned, "number") == grouping_of(turned, "who") == was  # by its other name too
    assert grouping_of(table, "visit") != was
    moved = dict(table)
    moved["patient"] = [table["patient"][i] for i in order]
    assert grouping_of(moved, "patient") != was


def test_a_column_that_is_none_is_told_with_those_that_there_are():
    with pytest.raises(ValueError, match="owners='client' is no column of these rows, which have patient, visit"):
        grouping_of(visits(), "client")


@pytest.fixture
def ledger(tmp_path, monkeypatch):
    monkeypatch.setenv("DPJAX_LEDGER", str(tmp_path / "ledger.db"))
    return create_ledger(who="ana")


def user(key: str, whose: Whose | None = PATIENT):
    wanted = request(key, unit="user", steps=4)
    return wanted._replace(spend=wanted.spend._replace(whose=whose))


def test_the_first_run_that_counts_says_who_the_user_is(ledger):
    set_budget(ledger, unit="user", epsilon=20.0)
    [never] = ledger.reserve("clinic", [user("a", VISIT)])
    with pytest.raises(LedgerError, match=r"one user by data\.unit=visit .*run it with data\.unit=visit as before"):
        ledger.reserve("clinic", [user("b")])
    ledger.close({never: 0})  # it has spent nothing
    [first] = ledger.reserve("clinic", [user("b")])
    ledger.close({first: 4})
    for other in (VISIT, None, PATIENT._replace(digest="c" * 64)):
        with pytest.raises(LedgerError, match=r"run it with data\.unit=patient"):
            ledger.reserve("clinic", [user("c", other)])
    ledger.reserve("clinic", [user("d", PATIENT._replace(name="data.unit=who"))])
    assert ledger.account("clinic").whose == PATIENT
    kept = [json.loads(each["detail"]["runs"][0]["spend"]) for each in ledger.history() if each["action"] == "reserve"]
    assert [each["whose"][0] for each in kept] == ["data.unit=visit", "data.unit=patient", "data.unit=who"]
    ledger.verify()


def test_runs_of_one_sweep_are_for_the_same_users(ledger):
    set_budget(ledger, unit="user", epsilon=20.0)
    with pytest.raises(LedgerError, match="no theorem adds"):
        ledger.reserve("clinic", [user("a"), user("b", VISIT)])
    assert ledger.account("clinic").runs == ()


def test_verify_finds_runs_for_others(ledger, monkeypatch):
    set_budget(ledger, unit="user", epsilon=20.0)
    ledger.reserve("clinic", [user("a")])
    with monkeypatch.context() as patched:
        patched.setattr("dpjax.governance.decisions.check_whose", lambda *given: None)
        patched.setattr("dpjax.governance.rules.check_whose", lambda *given: None)
        ledger.reserve("clinic", [user("b", VISIT)])
    with pytest.raises(LedgerError, match="no theorem adds"):
        ledger.verify()


def test_rows_that_became_more_keep_the_column_by_its_name(ledger):
    assert PATIENT.same(PATIENT._replace(rows="more", digest="c" * 64))
    assert not PATIENT.same(VISIT._replace(rows="more"))


def test_owners_that_were_named_hold_spend_nothing_and_can_be_taken_back(ledger):
    set_budget(ledger, unit="user", epsilon=20.0, whose=VISIT)
    account = ledger.account("clinic")
    assert (account.whose, account.spent, account.reserved, account.spending) == (VISIT, 0.0, 0.0, ())
    with pytest.raises(LedgerError, match=r"run it with data\.unit=visit"):
        ledger.reserve("clinic", [user("a")])
    with pytest.raises(LedgerError, match=r"data\.unit=visit as before"):
        set_budget(ledger, unit="user", epsilon=20.0, whose=PATIENT)
    ledger.retract("clinic", account.runs[0].id, "the patient was meant")
    set_budget(ledger, unit="user", epsilon=20.0, whose=PATIENT)
    ledger.reserve("clinic", [user("a")])
    with pytest.raises(LedgerError, match="of no use to a budget per example"):
        set_budget(ledger, "other", unit="example", whose=PATIENT, rows=fingerprint_of(visits(seed=5)))
    ledger.verify()


def test_sensitive_data_may_say_it_before_there_is_a_policy(ledger):
    set_budget(ledger, unit="user", epsilon=20.0, whose=PATIENT, sensitive=True)
    ledger.verify()
    assert ledger.whose("clinic") == PATIENT


def test_what_another_tool_spent_is_for_the_budget_s_unit(ledger):
    spend = Spend(stated(0.1, 0.0), None, 1, claim=(0.1, 0.0))
    set_budget(ledger)
    ledger.enter("clinic", spend, tool="opacus", label="")
    with pytest.raises(LedgerError, match="unit=user is not that of the budget of clinic, which is per example"):
        ledger.enter("clinic", spend, tool="opacus", label="", unit="user", adjacency="zero_out")
    set_budget(ledger, "ward", unit="user", whose=PATIENT, rows=fingerprint_of(visits()))
    for said in ({}, {"unit": "user"}, {"adjacency": "zero_out"}):
        with pytest.raises(LedgerError, match=r"per user by data\.unit=patient.* say --unit user --adjacency zero_out"):
            ledger.enter("ward", spend, tool="opacus", label="", **said)
    with pytest.raises(LedgerError, match="unit=example is not that"):
        ledger.enter("ward", spend, tool="opacus", label="", unit="example", adjacency="zero_out")
    ledger.enter("ward", spend, tool="opacus", label="", unit="user", adjacency="zero_out")
    assert len(ledger.account("ward").spending) == 1


def federated(**options) -> Config:
    return Config(data=DataConf(name="breast_cancer"), federated=FederatedConf(clients_per_round=5, **options))


def test_clients_are_the_same_where_the_same_rows_are_shared_out_alike():
    columns = {"sugar": visits()["sugar"]}

    def of(**options) -> Whose:
        found = whose_of(federated(**options), "client", columns, "rows")
        assert found is not None
        return found

    assert of(num_clients=10).same(of(num_clients=10, alpha=0.1, records_per_client=3, local_steps=2))
    other = [
        {"num_clients": 456},
        {"num_clients": 10, "partition": "dirichlet"},
        {"num_clients": 10, "partition": "quantity"},
    ]
    assert not any(of(num_clients=10).same(of(**each)) for each in other)
    assert not of(partition="dirichlet").same(of(partition="dirichlet", alpha=0.1))
    turned = whose_of(federated(num_clients=10), "client", {"sugar": columns["sugar"][::-1]}, "rows")
    assert turned is not None
    assert not of(num_clients=10).same(turned)
    assert whose_of(federated(), "example", columns, "rows") is None


def test_runs_by_another_column_or_partition_are_refused(main, ledger, tmp_path, capsys):
    table, file = visits(40, 4), tmp_path / "visits.csv"
    with file.open("w", newline="") as out:
        csv.writer(out).writerows([[*table], *zip(*table.values(), strict=True)])
    rows = fingerprint_of(columns_at(str(file)))
    budget = ["ledger", "budget", "pat", "--data", str(file), "--unit", "user", "--epsilon", "8", "--delta", "1e-4"]
    assert dpjax([*budget, "--sensitive"]) == 1
    assert "nobody has said who a user is; name the column with --owners COLUMN, one of patient, visit" in (
        capsys.readouterr().err
    )
    ledger.set_budget("pat", rows, unit="user", adjacency="zero_out", epsilon=8.0, delta=1e-4)
    run = (
        *("data=own", f"data.path={file}", "data.label=ill", "data.classes=[no,yes]", "governance=local"),
        *("data.columns={age: [0, 110], sugar: [0, 12], visit: skip, patient: skip}", "model=logistic"),
        *("optimizer.num_steps=4", "num_seeds=1", "figures=false", "privacy.accountant=rdp", "privacy.delta=1e-4"),
        *("privacy.epsilon=2", "privacy.records_per_unit=4"),
    )
    code, _, err = main(*run, "data.unit=patient")
    assert code == 0, err
    code, _, err = main(*run, "data.unit=visit", "data.split=rows")
    assert code == 1
    assert "one user by data.unit=patient is exposed to, and this run is for data.unit=visit" in err
    code, _, err = main(*run, "data.unit=patient", "data.split=rows", "seed=1")
    assert code == 0, err
    assert dpjax(["ledger", "show", "pat"]) == 0
    assert "per user (data.unit=patient), zero_out; 2 runs, 160 rows" in capsys.readouterr().out

    cancer = fingerprint_of(columns_of("breast_cancer"))
    ledger.set_budget("cancer", cancer, unit="client", adjacency="zero_out", epsilon=8.0, delta=1e-4)
    run = (
        *("data=breast_cancer", "model=logistic", "federated.clients_per_round=5", "governance=local", "num_seeds=2"),
        *("optimizer.num_steps=4", "figures=false", "privacy.accountant=rdp", "privacy.delta=1e-4"),
        *("privacy.epsilon=2",),
    )
    code, _, err = main(*run, "federated.num_clients=10")
    assert code == 0, err
    code, _, err = main(*run, "federated.num_clients=40")
    assert code == 1
    assert "run it with federated.partition=iid federated.num_clients=10 as before" in err
    Ledger().verify()
