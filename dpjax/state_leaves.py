"""A pytree of arrays and typed keys as arrays by number, and back: what is kept of a run under way."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree


def leaves_of(tree: PyTree) -> dict[str, Any]:
    """Leaves by number, keys as their words; what has no numbers is left out, as orbax stores none of it.

    Args:
      tree: any pytree of arrays and typed keys.

    Example:
      >>> leaves_of({"a": jnp.zeros(2), "b": jnp.zeros((0, 3)), "c": jnp.ones(1)}).keys()
      dict_keys(['00000', '00002'])
    """
    found = {}
    for number, leaf in enumerate(jax.tree.leaves(tree)):
        words = jax.random.key_data(leaf) if _is_key(leaf) else jnp.asarray(leaf)
        if words.size:
            found[f"{number:05d}"] = words
    return found


def rebuilt(like: PyTree, found: Mapping[str, jax.Array]) -> PyTree:
    """The tree of leaves that ``leaves_of`` gave.

    Args:
      like: a tree of the same structure, shapes and dtypes.
      found: its leaves by number.

    Example:
      >>> tree = {"w": jnp.arange(2), "key": jax.random.key(3)}
      >>> rebuilt(tree, leaves_of(tree))["key"] == tree["key"]
      Array(True, dtype=bool)
    """
    leaves, structure = jax.tree.flatten(like)
    for number, leaf in enumerate(leaves):
        new = found.get(f"{number:05d}")
        if new is None:  # of no numbers
            leaves[number] = jnp.zeros(leaf.shape, leaf.dtype)
        else:
            leaves[number] = jax.random.wrap_key_data(new, impl=_impl_of(leaf)) if _is_key(leaf) else new
    return jax.tree.unflatten(structure, leaves)


def _impl_of(key: Any) -> Any:
    """How a key draws; of shapes alone nothing but a trace tells."""
    found = []
    jax.eval_shape(lambda traced: found.append(jax.random.key_impl(traced)), key)
    return found[0]


def _is_key(leaf: Any) -> bool:
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def shapes_of(leaves: Mapping[str, Any]) -> str:
    """Names, dtypes and shapes as one text, to compare.

    Args:
      leaves: by number.

    Example:
      >>> shapes_of({"00000": jnp.zeros((2, 3))})
      '{"00000": ["float32", [2, 3]]}'
    """
    return json.dumps({name: [str(x.dtype), list(x.shape)] for name, x in leaves.items()})


def hash_of(leaves: Mapping[str, Any]) -> str:
    """A hash of names, dtypes, shapes and all bits.

    Args:
      leaves: by number.

    Example:
      >>> hash_of({"00000": jnp.zeros(2)}) == hash_of({"00000": -jnp.zeros(2)})
      False
    """
    content = hashlib.sha256()
    for name in sorted(leaves):
        array = np.ascontiguousarray(leaves[name])
        content.update(f"{name} {array.dtype} {array.shape}".encode())
        content.update(array.view(np.uint8).data if array.ndim else array.tobytes())
    return content.hexdigest()
