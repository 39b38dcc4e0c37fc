"""Adapters put into the matrices that they sit beside, and taken out again."""

from collections.abc import Callable, Mapping

import numpy as np

from dpjax.models.pretrained.tensor_files import CheckpointError, Flat
from dpjax.models.transformers.layers import Ia3, Lora, SoftPrompt


def merge_adapters(params: Mapping[str, np.ndarray], adapters: Lora | Ia3 | SoftPrompt) -> Flat:
    """Adapters added into the matrices they sit beside, so that the model needs none.

    Formal guarantees: the merged matrices give the logits of the model with adapters, beyond rounding; nothing else
    changes.

    Args:
      params: all parameters by path, each layer by itself.
      adapters: rank and scale of LoRA or DoRA, or IA³.

    Returns:
      The parameters by path without those of adapters.

    Raises:
      CheckpointError: an adapter on a matrix that the base does not have, or of another shape; a prompt or a prefix,
        which is in no matrix.

    Example:
      >>> import jax, numpy as np
      >>> from dpjax.models.transformers import Lora, tiny
      >>> arch, lora, query = tiny("llama"), Lora(rank=1, targets=("query",)), "layers.0.attention.query"
      >>> ones = np.ones((16, 1), np.float32)
      >>> adapters = {f"{query}.lora.a": ones, f"{query}.lora.b": 0.1 * ones.T}
      >>> from dpjax.models.tuning import fresh_parameters
      >>> base = fresh_parameters(arch, jax.random.key(0))
      >>> merged = merge_adapters(base | adapters, lora)
      >>> sorted(merged) == sorted(base)
      True
      >>> again = unmerge_adapters(merged, adapters, lora)
      >>> bool(np.allclose(again[f"{query}.kernel"], base[f"{query}.kernel"], atol=1e-6))
      True
    """
    _refuse_prompt(adapters)
    merged = Flat({path: array for path, array in params.items() if not {"lora", "ia3"} & set(path.split("."))})
    for module in _modules(params):
        own = {
            path.removeprefix(f"{module}."): np.asarray(array)
            for path, array in params.items()
            if path.startswith(f"{module}.")
        }
        if "lora.a" in own:
            assert isinstance(adapters, Lora)
            kernel = _kernel(merged, module, own["lora.a"].shape[0], own["lora.b"].shape[1])
            kernel = kernel + _product(own, adapters)
            if "lora.magnitude" in own:
                lengths = np.sqrt(np.sum(np.square(kernel, dtype=np.float32), axis=0))
                kernel = kernel * np.where(lengths > 0, own["lora.magnitude"] / np.where(lengths > 0, lengths, 1), 0)
            merged[f"{module}.kernel"] = kernel
            if "lora.bias" in own:
                merged[f"{module}.bias"] = np.asarray(merged[f"{module}.bias"]) + own["lora.bias"]
        _scale(merged, module, own, np.multiply)
    return merged


def unmerge_adapters(
    params: Mapping[str, np.ndarray], adapters: Mapping[str, np.ndarray], kind: Lora | Ia3 | SoftPrompt
) -> Flat:
    """The base that adapters were merged into: ``merge_adapters`` undone.

    Formal guarantees: ``unmerge_adapters(merge_adapters(base | adapters, kind), adapters, kind)`` is the base beyond
    rounding, or an error: what a zero was multiplied into is lost, and so is the length that DoRA replaced.

    Args:
      params: merged parameters by path, each layer by itself.
      adapters: what ``load_adapters`` read; of what else is among them, as a trained head, nothing is taken out.
      kind: rank and scale, or IA³.

    Returns:
      The parameters by path.

    Raises:
      CheckpointError: DoRA, a prompt or a prefix, or a vector of IA³ with a zero; an adapter of another model.

    Example:
      >>> query = "layers.0.attention.query"
      >>> base = {f"{query}.kernel": np.ones((2, 3), np.float32)}
      >>> scales = {f"{query}.ia3.outputs": np.array([2.0, 4.0, 0.5], np.float32)}
      >>> merged = merge_adapters(base | scales, Ia3(outputs=("query",)))
      >>> merged[f"{query}.kernel"][0].tolist()
      [2.0, 4.0, 0.5]
      >>> unmerge_adapters(merged, scales, Ia3())[f"{query}.kernel"][0].tolist()
      [1.0, 1.0, 1.0]
    """
    _refuse_prompt(kind)
    base = Flat(params)
    for module in _modules(adapters):
        own = {
            path.removeprefix(f"{module}."): np.asarray(array)
            for path, array in adapters.items()
            if path.startswith(f"{module}.")
        }
        if "lora.magnitude" in own:
            raise CheckpointError(
                f"{module} has a magnitude of DoRA, which replaced the length that the matrix had, so that it cannot "
                "be taken out; keep the base."
            )
        if "lora.a" in own:
            assert isinstance(kind, Lora)
            kernel = _kernel(base, module, own["lora.a"].shape[0], own["lora.b"].shape[1])
            base[f"{module}.kernel"] = kernel - _product(own, kind)
            if "lora.bias" in own:
                base[f"{module}.bias"] = np.asarray(base[f"{module}.bias"]) - own["lora.bias"]
        if any(name.startswith("ia3.") and not np.all(array) for name, array in own.items()):
            raise CheckpointError(
                f"{module} has a zero in its vector of IA³, and what it was multiplied into is lost; keep the base."
            )
        _scale(base, module, own, np.divide)
    return base


def _modules(params: Mapping[str, np.ndarray]) -> list[str]:
    """Dense layers with an adapter."""
    ends = (".lora.a", ".ia3.outputs", ".ia3.inputs")
    return list(dict.fromkeys(path.removesuffix(end) for path in params for end in ends if path.endswith(end)))


def _product(own: Mapping[str, np.ndarray], lora: Lora) -> np.ndarray:
    return np.float32(lora.alpha / lora.rank) * (own["lora.a"].astype(np.float32) @ own["lora.b"].astype(np.float32))


def _scale(
    flat: Flat, module: str, own: Mapping[str, np.ndarray], by: Callable[[np.ndarray, np.ndarray], np.ndarray]
) -> None:
    """A matrix by what its inputs and its outputs are scaled by, and its bias by the latter."""
    inputs, outputs = own.get("ia3.inputs"), own.get("ia3.outputs")
    if inputs is not None:
        kernel = _kernel(flat, module, inputs.size, None)
        flat[f"{module}.kernel"] = by(kernel, inputs[:, None])
    if outputs is not None:
        kernel = _kernel(flat, module, None, outputs.size)
        flat[f"{module}.kernel"] = by(kernel, outputs)
        if f"{module}.bias" in flat:
            flat[f"{module}.bias"] = by(np.asarray(flat[f"{module}.bias"]), outputs)


def _kernel(flat: Mapping[str, np.ndarray], module: str, inputs: int | None, outputs: int | None) -> np.ndarray:
    """A matrix that an adapter of these sizes sits on; None: any."""
    kernel = flat.get(f"{module}.kernel")
    shape = None if kernel is None else np.shape(kernel)
    wanted = None if shape is None else (inputs or shape[0], outputs or shape[1])
    if kernel is None or shape != wanted:
        has = "none" if kernel is None else f"shape {shape}"
        raise CheckpointError(
            f"an adapter of shape {(inputs, outputs)} sits on {module}.kernel, of which the base has {has}; "
            "take the base that it was trained on."
        )
    return np.asarray(kernel)


def _refuse_prompt(adapters: Lora | Ia3 | SoftPrompt) -> None:
    if isinstance(adapters, SoftPrompt):
        raise CheckpointError(
            f"adapters is {adapters}, but what stands before a text is in no matrix; train or write with it as it is."
        )
