"""What bounds a round of the CNN: its local steps' matmuls alone, beside the whole round, in turns.

    python -m benchmarks.federated_rounds.floor [--work cnn] [--seconds 60] [--microbatch 5]

The matmuls are those in the gradient of one local step, of the same shapes and as many as a round of the expected
cohort has, with nothing between them. Processor time tells more than the clock where others compute beside it.
"""

import argparse
import time
from collections.abc import Callable, Iterator
from statistics import median
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from benchmarks.federated_rounds.contestants import dpjax_rounds
from benchmarks.federated_rounds.works import WORKS, Work
from dpjax.clipping.program import inner_jaxprs
from dpjax.models.model import cross_entropy_loss

ROUNDS = 2
"""In one turn."""


class Matmul(NamedTuple):
    """A ``dot_general`` of one client's local step.

    Attributes:
      left, right: shapes and dtypes.
      params: of the primitive.
      operations: multiplications and additions.
    """

    left: jax.ShapeDtypeStruct
    right: jax.ShapeDtypeStruct
    params: dict[str, Any]
    operations: int


def matmuls(work: Work) -> list[Matmul]:
    """Those in the gradient of one batch's mean loss."""
    loss_fn = cross_entropy_loss(work.model)

    def mean_loss(params: Any, inputs: Any, labels: Any) -> jax.Array:
        return jax.vmap(lambda x, y: loss_fn(params, (x, y), None)[0])(inputs, labels).mean()

    batch = work.inputs[: work.batch], work.labels[: work.batch]
    return list(_dots(jax.make_jaxpr(jax.grad(mean_loss))(work.start, *batch).jaxpr))


def _dots(jaxpr: Any) -> Iterator[Matmul]:
    for eqn in jaxpr.eqns:
        if eqn.primitive.name == "dot_general":
            left, right = (jax.ShapeDtypeStruct(v.aval.shape, v.aval.dtype) for v in eqn.invars)
            (contracted, _), _ = eqn.params["dimension_numbers"]
            terms = 1
            for axis in contracted:
                terms *= left.shape[axis]
            yield Matmul(left, right, dict(eqn.params), 2 * terms * eqn.outvars[0].aval.size)
        for inner in inner_jaxprs(eqn):
            yield from _dots(inner)


def alone(work: Work, microbatch: int) -> Callable[[], Any]:
    """A round's matmuls for ``microbatch`` clients at once, one step after another; compiled."""
    dots = matmuls(work)
    keys = jax.random.split(jax.random.key(0), 2 * len(dots))
    shapes = [shape for dot in dots for shape in (dot.left, dot.right)]
    drawn = [jax.random.normal(k, (microbatch, *s.shape), s.dtype) for k, s in zip(keys, shapes, strict=True)]
    operands = list(zip(drawn[::2], drawn[1::2], strict=True))

    def step(moved: jax.Array, _: None) -> tuple[jax.Array, None]:
        for dot, (left, right) in zip(dots, operands, strict=True):
            # The smaller operand changes with what came before: nothing can be computed once for all steps.
            if left.size < right.size:
                left = left + moved
            else:
                right = right + moved
            out = jax.vmap(lambda a, b, dot=dot: lax.dot_general_p.bind(a, b, **dot.params))(left, right)
            moved = 1e-30 * lax.optimization_barrier(out).reshape(-1)[0]
        return moved, None

    steps = work.local_steps * -(-work.cohort // microbatch)
    compiled = jax.jit(lambda x: lax.scan(step, x, None, length=steps)[0]).lower(jnp.float32(0)).compile()
    return lambda: jax.block_until_ready(compiled(jnp.float32(0)))


def timed(run: Callable[[], Any], rounds: int) -> tuple[float, float]:
    """Milliseconds per round, by the clock and of the processor."""
    wall, cpu = time.perf_counter(), time.process_time()
    run()
    return (time.perf_counter() - wall) / rounds * 1e3, (time.process_time() - cpu) / rounds * 1e3


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--work", default="cnn", choices=list(WORKS))
    parser.add_argument("--seconds", type=float, default=60.0, help="of turns")
    parser.add_argument("--microbatch", type=int, default=5, help="clients whose matmuls are one batched matmul")
    arguments = parser.parse_args()
    work = WORKS[arguments.work]()
    whole, bare = dpjax_rounds(work, ROUNDS), alone(work, arguments.microbatch)
    sides = {
        "the whole round": (lambda: jax.block_until_ready(whole.train()), ROUNDS),
        "its matmuls alone": (bare, 1),
    }
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in sides}
    started = time.perf_counter()
    while time.perf_counter() - started < arguments.seconds or len(times["the whole round"]) < 3:
        for name, (run, rounds) in sides.items():
            times[name].append(timed(run, rounds))
    operations = work.cohort * work.local_steps * sum(dot.operations for dot in matmuls(work))
    print(f"{arguments.work}: {operations / 1e9:.1f} GFLOP of matmuls a round of {work.cohort} clients")
    print("| | ms a round | ms of the processor | GFLOP a second of the processor |\n|---|---:|---:|---:|")
    for name, measured in times.items():
        wall, cpu = (median(column) for column in zip(*measured, strict=True))
        print(f"| {name} | {wall:.0f} | {cpu:.0f} | {operations / cpu / 1e6:.0f} |")
    pairs = zip(times["the whole round"], times["its matmuls alone"], strict=True)
    print(f"Were all but the matmuls free, a round would be {median(a[1] / b[1] for a, b in pairs):.2f} × as fast.")


if __name__ == "__main__":
    main()
