"""SCAFFOLD: control variates against the drift of clients whose data differ."""

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Key, PyTree

from dpjax.checks import number
from dpjax.contribution import ClientContribution, ClientRows, LossFn, Reported
from dpjax.contributions import local_training
from dpjax.federated.solvers.broadcast import Broadcast, beside, model_of
from dpjax.solver import Solver


def scaffold(
    loss_fn: LossFn,
    *,
    learning_rate: float | Float[Array, ""],
    num_steps: int,
    participation: float,
    batch_size: int | None = None,
    straggler_rate: float | Float[Array, ""] = 0.0,
) -> Solver:
    r"""SCAFFOLD: each client corrects its drift by what it remembers of its own gradients and hears of all others'.

    Client i keeps :math:`c_i`, the server :math:`c`; local steps go along :math:`g_i(y) - c_i + c`, and afterwards
    :math:`c_i^+ = c_i - c + (w - y) / (K \eta)`. Both travel here as :math:`K \eta c`, lengths like the delta's.

    Formal guarantees: a client sends its delta and the change of its control variate as ONE contribution, clipped and
    noised together, so a round costs what a round of FedAvg costs. :math:`c_i` stays with the client.

    Args:
      loss_fn: as for ``example_gradient``.
      learning_rate: η of the client's SGD, > 0, traced or not.
      num_steps, batch_size, straggler_rate: see ``local_training``.
      participation: expected share of the clients in a round; the sampler's ``sampling_rate``.

    Raises:
      ValueError: a number out of range.

    References:
      Karimireddy et al., SCAFFOLD, 2020, option II (https://arxiv.org/abs/1910.06378); Noble et al., Differentially
      Private Federated Learning on Heterogeneous Data, 2022 (https://arxiv.org/abs/2111.09278).
    """
    participation = number("participation", participation, above=0, most=1, fix="it is the sampler's sampling_rate")
    run = local_training(
        loss_fn,
        optax.sgd(learning_rate),
        num_steps=num_steps,
        batch_size=batch_size,
        straggler_rate=straggler_rate,
    )

    def work(
        carried: Broadcast, rows: ClientRows, state: PyTree[Array], key: Key[Array, ""]
    ) -> tuple[Broadcast, Reported]:
        per_step = 1.0 / (num_steps * learning_rate)
        drift = jax.tree.map(lambda c, own: (c - own) * per_step, carried.extra, state)
        outcome = run(carried.model, rows, key, lambda local: drift)
        delta = outcome.delta
        stretch = num_steps / jnp.maximum(outcome.num_steps, 1).astype(jnp.float32)  # a straggler's path, made whole

        def next_state(own: Array, c: Array, d: Array) -> Array:
            return jnp.where(outcome.num_steps > 0, own - c + stretch.astype(d.dtype) * d, own)

        new = jax.tree.map(next_state, state, carried.extra, delta)
        change = jax.tree.map(jnp.subtract, state, new)
        return Broadcast(delta, change), Reported(outcome.metrics, unit_state=new)

    return Solver(
        ClientContribution(work),
        init=lambda params: Broadcast(params, jax.tree.map(jnp.zeros_like, params)),
        # The mean is over those who took part, and c the average over everyone.
        wrap_optimizer=lambda optimizer: beside(
            optimizer, lambda told, c: jax.tree.map(lambda x: -participation * x, told)
        ),
        init_unit_state=lambda carried: carried.extra,
        model_of=model_of,
    )
