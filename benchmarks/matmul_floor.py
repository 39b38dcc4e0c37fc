"""How far any engine could be ahead on a transformer: a step against its matmuls alone.

    python -m benchmarks.matmul_floor [--works transformer,transformer_lora] [--rounds 7]

Clipping saves no matmul of the ordinary gradient: forward, to the inputs, and to the trained parameters. Each of them
is timed alone, on operands that lie ready, and their times are added up; softmax, GELU, norms, layout changes,
clipping, noise and update would come on top. In the same rounds run ordinary JAX, dpjax and jax_privacy. No engine on
the same matmul library can be faster than jax_privacy by more than the last ratio.

Written to benchmarks/results/matmul_floor.md.
"""

import argparse
import time
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import Jaxpr

from benchmarks.step_time.contestants import CONTESTANTS, Variant
from benchmarks.step_time.timing import build, runner
from benchmarks.step_time.works import WORKS, Work
from dpjax.clipping.program import aval

MICROBATCH = 8
STEPS = {
    "ordinary + noise": ("ordinary+noise", Variant("plain", MICROBATCH)),
    "dpjax auto": ("auto", Variant("plain", None)),
    "jax_privacy": ("jax_privacy", Variant("plain", MICROBATCH)),
}


def dots(jaxpr: Jaxpr) -> Iterator[tuple[tuple[int, ...], tuple[int, ...], Any]]:
    """Operand shapes and dimension numbers of every matmul in a program, called functions included."""
    for eqn in jaxpr.eqns:
        if eqn.primitive.name == "dot_general":
            left, right = (tuple(aval(v).shape) for v in eqn.invars)
            yield left, right, eqn.params["dimension_numbers"]
        for value in eqn.params.values():
            inner = getattr(value, "jaxpr", None)
            if inner is not None:
                yield from dots(inner)


def matmuls(work: Work) -> Counter[tuple[tuple[int, ...], tuple[int, ...], Any]]:
    """The distinct matmuls of one step of a work, in microbatches, with how often each is done."""
    part = jax.tree.map(lambda x: x[:MICROBATCH], work.units)

    def total(params: Any) -> jax.Array:
        return jnp.sum(jax.vmap(work.loss, (None, 0, None))(params, part, jax.random.key(0)))

    found = Counter(dots(jax.make_jaxpr(jax.grad(total))(work.params).jaxpr))
    return Counter({dot: count * (work.batch // MICROBATCH) for dot, count in found.items()})


def flops(left: tuple[int, ...], right: tuple[int, ...], numbers: Any) -> float:
    """Of one matmul."""
    out = jax.eval_shape(partial(jax.lax.dot_general, dimension_numbers=numbers), *map(_shape, (left, right)))
    contracted = 1
    for axis in numbers[0][0]:
        contracted *= left[axis]
    return 2.0 * out.size * contracted


def _shape(shape: tuple[int, ...]) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape, jnp.float32)


def prepared(left: tuple[int, ...], right: tuple[int, ...], numbers: Any) -> Callable[[], float]:
    """What times one matmul, in milliseconds."""
    operands = [jax.random.normal(jax.random.key(i), shape) for i, shape in enumerate((left, right))]
    compiled = jax.jit(partial(jax.lax.dot_general, dimension_numbers=numbers)).lower(*operands).compile()

    def run() -> float:
        jax.block_until_ready(compiled(*operands))
        started = time.perf_counter()
        for _ in range(5):
            jax.block_until_ready(compiled(*operands))
        return (time.perf_counter() - started) / 5 * 1e3

    return run


def measure(name: str, rounds: int) -> list[str]:
    """One work's rows of the table."""
    work = WORKS[name]()
    counts = matmuls(work)
    steps = {title: runner(build(CONTESTANTS[key], work, variant)) for title, (key, variant) in STEPS.items()}
    alone = {dot: prepared(*dot) for dot in counts}
    times: dict[str, list[float]] = {title: [] for title in ("matmuls alone", *steps)}
    for _ in range(rounds):
        times["matmuls alone"].append(sum(alone[dot]() * count for dot, count in counts.items()))
        for title, run in steps.items():
            times[title].append(run(1))
    medians = {title: median(taken) for title, taken in times.items()}
    floor, work_done = medians["matmuls alone"], sum(flops(*dot) * n for dot, n in counts.items())
    lines = [f"| {name} | {title} | {ms:.0f} | {ms / floor:.2f} |" for title, ms in medians.items()]
    rate = work_done / floor / 1e6
    lines.append(f"| {name} | {work_done / 1e9:.0f} GFLOP of matmuls, alone at {rate:.0f} GFLOP/s | | |")
    most = medians["jax_privacy"] / floor
    return [*lines, f"| {name} | **jax_privacy / matmuls alone: no engine can win more** | | **{most:.2f}** |"]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--works", default="transformer,transformer_lora", help=f"some of {', '.join(WORKS)}")
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    lines = [
        "# A transformer's step against its matmuls alone",
        "",
        (__doc__ or "").split("\n\n")[2].replace("\n", " "),
    ]
    lines += ["", "| work | | ms | × matmuls |", "|---|---|---:|---:|"]
    for name in arguments.works.split(","):
        rows = measure(name, arguments.rounds)
        print("\n".join(rows), flush=True)
        lines += rows
    (Path(__file__).parent / "results" / "matmul_floor.md").write_text("\n".join([*lines, ""]), encoding="utf-8")


if __name__ == "__main__":
    main()
