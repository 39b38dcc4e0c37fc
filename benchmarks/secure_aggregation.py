"""What one securely aggregated round costs: keys, shares and recovery on the host, masks and their removal in JAX.

    python -m benchmarks.secure_aggregation [--rounds N]

100 clients with 100,000 parameters each, 10 % of whom drop out after they shared their keys; threshold 50. Target: 2 s
a round. The whole is one call of a compiled secure sum, beside the plain clipped sum of the same cohort; the parts are
timed by themselves. Written to benchmarks/results/secure_aggregation.json and .md.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dpjax import Cohort, clipped_sum, example_gradient
from dpjax.federated import secure_aggregation
from dpjax.federated.aggregation.key_agreement import agree
from dpjax.federated.aggregation.masking import masked_vectors, unmasked_sum

CLIENTS, SIZE, THRESHOLD, DROPOUT, TARGET = 100, 100_000, 50, 0.1, 2.0
RESULTS = Path(__file__).parent / "results"


def timed(call: Callable[[], Any], rounds: int) -> list[float]:
    """Seconds of each call after the first."""
    jax.block_until_ready(call())
    seconds = []
    for _ in range(rounds):
        began = time.perf_counter()
        jax.block_until_ready(call())
        seconds.append(time.perf_counter() - began)
    return seconds


def contestants() -> dict[str, Callable[[], Any]]:
    """Every row of the table as a call."""
    rng = np.random.default_rng(0)
    rows = jnp.asarray(rng.normal(size=(CLIENTS, SIZE)), jnp.float32)
    cohort, params = Cohort(rows, jnp.ones(CLIENTS, bool)), jnp.zeros(SIZE)
    contribution = example_gradient(lambda w, x, key: w @ x)
    secure = secure_aggregation(threshold=THRESHOLD, dropout_rate=DROPOUT)
    unmasked = secure_aggregation(threshold=THRESHOLD, dropout_rate=DROPOUT, masks=False)
    key = jax.random.key(0)
    sums = {
        "secure, whole round": jax.jit(secure(clipped_sum)(contribution)),
        "secure without masks": jax.jit(unmasked(clipped_sum)(contribution)),
        "plain": jax.jit(clipped_sum(contribution)),
    }
    calls: dict[str, Callable[[], Any]] = {
        name: lambda fun=fun: fun(params, cohort, key, 1.0).total for name, fun in sums.items()
    }
    present = np.ones(CLIENTS, bool)
    arrived = rng.random(CLIENTS) >= DROPOUT
    done = agree(present, arrived, arrived, THRESHOLD)
    seeds = [jnp.asarray(x) for x in done[:4]]
    words = jnp.asarray(rng.integers(0, 2**32, (CLIENTS, SIZE), dtype=np.uint32))
    mask, unmask = jax.jit(masked_vectors), jax.jit(unmasked_sum)
    uploads = mask(words, *seeds[:2], jnp.asarray(present))
    exact = np.asarray(words)[arrived].sum(0, dtype=np.uint32)
    total = unmask(uploads, *seeds[2:], jnp.asarray(present), jnp.asarray(arrived))
    assert (np.asarray(total) == exact).all()
    calls["part: keys, shares, recovery"] = lambda: agree(present, arrived, arrived, THRESHOLD)[0]
    calls["part: masks of all clients"] = lambda: mask(words, *seeds[:2], jnp.asarray(present))
    calls["part: their removal"] = lambda: unmask(uploads, *seeds[2:], jnp.asarray(present), jnp.asarray(arrived))
    return calls


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--output", type=Path, default=RESULTS)
    options = parser.parse_args()
    seconds = {name: timed(call, options.rounds) for name, call in contestants().items()}
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    met = "met" if medians["secure, whole round"] <= TARGET else "MISSED"
    lines = [
        f"# Secure aggregation: {CLIENTS} clients × {SIZE:,} parameters, {DROPOUT:.0%} dropout, threshold {THRESHOLD}",
        "",
        "| | median s | least | most |",
        "|---|---:|---:|---:|",
        *(f"| {name} | {medians[name]:.3f} | {min(v):.3f} | {max(v):.3f} |" for name, v in seconds.items()),
        "",
        f"Target {TARGET:g} s a round: {met}. {options.rounds} rounds; {jax.devices()[0].device_kind}.",
    ]
    options.output.mkdir(parents=True, exist_ok=True)
    (options.output / "secure_aggregation.md").write_text("\n".join(lines) + "\n")
    (options.output / "secure_aggregation.json").write_text(json.dumps(seconds, indent=1) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
