"""What one unit sends, as types: any contribution, a gradient, a client's local work."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key, PyTree

from dpjax.checks import brief
from dpjax.types import Metrics, Params, Stateful, UnitData

LossFn = Any
"""``loss_fn(params, example, key) -> loss`` or ``-> (loss, metrics)`` for ONE example."""


class Reported(NamedTuple):
    """What a contribution says beside its vector where that is more than metrics, which alone may be a plain dict.

    Formal guarantees: none of it is clipped or noised. What decides anything is a field; no metric's name does.

    Attributes:
      metrics: named scalars for diagnosis, which the kernel adds up; ``PerUnit`` values stay one per unit.
      unit_state: pytree; what the unit remembers from now on, and nobody else sees. None: nothing.
      message: pytree; the vector again, for an aggregation that forms its sum from every message. None: for none.
      uplink_bytes: scalar; bytes that the unit sends, where it says so.
      local_overflows: scalar; steps within the unit that drew more rows than it has slots, where it draws any.

    Example:
      >>> def counting(params, unit, key):  # a unit that counts the rounds it took part in
      ...     return unit.unit - params, Reported({}, unit_state=unit.state + 1)
    """

    metrics: Metrics
    unit_state: PyTree[Array] | None = None
    message: PyTree[Array] | None = None
    uplink_bytes: Float[Array, ""] | None = None
    local_overflows: Float[Array, ""] | None = None


def as_reported(report: Any) -> Reported:
    """What a contribution says beside its vector, as ``Reported``.

    Raises:
      TypeError: neither a dict of metrics nor ``Reported``.

    Example:
      >>> as_reported({"loss": 1.0}).unit_state is None
      True
    """
    if isinstance(report, Reported):
        return report
    if not isinstance(report, Mapping):
        raise TypeError(
            f"a contribution returned {brief(report)} beside its vector; return (vector, a dict of metrics), or "
            "(vector, dpjax.Reported(metrics, ...))."
        )
    return Reported(dict(report))


@runtime_checkable
class ContributionFn(Protocol):
    """One unit's vector, and what it reports. It never sees another unit."""

    def __call__(
        self, params: Params, unit: PyTree[Array], key: Key[Array, ""]
    ) -> tuple[Params, Metrics | Reported]: ...


@dataclass(frozen=True)
class GradientContribution:
    """A contribution that is the gradient of one unit's loss; engines may get at the loss itself.

    Attributes:
      loss: ``loss(params, unit, key) -> (scalar loss, metrics or Reported)`` of ONE unit.
    """

    loss: Callable[[Params, PyTree[Array], Key[Array, ""]], tuple[Array, Metrics | Reported]]

    def __call__(self, params: Params, unit: PyTree[Array], key: Key[Array, ""]) -> tuple[Params, Metrics | Reported]:
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
      work: ``work(params, rows, state, key) -> (vector, metrics or Reported)`` of ONE client; ``state`` is ``()`` for a
        client that remembers nothing.
    """

    work: Callable[[Params, ClientRows, PyTree[Array], Key[Array, ""]], tuple[Params, Metrics | Reported]]

    def __call__(self, params: Params, unit: PyTree[Array], key: Key[Array, ""]) -> tuple[Params, Metrics | Reported]:
        data, state = unit if isinstance(unit, Stateful) else (unit, ())
        if not isinstance(data, UnitData):
            raise TypeError(describe_wrong_unit(data))

        def take(positions: Int[Array, "batch"]) -> PyTree[Array]:
            return jax.tree.map(lambda x: jnp.asarray(x)[positions], data.examples)

        return self.work(params, ClientRows(take, data.mask), state, key)


def describe_wrong_unit(unit: object) -> str:
    """What to say of a unit that should be one user's or client's records."""
    kind = "an array" if isinstance(unit, jax.Array) else f"a {type(unit).__name__}"
    return (
        f"a unit is {kind} where one user's or client's records are needed; give the cohort "
        "UnitData(examples, mask), or use example_gradient for units of one example."
    )
