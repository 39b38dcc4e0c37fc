"""For each parameter, the cheapest way to its units' norms and clipped sum."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.extend.core import Jaxpr

from dpjax.clipping.one_pass import factors as fx
from dpjax.clipping.one_pass.analysis import Level
from dpjax.clipping.one_pass.views import disjoint
from dpjax.clipping.program import REMAT, Program, aval, inner_jaxprs
from dpjax.types import Params


class Piece(NamedTuple):
    """Parameters that are served together, and how.

    Attributes:
      leaves: numbers of the parameters; more than one only where they are computed into one weight.
      places: numbers of the places where they enter.
      strategy: ``"rank_one"``, ``"gram"``, ``"rows"`` (of a table, those that a unit picks are formed),
        ``"product"`` (every unit's gradient formed for the norm, then forgotten),
        ``"kept"`` (formed once and kept until the sum), or ``"materialize"`` (as ``"kept"``, pulled back to the
        parameter first).
      axes: split of the base shared by the places; None under ``"materialize"``.
      flips: which places have rows and columns exchanged.
      size: of the joined product.
      why: what makes ``"materialize"`` necessary.
    """

    leaves: tuple[int, ...]
    places: tuple[int, ...]
    strategy: str
    axes: fx.Axes | None
    flips: tuple[bool, ...]
    size: fx.Size
    why: str = ""


def plan(program: Program, level: Level, slots: int, budget: float) -> tuple[Piece, ...]:
    """One piece for each parameter that enters (or for several that are computed into one weight).

    Args:
      program: the loss.
      level: its places.
      slots: units formed at once.
      budget: bytes that kept products may take.
    """
    shapes = [tuple(aval(v).shape) for v in program.jaxpr.invars[: program.num_params]]
    pieces = []
    for leaves, places in _components(program, level):
        pieces += [_piece(level, leaves, part, shapes) for part in _apart(level, leaves, places)]
    left = budget
    planned = []
    # Small products first: they gain most from being kept.
    for piece in sorted(pieces, key=lambda p: p.size.stack * p.size.rows * p.size.columns):
        candidate = piece._replace(strategy=piece.strategy or "kept")
        fits = kept_bytes(candidate, slots) <= left
        chosen = piece if piece.strategy else piece._replace(strategy=cheapest(piece, level, slots, fits))
        left -= kept_bytes(chosen, slots)
        planned.append(_widest_last(chosen, level))
    return tuple(sorted(planned, key=lambda p: (p.leaves, p.places)))


def _widest_last(piece: Piece, level: Level) -> Piece:
    """Products with their longer side last: many small matmuls run along it up to twice as fast."""
    formed = piece.strategy in ("kept", "product") and all(_kind(level.places[i]) == "dense" for i in piece.places)
    if not formed or piece.axes is None or piece.size.rows <= piece.size.columns or piece.size.columns == 1:
        return piece
    axes = fx.Axes(piece.axes.stack, piece.axes.columns, piece.axes.rows)
    size = piece.size._replace(rows=piece.size.columns, columns=piece.size.rows)
    return piece._replace(axes=axes, size=size, flips=tuple(not flip for flip in piece.flips))


def kept_bytes(piece: Piece, slots: int) -> float:
    """Memory of the units' own gradients that a piece keeps until the sum."""
    memory = 4.0 * slots * piece.size.stack * piece.size.rows * piece.size.columns
    return memory if piece.strategy in ("kept", "materialize") else 0.0


def _components(program: Program, level: Level) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Parameters joined by the weights that are computed from several of them, with their places."""
    n = program.num_params
    parents = derived_roots(program, level)
    group = list(range(n))

    def members(root: int) -> list[int]:
        return [root] if root < n else sorted(parents[root - n])

    for place in level.places:
        ids = {group[i] for i in members(place.view.root)}
        group = [min(ids) if g in ids else g for g in group]
    groups: dict[int, list[int]] = {}
    for number, place in enumerate(level.places):
        groups.setdefault(group[members(place.view.root)[0]], []).append(number)
    return [(tuple(i for i in range(n) if group[i] == g), tuple(places)) for g, places in sorted(groups.items())]


def _apart(level: Level, leaves: tuple[int, ...], numbers: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Places of one parameter by the parts of it that they use, if no number belongs to two; else all together."""
    views = [level.places[i].view for i in numbers]
    if len(leaves) > 1 or any(view.root >= level.num_roots for view in views):
        return [numbers]
    parts: dict[Any, list[int]] = {}
    for number, view in zip(numbers, views, strict=True):
        parts.setdefault(view.key, []).append(number)
    firsts = [level.places[part[0]].view for part in parts.values()]
    if not all(disjoint(a, b) for i, a in enumerate(firsts) for b in firsts[:i]):
        return [numbers]
    return [tuple(part) for part in parts.values()]


def derived_roots(program: Program, level: Level) -> list[frozenset[int]]:
    """For each derived weight, the parameters it is computed from."""
    depends: dict[Any, frozenset[int]] = {
        v: frozenset({i}) for i, v in enumerate(program.jaxpr.invars[: program.num_params])
    }
    for eqn in program.jaxpr.eqns:
        known = [depends.get(v, frozenset()) for v in eqn.invars if not hasattr(v, "val")]
        if any(known):
            depends.update((v, frozenset().union(*known)) for v in eqn.outvars)
    return [depends[v] for v in level.derived]


def _piece(level: Level, leaves: tuple[int, ...], numbers: tuple[int, ...], shapes: Sequence[tuple[int, ...]]) -> Piece:
    places = [level.places[i] for i in numbers]
    width = sum(int(np.prod(shapes[i])) for i in leaves)
    everything = fx.Size(1, 1, 1, width)
    flips = (False,) * len(places)
    if len(leaves) > 1 or any(place.view.root >= level.num_roots for place in places):
        return Piece(leaves, numbers, "materialize", None, flips, everything, "its weight is computed from parameters")
    if len({place.view.key for place in places}) > 1:
        return Piece(leaves, numbers, "materialize", None, flips, everything, "it is used in differently cut shapes")
    splits = [fx.split(place) for place in places]
    oriented = fx.orient([(axes, _kind(place)) for axes, place in zip(splits, places, strict=True)])
    if oriented is None:
        return Piece(leaves, numbers, "materialize", None, flips, everything, "its uses have no common factored form")
    axes, flips = oriented
    sizes = [fx.size(place, split) for place, split in zip(places, splits, strict=True)]
    base = places[0].view.base
    stack, rows, columns = (int(np.prod([base[i] for i in group] or [1])) for group in axes)
    joined = fx.Size(stack, sum(s.positions for s in sizes), rows, columns)
    entered = next((place.reason for place in places if place.kind == "enter"), "")
    return Piece(leaves, numbers, "", axes, flips, joined, entered)


def _kind(place: Any) -> str:
    return "picked" if place.table_axis is not None else "ones" if place.left is None else "dense"


def cheapest(piece: Piece, level: Level, slots: int, may_keep: bool) -> str:
    """The strategy with the least estimated time, by the cost model."""
    kinds = {_kind(level.places[i]) for i in piece.places}
    if "picked" in kinds:
        return "rows" if len(kinds) == 1 else "gram"
    if "ones" in kinds or (1 in (piece.size.rows, piece.size.columns) and piece.size.positions > 1):
        return "kept"
    costs = strategy_costs(piece.size, slots)
    return min((name for name in costs if name != "kept" or may_keep), key=lambda name: costs[name])


def strategy_costs(size: fx.Size, slots: int) -> dict[str, float]:
    """Nanoseconds per unit of each strategy for a dense place, from norms to the clipped sum.

    A FLOP count alone chooses wrongly: a matmul per unit runs slower the thinner it is, inner products of positions
    slower still, and what is kept must fit the caches. The rates are checked against the clock by
    ``benchmarks/planner.py``.
    """
    stack, positions, rows, columns = size
    speed = _CPU if jax.default_backend() == "cpu" else _ACCELERATOR
    product = stack * rows * columns
    total = 2.0 * product * positions / speed.gemm
    if positions == 1:
        return {"rank_one": total + 4 * stack * (rows + columns) / speed.bytes}
    rate = speed.batched * min(1.0, min(positions, rows, columns) / 96)
    gram_rate = speed.batched * min(1.0, positions / 96) / 1.8
    inner = 2.0 * stack * positions**2 * (rows + columns) / gram_rate
    forming = 2.0 * product * positions / rate + 8 * product / speed.cache
    return {
        "gram": inner + 12 * stack * positions**2 / speed.cache + total,
        "product": forming + total,
        "kept": forming + 8 * product / (speed.cache if 4 * slots * product <= 2**23 else speed.bytes),
    }


def contribution_microbatch(params: Params, jaxpr: Jaxpr, slots: int, budget: float, shards: int = 1) -> int:
    """Contributions formed at once: a stack that stays in a core's cache on CPU, larger on accelerators.

    The slots are cut into even parts: a last one that is nearly empty would cost as much as the others.
    """
    on_cpu = jax.default_backend() == "cpu"
    gradient_bytes = 4.0 * max(sum(x.size for x in jax.tree.leaves(params)), 1) / shards
    per_unit = gradient_bytes + activation_bytes(jaxpr, whole_loops=False)
    target, most = (2**22, 64) if on_cpu else (2**30, slots)
    size = max(1, min(int(target / per_unit), most, int(budget / (2 * per_unit))))
    return -(-slots // -(-slots // size))


def one_pass_microbatch(program: Program, slots: int, budget: float) -> int:
    """Units in one pass: activations that stay in a core's cache on CPU, yet enough rows to keep matmuls busy.

    Every pass reads all weights again: where those leave that cache, its activations should be twice as much.
    """
    per_unit = activation_bytes(program.jaxpr)
    target = 2**22 if jax.default_backend() == "cpu" else 2**31
    busy = int(max(target, 2 * weight_bytes(program.jaxpr)) / per_unit)
    return _fitting(max(4, busy), slots, 3 * per_unit, budget)


def _fitting(size: int, slots: int, bytes_per_unit: float, budget: float) -> int:
    """The power of two at or below ``size`` that fits the budget; all slots at once where that is as many."""
    size = max(1, min(size, int(budget / bytes_per_unit)))
    return slots if size >= slots else 1 << (size.bit_length() - 1)


def activation_bytes(jaxpr: Jaxpr, whole_loops: bool = True) -> float:
    """Bytes of what goes into and comes out of a unit's matmuls, loops included: what its backward pass keeps.

    Elementwise results between them are fused, or die young. Without ``whole_loops`` a loop counts as one of its turns,
    as where nothing of it is kept for a backward pass.
    """
    total = 0.0
    for eqn in jaxpr.eqns:
        if eqn.primitive.name in {"scan", *REMAT}:
            turns = eqn.params.get("length", 1) if whole_loops else 1
            total += turns * sum(activation_bytes(inner, whole_loops) for inner in inner_jaxprs(eqn))
        elif eqn.primitive.name == "dot_general":
            sizes = sorted(aval(v).size * aval(v).dtype.itemsize for v in eqn.invars)
            total += sizes[0] + aval(eqn.outvars[0]).size * aval(eqn.outvars[0]).dtype.itemsize
    return max(total, 1.0)


def weight_bytes(jaxpr: Jaxpr) -> float:
    """Bytes of the larger operands of a unit's matmuls, loops included: of its weights, where those are large."""
    total = 0.0
    for eqn in jaxpr.eqns:
        if eqn.primitive.name in {"scan", *REMAT}:
            total += eqn.params.get("length", 1) * sum(map(weight_bytes, inner_jaxprs(eqn)))
        elif eqn.primitive.name == "dot_general":
            total += max(aval(v).size * aval(v).dtype.itemsize for v in eqn.invars)
    return total


class Speed(NamedTuple):
    """Rates of a device: FLOP/ns of one large matmul and of many small ones, bytes/ns of fresh memory and of caches."""

    gemm: float
    batched: float
    bytes: float
    cache: float


_CPU = Speed(gemm=150.0, batched=140.0, bytes=3.0, cache=40.0)
_ACCELERATOR = Speed(gemm=50_000.0, batched=20_000.0, bytes=2_000.0, cache=4_000.0)
