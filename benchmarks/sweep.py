"""Forty settings as lanes of one program, beside Hydra's own launcher and forty processes; same grid, same numbers.

    python -m benchmarks.sweep [--quick] [--output benchmarks/results]

8 ε × 5 clip norms, one seed each, on digits with the quickstart's MLP, without references and figures. Every timing is
a fresh process (or forty), with its imports, into a fresh results folder. Byte code and the calibration cache are warm:
a run before the clock starts fills the one, the cold batched run the other. Writes sweep.json and sweep.md.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

EPSILONS = ("0.5", "1", "1.5", "2", "3", "4", "6", "8")
CLIP_NORMS = ("0.1", "0.2", "0.3", "0.6", "1")
COMMON = ("num_seeds=1", "figures=false")
SWEEP = (
    "-m",
    *COMMON,
    "hydra.sweeper.reference=false",
    f"privacy.epsilon={','.join(EPSILONS)}",
    f"privacy.clip_norm={','.join(CLIP_NORMS)}",
)
TARGET = 15.0
COLUMNS = ("test_accuracy", "train_accuracy", "test_loss", "train_loss", "epsilon_pld", "noise_multiplier")
TOLERANCE = 1e-5

Point = tuple[float, float]


def run(arguments: Sequence[str], folder: Path, environment: Mapping[str, str]) -> float:
    """Wall seconds of one process of the main job.

    Raises:
      RuntimeError: it failed, with what it said.
    """
    command = [sys.executable, "-m", "experiments.run", *arguments, f"results_dir={folder}"]
    started = time.perf_counter()
    done = subprocess.run(command, env=dict(environment), capture_output=True, text=True)
    seconds = time.perf_counter() - started
    if done.returncode:
        raise RuntimeError(f"{' '.join(arguments)} failed: {done.stderr.strip()[-2000:]}")
    return seconds


def rows(folder: Path) -> dict[Point, dict[str, Any]]:
    """The row of each point below a folder."""
    rows_on_disk = [json.loads(path.read_text())["rows"][0] for path in folder.rglob("result.json")]
    return {(row["epsilon"], row["clip_norm"]): row for row in rows_on_disk}


def largest_difference(ours: Mapping[Point, dict[str, Any]], theirs: Mapping[Point, dict[str, Any]]) -> float:
    """By how much two ways of running differ in any result of the points that both ran.

    Raises:
      RuntimeError: they have no point in common, or differ by more than 1e-5.
    """
    shared = ours.keys() & theirs.keys()
    if not shared:
        raise RuntimeError("the two ways of running have no point in common")
    worst = max(abs(ours[point][name] - theirs[point][name]) for point in shared for name in COLUMNS)
    if worst > TOLERANCE:
        raise RuntimeError(f"results differ by {worst:.2e}, more than {TOLERANCE:g}")
    return worst


def measure(folder: Path, sample: int, repeats: int) -> dict[str, Any]:
    """Time every way of running the grid, one after the other.

    Args:
      folder: an empty one.
      sample: how many points run as processes of their own; fewer than 40 are extrapolated.
      repeats: batched runs with a warm cache, of which the median counts.
    """
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    environment |= {"PYTHONPYCACHEPREFIX": str(folder / "bytecode"), "DPJAX_CACHE_DIR": str(folder / "spent")}
    say("byte code")
    run([*COMMON, "privacy.epsilon=5"], folder / "warm", environment)
    run(["-m", *COMMON, "privacy.epsilon=5", "hydra/launcher=basic"], folder / "warm", environment)
    environment["DPJAX_CACHE_DIR"] = str(folder / "calibrations")
    say("batched launcher, cold calibration cache")
    seconds = {"batched_cold": run(SWEEP, folder / "cold", environment)}
    warm = []
    for i in range(repeats):
        say("batched launcher")
        warm.append(run(SWEEP, folder / f"batched{i}", environment))
    seconds["batched"] = sorted(warm)[len(warm) // 2]
    say("hydra/launcher=basic")
    seconds["basic"] = run([*SWEEP, "hydra/launcher=basic"], folder / "basic", environment)
    points = [(epsilon, clip_norm) for epsilon in EPSILONS for clip_norm in CLIP_NORMS]
    alone = []
    for i, (epsilon, clip_norm) in enumerate(points[:: len(points) // sample]):
        say(f"process {i + 1} of {sample}")
        point = [f"privacy.epsilon={epsilon}", f"privacy.clip_norm={clip_norm}"]
        alone.append(run([*COMMON, *point], folder / "alone", environment))
    seconds["processes"] = sum(alone) * len(points) / len(alone)
    batched = rows(folder / "batched0")
    if len(batched) != len(points):
        raise RuntimeError(f"the batched launcher ran {len(batched)} of {len(points)} points")
    return {
        "seconds": seconds,
        "batched_all": warm,
        "processes_measured": len(alone),
        "points": len(points),
        "ratios": {name: seconds[name] / seconds["batched"] for name in ("basic", "processes")},
        "largest_difference": {
            name: largest_difference(batched, rows(folder / name)) for name in ("cold", "basic", "alone")
        },
    }


def say(what: str) -> None:
    print(f"{what} ...", file=sys.stderr, flush=True)


def machine() -> dict[str, str]:
    """What the timings were taken on; nothing that names a host."""
    cpu = platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [line.partition(":")[2].strip() for line in info.read_text().splitlines() if "model name" in line]
        cpu = names[0] if names else cpu
    versions = {name: metadata.version(name) for name in ("jax", "optax", "flax", "hydra-core", "dp-accounting")}
    return {"cpu": cpu, "cores": str(os.cpu_count()), "python": platform.python_version(), **versions}


def table(found: Mapping[str, Any], where: Mapping[str, str]) -> str:
    """The Markdown that docs and README quote."""
    seconds, ran, points = found["seconds"], found["processes_measured"], found["points"]
    note = "" if ran == points else f" (extrapolated from {ran})"
    versions = ", ".join(f"{name} {value}" for name, value in where.items() if name not in ("cpu", "cores"))

    worst = max(found["largest_difference"].values())
    same = f"agree to {worst:.0e}" if worst else "are equal to the last bit"

    def line(name: str, value: float) -> str:
        return f"| {name} | {value:.1f} | {value / seconds['batched']:.1f} |"

    return "\n".join(
        [
            f"{points} settings (8 ε × 5 clip norms, one seed), digits, the quickstart's MLP, "
            f"{where['cores']} cores of {where['cpu']}; {versions}.",
            "",
            "| how | seconds | × batched |",
            "|---|---:|---:|",
            line("batched launcher, one process", seconds["batched"]),
            line("the same, noise not calibrated before", seconds["batched_cold"]),
            line("`hydra/launcher=basic`, one process", seconds["basic"]),
            line(f"{points} processes{note}", seconds["processes"]),
            "",
            f"Results {same}. Times include imports and compilation; byte code and, but for the second line, the "
            "calibration cache are warm.",
            "",
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="8 processes, extrapolated to 40, and one batched run")
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results"), help="folder of the two files")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = measure(Path(folder), *((8, 1) if chosen.quick else (len(EPSILONS) * len(CLIP_NORMS), 3)))
    where = machine()
    chosen.output.mkdir(parents=True, exist_ok=True)
    report = {"machine": where, "target_ratio": TARGET, **found}
    (chosen.output / "sweep.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    text = table(found, where)
    (chosen.output / "sweep.md").write_text(text, encoding="utf-8")
    print(text)
    if found["ratios"]["processes"] < TARGET:
        raise SystemExit(f"the batched launcher is {found['ratios']['processes']:.1f} × faster, below {TARGET:g} ×.")


if __name__ == "__main__":
    main()
