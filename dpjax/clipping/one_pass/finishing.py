"""From norms to the clipped sum: all units at once where that is safe, one by one where it is not."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PyTree

from dpjax.clipping.one_pass import factors as fx
from dpjax.clipping.one_pass.analysis import Level
from dpjax.clipping.one_pass.planner import Piece
from dpjax.clipping.rules import (
    Bounded,
    ClippingRule,
    add_up_groups,
    bound,
    leaf_groups,
    weighted_product,
    weighted_sum,
)
from dpjax.clipping.summing import sum_squares
from dpjax.types import Cohort, Params, at_least_float32


class Prepared(NamedTuple):
    """A piece between norms and sum: either every unit's gradients of its leaves, or the factors of them."""

    stacks: tuple[Array, ...]
    parts: tuple[fx.Factors, ...]


class Work(NamedTuple):
    """All that the sum is made of.

    Attributes:
      prepared: of each piece.
      squares: ``[slots]`` squared norms for each leaf of each piece.
      doubtful: ``[slots]`` filled slots whose squares must be taken from the gradient itself.
      mask: ``[slots]`` filled slots.
      weights: ``[slots]`` of the cohort, or None.
      clip_norm: scalar.
    """

    prepared: list[Prepared]
    squares: list[Float[Array, "slots"]]
    doubtful: Bool[Array, "slots"]
    mask: Bool[Array, "slots"]
    weights: Float[Array, "slots"] | None
    clip_norm: Float[Array, ""]


class Outcome(NamedTuple):
    """What became of each slot."""

    norms: Float[Array, "slots"]
    accepted: Bool[Array, "slots"]


Totals = list[Array] | None
"""Sums of the parameters' leaves; None: nothing is summed yet, and there are no zeros to add to."""

Done = tuple[list[Array], Outcome]
"""The sums of the parameters' leaves, and what became of each slot."""


def finishing(
    level: Level, pieces: Sequence[Piece], params: Params, rule: ClippingRule
) -> Callable[[Work, PyTree[Array], Totals], Done]:
    """``finish(work, the rule's stability, totals)``: the units' clipped sum, added to the totals before it.

    A rejected slot's NaN must not be multiplied by zero, and a unit whose norm is doubtful must be bounded by the norm
    of the very numbers that are summed. Both are seldom, and then units are taken one by one.
    """
    leaves, groups = jax.tree.leaves(params), leaf_groups(rule, params)
    summed = [leaf for piece in pieces for leaf in piece.leaves]
    idle = sorted(set(range(len(leaves))) - set(summed))  # they enter nowhere, and their groups are groups still
    row_groups = tuple(groups[leaf] for leaf in [*summed, *idle])

    def sums(prepared: list[Prepared], scale: Array, before: Totals) -> list[Array]:
        totals: list[Array | None] = [None] * len(leaves) if before is None else [*before]
        for piece, ready in zip(pieces, prepared, strict=True):
            _add_piece(totals, piece, ready, level, leaves, scale, groups)
        return [_zero_sum(leaf) if total is None else total for total, leaf in zip(totals, leaves, strict=True)]

    def bounded(work: Work, stability: PyTree[Array]) -> Bounded:
        zero = jnp.zeros(work.mask.shape, at_least_float32(*(x.dtype for x in leaves)))
        squares = add_up_groups([*work.squares, *[zero] * len(idle)], row_groups)
        clip_norm = jnp.asarray(work.clip_norm)  # JAX hands a constant to a batched function as a number of its own
        return bound(rule._replace(stability=stability), squares, Cohort((), work.mask, work.weights), clip_norm)

    def together(work: Work, stability: PyTree[Array], before: Totals, limits: Bounded) -> Done:
        return sums(work.prepared, limits.scale, before), Outcome(limits.norms, limits.accepted)

    def one_by_one(
        work: Work, stability: PyTree[Array], slots: Int[Array, "slots"], turns: int | Int[Array, ""], start: Done
    ) -> Done:
        """The units in the first ``turns`` of the slots, each bounded by its gradient's norm, added to ``start``."""
        per_slot = (work.prepared, work.squares, work.doubtful, work.mask, work.weights)

        def add(turn: Int[Array, ""], carry: Done) -> Done:
            totals, outcome = carry
            i = jax.lax.dynamic_index_in_dim(slots, turn, keepdims=False, allow_negative_indices=False)
            slot, squares, doubt, filled, weight = jax.tree.map(
                lambda x: jax.lax.dynamic_slice_in_dim(x, i, 1, allow_negative_indices=False), per_slot
            )
            ready = [_with_gradient(piece, part) for piece, part in zip(pieces, slot, strict=True)]
            squares = _renewed(level, pieces, ready, squares)
            limits = bounded(Work(ready, squares, doubt, filled, weight, work.clip_norm), stability)
            clean = [_clean(part, limits.accepted) for part in ready]
            return sums(clean, limits.scale, totals), jax.tree.map(
                lambda all, one: jax.lax.dynamic_update_slice_in_dim(all, one, i, 0, allow_negative_indices=False),
                outcome,
                Outcome(limits.norms, limits.accepted),
            )

        return jax.lax.fori_loop(jnp.int32(0), jnp.int32(turns), add, start)

    def alone(work: Work, stability: PyTree[Array], before: Totals, limits: Bounded) -> Done:
        totals = list(map(_zero_sum, leaves)) if before is None else before
        unknown = Outcome(jnp.zeros_like(limits.norms), jnp.zeros_like(limits.accepted))
        everyone = jnp.arange(work.mask.shape[0], dtype=jnp.int32)
        return one_by_one(work, stability, everyone, work.mask.shape[0], (totals, unknown))

    def lanes(work: Work, stability: PyTree[Array], before: Totals) -> Done:
        # Loops of no turns, most of the time: with lanes, a branch would always do the work of both its sides.
        limits = bounded(work, stability)

        def cleaned(carry: tuple[Array, list[Prepared]]) -> tuple[Array, list[Prepared]]:
            return jnp.zeros_like(carry[0]), [_clean(ready, limits.accepted) for ready in carry[1]]

        _, prepared = jax.lax.while_loop(lambda carry: carry[0], cleaned, (~limits.tame, work.prepared))
        totals = sums(prepared, jnp.where(work.doubtful, 0, limits.scale), before)
        start = totals, Outcome(limits.norms, limits.accepted)
        first = jnp.argsort(~work.doubtful).astype(jnp.int32)
        return one_by_one(work, stability, first, jnp.sum(work.doubtful, dtype=jnp.int32), start)

    @jax.custom_batching.custom_vmap  # the one that check_independence trusts
    def finish(work: Work, stability: PyTree[Array], before: Totals) -> Done:
        # A branch takes its operands as they lie; a loop would have to copy those that are the caller's.
        limits = bounded(work, stability)
        safe = limits.tame & ~jnp.any(work.doubtful)
        return jax.lax.cond(safe, together, alone, work, stability, before, limits)

    @finish.def_vmap
    def _(size: int, batched: list[Any], *args: Any) -> tuple[Done, Any]:
        axes = jax.tree.map(lambda b: 0 if b else None, tuple(batched))
        out = jax.vmap(lanes, in_axes=axes, axis_size=size)(*args)
        return out, jax.tree.map(lambda _: True, out)

    return finish


def formed(parts: Sequence[fx.Factors], piece: Piece) -> Float[Array, "slots stack rows columns"]:
    """Every unit's own gradient of a piece, at its base."""
    return jnp.asarray(sum(fx.product(part, piece.size.rows) for part in parts))


def _with_gradient(piece: Piece, ready: Prepared) -> Prepared:
    """The gradient in the place of factors whose sum over positions rounds as it likes, each time it is made."""
    if piece.strategy not in ("gram", "product"):
        return ready
    return Prepared((formed(ready.parts, piece),), ())


def _renewed(
    level: Level,
    pieces: Sequence[Piece],
    prepared: Sequence[Prepared],
    squares: Sequence[Float[Array, "slots"]],
) -> list[Float[Array, "slots"]]:
    """Squared norms with those of factors taken anew from the gradient."""
    renewed = []
    for piece, ready in zip(pieces, prepared, strict=True):
        rows = squares[len(renewed) : len(renewed) + len(piece.leaves)]
        if piece.strategy in ("rank_one", "gram", "product"):
            factor = level.places[piece.places[0]].view.scale ** 2
            gradient = ready.stacks[0] if ready.stacks else _outer(ready.parts[0])
            rows = [(factor * sum_squares(gradient)).astype(rows[0].dtype)]
        renewed += rows
    return renewed


def _outer(part: fx.Factors) -> Array:
    """The gradient of one position, as a product of numbers that is only squared and never stored."""
    dtype = at_least_float32(part.right.dtype)
    right = part.right.astype(dtype)
    return right if part.left is None else part.left.astype(dtype)[..., :, None] * right[..., None, :]


def _clean(ready: Prepared, accepted: Bool[Array, "slots"]) -> Prepared:
    """Rejected slots made zero."""

    def keep(stack: Array) -> Array:
        return jnp.where(accepted.reshape(-1, *[1] * (stack.ndim - 1)), stack, jnp.zeros((), stack.dtype))

    return Prepared(tuple(map(keep, ready.stacks)), tuple(fx.clean(accepted, part) for part in ready.parts))


def _zero_sum(leaf: Array) -> Array:
    return jnp.zeros(leaf.shape, at_least_float32(leaf.dtype))


def _add_piece(
    totals: list[Array | None],
    piece: Piece,
    ready: Prepared,
    level: Level,
    leaves: list[Array],
    scale: Float[Array, "groups slots"],
    groups: tuple[int, ...],
) -> None:
    """Add the clipped sum of each leaf of a piece to the totals."""

    def add(leaf: int, summed: Array) -> None:
        summed = summed.astype(at_least_float32(leaves[leaf].dtype))
        before = totals[leaf]
        totals[leaf] = summed if before is None else before + summed

    if piece.axes is None:
        everyone = jnp.ones(scale.shape[1], bool)
        for leaf, stack in zip(piece.leaves, ready.stacks, strict=True):
            add(leaf, weighted_sum(scale[groups[leaf]], everyone, stack))
        return
    (leaf,) = piece.leaves
    factor = scale[groups[leaf]]
    view = level.places[piece.places[0]].view
    if ready.stacks:
        summed = weighted_product(factor, ready.stacks[0])
    else:
        summed = sum(fx.weighted(part, factor, piece.size.rows) for part in ready.parts)
    add(leaf, view.pull_back(fx.to_base(jnp.asarray(summed), piece.axes, view.base), leaves[leaf]))
