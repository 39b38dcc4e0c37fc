"""Ragged units in buckets of like size: few shapes, little padding."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, PyTree

from dpjax.ranges import NUM_BUCKETS
from dpjax.types import Records, check_padding


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

    Formal guarantees: each unit is in exactly one bucket with all of its records. Sizes of units decide shapes and so
    time, never what is computed.

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
    num_buckets = NUM_BUCKETS.known("num_buckets", num_buckets)
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
