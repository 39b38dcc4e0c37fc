"""Time of calibrating a grid of eight ε under PLD, cold and cached, beside dp-accounting's own search.

    python -m benchmarks.calibration [--repeats 5] [--output benchmarks/results]

Each timing is a fresh process and includes every lazy import; cold ones have a fresh cache folder, cached ones that of
the cold one before. Writes calibration.json and calibration.md.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from importlib import metadata
from pathlib import Path

EPSILONS = [0.5, 1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 10.0]
CASES = {
    "MNIST-like: rate 256/60000, 14,063 steps": (256 / 60_000, 14_063),
    "digits-like: rate 0.25, 100 steps": (0.25, 100),
}
DELTA = 1e-5

OURS = """
import json, sys, time
start = time.perf_counter()
from dpjax.accounting import Mechanism, calibrate_noise_grid
rate, steps, delta, epsilons, folder = json.loads(sys.argv[1])
run = Mechanism(unit="example", adjacency="add_or_remove_one", sampling="poisson", sampling_rate=rate,
                noise_multiplier=0.0, num_steps=steps)
noise = calibrate_noise_grid(run, epsilons=epsilons, delta=delta, cache_dir=folder)
print(json.dumps([time.perf_counter() - start, noise]))
"""

NAIVE = """
import json, sys, time
start = time.perf_counter()
import dp_accounting as dpa
rate, steps, delta, epsilons, _ = json.loads(sys.argv[1])
def event(noise):
    return dpa.SelfComposedDpEvent(dpa.PoissonSampledDpEvent(rate, dpa.GaussianDpEvent(noise)), steps)
# From 0, where its search starts by default, the first losses fill the memory.
bracket = dpa.LowerEndpointAndGuess(0.4, 1.0)
noise = [dpa.calibrate_dp_mechanism(dpa.pld.PLDAccountant, event, epsilon, delta, bracket, tol=1e-3)
         for epsilon in epsilons]
print(json.dumps([time.perf_counter() - start, noise]))
"""


def timed(script: str, rate: float, steps: int, folder: str) -> tuple[float, list[float]]:
    """Seconds that a fresh process needed, and the noise multipliers it found."""
    arguments = json.dumps([rate, steps, DELTA, EPSILONS, folder])
    done = subprocess.run([sys.executable, "-c", script, arguments], capture_output=True, text=True, check=True)
    seconds, noise = json.loads(done.stdout)
    return seconds, noise


def measure(rate: float, steps: int, repeats: int) -> dict[str, object]:
    """All timings of one mechanism."""
    cold, cached, multipliers = [], [], []
    for _ in range(repeats):
        with tempfile.TemporaryDirectory() as folder:
            seconds, multipliers = timed(OURS, rate, steps, folder)
            cold.append(seconds)
            seconds, again = timed(OURS, rate, steps, folder)
            cached.append(seconds)
            if again != multipliers:
                raise RuntimeError(f"the cache changed the answer: {multipliers} became {again}")
    naive, theirs = timed(NAIVE, rate, steps, "")
    return {
        "cold_seconds": statistics.median(cold),
        "cached_seconds": statistics.median(cached),
        "naive_seconds": naive,
        "cold_all": cold,
        "cached_all": cached,
        "noise_multipliers": multipliers,
        "naive_noise_multipliers": theirs,
    }


def table(results: dict[str, dict[str, object]], machine: str, repeats: int) -> str:
    """The Markdown that docs and README quote."""
    lines = [
        f"Eight ε ({', '.join(f'{epsilon:g}' for epsilon in EPSILONS)}) under PLD at δ = {DELTA:g}, whole process with "
        f"imports, median of {repeats} ({machine}); naive: `dp_accounting.calibrate_dp_mechanism` per ε, once.",
        "",
        "| mechanism | cold, s | cached, s | naive, s |",
        "|---|---:|---:|---:|",
    ]
    for name, row in results.items():
        times = f"{row['cold_seconds']:.2f} | {row['cached_seconds']:.3f} | {row['naive_seconds']:.1f}"
        lines.append(f"| {name} | {times} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5, help="cold and cached runs each (default 5)")
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results"), help="folder of the two files")
    chosen = parser.parse_args()
    results = {name: measure(*case, chosen.repeats) for name, case in CASES.items()}
    versions = {name: metadata.version(name) for name in ("dp-accounting", "numpy", "scipy")}
    machine = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    chosen.output.mkdir(parents=True, exist_ok=True)
    report = {"machine": machine, "versions": versions, "epsilons": EPSILONS, "delta": DELTA, "results": results}
    (chosen.output / "calibration.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    text = table(results, machine, chosen.repeats)
    (chosen.output / "calibration.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
