"""Step time of ordinary JAX, dpjax's engines, jax_privacy and Opacus, in turns, on seven works.

    python -m benchmarks.step_time [--works mlp,cnn] [--quick] [--output benchmarks/results]

Writes step_time.json, step_time.md and step_time.png, after every work; a work that is run again replaces its entry,
and entries that an earlier method of measuring wrote are dropped.
Opacus runs from an environment of its own, which --install-opacus creates where it is missing.
"""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

from benchmarks.step_time import figure, report
from benchmarks.step_time.catalogue import WORKS
from benchmarks.step_time.contestants import CONTESTANTS
from benchmarks.step_time.measure import measure, say
from benchmarks.step_time.peers import DEFAULT_PYTHON, PEERS, Worker, install
from benchmarks.step_time.timing import Options

QUICK = Options(seconds=3.0, least_rounds=3, candidates=2, compiles=1, tries=1)


def chosen(text: str, known: Sequence[str]) -> list[str]:
    """The names in a comma-separated list, in the order in which they are known."""
    names = [name.strip() for name in text.split(",") if name.strip()]
    unknown = [name for name in names if name not in known]
    if unknown:
        raise SystemExit(f"{', '.join(unknown)}: not known; use some of {', '.join(known)}.")
    return [name for name in known if name in names]


def opacus_side(python: Path, install_it: bool) -> Worker | None:
    """The Opacus side, if its environment is there or can be made."""
    python = python.expanduser()
    if not python.exists() and install_it:
        say(f"installing Opacus for {python}")
        install(python)
    if not python.exists():
        say("no environment for Opacus: --install-opacus creates it, --opacus-python names another; going on without.")
        return None
    return Worker(python, threads=len(os.sched_getaffinity(0)))


def main() -> None:
    contestants = [*CONTESTANTS, *PEERS]
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--works", default=",".join(WORKS), help=f"some of {', '.join(WORKS)}")
    parser.add_argument("--contestants", default=",".join(contestants), help=f"some of {', '.join(contestants)}")
    parser.add_argument("--seconds", type=float, help="of rounds per work, after compiling and picking: 60 if left out")
    parser.add_argument("--repeats", type=int, help="exactly this many rounds per work, however long they take")
    parser.add_argument("--quick", action="store_true", help="few rounds: to see that it runs, not to quote")
    parser.add_argument("--no-opacus", action="store_true", help="JAX only")
    parser.add_argument("--opacus-python", type=Path, default=DEFAULT_PYTHON, help="interpreter with opacus and torch")
    parser.add_argument("--install-opacus", action="store_true", help="create that environment with uv if missing")
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results"), help="folder of the three files")
    arguments = parser.parse_args()
    works, wanted = chosen(arguments.works, list(WORKS)), chosen(arguments.contestants, contestants)
    options = QUICK if arguments.quick else Options()
    if arguments.seconds is not None:
        options = options._replace(seconds=arguments.seconds)
    if arguments.repeats is not None:
        if arguments.repeats < 1:
            raise SystemExit(f"--repeats {arguments.repeats} must be at least 1.")
        options = options._replace(least_rounds=arguments.repeats, most_rounds=arguments.repeats)
    peers = not arguments.no_opacus and any(name in PEERS for name in wanted)
    worker = opacus_side(arguments.opacus_python, arguments.install_opacus) if peers else None
    for name in works:
        say(name)
        entry = measure(name, wanted, worker, options)
        merged = report.merge(arguments.output / "step_time.json", entry)
        text = report.markdown(merged)
        (arguments.output / "step_time.md").write_text(text, encoding="utf-8")
        figure.draw(merged, arguments.output / "step_time.png")
        say(report.summary(entry))


if __name__ == "__main__":
    main()
