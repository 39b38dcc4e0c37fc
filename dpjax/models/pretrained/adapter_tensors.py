"""Adapters of dense layers as the tensors that PEFT stores: the reverse of ``adapter_parts``."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from dpjax.models.pretrained.names import joined, modules, tensors
from dpjax.models.pretrained.tensor_files import CheckpointError, Flat
from dpjax.models.transformers.architecture import Architecture
from dpjax.models.transformers.layers import Ia3, Lora


def adapter_tensors(
    params: Mapping[str, np.ndarray], adapters: Lora | Ia3, arch: Architecture, prefix: str
) -> tuple[Flat, dict[str, Any]]:
    """Tensors by name, and PEFT's fields of ``adapter_config.json``.

    Adapters on parts of one matrix, as GPT-2's for query, key and value, become one: their ``a`` side by side, and each
    ``b`` in the rows of its own ``a`` and the columns of its own part. A part without a vector is scaled by ones.

    Args:
      params: by path, each layer by itself.
      adapters: rank, scale and targets, or which sides are scaled.
      arch: of the body.
      prefix: what the model puts before the names of its body.

    Raises:
      CheckpointError: vectors that one of PEFT's cannot hold: parts of a joined matrix with their inputs scaled
        differently, or a matrix with both sides scaled.
    """
    if isinstance(adapters, Lora):
        return _lora(params, adapters, arch, prefix)
    stored, before, known = Flat(), list[str](), [prefix + name for name in modules(arch)]
    for name, vector, at_inputs in _vectors(params, arch):
        stored[f"base_model.model.{prefix}{name}.ia3_l"] = vector
        before += [prefix + name] if at_inputs else []
    names = [name.removeprefix("base_model.model.").removesuffix(".ia3_l") for name in stored]
    return stored, {
        "peft_type": "IA3",
        "target_modules": pattern_of(names, known),
        "feedforward_modules": pattern_of(before, known) if before else [],
        "fan_in_fan_out": arch.family == "gpt2",
    }


def _lora(params: Mapping[str, np.ndarray], lora: Lora, arch: Architecture, prefix: str) -> tuple[Flat, dict[str, Any]]:
    stored, ranks, alphas = Flat(), dict[str, int](), dict[str, float]()
    for name, a, b, magnitude in _joined(params, arch, lora):
        stem = f"base_model.model.{prefix}{name}.lora_"
        stored[f"{stem}A.weight"], stored[f"{stem}B.weight"] = np.ascontiguousarray(a.T), np.ascontiguousarray(b.T)
        if magnitude is not None:
            stored[f"{stem}magnitude_vector"] = magnitude
        if a.shape[1] != lora.rank:
            key = name.rsplit(".", 1)[-1]
            ranks[key], alphas[key] = a.shape[1], lora.alpha * a.shape[1] / lora.rank
    return stored, {
        "peft_type": "LORA",
        "r": lora.rank,
        "lora_alpha": lora.alpha,
        "rank_pattern": ranks,
        "alpha_pattern": alphas,
        "lora_dropout": 0.0,
        "bias": "none",
        "fan_in_fan_out": arch.family == "gpt2",
        **({"use_dora": True} if lora.dora else {}),
    }


def _joined(
    params: Mapping[str, np.ndarray], arch: Architecture, lora: Lora
) -> Iterator[tuple[str, np.ndarray, np.ndarray, np.ndarray | None]]:
    """Name of each module with an adapter, its two matrices, and DoRA's lengths."""
    places = tensors(arch)
    for name, paths in modules(arch).items():
        adapted = [(i, path) for i, path in enumerate(paths) if f"{path}.lora.a" in params]
        if not adapted:
            continue
        place = places[f"{paths[0]}.kernel"]._replace(turned=False)
        magnitude = None
        if lora.dora:
            magnitude = joined({i: _lengths(params, path) for i, path in enumerate(paths)}, place)
        if len(paths) == 1:
            yield name, params[f"{paths[0]}.lora.a"], params[f"{paths[0]}.lora.b"], magnitude
            continue
        none = {i: np.zeros((lora.rank, size), np.float32) for i, size in enumerate(place.sizes)}
        bs = [joined(none | {i: np.asarray(params[f"{path}.lora.b"])}, place) for i, path in adapted]
        a = np.concatenate([np.asarray(params[f"{path}.lora.a"]) for _, path in adapted], axis=1)
        yield name, a, np.concatenate(bs), magnitude


def _lengths(params: Mapping[str, np.ndarray], path: str) -> np.ndarray:
    """DoRA's trained lengths, or those that a part of a matrix without an adapter has."""
    if f"{path}.lora.magnitude" in params:
        return np.asarray(params[f"{path}.lora.magnitude"])
    if f"{path}.kernel" not in params:
        raise CheckpointError(
            f"params hold no {path}.kernel, whose outputs' lengths PEFT stores beside those of the other parts of its "
            "matrix; pass the frozen parameters too."
        )
    return np.sqrt(np.sum(np.square(params[f"{path}.kernel"], dtype=np.float32), axis=0))


def _vectors(params: Mapping[str, np.ndarray], arch: Architecture) -> Iterator[tuple[str, np.ndarray, bool]]:
    """Name of each module that is scaled, its vector as PEFT has it, and whether it is of the inputs."""
    places = tensors(arch)
    for name, paths in modules(arch).items():
        inputs = [params[f"{path}.ia3.inputs"] for path in paths if f"{path}.ia3.inputs" in params]
        outputs = {i: params[f"{path}.ia3.outputs"] for i, path in enumerate(paths) if f"{path}.ia3.outputs" in params}
        if inputs and (outputs or len(inputs) < len(paths) or any(not np.array_equal(inputs[0], x) for x in inputs)):
            raise CheckpointError(
                f"{name} is scaled on both sides, or some dense layers in it are given other inputs than the rest, "
                "which one vector of PEFT does not hold; merge the adapters."
            )
        if inputs:
            yield name, np.asarray(inputs[0])[None], True
        if outputs:
            place = places[f"{paths[0]}.kernel"]._replace(turned=False)
            ones = {i: np.ones(size, np.float32) for i, size in enumerate(place.sizes)}
            yield name, joined({**ones, **{i: np.asarray(x) for i, x in outputs.items()}}, place)[:, None], False


def targets_of(names: Sequence[str], others: Sequence[str], depth: int) -> list[str] | str:
    """``target_modules``: ends of names, or whole names where an end is also that of a module without an adapter.

    Args:
      names: of the modules with adapters.
      others: of all modules.
      depth: parts of a name up to the layer's number.
    """
    ends = sorted({name.split(".", depth)[-1] for name in names})
    meant = set(names)
    wrong = [name for name in others if name not in meant and any(f".{name}".endswith(f".{end}") for end in ends)]
    return pattern_of(names, others) if wrong else ends


def pattern_of(names: Sequence[str], others: Sequence[str]) -> str:
    """One expression of whole names: PEFT finds none of them in a model that puts something before them.

    Args:
      names: of the modules with adapters.
      others: of all modules, none of which it may be of but these.
    """
    exact = {name: re.escape(name) for name in names}
    loose = {name: re.sub(r"(?<=\\\.)\d+(?=\\\.)", r"\\d+", whole) for name, whole in exact.items()}
    known = re.compile("|".join(sorted(set(loose.values()))))
    every = all(name in exact for name in others if known.fullmatch(name))
    return "|".join(sorted(set((loose if every else exact).values())))
