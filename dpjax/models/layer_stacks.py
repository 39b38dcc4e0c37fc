"""Parameters by path, each layer by itself or stacked for a loop over layers."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import PyTree

from dpjax.mapped_arrays import on_top


def flat_paths(tree: PyTree) -> dict[str, Any]:
    """Leaves by path, joined by dots."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {dotted(path): leaf for path, leaf in leaves}


def stacked(flat: Mapping[str, np.ndarray], sizes: tuple[int, ...]) -> dict[str, np.ndarray]:
    """Parameters of single layers → of stacks of so many layers; layers by themselves keep their shape."""
    return {path: stack(arrays) for path, arrays in regrouped(flat, sizes).items()}


def regrouped(flat: Mapping[str, Any], sizes: tuple[int, ...]) -> dict[str, list[Any]]:
    """Parameters of single layers, listed for each parameter of a stack of so many layers."""
    ends = np.cumsum(sizes)
    listed = {path: [array] for path, array in flat.items() if not path.startswith("layers.")}
    for number, (size, end) in enumerate(zip(sizes, ends, strict=True)):
        first = f"layers.{end - size}."
        for rest in [path.removeprefix(first) for path in flat if path.startswith(first)]:
            listed[f"layers.{number}.{rest}"] = [flat[f"layers.{i}.{rest}"] for i in range(end - size, end)]
    return listed


def stack(layers: Sequence[Any]) -> Any:
    """Layers with a leading axis; one by itself is left without."""
    if len(layers) == 1:
        return layers[0]
    return jax.tree.map(_on_top, *layers)


def _on_top(*layers: Any) -> Any:
    if isinstance(layers[0], jax.ShapeDtypeStruct):
        return jax.ShapeDtypeStruct((len(layers), *layers[0].shape), layers[0].dtype)
    return on_top(layers)


def unstacked(flat: Mapping[str, np.ndarray], sizes: tuple[int, ...]) -> dict[str, np.ndarray]:
    """The reverse of ``stacked``."""
    starts = np.cumsum((0, *sizes))
    ungrouped = {}
    for path, array in flat.items():
        if not path.startswith("layers."):
            ungrouped[path] = array
            continue
        _, number, rest = path.split(".", 2)
        first, size = int(starts[int(number)]), sizes[int(number)]
        for i in range(size):
            ungrouped[f"layers.{first + i}.{rest}"] = array if size == 1 else array[i]
    return ungrouped


def dotted(path: jax.tree_util.KeyPath) -> str:
    return ".".join(str(getattr(part, "key", part)) for part in path)
