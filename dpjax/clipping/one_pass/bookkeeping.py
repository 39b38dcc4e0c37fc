"""The one-pass engine: per-unit norms from one backward pass, then the clipped sum from scaled cotangents."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from dpjax.clipping.one_pass import factors as fx
from dpjax.clipping.one_pass.analysis import Level, analyse
from dpjax.clipping.one_pass.finishing import Prepared, Work, finishing, formed
from dpjax.clipping.one_pass.planner import Piece, one_pass_microbatch, plan
from dpjax.clipping.one_pass.tapping import Tapped, derived_values, tap
from dpjax.clipping.program import Program, trace
from dpjax.clipping.rules import ClippingRule, count_rejected, handed_over
from dpjax.clipping.summing import sum_squares
from dpjax.contribution import GradientContribution
from dpjax.types import ClippedSum, Cohort, Params, at_least_float32


class Recipe(NamedTuple):
    """All that is known of a loss before any number is: its program, its places, and the plan for each parameter."""

    program: Program
    level: Level
    pieces: tuple[Piece, ...]
    microbatch_size: int


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
    before: Params | None,
) -> ClippedSum:
    """The clipped sum over a stack of units in one forward and one backward pass, added to that of units before."""
    keys = jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, slots)
    tapped = tap(recipe.program, recipe.level, params, cohort.units, keys)
    leaves, treedef = jax.tree.flatten(params)
    dtype = at_least_float32(*(x.dtype for x in leaves))
    squares: list[Array] = []
    doubtful = jnp.zeros(cohort.mask.shape, bool)
    prepared = []
    for piece in recipe.pieces:
        ready, piece_squares, unsure = _prepare(piece, recipe, tapped, leaves, clip_norm)
        prepared.append(ready)
        doubtful = doubtful if unsure is False else doubtful | unsure
        squares += [values.astype(dtype) for values in piece_squares]
    work = Work(prepared, squares, doubtful & cohort.mask, cohort.mask, cohort.weights, clip_norm)
    totals = None if before is None else jax.tree.leaves(before)
    totals, outcome = finishing(recipe.level, recipe.pieces, params, rule)(work, rule.stability, totals)
    return ClippedSum(
        total=jax.tree.unflatten(treedef, totals),
        clip_norm=clip_norm,
        norms=outcome.norms,
        num_rejected=count_rejected(cohort.mask, outcome.accepted),
        **handed_over(tapped.reports, outcome.accepted),
    )


def _prepare(
    piece: Piece, recipe: Recipe, tapped: Tapped, leaves: list[Array], clip_norm: Float[Array, ""]
) -> tuple[Prepared, list[Float[Array, "slots"]], Bool[Array, "slots"] | bool]:
    """What the sum will need of a piece, its leaves' squared norms, and whose are doubtful."""
    if piece.axes is None:
        stacks = _materialized(piece, recipe, tapped, leaves)
        return Prepared(tuple(stacks), ()), [sum_squares(x) for x in stacks], False
    places = [recipe.level.places[i] for i in piece.places]
    operands = [
        fx.factors(place, fx.split(place), tapped.saved[i], jax.lax.optimization_barrier(tapped.cotangents[i]))
        for i, place in zip(piece.places, places, strict=True)
    ]
    parts = fx.join(operands, piece.flips)
    factor = places[0].view.scale ** 2
    if piece.strategy == "rows":
        parts = [fx.merged(part) for part in parts]
        return Prepared((), tuple(parts)), [factor * sum_squares(parts[0].right)], False
    if piece.strategy == "rank_one":
        squares = fx.rank_one_squares(parts[0], clip_norm)
    elif piece.strategy == "gram":
        squares = fx.gram_squares(parts, clip_norm)
    else:
        product = formed(parts, piece)
        if piece.strategy == "kept":
            return Prepared((product,), ()), [factor * sum_squares(product)], False
        squares = fx.product_squares(parts, product, clip_norm)
    return Prepared((), tuple(parts)), [factor * squares.values], squares.doubtful


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

        def values(*changed: Array) -> list[Array]:
            full = list(leaves)
            for leaf, value in zip(piece.leaves, changed, strict=True):
                full[leaf] = value
            derived = derived_values(level, program.consts, full)
            return [derived[root - level.num_roots] for root in used]

        outs, pull = jax.vjp(values, *(leaves[leaf] for leaf in piece.leaves))
        cotangents = [at_root[root].astype(out.dtype) for root, out in zip(used, outs, strict=True)]
        stacks = [a + b for a, b in zip(stacks, jax.vmap(pull)(cotangents), strict=True)]
    return stacks
