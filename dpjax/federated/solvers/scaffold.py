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
    """SCAFFOLD: each client corrects its drift by what it remembers of its own gradients and hears of all others'.

    Client i keeps cᵢ, the server c; of K local steps each goes along gᵢ(y) − cᵢ + c, and afterwards cᵢ becomes cᵢ − c +
    (w − y) / (Kη). Both travel here times Kη, as lengths like the delta's.

    Formal guarantees: a client sends its delta and the change of its control variate as ONE contribution, clipped and
    noised together, so a round costs what a round of FedAvg costs. cᵢ stays with the client, unnoised: only the client
    itself may see it.

    Args:
      loss_fn: as for ``example_gradient``.
      learning_rate: η of the client's SGD, > 0, traced or not.
      num_steps, batch_size, straggler_rate: see ``local_training``.
      participation: expected share of the clients in a round; the sampler's ``sampling_rate``.

    Returns:
      A solver that carries ``Broadcast(model, Kη c)``; a client's state is its Kη cᵢ, zeros at first.

    Raises:
      ValueError: a number out of range.

    Example:
      >>> from dpjax import Stateful, UnitData
      >>> solver = scaffold(lambda w, x, key: 0.5 * (w - x) ** 2, learning_rate=0.5, num_steps=2, participation=0.1)
      >>> carried = solver.init(jnp.float32(0))
      >>> client = Stateful(UnitData(jnp.full(3, 2.0), jnp.ones(3, bool)), solver.init_unit_state(carried))
      >>> message, said = jax.jit(solver.contribution_fn)(carried, client, jax.random.key(0))
      >>> print(message.model, message.extra, said.unit_state)
      -1.5 1.5 -1.5

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
        drift = jax.tree.map(lambda c, variate: (c - variate) * per_step, carried.extra, state)
        outcome = run(carried.model, rows, key, lambda local: drift)
        delta = outcome.delta
        stretch = num_steps / jnp.maximum(outcome.num_steps, 1).astype(jnp.float32)  # a straggler's path, made whole

        def next_state(variate: Array, c: Array, d: Array) -> Array:
            return jnp.where(outcome.num_steps > 0, variate - c + stretch.astype(d.dtype) * d, variate)

        new = jax.tree.map(next_state, state, carried.extra, delta)
        change = jax.tree.map(jnp.subtract, state, new)
        return Broadcast(delta, change), Reported(outcome.metrics, unit_state=new)

    return Solver(
        ClientContribution(work),
        init=lambda params: Broadcast(params, jax.tree.map(jnp.zeros_like, params)),
        # The mean is over those who took part, and c the average over everyone.
        wrap_optimizer=lambda optimizer: beside(
            optimizer, lambda mean, c: jax.tree.map(lambda x: -participation * x, mean)
        ),
        init_unit_state=lambda carried: carried.extra,
        model_of=model_of,
    )
