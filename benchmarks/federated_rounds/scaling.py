"""What a round of dpjax costs as cohorts and populations grow.

    python -m benchmarks.federated_rounds.scaling CLIENTS COHORT

trains a few rounds in a process of its own and prints its peak memory; ``measure`` starts one for each row.
"""

import json
import math
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax

from benchmarks.federated_rounds.contestants import Rounds, dpjax_rounds
from benchmarks.federated_rounds.measure import spread, where
from benchmarks.federated_rounds.works import Work, mlp_work
from benchmarks.step_time.measure import say
from benchmarks.step_time.timing import COLD, Options, interleave

DATA_ROWS, ROWS_EACH = 60_000, 20
SIZES = ((100_000, 10), (100_000, 100), (100_000, 1_000), (100_000, 10_000), (1_000, 100), (10_000, 100))
"""(population, clients a round)"""
TURN_CLIENTS = 3_000
"""Clients in one turn, so that a turn of every row lasts some hundred milliseconds."""
LEAST, MOST = 2, 50
"""Rounds in one turn."""


def build(clients: int, cohort: int) -> tuple[Work, Rounds]:
    """The MLP's work at another size, compiled."""
    work = mlp_work(clients, ROWS_EACH, DATA_ROWS)._replace(cohort=cohort)
    return work, dpjax_rounds(work, min(MOST, max(LEAST, math.ceil(TURN_CLIENTS / cohort))))


def measure(options: Options, sizes: tuple[tuple[int, int], ...] = SIZES) -> dict[str, Any]:
    """Every row of the table, as JSON can hold it: peak memory first, each in a process of its own, then the times."""
    rows = []
    for clients, cohort in sizes:
        say(f"  {cohort:,} of {clients:,} clients")
        peak = _peak_of(clients, cohort)
        _, rounds = build(clients, cohort)
        row = {"clients": clients, "cohort": cohort, "peak_mib": peak, "compile_s": rounds.compile_seconds}
        rows.append((row, rounds))
    runners = {f"{row['cohort']} of {row['clients']}": rounds.time for row, rounds in rows}
    for run in runners.values():
        run(1)
    times, failed = interleave(runners, dict.fromkeys(runners, COLD), options)
    if failed:
        raise RuntimeError(str(failed))
    done = [row | spread(values) for (row, _), values in zip(rows, times.values(), strict=True)]
    return {"rows": done, "rows_each": ROWS_EACH, "data_rows": DATA_ROWS, "machine": where(None)}


def _peak_of(clients: int, cohort: int) -> float:
    command = [sys.executable, "-m", "benchmarks.federated_rounds.scaling", str(clients), str(cohort)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command[2:])} failed: {done.stderr.strip()[-1000:]}")
    return json.loads(done.stdout.splitlines()[-1])["peak_mib"]


def peak_mib() -> float:
    """The largest resident size of this process; ``ru_maxrss`` would count the parent that started it, on Linux."""
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 2**10
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def main() -> None:
    _, rounds = build(int(sys.argv[1]), int(sys.argv[2]))
    jax.block_until_ready(rounds.train())
    print(json.dumps({"peak_mib": peak_mib()}))


if __name__ == "__main__":
    main()
