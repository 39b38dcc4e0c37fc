"""FedProx with a proximal term that follows the loss."""

from typing import Any, NamedTuple

import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, Key, PyTree

from dpjax.contributions import client_delta
from dpjax.federated.solvers import Broadcast, Solver, model_of
from dpjax.types import ClientContribution, ClientRows, LossFn, Metrics


class ProximalState(NamedTuple):
    """State of ``adaptive_fedprox``'s server.

    Attributes:
      model: of the model's optimizer.
      last: scalar; the loss that clients told last.
      falls: scalar; how often in a row it has fallen.
    """

    model: optax.OptState
    last: Float[Array, ""]
    falls: Int[Array, ""]


def adaptive_fedprox(
    loss_fn: LossFn,
    local_optimizer: optax.GradientTransformation,
    *,
    initial: float | Float[Array, ""] = 0.0,
    step: float = 0.1,
    patience: int = 5,
    loss_bound: float = 5.0,
    report_norm: float | Float[Array, ""] = 0.1,
    **local: Any,
) -> Solver:
    """FedProx whose μ grows when the clients' loss rises, and shrinks after ``patience`` falls in a row.

    Formal guarantees: clients say their loss in one more coordinate of what they send, clipped and noised WITH the
    delta: no extra ε. What the server makes of it is post-processing.

    Args:
      loss_fn, local_optimizer, **local: as for ``fedavg``.
      initial, step: first μ, and by how much it moves; it never falls below 0.
      patience: falls of the loss in a row after which μ shrinks.
      loss_bound: losses are cut to [0, ``loss_bound``].
      report_norm: what the bound's coordinate is, in the units of the delta's norm; a tenth of the clip norm is
        a fair share of it.

    Raises:
      ValueError: a number out of range.

    References:
      Li et al., Federated Optimization in Heterogeneous Networks, 2020, section 5.3.2 (https://arxiv.org/abs/1812.06127).
    """
    for name, value, least in (("initial", initial, 0), ("step", step, 0), ("patience", patience, 1)):
        if isinstance(value, int | float) and not least <= value < float("inf"):
            raise ValueError(f"{name}={value} must be finite and at least {least}.")
    if not 0 < loss_bound < float("inf"):
        raise ValueError(f"loss_bound={loss_bound} must be finite and > 0; it is the largest loss told apart.")
    unit_per_loss = report_norm / loss_bound

    def work(
        carried: Broadcast, rows: ClientRows, state: PyTree[Array], key: Key[Array, ""]
    ) -> tuple[Broadcast, Metrics]:
        own = client_delta(loss_fn, local_optimizer, proximal=carried.extra, **local)
        assert isinstance(own, ClientContribution)
        delta, metrics = own.work(carried.model, rows, state, key)
        told = jnp.clip(metrics["loss"], 0.0, loss_bound) * unit_per_loss
        return Broadcast(delta, jnp.where(jnp.any(rows.mask), told, 0.0)), metrics

    def wrap(optimizer: optax.GradientTransformation) -> optax.GradientTransformation:
        def init(params: Any) -> ProximalState:
            return ProximalState(optimizer.init(params.model), jnp.float32(jnp.inf), jnp.int32(0))

        def update(updates: Any, state: Any, params: Any = None):
            moved, model_state = optimizer.update(updates.model, state.model, params.model)
            rose = updates.extra > state.last
            falls = jnp.where(rose, 0, state.falls + 1)
            shrink = falls >= patience
            change = jnp.where(rose, step, jnp.where(shrink, -jnp.minimum(step, params.extra), 0.0))
            after = ProximalState(model_state, updates.extra, jnp.where(shrink, 0, falls))
            return Broadcast(moved, change.astype(params.extra.dtype)), after

        return optax.GradientTransformation(init, update)

    return Solver(
        ClientContribution(work),
        init=lambda params: Broadcast(params, jnp.asarray(initial, jnp.float32)),
        wrap_optimizer=wrap,
        model_of=model_of,
    )
