"""Prompts and prefixes as PEFT lays them out: one tensor, ``prompt_embeddings``, and what it means in a model."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from dpjax.models.pretrained.adapter_config import Known
from dpjax.models.pretrained.tensor_files import CheckpointError, Flat, read_json
from dpjax.models.transformers.architecture import Architecture
from dpjax.models.transformers.layers import SoftPrompt
from dpjax.models.transformers.rotary import rotate, rotation_of

TENSOR = "prompt_embeddings"

_KINDS = {"PROMPT_TUNING": False, "PREFIX_TUNING": True}
_HARMLESS = {
    *("peft_type", "task_type", "base_model_name_or_path", "revision", "inference_mode", "auto_mapping"),
    *("peft_version", "num_layers", "num_attention_heads", "num_transformer_submodules", "token_dim"),
    *("prompt_tuning_init", "prompt_tuning_init_text", "tokenizer_name_or_path", "tokenizer_kwargs"),
    *("encoder_hidden_size", "prefix_projection", "init_weights"),
}
"""What says how it was trained; sizes follow from the tensor. A projected prefix is stored as what it projects to."""


def is_soft_prompt(path: Path) -> bool:
    """Whether an ``adapter_config.json`` is of a prompt or a prefix."""
    return read_json(path).get("peft_type") in tuple(_KINDS)


def read_soft_prompt(path: Path, stored: Mapping[str, np.ndarray], arch: Architecture) -> tuple[Flat, SoftPrompt]:
    """The trained vectors before a text.

    Formal guarantees: the function that PEFT computes, or an error. PEFT counts positions behind a prefix from its
    length on and dpjax from 0: where positions turn, the prefix's keys are turned back by as many.

    Args:
      path: of ``adapter_config.json``.
      stored: the tensors.
      arch: of the body.

    Returns:
      Parameters by path, float32, and how many vectors there are.

    Raises:
      CheckpointError: a model in which it means something else, another size, or another tensor.
    """
    config = read_json(path)
    known = Known(config, path)
    everywhere = _KINDS[config["peft_type"]]
    length = known.rank("num_virtual_tokens", known.take("num_virtual_tokens"))
    task = known.text("task_type")
    known.refuse_the_rest(_HARMLESS, "take the prompt without it")
    if task == "SEQ_CLS":
        known.refuse("task_type", "and PEFT pools such a text with its prompt, dpjax without; merge is not possible")
    why = refusal(arch, everywhere)
    if why:
        raise CheckpointError(f"{path}: {why}")
    extra = sorted(set(stored) - {TENSOR})
    if extra or TENSOR not in stored:
        has = f"holds {extra[0]}" if extra else f"holds no {TENSOR}"
        raise CheckpointError(f"{path.parent}: the adapter {has}, but must hold {TENSOR} alone; take it anew.")
    shared = arch.num_kv_heads * arch.head_width
    expected = length, 2 * arch.num_layers * shared if everywhere else arch.width
    array = stored[TENSOR]
    if array.shape != expected:
        raise CheckpointError(
            f"{path.parent}: {TENSOR} has shape {array.shape} where the model and num_virtual_tokens={length} ask for "
            f"{expected}; the adapter belongs to another model."
        )
    if not everywhere:
        return Flat(prompt=array), SoftPrompt(length)
    flat = Flat()
    parts = array.reshape(length, arch.num_layers, 2, arch.num_kv_heads, arch.head_width)
    for layer in range(arch.num_layers):
        flat[f"layers.{layer}.attention.prefix.key"] = _turned(parts[:, layer, 0], arch, layer, -length)
        flat[f"layers.{layer}.attention.prefix.value"] = parts[:, layer, 1]
    return flat, SoftPrompt(length, everywhere=True)


def soft_prompt_tensor(
    params: Mapping[str, np.ndarray], prompt: SoftPrompt, arch: Architecture
) -> tuple[Flat, dict[str, Any]]:
    """The tensor that PEFT reads, and its fields of ``adapter_config.json``: the reverse of ``read_soft_prompt``.

    Raises:
      CheckpointError: none among the parameters, or a model in which PEFT would compute something else.
    """
    why = refusal(arch, prompt.everywhere)
    if why:
        raise CheckpointError(why)
    shared = arch.num_kv_heads * arch.head_width
    config: dict[str, Any] = {
        "peft_type": "PREFIX_TUNING" if prompt.everywhere else "PROMPT_TUNING",
        "num_virtual_tokens": prompt.length,
        "num_layers": arch.num_layers,
        "num_attention_heads": arch.num_kv_heads if prompt.everywhere else arch.num_heads,
        "token_dim": shared if prompt.everywhere else arch.width,
        "num_transformer_submodules": 1,
    }
    if not prompt.everywhere:
        return Flat({TENSOR: np.asarray(params["prompt"], np.float32)}), config
    config |= {"encoder_hidden_size": shared, "prefix_projection": False}
    parts = [
        part
        for layer in range(arch.num_layers)
        for part in (
            _turned(np.asarray(params[f"layers.{layer}.attention.prefix.key"]), arch, layer, prompt.length),
            np.asarray(params[f"layers.{layer}.attention.prefix.value"]),
        )
    ]
    flat = np.stack(parts, axis=1).reshape(prompt.length, -1)
    return Flat({TENSOR: np.ascontiguousarray(flat, np.float32)}), config


def refusal(arch: Architecture, everywhere: bool) -> str:
    """Why PEFT and dpjax would compute something else with a prompt or a prefix; "": they do not."""
    if not everywhere:
        return ""
    if not arch.causal:
        return f"a {arch.family} takes no prefix in transformers, which keeps no keys and values of it; use prompt."
    if arch.learned:
        return (
            f"a {arch.family} has learned positions, which PEFT counts from the prefix's length on and dpjax from 0; "
            "use prompt."
        )
    for view in arch.kinds:
        if view.window is not None:
            return (
                f"a {arch.family} with windows sees a prefix only near it in transformers, and everywhere in dpjax; "
                "use prompt."
            )
        if view.rope is not None and view.rope.stretch in ("dynamic", "longrope"):
            return (
                f"a {arch.family} whose positions turn by the text's length ({view.rope.stretch}) counts the prefix "
                "among it in transformers, and not in dpjax; use prompt."
            )
    return ""


def _turned(keys: np.ndarray, arch: Architecture, layer: int, by: int) -> np.ndarray:
    """A prefix's keys ``[length, heads, width]``, turned on by so many positions."""
    rope = arch.view(layer).rope
    if rope is None:
        return keys
    cosines, sines = rotation_of(jnp.full(len(keys), by), replace(rope, loudness=1.0), arch.head_width)
    return np.asarray(rotate(jnp.asarray(keys, jnp.float32), (cosines, sines)))
