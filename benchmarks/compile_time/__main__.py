"""Compile time of a private step beside the ordinary one's, jax_privacy's, and that of another revision, in turns.

    python -m benchmarks.compile_time [--against OLD] [--works mlp,cnn] [--rounds 3]

Writes compile_time.json and compile_time.md after every work; a work that is run again replaces its entry. OLD is any
name that git knows; its code runs in a process of its own. Nothing is read from a cache of programs.
"""

import argparse
import contextlib
import json
from collections.abc import Mapping
from pathlib import Path

from benchmarks.compile_time.report import BEFORE, FLOOR, ORDINARY, OURS, PEER, Turns, markdown, ratio_rows
from benchmarks.sides import ROOT, Side, checked_out
from benchmarks.step_time.__main__ import chosen
from benchmarks.step_time.catalogue import WORKS
from benchmarks.step_time.measure import machine, say

SERVE = Path(__file__).parent / "serve.py"
FRESH = {"JAX_ENABLE_COMPILATION_CACHE": "false"}
CONTESTANTS = (ORDINARY, FLOOR, OURS, PEER)


def in_turns(work: str, new: Side, old: Side | None, rounds: int) -> Turns:
    """Every contestant compiles once a round, in an order that is turned around each time."""
    microbatch = new.ask(work=work)
    if old is not None:
        old.ask(work=work)
    sides = dict.fromkeys(CONTESTANTS, new) | ({} if old is None else {BEFORE: old})
    turns = {name: [] for name in sides}
    for number in range(rounds):
        for name in list(sides) if number % 2 else reversed(sides):
            ours = name in (OURS, BEFORE)
            turns[name].append(
                sides[name].ask(contestant=OURS if ours else name, microbatch=None if ours else microbatch)
            )
            say(f"  {work}, round {number + 1} of {rounds}: {name} {turns[name][-1]['total']:.2f} s")
    return turns


def write(works: Mapping[str, Turns], folder: Path) -> None:
    """Both files, as far as it has come."""
    facts = machine(None)
    where = f"{facts.pop('cores')} cores of {facts.pop('cpu')} ({facts.pop('backend')} backend); " + ", ".join(
        f"{name} {version}" for name, version in facts.items()
    )
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "compile_time.json").write_text(json.dumps({"where": where, "works": works}, indent=1) + "\n")
    (folder / "compile_time.md").write_text(markdown(works, where), encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--works", default=",".join(WORKS), help=f"some of {', '.join(WORKS)}")
    parser.add_argument("--rounds", type=int, default=3, help="compilations of each contestant (default: 3)")
    parser.add_argument("--against", metavar="OLD", help="what git knows another revision by: a tag, branch or hash")
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results"), help="folder of the two files")
    arguments = parser.parse_args()
    if arguments.rounds < 1:
        raise SystemExit(f"--rounds {arguments.rounds} must be at least 1.")
    held = arguments.output / "compile_time.json"
    works: dict[str, Turns] = json.loads(held.read_text(encoding="utf-8"))["works"] if held.exists() else {}
    with contextlib.ExitStack() as stack:
        new = stack.enter_context(Side(ROOT, SERVE, ROOT, FRESH))
        old = None
        if arguments.against:
            tree = stack.enter_context(checked_out(arguments.against))
            old = stack.enter_context(Side(tree, SERVE, tree, FRESH))
        for work in chosen(arguments.works, list(WORKS)):
            works[work] = in_turns(work, new, old, arguments.rounds)
            works = {name: works[name] for name in WORKS if name in works}
            write(works, arguments.output)
            print("\n".join(ratio_rows(work, works[work])), flush=True)


if __name__ == "__main__":
    main()
