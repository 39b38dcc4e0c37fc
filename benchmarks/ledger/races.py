"""Many processes that want the last of a budget at the same moment: as many get it as fit, on SQLite and PostgreSQL."""

from __future__ import annotations

import random
import statistics
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks.ledger.runs import BUDGET, NAME, databases, epsilon_of_steps, noise_of, set_budget
from benchmarks.sides import ROOT, Side
from dpjax.governance.ledger import create_ledger

WORKER = Path(__file__).with_name("worker.py")


def round_of(place: str, racers: list[Side], rng: random.Random) -> dict[str, Any]:
    """One ledger, and all racers at once: how many got what they want, and how many should have."""
    ledger = create_ledger(place, who="ana")
    set_budget(ledger)
    # Some of them fit, and what is left over is a random part of one.
    steps, some = rng.randrange(2, 12), rng.randrange(1, max(len(racers), 2)) + rng.uniform(0.02, 0.98)
    wanted = {"noise_multiplier": noise_of(some * steps), "steps": steps}
    for number, racer in enumerate(racers):
        racer.tell({"what": "race", "place": place, "number": number} | wanted)
    for racer in racers:
        racer.hear(300)
    began = time.perf_counter()
    for racer in racers:
        racer.tell({"go": True})
    got = [answer["got"] for racer in racers if (answer := racer.hear(600))["got"]]
    seconds = time.perf_counter() - began
    ledger.verify()
    account = ledger.account(NAME)
    if sorted(got) != sorted(run.id for run in account.runs):
        raise SystemExit("error: what the racers were told is not what the ledger holds.")
    noise = wanted["noise_multiplier"]
    # Without the ledger: all steps that were let in are those of one run.
    spent = epsilon_of_steps(noise, sum(run.steps for run in account.runs))
    fits = next(n for n in range(len(racers), -1, -1) if epsilon_of_steps(noise, steps * n) <= BUDGET)
    return {"got": len(got), "fit": fits, "epsilon": spent, "reserved": account.reserved, "seconds": seconds}


def measure(number: int, rounds: int, seed: int, folder: Path) -> dict[str, Any]:
    """Every round of every database."""
    found: dict[str, Any] = {"racers": number, "rounds": {}}
    with ExitStack() as stack:
        kinds = stack.enter_context(databases(folder))
        racers = [stack.enter_context(Side(ROOT, WORKER, folder)) for _ in range(number)]
        for kind, fresh in kinds.items():
            rng = random.Random(f"{seed}{kind}")  # nosec B311 # secures nothing
            found["rounds"][kind] = []
            for _ in range(rounds):
                one = round_of(fresh(), racers, rng)
                found["rounds"][kind].append(one)
                print(
                    f"races, {kind}: {one['got']} of {number} got it, {one['fit']} fit; ε={one['epsilon']:.3f} of "
                    f"{BUDGET:g}; {one['seconds']:.1f} s",
                    flush=True,
                )
    return found


def lines(found: dict[str, Any]) -> list[str]:
    """Rows of the table."""
    said = []
    for kind, rounds in found["rounds"].items():
        most = max(one["epsilon"] for one in rounds)
        exact = sum(one["got"] == one["fit"] for one in rounds)
        seconds = statistics.median(one["seconds"] for one in rounds)
        said.append(
            f"| {found['racers']} processes want the last of ε={BUDGET:g} at once, {kind} | rounds in which as many "
            f"got it as fit; the largest ε; seconds, median | {exact} of {len(rounds)}; {most:.3f}; {seconds:.1f} |"
        )
    return said


def held(found: dict[str, Any]) -> bool:
    """Whether all is as it must be."""
    rounds = [one for each in found["rounds"].values() for one in each]
    return all(one["got"] == one["fit"] and max(one["epsilon"], one["reserved"]) <= BUDGET for one in rounds)
