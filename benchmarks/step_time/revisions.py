"""Step time of two revisions of dpjax in turns: whether a change made the private step slower.

    python -m benchmarks.step_time.revisions OLD [--works mlp,cnn] [--seconds 30]

OLD is any name that git knows; the other side is the working tree. Each side runs in a process of its own with its own
code and its own benchmark, both on the same works, and the two take turns of a few steps, so that what else the machine
does hits both. Prints, for each work, compile seconds, the median milliseconds of either side, and the median of the
ratios of neighbouring turns with the range that holds their middle half.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import median, quantiles
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from benchmarks.sides import Side

TURN_MS = 100.0
"""About how long one turn lasts, where a step is shorter."""


def serve() -> None:
    """Answer ``{"work": W}`` with its compile seconds and tree, ``{"inner": k}`` with the milliseconds of a step."""
    import dpjax
    from benchmarks.step_time.catalogue import WORKS
    from benchmarks.step_time.contestants import CONTESTANTS, Variant
    from benchmarks.step_time.timing import build, runner

    run = None
    for line in sys.stdin:
        request = json.loads(line)
        if "work" in request:
            built = build(CONTESTANTS["auto"], WORKS[request["work"]](), Variant("plain", None), compiles=2)
            run = runner(built)
            run(1)
            answer: Any = {"compile_s": built.compile_seconds, "ms": run(2), "code": str(dpjax.__file__)}
        else:
            assert run is not None
            answer = run(request["inner"])
        print(json.dumps(answer), flush=True)


def in_turns(old: "Side", new: "Side", work: str, seconds: float) -> str:
    """One row of the table."""
    compiled = [side.ask(work=work) for side in (old, new)]
    assert compiled[0]["code"] != compiled[1]["code"], f"both sides run {compiled[0]['code']}."
    step = max(x["ms"] for x in compiled)
    inner = max(1, round(TURN_MS / step))
    rounds = max(10, round(seconds * 1e3 / (2 * inner * step)))
    times: list[list[float]] = [[], []]
    for number in range(rounds):
        for index in (0, 1) if number % 2 else (1, 0):
            times[index].append((old, new)[index].ask(inner=inner))
    low, middle, high = quantiles([b / a for a, b in zip(*times, strict=True)], n=4)
    seconds_each = " | ".join(f"{x['compile_s']:.2f}" for x in compiled)
    milliseconds = " | ".join(f"{median(x):.2f}" for x in times)
    return f"| {work} | {seconds_each} | {milliseconds} | {middle:.3f} | {low:.3f}–{high:.3f} | {rounds} |"


def compare(revision: str, works: Sequence[str], seconds: float) -> None:
    from benchmarks.sides import ROOT, Side, checked_out  # which the older revision may lack

    with (
        checked_out(revision) as tree,
        Side(tree, Path(__file__), tree) as old,
        Side(ROOT, Path(__file__), ROOT) as new,
    ):
        print(f"| work | compile s, {revision} | compile s, now | ms, {revision} | ms, now | ratio | half | turns |")
        print("|---|---:|---:|---:|---:|---:|---:|---:|", flush=True)
        for work in works:
            print(in_turns(old, new, work, seconds), flush=True)


def main() -> None:
    if sys.argv[1:] == ["--serve"]:
        return serve()
    from benchmarks.step_time.catalogue import WORKS

    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("revision", metavar="OLD", help="what git knows the other side by: a tag, branch or hash")
    parser.add_argument("--works", default=",".join(WORKS), help=f"some of {', '.join(WORKS)}")
    parser.add_argument("--seconds", type=float, default=30.0, help="of turns for each work (default: 30)")
    arguments = parser.parse_args()
    works = [name.strip() for name in arguments.works.split(",") if name.strip()]
    unknown = [name for name in works if name not in WORKS]
    if unknown:
        raise SystemExit(f"{', '.join(unknown)}: not known; use some of {', '.join(WORKS)}.")
    compare(arguments.revision, works, arguments.seconds)


if __name__ == "__main__":
    main()
