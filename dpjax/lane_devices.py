"""Lanes of a sweep over all devices of this process: each runs its own, and no message passes between them."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from jaxtyping import PyTree


class Width(NamedTuple):
    """How many lanes one call runs, and where.

    Attributes:
      each: lanes at once on a device.
      devices: that share the lanes of a call.
    """

    each: int
    devices: int

    @property
    def lanes(self) -> int:
        """Lanes of one call."""
        return self.each * self.devices


def width_of(at_once: int, num_lanes: int, devices: int | None = None) -> Width:
    """Lanes shared out evenly over devices.

    Args:
      at_once: lanes that a device runs in one call; 0: as many as it has.
      num_lanes: of the sweep.
      devices: at most so many; all of this process if None.

    Example:
      >>> width_of(1, 12, devices=8), width_of(0, 12, devices=8), width_of(4, 3, devices=1)
      (Width(each=1, devices=8), Width(each=2, devices=8), Width(each=3, devices=1))
    """
    devices = min(jax.local_device_count() if devices is None else devices, num_lanes)
    share = -(-num_lanes // devices)
    return Width(min(at_once or share, share), devices)


def over_lanes(function: Callable[..., Any], lanewise: Sequence[bool], width: Width) -> Callable[..., Any]:
    """A function of one lane, as one of all lanes of a call.

    Formal guarantees: those of ``function`` for each lane, whose numbers don't depend on the others.

    Args:
      function: pure.
      lanewise: for each of its arguments whether every lane has its own.
      width: of the call; of one lane, the function itself is returned.
    """
    if width.lanes == 1:
        return function
    axes = [0 if own else None for own in lanewise]
    if width.devices == 1:
        return jax.vmap(function, in_axes=axes)

    def one(*args: Any) -> Any:
        own = [jax.tree.map(lambda x: x[0], arg) if mine else arg for arg, mine in zip(args, lanewise, strict=True)]
        return jax.tree.map(lambda x: jnp.asarray(x)[None], function(*own))

    return jax.shard_map(
        one if width.each == 1 else jax.vmap(function, in_axes=axes),
        mesh=_mesh(width),
        in_specs=tuple(P("lanes") if own else P() for own in lanewise),
        out_specs=P("lanes"),
        check_vma=False,
    )


def _mesh(width: Width) -> Mesh:
    devices = jax.local_devices()[: width.devices]
    return jax.make_mesh((width.devices,), ("lanes",), axis_types=(AxisType.Auto,), devices=devices)


def placed(tree: PyTree, width: Width, *, lanewise: bool) -> PyTree:
    """Arrays where a call wants them: each lane's on its device, what all lanes share on every one.

    Args:
      tree: pytree of arrays, with an axis of lanes if ``lanewise``.
      width: of the call.
      lanewise: whether every lane has its own.
    """
    if width.devices == 1:
        return tree
    return jax.device_put(tree, NamedSharding(_mesh(width), P("lanes") if lanewise else P()))
