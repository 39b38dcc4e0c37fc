"""The planner's cost model against the clock: every strategy on dense places of many shapes.

    python -m benchmarks.planner [--quick]

For each shape (positions, rows, columns) and number of units, each strategy computes the units' norms and the weighted
sum, in turn. Printed are measured microseconds per unit, the planner's choice, the fastest, and the regret: the time of
the choice over that of the fastest. Written to benchmarks/results/planner.json and .md.
"""

import json
import statistics
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp

from dpjax.clipping.one_pass import factors as fx
from dpjax.clipping.one_pass.planner import strategy_costs
from dpjax.clipping.rules import weighted_product

# positions, rows, columns, units
SHAPES = [
    (1, 784, 128, 256), (16, 64, 64, 64), (16, 384, 384, 16), (49, 288, 64, 32), (64, 768, 768, 8),
    (128, 384, 384, 8), (128, 384, 1536, 8), (128, 1536, 384, 8), (128, 384, 8, 8), (128, 8, 384, 8),
    (128, 384, 2048, 8), (144, 64, 16, 64), (25, 256, 32, 64), (512, 128, 128, 8), (512, 768, 768, 2),
    (1024, 27, 64, 16), (1024, 64, 64, 16),
]  # fmt: skip


def step(strategy: str, left: jax.Array, right: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Norms, then the sum weighted by them, as the engine computes them."""
    if strategy in ("product", "kept") and left.shape[-1] > right.shape[-1] > 1:
        left, right = right, left  # products are formed with their longer side last
    part = fx.Factors(left[:, None], right[:, None], None)
    rows = left.shape[-1]
    product = None
    if strategy == "rank_one":
        norms = fx.rank_one_squares(part, jnp.float32(1)).values
    elif strategy == "gram":
        norms = fx.gram_squares([part], jnp.float32(1)).values
    else:
        product = fx.product(part, rows)
        norms = jnp.sum(jnp.square(product), axis=(1, 2, 3))
    scale = jnp.minimum(1.0, jax.lax.rsqrt(norms))
    # As in the engine, nothing can be summed before every norm is known.
    scale, part, product = jax.lax.optimization_barrier((scale, part, product))
    if strategy == "kept":
        assert product is not None
        return norms, weighted_product(scale, product)
    return norms, fx.weighted(part, scale, rows)


def measure(shape: tuple[int, int, int, int], rounds: int) -> dict[str, float]:
    """Median microseconds per unit of each strategy, calls in turn."""
    positions, rows, columns, units = shape
    keys = jax.random.split(jax.random.key(0))
    left = jax.random.normal(keys[0], (units, positions, rows))
    right = jax.random.normal(keys[1], (units, positions, columns))
    names = list(strategy_costs(fx.Size(1, positions, rows, columns), units))
    steps = {name: jax.jit(step, static_argnums=0) for name in names}
    times: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(rounds + 1):
        for name in names:
            start = time.perf_counter()
            jax.block_until_ready(steps[name](name, left, right))
            if turn:
                times[name].append((time.perf_counter() - start) * 1e6 / units)
    return {name: statistics.median(taken) for name, taken in times.items()}


def main() -> None:
    rounds = 5 if "--quick" in sys.argv else 25
    lines = [
        "| positions × rows × columns, units | " + "measured µs per unit | choice | fastest | regret |",
        "|---" * 5 + "|",
    ]
    table = []
    for shape in SHAPES:
        measured = measure(shape, rounds)
        costs = strategy_costs(fx.Size(1, *shape[:3]), shape[3])
        choice, fastest = min(costs, key=costs.__getitem__), min(measured, key=measured.__getitem__)
        regret = measured[choice] / measured[fastest]
        table.append({"shape": shape, "measured": measured, "estimated_ns": costs, "choice": choice, "regret": regret})
        shown = ", ".join(f"{name} {t:.0f}" for name, t in measured.items())
        lines.append(
            f"| {shape[0]} × {shape[1]} × {shape[2]}, {shape[3]} | {shown} | {choice} | {fastest} | {regret:.2f} |"
        )
        print(lines[-1], [f"{name} {cost / 1e3:.0f}" for name, cost in costs.items()], flush=True)
    worst, mean = max(r["regret"] for r in table), statistics.geometric_mean(r["regret"] for r in table)
    lines += ["", f"Regret: worst {worst:.2f}, geometric mean {mean:.3f}."]
    print(lines[-1])
    folder = Path(__file__).parent / "results"
    (folder / "planner.json").write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")
    (folder / "planner.md").write_text("\n".join(["# The planner's choice against the fastest", "", *lines]) + "\n")


if __name__ == "__main__":
    main()
