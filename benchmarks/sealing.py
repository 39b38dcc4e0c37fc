"""What sealing costs: files written and read sealed, and the same bytes written and read as they are.

    python -m benchmarks.sealing [--megabytes 256] [--rounds 5] [--folder .]

In turns, so that a disk that others use says nothing; prints medians, and between which the rounds lay. Nothing waits
for the disk: both sides leave that to the system.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from dpjax.encryption.keys import new_key, ring_of
from dpjax.encryption.reader import read_sealed
from dpjax.encryption.writer import write_sealed
from dpjax.keeping import write_whole


def speeds(megabytes: int, rounds: int, folder: Path) -> dict[str, list[float]]:
    """MB/s of each way, a number a round.

    Args:
      megabytes: of the file.
      rounds: of all four ways.
      folder: where to write.
    """
    data, keys = os.urandom(megabytes * 1_000_000), ring_of(new_key(), "the benchmark")
    plain, sealed = folder / "plain", folder / "sealed"
    ways: dict[str, Callable[[], object]] = {
        "write plain": lambda: write_whole(plain, data),
        "write sealed": lambda: write_sealed(sealed, data, keys, purpose="data"),
        "read plain": plain.read_bytes,
        "read sealed": lambda: read_sealed(sealed, keys, purpose="data"),
    }
    found: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds + 1):
        for name, way in ways.items():
            begun = time.perf_counter()
            way()
            if number:  # the first warms up
                found[name].append(megabytes / (time.perf_counter() - begun))
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", type=Path, default=Path())
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=chosen.folder) as folder:
        for name, each in speeds(chosen.megabytes, chosen.rounds, Path(folder)).items():
            print(f"{name:12}  {statistics.median(each):6,.0f} MB/s  ({min(each):,.0f} to {max(each):,.0f})")


if __name__ == "__main__":
    main()
