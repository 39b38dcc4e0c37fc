"""Bytes and accuracy of every compression: ``python -m benchmarks.compression``.

DP-FedAvg on the handwritten digits, with and without noise; figures are a seed's, so that .01 between rows says little.
"""

import jax
import jax.numpy as jnp
import optax

from dpjax import HParams, Population, fixed_size_sampler, make_train
from dpjax.datasets import load
from dpjax.federated import (
    Solver,
    count_sketch,
    fedavg,
    iid_partition,
    quantized,
    random_k,
    remember_residual,
    top_k,
)
from dpjax.metrics import accuracy
from dpjax.models import cross_entropy_loss, mlp

CLIENTS, COHORT, ROUNDS = 100, 50, 60


def compressions(plain: Solver) -> dict[str, Solver]:
    """Name → FedAvg whose messages are so compressed."""
    send = plain.contribution_fn

    def sending(contribution_fn):
        return plain._replace(contribution_fn=contribution_fn)

    def sketched(rows, columns):
        return count_sketch(plain, rows=rows, columns=columns, key=jax.random.key(5))

    fed_back = sending(top_k(send, 0.1, error_feedback=True))
    return {
        "whole": plain,
        **{f"quantized, {bits} bits": sending(quantized(send, bits)) for bits in (8, 4, 2)},
        "random_k, a tenth": sending(random_k(send, 0.1)),
        "top_k, a tenth": sending(top_k(send, 0.1)),
        "top_k, a tenth, fed back": fed_back._replace(init_unit_state=remember_residual()),
        "count_sketch, one row of 1,000": sketched(1, 1000),
        "count_sketch, five rows of 200": sketched(5, 200),
    }


def main() -> None:
    data = load("digits")
    model = mlp(data.num_classes, data.input_shape)
    clients = iid_partition(len(data.train_labels), CLIENTS, seed=0)
    plain = fedavg(cross_entropy_loss(model), optax.sgd(0.3), num_steps=5, batch_size=10)
    size = sum(x.size for x in jax.tree.leaves(jax.eval_shape(model.init, jax.random.key(0))))
    print(f"digits, MLP of {size:,} parameters, {COHORT} of {CLIENTS} clients in {ROUNDS} rounds, clip norm 1\n")
    print("| message | bytes | no noise | noise multiplier 1 |\n|---|--:|--:|--:|")
    for name, solver in compressions(plain).items():
        train = make_train(
            model.init,
            solver,
            Population(clients, examples=(data.train_inputs, data.train_labels)),
            sampler=fixed_size_sampler(CLIENTS, COHORT),
            num_steps=ROUNDS,
            make_optimizer=lambda h: optax.sgd(h.learning_rate),
        )
        run, found = jax.jit(train), []
        for noise in (0.0, 1.0):
            hparams = HParams(learning_rate=1.0, clip_norm=1.0, noise_multiplier=noise)
            state, history = run(hparams, jax.random.key(0))
            logits = jax.vmap(lambda x: model.apply(state.params, x, None))(data.test_inputs)  # noqa: B023
            found.append(f"{float(accuracy(logits, data.test_labels)):.3f}")
        sent = history.steps.get("uplink_bytes", jnp.full(1, 4.0 * size))[0]
        print(f"| {name} | {float(sent):,.0f} | {' | '.join(found)} |", flush=True)


if __name__ == "__main__":
    main()
