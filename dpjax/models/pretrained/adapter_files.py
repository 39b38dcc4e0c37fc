"""LoRA adapters as PEFT lays them out, read into parameters: ``adapter_config.json``, ``adapter_model.safetensors``."""

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dpjax.models.pretrained.adapter_config import AdapterConfig, read_adapter_config
from dpjax.models.pretrained.heads import has_head, read_head
from dpjax.models.pretrained.names import NAMES, modules, taken, tensors
from dpjax.models.pretrained.other_formats import refuse_other_weights
from dpjax.models.pretrained.tensor_files import (
    CheckpointError,
    Flat,
    read_tensors,
    refuse_non_finite,
    shape_of,
)
from dpjax.models.transformers.architecture import Architecture
from dpjax.models.transformers.config_fields import shown
from dpjax.models.transformers.layers import Lora

WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"


def load_adapters(folder: str | os.PathLike[str], arch: Architecture) -> tuple[Flat, Lora]:
    """Adapters, and what else was trained beside them, from a folder that PEFT or ``save_adapters`` wrote.

    Formal guarantees: the numbers that PEFT computes, or an error: patterns of ranks and alphas, rsLoRA, adapters on
    GPT-2's joined query, key and value, biases and whole modules that were trained too. Where ranks or scales differ
    between layers, adapters are filled up with zeros to the largest rank, and ``b`` takes the scale.

    Args:
      folder: with ``adapter_config.json`` and ``adapter_model.safetensors``.
      arch: of the body they are for.

    Returns:
      Parameters by path, each layer by itself, float32; those of the base replace its own. And rank, scale and targets.

    Raises:
      CheckpointError: another kind of adapter, a field that is not computed, a tensor that has no place in the
        architecture or another shape there, or a damaged file.

    Example:
      >>> import tempfile, numpy as np
      >>> from dpjax.models.transformers import Lora, tiny
      >>> arch, lora, query = tiny("llama"), Lora(rank=1, targets=("query",)), "layers.0.attention.query"
      >>> adapters = {f"{query}.lora.a": np.ones((16, 1), np.float32), f"{query}.lora.b": np.ones((1, 16), np.float32)}
      >>> from dpjax.models.pretrained import save_adapters
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     params, read = load_adapters(save_adapters(folder, arch, adapters, lora, "owner/name"), arch)
      >>> sorted(params) == sorted(adapters), read == lora
      (True, True)
    """
    folder = Path(folder)
    config = read_adapter_config(folder / CONFIG)
    if not (folder / WEIGHTS).exists():
        refuse_other_weights(folder, WEIGHTS)
    flat, halves = Flat(), dict[str, dict[str, np.ndarray]]()
    for name, array in read_tensors(folder / WEIGHTS).items():
        array = _floating(array, folder / WEIGHTS, name)
        bare = name.removeprefix("base_model.model.")
        if "original_module" in bare.split("."):
            continue  # a saved module as it was before training
        lora = re.fullmatch(r"(.+)\.lora_([AB])(?:\.default)?\.(weight|bias)", bare)
        if lora:
            halves.setdefault(lora[1], {})[f"{lora[2]}.{lora[3]}"] = array
        else:
            _add_base(flat, re.sub(r"\.modules_to_save(\.default)?\.", ".", bare), array, config, arch)
    if not halves:
        raise CheckpointError(f"{folder / WEIGHTS} holds no adapters; take the whole adapter.")
    adapters = [each for name, parts in halves.items() for each in _adapters(name, parts, config, arch)]
    if has_head(folder):
        flat |= read_head(folder, arch)
    if "classifier.kernel" in flat and "classifier.bias" not in flat:
        flat["classifier.bias"] = np.zeros(flat["classifier.kernel"].shape[1], np.float32)
    ranks, scales = {each.a.shape[1] for each in adapters}, {each.scale for each in adapters}
    rank, scale = max(ranks), (max(scales) if len(scales) == 1 else 1.0) or 1.0
    for each in adapters:
        # Kept as they are where they can be: another training may go on from them.
        factor = np.float32(each.scale / scale)
        flat[f"{each.path}.lora.a"] = _filled(each.a, rank, 1)
        flat[f"{each.path}.lora.b"] = _filled(each.b if factor == 1 else each.b * factor, rank, 0)
        if each.bias is not None:
            flat[f"{each.path}.lora.bias"] = each.bias * np.float32(each.scale)
    targets = {each.path.rsplit(".", 1)[-1] for each in adapters if each.path.startswith("layers.")}
    plain = config.alpha / config.rank == scale and config.rank == rank
    return flat, Lora(rank, config.alpha if plain else scale * rank, tuple(sorted(targets)))


def merge_adapters(params: Mapping[str, np.ndarray], lora: Lora) -> Flat:
    """Adapters added into the matrices they sit beside, so that the model needs none.

    Formal guarantees: the merged matrices give the logits of the model with adapters, beyond rounding; nothing else
    changes.

    Args:
      params: all parameters by path, each layer by itself.
      lora: rank and scale.

    Returns:
      The parameters by path without those of adapters.

    Raises:
      CheckpointError: an adapter on a matrix that the base does not have, or of another shape.

    Example:
      >>> import jax, numpy as np
      >>> from dpjax.models.transformers import Lora, tiny
      >>> arch, lora, query = tiny("llama"), Lora(rank=1, targets=("query",)), "layers.0.attention.query"
      >>> adapters = {f"{query}.lora.a": np.ones((16, 1), np.float32), f"{query}.lora.b": np.ones((1, 16), np.float32)}
      >>> from dpjax.models.tuning import fresh_parameters
      >>> base = fresh_parameters(arch, jax.random.key(0))
      >>> sorted(merge_adapters(base | adapters, lora)) == sorted(base)
      True
    """
    merged = {path: array for path, array in params.items() if ".lora." not in path}
    for path in [path for path in params if path.endswith(".lora.a")]:
        module = path.removesuffix(".lora.a")
        a, b = np.asarray(params[path]), np.asarray(params[f"{module}.lora.b"])
        kernel = merged.get(f"{module}.kernel")
        if kernel is None or np.shape(kernel) != (a.shape[0], b.shape[1]):
            has = "none" if kernel is None else f"shape {np.shape(kernel)}"
            raise CheckpointError(
                f"an adapter of shape {(a.shape[0], b.shape[1])} sits on {module}.kernel, of which the base has {has}; "
                "take the base that it was trained on."
            )
        merged[f"{module}.kernel"] = np.asarray(kernel) + (lora.alpha / lora.rank) * (a @ b)
        if f"{module}.lora.bias" in params:
            merged[f"{module}.bias"] = np.asarray(merged[f"{module}.bias"]) + params[f"{module}.lora.bias"]
    return merged


class _Adapter(NamedTuple):
    """One dense layer's: ``scale · (x @ a) @ b``, and what it adds to the bias before the scale."""

    path: str
    a: np.ndarray
    b: np.ndarray
    bias: np.ndarray | None
    scale: float


def _adapters(
    name: str, parts: Mapping[str, np.ndarray], config: AdapterConfig, arch: Architecture
) -> Iterator[_Adapter]:
    """The adapters of one module; three where query, key and value are one matrix."""
    paths = modules(arch).get(name.removeprefix(NAMES[arch.family].prefix))
    what = config.path.parent / WEIGHTS
    if paths is None:
        raise CheckpointError(f"{what} holds {name}.lora_A, which a {arch.family} has no place for.")
    if not config.is_target(name):
        raise CheckpointError(
            f"{what} holds {name}.lora_A, where {config.path.name} puts no adapter (target_modules is "
            f"{shown(config.targets)}); take both from one training."
        )
    rank = config.rank_of(name)
    shapes = [shape for path in paths if (shape := shape_of(f"{path}.kernel", arch))]
    width, outs = shapes[0][0], [shape[1] for shape in shapes]
    for part, expected in (("A.weight", (rank, width)), ("B.weight", (sum(outs), rank)), ("B.bias", (sum(outs),))):
        array = parts.get(part)
        if array is None and part == "B.bias":
            continue
        if array is None or array.shape != expected:
            has = "is missing" if array is None else f"has shape {array.shape}"
            raise CheckpointError(
                f"{what}: {name}.lora_{part} {has} where the model and r={rank} of {config.path.name} ask for "
                f"{expected}; the adapter belongs to another model, or the rank to another adapter."
            )
    biased = "B.bias" in parts
    if set(parts) - {"A.weight", "B.weight", "B.bias"} or (
        biased and not (config.biased and f"{paths[0]}.bias" in tensors(arch))
    ):
        raise CheckpointError(
            f"{what} holds a bias of {name}'s adapter, which lora_bias={config.biased} of {config.path.name} and a "
            f"{arch.family} have no place for."
        )
    places = [tensors(arch)[f"{path}.kernel"]._replace(turned=False) for path in paths]
    bs = [taken(parts["B.weight"].T, place) for place in places]
    biases = [taken(parts["B.bias"], place) if biased else None for place in places]
    idle = len(paths) > 1 and not parts["B.weight"].any()
    for path, b, bias in zip(paths, bs, biases, strict=True):
        used = np.ones(rank, bool) if len(paths) == 1 or idle else b.any(axis=1)
        if used.any() or bias is not None:  # rows of another part's adapter add nothing to this one
            yield _Adapter(path, parts["A.weight"].T[:, used], b[used], bias, config.scale_of(name))


def _add_base(flat: Flat, name: str, array: np.ndarray, config: AdapterConfig, arch: Architecture) -> None:
    """A tensor of the base that was trained beside the adapters."""
    what, wrapped = config.path.parent / WEIGHTS, ".base_layer." in name
    name = name.replace(".base_layer.", ".")
    module, bare = name.rpartition(".")[0], name.removeprefix(NAMES[arch.family].prefix)
    places = {path: tensor for path, tensor in tensors(arch).items() if tensor.name == bare}
    if not places:
        if any(part in bare for part in NAMES[arch.family].ignored):
            return
        raise CheckpointError(f"{what} holds {name}, which a {arch.family} has no place for.")
    # PEFT loads whatever has a name in the model: under an adapter that of the base layer, elsewhere the plain one.
    trained_bias = name.endswith(".bias") and config.biases != "none"
    if config.is_target(module) and not (wrapped or trained_bias):
        raise CheckpointError(
            f"{what} holds {name}, while {config.path.name} has modules_to_save={shown(list(config.saved))} and "
            f"bias={config.biases!r}; take both from one training."
        )
    apart = config.is_saved(module) and config.task not in ("SEQ_CLS", "FEATURE_EXTRACTION")
    if arch.tied and ("vocabulary" in places or ("token" in places and apart)):
        raise CheckpointError(
            f"{what} holds {name}, trained apart from the matrix that it shares with the other end of the model; save "
            "the merged model in PEFT, and load that."
        )
    for path, tensor in places.items():
        if tensor.sizes and (not array.ndim or array.shape[0 if tensor.turned else -1] != sum(tensor.sizes)):
            raise CheckpointError(
                f"{what}: {name} has shape {array.shape}, which is not {len(tensor.sizes)} matrices side by side."
            )
        weights = taken(array, tensor)
        expected = shape_of(path, arch)
        classes = weights.shape[-1] if path.startswith("classifier") and weights.ndim else 0
        expected = expected or ((arch.width, classes) if path.endswith("kernel") else (classes,))
        if weights.shape != expected:
            raise CheckpointError(
                f"{what}: {name} has shape {array.shape} as {path} where the model asks for {expected}; the adapter "
                "belongs to another model."
            )
        flat[path] = weights


def _floating(array: np.ndarray, path: Path, name: str) -> np.ndarray:
    if not (np.issubdtype(array.dtype, np.floating) or array.dtype.name == "bfloat16"):
        raise CheckpointError(f"{path}: {name} is {array.dtype}, not floating; take an unquantised copy.")
    refuse_non_finite(array, str(path), name)
    return array.astype(np.float32)


def _filled(array: np.ndarray, rank: int, axis: int) -> np.ndarray:
    """Zeros up to a rank."""
    more = [(0, 0), (0, 0)]
    more[axis] = 0, rank - array.shape[axis]
    return np.pad(array, more) if more[axis][1] else array
