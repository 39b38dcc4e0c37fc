"""Ragged units in buckets of like size: few shapes, little padding."""

from collections.abc import Sequence
from functools import reduce
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key, PyTree

from dpjax.clipping import SumFactory
from dpjax.types import (
    ClippedSum,
    Cohort,
    ContributionFn,
    GradientContribution,
    Metrics,
    Params,
    Records,
    Stateful,
    check_padding,
)


class Buckets(NamedTuple):
    """A population of units whose records are padded to the largest of their own bucket only.

    Units are numbered through: those of the first table, then those of the second, and so on.

    Attributes:
      tables: one pytree per bucket, leaves ``[units of this bucket, ...]``.
    """

    tables: tuple[PyTree[Array], ...]

    @property
    def sizes(self) -> tuple[int, ...]:
        """Units in each bucket."""
        return tuple(jax.tree.leaves(table)[0].shape[0] for table in self.tables)


def bucketed(records: Records, num_buckets: int = 4) -> tuple[Buckets, Int[np.ndarray, "units"]]:
    """Sorts units by their number of records and cuts them where padding is least.

    Args:
      records: ``[units, records]``, padded to the largest unit.
      num_buckets: at most so many; each is compiled by itself.

    Returns:
      The buckets, and for each unit of theirs its number in ``records``.

    Raises:
      TypeError: a mask that is no array of bools.
      ValueError: ``num_buckets`` < 1.

    Example:
      >>> mask = np.arange(100) < np.array([3, 2, 100, 4])[:, None]
      >>> buckets, order = bucketed(Records(jnp.zeros((4, 100), jnp.int32), jnp.asarray(mask)), 2)
      >>> [table.mask.shape for table in buckets.tables], order.tolist()
      ([(3, 4), (1, 100)], [1, 0, 3, 2])
    """
    if num_buckets < 1:
        raise ValueError(f"num_buckets={num_buckets} must be at least 1.")
    check_padding(records)
    index, mask = np.asarray(records.index), np.asarray(records.mask)
    sizes = mask.sum(1)
    order = np.argsort(sizes, kind="stable")
    # Valid records first, so that a bucket is a corner of the padded table.
    front = np.argsort(~mask, axis=1, kind="stable")
    index, mask = np.take_along_axis(index, front, 1), np.take_along_axis(mask, front, 1)
    tables = []
    for first, end in cuts(sizes[order], num_buckets):
        width = max(1, int(sizes[order[end - 1]]))
        members = order[first:end]
        tables.append(Records(jnp.asarray(index[members, :width]), jnp.asarray(mask[members, :width])))
    return Buckets(tuple(tables)), order


def cuts(sizes: Int[np.ndarray, "units"], num_buckets: int) -> list[tuple[int, int]]:
    """(first, end) of each bucket of ascending sizes with the fewest padded cells, by dynamic programming.

    Only changes of size are worth a cut, and of many of them a hundred evenly spaced ones are enough.
    """
    ends = np.flatnonzero(np.diff(sizes, append=sizes[-1] + 1)) + 1
    if len(ends) > 100:
        ends = np.unique(ends[np.linspace(0, len(ends) - 1, 100).astype(int)])
    starts = np.concatenate([[0], ends])
    widths = sizes[ends - 1]
    cost = np.where(np.arange(len(ends) + 1) == 0, 0.0, np.inf)  # of the units before starts[j]
    back = []
    for _ in range(min(num_buckets, len(ends))):
        # one more bucket, from cut i to cut j: its units times its width
        area = np.maximum(starts[None, 1:] - starts[:-1, None], 0) * widths[None, :].astype(float)
        area[starts[:-1, None] >= starts[None, 1:]] = np.inf
        total = cost[:-1, None] + area
        best = total.argmin(0)
        back.append(best)
        cost = np.concatenate([[np.inf], total[best, np.arange(len(ends))]])
    cuts, j = [], len(ends)
    for best in reversed(back):
        i = int(best[j - 1])
        cuts.append((int(starts[i]), int(starts[j])))
        j = i
    return cuts[::-1]


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
