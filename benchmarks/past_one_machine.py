"""What it costs to send a sweep to a cluster: groups of jobs beside this process alone, and beside one job a point.

    python -m benchmarks.past_one_machine [--rounds 3] [--stock 1] [--output benchmarks/results]

Forty points of one shape on digits, by ``batched`` in one process, by ``ray_batched`` and ``slurm_batched`` on clusters
of two nodes of one core each, started here, and by Hydra's own launchers for both on the same clusters. In turns; each
run in a folder of its own, with caches that are empty when it begins and that all of its nodes share. Needs root and
Debian's slurm-wlm and munge for SLURM, and the packages hydra-ray-launcher and hydra-submitit-launcher beside dpjax in
one environment. Writes past_one_machine.json and past_one_machine.md.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path

from benchmarks.two_nodes import no_slurm, ray_cluster, slurm_cluster

POINTS = 40
SWEEP = (
    *("privacy.epsilon=0.5,1,1.5,2,3,4,6,8", "privacy.clip_norm=0.1,0.2,0.3,0.5,1", "optimizer.num_steps=300"),
    *("num_seeds=1", "figures=false", "hydra.sweeper.reference=false", "privacy.accountant=rdp"),
)
OURS = ("batched", "ray_batched", "slurm_batched")


def run(launcher: str, words: list[str], environment: dict[str, str], folder: Path) -> float:
    """Seconds of a sweep from its command to its table; all of its points are there."""
    shutil.rmtree(environment["DPJAX_CACHE_DIR"], ignore_errors=True)
    command = [sys.executable, "-m", "experiments.run", "-m", *SWEEP, f"hydra/launcher={launcher}", *words]
    began = time.perf_counter()
    done = subprocess.run(
        [*command, f"results_dir={folder}"],
        env=environment,
        capture_output=True,
        text=True,
    )
    seconds = time.perf_counter() - began
    found = len(list(folder.glob("*/*/result.json")))
    if done.returncode or found != POINTS:
        raise SystemExit(f"error: {launcher} ended with {found} of {POINTS} points: {done.stderr[-2000:]}")
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3, help="of the batched launchers")
    parser.add_argument("--stock", type=int, default=1, help="rounds of Hydra's own launchers, which take minutes")
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results"), help="folder of the two files")
    chosen = parser.parse_args()
    if missing := no_slurm():
        raise SystemExit(f"error: {missing}")
    found: dict[str, list[float]] = {}
    with ExitStack() as stack:
        here = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        environment = os.environ | {"DPJAX_CACHE_DIR": str(here / "cache")}  # which Hydra's own give to no node
        ray = stack.enter_context(ray_cluster(here / "ray", environment))
        slurm = stack.enter_context(slurm_cluster(here / "slurm", environment))
        ways: dict[str, tuple[list[str], dict[str, str]]] = {
            "batched": ([], environment),
            "ray_batched": ([f"hydra.launcher.address={ray.address}"], ray.environment),
            "slurm_batched": (["hydra.launcher.max_parallel=2"], slurm.environment),
            "ray": (
                [f"hydra.launcher.ray.init.address={ray.address}", "+hydra.launcher.ray.init.object_store_memory=null"],
                ray.environment,
            ),
            "submitit_slurm": (
                ["hydra.launcher.array_parallelism=2", "hydra.launcher.cpus_per_task=1"],
                slurm.environment,
            ),
        }
        for name in OURS:  # once before the clock counts: pages of Ray's and JAX's files come from a disk
            run(name, *ways[name], here / f"{name}-first")
        for round_ in range(max(chosen.rounds, chosen.stock)):
            for name, (words, environment) in ways.items():
                if round_ >= (chosen.rounds if name in OURS else chosen.stock):
                    continue
                if name not in OURS and find_spec(f"hydra_plugins.hydra_{name.partition('_')[0]}_launcher") is None:
                    raise SystemExit("error: Hydra's own launchers are not here; see the first lines of this script.")
                seconds = run(name, words, environment, here / f"{name}-{round_}")
                found.setdefault(name, []).append(seconds)
                print(f"{name}: {seconds:.1f} s", flush=True)
    write(found, chosen.output)


def write(found: dict[str, list[float]], output: Path) -> None:
    """The two files, and what they say."""
    medians = {name: statistics.median(seconds) for name, seconds in found.items()}
    rows = ["| launcher | seconds, median | more than `batched` | Hydra's own on this cluster |", "|---|--:|--:|--:|"]
    peer = {"ray_batched": "ray", "slurm_batched": "submitit_slurm"}
    for name in OURS:
        more = "" if name == "batched" else f"{medians[name] - medians['batched']:+.1f} s"
        other = medians.get(peer.get(name, ""))
        rows.append(
            f"| `{name}` | {medians[name]:.1f} | {more} | "
            f"{'' if other is None else f'{other:.0f} s: {other / medians[name]:.1f} ×'} |"
        )
    said = f"{POINTS} points of one shape on digits, 300 steps each; clusters of two nodes of one core on one machine."
    output.mkdir(parents=True, exist_ok=True)
    (output / "past_one_machine.json").write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    text = "# Past one machine\n\n" + "\n".join(rows) + f"\n\n{said}\n"
    (output / "past_one_machine.md").write_text(text, encoding="utf-8")
    print("\n".join(rows))


if __name__ == "__main__":
    main()
