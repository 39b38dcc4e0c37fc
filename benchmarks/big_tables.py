"""A table of 100,000 rows, and a sweep of 10,000 points: seconds of each command that reads it, and until it starts.

    python -m benchmarks.big_tables SWEEP [--rows 100000] [--output benchmarks/results]

SWEEP is a finished sweep, such as that of `experiment=quickstart`: its rows are repeated under other seeds and learning
rates, with other curves, until there are so many. They lie as one table; and once more as the files of 10,000 jobs,
which are read once and then from the table that was made of them. The sweep is stopped as its first group begins.
Writes big_tables.json and big_tables.md.
"""

import argparse
import json
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from dpjax.results import load, write_table
from dpjax.results.distinct import Table
from dpjax.results.frames import in_order
from dpjax.results.result_files import write_job_result
from dpjax.results.table_files import arrow_table

CLI = (sys.executable, "-c", "from dpjax.cli import main; main()")
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


def write_jobs(frame: Any, folder: Path) -> None:
    """The rows as the files of their jobs."""
    jobs: dict[str, list[dict[str, Any]]] = {}
    for row in Table(frame).records():
        jobs.setdefault(row["config_hash"], []).append({name: cell for name, cell in row.items() if cell is not None})
    for number, (digest, rows) in enumerate(jobs.items()):
        write_job_result(folder / f"job-{number}", rows, digest)


def seconds_of(*command: str) -> float:
    """Of a command in a process of its own."""
    began = time.perf_counter()
    done = subprocess.run([*CLI, *command], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}: {done.stderr[-500:]}")
    return time.perf_counter() - began


def start_of_sweep(folder: Path, points: int = 10_000) -> float:
    """From the command to the first group of lanes."""
    side = round(points**0.5)
    rates, clips = (",".join(f"{at * 1.05**i:.5g}" for i in range(side)) for at in (0.01, 0.1))
    fixed = ("data=digits", "model=logistic", "num_seeds=1", "privacy.epsilon=1", f"results_dir={folder}")
    swept = (f"optimizer.learning_rate={rates}", f"privacy.clip_norm={clips}", "hydra.sweeper.reference=false")
    began = time.perf_counter()
    with subprocess.Popen(
        [sys.executable, "-m", "experiments.run", "-m", *fixed, *swept],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith(f"Group 1 of 1: {side**2} jobs"):
                took = time.perf_counter() - began
                process.send_signal(signal.SIGKILL)
                return took
    raise SystemExit("the sweep did not start")


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
        columns: dict[str, Any] = {str(name): frame[name] for name in frame.columns}
        frame = in_order(columns)
        for name in ("a", "b", "jobs"):
            (Path(folder) / name).mkdir()
        for name in ("a", "b"):
            pq.write_table(arrow_table(frame), Path(folder) / name / "results.parquet")
        write_jobs(frame, Path(folder) / "jobs")
        words = {"a": f"{folder}/a", "b": f"{folder}/b", "out": folder}
        began = time.perf_counter()
        write_table(Path(folder) / "jobs")
        once = time.perf_counter() - began
        seconds["results show, of the files of its jobs"], seconds["start of a sweep"] = [], []
        for _ in range(args.rounds):
            for name, command in COMMANDS.items():
                seconds[name].append(seconds_of(*(word.format(**words) for word in command)))
            seconds["results show, of the files of its jobs"].append(seconds_of("results", "show", f"{folder}/jobs"))
            seconds["start of a sweep"].append(start_of_sweep(Path(folder) / f"sweep-{time.time()}"))
            print({name: round(each[-1], 1) for name, each in seconds.items()}, flush=True)
    points = frame["config_hash"].nunique()
    lines = ["# Many rows", "", "| what | seconds, median |", "|---|--:|"]
    lines += [
        f"| `dpjax {name}` |".replace(", of the files of its jobs`", f"`, of a folder of {points:,} jobs").replace(
            "`dpjax start of a sweep`", "a sweep of 10,000 points, until its first group begins"
        )
        + f" {statistics.median(each):.1f} |"
        for name, each in seconds.items()
    ]
    lines += [
        f"| the table of those jobs, made once of their files | {once:.1f} |",
        "",
        f"{len(frame):,} rows of {points:,} points and {frame['seed'].nunique()} seeds, no two with the same curves; "
        "each command in a fresh process.",
    ]
    found = {"seconds": seconds, "table of jobs": once}
    (args.output / "big_tables.json").write_text(json.dumps(found, indent=1) + "\n")
    (args.output / "big_tables.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
