"""Where adapters begin that a checkpoint does not have: where they change nothing yet."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from dpjax.models.transformers.layers import Lora


def completed(flat: Mapping[str, np.ndarray], num_layers: int) -> dict[str, np.ndarray]:
    """Adapters that only some layers have, in all of them, where they change nothing: stacks have one structure.

    Args:
      flat: parameters by path, each layer by itself.
      num_layers: how many there are.
    """
    more = dict[str, np.ndarray]()
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


def magnitudes(body: Mapping[str, np.ndarray], known: Mapping[str, Any], lora: Lora) -> dict[str, np.ndarray]:
    """DoRA's lengths at the start: those of each kernel with what its adapter adds, so that nothing changes yet.

    Args:
      body: parameters by path, those of stacked layers with a leading axis.
      known: paths of the model's parameters.
      lora: the adapters' scale.
    """
    lengths = dict[str, np.ndarray]()
    for path in known:
        module = path.removesuffix(".lora.magnitude")
        if module == path or path in body or f"{module}.kernel" not in body:
            continue
        whole = np.asarray(body[f"{module}.kernel"], np.float32)
        if f"{module}.lora.b" in body:
            whole = whole + lora.alpha / lora.rank * (body[f"{module}.lora.a"] @ body[f"{module}.lora.b"])
        lengths[path] = np.sqrt(np.sum(np.square(whole), axis=-2))
    return lengths
