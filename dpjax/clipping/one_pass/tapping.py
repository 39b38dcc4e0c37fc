"""A program evaluated with taps: zeros added where parameters enter, so that one backward pass meets every place."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.extend.core import Literal
from jaxtyping import Array, Key, PyTree

from dpjax.clipping.one_pass.analysis import Entry, Level
from dpjax.clipping.program import REMAT, Program, as_arrays, bind, differentiated, open_jaxpr, remat, scan
from dpjax.contribution import Reported
from dpjax.types import Metrics, Params


class Tapped(NamedTuple):
    """What one forward and one backward pass leave behind, for a stack of units.

    Attributes:
      saved: for each place, the operand that met the parameter (None if there is none); the unit axis comes after
        the axes of the loops around the place.
      cotangents: for each place, the gradient of the tap, laid out likewise.
      reports: what units say beside their loss, leaves ``[slots, ...]``.
    """

    saved: list[Array | None]
    cotangents: list[Array]
    reports: Metrics | Reported


def tap(program: Program, level: Level, params: Params, units: PyTree[Array], keys: Key[Array, "slots"]) -> Tapped:
    """One forward pass and one backward pass over a stack of units, for the taps' cotangents only."""
    leaves = jax.tree.leaves(params)
    depths = [place.depth for place in level.places]

    def one(taps: Sequence[Array], unit: PyTree[Array], key: Key[Array, ""]) -> tuple[Any, tuple[Any, Any]]:
        values = [*leaves, *jax.tree.leaves((unit, key))]
        (loss, *metrics), saved = run(level, program.consts, values, taps)
        return loss, (metrics, saved)

    zeros = [jnp.zeros(place.shape, place.dtype) for place in level.places]
    both = differentiated(jax.value_and_grad(one, has_aux=True), program.jaxpr)
    axes = ((0, (0, depths)), depths)
    (_, (metrics, saved)), cotangents = jax.vmap(both, in_axes=(None, 0, 0), out_axes=axes)(zeros, units, keys)
    return Tapped(saved, cotangents, jax.tree.unflatten(program.metrics, metrics))


def run(
    level: Level, consts: Sequence[Any], values: Sequence[Any], taps: Sequence[Array]
) -> tuple[list[Any], list[Any]]:
    """Evaluate a level for one unit; returns its outputs and, for each place, the saved operand."""
    env: dict[Any, Any] = dict(
        zip([*level.jaxpr.constvars, *level.jaxpr.invars], [*as_arrays(consts), *values], strict=True)
    )
    saved: list[Any] = [None] * len(level.places)

    def read(atom: Any) -> Any:
        return atom.val if isinstance(atom, Literal) else env[atom]

    for number, eqn in enumerate(level.jaxpr.eqns):
        operands = [read(v) for v in eqn.invars]
        entry = level.entries.get(number)
        if entry is None:
            outs = bind(eqn, operands)
        else:
            for position, place in entry.enters:
                operands[position] = operands[position] + taps[place]
            if entry.saved is not None and eqn.primitive.name == "dot_general":
                # Computed once, for this use and for the sum's: XLA's CPU backend would lay it out twice.
                operands[entry.saved] = jax.lax.optimization_barrier(operands[entry.saved])
            outs = bind(eqn, operands) if entry.inner is None else _run_body(eqn, entry, operands, taps, saved)
            if entry.tap is not None:
                if entry.saved is not None:
                    place = level.places[entry.tap]
                    operand = operands[entry.saved]
                    saved[entry.tap] = operand[..., 0] if place.primitive == "gather" else operand
                outs = [outs[0] + taps[entry.tap]]
        env.update(zip(eqn.outvars, outs, strict=True))
    outputs = [read(v) for v in level.jaxpr.outvars]
    for position, place in level.outputs.items():
        outputs[position] = outputs[position] + taps[place]
    return outputs, saved


def _run_body(eqn: Any, entry: Entry, operands: list[Any], taps: Sequence[Array], saved: list[Any]) -> Sequence[Any]:
    """A scan or a checkpoint whose body has places: taps go in with it, saved operands come out."""
    inner = entry.inner
    assert inner is not None
    count, width = len(inner.places), len(operands)
    inner_taps = list(taps[entry.first : entry.first + count])
    consts = open_jaxpr(eqn.params["jaxpr"])[1]

    def body(arguments: Sequence[Any]) -> list[Any]:
        outs, lefts = run(inner, consts, arguments[:width], arguments[width:])
        return [*outs, *(jnp.zeros(()) if k is None else k for k in lefts)]

    if eqn.primitive.name in REMAT:
        outs = remat(eqn, lambda *args: tuple(body(args)))(*operands, *inner_taps)
    else:
        outs = scan(eqn, body, operands, inner_taps)
    # What a place without an operand left is a stand-in.
    for i, (place, operand) in enumerate(zip(inner.places, outs[len(outs) - count :], strict=True)):
        saved[entry.first + i] = None if place.left is None else operand
    return outs[: len(outs) - count]


def derived_values(level: Level, consts: Sequence[Any], leaves: Sequence[Array]) -> list[Array]:
    """The values computed from parameters alone that are used as weights, from the parameters' leaves."""
    env: dict[Any, Any] = dict(zip(level.jaxpr.constvars, as_arrays(consts), strict=True))
    env.update(zip(level.jaxpr.invars, leaves, strict=False))
    for eqn in level.jaxpr.eqns:
        if all(isinstance(v, Literal) or v in env for v in eqn.invars):
            operands = [v.val if isinstance(v, Literal) else env[v] for v in eqn.invars]
            env.update(zip(eqn.outvars, bind(eqn, operands), strict=True))
    return [env[v] for v in level.derived]
