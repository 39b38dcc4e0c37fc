"""Rounds per second of simulated federated averaging with central DP: dpjax and pfl-research, in turns.

    python -m benchmarks.federated_rounds [--works mlp,cnn] [--scaling] [--quick] [--output benchmarks/results]

Writes federated_rounds.json and federated_rounds.md, after every work; what is run again replaces its entry. --scaling
measures dpjax alone instead, as cohorts and populations grow. pfl-research runs from an environment of its own, which
--install-pfl creates where it is missing.
"""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.federated_rounds import report, scaling
from benchmarks.federated_rounds.measure import measure
from benchmarks.federated_rounds.pfl_side import DEFAULT_PYTHON, install
from benchmarks.federated_rounds.works import WORKS
from benchmarks.step_time.__main__ import chosen
from benchmarks.step_time.measure import say
from benchmarks.step_time.timing import Options

QUICK = 3


def pfl_side(python: Path, install_it: bool) -> Path | None:
    """The interpreter of the pfl side, if its environment is there or can be made."""
    python = python.expanduser()
    if not python.exists() and install_it:
        say(f"installing pfl-research for {python}")
        install(python)
    if not python.exists():
        say("no environment for pfl: --install-pfl creates it, --pfl-python names another; going on without.")
        return None
    return python


def write(output: Path, found: Mapping[str, Any]) -> None:
    """The Markdown of all that the JSON file holds."""
    (output / "federated_rounds.md").write_text(report.markdown(found), encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--works", default=",".join(WORKS), help=f"some of {', '.join(WORKS)}")
    parser.add_argument("--scaling", action="store_true", help="dpjax alone, as cohorts and populations grow")
    parser.add_argument("--seconds", type=float, default=90.0, help="of turns per work, and for the scaling")
    parser.add_argument("--rounds", type=int, help="exactly this many turns, however long they take")
    parser.add_argument("--quick", action="store_true", help=f"{QUICK} turns: to see that it runs, not to quote")
    parser.add_argument("--no-pfl", action="store_true", help="dpjax only")
    parser.add_argument("--pfl-python", type=Path, default=DEFAULT_PYTHON, help="interpreter with pfl and torch")
    parser.add_argument("--install-pfl", action="store_true", help="create that environment with uv if missing")
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results"), help="folder of the two files")
    arguments = parser.parse_args()
    works, turns = chosen(arguments.works, list(WORKS)), arguments.rounds or (QUICK if arguments.quick else None)
    if turns is not None and turns < 1:
        raise SystemExit(f"--rounds {turns} must be at least 1.")
    options = Options(seconds=arguments.seconds)
    if turns is not None:
        options = options._replace(least_rounds=turns, most_rounds=turns)
    path = arguments.output / "federated_rounds.json"
    if arguments.scaling:
        say("scaling")
        found = scaling.measure(options)
        write(arguments.output, report.merge(path, scaling=found))
        for claim in report.claims(found["rows"]):
            say(f"  {claim['text']}: {'met' if claim['met'] else 'missed'}")
        return
    python = None if arguments.no_pfl else pfl_side(arguments.pfl_python, arguments.install_pfl)
    for name in works:
        say(name)
        entry = measure(name, python, options)
        write(arguments.output, report.merge(path, work=entry))
        say(report.summary(entry))


if __name__ == "__main__":
    main()
