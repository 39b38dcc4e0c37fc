"""FedProx with a proximal term that follows the loss."""

from typing import Any, NamedTuple

import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, Key, PyTree

from dpjax.checks import number, whole_number
from dpjax.contribution import ClientContribution, ClientRows, LossFn, as_reported
from dpjax.contributions import client_delta
from dpjax.contributions.losses import with_metrics
from dpjax.federated.solvers.broadcast import Broadcast, model_of
from dpjax.solver import Solver
from dpjax.types import Metrics, Params


class ProximalState(NamedTuple):
    """State of ``adaptive_fedprox``'s server.

    Attributes:
      model: of the model's optimizer.
      last: scalar; the loss that clients told last, inf before they told one.
      falls: scalar; how often in a row it has fallen.
    """

    model: optax.OptState
    last: Float[Array, ""]
    falls: Int[Array, ""]


def _with_metrics_apart(loss_fn: LossFn) -> LossFn:
    """The same loss, whose own metrics are one entry: what clients say is the loss, not a metric of that name."""
    loss_and_metrics = with_metrics(loss_fn)

    def apart(params: Params, example: PyTree[Array], key: Key[Array, ""]) -> tuple[Array, Metrics]:
        loss, metrics = loss_and_metrics(params, example, key)
        return loss, {"own": {name: x for name, x in metrics.items() if name != "loss" or x is not loss}}

    return apart


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

    Returns:
      A solver that carries ``Broadcast(model, μ)`` and asks clients to remember nothing.

    Raises:
      ValueError: a number out of range.

    Example:
      >>> solver = adaptive_fedprox(lambda w, x, key: (w - x) ** 2, optax.sgd(0.1), initial=0.5, num_steps=5)
      >>> carried = solver.init(jnp.float32(2.0))
      >>> print(carried.extra, solver.model_of(carried))
      0.5 2.0

    References:
      Li et al., Federated Optimization in Heterogeneous Networks, 2020, section 5.3.2 (https://arxiv.org/abs/1812.06127).
    """
    initial = number("initial", initial, least=0, fix="it is the first μ")
    step = number("step", step, least=0, fix="μ moves by it")
    whole_number("patience", patience, fix="it counts falls of the loss in a row")
    loss_bound = number("loss_bound", loss_bound, above=0, fix="it is the largest loss told apart")
    report_norm = number("report_norm", report_norm, above=0, fix="a tenth of the clip norm is a fair share")
    unit_per_loss = report_norm / loss_bound

    def work(
        carried: Broadcast, rows: ClientRows, state: PyTree[Array], key: Key[Array, ""]
    ) -> tuple[Broadcast, Metrics]:
        contribution = client_delta(_with_metrics_apart(loss_fn), local_optimizer, proximal=carried.extra, **local)
        assert isinstance(contribution, ClientContribution)
        delta, beside = contribution.work(carried.model, rows, state, key)
        mean = as_reported(beside).metrics
        share = jnp.clip(mean["loss"], 0.0, loss_bound) * unit_per_loss
        return Broadcast(delta, jnp.where(jnp.any(rows.mask), share, 0.0)), {"loss": mean["loss"], **mean["own"]}

    def wrap(optimizer: optax.GradientTransformation) -> optax.GradientTransformation:
        def init(params: Any) -> ProximalState:
            return ProximalState(optimizer.init(params.model), jnp.float32(jnp.inf), jnp.int32(0))

        def update(updates: Any, state: Any, params: Any = None):
            moved, model_state = optimizer.update(updates.model, state.model, params.model)
            # The first loss told has none before it to have fallen from.
            rose, fell = updates.extra > state.last, (updates.extra < state.last) & jnp.isfinite(state.last)
            falls = jnp.where(fell, state.falls + 1, 0)
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
