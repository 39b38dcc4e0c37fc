"""Fifty processes that want the last of a budget, and processes killed at random moments: on SQLite and PostgreSQL."""

import random
import secrets
import subprocess
import sys
import time

import pytest

from dpjax.accounting import epsilon
from dpjax.governance.ledger import Ledger, create_ledger
from tests.databases import fresh_database, postgresql
from tests.ledgers import DELTA, mechanism, set_budget

RACERS = 8
"""Of the test that runs with the others; benchmarks/ledger/races.py has 50, 20 times."""


@pytest.fixture(scope="module")
def server():
    with postgresql() as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request, tmp_path):
    if request.param == "sqlite":
        return str(tmp_path / "ledger.db")
    return fresh_database(request.getfixturevalue("server"), f"race_{secrets.token_hex(6)}")


def racer(place, what, number):
    command = [sys.executable, "-m", "tests.racing", place, what, str(number)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def test_racers_for_the_last_of_a_budget_never_overspend_it(place):
    ledger = create_ledger(place, who="ana")
    set_budget(ledger, epsilon=8.0)
    racers = [racer(place, "reserve", i) for i in range(RACERS)]
    for each in racers:
        assert each.stdout.readline() == "ready\n"
    for each in racers:
        each.stdin.write("go\n")
        each.stdin.flush()
    said = [each.communicate(timeout=200)[0].split()[0] for each in racers]
    account = ledger.account("clinic")
    assert sorted(said) == ["got"] * len(account.runs) + ["refused"] * (RACERS - len(account.runs))
    # The racers are gone, and what each had reserved is settled by the next; until then it counts whole.
    assert account.reserved <= 8.0
    fit = max(n for n in range(1, RACERS + 1) if epsilon(mechanism(steps=10 * n), DELTA) <= 8.0)
    assert 1 < len(account.runs) == fit < RACERS
    ledger.verify()


def test_what_a_killed_process_had_written_down_is_there_and_nothing_half(place):
    ledger = create_ledger(place, who="ana")
    set_budget(ledger, epsilon=8.0)
    rng = random.Random(0)
    for number in range(4):
        process = racer(place, "spend", number)
        process.stdout.readline()
        process.stdin.write("go\n")
        process.stdin.flush()
        process.stdout.readline()
        time.sleep(rng.uniform(0.05, 0.6))
        process.kill()
        lines = [
            line.split() for line in process.communicate()[0].splitlines() if line.startswith(("took", "reserved"))
        ]
        runs = {run.id: run for run in Ledger(place).account("clinic").runs}
        for word, run, *steps in lines:
            if len([run, *steps]) == 2 or word == "reserved":  # a last line may be cut
                assert run in runs or len(run) < 32
                assert not steps or not steps[0] or run not in runs or runs[run].steps >= int(steps[0])
        assert all(0 <= run.steps <= 4 for run in runs.values())
        ledger.verify()
