"""A process that reserves, takes steps and closes is killed (SIGKILL) at a random moment, and all it wrote is there."""

from __future__ import annotations

import contextlib
import random
import time
from pathlib import Path
from typing import Any

from benchmarks.ledger.races import WORKER
from benchmarks.ledger.runs import BUDGET, NAME, databases, epsilon_of_steps, request, set_budget
from benchmarks.sides import ROOT, Ended, Side
from dpjax.governance.ledger import Ledger, create_ledger

NOISE, STEPS = 100.0, 4
LONGEST = 0.6
"""Seconds that a process lives at most after it is ready, in which it runs some runs."""


def one_kill(side: Side, place: str, number: int, rng: random.Random) -> dict[str, Any]:
    """A process until it is killed, and what the ledger holds of it."""
    told: dict[str, dict[str, Any]] = {}
    side.tell({"what": "spend", "place": place, "number": number, "noise_multiplier": NOISE, "steps": STEPS})
    side.hear(300)
    time.sleep(rng.uniform(0.0, LONGEST))
    side.kill()
    with contextlib.suppress(Ended, ValueError):  # a last line may be cut
        while True:
            answer = side.hear(10)
            told[answer["run"]] = answer
    ledger = Ledger(place, who="ana")
    ledger.verify()
    runs = {run.id: run for run in ledger.account(NAME).runs}
    lost = [
        id
        for id, answer in told.items()
        if id not in runs or runs[id].steps < answer["steps"] or (answer.get("closed") and runs[id].state != "closed")
    ]
    open_ = sum(run.state == "open" for run in runs.values())
    [after] = ledger.reserve(NAME, [request(f"after-{number}", NOISE, STEPS)])  # settles what the dead one left open
    ledger.close({after: STEPS})
    account = ledger.account(NAME)
    steps = sum(run.steps for run in account.runs)
    return {
        "lost": lost,
        "wrote": len(told),
        "left open": open_,
        "still open": sum(run.state == "open" for run in account.runs),
        "reserved": account.reserved,
        "epsilon": epsilon_of_steps(NOISE, steps),
        "runs": len(account.runs),
    }


def measure(kills: int, seed: int, folder: Path) -> dict[str, Any]:
    """So many kills on each database, all of one ledger."""
    found: dict[str, Any] = {}
    with databases(folder) as kinds:
        for kind, fresh in kinds.items():
            rng, place = random.Random(f"{seed}{kind}"), fresh()  # nosec B311 # secures nothing
            set_budget(create_ledger(place, who="ana"))
            found[kind] = []
            spare = Side(ROOT, WORKER, folder)
            for number in range(kills):
                side, spare = spare, Side(ROOT, WORKER, folder)  # which imports while the other is killed
                found[kind].append(one_kill(side, place, number, rng))
                if number % 10 == 9 or number == kills - 1:
                    last = found[kind][-1]
                    print(
                        f"kills, {kind}: {number + 1}, {last['runs']} runs, ε={last['reserved']:.3f}; "
                        f"{sum(each['left open'] for each in found[kind])} died within a run, "
                        f"{sum(len(each['lost']) for each in found[kind])} lost something",
                        flush=True,
                    )
            spare.close()
    return found


def lines(found: dict[str, Any]) -> list[str]:
    """Rows of the table."""
    said = []
    for kind, kills in found.items():
        within, lost = (sum(each["left open"] for each in kills), sum(len(each["lost"]) for each in kills))
        said.append(
            f"| killed while it reserves, spends or closes, {kind} | kills; died within a run; lost something; ε of "
            f"{BUDGET:g} | {len(kills)}; {within}; {lost}; {kills[-1]['reserved']:.3f} |"
        )
    return said


def held(found: dict[str, Any]) -> bool:
    """Whether all is as it must be."""
    return all(
        not each["lost"] and not each["still open"] and max(each["epsilon"], each["reserved"]) <= BUDGET
        for kills in found.values()
        for each in kills
    )
