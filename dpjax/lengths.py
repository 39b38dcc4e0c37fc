"""Texts of one cohort sorted by length, so that short ones do not pay for long ones."""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, PyTree

from dpjax.bucket_sums import sum_by_bucket
from dpjax.buckets import cuts
from dpjax.clipping import Aggregation
from dpjax.models.pretrained import Encoded


def length_buckets(
    lengths: Sequence[int],
    *,
    ids_of: Callable[[PyTree[Array]], Int[Array, "slots length"]] = lambda units: units[0],
    replace_ids: Callable[[PyTree[Array], Int[Array, "slots shorter"]], PyTree[Array]] = lambda units, ids: (
        ids,
        *units[1:],
    ),
) -> Aggregation:
    """Clipped sums in which every text is cut to the smallest of some lengths that holds it.

    The cohort is drawn as ever, and then sorted: sampling, slots, keys and noise are those of one length for all, so ε
    is untouched. A bucket's loop stops after its last text, so that a cohort costs what its texts hold.

    Formal guarantees: as of the sum it is made of; a unit is in exactly one bucket. Only padding is cut off, so that
    what a unit contributes does not change, beyond rounding, if the model gives no weight to padding.

    Args:
      lengths: tokens, ascending; the last is that of the stored rows. Each is compiled by itself.
      ids_of: units → ids ``[slots, length]``, negative beyond a text's end; the first entry of a tuple by default.
      replace_ids: (units, cut ids) → units.

    Returns:
      What ``Summing(aggregation=...)`` takes.

    Raises:
      ValueError: no lengths, or not ascending; when traced, a last length other than the rows', or buckets around an
        aggregation, which goes around them.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from dpjax import Cohort, clipped_sum, example_gradient
      >>> loss_fn = lambda w, unit, key: w * jnp.sum(unit[0] >= 0, dtype=jnp.float32)
      >>> ids = jnp.array([[5, -1, -1, -1], [5, 6, 7, 8]])
      >>> sum_fn = length_buckets((2, 4))(clipped_sum)(example_gradient(loss_fn))
      >>> cohort = Cohort((ids, jnp.zeros(2)), jnp.ones(2, bool))
      >>> print(sum_fn(jnp.float32(1), cohort, jax.random.key(0), 3.0).total)
      4.0
    """
    if not lengths or list(lengths) != sorted(set(lengths)) or lengths[0] < 1:
        raise ValueError(f"lengths={list(lengths)} must be ascending numbers of tokens, at least one.")

    def home_of(units: PyTree[Array]) -> Int[Array, "slots"]:
        ids = ids_of(units)
        if ids.shape[1] != lengths[-1]:
            raise ValueError(f"lengths={list(lengths)} must end at the rows' length, {ids.shape[1]}.")
        return jnp.searchsorted(jnp.asarray(lengths), jnp.sum(ids >= 0, axis=1))

    def members(units: PyTree[Array], bucket: int, slot: Int[Array, "slots"]) -> PyTree[Array]:
        units = jax.tree.map(lambda x: jnp.asarray(x)[slot], units)
        return replace_ids(units, ids_of(units)[:, : lengths[bucket]])

    return lambda factory: sum_by_bucket(factory, len(lengths), home_of, members)


def lengths_of(rows: Encoded, num_lengths: int) -> tuple[int, ...]:
    """Where texts are cut so that little padding is left; multiples of 8, which matmuls like.

    They follow from the data, but only how fast a run is depends on them.
    """
    longest = rows.ids.shape[1]
    sizes = np.sort((rows.ids >= 0).sum(1))
    ends = [int(sizes[end - 1]) for _, end in cuts(sizes, num_lengths)]
    rounded = {min(longest, -(-end // 8) * 8) for end in ends[:-1]}
    return (*sorted(length for length in rounded if length < longest), longest)
