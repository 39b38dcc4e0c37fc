"""What one unit sends, as types: any contribution, a gradient, a client's local work."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int, Key, PyTree

from dpjax.types import Metrics, Params, Stateful, UnitData

LossFn = Any
"""``loss_fn(params, example, key) -> loss`` or ``-> (loss, metrics)`` for ONE example."""


@runtime_checkable
class ContributionFn(Protocol):
    """One unit's vector, and what it reports. It never sees another unit."""

    def __call__(self, params: Params, unit: PyTree[Array], key: Key[Array, ""]) -> tuple[Params, Metrics]: ...


@dataclass(frozen=True)
class GradientContribution:
    """A contribution that is the gradient of one unit's loss; engines may get at the loss itself.

    Attributes:
      loss: ``loss(params, unit, key) -> (scalar loss, metrics)`` of ONE unit.
    """

    loss: Callable[[Params, PyTree[Array], Key[Array, ""]], tuple[Array, Metrics]]

    def __call__(self, params: Params, unit: PyTree[Array], key: Key[Array, ""]) -> tuple[Params, Metrics]:
        (_, metrics), gradient = jax.value_and_grad(self.loss, has_aux=True)(params, unit, key)
        return gradient, metrics


@dataclass(frozen=True)
class ClientRows:
    """A client's own rows, gathered as they are asked for.

    Attributes:
      take: positions ``[batch]`` among the padded records → examples, leaves ``[batch, ...]``; anything for padding.
      mask: ``[records]``; False marks padding.
    """

    take: Callable[[Int[Array, "batch"]], PyTree[Array]]
    mask: Bool[Array, "records"]


@dataclass(frozen=True)
class ClientContribution:
    """A contribution that is a client's local work; its rows may be gathered one local batch at a time.

    Attributes:
      work: ``work(params, rows, state, key) -> (vector, metrics)`` of ONE client; ``state`` is ``()`` for a client
        that remembers nothing.
    """

    work: Callable[[Params, ClientRows, PyTree[Array], Key[Array, ""]], tuple[Params, Metrics]]

    def __call__(self, params: Params, unit: PyTree[Array], key: Key[Array, ""]) -> tuple[Params, Metrics]:
        data, state = unit if isinstance(unit, Stateful) else (unit, ())
        if not isinstance(data, UnitData):
            raise TypeError(describe_wrong_unit(data))

        def take(positions: Int[Array, "batch"]) -> PyTree[Array]:
            return jax.tree.map(lambda x: jnp.asarray(x)[positions], data.examples)

        return self.work(params, ClientRows(take, data.mask), state, key)


def describe_wrong_unit(unit: object) -> str:
    """What to say of a unit that should be one user's or client's records."""
    found = "an array" if isinstance(unit, jax.Array) else f"a {type(unit).__name__}"
    return (
        f"a unit is {found} where one user's or client's records are needed; give the cohort "
        "UnitData(examples, mask), or use example_gradient for units of one example."
    )
