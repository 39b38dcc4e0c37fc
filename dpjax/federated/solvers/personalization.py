"""Personal heads on a shared body."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Key, PyTree

from dpjax.contribution import ClientContribution, ClientRows, LossFn, Reported
from dpjax.contributions import local_training
from dpjax.federated.solvers.broadcast import Broadcast, beside
from dpjax.ranges import HEAD_STEPS
from dpjax.solver import Solver
from dpjax.subsets import merge_params, split_params
from dpjax.types import Params


def personalized(
    loss_fn: LossFn,
    local_optimizer: optax.GradientTransformation,
    *,
    personal: Callable[[str], bool],
    head_steps: int | None = None,
    batch_size: int | None = None,
    **local: Any,
) -> Solver:
    """Personal heads on a shared body: FedPer, or FedRep with ``head_steps``.

    Formal guarantees: clients send the change of the body only; a head never leaves its client, and ε covers what
    everyone else can see. Whoever sees a client's own predictions sees its head, which is not noised.

    Args:
      loss_fn, local_optimizer: as for ``client_delta``; the loss takes the whole parameters.
      personal: path of a parameter, as ``jax.tree_util.keystr`` writes it → whether it is the clients' own.
      head_steps: None trains head and body together (FedPer); a number takes so many steps on the head first, and then
        ``num_steps`` on the body (FedRep).
      batch_size, **local: see ``local_training``.

    Returns:
      A solver whose ``model_of`` gives the body joined with the heads' common start; for a client's own parameters put
      its row of ``TrainState.unit_states`` in: ``merge_params(state.params.model, head)``.

    Raises:
      ValueError: ``head_steps`` < 1, or nothing or everything is personal.

    Example:
      >>> solver = personalized(lambda p, x, key: (p["body"] + p["head"] - x) ** 2, optax.sgd(0.1),
      ...                       personal=lambda path: "head" in path, num_steps=5)
      >>> carried = solver.init({"body": jnp.float32(1), "head": jnp.float32(2)})
      >>> print(carried.model, solver.init_unit_state(carried))
      {'body': Array(1., dtype=float32), 'head': None} {'body': None, 'head': Array(2., dtype=float32)}

    References:
      Arivazhagan et al., 2019 (https://arxiv.org/abs/1912.00818); Collins et al., 2021
      (https://arxiv.org/abs/2102.07078).
    """
    if head_steps is not None:
        head_steps = HEAD_STEPS.known("head_steps", head_steps)

    def training(loss: LossFn, **options: Any):
        return local_training(loss, local_optimizer, batch_size=batch_size, **options)

    def work(
        carried: Broadcast, rows: ClientRows, state: PyTree[Array], key: Key[Array, ""]
    ) -> tuple[Broadcast, Reported]:
        body, head = carried.model, state
        if head_steps is None:
            outcome = training(loss_fn, **local)(merge_params(body, head), rows, key)
            new_head, _ = split_params(outcome.params, personal)
            _, delta = split_params(outcome.delta, personal)
        else:
            head_key, key = jax.random.split(key)
            fit_head = training(lambda p, e, k: loss_fn(merge_params(body, p), e, k), num_steps=head_steps)
            new_head = fit_head(head, rows, head_key).params
            outcome = training(lambda p, e, k: loss_fn(merge_params(p, new_head), e, k), **local)(body, rows, key)
            delta = outcome.delta
        return Broadcast(delta, ()), Reported(outcome.metrics, unit_state=new_head)

    def init(params: Params) -> Broadcast:
        head, body = split_params(params, personal)
        if not jax.tree.leaves(body):
            raise ValueError("every parameter is personal, so that clients would share nothing; narrow `personal`.")
        return Broadcast(body, head)

    return Solver(
        ClientContribution(work),
        init=init,
        wrap_optimizer=lambda optimizer: beside(optimizer, lambda mean, head: jax.tree.map(jnp.zeros_like, head)),
        init_unit_state=lambda carried: carried.extra,
        message_like=lambda carried: Broadcast(carried.model, ()),
        model_of=lambda carried: merge_params(carried.model, carried.extra),
    )
