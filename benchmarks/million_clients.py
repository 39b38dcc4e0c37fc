"""A million clients beside ten thousand: seconds of each partition, ms of a round and memory of the process.

    python -m benchmarks.million_clients [--clients 1000000] [--beside 10000] [--output benchmarks/results]

Two rows of 8 numbers a client. Each partition, and each sampler with rounds of FedAvg over 100 clients, is a process of
its own, whose largest memory the system counts. Writes million_clients.json and million_clients.md.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

PARTITIONS = ("iid", "dirichlet", "shards", "quantity", "sampled", "natural", "natural, bounded")
SAMPLERS = ("poisson", "fixed_size", "shuffled", "cyclic", "balls_in_bins")
CLASSES, FEATURES, COHORT, ROUNDS = 10, 8, 100, 20


def _partition(name: str, clients: int) -> Callable[[], Any]:
    from dpjax import federated

    rng, rows = np.random.default_rng(0), 2 * clients
    labels = rng.integers(0, CLASSES, rows)
    owners = rng.permutation(np.append(np.arange(clients), rng.integers(0, clients, rows - clients)))
    return {
        "iid": lambda: federated.iid_partition(rows, clients, seed=0),
        "dirichlet": lambda: federated.dirichlet_partition(labels, clients, alpha=0.5, seed=0),
        "shards": lambda: federated.shard_partition(labels, clients, seed=0),
        "quantity": lambda: federated.quantity_partition(rows, clients, alpha=0.5, seed=0),
        "sampled": lambda: federated.sampled_partition(labels, clients, records_per_client=2, alpha=0.5, seed=0),
        "natural": lambda: federated.natural_partition(owners),
        "natural, bounded": lambda: federated.natural_partition(owners, max_records=1),
    }[name]


def _seconds_of_partition(name: str, clients: int) -> float:
    import jax

    make = _partition(name, clients)
    jax.block_until_ready(jax.numpy.zeros(1))
    began = time.perf_counter()
    jax.block_until_ready(make())
    return time.perf_counter() - began


def _seconds_of_round(sampler: str, clients: int) -> float:
    """Of FedAvg on a logistic model; what is compiled is not counted."""
    import jax
    import jax.numpy as jnp
    import optax

    from dpjax import HParams, federated, make_train
    from dpjax.population import Population
    from dpjax.sampling import SAMPLERS as KINDS

    rng, rows = np.random.default_rng(0), 2 * clients
    x = rng.standard_normal((rows, FEATURES), np.float32)
    examples = jax.tree.map(jnp.asarray, (x, x.argmax(1).astype(np.int32)))

    def loss_fn(params: Any, example: Any, key: Any) -> Any:
        logits = example[0] @ params
        return optax.softmax_cross_entropy_with_integer_labels(logits, example[1]), {}

    solver = federated.fedavg(loss_fn, optax.sgd(0.5), num_steps=5, batch_size=10)
    drawn_by = KINDS[sampler].at_rate(clients, COHORT / clients, num_steps=ROUNDS)

    def run(units: Any, examples: Any, hparams: HParams, key: Any) -> Any:
        train = make_train(
            lambda key: jnp.zeros((FEATURES, FEATURES)),
            solver,
            Population(units, examples),
            sampler=drawn_by,
            num_steps=ROUNDS,
            make_optimizer=lambda h: optax.sgd(h.learning_rate),
        )
        return train(hparams, key)[0].params

    call, units = jax.jit(run), federated.iid_partition(rows, clients, seed=0)
    seconds = []
    for number in range(4):  # the first compiles
        began = time.perf_counter()
        jax.block_until_ready(call(units, examples, HParams(0.5, 1.0, 0.3), jax.random.key(number)))
        seconds.append((time.perf_counter() - began) / ROUNDS)
    return float(np.median(seconds[1:]))


def serve(what: str, name: str, clients: int) -> None:
    """One measurement, as a line of JSON."""
    measure = _seconds_of_partition if what == "partition" else _seconds_of_round
    seconds = measure(name, clients)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"seconds": seconds, "peak": peak}))


def main() -> None:
    """Measure and write both files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=1_000_000)
    parser.add_argument("--beside", type=int, default=10_000)
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results"))
    parser.add_argument("--serve", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.serve:
        what, name = args.serve
        serve(what, name, args.clients)
        return

    def measured(what: str, name: str, clients: int) -> dict[str, float]:
        command = [sys.executable, "-m", "benchmarks.million_clients", "--serve", what, name, "--clients", str(clients)]
        return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)

    found: dict[str, Any] = {"clients": [args.beside, args.clients], "partition": {}, "round": {}}
    lines = [
        *("# A million clients", ""),
        f"| | {args.beside:,} clients | {args.clients:,} clients | largest memory of the process, GiB |",
        "|---|--:|--:|--:|",
    ]
    tasks = [("partition", name, 1.0, "s") for name in PARTITIONS] + [("round", name, 1e3, "ms") for name in SAMPLERS]
    for what, name, scale, unit in tasks:
        few, many = found[what][name] = [measured(what, name, clients) for clients in (args.beside, args.clients)]
        label = f"partition: {name}" if what == "partition" else f"a round, `{name}` sampling"
        times = " | ".join(f"{each['seconds'] * scale:.2f} {unit}" for each in (few, many))
        lines.append(f"| {label} | {times} | {few['peak'] / 2**30:.2f}, {many['peak'] / 2**30:.2f} |")
        print(lines[-1], flush=True)
    lines += [
        "",
        f"Two rows of {FEATURES} numbers a client, {CLASSES} classes; *bounded* keeps one row of each owner. A round"
        f" is one of FedAvg with {COHORT} clients and a logistic model, the median of three runs of {ROUNDS} rounds "
        "after one that compiled. Each line is a process of its own.",
    ]
    (args.output / "million_clients.json").write_text(json.dumps(found, indent=1) + "\n")
    (args.output / "million_clients.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
