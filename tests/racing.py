"""A process of its own that wants the last of a budget, or is killed on its way; see tests/test_ledger_races.py."""

import sys


def main(place: str, what: str, number: str) -> None:
    """Do one thing to a ledger, and say how it went."""
    from dpjax.governance.errors import Overspent
    from dpjax.governance.ledger import Ledger
    from tests.ledgers import request

    ledger = Ledger(place, who=f"racer {number}")
    print("ready", flush=True)
    sys.stdin.readline()
    if what == "reserve":
        try:
            [run] = ledger.reserve("clinic", [request(f"race-{number}", steps=10)])
        except Overspent:
            print("refused", flush=True)
            return
        ledger.commit({run: 10})  # or whoever comes next would take it for dead, with nothing spent
        print(f"got {run}", flush=True)
        return
    for round_ in range(1000):  # until it is killed
        [run] = ledger.reserve("clinic", [request(f"{number}-{round_}", noise_multiplier=4000.0, steps=4)])
        print(f"reserved {run}", flush=True)
        for steps in range(1, 5):
            ledger.commit({run: steps})
            print(f"took {run} {steps}", flush=True)
        ledger.close({run: 4})


if __name__ == "__main__":
    main(*sys.argv[1:])
