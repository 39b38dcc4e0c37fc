"""The engines: how the stack of contributions is formed before it is clipped and summed."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from dpjax.clipping.layout import Shards
from dpjax.clipping.one_pass.bookkeeping import make_recipe, one_pass
from dpjax.clipping.one_pass.planner import contribution_microbatch
from dpjax.clipping.program import lowered, uses_references
from dpjax.clipping.rules import ClippingRule, clip_and_sum
from dpjax.contribution import ContributionFn, GradientContribution
from dpjax.types import SUMMED, ClippedSum, Cohort, Params, at_least_float32, over_slots


class Settings(NamedTuple):
    """What bounds a contribution, and what only changes speed and memory.

    Attributes:
      rule: of clipping.
      clip_norm: scalar > 0.
      microbatch_size: units formed at once; chosen by the engine if None.
      memory_budget: bytes that an engine's choice may use.
      first_slot: number of the cohort's first slot, which a unit's key follows: not 0 on all devices but one.
      shards: how the parameters are spread over devices; None: each holds them all.
    """

    rule: ClippingRule
    clip_norm: Float[Array, ""]
    microbatch_size: int | None
    memory_budget: float
    first_slot: Int[Array, ""]
    shards: Shards | None = None


def materialize(
    contribution_fn: ContributionFn, params: Params, cohort: Cohort, key: Key[Array, ""], settings: Settings
) -> ClippedSum:
    """All contributions at once by ``vmap``: slots × parameters of memory, the plainest form of the truth."""
    slots = settings.first_slot + jnp.arange(cohort.mask.shape[0], dtype=jnp.int32)
    return _materialize_slots(contribution_fn, params, cohort, slots, key, settings)


def microbatch(
    contribution_fn: ContributionFn, params: Params, cohort: Cohort, key: Key[Array, ""], settings: Settings
) -> ClippedSum:
    """A loop of ``vmap``s over microbatches that stops after the last filled slot.

    Memory is microbatch_size × parameters. Empty microbatches at the end are not computed, so the
    spare capacity of Poisson sampling costs at most one microbatch.
    """

    def one(part: Cohort, slots: Int[Array, "slots"], before: None) -> ClippedSum:
        return _materialize_slots(contribution_fn, params, part, slots, key, settings)

    size = settings.microbatch_size
    if size is None:
        unit = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), cohort.units)
        jaxpr = jax.make_jaxpr(lowered(contribution_fn))(params, unit, key).jaxpr
        shards = 1 if settings.shards is None else settings.shards.size
        size = contribution_microbatch(params, jaxpr, cohort.mask.shape[0], settings.memory_budget, shards)
    return _in_parts(one, cohort, settings, size)


def bookkeeping(
    contribution_fn: ContributionFn, params: Params, cohort: Cohort, key: Key[Array, ""], settings: Settings
) -> ClippedSum:
    """One backward pass for all norms, then the clipped sum from scaled cotangents; no unit's weights are copied.

    Raises:
      TypeError: the contribution is not a gradient.
    """
    if not isinstance(contribution_fn, GradientContribution):
        raise TypeError(
            "engine='bookkeeping' needs the gradient of a loss (example_gradient or user_gradient), and this "
            "contribution function is none; use engine='microbatch'."
        )
    recipe = make_recipe(contribution_fn, params, cohort, key, settings.microbatch_size, settings.memory_budget)
    if uses_references(recipe.program.jaxpr):
        raise ValueError(
            "engine='bookkeeping' can't follow parameters through a reference (jax.new_ref), which the loss makes; "
            "use engine='auto' or 'microbatch'."
        )

    def one(part: Cohort, slots: Int[Array, "slots"], before: Params | None) -> ClippedSum:
        return one_pass(recipe, params, part, slots, key, settings.clip_norm, settings.rule, before)

    nothing = jax.tree.map(lambda x: jnp.zeros(x.shape, at_least_float32(x.dtype)), params)
    return _in_parts(one, cohort, settings, recipe.microbatch_size, nothing)


def _in_parts(
    one: Callable[[Cohort, Int[Array, "slots"], Any], ClippedSum],
    cohort: Cohort,
    settings: Settings,
    microbatch_size: int,
    nothing: Params | None = None,
) -> ClippedSum:
    """A sum over microbatches in a loop that stops after the last filled slot; no loop if one is enough.

    With ``nothing``, zeros, ``one`` adds to the total of the microbatches before, in place.
    """
    capacity = cohort.mask.shape[0]
    size = min(microbatch_size, capacity)
    if size == capacity:
        return one(cohort, settings.first_slot + jnp.arange(capacity, dtype=jnp.int32), None)
    padded = _pad(cohort, -capacity % size)
    filled = jnp.max(jnp.where(cohort.mask, jnp.arange(1, capacity + 1, dtype=jnp.int32), 0))
    if settings.shards is not None and settings.shards.slot_axis is not None:
        # Parameters move between devices in the loop, where all wait for each other: none may leave it before others.
        filled = jax.lax.pmax(filled, settings.shards.slot_axis)

    @jax.jit  # traced once, for its shapes and for the loop
    def at(start: Int[Array, ""], before: Params | None) -> ClippedSum:
        part = jax.tree.map(lambda x: jax.lax.dynamic_slice_in_dim(x, start, size), padded)
        return one(part, settings.first_slot + start + jnp.arange(size, dtype=jnp.int32), before)

    def write(all: Array, rows: Array, start: Int[Array, ""]) -> Array:
        return jax.lax.dynamic_update_slice_in_dim(all, rows, start, 0)

    def body(i: Int[Array, ""], carry: ClippedSum) -> ClippedSum:
        part = at(i * size, None if nothing is None else carry.total)
        added = [name for name in SUMMED if nothing is None or name != "total"]
        sums = {name: jax.tree.map(jnp.add, getattr(carry, name), getattr(part, name)) for name in added}
        slotwise = over_slots(lambda all, rows: write(all, rows, i * size), carry, part)
        return slotwise._replace(**{"total": part.total} | sums)

    shapes = jax.eval_shape(at, jnp.int32(0), nothing)
    zero = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)
    everyone = padded.mask.shape[0]
    zero = over_slots(lambda x: jnp.zeros((everyone, *x.shape[1:]), x.dtype), zero)
    zero = zero._replace(clip_norm=settings.clip_norm)
    done = jax.lax.fori_loop(jnp.int32(0), (filled + size - 1) // size, body, zero)
    return over_slots(lambda x: x[:capacity], done)


def _materialize_slots(
    contribution_fn: ContributionFn,
    params: Params,
    cohort: Cohort,
    slots: Int[Array, "slots"],
    key: Key[Array, ""],
    settings: Settings,
) -> ClippedSum:
    # Keys follow the slot, not the position in a microbatch: engines and capacities agree exactly.
    keys = jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, slots)
    stack, reports = jax.vmap(lowered(contribution_fn, len(slots) > 1), in_axes=(None, 0, 0))(
        params, cohort.units, keys
    )
    return clip_and_sum(stack, reports, cohort, settings.clip_norm, settings.rule, settings.shards)


def _pad(cohort: Cohort, amount: int) -> Cohort:
    if amount == 0:
        return cohort

    def pad(x: Array) -> Array:
        return jnp.concatenate([x, jnp.zeros((amount, *x.shape[1:]), x.dtype)])

    return jax.tree.map(pad, cohort)
