"""A cohort spread over devices: each clips its own slots, and one all-reduce adds the sums up."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from itertools import accumulate
from typing import Any

import jax
import jax.numpy as jnp
from jax.core import Tracer
from jax.sharding import AxisType, Mesh, set_mesh
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Float, Int, Key, PyTree

from dpjax.types import SLOTWISE, SUMMED, ClippedSum, Cohort, Params

LocalSum = Callable[[Params, Cohort, Key[Array, ""], Float[Array, ""], Int[Array, ""]], ClippedSum]
"""``(params, cohort, key, clip_norm, number of the first slot) -> ClippedSum`` over the slots of one device."""


def explicit_mesh(tree: PyTree[Array]) -> AbstractContextManager[Any] | None:
    """The mesh whose layout arrays carry in their type, where a loss of ONE unit can't say how it splits; to enter."""
    for x in jax.tree.leaves(tree):
        if jax.typeof(x).sharding.mesh.explicit_axes:
            traced = isinstance(x, Tracer)
            return jax.sharding.use_abstract_mesh(jax.typeof(x).sharding.mesh) if traced else set_mesh(x.sharding.mesh)
    return None


def with_auto_axes(mesh: Mesh) -> Mesh:
    """The same devices, whose arrays say nothing of their layout: how ``jax.make_mesh`` makes them is up to JAX."""
    return Mesh(mesh.devices, mesh.axis_names, axis_types=(AxisType.Auto,) * len(mesh.axis_names))


def over_devices(local_sum: LocalSum, mesh: Mesh, slots: int) -> LocalSum:
    """A sum over a cohort whose slots are split over the first axis of a mesh.

    Parameters are on all devices of that axis, and lie over the second, if there is one, as the caller laid them out.

    Raises:
      ValueError: slots that the devices can't share evenly.
    """
    axis, devices = mesh.axis_names[0], mesh.shape[mesh.axis_names[0]]
    if slots % devices:
        raise ValueError(
            f"the cohort's {slots} slots can't be shared evenly by {devices} devices; make the capacity a "
            f"multiple of {devices}, such as {slots + -slots % devices}."
        )
    spread = mesh.size > devices
    if spread and devices == 1:
        return local_sum
    reduce = partial(jax.lax.psum, axis_name=axis) if spread else partial(all_reduce, axis=axis)
    out_specs: Any = {name: P(axis) if name in SLOTWISE else P() for name in ClippedSum._fields}

    @partial(
        jax.shard_map,
        mesh=mesh,
        axis_names={axis} if spread else set(mesh.axis_names),
        in_specs=(P(), P(axis), P(), P(), P()),
        out_specs=ClippedSum(**out_specs),
        check_vma=False,
    )
    def run(
        params: Params, cohort: Cohort, key: Key[Array, ""], clip_norm: Float[Array, ""], first: Int[Array, ""]
    ) -> ClippedSum:
        first_here = first + jax.lax.axis_index(axis).astype(first.dtype) * cohort.mask.shape[0]
        part = local_sum(params, cohort, key, clip_norm, first_here)
        return part._replace(**reduce({name: getattr(part, name) for name in SUMMED}))

    return jax.jit(run)  # or else, outside of a jit, every operation would be compiled for the devices by itself


def all_reduce(tree: Any, axis: Any) -> Any:
    """The sum of a pytree over a mesh axis, as one message: leaves of all shapes and types travel as one vector."""
    leaves, treedef = jax.tree.flatten(tree)
    dtype = jnp.result_type(*(x.dtype for x in leaves if jnp.issubdtype(x.dtype, jnp.floating)), jnp.float32)
    # Counts are far below 2²⁴, where float32 stops being exact.
    vector = jax.lax.psum(jnp.concatenate([x.astype(dtype).ravel() for x in leaves]), axis)
    ends = list(accumulate(x.size for x in leaves))
    parts = jnp.split(vector, ends[:-1])
    return jax.tree.unflatten(
        treedef, [part.reshape(x.shape).astype(x.dtype) for part, x in zip(parts, leaves, strict=True)]
    )
