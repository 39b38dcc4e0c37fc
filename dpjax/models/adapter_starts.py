"""Where adapters begin that a checkpoint does not have: where they change nothing yet."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dpjax.models.transformers.layers import Lora
from dpjax.models.transformers.narrow import Narrow, narrowed, widened


def completed(flat: Mapping[str, Any], num_layers: int) -> dict[str, Any]:
    """Adapters that only some layers have, in all of them, where they change nothing: stacks have one structure.

    Args:
      flat: parameters by path, each layer by itself.
      num_layers: how many there are.
    """
    more = dict[str, Any]()
    for path, array in flat.items():
        parts = path.split(".")
        if parts[0] != "layers" or not {"lora", "ia3"} & set(parts):
            continue
        for layer in range(num_layers):
            other = ".".join(["layers", str(layer), *parts[2:]])
            if other in flat:
                continue
            match parts[-1]:
                case "a":
                    more[other] = np.asarray(array)  # any but zeros, or neither half would ever get a gradient
                case "magnitude":
                    kernel = np.asarray(flat[f"{other.removesuffix('.lora.magnitude')}.kernel"], np.float32)
                    more[other] = np.sqrt(np.sum(np.square(kernel), axis=0))
                case "inputs" | "outputs":
                    more[other] = np.ones_like(array)
                case _:
                    more[other] = np.zeros_like(array)
    return {**flat, **more}


def magnitudes(
    body: Mapping[str, list[Any]], known: Mapping[str, Any], lora: Lora, frozen_dtype: Narrow | None = None
) -> dict[str, list[Any]]:
    """DoRA's lengths at the start: those of each kernel with what its adapter adds, so that nothing changes yet.

    Args:
      body: parameters by path, those of a stack's layers listed.
      known: paths of the model's parameters.
      lora: the adapters' scale.
      frozen_dtype: how kernels are stored.
    """

    def length(kernel: Any, a: Any, b: Any) -> Any:
        if isinstance(kernel, jax.ShapeDtypeStruct):
            return jax.ShapeDtypeStruct(kernel.shape[-1:], jnp.float32)
        stored = kernel if frozen_dtype is None else widened(narrowed(kernel, frozen_dtype), kernel.shape[0])
        whole = np.asarray(stored, np.float32)
        if a is not None:
            whole = whole + lora.alpha / lora.rank * (a @ b)
        return np.sqrt(np.sum(np.square(whole), axis=-2))

    lengths = dict[str, list[Any]]()
    for path in known:
        module = path.removesuffix(".lora.magnitude")
        if module == path or path in body or f"{module}.kernel" not in body:
            continue
        kernels = body[f"{module}.kernel"]
        none = [None] * len(kernels)
        halves = (body.get(f"{module}.lora.{half}", none) for half in "ab")
        lengths[path] = [length(*parts) for parts in zip(kernels, *halves, strict=True)]
    return lengths
