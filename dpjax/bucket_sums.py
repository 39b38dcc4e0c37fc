"""Clipped sums bucket by bucket: each part of a cohort in a shape of its own."""

from collections.abc import Callable, Sequence
from functools import reduce

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key, PyTree

from dpjax.buckets import Buckets
from dpjax.clipping import SumFactory
from dpjax.contribution import ContributionFn, GradientContribution, Reported
from dpjax.types import ClippedSum, Cohort, Metrics, Params, Stateful, over_slots


def bucketed_sum(factory: SumFactory, buckets: Buckets) -> SumFactory:
    """Clipped sums over cohorts of unit NUMBERS into ``buckets``: each bucket's members summed in their own shape.

    Formal guarantees: as of ``factory``; a unit is in exactly one bucket. Its key follows its slot in the cohort, and a
    record's its number among those of the unit, so that neither the number of buckets nor their padding changes what it
    contributes, beyond rounding.

    Args:
      factory: such as ``clipped_sum``; an aggregation goes around the buckets.
      buckets: the population.

    Raises:
      ValueError: when traced, a factory that is an aggregation.
    """
    ends = np.cumsum(buckets.sizes)
    starts = ends - np.array(buckets.sizes)

    def number_and_state(units: PyTree[Array]) -> tuple[Int[Array, "slots"], PyTree[Array]]:
        return units if isinstance(units, Stateful) else (units, ())

    def home_of(units: PyTree[Array]) -> Int[Array, "slots"]:
        return jnp.searchsorted(jnp.asarray(ends), number_and_state(units)[0], side="right")

    def members(units: PyTree[Array], bucket: int, slot: Int[Array, "slots"]) -> PyTree[Array]:
        number, state = number_and_state(units)
        row = jnp.clip(number[slot] - int(starts[bucket]), 0, buckets.sizes[bucket] - 1)
        data = jax.tree.map(lambda x: x[row], buckets.tables[bucket])
        return Stateful(data, jax.tree.map(lambda x: x[slot], state)) if isinstance(units, Stateful) else data

    return sum_by_bucket(factory, len(ends), home_of, members)


def sum_by_bucket(
    factory: SumFactory,
    num_buckets: int,
    home_of: Callable[[PyTree[Array]], Int[Array, "slots"]],
    members: Callable[[PyTree[Array], int, Int[Array, "slots"]], PyTree[Array]],
) -> SumFactory:
    """Clipped sums over each bucket's units in a shape of their own, added up.

    Formal guarantees: as of ``factory``; a unit is in exactly one bucket, and its key follows its slot in the cohort,
    whatever the buckets.

    Args:
      factory: such as ``clipped_sum``.
      num_buckets: each is compiled by itself.
      home_of: a cohort's units → the bucket of each, from 0.
      members: (units, bucket, slots) → the units of these slots in the bucket's shape. Those of the bucket come first;
        of the rest, which count as empty, any values will do.

    Raises:
      ValueError: when traced, a factory that is an aggregation.
    """

    def make(contribution_fn: ContributionFn):
        inner = factory(with_own_key(contribution_fn))

        def fun(params: Params, cohort: Cohort, key: Key[Array, ""], clip_norm: float | Float[Array, ""]) -> ClippedSum:
            slots = jnp.arange(cohort.mask.shape[0], dtype=jnp.int32)
            keys = jax.random.key_data(jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, slots))
            home = jnp.where(cohort.mask, home_of(cohort.units), num_buckets)
            order = jnp.argsort(home)
            first = jnp.searchsorted(home[order], jnp.arange(num_buckets))

            def one(bucket: int) -> ClippedSum:
                slot = jnp.roll(order, -first[bucket])  # this bucket's members come first
                units = members(cohort.units, bucket, slot)
                weights = None if cohort.weights is None else cohort.weights[slot]
                part = inner(params, Cohort((units, keys[slot]), home[slot] == bucket, weights), key, clip_norm)

                def back(x: Array) -> Array:
                    return jnp.zeros_like(x).at[slot].set(x)

                return over_slots(back, part)

            return add_up_parts([one(bucket) for bucket in range(num_buckets)])

        return fun

    return make


def add_up_parts(parts: Sequence[ClippedSum]) -> ClippedSum:
    """The sum of clipped sums of disjoint parts of one cohort, by one factory: one unit is in one of them.

    Raises:
      ValueError: the parts are sums of an aggregation. Which bucket holds enough clients to go on would depend on what
        they hold, and their noise on one key.
    """
    first = parts[0]
    if first.released is not None or first.noise is not None or first.report:
        raise ValueError(
            "buckets are around an aggregation, which forms one sum of all messages of a round; put the aggregation "
            "around the buckets, as in secure_aggregation(...)(length_buckets(...)(clipped_sum))."
        )
    added = jax.tree.map(lambda *x: reduce(_add, x), *parts)
    return added._replace(clip_norm=first.clip_norm)


def _add(left: Array, right: Array) -> Array:
    return left | right if left.dtype == bool else left + right


def with_own_key(contribution_fn: ContributionFn) -> ContributionFn:
    """The contribution of (unit, its key's data), whatever key the kernel would give it."""
    if isinstance(contribution_fn, GradientContribution):
        loss = contribution_fn.loss
        return GradientContribution(lambda params, unit, _: loss(params, unit[0], jax.random.wrap_key_data(unit[1])))

    def contribution(params: Params, unit: PyTree[Array], key: Key[Array, ""]) -> tuple[Params, Metrics | Reported]:
        del key
        data, key_data = unit
        return contribution_fn(params, data, jax.random.wrap_key_data(key_data))

    return contribution
