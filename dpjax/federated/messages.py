"""Every client's own message, for aggregations that do more than add contributions up on the spot."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Float, Key, PyTree

from dpjax.checks import number
from dpjax.clipping import ClippingRule, SumFactory, flat_clipping
from dpjax.clipping.bounding import bound, group_squared_norms, leaf_groups, weighted_product
from dpjax.population import STATE
from dpjax.types import ClippedSum, Cohort, ContributionFn, Metrics, Params, PerUnit

MESSAGE = "dpjax:message"
"""Under which a message travels through the kernel; no contribution's own metric has such a name."""


class Messages(NamedTuple):
    """One round's contributions, client by client, and their plain clipped sum.

    Attributes:
      vectors: pytree, leaves ``[slots, ...]``: contributions before clipping; zero where there is none.
      plain: their clipped sum, as the kernel forms it.
    """

    vectors: PyTree[Array]
    plain: ClippedSum


def collected(
    factory: SumFactory,
) -> Callable[[ContributionFn], Callable[[Params, Cohort, Key[Array, ""], float | Float[Array, ""]], Messages]]:
    """Like ``factory``, but keeping every client's message: memory of slots × parameters, as a server would hold.

    Args:
      factory: the sum that goes on beside it.
    """

    def make(contribution_fn: ContributionFn):
        def sending(params: Params, unit: PyTree[Array], key: Key[Array, ""]) -> tuple[Params, Metrics]:
            vector, metrics = contribution_fn(params, unit, key)
            if MESSAGE in metrics:
                raise ValueError(
                    "two of robust, local, secure and homomorphic aggregation are around each other, and each forms "
                    "the sum from every message; use one of them."
                )
            return vector, metrics | {MESSAGE: PerUnit(vector)}

        inner = factory(sending)

        def fun(params: Params, cohort: Cohort, key: Key[Array, ""], clip_norm: float | Float[Array, ""]) -> Messages:
            plain = inner(params, cohort, key, clip_norm)
            rest = {name: value for name, value in plain.per_unit.items() if name != MESSAGE}
            return Messages(plain.per_unit[MESSAGE], plain._replace(per_unit=rest))

        return fun

    return make


def clipped_rows(
    vectors: PyTree[Array], cohort: Cohort, clip_norm: Float[Array, ""], rule: ClippingRule | None
) -> Float[Array, "slots size"]:
    """Each client's message bounded and weighted, flat; zeros for empty slots and messages that are not finite."""
    leaves = [
        (x * scale.reshape(-1, *[1] * (x.ndim - 1))).reshape(len(x), -1).astype(scale.dtype)
        for x, scale in _scaled(vectors, cohort, clip_norm, rule)
    ]
    return jnp.concatenate(leaves, axis=1) if len(leaves) > 1 else leaves[0]


def clipped_sum_of(
    vectors: PyTree[Array], cohort: Cohort, clip_norm: Float[Array, ""], rule: ClippingRule | None
) -> Float[Array, "size"]:
    """The sum of ``clipped_rows``, which are never formed."""
    leaves = [
        weighted_product(scale, x.astype(scale.dtype)).ravel() for x, scale in _scaled(vectors, cohort, clip_norm, rule)
    ]
    return jnp.concatenate(leaves) if len(leaves) > 1 else leaves[0]


def _scaled(
    vectors: PyTree[Array], cohort: Cohort, clip_norm: Float[Array, ""], rule: ClippingRule | None
) -> list[tuple[Array, Float[Array, "slots"]]]:
    """Every leaf with the slots' factors on it."""
    rule = rule or flat_clipping()
    groups = leaf_groups(rule, vectors)
    bounded = bound(rule, group_squared_norms(vectors, groups), cohort, clip_norm)
    return [(x, bounded.scale[g]) for x, g in zip(jax.tree.leaves(vectors), groups, strict=True)]


def like_total(flat: Float[Array, "size"], plain: ClippedSum) -> Params:
    """A flat sum in the shape of the plain one."""
    return ravel_pytree(plain.total)[1](flat)


def heard(plain: ClippedSum, arrived: Bool[Array, "slots"]) -> PyTree[Array]:
    """What is kept of each client, if only those who arrived are to remember the round."""
    if STATE not in plain.per_unit:
        return plain.per_unit
    state, kept = plain.per_unit[STATE]
    return plain.per_unit | {STATE: (state, kept & arrived)}


def side_key(key: Key[Array, ""], purpose: int) -> Key[Array, ""]:
    """A key beside those of the slots, which count up from 0."""
    return jax.random.fold_in(key, 2**32 - 1 - purpose)


def finite_clip_norm(clip_norm: float | Float[Array, ""], holder: str) -> Float[Array, ""]:
    """The clip norm as an array, refused if it is infinite; NaN where it is traced, and so is the sum."""
    fix = f"{holder} holds vectors of bounded norm only"
    return jnp.asarray(number("clip_norm", clip_norm, above=0, fix=fix), jnp.float32)
