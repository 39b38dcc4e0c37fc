"""What the server makes of the messages that arrived: the clipped sum that a step goes on from."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Float, Int, Key, PyTree

from dpjax.clipping import Aggregation, BoundedSum, Summing
from dpjax.types import Added, ClippedSum, Cohort, Params


def received_sum(aggregation: Aggregation | None = None) -> BoundedSum:
    """The sum of messages that the server holds: clipped again by the kernel, as a client may lie.

    Formal guarantees: those of ``clipped_sum``: one client moves the sum by no more than the clip norm, whatever it
    sent; a message that is not finite counts as zero and is counted in ``num_rejected``.

    Args:
      aggregation: between messages and sum, such as a robust mean; None: they are added up.

    Returns:
      A bounded sum whose cohort's units are the messages themselves, leaves ``[slots, ...]``; its mask says whose
      arrived.

    Example:
      >>> arrived = Cohort(jnp.array([[3.0, 4.0], [jnp.nan, 0.0], [9.0, 9.0]]), jnp.array([True, True, False]))
      >>> out = received_sum()(jnp.zeros(2), arrived, jax.random.key(0), 1.0)
      >>> print(out.total, out.num_rejected)
      [0.6 0.8] 1
    """
    return Summing(aggregation=aggregation)(lambda params, unit, key: (unit, {}))


class Uncovered(NamedTuple):
    """What is left of a round's uploads once masks are off.

    Attributes:
      numbers: ``[1, size]`` the sum on the grid; the leading axis is that of a cohort's units.
      released: ``[1]``; False if too few answered to take the masks off.
      num_rejected: ``[1]`` clients that said that what they learnt was not finite.
    """

    numbers: Int[Array, "1 size"]
    released: Bool[Array, "1"]
    num_rejected: Int[Array, "1"]


def uncovered_sum(*, levels: int, message_like: PyTree, noise: Float[Array, ""] | float | None = None) -> BoundedSum:
    """The sum that secure aggregation leaves to the server, which saw no client's own vector.

    Formal guarantees: its sensitivity is the clip norm if every client bounded its own vector as it was told to. A
    client that does not can move the sum by any amount, as under its mask nobody sees it: see the trust page.

    Args:
      levels: grid steps in a clip norm.
      message_like: pytree of the shapes of a client's message.
      noise: multiplier of the noise that clients added; None: they added none.

    Returns:
      A bounded sum whose cohort's units are ``Uncovered``. Norms are 0, as nobody knows them.
    """

    def fun(params: Params, cohort: Cohort, key: Key[Array, ""], clip_norm: float | Float[Array, ""]) -> ClippedSum:
        left: Uncovered = cohort.units
        bound = jnp.asarray(clip_norm, jnp.float32)
        zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), message_like)
        flat, unravel = ravel_pytree(zeros)
        total = left.numbers[0].astype(flat.dtype) * (bound / levels).astype(flat.dtype)
        return ClippedSum(
            total=unravel(total),
            clip_norm=bound,
            norms=jnp.zeros(cohort.mask.shape, jnp.float32),
            num_rejected=left.num_rejected[0],
            aux={},
            accepted=cohort.mask,
            arrived=cohort.mask,
            released=left.released[0],
            noise=None if noise is None else Added(jnp.asarray(noise, jnp.float32)),
        )

    return fun
