"""What it costs to keep states of a run under way, and how long a run takes that was killed half-way.

    python -m benchmarks.keeping [--rounds 3] [--num-steps 40000] [--output benchmarks/results]

In turns: a run without states, one with a state once in 5 s, and one of those that is killed (SIGKILL) half-way and
started again by the same command. Fresh processes, all of whose time counts, start and compilation too. Writes
keeping.json and keeping.md.
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

SECONDS = 5
COMMON = ("num_seeds=1", "figures=false", "privacy.accountant=rdp", "privacy.epsilon=8")
MODEL = ("model.hidden=[256,256]", "optimizer.sampling_rate=0.3")


def start(folder: Path, num_steps: int, *more: str) -> subprocess.Popen[bytes]:
    """The command, in a folder of its own."""
    words = (*COMMON, *MODEL, f"optimizer.num_steps={num_steps}", f"results_dir={folder}", *more)
    folder.mkdir(exist_ok=True)
    with (folder / "said.txt").open("ab") as said:
        return subprocess.Popen([sys.executable, "-m", "experiments.run", *words], stdout=said, stderr=said)


def seconds(process: subprocess.Popen[bytes], folder: Path) -> float:
    """Until it ends."""
    began = time.perf_counter()
    if process.wait():
        raise SystemExit(f"error: {(folder / 'said.txt').read_text()[-2000:]}")
    return time.perf_counter() - began


def main() -> None:
    """Measure and write both files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--num-steps", type=int, default=40_000)
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results"))
    args = parser.parse_args()
    keep = f"checkpoint_seconds={SECONDS}"
    found: dict[str, list[float]] = {
        name: [] for name in ("alone", "kept", "until the kill", "after the kill", "start")
    }
    with tempfile.TemporaryDirectory() as name:
        for round_ in range(args.rounds + 1):  # the first compiles, and counts for nothing
            base = Path(name, str(round_))
            base.mkdir()
            steps = args.num_steps if round_ else args.num_steps // 20
            alone = seconds(start(base / "alone", steps), base / "alone")
            kept = seconds(start(base / "kept", steps, keep), base / "kept")
            process = start(base / "killed", steps, keep)
            time.sleep(kept / 2)
            process.send_signal(signal.SIGKILL)
            process.wait()
            after = seconds(start(base / "killed", steps, keep), base / "killed")
            short = seconds(start(base / "short", 1, keep), base / "short")
            if round_:
                for part, each in zip(found, (alone, kept, kept / 2, after, short), strict=True):
                    found[part].append(each)
            print({part: [round(each, 1) for each in values] for part, values in found.items()}, flush=True)
    median = {part: statistics.median(values) for part, values in found.items()}
    cost = statistics.median(k / a - 1 for a, k in zip(found["alone"], found["kept"], strict=True))
    left = [k - u + s for k, u, s in zip(found["kept"], found["until the kill"], found["start"], strict=True)]
    over = statistics.median(a / rest - 1 for a, rest in zip(found["after the kill"], left, strict=True))
    lines = [
        "# Keeping states",
        "",
        "| a run of its own process | seconds, median |",
        "|---|--:|",
        f"| without states | {median['alone']:.1f} |",
        f"| a state once in {SECONDS} s | {median['kept']:.1f} ({cost:+.1%}) |",
        f"| killed after {median['until the kill']:.1f} s: from the same command to its end | "
        f"{median['after the kill']:.1f} |",
        f"| what was left of it then, and the start of a process | {statistics.median(left):.1f} ({over:+.1%}) |",
        "",
        f"{args.num_steps:,} steps of `model=mlp {' '.join(MODEL)}` on digits, {args.rounds} rounds in turns; a "
        f"process that does one step takes {median['start']:.1f} s.",
    ]
    args.output.mkdir(parents=True, exist_ok=True)
    (args.output / "keeping.json").write_text(json.dumps(found, indent=1) + "\n")
    (args.output / "keeping.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
