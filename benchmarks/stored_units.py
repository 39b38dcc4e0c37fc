"""A population on disk beside the same in memory: seconds of a step and memory of the process, in turns.

    python -m benchmarks.stored_units [--rows 10000000] [--features 32] [--folder FOLDER] [--output benchmarks/results]

Makes an Arrow file of so many rows, a part at a time, and trains the same network on it by the same key: read from disk
as it is drawn, and held in memory as arrays. Each side is a process of its own, whose largest memory the system counts;
both time rounds in turns. Needs twice the file's size of memory for the side that holds it. Writes stored_units.json
and stored_units.md.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

STEPS, COHORT, HIDDEN = 200, 1024, 512


def _parts(rows: int, features: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    rng = np.random.default_rng(0)
    for start in range(0, rows, 65_536):
        x = rng.standard_normal((min(65_536, rows - start), features), np.float32)
        yield x, (x[:, 0] > 0).astype(np.int32)


def write(path: Path, rows: int, features: int) -> None:
    """Rows of two classes, a part at a time."""
    import pyarrow as pa

    schema = pa.schema({"x": pa.list_(pa.float32(), features), "y": pa.int32()})
    with pa.ipc.new_file(str(path), schema) as file:
        for x, y in _parts(rows, features):
            lists = pa.FixedSizeListArray.from_arrays(pa.array(x.ravel()), features)
            file.write_batch(pa.record_batch([lists, pa.array(y)], schema=schema))


def serve(side: str, path: Path) -> None:
    """One side: trains once for each line of its input, and answers with the seconds of a step and its memory."""
    import jax
    import jax.numpy as jnp
    import optax

    from dpjax import HParams, example_gradient, make_train, poisson_sampler
    from dpjax.arrow_units import arrow_units

    stored = arrow_units(path)
    features = stored.like["x"].shape[0]

    def init(key: Any) -> Any:
        return {"w": jax.random.normal(key, (features, HIDDEN)) / features**0.5, "v": jnp.zeros((HIDDEN, 2))}

    def loss_fn(params: Any, unit: Any, key: Any) -> Any:
        logits = jnp.tanh(unit["x"] @ params["w"]) @ params["v"]
        return optax.softmax_cross_entropy_with_integer_labels(logits, unit["y"])

    def run(units: Any, hparams: Any, key: Any) -> Any:
        train = make_train(
            init,
            example_gradient(loss_fn),
            units,
            sampler=poisson_sampler(stored.size, COHORT / stored.size, num_steps=STEPS),
            num_steps=STEPS,
            make_optimizer=lambda h: optax.sgd(h.learning_rate),
        )
        return train(hparams, key)[0].params

    point = HParams(learning_rate=0.5, clip_norm=1.0, noise_multiplier=0.5)
    if side == "disk":
        call = jax.jit(lambda hparams, key: run(stored, hparams, key))
    else:
        units = jax.tree.map(jnp.asarray, _whole(stored.size, features))
        on_device = jax.jit(run)
        call = lambda hparams, key: on_device(units, hparams, key)  # noqa: E731
    jax.block_until_ready(call(point, jax.random.key(0)))
    print("ready", flush=True)
    for line in sys.stdin:
        key = jax.random.key(int(line))
        began = time.perf_counter()
        params = jax.block_until_ready(call(point, key))
        seconds = (time.perf_counter() - began) / STEPS
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        print(json.dumps({"seconds": seconds, "peak": peak, "sum": float(jnp.sum(params["v"] ** 2))}), flush=True)


def _whole(rows: int, features: int) -> dict[str, np.ndarray]:
    """What the file holds, without reading it: pages that one side has read would be there for the other."""
    x, y, done = np.empty((rows, features), np.float32), np.empty(rows, np.int32), 0
    for part, labels in _parts(rows, features):
        x[done : done + len(part)], y[done : done + len(part)] = part, labels
        done += len(part)
    return {"x": x, "y": y}


def main() -> None:
    """Measure and write both files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--features", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results"))
    parser.add_argument("--side", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.side:
        serve(args.side, args.folder)
        return
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        path = Path(folder) / "units.arrow"
        began = time.perf_counter()
        write(path, args.rows, args.features)
        made, size = time.perf_counter() - began, path.stat().st_size
        print(f"made {size / 2**30:.2f} GiB in {made:.0f} s", flush=True)
        sides = {
            side: subprocess.Popen(
                [sys.executable, "-m", "benchmarks.stored_units", "--side", side, "--folder", str(path)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            for side in ("disk", "memory")
        }
        said: dict[str, list[dict[str, float]]] = {side: [] for side in sides}
        for process in sides.values():
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        for number in range(args.rounds):
            for side, process in sides.items():
                assert process.stdin is not None
                assert process.stdout is not None
                process.stdin.write(f"{number}\n")
                process.stdin.flush()
                said[side].append(json.loads(process.stdout.readline()))
        for process in sides.values():
            process.communicate()
    assert [x["sum"] for x in said["disk"]] == [x["sum"] for x in said["memory"]]
    found: dict[str, Any] = {"rows": args.rows, "bytes": size, "sides": said}
    lines = [
        *("# A population on disk", ""),
        "| units | ms a step, median | largest memory of the process, GiB | speed |",
        "|---|--:|--:|--:|",
    ]
    base = statistics.median(x["seconds"] for x in said["memory"])
    for side, name in (("memory", "in memory"), ("disk", "on disk, `arrow_units`")):
        seconds = statistics.median(x["seconds"] for x in said[side])
        peak = max(x["peak"] for x in said[side])
        lines.append(f"| {name} | {seconds * 1e3:.2f} | {peak / 2**30:.2f} | {base / seconds:.2f} |")
        print(lines[-1], flush=True)
    lines += [
        "",
        f"{args.rows:,} rows of {args.features} numbers ({size / 2**30:.2f} GiB), {COHORT} of them a step by Poisson "
        f"sampling, a network of {HIDDEN} hidden units, {args.rounds} rounds of {STEPS} steps in turns; both sides end "
        "with the same parameters.",
    ]
    (args.output / "stored_units.json").write_text(json.dumps(found, indent=1) + "\n")
    (args.output / "stored_units.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
