"""LoRA adapters as PEFT lays them out: ``adapter_config.json`` and ``adapter_model.safetensors``."""

import json
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from dpjax.models.pretrained.files import CheckpointError, Flat, read_json, write_safetensors
from dpjax.models.pretrained.names import PREFIX, tensors
from dpjax.models.transformers.architecture import Architecture
from dpjax.models.transformers.layers import Lora

_WEIGHTS, _CONFIG = "adapter_model.safetensors", "adapter_config.json"


def save_adapters(
    folder: str | os.PathLike[str],
    arch: Architecture,
    params: Mapping[str, np.ndarray],
    lora: Lora,
    base: str,
) -> Path:
    """Saves adapters so that ``PeftModel.from_pretrained`` opens them; a classifier goes along as PEFT does it.

    Args:
      folder: made if it is not there.
      arch: of the body.
      params: by path, each layer by itself; what is neither an adapter nor a classifier is left out.
      lora: rank, scale and targets.
      base: the checkpoint they belong to.

    Returns:
      The folder.

    Raises:
      CheckpointError: no adapters among the parameters, or adapters on one of GPT-2's joined query, key and value.
    """
    own = {path: array for path, array in params.items() if path.split(".")[-2:-1] == ["lora"]}
    head = {path: array for path, array in params.items() if path.startswith("classifier.")}
    if not own:
        raise CheckpointError("params hold no adapters; tune with lora first, or use save.")
    names = _module_names(arch)
    prefix = "base_model.model." + (PREFIX[arch.family] if head or arch.causal else "")
    stored = {}
    for path, array in own.items():
        module, which = path.rsplit(".lora.", 1)
        stored[f"{prefix}{names[module]}.lora_{which.upper()}.weight"] = np.ascontiguousarray(array.T)
    classifier = "classifier" if arch.family == "bert" else "score"
    for path, array in head.items():
        part = "weight" if path.endswith("kernel") else "bias"
        stored[f"base_model.model.{classifier}.{part}"] = np.ascontiguousarray(array.T)
    config = {
        "peft_type": "LORA",
        "task_type": "SEQ_CLS" if head else ("CAUSAL_LM" if arch.causal else None),
        "base_model_name_or_path": base,
        "r": lora.rank,
        "lora_alpha": lora.alpha,
        "lora_dropout": 0.0,
        "bias": "none",
        "fan_in_fan_out": arch.family == "gpt2",
        "target_modules": sorted({names[path.rsplit(".lora.", 1)[0]].rsplit(".", 1)[-1] for path in own}),
        "modules_to_save": [classifier] if head else None,
        "inference_mode": True,
    }
    if arch.family == "bert" and "output" in lora.targets:  # BERT calls both its output and its down matrix "dense"
        config["target_modules"] = sorted({names[path.rsplit(".lora.", 1)[0]].split(".", 3)[3] for path in own})
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    write_safetensors(stored, folder / _WEIGHTS)
    (folder / _CONFIG).write_text(json.dumps(config, indent=1))
    return folder


def load_adapters(folder: str | os.PathLike[str], arch: Architecture) -> tuple[Flat, Lora]:
    """Adapters, and a classifier if there is one, from a folder that PEFT or ``save_adapters`` wrote.

    Args:
      folder: with ``adapter_config.json`` and ``adapter_model.safetensors``.
      arch: of the body they are for.

    Returns:
      Parameters by path, each layer by itself; and rank, scale and targets.

    Raises:
      CheckpointError: another kind of adapter, a tensor that has no place in the architecture, or a damaged file.
    """
    import safetensors
    from safetensors.numpy import load_file

    folder = Path(folder)
    config = read_json(folder / _CONFIG)
    if config.get("peft_type") != "LORA" or config.get("use_dora") or config.get("use_rslora"):
        raise CheckpointError(f"{folder / _CONFIG}: peft_type={config.get('peft_type')!r} is not plain LoRA; use that.")
    try:
        stored = load_file(folder / _WEIGHTS)
    except FileNotFoundError:
        raise CheckpointError(f"{folder} has no {_WEIGHTS}; take the whole adapter.") from None
    except (safetensors.SafetensorError, ValueError, OSError) as error:
        raise CheckpointError(f"{folder / _WEIGHTS} is damaged or cut short ({error}); fetch it again.") from error
    paths = {name: path for path, name in _module_names(arch).items()}
    found, targets = Flat(), set[str]()
    for name, array in stored.items():
        bare = name.removeprefix("base_model.model.").removeprefix(PREFIX[arch.family])
        module, _, rest = bare.partition(".lora_")
        if rest and module in paths:
            found[f"{paths[module]}.lora.{rest[0].lower()}"] = array.T
            targets.add(paths[module].rsplit(".", 1)[-1])
        elif bare.split(".")[0] in ("classifier", "score"):
            part = "kernel" if bare.endswith("weight") else "bias"
            found[f"classifier.{part}"] = array.T
        else:
            raise CheckpointError(f"{folder / _WEIGHTS} holds {name}, which a {arch.family} has no place for.")
    return found, Lora(config["r"], float(config["lora_alpha"]), tuple(sorted(targets)))


def merge_adapters(params: Mapping[str, np.ndarray], lora: Lora) -> Flat:
    """Adapters added into the matrices they sit beside, so that the model needs none.

    Args:
      params: all parameters by path, each layer by itself.
      lora: rank and scale.
    """
    merged = {path: array for path, array in params.items() if ".lora." not in path}
    for path in [path for path in params if path.endswith(".lora.a")]:
        module = path.removesuffix(".lora.a")
        update = (lora.alpha / lora.rank) * np.asarray(params[path]) @ np.asarray(params[f"{module}.lora.b"])
        merged[f"{module}.kernel"] = np.asarray(merged[f"{module}.kernel"]) + update
    return merged


def _module_names(arch: Architecture) -> dict[str, str]:
    """Path of each dense layer → the module's name in the checkpoint."""
    return {
        path.removesuffix(".kernel"): tensor.name.removesuffix(".weight")
        for path, tensor in tensors(arch).items()
        if path.startswith("layers.") and path.endswith(".kernel") and tensor.stored != "third"
    }
