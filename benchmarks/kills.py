"""Runs killed at random moments and run again by the same command: equal, to the last bit, to the run nobody stopped.

    python -m benchmarks.kills [--kills 100] [--only central] [--output benchmarks/results]

Each kind is trained once without a kill, then killed (SIGKILL) after a random time and started again, five times at
most until it is let end; and all over until it was killed often enough. Its parameters (safetensors) and its row must
then be those of the first run, but for times. LoRA needs the checkpoint minilm. Writes kills.json and kills.md.
"""

import argparse
import hashlib
import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.first_hour import write_reviews

COMMON = ("num_seeds=1", "figures=false", "save_model=true", "checkpoint_seconds=1", "privacy.accountant=rdp")
KINDS: dict[str, tuple[str, ...]] = {
    "central": ("optimizer.num_steps=15000", "clipping=adaptive", "privacy.epsilon=8", "clipping.count_stddev=300"),
    "correlated": ("model=logistic", "privacy=dp_ftrl", "optimizer.sampling=cyclic", "optimizer.num_steps=240000"),
    "federated": ("federated=scaffold", "federated.clients_per_round=20", "optimizer.num_steps=1500"),
    "lora": (
        *("data=own", "data.path={texts}", "data.text=[review]", "data.label=stars", "data.classes=[neg,pos]"),
        *("model=pretrained", "model.max_length=16", "tuning=lora", "optimizer.num_steps=40"),
    ),
}
MOST = 5
"""Kills of one run."""
_PLACES = ("overrides", "config")  # which hold the folder
_TIMES = ("wall_seconds", "epoch_seconds", "compile_seconds", "peak_memory_mib", "timestamp", "tokens_per_second")


def start(kind: str, folder: Path) -> subprocess.Popen[bytes]:
    """The command of a kind, in a folder of its own."""
    command = [sys.executable, "-m", "experiments.run", *COMMON, *KINDS[kind], f"results_dir={folder}"]
    command = [word.replace("{texts}", str(folder.parent / "reviews.parquet")) for word in command]
    with (folder / "said.txt").open("ab") as said:
        return subprocess.Popen(command, stdout=said, stderr=said)


def ended(folder: Path) -> tuple[str, dict[str, Any]]:
    """Hash of the parameters, and the row without its times."""
    models = b"".join(path.read_bytes() for path in sorted(folder.rglob("*.safetensors")))
    (result,) = folder.rglob("result.json")
    row = json.loads(result.read_text())["rows"][0]
    return hashlib.sha256(models).hexdigest(), {k: v for k, v in row.items() if k not in (*_TIMES, *_PLACES)}


def measure(kind: str, kills: int, folder: Path, rng: random.Random) -> dict[str, Any]:
    """One kind: how often it was killed, how often it ended as it should, and what the kills cost."""
    write_reviews(folder / "reviews.parquet", rows=320)
    whole = folder / "whole"
    whole.mkdir()
    began = time.perf_counter()
    if start(kind, whole).wait():
        raise SystemExit(f"error: {kind} fails by itself: {(whole / 'said.txt').read_text()[-2000:]}")
    alone, expected = time.perf_counter() - began, ended(whole)
    done = equal = runs = gone_on = 0
    while done < kills:
        runs += 1
        here = folder / f"run-{runs}"
        here.mkdir()
        most = done + MOST
        while True:
            process = start(kind, here)
            try:
                if process.wait(rng.uniform(0.15, 0.85) * alone if done < min(kills, most) else None):
                    raise SystemExit(f"error: {kind} fails after a kill: {(here / 'said.txt').read_text()[-2000:]}")
                break
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                process.wait()
                done += 1
        equal += ended(here) == expected
        gone_on += (here / "said.txt").read_text().count("goes on from what was kept")
        print(f"{kind}: {done} kills, {gone_on} found a state, {equal} of {runs} runs equal", flush=True)
    return {"seconds": alone, "kills": done, "gone on": gone_on, "runs": runs, "equal": equal}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--kills", type=int, default=100, help="of all kinds together")
    parser.add_argument("--only", choices=KINDS, help="one kind; what is written of the others stays")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results"), help="folder of the two files")
    chosen = parser.parse_args()
    kinds = [chosen.only] if chosen.only else list(KINDS)
    written = chosen.output / "kills.json"
    found = json.loads(written.read_text()) if chosen.only and written.exists() else {}
    with tempfile.TemporaryDirectory() as name:
        for kind in kinds:
            folder = Path(name, kind)
            folder.mkdir()
            rng = random.Random(f"{chosen.seed}{kind}")  # nosec B311 # secures nothing
            found[kind] = measure(kind, -(-chosen.kills // len(KINDS)), folder, rng)
    rows = [
        "| run | alone | kills | went on from a state | runs that ended | equal to the last bit |",
        "|---|--:|--:|--:|--:|--:|",
    ]
    rows += [
        f"| {k} | {f['seconds']:.0f} s | {f['kills']} | {f['gone on']} | {f['runs']} | {f['equal']} |"
        for k, f in found.items()
    ]
    chosen.output.mkdir(parents=True, exist_ok=True)
    written.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    (chosen.output / "kills.md").write_text("# Killed and run again\n\n" + "\n".join(rows) + "\n", encoding="utf-8")
    print("\n".join(rows))
    if any(f["equal"] != f["runs"] for f in found.values()):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
