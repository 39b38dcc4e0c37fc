"""Federated algorithms as what ``make_train`` takes: FedAvg and its kin, and the frame of the others."""

from collections.abc import Callable
from typing import Any, NamedTuple

import optax
from jaxtyping import Array, Float, PyTree

from dpjax.contribution import ContributionFn, LossFn
from dpjax.contributions import client_delta
from dpjax.types import Params


class Broadcast(NamedTuple):
    """What the server sends and what comes back in the same shape: the model, and a solver's own numbers.

    Attributes:
      model: parameters, or their change.
      extra: SCAFFOLD's server control variate or FedProx's μ, or what clients say about it.
    """

    model: Params
    extra: PyTree[Array]


class Solver(NamedTuple):
    """A federated algorithm as the functions that ``make_train`` takes; all of them follow from one contribution.

    Attributes:
      contribution_fn: what a client sends.
      init: initial model parameters → what the run carries as ``params``.
      wrap_optimizer: the server's optimizer of the model → that of what the run carries.
      init_unit_state: what every client remembers at first; None: nothing.
      model_of: what the run carries → the model's parameters.
      message_like: what the run carries → a tree of the shapes of a client's message.
    """

    contribution_fn: ContributionFn
    init: Callable[[Params], PyTree[Array]] = lambda params: params
    wrap_optimizer: Callable[[optax.GradientTransformation], optax.GradientTransformation] = lambda optimizer: optimizer
    init_unit_state: Callable[[PyTree[Array]], PyTree[Array]] | None = None
    model_of: Callable[[PyTree[Array]], Params] = lambda carried: carried
    message_like: Callable[[PyTree[Array]], PyTree[Array]] = lambda carried: carried


def fedavg(
    loss_fn: LossFn,
    local_optimizer: optax.GradientTransformation,
    *,
    proximal: float | Float[Array, ""] = 0.0,
    **local: Any,
) -> Solver:
    """FedAvg, FedProx with ``proximal`` > 0, FedNova with ``effective_steps``.

    Reptile is FedAvg under a server's ``optax.sgd`` below 1.

    Args:
      loss_fn, local_optimizer, proximal: as for ``client_delta``.
      **local: ``num_steps``, ``num_epochs``, ``batch_size``, ``straggler_rate``, ``effective_steps``.

    Example:
      >>> import optax
      >>> fedavg(lambda w, x, key: (w - x) ** 2, optax.sgd(0.1), num_steps=5).init_unit_state is None
      True

    References:
      McMahan et al., 2017 (https://arxiv.org/abs/1602.05629); Li et al., 2020 (https://arxiv.org/abs/1812.06127).
    """
    return Solver(client_delta(loss_fn, local_optimizer, proximal=proximal, **local))


def model_of(carried: Any) -> Params:
    """The model's half of a ``Broadcast``."""
    return carried.model


def beside(
    optimizer: optax.GradientTransformation, change: Callable[[PyTree[Array], PyTree[Array]], PyTree[Array]]
) -> optax.GradientTransformation:
    """``optimizer`` on the model's half of a ``Broadcast``; ``change(what clients said, extra)`` added to the other."""

    def update(updates: Any, state: optax.OptState, params: Any = None):
        moved, state = optimizer.update(updates.model, state, params.model)
        return Broadcast(moved, change(updates.extra, params.extra)), state

    return optax.GradientTransformation(lambda params: optimizer.init(model_of(params)), update)
