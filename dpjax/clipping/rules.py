"""Clipping rules: from the norms of contributions to the factors that bound them."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.core import Tracer
from jaxtyping import Array, Bool, Float, Int, PyTree

from dpjax.checks import brief, function
from dpjax.clipping.layout import Shards, constrained, specs, sums_where_they_lie
from dpjax.clipping.summing import add_up, sum_squares
from dpjax.contribution import Reported, as_reported
from dpjax.ranges import SMALLEST_CLIP_NORM, STABILITY
from dpjax.types import ClippedSum, Cohort, Metrics, Params, PerUnit, at_least_float32

_FEW = 8
"""Slots up to which a loop is as fast as a matmul; XLA's CPU backend compiles equal loops once, and matmuls each."""


class ClippingRule(NamedTuple):
    """How a contribution is bounded. Under every rule no unit moves the sum by more than ``clip_norm`` in L2.

    Formal guarantees: those of ``clipped_sum``, whatever the rule, and whatever ``groups`` returns, which sees paths
    and no data.

    Attributes:
      groups: path of a parameter (as ``jax.tree_util.keystr`` writes it) → label of its group; one group if None.
        Each of K groups is bounded to ``clip_norm / √K``.
      stability: None clips to the bound; a number γ ≥ 1e-12 normalises to it, by ``bound / (norm + γ)``.
    """

    groups: Callable[[str], str] | None = None
    stability: float | None = None


def flat_clipping() -> ClippingRule:
    """Scale a unit by ``min(1, clip_norm / norm)`` over all its parameters: the default.

    Formal guarantees: a unit's contribution keeps an L2 norm of at most ``clip_norm · (1 + 1e-6)``, so that one unit
    moves the sum by no more; a shorter one is summed as it is.

    Returns:
      The rule, for ``clipped_sum(rule=...)``.

    Example:
      >>> from dpjax import clipped_sum, example_gradient
      >>> sum_fn = clipped_sum(example_gradient(lambda w, x, key: w * x), rule=flat_clipping())

    References:
      Abadi et al., Deep Learning with Differential Privacy, 2016 (https://arxiv.org/abs/1607.00133).
    """
    return ClippingRule()


def per_layer_clipping() -> ClippingRule:
    """Clip each layer by itself, to ``clip_norm / √(number of layers)``.

    A layer is what shares the path up to its last key (a dense layer's kernel and bias); a parameter at the top
    is a layer of its own.

    Formal guarantees: the squares of the layers' bounds add up to ``clip_norm²``, so that a unit's contribution keeps
    an L2 norm of at most ``clip_norm · (1 + 1e-6)``.

    Returns:
      The rule, for ``clipped_sum(rule=...)``.

    Example:
      >>> per_layer_clipping().groups("['mlp']['w']"), per_layer_clipping().groups("['scale']")
      ("['mlp']", "['scale']")

    References:
      McMahan et al., Learning Differentially Private Recurrent Language Models, 2018 (https://arxiv.org/abs/1710.06963).
    """
    return ClippingRule(groups=_parent)


def group_clipping(groups: Callable[[str], str]) -> ClippingRule:
    """Clip groups of parameters, each to ``clip_norm / √(number of groups)``.

    Formal guarantees: the squares of the groups' bounds add up to ``clip_norm²``, so that a unit's contribution keeps
    an L2 norm of at most ``clip_norm · (1 + 1e-6)``; which group a parameter is in must not depend on the data.

    Args:
      groups: path of a parameter, such as ``"['encoder']['w']"`` → label of its group.

    Returns:
      The rule, for ``clipped_sum(rule=...)``.

    Example:
      >>> rule = group_clipping(lambda path: "head" if "head" in path else "body")
      >>> rule.groups("['head']['w']")
      'head'
    """
    function("groups", groups, fix="it takes a parameter's path to the label of its group")
    return ClippingRule(groups=groups)


def automatic_clipping(stability: float = 0.01, *, groups: Callable[[str], str] | None = None) -> ClippingRule:
    """Normalise every unit to nearly ``clip_norm``, by ``clip_norm / (norm + stability)``: no clip norm to tune.

    The learning rate takes over the clip norm's part, so leave ``clip_norm`` at 1.

    Formal guarantees: every unit's contribution has an L2 norm below ``clip_norm``, up to rounding, whatever the
    ``stability``; sensitivity is that of ``flat_clipping``.

    Args:
      stability: γ ≥ 1e-12, in the units of the gradient; small gradients stay small.
      groups: as for ``group_clipping``; one group if None.

    Returns:
      The rule, for ``clipped_sum(rule=...)``.

    Raises:
      ValueError: ``stability`` < 1e-12.

    Example:
      >>> automatic_clipping(0.1).stability
      0.1

    References:
      Bu et al., Automatic Clipping, 2022 (https://arxiv.org/abs/2206.07136).
    """
    if not isinstance(stability, Tracer):
        stability = STABILITY.number("stability", stability)
    return check_rule(ClippingRule(groups, stability))


def check_rule(rule: ClippingRule) -> ClippingRule:
    """The rule itself.

    Raises:
      TypeError: no ``ClippingRule``, or ``groups`` that is no function.
      ValueError: ``stability`` that is not a finite number ≥ 1e-12. Where it is traced, ``bound``
        holds.
    """
    if not isinstance(rule, ClippingRule):
        raise TypeError(f"rule={brief(rule)} is no ClippingRule; use flat_clipping(), or leave it out.")
    if rule.groups is not None:
        function("groups", rule.groups, fix="it takes a parameter's path to the label of its group")
    stability = rule.stability
    if stability is None or isinstance(stability, Tracer):
        return rule
    STABILITY.number("stability", stability)
    return rule


def _parent(path: str) -> str:
    for opener in ("[", "."):
        cut = path.rfind(opener)
        if cut > 0 and (opener == "[" or not path.endswith("]")):
            return path[:cut]
    return path


def leaf_groups(rule: ClippingRule, params: Params) -> tuple[int, ...]:
    """The group number of each leaf of ``params``, in the order of ``jax.tree.leaves``."""
    paths = [jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_leaves_with_path(params)]
    if rule.groups is None:
        return (0,) * len(paths)
    labels = [rule.groups(path) for path in paths]
    order = list(dict.fromkeys(labels))
    return tuple(order.index(label) for label in labels)


class Bounded(NamedTuple):
    """The outcome of a rule for each slot; ``tame`` if no slot, filled or empty, holds anything that is not finite."""

    norms: Float[Array, "slots"]
    scale: Float[Array, "groups slots"]
    accepted: Bool[Array, "slots"]
    tame: Bool[Array, ""]


def bound(
    rule: ClippingRule,
    squared: Float[Array, "groups slots"],
    cohort: Cohort,
    clip_norm: Float[Array, ""],
) -> Bounded:
    """Norms and factors from squared norms, weights included; empty and non-finite slots get the factor zero."""
    norms = jnp.sqrt(jnp.sum(squared, axis=0))
    # A finite contribution whose squared norm overflows is rejected too: zero always obeys the bound.
    accepted = cohort.mask & jnp.isfinite(norms)
    group_norms = jnp.where(accepted, jnp.sqrt(squared), 0.0)
    limit = jnp.where(clip_norm >= SMALLEST_CLIP_NORM, clip_norm, 0.0).astype(norms.dtype) / squared.shape[0] ** 0.5
    # Whatever the rule says, no group leaves with more than its limit.
    largest = limit / jnp.maximum(group_norms, jnp.finfo(norms.dtype).tiny)
    if rule.stability is None:
        scale = jnp.minimum(1.0, largest)
    else:
        scale = jnp.where(jnp.isinf(limit), 1.0, limit / (group_norms + rule.stability))
        scale = jnp.minimum(scale, jnp.finfo(scale.dtype).max)  # an infinite factor would make zeros NaN
        sound = jnp.asarray(rule.stability) >= SMALLEST_CLIP_NORM
        scale = jnp.where(sound & (scale >= 0) & (scale <= largest), scale, 0.0)
    if cohort.weights is not None:
        scale = scale * jnp.nan_to_num(jnp.clip(cohort.weights, 0.0, 1.0)).astype(scale.dtype)[None]
    tame = jnp.all(jnp.isfinite(norms))
    return Bounded(jnp.where(accepted, norms, 0.0), jnp.where(accepted, scale, 0.0), accepted, tame)


def group_squared_norms(stack: PyTree[Array], groups: tuple[int, ...]) -> Float[Array, "groups slots"]:
    """Squared L2 norm of each group of each contribution, leaves ``[slots, ...]``, in at least float32."""
    leaves = jax.tree.leaves(stack)
    dtype = at_least_float32(*(x.dtype for x in leaves))
    squares = [sum_squares(x.astype(dtype)) for x in leaves]
    return add_up_groups(squares, groups)


def add_up_groups(squares: list[Float[Array, "slots"]], groups: tuple[int, ...]) -> Float[Array, "groups slots"]:
    """Rows of squared norms, one for each group, from those of the leaves."""
    members = [[s for s, g in zip(squares, groups, strict=True) if g == k] for k in range(max(groups) + 1)]
    return jnp.stack([add_up(row) for row in members])


def clip_and_sum(
    stack: PyTree[Array],
    reports: Metrics | Reported,
    cohort: Cohort,
    clip_norm: Float[Array, ""],
    rule: ClippingRule,
    shards: Shards | None = None,
) -> ClippedSum:
    """Clip each contribution of a stack and sum; empty and non-finite slots count as zero."""
    groups = leaf_groups(rule, stack)
    squared: Callable[[PyTree[Array]], Array] = partial(group_squared_norms, groups=groups)
    where = None
    if shards is not None:
        where = specs(shards, jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), stack))
        stack = constrained(shards, stack, where, 1)
        squared = partial(sums_where_they_lie, shards, squared, where=where)
    bounded = bound(rule, squared(stack), cohort, clip_norm)
    leaves, treedef = jax.tree.flatten(stack)
    totals = [weighted_sum(bounded.scale[g], bounded.accepted, x) for x, g in zip(leaves, groups, strict=True)]
    total = jax.tree.unflatten(treedef, totals)
    return ClippedSum(
        total=total if shards is None else constrained(shards, total, where),
        clip_norm=clip_norm,
        norms=bounded.norms,
        num_rejected=count_rejected(cohort.mask, bounded.accepted),
        **handed_over(reports, bounded.accepted),
    )


def weighted_sum(
    scale: Float[Array, "slots"], accepted: Bool[Array, "slots"], leaf: Float[Array, "slots ..."]
) -> Float[Array, "..."]:
    """``Σ scale × leaf`` over the accepted slots, in at least float32."""
    dtype = at_least_float32(leaf.dtype)
    # 0 × NaN is NaN, so rejected slots are replaced before they are weighted.
    sound = jnp.where(accepted.reshape(-1, *[1] * (leaf.ndim - 1)), leaf.astype(dtype), 0)
    return weighted_product(scale, sound)


def weighted_product(scale: Float[Array, "slots"], stack: Float[Array, "slots ..."]) -> Float[Array, "..."]:
    """``Σ scale × leaf`` over slots that are all finite, in the leaf's own precision."""
    if stack.shape[0] <= _FEW:
        return jnp.sum(scale.astype(stack.dtype).reshape(-1, *[1] * (stack.ndim - 1)) * stack, axis=0)
    # Reduced-precision matmul units would round contributions past their bound.
    return jnp.tensordot(scale.astype(stack.dtype), stack, axes=1, precision=jax.lax.Precision.HIGHEST)


def count_rejected(mask: Bool[Array, "slots"], accepted: Bool[Array, "slots"]) -> Int[Array, ""]:
    """How many filled slots were not finite."""
    return jnp.sum(mask & ~accepted, dtype=jnp.int32)


def handed_over(reports: Metrics | Reported, accepted: Bool[Array, "slots"]) -> dict[str, Any]:
    """Fields of a ``ClippedSum`` from what its units reported, leaves ``[slots, ...]``.

    Sums are over those accepted; what stays one per slot is zero in all others.
    """

    def accepted_only(value: Array) -> Array:
        return jnp.where(accepted.reshape(-1, *[1] * (value.ndim - 1)), value, jnp.zeros((), value.dtype))

    def added(value: Array) -> Array:
        return jnp.sum(accepted_only(value), axis=0)

    report = as_reported(reports)
    per_unit = {name: metric.value for name, metric in report.metrics.items() if isinstance(metric, PerUnit)}
    summed = {name: metric for name, metric in report.metrics.items() if not isinstance(metric, PerUnit)}
    return {
        "aux": jax.tree.map(added, summed),
        "per_unit": jax.tree.map(accepted_only, per_unit),
        "accepted": accepted,
        "unit_states": jax.tree.map(accepted_only, report.unit_state),
        "messages": jax.tree.map(accepted_only, report.message),
        "uplink_bytes": jax.tree.map(added, report.uplink_bytes),
        "local_overflows": jax.tree.map(added, report.local_overflows),
    }
