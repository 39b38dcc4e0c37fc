"""Parameters spread over the devices of a mesh's second axis: where each lies, and norms taken where it lies."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Float, PyTree

from dpjax.checks import brief
from dpjax.types import Params

Layout = Callable[[str, tuple[int, ...]], P]
"""``layout(path, shape)``: how a parameter's axes lie over the mesh; its path as ``jax.tree_util.keystr`` writes it."""

_SMALL = 2**14
"""Parameters of fewer numbers stay whole on every device: a message costs more than they do."""


class Shards(NamedTuple):
    """How parameters, and all that is shaped like them, lie over a mesh of two axes.

    Attributes:
      mesh: its first axis shares the slots of a cohort, its second the parameters.
      layout: a parameter → its axes; ``largest_axis`` if None.
    """

    mesh: Mesh
    layout: Layout | None = None

    @property
    def axis(self) -> str:
        """The mesh's axis that parameters are spread over."""
        return self.mesh.axis_names[1]

    @property
    def slot_axis(self) -> str | None:
        """The mesh's axis that the slots of a cohort are shared over; None where one device has them all."""
        name = self.mesh.axis_names[0]
        return name if self.mesh.shape[name] > 1 else None

    @property
    def size(self) -> int:
        """How many devices share the parameters."""
        return self.mesh.shape[self.axis]


def shards_of(mesh: Mesh | None, layout: Layout | None) -> Shards | None:
    """The shards that a mesh makes of parameters; None where each device holds them all."""
    if mesh is None or len(mesh.axis_names) < 2 or mesh.devices.shape[1] == 1:
        return None
    return Shards(mesh, layout)


def largest_axis(shape: tuple[int, ...], axis: str, size: int) -> P:
    """The longest axis that ``size`` divides, the last of equals; parameters that are small, or have none, stay whole.

    Example:
      >>> largest_axis((50257, 768), "model", 8), largest_axis((768, 3072), "model", 8), largest_axis((10,), "model", 8)
      (P(None, 'model'), P(None, 'model'), P())
    """
    able = [place for place, length in enumerate(shape) if length % size == 0]
    if not able or math.prod(shape) < _SMALL:
        return P()
    chosen = max(able, key=lambda place: (shape[place], place))
    return P(*(axis if place == chosen else None for place in range(chosen + 1)))


def specs(shards: Shards, tree: PyTree) -> PyTree[P]:
    """Where each leaf of parameters lies.

    Raises:
      TypeError: a layout that gives no ``PartitionSpec``.
      ValueError: a layout that names an axis of the mesh that doesn't divide the parameter's, or another axis than the
        second; or no parameter that the mesh can split, or the layout does.
    """

    def spec(path: Any, x: Any) -> P:
        name, shape = jax.tree_util.keystr(path), tuple(x.shape)
        if shards.layout is None:
            return largest_axis(shape, shards.axis, shards.size)
        return _checked(shards.layout(name, shape), name, shape, shards)

    found = jax.tree_util.tree_map_with_path(spec, tree)
    if all(x == P() for x in jax.tree.leaves(found, is_leaf=_is_spec)):
        largest = max((tuple(x.shape) for x in jax.tree.leaves(tree)), key=math.prod, default=())
        if shards.layout is not None:
            raise ValueError(
                f"layout leaves every parameter whole (the largest has shape {largest}), so that each of the "
                f"{shards.size} devices on mesh axis {shards.axis!r} would hold them all; name the axis for one of "
                "them, as paths of this very model say it, or give the mesh one axis."
            )
        raise ValueError(
            f"mesh axis {shards.axis!r} has {shards.size} devices, which divide no axis of a parameter of {_SMALL:,} "
            f"numbers or more (the largest has shape {largest}), so that every device would hold them all; give the "
            f"mesh one axis, or as many devices on {shards.axis!r} as divide one."
        )
    return found


def _is_spec(x: Any) -> bool:
    return isinstance(x, P)


def _checked(spec: Any, name: str, shape: tuple[int, ...], shards: Shards) -> P:
    if not isinstance(spec, P):
        raise TypeError(f"layout({name!r}, {shape}) returned {brief(spec)}; return a jax.sharding.PartitionSpec.")
    over = [place for place, axes in enumerate(spec) if axes is not None]
    if len(over) > 1 or any(spec[place] not in (shards.axis, (shards.axis,)) for place in over):
        raise ValueError(
            f"layout({name!r}, {shape}) returned {spec}; name the axis {shards.axis!r} once, or none: the others share "
            "the cohort's slots."
        )
    for place in over:
        if place >= len(shape) or shape[place] % shards.size:
            length = shape[place] if place < len(shape) else None
            raise ValueError(
                f"layout({name!r}, {shape}) returned {spec}, but axis {place} has length {length}, which "
                f"{shards.size} devices can't share evenly; leave that parameter whole with PartitionSpec()."
            )
    return spec


def constrained(shards: Shards, tree: PyTree[Array], where: PyTree[P], stacked: int = 0) -> PyTree[Array]:
    """The same arrays, laid out as ``where`` says, behind ``stacked`` axes that are not spread."""

    def one(x: Array, spec: P) -> Array:
        return jax.lax.with_sharding_constraint(x, NamedSharding(_here(shards.mesh), P(*[None] * stacked, *spec)))

    return jax.tree.map(one, tree, where)


def _here(mesh: Mesh) -> Any:
    """The mesh as the program's current part sees it: some of its axes may be taken."""
    around = jax.sharding.get_abstract_mesh()
    return mesh if around.empty else around


def like_params(shards: Shards, tree: PyTree[Array], params: Params) -> PyTree[Array]:
    """Moments, noise and sums laid out as the parameters of their shape, axes before it not being spread."""
    places = {
        tuple(x.shape): spec
        for x, spec in zip(
            jax.tree.leaves(params), jax.tree.leaves(specs(shards, params), is_leaf=_is_spec), strict=True
        )
    }

    def one(x: Array) -> Array:
        if not jnp.issubdtype(x.dtype, jnp.number):
            return x
        for before in range(x.ndim):
            spec = places.get(tuple(x.shape[before:]))
            if spec is not None and spec != P():
                return constrained(shards, x, spec, before)
        return x

    return jax.tree.map(one, tree)


def sums_where_they_lie(
    shards: Shards,
    summed: Callable[[PyTree[Array]], Float[Array, "groups slots"]],
    stack: PyTree[Array],
    where: PyTree[P],
) -> Float[Array, "groups slots"]:
    """``summed`` of every device's part of a stack, leaves ``[slots, ...]``, added up in ONE message.

    A leaf that every device holds whole is counted once.
    """
    axis = shards.axis

    def local(parts: PyTree[Array]) -> Float[Array, "groups slots"]:
        first = jax.lax.axis_index(axis) == 0
        mine = jax.tree.map(lambda x, spec: jnp.where(first, x, 0) if spec == P() else x, parts, where)
        return jax.lax.psum(summed(mine), axis)

    stacked = jax.tree.map(lambda spec: P(None, *spec), where, is_leaf=_is_spec)
    run = jax.shard_map(
        local,
        mesh=_here(shards.mesh),
        axis_names={axis},
        in_specs=(stacked,),
        out_specs=P(),
        check_vma=False,
    )
    return run(constrained(shards, stack, where, 1))
