"""The one-pass engine: per-unit norms from one backward pass, then the clipped sum from scaled cotangents."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key, PyTree

from dpjax.clipping import factors as fx
from dpjax.clipping.analysis import Level, analyse
from dpjax.clipping.bounding import (
    Bounded,
    ClippingRule,
    add_up_groups,
    bound,
    count_rejected,
    leaf_groups,
    sum_metrics,
    weighted_product,
    weighted_sum,
)
from dpjax.clipping.planner import Piece, one_pass_microbatch, plan
from dpjax.clipping.program import Program, trace
from dpjax.clipping.tapping import Tapped, derived_values, tap
from dpjax.types import ClippedSum, Cohort, GradientContribution, Params, at_least_float32


class Recipe(NamedTuple):
    """All that is known of a loss before any number is: its program, its places, and the plan for each parameter."""

    program: Program
    level: Level
    pieces: tuple[Piece, ...]
    microbatch_size: int


class Prepared(NamedTuple):
    """A piece between norms and sum: either every unit's gradients of its leaves, or the factors of them."""

    stacks: tuple[Array, ...]
    parts: tuple[fx.Factors, ...]


def make_recipe(
    contribution_fn: GradientContribution,
    params: Params,
    cohort: Cohort,
    key: Key[Array, ""],
    microbatch_size: int | None,
    memory_budget: float,
) -> Recipe:
    """Trace, find the places, and plan; only shapes of ``params`` and ``cohort`` matter."""
    unit = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), cohort.units)
    program = trace(contribution_fn.loss, params, unit, key)
    level = analyse(program.jaxpr, program.num_params)
    slots = cohort.mask.shape[0]
    size = min(microbatch_size or one_pass_microbatch(program, slots, memory_budget), slots)
    return Recipe(program, level, plan(program, level, size, memory_budget / 4), size)


def one_pass(
    recipe: Recipe,
    params: Params,
    cohort: Cohort,
    slots: Int[Array, "slots"],
    key: Key[Array, ""],
    clip_norm: Float[Array, ""],
    rule: ClippingRule,
) -> ClippedSum:
    """The clipped sum over a stack of units in one forward and one backward pass."""
    keys = jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, slots)
    tapped = tap(recipe.program, recipe.level, params, cohort.units, keys)
    leaves, treedef = jax.tree.flatten(params)
    groups = leaf_groups(rule, params)
    squares = [jnp.zeros(cohort.mask.shape, at_least_float32(x.dtype)) for x in leaves]
    prepared = []
    for piece in recipe.pieces:
        ready, norms = _prepare(piece, recipe, tapped, leaves)
        prepared.append(ready)
        for leaf, square in zip(piece.leaves, norms, strict=True):
            squares[leaf] = square
    dtype = at_least_float32(*(s.dtype for s in squares))
    bounded = bound(rule, add_up_groups([s.astype(dtype) for s in squares], groups), cohort, clip_norm)
    sums = _summing(recipe, leaves, groups)(prepared, bounded)
    totals = [jnp.zeros(x.shape, at_least_float32(x.dtype)) for x in leaves]
    for leaf, total in zip((leaf for piece in recipe.pieces for leaf in piece.leaves), sums, strict=True):
        totals[leaf] = total.astype(totals[leaf].dtype)
    aux, per_unit = sum_metrics(tapped.metrics, bounded.accepted)
    return ClippedSum(
        total=jax.tree.unflatten(treedef, totals),
        clip_norm=clip_norm,
        norms=bounded.norms,
        num_rejected=count_rejected(cohort.mask, bounded.accepted),
        aux=aux,
        per_unit=per_unit,
    )


def _prepare(
    piece: Piece, recipe: Recipe, tapped: Tapped, leaves: list[Array]
) -> tuple[Prepared, list[Float[Array, "slots"]]]:
    """What the sum will need of a piece, and its leaves' squared norms."""
    if piece.axes is None:
        stacks = _materialized(piece, recipe, tapped, leaves)
        return Prepared(tuple(stacks), ()), [_square(x) for x in stacks]
    places = [recipe.level.places[i] for i in piece.places]
    own = [
        fx.factors(place, fx.split(place), tapped.saved[i], jax.lax.optimization_barrier(tapped.cotangents[i]))
        for i, place in zip(piece.places, places, strict=True)
    ]
    parts = fx.join(own, piece.flips)
    factor = places[0].view.scale ** 2
    if piece.strategy == "rank_one":
        return Prepared((), tuple(parts)), [factor * fx.rank_one_norms(parts[0])]
    if piece.strategy == "gram":
        return Prepared((), tuple(parts)), [factor * fx.gram_norms(parts)]
    product = sum(fx.product(part, piece.size.rows) for part in parts)
    assert not isinstance(product, int)
    norms = [factor * _square(product)]
    return (Prepared((product,), ()) if piece.strategy == "kept" else Prepared((), tuple(parts))), norms


def _square(stack: Array) -> Float[Array, "slots"]:
    return jnp.sum(jnp.square(stack), axis=tuple(range(1, stack.ndim)))


def _materialized(piece: Piece, recipe: Recipe, tapped: Tapped, leaves: list[Array]) -> list[Array]:
    """Every unit's gradient of each leaf of a piece, summed over its places."""
    program, level = recipe.program, recipe.level
    weights = derived_values(level, program.consts, leaves)
    roots = [*leaves, *weights]
    at_root: dict[int, Array] = {}
    for i in piece.places:
        place = level.places[i]
        axes = fx.split(place)
        part = fx.factors(place, axes, tapped.saved[i], tapped.cotangents[i])
        rows = fx.size(place, axes).rows
        gradient = fx.to_base(fx.product(part, rows), axes, place.view.base)
        root = place.view.root
        pulled = jax.vmap(lambda g, place=place, root=root: place.view.pull_back(g, roots[root]))(gradient)
        at_root[root] = at_root[root] + pulled if root in at_root else pulled
    slots = tapped.cotangents[piece.places[0]].shape[level.places[piece.places[0]].depth]
    stacks = [
        at_root.get(leaf, jnp.zeros((slots, *leaves[leaf].shape), at_least_float32(leaves[leaf].dtype)))
        for leaf in piece.leaves
    ]
    used = [root for root in at_root if root >= level.num_roots]
    if used:

        def values(*own: Array) -> list[Array]:
            full = list(leaves)
            for leaf, value in zip(piece.leaves, own, strict=True):
                full[leaf] = value
            derived = derived_values(level, program.consts, full)
            return [derived[root - level.num_roots] for root in used]

        outs, pull = jax.vjp(values, *(leaves[leaf] for leaf in piece.leaves))
        cotangents = [at_root[root].astype(out.dtype) for root, out in zip(used, outs, strict=True)]
        stacks = [a + b for a, b in zip(stacks, jax.vmap(pull)(cotangents), strict=True)]
    return stacks


def _summing(
    recipe: Recipe, leaves: list[Array], groups: tuple[int, ...]
) -> Callable[[list[Prepared], Bounded], list[Array]]:
    """The clipped sums of all pieces' leaves, in which a rejected slot's NaN must not be multiplied by zero."""

    def sums(prepared: list[Prepared], scale: Array) -> list[Array]:
        return [
            total
            for piece, ready in zip(recipe.pieces, prepared, strict=True)
            for total in _totals(piece, ready, recipe, leaves, scale, groups)
        ]

    def one_by_one(prepared: list[Prepared], bounded: Bounded) -> list[Array]:
        def unit(i: Array) -> list[Array]:
            single, scale = jax.tree.map(lambda x: jax.lax.dynamic_slice_in_dim(x, i, 1), (prepared, bounded.scale.T))
            return sums(single, scale.T)

        # Accepted slots first, and no further: nothing of a rejected one is ever touched.
        order = jnp.argsort(~bounded.accepted)

        def add(i: Array, total: list[Array]) -> list[Array]:
            return [t + own for t, own in zip(total, unit(order[i]), strict=True)]

        zeros = [jnp.zeros(x.shape, x.dtype) for x in jax.eval_shape(unit, jnp.int32(0))]
        return jax.lax.fori_loop(jnp.int32(0), jnp.sum(bounded.accepted, dtype=jnp.int32), add, zeros)

    def cleaned(prepared: list[Prepared], bounded: Bounded) -> list[Array]:
        # A loop of no turns, most of the time: with lanes, a branch would always do the work of both its sides.
        def body(carry: tuple[Array, list[Prepared]]) -> tuple[Array, list[Prepared]]:
            return jnp.zeros_like(carry[0]), [_clean(ready, bounded.accepted) for ready in carry[1]]

        return sums(jax.lax.while_loop(lambda carry: carry[0], body, (~bounded.tame, prepared))[1], bounded.scale)

    @jax.custom_batching.custom_vmap
    def branching(prepared: list[Prepared], bounded: Bounded) -> list[Array]:
        # A branch takes its operands as they lie; a loop would have to copy those that are the caller's.
        return jax.lax.cond(bounded.tame, lambda p, b: sums(p, b.scale), one_by_one, prepared, bounded)

    @branching.def_vmap
    def _(size: int, batched: list[PyTree[bool]], *args: PyTree[Array]) -> tuple[list[Array], list[bool]]:
        axes = jax.tree.map(lambda b: 0 if b else None, tuple(batched))
        out = jax.vmap(cleaned, in_axes=axes, axis_size=size)(*args)
        return out, [True] * len(out)

    return branching


def _clean(ready: Prepared, accepted: Bool[Array, "slots"]) -> Prepared:
    """Rejected slots made zero."""

    def keep(stack: Array) -> Array:
        return jnp.where(accepted.reshape(-1, *[1] * (stack.ndim - 1)), stack, jnp.zeros((), stack.dtype))

    return Prepared(tuple(map(keep, ready.stacks)), tuple(fx.clean(accepted, part) for part in ready.parts))


def _totals(
    piece: Piece,
    ready: Prepared,
    recipe: Recipe,
    leaves: list[Array],
    scale: Float[Array, "groups slots"],
    groups: tuple[int, ...],
) -> list[Array]:
    """The clipped sum of each leaf of a piece."""
    if piece.axes is None:
        everyone = jnp.ones(scale.shape[1], bool)
        return [
            weighted_sum(scale[groups[leaf]], everyone, stack)
            for leaf, stack in zip(piece.leaves, ready.stacks, strict=True)
        ]
    (leaf,) = piece.leaves
    factor = scale[groups[leaf]]
    if ready.stacks:
        summed = weighted_product(factor, ready.stacks[0])
    else:
        summed = sum(fx.weighted(part, factor, piece.size.rows) for part in ready.parts)
    view = recipe.level.places[piece.places[0]].view
    return [view.pull_back(fx.to_base(jnp.asarray(summed), piece.axes, view.base), leaves[leaf])]
