"""Flat L2 clipping of a stack of contributions, summed in one pass."""

from functools import partial, reduce

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PyTree

from dpjax.types import ClippedSum, Metrics, at_least_float32


def squared_norms(stack: PyTree[Array]) -> Float[Array, "slots"]:
    """Squared L2 norm of each contribution in a stack whose leaves are ``[slots, ...]``, in at least float32."""
    leaves = jax.tree.leaves(stack)
    dtype = at_least_float32(*(x.dtype for x in leaves))
    return reduce(jnp.add, [jnp.sum(jnp.square(x.astype(dtype)), axis=tuple(range(1, x.ndim))) for x in leaves])


def clip_scale(norms: Float[Array, "slots"], clip_norm: Float[Array, ""]) -> Float[Array, "slots"]:
    """``min(1, clip_norm / norm)``, and 1 where the norm is 0 or ``clip_norm`` is infinite."""
    return jnp.minimum(1.0, clip_norm.astype(norms.dtype) / jnp.maximum(norms, jnp.finfo(norms.dtype).tiny))


def clip_and_sum(
    stack: PyTree[Array], metrics: Metrics, mask: Bool[Array, "slots"], clip_norm: Float[Array, ""]
) -> ClippedSum:
    """Clip each contribution of a stack to ``clip_norm`` and sum; empty and non-finite slots count as zero."""
    norms = jnp.sqrt(squared_norms(stack))
    # A finite contribution whose squared norm overflows is rejected too: zero always obeys the bound.
    accepted = mask & jnp.isfinite(norms)
    norms = jnp.where(accepted, norms, 0.0)
    scale = jnp.where(accepted, clip_scale(norms, clip_norm), 0.0)
    return ClippedSum(
        total=jax.tree.map(partial(_weighted_sum, scale, accepted), stack),
        clip_norm=clip_norm,
        norms=norms,
        num_rejected=jnp.sum(mask & ~accepted, dtype=jnp.int32),
        aux=jax.tree.map(partial(_masked_sum, accepted), metrics),
    )


def _weighted_sum(scale: Float[Array, "slots"], accepted: Bool[Array, "slots"], leaf: Array) -> Array:
    dtype = at_least_float32(leaf.dtype)
    # 0 × NaN is NaN, so rejected slots are replaced before they are weighted.
    kept = jnp.where(accepted.reshape(-1, *[1] * (leaf.ndim - 1)), leaf.astype(dtype), 0)
    # Reduced-precision matmul units would round contributions past their bound.
    return jnp.tensordot(scale.astype(dtype), kept, axes=1, precision=jax.lax.Precision.HIGHEST)


def _masked_sum(accepted: Bool[Array, "slots"], metric: Float[Array, "slots ..."] | Int[Array, "slots ..."]) -> Array:
    return jnp.sum(jnp.where(accepted.reshape(-1, *[1] * (metric.ndim - 1)), metric, 0), axis=0)
