"""How a value inside a program comes from a parameter, when the way there keeps the norm of gradients."""

import math
from collections.abc import Callable, Hashable
from itertools import accumulate
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.extend.core import Literal
from jaxtyping import Array

from dpjax.clipping.program import Equation


class Step(NamedTuple):
    """One operation between a parameter and its base; steps with equal keys are the same operation."""

    key: Any
    fun: Callable[[Array], Array]


class View(NamedTuple):
    """A value whose axes are axes of a parameter, or of a base made from it by norm-keeping steps.

    Attributes:
      root: number of the parameter among the inputs of its level.
      steps: operations from the parameter to the base; a gradient pulled back through them keeps its norm up to
        the factor ``scale``.
      base: shape of the base.
      axes: for each axis of the value, the axis of the base; None where the value is broadcast.
      scale: ``‖gradient of the parameter‖ / ‖gradient of the base‖``.
    """

    root: int
    steps: tuple[Step, ...]
    base: tuple[int, ...]
    axes: tuple[int | None, ...]
    scale: float = 1.0

    @property
    def key(self) -> Hashable:
        """Equal for views of the same base."""
        return self.root, tuple(step.key for step in self.steps)

    def pull_back(self, gradient: Array, root: Any) -> Array:
        """The gradient of the parameter (of ``root``'s shape) from that of the base."""
        if not self.steps:
            return gradient.reshape(root.shape)

        def replay(value: Array) -> Array:
            for step in self.steps:
                value = step.fun(value)
            return value

        _, pull = jax.vjp(replay, jnp.zeros(root.shape, gradient.dtype))
        return pull(gradient)[0]


def whole_leaf(root: int, shape: tuple[int, ...]) -> View:
    """The view of a parameter as it is."""
    return View(root, (), shape, tuple(range(len(shape))))


IDENTITIES = {"convert_element_type", "copy", "copy_p", "reduce_precision", "name", "pvary", "mesh_cast"}
IDENTITIES |= {"sharding_constraint", "reshard", "layout_constraint"}
"""Operations that change a value's type, name or place, and no number but by rounding."""


def follow(eqn: Equation, views: list[View | None], shapes: list[tuple[int, ...]]) -> list[View | None] | None:
    """The views of an equation's outputs, or None if it is no norm-keeping operation on one view.

    ``views`` holds None for operands that are constants, as an output does; ``shapes`` are those of the operands.
    """
    if eqn.primitive.name == "optimization_barrier":
        return list(views)
    seen = [(i, view) for i, view in enumerate(views) if view is not None]
    if len(seen) != 1:
        return None
    position, view = seen[0]
    shape = shapes[position]
    name = eqn.primitive.name
    outs = [tuple(v.aval.shape) for v in eqn.outvars]
    if name in IDENTITIES:
        return [view] if all(jnp.issubdtype(v.aval.dtype, jnp.floating) for v in eqn.outvars) else None
    if name == "transpose":
        return [view._replace(axes=tuple(view.axes[i] for i in eqn.params["permutation"]))]
    if name == "squeeze":
        gone = {d % len(shape) for d in eqn.params["dimensions"]}
        return [view._replace(axes=tuple(a for i, a in enumerate(view.axes) if i not in gone))]
    if name == "broadcast_in_dim" and len(eqn.invars) == 1:
        axes: list[int | None] = [None] * len(outs[0])
        for source, target in enumerate(eqn.params["broadcast_dimensions"]):
            axes[target] = view.axes[source] if shape[source] == outs[0][target] else None
        return [view._replace(axes=tuple(axes))]
    if name == "reshape" and eqn.params.get("dimensions") is None:
        return _reshape(view, shape, outs[0])
    if name in ("slice", "split"):
        return [stepped(view, shape, *cut) for cut in _cuts(eqn, shape)] if solid(view, shape) else None
    if name in ("rev", "neg"):
        key = (name, repr(eqn.params.get("dimensions")))
        return [stepped(view, shape, outs[0], key, _unary(eqn))] if solid(view, shape) else None
    if name == "reduce_sum" and solid(view, shape):
        summed = stepped(view, shape, outs[0], (name, eqn.params["axes"]), _unary(eqn))
        return [summed._replace(scale=view.scale * math.prod(shape[i] for i in eqn.params["axes"]) ** 0.5)]
    if name in ("add", "sub", "mul", "div"):
        return _affine(eqn, view, position, shape, outs[0])
    return None


def solid(view: View, shape: tuple[int, ...]) -> bool:
    """Whether no axis is broadcast, so that the value is a permutation of the base."""
    return all(a is not None or n == 1 for a, n in zip(view.axes, shape, strict=True))


def _reshape(view: View, shape: tuple[int, ...], out: tuple[int, ...]) -> list[View | None] | None:
    if [n for n in shape if n != 1] == [n for n in out if n != 1]:
        axes = iter([a for a, n in zip(view.axes, shape, strict=True) if n != 1])
        return [view._replace(axes=tuple(next(axes) if n != 1 else None for n in out))]
    if not solid(view, shape):
        return None
    return [stepped(view, shape, out, ("reshape", out), lambda x: x.reshape(out))]


def stepped(
    view: View, shape: tuple[int, ...], out: tuple[int, ...], key: Hashable, fun: Callable[[Array], Array]
) -> View:
    """A new base: the old one permuted to the value's axes, then ``fun``."""
    order = tuple(a for a in view.axes if a is not None)
    left = tuple(a for a in range(len(view.base)) if a not in order)  # axes of length 1 that were dropped

    def arrange(x: Array) -> Array:
        return fun(jnp.transpose(x, (*order, *left)).reshape(shape))

    step = Step((order, shape, key), arrange)
    return view._replace(steps=(*view.steps, step), base=out, axes=tuple(range(len(out))))


def _unary(eqn: Equation) -> Callable[[Array], Array]:
    return lambda x: eqn.primitive.bind(x, **eqn.params)


class Window(NamedTuple):
    """The part of a value that a slice cuts out: the key of its step.

    Attributes:
      start: first index on each axis.
      limit: index after the last, on each axis.
      strides: step on each axis; None for 1.
    """

    start: tuple[int, ...]
    limit: tuple[int, ...]
    strides: tuple[int, ...] | None


def _cuts(eqn: Equation, shape: tuple[int, ...]) -> list[tuple[tuple[int, ...], Window, Callable[[Array], Array]]]:
    """Shape, window and operation of each output of a slice or a split."""
    if eqn.primitive.name == "slice":
        start, limit, strides = (eqn.params[name] for name in ("start_indices", "limit_indices", "strides"))
        windows = [Window(tuple(start), tuple(limit), None if strides is None else tuple(strides))]
    else:
        axis, ends = eqn.params["axis"], list(accumulate(eqn.params["sizes"]))
        windows = [
            Window(
                tuple(end - size if i == axis else 0 for i in range(len(shape))),
                tuple(end if i == axis else n for i, n in enumerate(shape)),
                None,
            )
            for size, end in zip(eqn.params["sizes"], ends, strict=True)
        ]
    outs = [tuple(v.aval.shape) for v in eqn.outvars]
    return [(out, w, lambda x, w=w: lax.slice(x, *w)) for out, w in zip(outs, windows, strict=True)]


def disjoint(one: View, other: View) -> bool:
    """Whether two views of one parameter are of parts that share no number, so that their squared norms add up."""
    for mine, theirs in zip(one.steps, other.steps, strict=False):
        if mine.key == theirs.key:
            continue
        (order, shape, cut), (order2, shape2, cut2) = mine.key, theirs.key
        if (order, shape) != (order2, shape2) or not (isinstance(cut, Window) and isinstance(cut2, Window)):
            return False
        apart = zip(cut.start, cut.limit, cut2.start, cut2.limit, strict=True)
        return any(limit <= start2 or limit2 <= start for start, limit, start2, limit2 in apart)
    return False


def _affine(
    eqn: Equation, view: View, position: int, shape: tuple[int, ...], out: tuple[int, ...]
) -> list[View | None] | None:
    """``± value + constant`` and ``value × number``: the gradient keeps its norm, or is scaled by a known number."""
    if shape != out or not solid(view, shape):
        return None
    name = eqn.primitive.name
    other = eqn.invars[1 - position]
    if name in ("add", "sub"):
        sign = -1.0 if name == "sub" and position == 1 else 1.0
        # The constant itself moves no gradient.
        return [stepped(view, shape, out, ("sign", sign), lambda x: x * jnp.asarray(sign, x.dtype))]
    if not isinstance(other, Literal) or np.ndim(other.val) or (name == "div" and position == 1):
        return None
    if not np.isfinite(other.val) or (name == "div" and other.val == 0):
        return None
    factor = float(other.val) if name == "mul" else 1.0 / float(other.val)
    scaled = stepped(view, shape, out, ("times", factor), lambda x: x * jnp.asarray(factor, x.dtype))
    return [scaled._replace(scale=view.scale * abs(factor))]
