"""Robust aggregation: sums that a minority of corrupted clients cannot carry off, and that noise does not cover."""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from dpjax.checks import one_of, whole_number
from dpjax.clipping import Aggregation
from dpjax.federated.aggregation.messages import Formed, Round, clipped_rows, clipping_as_the_sum, formed_from_messages
from dpjax.population import accepted_by
from dpjax.ranges import ROBUST_FRACTION
from dpjax.types import NoSensitivity

KINDS = ("trimmed_mean", "median", "krum", "multi_krum", "geometric_median")
"""How messages become one; see ``robust_aggregation``."""

Rows = Float[Array, "slots size"]
Present = Bool[Array, "slots"]
Combine = Callable[[Rows, Present], Float[Array, "size"]]


@clipping_as_the_sum
def robust_aggregation(
    kind: str,
    *,
    corrupted_fraction: float | Float[Array, ""] | None = None,
    num_iterations: int = 16,
) -> Aggregation:
    """Robust means of clipped messages in place of their sum: what some corrupted clients send has limited effect.

    The total is the robust mean × the number of clients present, those whose message arrived and is finite. Where all
    send the same it is the plain sum, with all that follows from it: an empty cohort gives zero, and after the division
    by the expected cohort a small cohort takes a small step, as without an attack. Messages are clipped by the rule of
    the sum that this is put around.

    Formal guarantees: none of privacy. **The sensitivity of the sum is lost**: one client more or less can change which
    messages count, so that in a cohort of n the total can move by more than n × clip norm. Noise of noise multiplier ×
    clip norm does not cover that, so no finite ε may be stated: ``ClippedSum.clip_norm`` is ``inf`` and its
    ``noise`` ``NoSensitivity``, and a step that would add noise is refused, or all NaN where the noise multiplier is
    traced.

    Args:
      kind: ``"trimmed_mean"`` (of each coordinate, without the share's largest and smallest), ``"median"`` (of each
        coordinate), ``"krum"`` (the message that is nearest to its neighbours), ``"multi_krum"`` (the mean of all but
        the share of messages that are farthest from theirs) or ``"geometric_median"`` (the point with the least sum of
        distances, by smoothed Weiszfeld steps).
      corrupted_fraction: share in [0, 0.5) of the clients present that may be corrupted, traced or not: of n, the
        number assumed is f = ⌊share × n⌋, the share being float32's next number up, so that .29 of 100 are 29.
        Needed by ``"trimmed_mean"``, ``"krum"`` and ``"multi_krum"``, and by them only. A cohort drawn at random can
        hold a larger share than the population: leave room. Krum's own bound needs n ≥ 2f + 3; with fewer it goes by
        the nearest neighbour.
      num_iterations: Weiszfeld steps ≥ 1 of ``"geometric_median"``.

    Returns:
      For ``Summing(aggregation=...)``; it holds slots × parameters in memory.

    Raises:
      ValueError: an unknown kind, a number out of range, or a share given where none is used; when traced, weights, or
        a secure aggregation within.

    Example:
      >>> from dpjax import Cohort, clipped_sum, example_gradient
      >>> messages = jnp.array([[1.0, 0.0], [1.0, 0.2], [0.8, 0.0], [-9.0, -9.0]])
      >>> median = robust_aggregation("median")(clipped_sum)(example_gradient(lambda w, x, key: w @ x))
      >>> out = median(jnp.zeros(2), Cohort(messages, jnp.ones(4, bool)), jax.random.key(0), 1.0)
      >>> print(out.total.round(2), out.clip_norm)
      [3.56 0.  ] inf

    References:
      Yin et al., 2018 (https://arxiv.org/abs/1803.01498); Blanchard et al., 2017 (https://arxiv.org/abs/1703.02757);
      Pillutla et al., 2022 (https://arxiv.org/abs/1912.13445).
    """
    one_of("kind", kind, KINDS)
    whole_number("num_iterations", num_iterations, fix="it counts Weiszfeld steps")
    if kind in ("median", "geometric_median"):
        if corrupted_fraction is not None:
            raise ValueError(f"corrupted_fraction={corrupted_fraction} is not used by kind={kind!r}; leave it out.")
        combine = _median if kind == "median" else partial(_geometric_median, num_iterations=num_iterations)
        return _in_place_of_the_sum(combine)
    if corrupted_fraction is None:
        raise ValueError(f"corrupted_fraction=None, but kind={kind!r} needs the share of clients to do without.")
    fraction = ROBUST_FRACTION.number("corrupted_fraction", corrupted_fraction)
    if kind == "trimmed_mean":
        return _in_place_of_the_sum(partial(_trimmed_mean, fraction=fraction), fraction)
    return _in_place_of_the_sum(partial(_krum, fraction=fraction, many=kind == "multi_krum"), fraction)


def _in_place_of_the_sum(combine: Combine, *shares: float | Array) -> Aggregation:
    def form(this: Round) -> Formed:
        if this.cohort.weights is not None:
            raise ValueError("weights are given, but a robust mean counts all clients alike; leave weights out.")
        # A message that was rejected is a row of zeros, like an honest one may be: this tells them apart.
        present = accepted_by(this.plain)
        rows = clipped_rows(this, this.cohort._replace(mask=present))
        count = jnp.sum(present, dtype=jnp.int32)
        total = jnp.where(count > 0, combine(rows, present) * count.astype(rows.dtype), 0.0)
        return Formed(total, noise=NoSensitivity())

    return formed_from_messages(form, *shares)


def _assumed(present: Present, fraction: float | Float[Array, ""]) -> tuple[Int[Array, ""], Int[Array, ""]]:
    """How many are present, and how many of them may be corrupted: always a minority."""
    count = jnp.sum(present, dtype=jnp.int32)
    # 0.29 is a little less in float32, and 100 of it are 28.999999: one number up, what was meant is reached.
    share = jnp.nextafter(jnp.asarray(fraction, jnp.float32), jnp.float32(1)) * count.astype(jnp.float32)
    assumed = jnp.floor(share).astype(jnp.int32)
    return count, jnp.clip(assumed, 0, jnp.maximum(count - 1, 0) // 2)


def _mean_of_ranks(rows: Rows, present: Present, first: Array, end: Array) -> Float[Array, "size"]:
    """Of each coordinate's values in ascending order, those who are absent last: the mean of some in the middle."""
    ordered = jnp.sort(jnp.where(present[:, None], rows, jnp.inf), axis=0)
    rank = jnp.arange(len(rows), dtype=jnp.int32)
    inside = (rank >= first) & (rank < end)
    return jnp.sum(jnp.where(inside[:, None], ordered, 0), axis=0) / jnp.maximum(end - first, 1).astype(rows.dtype)


def _trimmed_mean(rows: Rows, present: Present, fraction: float | Float[Array, ""]) -> Float[Array, "size"]:
    count, cut = _assumed(present, fraction)
    return _mean_of_ranks(rows, present, cut, count - cut)


def _median(rows: Rows, present: Present) -> Float[Array, "size"]:
    count = jnp.sum(present, dtype=jnp.int32)
    return _mean_of_ranks(rows, present, jnp.maximum(count - 1, 0) // 2, count // 2 + 1)


def _mean(rows: Rows, chosen: Present) -> Float[Array, "size"]:
    return jnp.sum(jnp.where(chosen[:, None], rows, 0), axis=0) / jnp.maximum(jnp.sum(chosen), 1).astype(rows.dtype)


def _krum(rows: Rows, present: Present, fraction: float | Float[Array, ""], many: bool) -> Float[Array, "size"]:
    """The mean of the n − f messages (or the one) whose n − f − 2 neighbours are nearest; of equals the first."""
    slots = len(rows)
    count, assumed = _assumed(present, fraction)
    rank = jnp.arange(slots, dtype=jnp.int32)
    # By differences, row by row: from products, one attacker far away would cost all others their digits.
    distances = jax.lax.map(lambda row: jnp.sum(jnp.square(rows - row[None]), axis=1), rows)
    others = present[None] & ~jnp.eye(slots, dtype=bool)
    ordered = jnp.sort(jnp.where(others, distances, jnp.inf), axis=1)
    neighbours = jnp.minimum(jnp.maximum(count - assumed - 2, 1), count - 1)
    scores = jnp.sum(jnp.where(rank[None] < neighbours, ordered, 0), axis=1)
    order = jnp.argsort(jnp.where(present, scores, jnp.inf), stable=True)
    place = jnp.zeros_like(rank).at[order].set(rank)
    return _mean(rows, present & (place < (count - assumed if many else 1)))


def _geometric_median(rows: Rows, present: Present, num_iterations: int) -> Float[Array, "size"]:
    # From the coordinates' median, and as seen from there: neither far attackers nor what all have in common count.
    start = _median(rows, present)
    away = jnp.where(present[:, None], rows - start[None], 0)

    def distance_to(point: Float[Array, "size"]) -> Float[Array, "slots"]:
        return jnp.sqrt(jnp.sum(jnp.square(away - point[None]), axis=1))

    typical = _median(distance_to(jnp.zeros_like(start))[:, None], present)[0]
    smooth = jnp.maximum(1e-6 * typical, jnp.finfo(rows.dtype).tiny ** 0.5)  # the paper's 1e-6, at every scale

    def step(_: Int[Array, ""], point: Float[Array, "size"]) -> Float[Array, "size"]:
        weight = jnp.where(present, 1 / jnp.maximum(distance_to(point), smooth), 0)
        weight = weight / jnp.maximum(jnp.sum(weight), jnp.finfo(rows.dtype).tiny)
        return jnp.matmul(weight, away, precision=jax.lax.Precision.HIGHEST)

    return start + jax.lax.fori_loop(0, num_iterations, step, jnp.zeros_like(start))
