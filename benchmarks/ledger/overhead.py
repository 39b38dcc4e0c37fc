"""What the ledger adds to a whole sweep, figures and all: the quickstart's with governance=local and off, in turns."""

from __future__ import annotations

import os
import shutil
import statistics
from pathlib import Path
from typing import Any

from benchmarks.ledger.runs import DELTA
from benchmarks.sweep import run
from dpjax.governance.ledger import Ledger, create_ledger

EPSILONS, CLIP_NORMS, SEEDS = ("0.5", "1", "2", "4", "8"), ("0.1", "0.3", "1"), 3
SWEEP = (
    *("-m", "experiment=quickstart", "hydra.sweeper.reference=false"),
    f"hydra.sweeper.grids=[{{privacy.epsilon:'{','.join(EPSILONS)}',privacy.clip_norm:'{','.join(CLIP_NORMS)}'}}]",
)
"""Its central half: the other protects clients, and a budget has one unit; none has room for runs without noise."""
SIDES = ("off", "local")


def measure(rounds: int, folder: Path) -> dict[str, Any]:
    """Seconds of a process, imports and all, each round both sides, the one that was second first."""
    from dpjax.datasets.raw_columns import columns_of
    from dpjax.fingerprints import fingerprint_of

    place = folder / "whole.db"
    create_ledger(str(place), who="ana").set_budget(
        "digits",
        fingerprint_of(columns_of("digits")),
        unit="example",
        adjacency="zero_out",
        epsilon=1000.0,  # room for all
        delta=100 * DELTA,
    )
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    environment |= {"DPJAX_CACHE_DIR": str(folder / "cache")}
    seconds: dict[str, list[float]] = {side: [] for side in SIDES}
    for round_ in range(rounds + 1):  # the first fills caches of programs, calibrations and byte code
        for side in SIDES[:: 1 if round_ % 2 else -1]:
            here = folder / f"{round_}-{side}"
            ledger = folder / f"{round_}-{side}.db"
            shutil.copyfile(place, ledger)
            words = [*SWEEP, f"governance={side}"]
            took = run(words, here, environment | {"DPJAX_LEDGER": str(ledger)})
            _check(Ledger(str(ledger)), here, side)
            if round_:
                seconds[side].append(took)
        if round_:
            print("overhead: " + ", ".join(f"{side} {times[-1]:.1f} s" for side, times in seconds.items()), flush=True)
    return {"seconds": seconds, "runs": len(EPSILONS) * len(CLIP_NORMS) * SEEDS}


def _check(ledger: Ledger, folder: Path, side: str) -> None:
    """All points are there, and their runs are in the ledger, or none is."""
    points, runs = len(list(folder.rglob("result.json"))), ledger.account("digits").runs
    wanted = len(EPSILONS) * len(CLIP_NORMS)
    if points != wanted or len(runs) != wanted * SEEDS * (side == "local"):
        raise SystemExit(f"error: governance={side} ended with {points} points and {len(runs)} runs in the ledger.")
    if any(each.state != "closed" or each.steps != each.spend.steps for each in runs):
        raise SystemExit("error: a run that has ended is not so in the ledger.")
    ledger.verify()


def over(found: dict[str, Any]) -> float:
    """By how much, the median of what was measured side by side."""
    sides = found["seconds"]
    return statistics.median(b / a - 1 for a, b in zip(sides["off"], sides["local"], strict=True))


def lines(found: dict[str, Any]) -> list[str]:
    """Rows of the table."""
    off, local = (statistics.median(found["seconds"][side]) for side in SIDES)
    return [
        f"| the quickstart's central sweep and its figures, {found['runs']} runs, with governance=off and local | "
        f"seconds, medians of {len(found['seconds']['off'])} | {off:.1f}; {local:.1f}: {over(found):+.1%} |"
    ]


def held(found: dict[str, Any]) -> bool:
    """Whether all is as it must be; how long it takes is told, and not judged."""
    return bool(found["seconds"]["local"])
