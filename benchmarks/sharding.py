"""One training step on 1, 2, 4 and 8 devices: memory a device and bytes moved, as XLA counts them, and agreement.

    python -m benchmarks.sharding [--width 512] [--output benchmarks/results]

The devices are those that one CPU pretends to be, so that nothing is timed. A step is one microbatch of 8 units under
Adam; the same step on one device is what agreement and shares are of. Writes sharding.json and sharding.md.
"""

import argparse
import json
import math
import os
import re
from collections import Counter
from pathlib import Path
from typing import Any

os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8"

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jax.sharding import AxisType, Mesh

from dpjax import HParams, example_gradient, fixed_size_sampler, make_train
from dpjax.clipping import Engine, Summing
from dpjax.models.transformers import tiny
from dpjax.models.transformers.layers import Added
from dpjax.models.transformers.transformer import Head, Plan, Transformer

MESHES = ((1, 1), (1, 2), (1, 4), (1, 8), (2, 4), (4, 2), (8, 1))
"""(devices that share the units, devices that share the parameters)"""
_UNITS = 8
_BYTES = {"f32": 4, "s32": 4, "u32": 4, "f64": 8, "s64": 8, "bf16": 2, "pred": 1}
_MOVED = re.compile(
    r"= (\(.*?\)|\S+) (all-gather|all-reduce|all-to-all|collective-permute|reduce-scatter)(?:-start)?\("
)
_ARRAY = re.compile(r"(\w+)\[([\d,]*)\]")


def dense(width: int) -> tuple[Any, Any, Any]:
    """(init, loss, units) of a network of four square layers."""

    def init(key: jax.Array) -> Any:
        keys = jax.random.split(key, 4)
        return [jax.random.normal(each, (width, width)) / width**0.5 for each in keys]

    def loss(params: Any, row: Any, key: Any) -> Any:
        for weights in params:
            row = jnp.tanh(row @ weights)
        return jnp.mean((row - 1) ** 2), {}

    return init, loss, np.random.default_rng(0).normal(size=(4 * _UNITS, width)).astype(np.float32)


def transformer(width: int) -> tuple[Any, Any, Any]:
    """(init, loss, units) of a GPT-2 of two layers over 64 tokens."""
    arch = tiny("gpt2", vocab_size=2048, width=width, num_heads=8, num_kv_heads=8, head_width=width // 8,
                hidden_width=4 * width, max_length=64)  # fmt: skip

    def module(key: jax.Array) -> Transformer:
        return Transformer(arch, Head("causal"), Added(), Plan(), rngs=nnx.Rngs(key))

    graph, _ = nnx.split(nnx.eval_shape(lambda: module(jax.random.key(0))))

    def init(key: jax.Array) -> Any:
        return nnx.split(module(key))[1]

    def loss(params: Any, ids: Any, key: Any) -> Any:
        logits = nnx.merge(graph, params)(ids)
        return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(logits[:-1], ids[1:])), {}

    ids = np.random.default_rng(0).integers(0, 2048, size=(4 * _UNITS, 64)).astype(np.int32)
    return init, loss, ids


def measure(kind: tuple[Any, Any, Any], mesh: Mesh | None, engine: str = "microbatch") -> tuple[dict[str, Any], Any]:
    """What XLA says of a step, and the parameters after it."""
    init, loss, units = kind
    train = make_train(
        init,
        example_gradient(loss),
        units,
        sampler=fixed_size_sampler(len(units), _UNITS),
        num_steps=1,
        make_optimizer=lambda h: optax.adam(h.learning_rate, eps=1e-3),
        sum_factory=Summing(engine=Engine(engine, microbatch_size=_UNITS, mesh=mesh)),
    )
    hparams = HParams(learning_rate=0.01, clip_norm=1.0, noise_multiplier=0.1)
    key = jax.random.key(1)
    begun = jax.jit(train.begin)(hparams, key)
    step = jax.jit(train.advance, donate_argnums=0).lower(begun, 0, 1, hparams, key).compile()
    memory = step.memory_analysis()
    assert memory is not None
    kept = memory.argument_size_in_bytes + memory.output_size_in_bytes - memory.alias_size_in_bytes
    moved: Counter[str] = Counter()
    for shapes, what in _MOVED.findall(step.as_text() or ""):
        moved[what] += sum(
            _BYTES[dtype] * math.prod(int(n) for n in lengths.split(",") if n)
            for dtype, lengths in _ARRAY.findall(shapes)
        )
    after = jax.device_get(step(begun, 0, 1, hparams, key).state.params)
    return {"kept": kept, "temporary": memory.temp_size_in_bytes, "moved": dict(moved)}, after


def main() -> None:
    """Measure and write both files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results"))
    args = parser.parse_args()
    found: dict[str, Any] = {}
    lines = [
        *("# One step on several devices", ""),
        "| model | units × parameters over | memory a device, MiB | of one device | MiB moved to a device "
        "| largest difference |",
        "|---|--:|--:|--:|--:|--:|",
    ]
    for name, make in (("4 dense layers", dense), ("transformer", transformer)):
        kind, alone, params = make(args.width), 0.0, None
        for shape, engine in [(shape, "microbatch") for shape in MESHES] + [((1, 1), "bookkeeping")]:
            mesh = None
            if shape != (1, 1):
                devices = jax.devices()[: shape[0] * shape[1]]
                mesh = jax.make_mesh(shape, ("data", "model"), axis_types=(AxisType.Auto,) * 2, devices=devices)
            point, after = measure(kind, mesh, engine)
            bytes_here = point["kept"] + point["temporary"]
            if params is None:
                alone, params = bytes_here, after
            gaps = jax.tree.map(lambda x, y: float(np.max(np.abs(x - y))), params, after)
            point |= {"share": bytes_here / alone, "difference": max(jax.tree.leaves(gaps))}
            found[f"{name} {shape[0]}x{shape[1]} {engine}"] = point
            where = f"{shape[0]} × {shape[1]}" if engine == "microbatch" else "one device, `bookkeeping`"
            moved = sum(point["moved"].values())
            lines.append(
                f"| {name} | {where} | {bytes_here / 2**20:.1f} | {point['share']:.2f} "
                f"| {moved / 2**20:.2f} | {point['difference']:.0e} |"
            )
            print(lines[-1], flush=True)
    lines += [
        "",
        f"A step of {_UNITS} units in one microbatch, with Adam; width {args.width}. Memory is what lies on a device: "
        "parameters, moments, gradients of each unit, their sum, noise. Moved is the size of the results of all "
        f"messages. `bookkeeping` forms no unit's gradient, and runs where each device holds all parameters. "
        "8 devices that one CPU pretends to be, jax {jax.__version__}.",
    ]
    (args.output / "sharding.json").write_text(json.dumps(found, indent=1) + "\n")
    (args.output / "sharding.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
