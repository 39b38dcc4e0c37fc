"""Clipped sums bucket by bucket: each part of a cohort in a shape of its own."""

from collections.abc import Sequence
from functools import reduce

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key, PyTree

from dpjax.buckets import Buckets
from dpjax.clipping import SumFactory
from dpjax.contribution import ContributionFn, GradientContribution
from dpjax.types import ClippedSum, Cohort, Metrics, Params, Stateful


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

    def make(contribution_fn: ContributionFn):
        inner = factory(with_own_key(contribution_fn))

        def fun(params: Params, cohort: Cohort, key: Key[Array, ""], clip_norm: float | Float[Array, ""]) -> ClippedSum:
            slots = cohort.mask.shape[0]
            stateful = isinstance(cohort.units, Stateful)
            number, state = cohort.units if stateful else (cohort.units, ())
            keys = jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, jnp.arange(slots, dtype=jnp.int32))
            keys = jax.random.key_data(keys)
            home = jnp.where(cohort.mask, jnp.searchsorted(jnp.asarray(ends), number, side="right"), len(ends))
            order = jnp.argsort(home)
            first = jnp.searchsorted(home[order], jnp.arange(len(ends)))

            def one(b: int) -> ClippedSum:
                slot = jnp.roll(order, -first[b])  # this bucket's members come first
                row = jnp.clip(number[slot] - int(starts[b]), 0, buckets.sizes[b] - 1)
                unit = jax.tree.map(lambda x: x[row], buckets.tables[b])
                if stateful:
                    unit = Stateful(unit, jax.tree.map(lambda x: x[slot], state))
                weights = None if cohort.weights is None else cohort.weights[slot]
                part = inner(params, Cohort((unit, keys[slot]), home[slot] == b, weights), key, clip_norm)

                def back(x: Array) -> Array:
                    return jnp.zeros_like(x).at[slot].set(x)

                return part._replace(norms=back(part.norms), per_unit=jax.tree.map(back, part.per_unit))

            parts = [one(b) for b in range(len(ends))]
            return add_up_parts(parts)

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

    def contribution(params: Params, unit: PyTree[Array], key: Key[Array, ""]) -> tuple[Params, Metrics]:
        del key
        data, key_data = unit
        return contribution_fn(params, data, jax.random.wrap_key_data(key_data))

    return contribution
