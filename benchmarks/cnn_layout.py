"""How much the layout of convolution and pooling matters to per-example gradients on CPU.

Trains the package's CNNs with clipped per-example gradients inside one jitted scan, once on ``nnx.Conv`` and
``nnx.max_pool`` and once on ``dpjax.models``' own, in turns, and writes ``results/cnn_layout.{json,md}``.

    python -m benchmarks.cnn_layout            # about two minutes on 2 cores
"""

import argparse
import json
import os
import platform
import time
from pathlib import Path
from statistics import median
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax

from dpjax.models import Model, cnn, cross_entropy_loss, from_nnx
from dpjax.models.convolutional_networks import SMALL, TUTORIAL, ConvNet

RESULTS = Path(__file__).parent / "results"
BATCH = 256
IMAGES = {"28×28": ((28, 28, 1), TUTORIAL), "8×8": ((8, 8, 1), SMALL)}


def models(image: str) -> dict[str, Model]:
    """The same network on Flax's layers and on ours, with the same parameters."""
    shape, blocks = IMAGES[image]

    def flax_layers(rngs: nnx.Rngs) -> nnx.Module:
        return ConvNet(10, shape, blocks, 32, "tanh", rngs, conv=nnx.Conv, pool=nnx.max_pool)

    return {"nnx": from_nnx(flax_layers), "dpjax": cnn(10, shape)}


def training(model: Model, microbatch: int) -> Any:
    """Several DP-SGD steps without noise: scan of steps, scan of microbatches, vmap of gradients, clip, sum."""
    gradient = jax.grad(lambda params, x, y: cross_entropy_loss(model)(params, (x, y), None)[0])

    def step(params: Any, batch: tuple[jax.Array, jax.Array]) -> tuple[Any, None]:
        def add(total: Any, part: tuple[jax.Array, jax.Array]) -> tuple[Any, None]:
            grads = jax.vmap(gradient, (None, 0, 0))(params, *part)
            squares = [jnp.sum(jnp.square(leaf.reshape(microbatch, -1)), axis=1) for leaf in jax.tree.leaves(grads)]
            scale = jnp.minimum(1.0, 1.0 / jnp.sqrt(sum(squares)))
            return jax.tree.map(lambda t, g: t + jnp.tensordot(scale, g, 1), total, grads), None

        parts = jax.tree.map(lambda a: a.reshape(-1, microbatch, *a.shape[1:]), batch)
        total, _ = lax.scan(add, jax.tree.map(jnp.zeros_like, params), parts)
        return jax.tree.map(lambda p, t: p - 0.1 * t / BATCH, params, total), None

    return jax.jit(lambda params, batches: lax.scan(step, params, batches)[0])


def measure(image: str, microbatch: int, *, steps: int, repeats: int) -> dict[str, Any]:
    """Times both layouts in turns, so that what else the machine does hits both."""
    shape, _ = IMAGES[image]
    image_key, label_key, init_key = jax.random.split(jax.random.key(0), 3)
    inputs = jax.random.uniform(image_key, (steps, BATCH, *shape))
    batches = inputs, jax.random.randint(label_key, (steps, BATCH), 0, 10)
    runs, compile_seconds, ends = {}, {}, []
    for name, model in models(image).items():
        params = model.init(init_key)
        start = time.perf_counter()
        runs[name] = training(model, microbatch).lower(params, batches).compile(), params
        compile_seconds[name] = time.perf_counter() - start
        ends.append(jax.block_until_ready(runs[name][0](params, batches)))
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(repeats):
        for name, (run, params) in runs.items():
            start = time.perf_counter()
            jax.block_until_ready(run(params, batches))
            seconds[name].append((time.perf_counter() - start) / steps)
    return {
        "image": image,
        "batch": BATCH,
        "microbatch": microbatch,
        "nnx_ms": 1e3 * median(seconds["nnx"]),
        "dpjax_ms": 1e3 * median(seconds["dpjax"]),
        "ratio": median(a / b for a, b in zip(seconds["nnx"], seconds["dpjax"], strict=True)),
        "nnx_compile_s": compile_seconds["nnx"],
        "dpjax_compile_s": compile_seconds["dpjax"],
        "max_difference": max(float(jnp.abs(a - b).max()) for a, b in zip(*map(jax.tree.leaves, ends), strict=True)),
    }


def markdown(rows: list[dict[str, Any]], machine: str) -> str:
    """The table as the docs show it."""
    lines = [
        "| image | batch | microbatch | nnx, ms a step | dpjax, ms a step | times faster |",
        "|---|--:|--:|--:|--:|--:|",
    ]
    lines += [
        "| {image} | {batch} | {microbatch} | {nnx_ms:.1f} | {dpjax_ms:.1f} | {ratio:.1f} |".format(**row)
        for row in rows
    ]
    return "\n".join([*lines, "", f"Medians, the two in turns; {machine}.", ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=3, help="training steps in one timed call")
    parser.add_argument("--repeats", type=int, default=9, help="timed calls of each layout")
    parser.add_argument("--microbatch", type=int, nargs="+", default=[16, 32, 64], help="must divide 256")
    options = parser.parse_args()
    load = os.getloadavg()[0]
    device = jax.devices()[0]
    machine = (
        f"{device.platform} {device.device_kind}, {os.cpu_count()} cores, {platform.machine()}, jax {jax.__version__}, "
        f"load {load:.1f} at the start"
    )
    rows = []
    for image in IMAGES:
        for microbatch in options.microbatch:
            rows.append(measure(image, microbatch, steps=options.steps, repeats=options.repeats))
            print("{image} microbatch {microbatch}: {ratio:.1f} times faster".format(**rows[-1]), flush=True)
    table = markdown(rows, machine)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "cnn_layout.json").write_text(json.dumps({"machine": machine, "rows": rows}, indent=1) + "\n")
    (RESULTS / "cnn_layout.md").write_text(table)
    print(f"\n{table}\nwritten to {RESULTS}/cnn_layout.json and .md")


if __name__ == "__main__":
    main()
