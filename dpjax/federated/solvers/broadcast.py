"""What the server sends where it is more than the model."""

from collections.abc import Callable
from typing import Any, NamedTuple

import optax
from jaxtyping import Array, PyTree

from dpjax.types import Params


class Broadcast(NamedTuple):
    """What the server sends and what comes back in the same shape: the model, and a solver's own numbers.

    Attributes:
      model: parameters, or their change.
      extra: SCAFFOLD's server control variate or FedProx's μ, or what clients say about it.
    """

    model: Params
    extra: PyTree[Array]


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
