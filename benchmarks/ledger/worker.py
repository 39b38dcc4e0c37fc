"""A process of its own that uses a ledger as it is told, a line of JSON at a time.

It races: told where a ledger is, it opens it and says so; told to go, it reserves, and says what came of it. Or it
spends: it reserves, takes steps and closes for as long as it lives, and says each thing after it was written down.
"""

import json
import sys
from itertools import count
from typing import Any

from benchmarks.ledger.runs import NAME, request
from dpjax.governance.errors import Overspent
from dpjax.governance.ledger import Ledger


def _say(**answer: Any) -> None:
    print(json.dumps(answer), flush=True)


def race(told: dict[str, Any]) -> None:
    """One round."""
    ledger = Ledger(told["place"], who=f"racer {told['number']}")
    wanted = request(f"race-{told['number']}", told["noise_multiplier"], told["steps"])
    _say(ready=True)
    sys.stdin.readline()
    try:
        [run] = ledger.reserve(NAME, [wanted])
    except Overspent:
        _say(got=None)
        return
    ledger.commit({run: told["steps"]})  # or whoever comes once it is gone would take it for dead, with nothing spent
    _say(got=run)


def spend(told: dict[str, Any]) -> None:
    """Until it is killed."""
    ledger = Ledger(told["place"], who="spender")
    wanted = request("", told["noise_multiplier"], told["steps"])
    _say(ready=True)
    for round_ in count():
        [run] = ledger.reserve(NAME, [wanted._replace(key=f"{told['number']}-{round_}")])
        _say(run=run, steps=0)
        for steps in range(1, told["steps"] + 1):
            ledger.commit({run: steps})
            _say(run=run, steps=steps)
        ledger.close({run: None})
        _say(run=run, steps=told["steps"], closed=True)


def main() -> None:
    """Do what each line says."""
    for line in sys.stdin:
        told = json.loads(line)
        {"race": race, "spend": spend}[told["what"]](told)


if __name__ == "__main__":
    main()
