"""What PEFT stores of one module, as parameters of the dense layers in it: halves of a LoRA, vectors of an IA³."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dpjax.models.pretrained.adapter_config import AdapterConfig
from dpjax.models.pretrained.names import NAMES, modules, taken, tensors
from dpjax.models.pretrained.tensor_files import CheckpointError, Flat, shape_of
from dpjax.models.transformers.architecture import Architecture
from dpjax.models.transformers.config_fields import shown
from dpjax.models.transformers.layers import Lora


class LowRank(NamedTuple):
    """The adapter of one dense layer: ``scale · (x @ a) @ b``.

    Attributes:
      path: of the layer.
      a: ``[inputs, rank]``.
      b: ``[rank, outputs]``.
      bias: what it adds to the bias before the scale, ``[outputs]``; None: nothing.
      magnitude: DoRA's length of each output, ``[outputs]``; None: there is none.
      scale: alpha / rank, or alpha / √rank.
    """

    path: str
    a: np.ndarray
    b: np.ndarray
    bias: np.ndarray | None
    magnitude: np.ndarray | None
    scale: float


def adapters_of(
    name: str, parts: Mapping[str, np.ndarray], config: AdapterConfig, arch: Architecture
) -> Iterator[LowRank]:
    """The adapters of one module; several where its matrix holds several dense layers.

    Args:
      name: of the module, as in the base model.
      parts: ``A.weight``, ``B.weight``, ``B.bias`` and ``magnitude``, as they are stored.
      config: of the adapter.
      arch: of the body.

    Raises:
      CheckpointError: no such module, no adapter on it by the config, or other shapes.
    """
    what, paths = _source(config), _paths(name, "lora_A", config, arch)
    rank = config.rank_of(name)
    width, outs = _sizes(paths, arch)
    shapes = {"A.weight": (rank, width), "B.weight": (sum(outs), rank), "B.bias": (sum(outs),)}
    for part, expected in {**shapes, "magnitude": (sum(outs),)}.items():
        array = parts.get(part)
        if array is None and (part == "B.bias" or (part == "magnitude" and not config.dora)):
            continue
        if array is None or array.shape != expected:
            has = "is missing" if array is None else f"has shape {array.shape}"
            stored = "lora_magnitude_vector" if part == "magnitude" else f"lora_{part}"
            raise CheckpointError(
                f"{what}: {name}.{stored} {has} where the model and r={rank} of {config.path.name} ask for "
                f"{expected}; the adapter belongs to another model, or the rank to another adapter."
            )
    if "magnitude" in parts and not config.dora:
        raise CheckpointError(
            f"{what} holds {name}.lora_magnitude_vector, while use_dora of {config.path.name} is False; take both from "
            "one training."
        )
    biased = "B.bias" in parts
    if set(parts) - {*shapes, "magnitude"} or (biased and not (config.biased and f"{paths[0]}.bias" in tensors(arch))):
        raise CheckpointError(
            f"{what} holds a bias of {name}'s adapter, which lora_bias={config.biased} of {config.path.name} and a "
            f"{arch.family} have no place for."
        )
    places = [tensors(arch)[f"{path}.kernel"]._replace(turned=False) for path in paths]
    bs = [taken(parts["B.weight"].T, place) for place in places]
    biases, lengths = (
        [taken(parts[part], place) if part in parts else None for place in places] for part in ("B.bias", "magnitude")
    )
    idle = len(paths) > 1 and not parts["B.weight"].any()
    for path, b, bias, length in zip(paths, bs, biases, lengths, strict=True):
        used = np.ones(rank, bool) if len(paths) == 1 or idle else b.any(axis=1)
        if used.any() or bias is not None or length is not None:  # another part's rows add nothing to this one
            yield LowRank(path, parts["A.weight"].T[:, used], b[used], bias, length, config.scale_of(name))


def levelled(adapters: Sequence[LowRank]) -> Flat:
    """Parameters of adapters that all have one rank and one scale."""
    rank, scale = _level(adapters)
    flat = Flat()
    for each in adapters:
        # Kept as they are where they can be: another training may go on from them.
        factor = np.float32(each.scale / scale)
        flat[f"{each.path}.lora.a"] = _filled(each.a, rank, 1)
        flat[f"{each.path}.lora.b"] = _filled(each.b if factor == 1 else each.b * factor, rank, 0)
        if each.bias is not None:
            flat[f"{each.path}.lora.bias"] = each.bias * np.float32(each.scale)
        if each.magnitude is not None:
            flat[f"{each.path}.lora.magnitude"] = each.magnitude
    return flat


def lora_of(adapters: Sequence[LowRank], config: AdapterConfig) -> Lora:
    """Their rank, scale and targets, once they are ``levelled``."""
    rank, scale = _level(adapters)
    plain = config.alpha / config.rank == scale and config.rank == rank
    return Lora(rank, config.alpha if plain else scale * rank, _targets(each.path for each in adapters), config.dora)


def scales_of(
    name: str, vector: np.ndarray, config: AdapterConfig, arch: Architecture
) -> Iterator[tuple[str, np.ndarray]]:
    """Paths and vectors of an IA³ on one module: a part of the outputs for each dense layer in it, or all its inputs.

    Raises:
      CheckpointError: no such module, no vector on it by the config, or another shape.
    """
    what, paths = _source(config), _paths(name, "ia3_l", config, arch)
    width, outs = _sizes(paths, arch)
    before = config.is_scaled_before(name)
    expected = (1, width) if before else (sum(outs), 1)
    if vector.shape != expected:
        raise CheckpointError(
            f"{what}: {name}.ia3_l has shape {vector.shape} where the model and feedforward_modules="
            f"{shown(config.inputs)} of {config.path.name} ask for {expected}; the adapter belongs to another model."
        )
    for path in paths:
        if before:
            yield f"{path}.ia3.inputs", vector[0]
        else:
            yield f"{path}.ia3.outputs", taken(vector[:, 0], tensors(arch)[f"{path}.kernel"]._replace(turned=False))


def scaled_by(scales: Iterable[str], side: str) -> tuple[str, ...]:
    """Names of the dense layers of blocks that have vectors of a side, ``"inputs"`` or ``"outputs"``."""
    return _targets(path.removesuffix(f".ia3.{side}") for path in scales if path.endswith(f".ia3.{side}"))


def _targets(paths: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted({path.rsplit(".", 1)[-1] for path in paths if path.startswith("layers.")}))


def _source(config: AdapterConfig) -> Path:
    return config.path.parent / "adapter_model.safetensors"


def _paths(name: str, part: str, config: AdapterConfig, arch: Architecture) -> tuple[str, ...]:
    """Dense layers in a module that may have an adapter."""
    paths = modules(arch).get(name.removeprefix(NAMES[arch.family].prefix))
    if paths is None:
        raise CheckpointError(f"{_source(config)} holds {name}.{part}, which a {arch.family} has no place for.")
    if not config.is_target(name):
        raise CheckpointError(
            f"{_source(config)} holds {name}.{part}, where {config.path.name} puts no adapter (target_modules is "
            f"{shown(config.targets)}); take both from one training."
        )
    return paths


def _sizes(paths: Sequence[str], arch: Architecture) -> tuple[int, list[int]]:
    """Inputs of a module, and outputs of each dense layer in it."""
    shapes = [shape for path in paths if (shape := shape_of(f"{path}.kernel", arch))]
    return shapes[0][0], [shape[1] for shape in shapes]


def _level(adapters: Sequence[LowRank]) -> tuple[int, float]:
    """The largest rank, and the scale of all, or 1."""
    scales = {each.scale for each in adapters}
    return max(each.a.shape[1] for each in adapters), (max(scales) if len(scales) == 1 else 1.0) or 1.0


def _filled(array: np.ndarray, rank: int, axis: int) -> np.ndarray:
    """Zeros up to a rank."""
    more = [(0, 0), (0, 0)]
    more[axis] = 0, rank - array.shape[axis]
    return np.pad(array, more) if more[axis][1] else array
