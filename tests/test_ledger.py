"""The ledger, on SQLite and on a real PostgreSQL: budgets, reservations, and what a budget is never."""

import itertools
import os
import random
import secrets
import sqlite3
import subprocess
import sys

import pytest
import sqlalchemy as sa

from dpjax.accounting import Mechanism, epsilon
from dpjax.governance import database, trail
from dpjax.governance.errors import LedgerError, Overspent
from dpjax.governance.events import stated
from dpjax.governance.ledger import Ledger, create_ledger
from dpjax.governance.spends import Spend
from dpjax.governance.tables import data_sets, ledgers, metadata, spends
from tests.databases import fresh_database, postgresql
from tests.ledgers import DELTA, clock_off, mechanism, request, rows, set_budget


@pytest.fixture(scope="session")
def server():
    with postgresql() as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request, tmp_path):
    if request.param == "sqlite":
        return str(tmp_path / "ledger.db")
    return fresh_database(request.getfixturevalue("server"), f"test_{secrets.token_hex(6)}")


@pytest.fixture
def ledger(place):
    made = create_ledger(place, who="ana")
    set_budget(made)
    return made


def test_a_run_counts_whole_until_it_ends_and_by_its_steps_after(ledger):
    [run] = ledger.reserve("clinic", [request("a", noise_multiplier=3.0, steps=10)])
    whole, part = (epsilon(mechanism(noise_multiplier=3.0, steps=n), DELTA) for n in (10, 4))
    account = ledger.account("clinic")
    assert (account.spent, account.reserved) == (0.0, pytest.approx(whole, rel=1e-6))
    ledger.commit({run: 4})
    account = ledger.account("clinic")
    assert account.spent == pytest.approx(part, rel=1e-6)
    assert account.reserved == pytest.approx(whole, rel=1e-6)
    ledger.close({run: None})
    account = ledger.account("clinic")
    assert (account.spent, account.reserved) == (account.spent, account.spent)
    assert account.spent == pytest.approx(part, rel=1e-6)


def test_runs_add_up_as_one_run_of_all_their_steps(ledger):
    for key, steps in (("a", 40), ("b", 60)):
        [run] = ledger.reserve("clinic", [request(key, rate=0.1, noise_multiplier=1.5, steps=steps)])
        ledger.close({run: steps})
    together = epsilon(mechanism(rate=0.1, noise_multiplier=1.5, steps=100), DELTA)
    assert together <= ledger.account("clinic").spent <= together * 1.001


def test_what_would_overspend_is_refused_whole_and_written_down(ledger):
    [run] = ledger.reserve("clinic", [request("a", noise_multiplier=2.0, steps=4)])
    ledger.close({run: 4})
    before = ledger.account("clinic")
    many = [request(f"b{i}", noise_multiplier=2.0, steps=4) for i in range(8)]
    with pytest.raises(Overspent, match=r"data clinic has spent ε=4\.38 of 8 .*; the first 1 would fit") as refused:
        ledger.reserve("clinic", many)
    assert ledger.account("clinic") == before
    with pytest.raises(
        Overspent, match=r"this run would make it .*; ε=.* would fit, or \d+ of its 40 steps"
    ) as refused:
        ledger.reserve("clinic", [request("c", noise_multiplier=2.0, steps=40)])
    steps = int(str(refused.value).split(" or ")[1].split()[0])
    ledger.reserve("clinic", [request("d", noise_multiplier=2.0, steps=steps)])  # as it said
    with pytest.raises(Overspent):
        ledger.reserve("clinic", [request("e", noise_multiplier=1.0, steps=1)])
    with database.reading(ledger._engine) as connection:
        actions = connection.execute(sa.select(trail.trail.c.action)).scalars().all()
    assert actions.count("refuse") == 3


def test_the_epsilon_that_is_said_to_fit_fits(ledger):
    [run] = ledger.reserve("clinic", [request("a", noise_multiplier=2.0, steps=4)])
    ledger.close({run: 4})
    with pytest.raises(Overspent) as refused:
        ledger.reserve("clinic", [request("b", noise_multiplier=1.0, steps=4)])
    fitting = float(str(refused.value).split("ε=")[-1].split()[0])
    noise = 1.0
    while epsilon(mechanism(noise_multiplier=noise, steps=4), DELTA) > fitting:
        noise *= 1.0005
    ledger.reserve("clinic", [request("c", noise_multiplier=noise, steps=4)])


def test_a_budget_as_large_as_a_run_is_enough_for_it(ledger):
    run = mechanism(rate=0.05, noise_multiplier=0.9, steps=300)
    set_budget(ledger, epsilon=epsilon(run, DELTA))
    ledger.reserve("clinic", [request("a", rate=0.05, noise_multiplier=0.9, steps=300)])
    with pytest.raises(Overspent):
        ledger.reserve("clinic", [request("b", noise_multiplier=10.0, steps=1)])


def test_a_run_without_noise_is_more_than_any_budget(ledger):
    with pytest.raises(LedgerError, match="no finite ε"):
        request("a", noise_multiplier=0.0)
    with pytest.raises(LedgerError, match="epsilon=inf is no budget"):
        set_budget(ledger, epsilon=float("inf"))


@pytest.mark.parametrize("other", [{"adjacency": "add_or_remove_one"}, {"unit": "user"}])
def test_another_relation_or_unit_is_refused_before_anything_is_spent(ledger, other):
    with pytest.raises(LedgerError, match=r"budget for unit=example and adjacency=zero_out.*; run it (with|for)"):
        ledger.reserve("clinic", [request("a", **other)])
    assert ledger.account("clinic").runs == ()


def test_a_killed_run_has_spent_the_steps_it_began_and_frees_the_rest(ledger, place):
    code = (
        "import sys, os; from dpjax.governance.ledger import Ledger; from tests.ledgers import request\n"
        f"ledger = Ledger({place!r}, who='bob')\n"
        "[run] = ledger.reserve('clinic', [request('a', noise_multiplier=2.0, steps=10)])\n"
        "ledger.commit({run: 3}); os.kill(os.getpid(), 9)"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=120).returncode == -9
    [dead] = ledger.account("clinic").runs
    assert (dead.state, dead.steps) == ("open", 3)
    ledger.reserve("clinic", [request("b", noise_multiplier=4.0, steps=1)])  # whoever comes next settles it
    dead, _ = ledger.account("clinic").runs
    assert (dead.state, dead.steps) == ("closed", 3)
    # It goes on under its key, and pays for no step twice.
    ids = ledger.reserve("clinic", [request("a", noise_multiplier=2.0, steps=10)])
    assert ids == [dead.id]
    ledger.close({dead.id: 10})
    assert len(ledger.account("clinic").runs) == 2
    fresh = ledger.reserve("clinic", [request("a", noise_multiplier=8.0, steps=1)])  # done: another run of the same
    assert fresh != ids


def test_steps_only_go_up_and_an_ended_run_takes_none(ledger):
    [run] = ledger.reserve("clinic", [request("a", steps=10)])
    ledger.commit({run: 5})
    with pytest.raises(LedgerError, match="steps=11 are more than the 10 that were reserved"):
        ledger.commit({run: 11})
    ledger.commit({run: 4})  # anew, after a kill
    assert ledger.account("clinic").runs[0].steps == 5
    ledger.close({run: None})
    with pytest.raises(LedgerError, match="has ended"):
        ledger.commit({run: 6})
    with pytest.raises(LedgerError, match="in no reservation"):
        ledger.commit({"nobody": 1})


def test_what_other_tools_spent_counts_whether_it_fits_or_not(ledger):
    ledger.enter("clinic", Spend(stated(3.0, 1e-6), None, 1, claim=(3.0, 1e-6)), tool="a survey", label="2024")
    assert 2.99 < ledger.account("clinic").spent <= 3.0  # at a larger δ than it was stated at
    gaussian = {"type": "GaussianDpEvent", "noise_multiplier": 0.1}
    ledger.enter("clinic", Spend(None, gaussian, 5), tool="another tool", label="2025")
    assert ledger.account("clinic").spent > 8
    with pytest.raises(Overspent, match="nothing of it would fit"):
        ledger.reserve("clinic", [request("a", noise_multiplier=100.0, steps=1)])
    with pytest.raises(LedgerError, match="has no privacy loss distribution"):
        ledger.enter("clinic", Spend({"type": "UnsupportedDpEvent"}, None, 1), tool="t", label="l")


def test_rows_are_known_again_by_what_they_are(ledger):
    assert ledger.find(rows()).name == "clinic"
    assert ledger.find(rows(100, 5000)) is None
    with pytest.raises(LedgerError, match="clinic was changed after its budget was set, or this is a part of it"):
        ledger.find(rows(90, 20))
    with pytest.raises(LedgerError, match="has rows of clinic, which has a budget already"):
        set_budget(ledger, "copy")
    with pytest.raises(LedgerError, match="is the name of other rows"):
        set_budget(ledger, rows=rows(100, 5000))
    set_budget(ledger, rows=rows(110))  # it grew
    assert ledger.find(rows(110)).name == "clinic"


def test_runs_keep_the_unit_and_relation_of_their_budget(ledger):
    ledger.reserve("clinic", [request("a")])
    with pytest.raises(LedgerError, match="has runs for example and zero_out"):
        set_budget(ledger, unit="user")
    set_budget(ledger, epsilon=1.5)  # less than before: what was spent stays spent
    assert ledger.account("clinic").data_set.epsilon == 1.5


def test_two_clocks_that_differ_much_are_told(ledger, monkeypatch):
    clock_off(monkeypatch, hours=-1)
    before = ledger.account("clinic")
    with pytest.raises(
        LedgerError,
        match=r"this machine's clock says .* before the ledger's last record, 2 of .* by ana; .*`dpjax ledger clock",
    ):
        ledger.reserve("clinic", [request("a")])
    assert ledger.account("clinic") == before


def test_versions_are_told_apart(ledger, place):
    for version, words in ((0, "older version"), (7, "newer version")):
        with database.writing(ledger._engine) as connection:
            connection.execute(ledgers.update().values(version=version))
        with pytest.raises(LedgerError, match=words):
            Ledger(place)


def test_there_is_one_ledger_in_one_place(ledger, place):
    with pytest.raises(LedgerError, match="is there already"):
        create_ledger(place)


def _cells(connection):
    """Every cell of every table: (table, its row, column)."""
    for table in metadata.sorted_tables:
        for row in connection.execute(sa.select(table)).mappings():
            for column in table.columns:
                yield table, row, column


def _edited(value, column, rng):
    if isinstance(column.type, sa.Boolean):
        return not value
    if isinstance(column.type, sa.Integer | sa.BigInteger | sa.Float):
        return value + rng.choice([1, 2, -1, 10])
    letters = list(value) or ["x"]
    at = rng.randrange(len(letters))
    letters[at] = chr(32 + (ord(letters[at]) + rng.randrange(1, 90)) % 94)
    return "".join(letters) if "".join(letters) != value else value + "x"


def test_a_thousand_random_edits_are_all_found(tmp_path):
    ledger = create_ledger(str(tmp_path / "ledger.db"), who="ana")
    set_budget(ledger)
    set_budget(ledger, "other", rows=rows(100, 5000))
    for i in range(4):
        [run] = ledger.reserve("clinic" if i % 2 else "other", [request(f"r{i}", noise_multiplier=9.0, steps=6)])
        ledger.commit({run: 2})
        if i:
            ledger.close({run: None})
    ledger.verify()
    rng = random.Random(0)
    engine = sa.create_engine(f"sqlite:///{tmp_path / 'ledger.db'}")
    with engine.connect() as connection:
        cells = list(_cells(connection))
        found = 0
        for _ in range(1000):
            table, row, column = rng.choice(cells)
            this = sa.and_(*(key == row[key.name] for key in table.primary_key.columns))
            kind = rng.choice(["edit", "edit", "edit", "delete", "copy"])
            transaction = connection.begin_nested() if connection.in_transaction() else connection.begin()
            try:
                if kind == "edit":
                    change = {column.name: _edited(row[column.name], column, rng)}
                    connection.execute(table.update().where(this).values(**change))
                elif kind == "delete":
                    if table is trail.trail and row["sequence"] == max(
                        r["sequence"] for t, r, _ in cells if t is table
                    ):
                        transaction.rollback()
                        found += 1  # the tail together with nothing else: its tables say more than the trail
                        continue
                    connection.execute(table.delete().where(this))
                else:
                    key = next(iter(table.primary_key.columns))
                    connection.execute(table.insert().values(**{**row, key.name: _edited(row[key.name], key, rng)}))
                with pytest.raises((LedgerError, ValueError)):
                    trail.verify(connection)
                found += 1
            except sa.exc.IntegrityError:
                found += 1  # the database itself refused it
            finally:
                if transaction.is_active:
                    transaction.rollback()
    assert found == 1000
    ledger.verify()


def test_records_that_change_places_are_found(ledger):
    with ledger._engine.connect() as connection:
        two = connection.execute(sa.select(trail.trail)).mappings().all()[:2]
        for mine, its in itertools.permutations(two, 2):
            values = {name: its[name] for name in ("time", "who", "action", "subject", "detail", "hash")}
            this = trail.trail.c.sequence == mine["sequence"]
            connection.execute(trail.trail.update().where(this).values(**values))
        with pytest.raises(LedgerError, match="record 1 "):
            trail.verify(connection)
        connection.rollback()


@pytest.mark.skipif(os.name != "posix", reason="permissions are POSIX's")
def test_files_that_are_no_ledger_or_out_of_reach_are_told(tmp_path):
    with pytest.raises(LedgerError, match="is not there; make it with `dpjax ledger init`"):
        Ledger(str(tmp_path / "none.db"))
    (tmp_path / "text.db").write_text("no database at all, but long enough to be looked at " * 20)
    with pytest.raises(LedgerError, match="is no ledger"):
        Ledger(str(tmp_path / "text.db"))
    sqlite3.connect(tmp_path / "empty.db").close()
    with pytest.raises(LedgerError, match="is none yet"):
        Ledger(str(tmp_path / "empty.db"))
    for url, words in {
        "mysql://db/x": "none of its databases",
        "sqlite://": "forgets",
        "sqlite:///:memory:": "forgets",
    }.items():
        with pytest.raises(LedgerError, match=words):
            Ledger(url)
    create_ledger(str(tmp_path / "ledger.db"))
    assert (tmp_path / "ledger.db").stat().st_mode & 0o777 == 0o600
    with pytest.raises(LedgerError, match="can't be made"):
        create_ledger(str(tmp_path / "text.db" / "ledger.db"))


def test_a_ledger_that_another_holds_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(database, "WAIT_SECONDS", 0.2)
    ledger = create_ledger(str(tmp_path / "ledger.db"))
    set_budget(ledger)
    other = sqlite3.connect(tmp_path / "ledger.db", isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(LedgerError, match="is locked by another process"):
        ledger.reserve("clinic", [request("a")])
    other.close()
    ledger.reserve("clinic", [request("a")])


def test_a_server_that_is_not_there_is_told():
    with pytest.raises(LedgerError, match=r"ledger postgresql://ana:\*\*\*@127\.0\.0\.1:1/x can't be used"):
        Ledger("postgresql://ana:secret@127.0.0.1:1/x")


def test_overflows_and_released_names_are_paid_for():
    from dpjax.governance.composition import compose, epsilon_of
    from dpjax.governance.spends import spend_of, sum_of, total_of

    run = Mechanism(
        unit="example", adjacency="zero_out", sampling="poisson", sampling_rate=0.02, noise_multiplier=1.0,
        num_steps=200, overflow_probability=1e-10,
    )  # fmt: skip
    alone = total_of(spend_of(run, DELTA))._replace(claimed_epsilon=float("inf"))
    exact = epsilon(run, DELTA)
    assert exact <= epsilon_of(compose(alone, "zero_out"), DELTA) <= exact * 1.002
    # Each is small enough for its run; a thousand of them are too much for what they come to.
    many = sum_of([alone._replace(events={}, overflow=1e-6)] * 100 + [alone])
    assert epsilon_of(compose(many, "zero_out"), DELTA) == float("inf")


def test_an_adaptive_budget_adds_divergences_of_one_order(ledger):
    from dpjax.accounting import rdp_epsilon
    from dpjax.governance.filters import order_of

    set_budget(ledger, composition="adaptive")
    order = order_of(8.0, DELTA)
    runs = [mechanism(rate=0.1, noise_multiplier=z, steps=n) for z, n in ((1.5, 40), (0.9, 30))]
    for i, run in enumerate(runs):
        options = {"rate": 0.1, "noise_multiplier": run.noise_multiplier, "steps": run.num_steps}
        [id] = ledger.reserve("clinic", [request(f"a{i}", **options)])
        ledger.close({id: run.num_steps})
    # A tenth of δ is kept for overflows; converted once, not once a run.
    each = [rdp_epsilon(run, 0.9 * DELTA, orders=[order]) for run in runs]
    nothing = rdp_epsilon(mechanism(noise_multiplier=1e6, steps=1), 0.9 * DELTA, orders=[order])
    assert ledger.account("clinic").spent == pytest.approx(sum(each) - nothing, rel=2e-3)
    with pytest.raises(Overspent, match="would fit"):
        ledger.reserve("clinic", [request("b", noise_multiplier=0.8, steps=2)])
    with pytest.raises(LedgerError, match="less than order 4 can state"):
        set_budget(ledger, epsilon=0.001, composition="adaptive")


def test_the_tables_hold_what_the_trail_says(ledger):
    [run] = ledger.reserve("clinic", [request("a")])
    ledger.commit({run: 2})
    number, head = ledger.verify()
    assert number == 4
    assert len(head) == 64
    with database.reading(ledger._engine) as connection:
        assert connection.execute(sa.select(sa.func.count()).select_from(spends)).scalar() == 1
        assert connection.execute(sa.select(data_sets.c.revision)).scalar() == 4


GAUSSIAN = {"type": "GaussianDpEvent", "noise_multiplier": 4.0}
EVENTS = [
    {"type": "NoOpDpEvent"},
    {"type": "RandomizedResponseDpEvent", "noise_parameter": 0.8, "num_buckets": 4},
    GAUSSIAN,
    {"type": "LaplaceDpEvent", "noise_multiplier": 4.0},
    {"type": "DiscreteLaplaceDpEvent", "noise_parameter": 0.25, "sensitivity": 1},
    {"type": "PoissonSampledDpEvent", "sampling_probability": 0.1, "event": GAUSSIAN},
    {"type": "PoissonSampledDpEvent", "sampling_probability": 0.1, "event": {**GAUSSIAN, "type": "LaplaceDpEvent"}},
    {
        "type": "MixtureOfGaussiansDpEvent",
        "standard_deviation": 4.0,
        "sensitivities": [0.0, 1.0, 2.0],
        "sampling_probs": [0.81, 0.18, 0.01],
    },
    {
        "type": "TruncatedSubsampledGaussianDpEvent",
        "dataset_size": 1000,
        "sampling_probability": 0.1,
        "truncated_batch_size": 150,
        "noise_multiplier": 4.0,
    },
    stated(0.25, 1e-8),
]


UNKNOWN = {("RandomizedResponseDpEvent", "planned")} | {
    (each, "adaptive")
    for each in (
        "RandomizedResponseDpEvent",
        "DiscreteLaplaceDpEvent",
        "PoissonSampledDpEvent of LaplaceDpEvent",
        "TruncatedSubsampledGaussianDpEvent",
    )
}
"""What dp-accounting has no losses, or no divergence, of for neighbours that differ in one unit."""


@pytest.mark.parametrize("composition", ["planned", "adaptive"])
@pytest.mark.parametrize("event", EVENTS, ids=lambda event: event["type"])
def test_each_kind_of_event_is_added_up_or_refused_in_a_sentence(tmp_path, event, composition):
    from dpjax.governance.events import event_types

    assert {each["type"] for each in EVENTS} >= set(event_types()) - {"NonPrivateDpEvent"}
    ledger = create_ledger(str(tmp_path / "l.db"), who="ana")
    set_budget(ledger, composition=composition, adjacency="add_or_remove_one", epsilon=50.0)
    spend = Spend(None, event, 20)
    laplace = event.get("event", {}).get("type") == "LaplaceDpEvent"
    if (event["type"] + (" of LaplaceDpEvent" if laplace else ""), composition) in UNKNOWN:
        with pytest.raises(LedgerError, match="enter its epsilon and delta instead"):
            ledger.enter("clinic", spend, tool="other", label="")
        return
    ledger.enter("clinic", spend, tool="other", label="")
    spent = ledger.account("clinic").spent
    assert 0 <= spent < 50
    assert (spent > 0.05) == (event["type"] != "NoOpDpEvent")
    [run] = ledger.reserve("clinic", [request("a", adjacency="add_or_remove_one", noise_multiplier=8.0, steps=3)])
    ledger.close({run: 3})
    assert ledger.account("clinic").spent > spent


@pytest.mark.parametrize("adjacency", ["zero_out", "add_or_remove_one"])
@pytest.mark.parametrize("composition", ["planned", "adaptive"])
def test_users_with_several_records_are_added_up_as_their_run_says(tmp_path, adjacency, composition):
    from dpjax.governance.decisions import Request
    from dpjax.governance.spends import spend_of

    run = Mechanism(
        unit="user",
        adjacency=adjacency,
        sampling="poisson",
        sampling_rate=0.1,
        noise_multiplier=5.0,
        num_steps=40,
        records_per_unit=3,
        population=300,
    )
    ledger = create_ledger(str(tmp_path / "l.db"), who="ana")
    set_budget(ledger, unit="user", adjacency=adjacency, epsilon=3.5, composition=composition)
    for key in ("a", "b"):
        [id] = ledger.reserve("clinic", [Request(key, spend_of(run, DELTA), "user", adjacency, key)])
        ledger.close({id: 20})
    spent = ledger.account("clinic").spent
    if composition == "planned":
        assert spent == pytest.approx(epsilon(run, DELTA), rel=2e-3)
    else:
        assert epsilon(run, DELTA) < epsilon(run, DELTA, "rdp") <= spent * 1.001 < 2 * epsilon(run, DELTA)
