"""What one client sends: its contribution, bounded by itself before anybody sees it."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Float, Int, Key, PyTree

from dpjax.checks import whole_number
from dpjax.clipping import ClippingRule, clipped_sum, flat_clipping
from dpjax.contribution import ContributionFn, Reported
from dpjax.federated.aggregation.quantization import inner_fraction, stochastic_round
from dpjax.federated.side_keys import Purpose, side_key
from dpjax.types import Cohort, Metrics, Params

Sender = Callable[
    [Params, PyTree[Array], Key[Array, ""], Int[Array, ""], Float[Array, ""], Float[Array, ""]],
    tuple[PyTree[Array], Bool[Array, ""]],
]
"""``send(params, unit, step_key, slot, clip_norm, weight)`` → what is sent, and whether the contribution was finite."""


def sent_plainly(contribution_fn: ContributionFn, rule: ClippingRule | None = None) -> Sender:
    """One client's contribution, clipped by the client itself, as a simulated cohort has it in the same slot.

    Formal guarantees: what is sent has an L2 norm of at most ``clip_norm`` (up to rounding, relative 1e-6), and is zero
    where the contribution is not finite. It is NOT private: noise is added to the sum of all, or in ``contribution_fn``
    where clients protect their own rows.

    Args:
      contribution_fn: as for ``clipped_sum``; without state.
      rule: see ``clipped_sum``.

    Returns:
      ``send(params, unit, step_key, slot, clip_norm, weight)``, to be jitted: ``unit`` is one client's, without a slots
      axis; ``step_key`` is the round's, ``fold_in(contribution_key, step)``; ``weight`` in [0, 1] scales what is sent.

    Example:
      >>> from dpjax import UnitData, client_delta
      >>> import optax
      >>> delta = client_delta(lambda w, x, key: 0.5 * (w - x) ** 2, optax.sgd(0.5), num_steps=1)
      >>> unit = UnitData(jnp.array([4.0, 4.0]), jnp.ones(2, bool))
      >>> send = sent_plainly(delta)
      >>> vector, finite = send(jnp.float32(0), unit, jax.random.key(0), jnp.int32(0), jnp.float32(1), jnp.float32(1))
      >>> print(vector, finite)
      -1.0 True
    """

    def send(
        params: Params,
        unit: PyTree[Array],
        step_key: Key[Array, ""],
        slot: Int[Array, ""],
        clip_norm: Float[Array, ""],
        weight: Float[Array, ""],
    ) -> tuple[PyTree[Array], Bool[Array, ""]]:
        # As the slot has it in a whole cohort, of which this is one row.
        slots_key = jax.random.fold_in(step_key, slot)

        def of_slot(params: Params, unit: PyTree[Array], key: Key[Array, ""]) -> tuple[Params, Metrics | Reported]:
            del key  # that of a first slot
            return contribution_fn(params, unit, slots_key)

        cohort = Cohort(jax.tree.map(lambda x: jnp.asarray(x)[None], unit), jnp.ones(1, bool), weight[None])
        out = clipped_sum(of_slot, rule=rule or flat_clipping(), engine="materialize")(
            params, cohort, step_key, clip_norm
        )
        return out.total, out.num_rejected == 0

    return send


def sent_on_grid(
    contribution_fn: ContributionFn, rule: ClippingRule | None = None, *, levels: int, slots: int
) -> Sender:
    """The same, rounded at random to a grid of clip norm / ``levels``: what a client covers with its masks.

    Formal guarantees: those of ``sent_plainly``, rounding included: see ``stochastic_round``.

    Args:
      contribution_fn, rule: see ``sent_plainly``.
      levels: grid steps in a clip norm.
      slots: of the cohort.

    Returns:
      As ``sent_plainly``, with whole numbers ``[size]`` int32 in the place of the vector.

    Raises:
      ValueError: numbers below 1; when traced, levels that are too few for the vector's size.
    """
    levels = whole_number("levels", levels, fix="it counts grid steps in a clip norm")
    slots = whole_number("slots", slots, fix="give the sampler's capacity")
    plain = sent_plainly(contribution_fn, rule)

    def send(
        params: Params,
        unit: PyTree[Array],
        step_key: Key[Array, ""],
        slot: Int[Array, ""],
        clip_norm: Float[Array, ""],
        weight: Float[Array, ""],
    ) -> tuple[Int[Array, "size"], Bool[Array, ""]]:
        size = sum(
            x.size for x in jax.tree.leaves(jax.eval_shape(plain, params, unit, step_key, slot, clip_norm, weight)[0])
        )
        vector, finite = plain(params, unit, step_key, slot, clip_norm * inner_fraction(levels, size), weight)
        key = jax.random.split(side_key(step_key, Purpose.ROUNDING), slots)[slot]
        return stochastic_round(ravel_pytree(vector)[0] * (levels / clip_norm), key, levels), finite

    return send
