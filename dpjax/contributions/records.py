"""Contributions of units that name their rows in a shared data set instead of holding them."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Int, Key, PyTree

from dpjax.contribution import ClientContribution, ClientRows, ContributionFn, GradientContribution, Reported
from dpjax.types import Metrics, Params, Records, Stateful, UnitData


def gather_records(contribution_fn: ContributionFn, examples: PyTree[ArrayLike]) -> ContributionFn:
    """A contribution function on ``Records`` (row numbers) from one on ``UnitData`` (the rows themselves).

    Rows are gathered as a microbatch needs them, and a client's as a local step needs them, so memory never holds a
    padded copy of the data set.

    Formal guarantees: a unit contributes what it would with its rows in hand, and sees no other: padding, which may
    name any row, reads the unit's own first one, or zeros where it has none. A row that several units name is part of
    each of them, so that what is protected is a unit and not the row.

    Args:
      contribution_fn: takes ``UnitData``, as ``user_gradient`` and ``client_delta`` do, or ``Stateful`` of it.
      examples: pytree of the whole data set, leaves ``[rows, ...]``.

    Returns:
      Contribution function whose unit is ``Records(index [records], mask [records])``, or ``Stateful`` of it.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from dpjax import Records, user_gradient
      >>> mean_of_own = gather_records(user_gradient(lambda w, x, key: w * x), jnp.array([1.0, 2.0, 4.0]))
      >>> owner = Records(jnp.array([2, 1, 0]), jnp.array([True, True, False]))
      >>> print(mean_of_own(jnp.float32(0), owner, jax.random.key(0))[0])
      3.0
    """

    def take(unit: Records, positions: Int[Array, "batch"]) -> PyTree[Array]:
        # Padding names some other unit's row: the unit's own first one is in its place, or zeros where it has none, so
        # that not even that row's NaN can be seen.
        index = jnp.where(unit.mask[positions], unit.index[positions], unit.index[jnp.argmax(unit.mask)])
        any_own = jnp.any(unit.mask)

        def rows(x: ArrayLike) -> Array:
            held = jnp.asarray(x)
            return jnp.where(any_own, held[index], jnp.zeros((), held.dtype))

        return jax.tree.map(rows, examples)

    def gather(unit: Records) -> UnitData:
        return UnitData(take(unit, jnp.arange(unit.mask.shape[0])), unit.mask)

    if isinstance(contribution_fn, GradientContribution):
        loss = contribution_fn.loss
        return GradientContribution(lambda params, unit, key: loss(params, gather(unit), key))
    if isinstance(contribution_fn, ClientContribution):

        def work(params: Params, unit: PyTree[Array], key: Key[Array, ""]) -> tuple[Params, Metrics | Reported]:
            records, state = unit if isinstance(unit, Stateful) else (unit, ())
            rows = ClientRows(lambda positions: take(records, positions), records.mask)
            return contribution_fn.work(params, rows, state, key)

        return work

    def gathered(params: Params, unit: PyTree[Array], key: Key[Array, ""]) -> tuple[Params, Metrics | Reported]:
        if isinstance(unit, Stateful):
            return contribution_fn(params, Stateful(gather(unit.unit), unit.state), key)
        return contribution_fn(params, gather(unit), key)

    return gathered
