"""Every client's own message, for aggregations that do more than add contributions up on the spot."""

from collections.abc import Callable
from functools import wraps
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Float, Key, PyTree

from dpjax.checks import number
from dpjax.clipping import Aggregation, SumFactory
from dpjax.clipping.rules import bound, group_squared_norms, leaf_groups, weighted_product
from dpjax.contribution import ContributionFn, Reported, as_reported
from dpjax.population import accepted_by
from dpjax.types import ClippedSum, Cohort, Params


def clipping_as_the_sum[**Given](make: Callable[Given, Aggregation]) -> Callable[Given, Aggregation]:
    """An aggregation that takes no rule of clipping of its own, and says so to who gives one."""

    @wraps(make)
    def made(*args: Given.args, **options: Given.kwargs) -> Aggregation:
        if "rule" in options:
            raise TypeError(
                f"rule is given to {make.__name__}, which clips by the rule of the sum that it is put around; give it "
                "to Summing or clipped_sum alone."
            )
        return make(*args, **options)

    return made


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
        def sending(params: Params, unit: PyTree[Array], key: Key[Array, ""]) -> tuple[Params, Reported]:
            vector, said = contribution_fn(params, unit, key)
            report = as_reported(said)
            if report.message is not None:
                raise ValueError(
                    "two of robust, local, secure and homomorphic aggregation are around each other, and each forms "
                    "the sum from every message; use one of them."
                )
            return vector, report._replace(message=vector)

        inner = factory(sending)

        def fun(params: Params, cohort: Cohort, key: Key[Array, ""], clip_norm: float | Float[Array, ""]) -> Messages:
            plain = inner(params, cohort, key, clip_norm)
            return Messages(plain.messages, plain._replace(messages=None))

        return fun

    return make


def clipped_rows(messages: Messages, cohort: Cohort, clip_norm: Float[Array, ""]) -> Float[Array, "slots size"]:
    """Each client's message bounded and weighted, flat; zeros for empty slots and messages that are not finite."""
    leaves = [
        (x * scale.reshape(-1, *[1] * (x.ndim - 1))).reshape(len(x), -1).astype(scale.dtype)
        for x, scale in _scaled(messages, cohort, clip_norm)
    ]
    return jnp.concatenate(leaves, axis=1) if len(leaves) > 1 else leaves[0]


def clipped_sum_of(messages: Messages, cohort: Cohort, clip_norm: Float[Array, ""]) -> Float[Array, "size"]:
    """The sum of ``clipped_rows``, which are never formed."""
    leaves = [
        weighted_product(scale, x.astype(scale.dtype)).ravel() for x, scale in _scaled(messages, cohort, clip_norm)
    ]
    return jnp.concatenate(leaves) if len(leaves) > 1 else leaves[0]


def _scaled(
    messages: Messages, cohort: Cohort, clip_norm: Float[Array, ""]
) -> list[tuple[Array, Float[Array, "slots"]]]:
    """Every leaf with the slots' factors on it, by the rule of the plain sum: there is no other."""
    said, vectors = messages.plain.clipped_by, messages.vectors
    if said is None:
        raise ValueError(
            "the sum under this aggregation does not say by which rule it clips (ClippedSum.clipped_by), and every "
            "message is clipped by that; make it from clipped_sum, or set clipped_by=ClippedBy(rule)."
        )
    groups = leaf_groups(said.rule, vectors)
    bounded = bound(said.rule, group_squared_norms(vectors, groups), cohort, clip_norm)
    return [(x, bounded.scale[g]) for x, g in zip(jax.tree.leaves(vectors), groups, strict=True)]


def like_total(flat: Float[Array, "size"], plain: ClippedSum) -> Params:
    """A flat sum in the shape of the plain one."""
    return ravel_pytree(plain.total)[1](flat)


def heard(plain: ClippedSum, arrived: Bool[Array, "slots"]) -> Bool[Array, "slots"]:
    """Whose contribution is in the sum, and who is to remember the round: of those accepted, those who arrived."""
    return accepted_by(plain) & arrived


def told(plain: ClippedSum, report: dict[str, Array]) -> dict[str, PyTree[Array] | None]:
    """Fields of a sum by messages: a report of them, the bytes sent too, stands in the place of what clients said."""
    everything = dict(plain.report) | report
    aux = {name: metric for name, metric in plain.aux.items() if name not in everything}
    return {"aux": aux, "report": everything, "uplink_bytes": None}


def side_key(key: Key[Array, ""], purpose: int) -> Key[Array, ""]:
    """A key beside those of the slots, which count up from 0."""
    return jax.random.fold_in(key, 2**32 - 1 - purpose)


def finite_clip_norm(clip_norm: float | Float[Array, ""], plain: ClippedSum, holder: str) -> Float[Array, ""]:
    """``clip_norm_of``, refused if the clip norm is infinite; NaN where it is traced, and so is the sum."""
    fix = f"{holder} holds vectors of bounded norm only"
    return clip_norm_of(number("clip_norm", clip_norm, above=0, fix=fix), plain)


def clip_norm_of(clip_norm: float | Float[Array, ""], plain: ClippedSum) -> Float[Array, ""]:
    """What bounds a message: the clip norm asked for, or that of the plain sum where something within lowered it."""
    return jnp.minimum(jnp.asarray(clip_norm, jnp.float32), plain.clip_norm.astype(jnp.float32))
