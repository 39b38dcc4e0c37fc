"""How far an engine can be ahead on a transformer: a step against its matmuls alone.

    python -m benchmarks.matmul_floor [--works transformer,transformer_lora] [--rounds 7]

Clipping saves no matmul of the ordinary gradient: forward, to the inputs, and to the trained parameters. Each of them
is timed alone as autodiff writes it, on operands that lie ready, and their times are added up; softmax, GELU, norms,
layout changes, clipping, noise and update would come on top. In the same rounds, in an order drawn anew each time, run
ordinary JAX, dpjax and jax_privacy in microbatches of 2, 4 and 8. The last ratio says about how far ahead of
jax_privacy an engine on the same matmul library can be. It is a yardstick and no bound: an engine may lay out products
better than autodiff does, and then takes less than the matmuls alone.

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

from benchmarks.step_time.catalogue import WORKS
from benchmarks.step_time.contestants import CONTESTANTS, Variant
from benchmarks.step_time.timing import COLD, Options, Runner, build, interleave, runner
from benchmarks.step_time.works import Work
from dpjax.clipping.program import aval

MICROBATCHES = (2, 4, 8)
STEPS = {"ordinary + noise": "ordinary+noise", "dpjax": "bookkeeping", "jax_privacy": "jax_privacy"}


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


def matmuls(work: Work, size: int) -> Counter[tuple[tuple[int, ...], tuple[int, ...], Any]]:
    """The distinct matmuls of one step of a work in microbatches of that size, with how often each is done."""
    part = jax.tree.map(lambda x: x[:size], work.units)

    def total(params: Any) -> jax.Array:
        return jnp.sum(jax.vmap(work.loss, (None, 0, None))(params, part, jax.random.key(0)))

    counts = Counter(dots(jax.make_jaxpr(jax.grad(total))(work.params).jaxpr))
    return Counter({dot: count * (work.batch // size) for dot, count in counts.items()})


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


def together(counts: Counter[tuple[tuple[int, ...], tuple[int, ...], Any]]) -> Runner:
    """What times all matmuls of a step, each alone."""
    alone = {dot: prepared(*dot) for dot in counts}
    return lambda inner: sum(alone[dot]() * count for dot, count in counts.items())


def measure(name: str, rounds: int) -> list[str]:
    """One work's rows of the table."""
    work = WORKS[name]()
    counts = {size: matmuls(work, size) for size in MICROBATCHES}
    runners = {("matmuls alone", size): together(counts[size]) for size in MICROBATCHES}
    for title, key in STEPS.items():
        for size in MICROBATCHES:
            runners[title, size] = runner(build(CONTESTANTS[key], work, Variant("plain", size)))
    for run in runners.values():
        run(1)
    by_name = {f"{title}, {size} units": run for (title, size), run in runners.items()}
    options = Options(least_rounds=rounds, most_rounds=rounds)
    times, failed = interleave(by_name, dict.fromkeys(by_name, COLD), options)
    if failed:
        raise SystemExit(f"{name}: {failed}")
    medians = {title: median(taken) for title, taken in times.items()}

    def best(title: str) -> float:
        return min(medians[f"{title}, {size} units"] for size in MICROBATCHES)

    floor = best("matmuls alone")
    lines = [f"| {name} | {title} | {ms:.0f} | {ms / floor:.2f} |" for title, ms in medians.items()]
    work_done = sum(flops(*dot) * n for dot, n in counts[MICROBATCHES[0]].items())
    rate = work_done / floor / 1e6
    lines.append(f"| {name} | {work_done / 1e9:.0f} GFLOP of matmuls, alone at {rate:.0f} GFLOP/s | | |")
    most, ahead = best("jax_privacy") / floor, best("jax_privacy") / best("dpjax")
    lines.append(f"| {name} | best jax_privacy / best dpjax | | {ahead:.2f} |")
    return [*lines, f"| {name} | **best jax_privacy / best matmuls alone** | | **{most:.2f}** |"]


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
