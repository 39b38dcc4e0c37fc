"""Adapters as PEFT lays them out, read into parameters: ``adapter_config.json``, ``adapter_model.safetensors``."""

import os
import re
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from dpjax.models.pretrained.adapter_config import AdapterConfig, read_adapter_config
from dpjax.models.pretrained.adapter_parts import adapters_of, levelled, lora_of, scaled_by, scales_of
from dpjax.models.pretrained.bases import warn_of_another_base
from dpjax.models.pretrained.heads import has_head, read_head
from dpjax.models.pretrained.load_and_save import Pretrained
from dpjax.models.pretrained.names import NAMES, modules, taken, tensors
from dpjax.models.pretrained.other_formats import refuse_other_weights
from dpjax.models.pretrained.soft_prompts import is_soft_prompt, read_soft_prompt
from dpjax.models.pretrained.tensor_files import (
    CheckpointError,
    Flat,
    read_json,
    read_tensors,
    refuse_non_finite,
    shape_of,
)
from dpjax.models.transformers.architecture import Architecture
from dpjax.models.transformers.config_fields import shown
from dpjax.models.transformers.layers import Ia3, Lora, SoftPrompt

WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"

_PARTS = {
    "LORA": r"(.+)\.lora_(?:([AB])(?:\.default)?\.(weight|bias)|magnitude_vector(?:\.default)?(?:\.weight)?)",
    "IA3": r"(.+)\.ia3_l(?:\.default)?",
}
"""Kind → what its tensors are called: the module's name, then which half."""


def load_adapters(
    folder: str | os.PathLike[str], arch: Architecture, *, base: str | Pretrained | None = None
) -> tuple[Flat, Lora | Ia3 | SoftPrompt]:
    """Adapters, and what else was trained beside them, from a folder that PEFT or ``save_adapters`` wrote.

    Formal guarantees: the numbers that PEFT computes, or an error: LoRA and DoRA with patterns of ranks and alphas,
    rsLoRA, IA³, prompts and prefixes; parts of a joined matrix; biases and whole modules that were trained too. Where
    ranks or scales differ between layers, adapters are filled up with zeros to the largest rank, and ``b`` takes the
    scale.

    Args:
      folder: with ``adapter_config.json`` and ``adapter_model.safetensors``.
      arch: of the body they are for.
      base: what they are put on, or its name: a warning says if they were trained on another; None: not compared.

    Returns:
      Parameters by path, each layer by itself, float32; those of the base replace its own. And what they are:
      ``Method.of`` trains such on.

    Raises:
      CheckpointError: another kind of adapter, a field that is not computed, a tensor that has no place in the
        architecture or another shape there, layers of the model without any, or a damaged file.

    Example:
      >>> import tempfile, numpy as np
      >>> from dpjax.models.transformers import Lora, tiny
      >>> arch, lora = tiny("llama", num_layers=1), Lora(rank=1, targets=("query",))
      >>> query, ones = "layers.0.attention.query", np.ones((16, 1), np.float32)
      >>> adapters = {f"{query}.lora.a": ones, f"{query}.lora.b": ones.T}
      >>> from dpjax.models.pretrained import save_adapters
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     params, read = load_adapters(save_adapters(folder, arch, adapters, lora, "owner/name"), arch)
      >>> sorted(params) == sorted(adapters), read == lora
      (True, True)
    """
    folder = Path(folder)
    if base is not None:
        meant = read_json(folder / CONFIG).get("base_model_name_or_path")
        warn_of_another_base(folder, meant if isinstance(meant, str) else None, base)
    if (folder / CONFIG).exists() and not (folder / WEIGHTS).exists():
        refuse_other_weights(folder, WEIGHTS)
    if is_soft_prompt(folder / CONFIG):
        flat, prompt = read_soft_prompt(folder / CONFIG, _tensors(folder / WEIGHTS), arch)
        return flat | (read_head(folder, arch) if has_head(folder) else Flat()), prompt
    config = read_adapter_config(folder / CONFIG)
    flat, halves, vectors = Flat(), dict[str, dict[str, np.ndarray]](), dict[str, np.ndarray]()
    for name, array in _tensors(folder / WEIGHTS).items():
        bare = name.removeprefix("base_model.model.")
        if "original_module" in bare.split("."):
            continue  # a saved module as it was before training
        part = re.fullmatch(_PARTS[config.kind], bare)
        if part is None:
            _add_base(flat, re.sub(r"\.modules_to_save(\.default)?\.", ".", bare), array, config, arch)
        elif config.kind == "IA3":
            vectors[part[1]] = array
        else:
            what = "magnitude" if part[2] is None else f"{part[2]}.{part[3]}"
            halves.setdefault(part[1], {})[what] = array
    if not (halves or vectors):
        raise CheckpointError(f"{folder / WEIGHTS} holds no adapters; take the whole adapter.")
    _refuse_bare_layers(config, {**halves, **vectors}, arch)
    if has_head(folder):
        flat |= read_head(folder, arch)
    if "classifier.kernel" in flat and "classifier.bias" not in flat:
        flat["classifier.bias"] = np.zeros(flat["classifier.kernel"].shape[1], np.float32)
    if config.kind == "IA3":
        scales = dict(pair for name, vector in vectors.items() for pair in scales_of(name, vector, config, arch))
        return flat | scales, Ia3(*(scaled_by(scales, side) for side in ("outputs", "inputs")))
    adapters = [each for name, parts in halves.items() for each in adapters_of(name, parts, config, arch)]
    return flat | levelled(adapters), lora_of(adapters, config)


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


def _tensors(path: Path) -> Flat:
    """All of a file, in float32."""
    return Flat({name: _floating(array, path, name) for name, array in read_tensors(path).items()})


def _refuse_bare_layers(config: AdapterConfig, held: Iterable[str], arch: Architecture) -> None:
    """Raises where the model has a layer with targets and the file holds no adapter in it: PEFT only warns."""
    held, prefix = set(held), NAMES[arch.family].prefix
    first = dict[str, str]()
    bare = dict[str, bool]()
    for name, paths in modules(arch).items():
        if not paths[0].startswith("layers."):
            continue
        layer = paths[0].split(".")[1]
        there = {name, prefix + name} & held
        bare[layer] = bare.get(layer, True) and not there
        if any(config.is_target(each) for each in (name, prefix + name)):
            first.setdefault(layer, name)
    without = [layer for layer, name in first.items() if bare[layer]]
    if without:
        raise CheckpointError(
            f"{config.path.parent / WEIGHTS} holds no adapter of layer {without[0]}, where {config.path.name} puts one "
            f"on {first[without[0]]}; take the base that it was trained on, or the whole adapter."
        )


def _floating(array: np.ndarray, path: Path, name: str) -> np.ndarray:
    if not (np.issubdtype(array.dtype, np.floating) or array.dtype.name == "bfloat16"):
        raise CheckpointError(f"{path}: {name} is {array.dtype}, not floating; take an unquantised copy.")
    refuse_non_finite(array, str(path), name)
    return array.astype(np.float32)
