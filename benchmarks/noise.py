"""Gaussian noise for a model's parameters: dpjax's sampler against ``jax.random.normal``, which draws the same numbers.

    python -m benchmarks.noise

Prints medians of interleaved calls that add noise to an array of that shape. Written to benchmarks/results/noise.md.
"""

import time
from pathlib import Path
from statistics import median

import jax
import jax.numpy as jnp

from dpjax.gaussian import standard_normal

SHAPES = ((10,), (784, 10), (784, 128), (384, 1536), (1000, 1000), (10_000, 1000))
SAMPLERS = {
    "jax.random.normal": jax.random.normal,
    "the same, jax_threefry_partitionable=False": None,
    "dpjax": standard_normal,
}


def compiled(name: str, shape: tuple[int, ...]) -> jax.stages.Compiled:
    """``(x, key, scale) -> x + scale · noise`` by a sampler of the table, for an array of that shape."""
    sampler = SAMPLERS[name]
    with jax.threefry_partitionable(sampler is not None):
        draw = sampler or jax.random.normal
        step = jax.jit(lambda x, key, scale: x + scale * draw(key, x.shape))
        return step.lower(jnp.ones(shape), jax.random.key(3), jnp.float32(2)).compile()


def main() -> None:
    lines = ["# Noise", "", f"| shape | {' | '.join(f'{name}, ms' for name in SAMPLERS)} | ratio |", "|---" * 5 + "|"]
    key, scale = jax.random.key(3), jnp.float32(2)
    for shape in SHAPES:
        x = jnp.ones(shape)
        calls = {name: compiled(name, shape) for name in SAMPLERS}
        times: dict[str, list[float]] = {name: [] for name in calls}
        for turn in range(5 if x.size > 2**22 else 60):
            for name, call in calls.items():
                started = time.perf_counter()
                jax.block_until_ready(call(x, key, scale))
                if turn:
                    times[name].append((time.perf_counter() - started) * 1e3)
        medians = [median(taken) for taken in times.values()]
        shown = " | ".join(f"{ms:.3f}" for ms in medians)
        lines.append(f"| {' × '.join(map(str, shape))} | {shown} | {medians[0] / medians[-1]:.1f} |")
        print(lines[-1], flush=True)
    (Path(__file__).parent / "results" / "noise.md").write_text("\n".join([*lines, ""]), encoding="utf-8")


if __name__ == "__main__":
    main()
