"""What the ledger of budgets holds to, and what it costs.

    python -m benchmarks.ledger [--part races] [--rounds 20] [--racers 50] [--kills 100] [--trainings 5] [--edits 1000]
                                [--sizes 100,1000,10000] [--exact 10000] [--repeats 7] [--output benchmarks/results]

composing: a ledger of that many different runs is added up, and as exactly as one by one where ``--exact`` has room.
races: so many processes want the last of a budget at once, every round a new one; kills: a process is killed (SIGKILL)
at random moments; both on SQLite and on a PostgreSQL started here, where it is installed. sealed_kills: so is one that
keeps sealed states, and one that gives sealed files another key; a training is, ``--trainings`` times, and run again.
edits: any cell, row or order of a ledger is changed behind its back, and must be found. overhead: a sweep with and
without it, in turns. A part that is run alone leaves what is written of the others. Status 1 where something was
overspent, lost, left open or not found. Writes ledger.json and ledger.md.
"""

import argparse
import importlib
import json
import os
import platform
import tempfile
from pathlib import Path
from typing import Any

PARTS = ("composing", "races", "kills", "sealed_kills", "edits", "overhead")


def measured(part: str, args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """One part; nothing of the others is imported."""
    module = importlib.import_module(f"benchmarks.ledger.{part}")
    sizes = tuple(int(each) for each in args.sizes.split(","))
    return module.measure(
        **{
            "composing": {"sizes": sizes, "most_exact": args.exact, "seed": args.seed, "folder": folder},
            "races": {"number": args.racers, "rounds": args.rounds, "seed": args.seed, "folder": folder},
            "kills": {"kills": args.kills, "seed": args.seed, "folder": folder},
            "sealed_kills": {"kills": args.kills, "trainings": args.trainings, "seed": args.seed, "folder": folder},
            "edits": {"number": args.edits, "seed": args.seed, "folder": folder},
            "overhead": {"rounds": args.repeats, "folder": folder},
        }[part]
    )


def markdown(found: dict[str, Any]) -> str:
    """The table of all that was measured."""
    rows = ["| | | |", "|---|---|--:|"]
    for part in PARTS:
        if part in found["parts"]:
            rows += importlib.import_module(f"benchmarks.ledger.{part}").lines(found["parts"][part])
    return "\n".join(["# The ledger", "", *rows, "", f"{found['machine']}: `python -m benchmarks.ledger`."])


def main() -> None:
    """Measure and write both files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", choices=PARTS, action="append", help="one of them, or several; all without")
    parser.add_argument("--rounds", type=int, default=20, help="of races, on each database")
    parser.add_argument("--racers", type=int, default=50)
    parser.add_argument("--kills", type=int, default=100, help="on each database")
    parser.add_argument("--trainings", type=int, default=5, help="that are killed and run again")
    parser.add_argument("--edits", type=int, default=1000)
    parser.add_argument("--sizes", default="100,1000,10000", help="numbers of runs that are composed")
    parser.add_argument(
        "--exact", type=int, default=10_000, help="of how many at most they are composed one by one too"
    )
    parser.add_argument("--repeats", type=int, default=7, help="of the overhead")
    parser.add_argument("--seed", type=int, default=0, help="of all that is drawn")
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results"), help="folder of the two files")
    args = parser.parse_args()
    written = args.output / "ledger.json"
    found: dict[str, Any] = json.loads(written.read_text()) if args.part and written.exists() else {"parts": {}}
    found["machine"] = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    args.output.mkdir(parents=True, exist_ok=True)
    held = True
    for part in args.part or PARTS:
        with tempfile.TemporaryDirectory() as name:
            found["parts"][part] = measured(part, args, Path(name))
        held = importlib.import_module(f"benchmarks.ledger.{part}").held(found["parts"][part]) and held
        written.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
        (args.output / "ledger.md").write_text(markdown(found) + "\n", encoding="utf-8")
    print(markdown(found))
    if not held:
        raise SystemExit("error: the ledger did not hold to what it promises; see above.")


if __name__ == "__main__":
    main()
