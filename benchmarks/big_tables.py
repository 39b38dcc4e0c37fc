"""A table of 100,000 rows: seconds of each command that reads it, in processes of their own.

    python -m benchmarks.big_tables SWEEP [--rows 100000] [--output benchmarks/results]

SWEEP is a finished sweep, such as that of `experiment=quickstart`: its rows are repeated under other seeds and learning
rates until there are so many. Writes big_tables.json and big_tables.md.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from dpjax.results import load
from dpjax.results.table import write_frame

COMMANDS = {
    "results show": ("results", "show", "{a}"),
    "results table": ("results", "table", "{a}", "--rows", "clip_norm", "--columns", "epsilon"),
    "plot": ("plot", "{a}", "--x", "epsilon", "--y", "test_accuracy", "--hue", "clip_norm", "--out", "{out}/f.png"),
    "compare": ("compare", "{a}", "{b}"),
    "report": ("report", "{a}", "--out", "{out}/report.html"),
}


def many(frame: Any, rows: int, seeds: int = 10) -> pd.DataFrame:
    """The rows of a sweep again and again, each time at another learning rate, and none like another in its curves."""
    private = frame[(frame["epsilon"] < np.inf) & (frame["unit"] == "example")]
    private = private.drop_duplicates(subset=["config_hash"]).reset_index(drop=True)
    copies = -(-rows // (len(private) * seeds))
    rng, parts = np.random.default_rng(0), []
    curves = [name for name in private if isinstance(private[name].iloc[0], list)]
    for copy in range(copies):
        rate = float(f"{0.01 * 1.01**copy:.4g}")
        configs = [json.dumps(_at(json.loads(config), rate)) for config in private["config"]]
        hashes = private["config_hash"] + f"-{copy}"
        for seed in range(seeds):
            noise = rng.normal(0, 0.01, len(private))
            near = {
                name: [
                    [v + e if isinstance(v, float) else v for v in values]
                    for values, e in zip(private[name], noise.tolist(), strict=True)
                ]
                for name in curves
            }
            accuracy = (private["test_accuracy"] + noise).clip(0, 1)
            named = {"seed": seed, "learning_rate": rate, "config_hash": hashes, "config": configs}
            parts.append(private.assign(**named, **near, test_accuracy=accuracy))
    return pd.concat(parts, ignore_index=True).head(rows)


def _at(config: dict[str, Any], rate: float) -> dict[str, Any]:
    config["optimizer"]["learning_rate"] = rate
    return config


def main() -> None:
    """Measure and write both files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sweep", type=Path)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results"))
    args = parser.parse_args()
    seconds: dict[str, list[float]] = {name: [] for name in COMMANDS}
    with tempfile.TemporaryDirectory() as folder:
        frame = many(load(args.sweep), args.rows)
        for name in ("a", "b"):
            (Path(folder) / name).mkdir()
            write_frame(frame, Path(folder) / name)
        words = {"a": f"{folder}/a", "b": f"{folder}/b", "out": folder}
        for _ in range(args.rounds):
            for name, command in COMMANDS.items():
                began = time.perf_counter()
                done = subprocess.run(
                    [
                        sys.executable,
                        "-c",
                        "from dpjax.cli import main; main()",
                        *(word.format(**words) for word in command),
                    ],
                    capture_output=True,
                    text=True,
                )
                seconds[name].append(time.perf_counter() - began)
                if done.returncode:
                    raise SystemExit(f"{name}: {done.stderr[-500:]}")
                print(f"{name}: {seconds[name][-1]:.1f} s", flush=True)
    lines = ["# Many rows", "", f"| command on {len(frame):,} rows | seconds, median |", "|---|--:|"]
    lines += [f"| `dpjax {name}` | {statistics.median(each):.1f} |" for name, each in seconds.items()]
    lines += ["", f"{frame['config_hash'].nunique():,} points of {frame['seed'].nunique()} seeds; fresh processes."]
    (args.output / "big_tables.json").write_text(json.dumps(seconds, indent=1) + "\n")
    (args.output / "big_tables.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
