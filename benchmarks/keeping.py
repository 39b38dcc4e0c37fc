"""What it costs to keep states of a run under way, and how long a run takes that was killed half-way.

    python -m benchmarks.keeping [--rounds 7] [--kills 3] [--output benchmarks/results]

In one process and in turns, so that a clock that drifts says nothing: a run as one scan, without states; in stretches
that nobody keeps; and kept once in 10 s. Then in processes of their own, start and compilation too: a run that is kept
once in 2 s, and one of those that is killed (SIGKILL) half-way and started again by the same command. Writes
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
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import optax

from dpjax import HParams, example_gradient, make_train, poisson_sampler
from dpjax.checkpoints import Checkpoints
from dpjax.datasets import load
from dpjax.kept_lanes import InStretches, compile_kept_lanes, run_kept_lanes
from dpjax.metrics import accuracy
from dpjax.models import cross_entropy_loss, mlp
from dpjax.sweeps import compile_lanes, run_lanes
from dpjax.training import Evaluation

MODEL = ("model.hidden=[256,256]", "optimizer.sampling_rate=0.3")
COMMON = (*MODEL, "num_seeds=1", "figures=false", "privacy.accountant=rdp", "privacy.epsilon=8")
STEPS, SECONDS = 8_000, 10
"""Of what runs in one process, and between two of its states."""
LONG, OFTEN = 20_000, 2
"""The same of what is killed."""


def cost(rounds: int) -> dict[str, list[float]]:
    """Seconds of each way to run the same steps."""
    data = load("digits")
    model = mlp(data.num_classes, data.input_shape, hidden=(256, 256))
    rows = (jnp.asarray(data.train_inputs), jnp.asarray(data.train_labels))

    def evaluate(params: Any) -> jax.Array:
        return accuracy(jax.vmap(lambda x: model.apply(params, x, None))(rows[0]), rows[1])

    train = make_train(
        model.init,
        example_gradient(cross_entropy_loss(model)),
        rows,
        sampler=poisson_sampler(len(rows[1]), 0.3, num_steps=STEPS),
        num_steps=STEPS,
        make_optimizer=lambda h: optax.sgd(h.learning_rate, momentum=0.9),
        evaluation=Evaluation(evaluate, every=STEPS // 20),
    )
    point = [HParams(learning_rate=0.1, clip_norm=1.0, noise_multiplier=1.0)]
    stretches = InStretches(
        lambda arrays, h, key: train.begin(h, key),
        lambda arrays, progress, start, stop, h, key: train.advance(progress, start, stop, h, key),
        lambda arrays, progress, h, key: train.finish(progress, h, key),
        STEPS,
    )
    whole = compile_lanes(lambda arrays, h, key: train(h, key), (), num_lanes=1, lanes="map")
    program = compile_kept_lanes(stretches, (), num_lanes=1, lanes="map")
    found: dict[str, list[float]] = {"one scan": [], "stretches": [], "kept": []}
    with tempfile.TemporaryDirectory() as folder:
        for round_ in range(rounds + 1):  # the first warms up, and counts for nothing
            kept = [Checkpoints(Path(folder, str(round_)), {"round": str(round_)})]
            ways: dict[str, Callable[[], Iterable[object]]] = {
                "one scan": lambda seed=round_: run_lanes(whole, point, [seed]),
                "stretches": lambda seed=round_: run_kept_lanes(program, point, [seed], [None], seconds=SECONDS),
                "kept": lambda seed=round_, kept=kept: run_kept_lanes(program, point, [seed], kept, seconds=SECONDS),
            }
            names = list(ways)
            for name in (names[(i + round_) % len(names)] for i in range(len(names))):  # none is always the last
                began = time.perf_counter()
                list(ways[name]())
                if round_:
                    found[name].append(time.perf_counter() - began)
            print({name: [round(each, 2) for each in values] for name, values in found.items()}, flush=True)
    return found


def start(folder: Path, num_steps: int) -> subprocess.Popen[bytes]:
    """The command, in a folder of its own."""
    words = (*COMMON, f"optimizer.num_steps={num_steps}", f"checkpoint_seconds={OFTEN}", f"results_dir={folder}")
    folder.mkdir(exist_ok=True)
    with (folder / "said.txt").open("ab") as said:
        return subprocess.Popen([sys.executable, "-m", "experiments.run", *words], stdout=said, stderr=said)


def seconds(process: subprocess.Popen[bytes], folder: Path) -> float:
    """Until it ends."""
    began = time.perf_counter()
    if process.wait():
        raise SystemExit(f"error: {(folder / 'said.txt').read_text()[-2000:]}")
    return time.perf_counter() - began


def killed(rounds: int) -> dict[str, list[float]]:
    """Seconds of a run, of one that was killed until then and from then on, and of a process that does one step."""
    found: dict[str, list[float]] = {name: [] for name in ("kept", "until the kill", "after the kill", "start")}
    with tempfile.TemporaryDirectory() as name:
        for round_ in range(rounds + 1):  # the first compiles
            base, steps = Path(name, str(round_)), LONG if round_ else LONG // 10
            base.mkdir()
            kept = seconds(start(base / "kept", steps), base / "kept")
            process = start(base / "killed", steps)
            time.sleep(kept / 2)
            process.send_signal(signal.SIGKILL)
            process.wait()
            after = seconds(start(base / "killed", steps), base / "killed")
            again = seconds(start(base / "again", steps), base / "again")  # before and after: a clock that drifts
            short = seconds(start(base / "short", 1), base / "short")
            if round_:
                for part, each in zip(found, ((kept + again) / 2, kept / 2, after, short), strict=True):
                    found[part].append(each)
            print({part: [round(each, 1) for each in values] for part, values in found.items()}, flush=True)
    return found


def over(more: list[float], less: list[float]) -> float:
    """By how much, the median of what was measured side by side."""
    return statistics.median(a / b - 1 for a, b in zip(more, less, strict=True))


def main() -> None:
    """Measure and write both files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--kills", type=int, default=3, help="0: what is written of them stays")
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results"))
    args = parser.parse_args()
    ways = cost(args.rounds)
    parts = killed(args.kills) if args.kills else json.loads((args.output / "keeping.json").read_text())["in processes"]
    median = {name: statistics.median(values) for name, values in ways.items()}
    until, whole, after, short = (
        statistics.median(parts[name]) for name in ("until the kill", "kept", "after the kill", "start")
    )
    left = [k - u + s for k, u, s in zip(parts["kept"], parts["until the kill"], parts["start"], strict=True)]
    beside = {name: f"{over(ways[name], ways['one scan']):+.1%}" for name in ("stretches", "kept")}
    model = "a network of two hidden layers of 256 on digits, three tenths of the rows a step"
    lines = [
        "# Keeping states",
        "",
        "| in one process | seconds, median | beside the first |",
        "|---|--:|--:|",
        f"| without states: one scan | {median['one scan']:.2f} | |",
        f"| in stretches that nobody keeps | {median['stretches']:.2f} | {beside['stretches']} |",
        f"| a state once in {SECONDS} s | {median['kept']:.2f} | {beside['kept']} |",
        "",
        f"{STEPS:,} steps of {model}, {args.rounds} rounds in turns; medians of ratios.",
        "",
        f"| in processes of their own, a state once in {OFTEN} s | seconds, median | beside the first |",
        "|---|--:|--:|",
        f"| what is left of {whole:.0f} s at a kill after {until:.0f}, and the start of a process | "
        f"{statistics.median(left):.1f} | |",
        f"| from the same command to its end | {after:.1f} | {over(parts['after the kill'], left):+.1%} |",
        "",
        f"{LONG:,} steps of such a network (`{' '.join(MODEL)}`), {len(parts['kept'])} rounds; a process that does one "
        f"step takes {short:.1f} s.",
    ]
    args.output.mkdir(parents=True, exist_ok=True)
    found = {"in one process": ways, "in processes": parts}
    (args.output / "keeping.json").write_text(json.dumps(found, indent=1) + "\n")
    (args.output / "keeping.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
