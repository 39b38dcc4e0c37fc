"""What a homomorphically encrypted sum costs: seconds by party, bytes by client, and the error of CKKS.

    python -m benchmarks.homomorphic [--quick]

Sums of 10 and 100 clients' vectors of 10,000 and 100,000 numbers, plain and weighted under encryption. Keys are made
before. Needs the extra `he`. Written to benchmarks/results/homomorphic.json and .md.
"""

import argparse
import json
import os
import platform
import statistics
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from dpjax.federated.aggregation.ckks import homomorphic_sum

CLIENTS, SIZES = (10, 100), (10_000, 100_000)
PARTS = ("encrypt_seconds", "add_seconds", "decrypt_seconds")


def measure(clients: int, size: int, weighted: bool, rounds: int) -> dict[str, Any]:
    """One row: medians over rounds, the largest error of any, and all that they were taken from."""
    rng = np.random.default_rng(clients + size)
    vectors, present = rng.uniform(-1, 1, (clients, size)), np.ones(clients, bool)
    weights = rng.dirichlet(np.ones(clients)) if weighted else None
    plain = vectors.sum(0) if weights is None else weights @ vectors
    homomorphic_sum(vectors[:2, :100], present[:2], None if weights is None else weights[:2])
    runs = [homomorphic_sum(vectors, present, weights) for _ in range(rounds)]
    sent = max(run.bytes_per_client for run in runs)
    return {
        "clients": clients,
        "size": size,
        "weighted": weighted,
        **{part: statistics.median(getattr(run, part) for run in runs) for part in PARTS},
        "all": {part: [getattr(run, part) for run in runs] for part in PARTS},
        "bytes_per_client": sent,
        "expansion": sent / (4 * size),
        "max_abs_error": max(float(np.abs(run.total - plain).max()) for run in runs),
    }


def machine() -> dict[str, str]:
    """What the timings were taken on; nothing that names a host or a day."""
    cpu, info = platform.machine(), Path("/proc/cpuinfo")
    if info.exists():
        names = [line.partition(":")[2].strip() for line in info.read_text().splitlines() if "model name" in line]
        cpu = names[0] if names else cpu
    versions = {name: metadata.version(name) for name in ("tenseal", "numpy")}
    return {"cpu": cpu, "cores": str(os.cpu_count()), "python": platform.python_version(), **versions}


def table(rows: Sequence[Mapping[str, Any]], where: Mapping[str, str], rounds: int) -> str:
    """The Markdown that docs and README quote."""
    versions = ", ".join(f"{name} {value}" for name, value in where.items() if name not in ("cpu", "cores"))
    lines = [
        f"CKKS on one thread, medians of {rounds}, {where['cores']} cores of {where['cpu']}; {versions}. Numbers in "
        "[-1, 1]. Encryption is of all clients together, and each does its own share. Weights sum to 1.",
        "",
        "| clients | numbers | weights | encrypt, s | add, s | decrypt, s | MB a client | × float32 | largest error |",
        "|---:|---:|---|---:|---:|---:|---:|---:|---:|",
    ]
    for row in rows:
        seconds = " | ".join(f"{row[part]:.3f}" for part in PARTS)
        lines.append(
            f"| {row['clients']} | {row['size']:,} | {'encrypted products' if row['weighted'] else 'none'} | {seconds} "
            f"| {row['bytes_per_client'] / 1e6:.2f} | {row['expansion']:.1f} | {row['max_abs_error']:.0e} |"
        )
    return "\n".join([*lines, ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one round each, and 10 clients only; not to quote")
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results"), help="folder of the two files")
    chosen = parser.parse_args()
    rounds, cohorts = (1, CLIENTS[:1]) if chosen.quick else (3, CLIENTS)
    rows = [
        measure(clients, size, weighted, rounds) for weighted in (False, True) for clients in cohorts for size in SIZES
    ]
    where = machine()
    text = table(rows, where, rounds)
    chosen.output.mkdir(parents=True, exist_ok=True)
    report = {"machine": where, "rounds": rounds, "rows": rows}
    (chosen.output / "homomorphic.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    (chosen.output / "homomorphic.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
