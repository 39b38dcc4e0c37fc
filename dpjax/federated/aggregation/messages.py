"""The frame of every aggregation that needs each client's own message; what it makes of them is all that it adds."""

from collections.abc import Callable
from functools import wraps
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Float, Int, Key, PyTree, ScalarLike

from dpjax.checks import spoilt_by
from dpjax.clipping import Aggregation, SumFactory
from dpjax.clipping.rules import bound, group_squared_norms, leaf_groups, weighted_product
from dpjax.contribution import ContributionFn, Reported, as_reported
from dpjax.federated.side_keys import Purpose, side_key
from dpjax.population import accepted_by
from dpjax.ranges import CLIP_NORM
from dpjax.types import Added, ClippedSum, Cohort, Metrics, NoSensitivity, Params, at_least_float32


def clipping_as_the_sum[**Given](make: Callable[Given, Aggregation]) -> Callable[Given, Aggregation]:
    """An aggregation that takes no rule of clipping of its own, and says so to who gives one."""

    @wraps(make)
    def without_rule(*args: Given.args, **options: Given.kwargs) -> Aggregation:
        if "rule" in options:
            raise TypeError(
                f"rule is given to {make.__name__}, which clips by the rule of the sum that it is put around; give it "
                "to Summing or clipped_sum alone."
            )
        return make(*args, **options)

    return without_rule


class Round(NamedTuple):
    """What an aggregation forms its sum from.

    Attributes:
      vectors: pytree, leaves ``[slots, ...]``: contributions before clipping; zero where there is none.
      plain: their clipped sum, as the kernel forms it.
      cohort: whose they are; clients that were lost within are not in it.
      key: of the round's contributions; an aggregation draws from ``side_key`` of it.
      clip_norm: scalar; what bounds a message: the clip norm asked for, or that of ``plain`` where something within
        lowered it.
    """

    vectors: PyTree[Array]
    plain: ClippedSum
    cohort: Cohort
    key: Key[Array, ""]
    clip_norm: Float[Array, ""]

    @property
    def size(self) -> int:
        """Coordinates of a message."""
        return sum(x.size for x in jax.tree.leaves(self.plain.total))

    @property
    def dtype(self) -> jnp.dtype:
        """Of messages once they are bounded."""
        return at_least_float32(*(x.dtype for x in jax.tree.leaves(self.vectors)))


class Formed(NamedTuple):
    """What an aggregation made of a round; the frame fills ``ClippedSum`` with it.

    Attributes:
      total: ``[size]``; in the place of the plain sum.
      arrived: ``[slots]``; whose message the server got. None: everybody's.
      noise: as in ``ClippedSum``.
      noise_sum: ``[size]``; clients' own noise within ``total``, which is no error of the aggregation.
      released: as in ``ClippedSum``.
      report: of the aggregation, in the place of what clients said they sent. None: clients' own words stand.
    """

    total: Float[Array, "size"]
    arrived: Bool[Array, "slots"] | None = None
    noise: Added | NoSensitivity | None = None
    noise_sum: Float[Array, "size"] | None = None
    released: Bool[Array, ""] | None = None
    report: Metrics | None = None


def formed_from_messages(
    form: Callable[[Round], Formed], *numbers: ScalarLike, bounded_for: str | None = None
) -> Aggregation:
    """An aggregation of every client's message: memory of slots × parameters, as a server would hold.

    Where messages can be lost it reports ``dropped`` clients and ``aggregation_error``: the largest coordinate error /
    clip norm against the plain sum of who arrived.

    Formal guarantees: as ``form`` makes them. A total without sensitivity says that nothing bounds a unit: its
    ``clip_norm`` is inf.

    Args:
      form: one round's messages → what stands in the place of their sum.
      numbers: as ``dpjax.checks.number`` gave them back; the total is NaN where a traced one is out of its range.
      bounded_for: what holds vectors of bounded norm only, so that an infinite clip norm is refused, or NaN where it
        is traced; None: one may be infinite.
    """

    def aggregation(factory: SumFactory) -> SumFactory:
        def make(contribution_fn: ContributionFn):
            gather = factory(_with_message(contribution_fn))

            def fun(
                params: Params, cohort: Cohort, key: Key[Array, ""], clip_norm: float | Float[Array, ""]
            ) -> ClippedSum:
                gathered = gather(params, cohort, key, clip_norm)
                vectors, plain = gathered.messages, gathered._replace(messages=None)
                if bounded_for is not None:
                    fix = f"{bounded_for} holds vectors of bounded norm only"
                    clip_norm = CLIP_NORM._replace(finite=True, fix=fix).number("clip_norm", clip_norm)
                limit = jnp.minimum(jnp.asarray(clip_norm, jnp.float32), plain.clip_norm.astype(jnp.float32))
                there = cohort if plain.arrived is None else cohort._replace(mask=plain.arrived)
                this = Round(vectors, plain, there, key, limit)
                formed = form(this)
                return _filled(cohort, this, formed._replace(total=spoilt_by(formed.total, *numbers)))

            return fun

        return make

    return aggregation


def _with_message(contribution_fn: ContributionFn) -> ContributionFn:
    """The contribution, which hands its message over as it was before clipping."""

    def sending(params: Params, unit: PyTree[Array], key: Key[Array, ""]) -> tuple[Params, Reported]:
        vector, beside = contribution_fn(params, unit, key)
        report = as_reported(beside)
        if report.message is not None:
            raise ValueError(
                "two of robust, local, secure and homomorphic aggregation are around each other, and each forms "
                "the sum from every message; use one of them."
            )
        return vector, report._replace(message=vector)

    return sending


def _filled(drawn: Cohort, this: Round, formed: Formed) -> ClippedSum:
    """The plain sum of the cohort that was drawn, with what the aggregation formed in its place."""
    plain, report = this.plain, formed.report
    filled = plain._replace(total=ravel_pytree(plain.total)[1](formed.total), noise=formed.noise)
    if isinstance(formed.noise, NoSensitivity):
        filled = filled._replace(clip_norm=jnp.full_like(plain.clip_norm, jnp.inf))
    if formed.released is not None:
        filled = filled._replace(released=formed.released)
    if formed.arrived is not None:
        filled = filled._replace(accepted=heard(plain, formed.arrived), arrived=formed.arrived)
        dropped = {"dropped": count_lost(drawn, formed.arrived)}
        report = (report or {}) | dropped | {"aggregation_error": _error(this, formed, formed.arrived)}
    if report is None:
        return filled
    report = dict(plain.report) | report
    aux = {name: metric for name, metric in plain.aux.items() if name not in report}
    return filled._replace(aux=aux, report=report, uplink_bytes=None)


def _error(this: Round, formed: Formed, arrived: Bool[Array, "slots"]) -> Float[Array, ""]:
    """How far the total is from the plain sum of those who arrived: the largest coordinate / clip norm."""
    error = formed.total - clipped_sum_of(this, this.cohort._replace(mask=arrived))
    if formed.noise_sum is not None:
        error -= formed.noise_sum
    return jnp.max(jnp.abs(error)) / this.clip_norm


def clipped_rows(this: Round, cohort: Cohort, fraction: float = 1.0) -> Float[Array, "slots size"]:
    """Each client's message bounded and weighted, flat; zeros for empty slots and messages that are not finite.

    Args:
      this: the round.
      cohort: the round's own, or with another mask or other weights.
      fraction: of the clip norm, which a message may fill.
    """
    leaves = [
        (x * scale.reshape(-1, *[1] * (x.ndim - 1))).reshape(len(x), -1).astype(scale.dtype)
        for x, scale in _scaled(this, cohort, fraction)
    ]
    return jnp.concatenate(leaves, axis=1) if len(leaves) > 1 else leaves[0]


def clipped_sum_of(this: Round, cohort: Cohort) -> Float[Array, "size"]:
    """The sum of ``clipped_rows``, which are never formed."""
    leaves = [weighted_product(scale, x.astype(scale.dtype)).ravel() for x, scale in _scaled(this, cohort, 1.0)]
    return jnp.concatenate(leaves) if len(leaves) > 1 else leaves[0]


def _scaled(this: Round, cohort: Cohort, fraction: float) -> list[tuple[Array, Float[Array, "slots"]]]:
    """Every leaf with the slots' factors on it, by the rule of the plain sum: there is no other."""
    clipped_by, vectors = this.plain.clipped_by, this.vectors
    if clipped_by is None:
        raise ValueError(
            "the sum under this aggregation does not say by which rule it clips (ClippedSum.clipped_by), and every "
            "message is clipped by that; make it from clipped_sum, or set clipped_by=ClippedBy(rule)."
        )
    groups = leaf_groups(clipped_by.rule, vectors)
    bounded = bound(clipped_by.rule, group_squared_norms(vectors, groups), cohort, this.clip_norm * fraction)
    return [(x, bounded.scale[g]) for x, g in zip(jax.tree.leaves(vectors), groups, strict=True)]


def heard(plain: ClippedSum, arrived: Bool[Array, "slots"]) -> Bool[Array, "slots"]:
    """Whose contribution is in the sum, and who is to remember the round: of those accepted, those who arrived."""
    return accepted_by(plain) & arrived


def still_there(
    present: Bool[Array, "slots"], key: Key[Array, ""], purpose: Purpose, rate: ScalarLike
) -> Bool[Array, "slots"]:
    """Those present who are not lost, each by its own coin."""
    return present & ~jax.random.bernoulli(side_key(key, purpose), rate, present.shape)


def count_lost(cohort: Cohort, arrived: Bool[Array, "slots"]) -> Int[Array, ""]:
    """How many of the cohort did not arrive."""
    return jnp.sum(cohort.mask & ~arrived, dtype=jnp.int32)
