"""Checkpoints as files: safetensors in, parameters out, and back."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from dpjax.models.pretrained.names import IGNORED, PREFIX, Tensor, tensors
from dpjax.models.transformers.architecture import Architecture


class CheckpointError(ValueError):
    """A checkpoint that cannot be used; one sentence that names what is wrong with it and the fix."""


Flat = dict[str, np.ndarray]
"""Parameters by path, each layer by itself: ``"layers.3.attention.query.kernel"``."""


def read_safetensors(folder: Path) -> Flat:
    """Every tensor of a folder's ``model.safetensors``, or of the shards that its index lists.

    Raises:
      CheckpointError: no such file, cut short, or not of that format.
    """
    import safetensors
    from safetensors.numpy import load_file

    index = folder / "model.safetensors.index.json"
    if index.is_file():
        shards = sorted(set(json.loads(index.read_text())["weight_map"].values()))
    else:
        shards = ["model.safetensors"]
    found: Flat = {}
    for shard in shards:
        path = folder / shard
        if not path.is_file():
            raise CheckpointError(f"{folder} has no {shard}; take the whole checkpoint, in the safetensors format.")
        try:
            found |= load_file(path)
        except (safetensors.SafetensorError, ValueError, OSError) as error:
            raise CheckpointError(f"{path} is damaged or cut short ({error}); fetch it again.") from error
    return found


def to_parameters(stored: Mapping[str, np.ndarray], arch: Architecture, what: str) -> Flat:
    """A checkpoint's tensors as parameters: renamed, turned, cut, and each checked.

    Args:
      stored: name → tensor.
      arch: what they must fit.
      what: names the checkpoint in errors.

    Raises:
      CheckpointError: a tensor is missing, too many, or of another shape or kind; the first few are named.
    """
    stored = _without_prefix(stored, arch)
    plan = tensors(arch)
    missing = sorted({t.name for t in plan.values() if not t.optional and t.name not in stored})
    if missing:
        raise CheckpointError(
            f"{what} lacks {_some(missing)}, which a {arch.family} of {arch.num_layers} layers has; take the whole "
            "checkpoint."
        )
    known = {t.name for t in plan.values()}
    extra = sorted(n for n in stored if n not in known and not any(part in n for part in IGNORED[arch.family]))
    if extra:
        raise CheckpointError(
            f"{what} holds {_some(extra)}, which a {arch.family} of {arch.num_layers} layers does not have; its "
            "config.json belongs to another model."
        )
    params = {path: _restored(stored[t.name], t) for path, t in plan.items() if t.name in stored}
    for path, array in params.items():
        expected = _shape(path, arch)
        if expected is not None and array.shape != expected:
            raise CheckpointError(
                f"{what}: {plan[path].name} has shape {array.shape} as {path} where config.json asks for {expected}; "
                "the two files belong to different models."
            )
        if not (np.issubdtype(array.dtype, np.floating) or array.dtype.name == "bfloat16"):
            raise CheckpointError(
                f"{what}: {plan[path].name} is {array.dtype}, not floating; take an unquantised copy."
            )
    if arch.tied:
        params.pop("vocabulary", None)
    return params


def to_tensors(params: Mapping[str, np.ndarray], arch: Architecture, prefixed: bool) -> Flat:
    """Parameters as the tensors that ``transformers`` reads; the reverse of ``to_parameters``.

    Args:
      params: by path, each layer by itself.
      arch: theirs.
      prefixed: whether the body's names begin as in a model with a task's head.
    """
    prefix = PREFIX[arch.family] if prefixed else ""
    plan, found, thirds = tensors(arch), Flat(), dict[str, list[np.ndarray]]()
    for path, array in params.items():
        if path not in plan:
            raise CheckpointError(
                f"parameter {path} has no place in a {arch.family} checkpoint; merge or drop it first."
            )
        t = plan[path]
        name = t.name if t.headed else prefix + t.name
        if t.stored == "third":
            thirds.setdefault(name, [array] * 3)[t.part] = array
        else:
            found[name] = np.ascontiguousarray(array.T if t.stored == "transposed" else array)
    return found | {name: np.concatenate(parts, axis=-1) for name, parts in thirds.items()}


def write_safetensors(stored: Mapping[str, np.ndarray], path: Path) -> None:
    """Writes tensors whole or not at all."""
    from safetensors.numpy import save_file

    part = path.with_suffix(".part")
    save_file(dict(stored), part, metadata={"format": "pt"})
    part.replace(path)


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object.

    Raises:
      CheckpointError: there is none, or it is damaged.
    """
    try:
        content = json.loads(path.read_text())
    except FileNotFoundError:
        raise CheckpointError(f"{path.parent} has no {path.name}; take the whole checkpoint.") from None
    except ValueError as error:
        raise CheckpointError(f"{path} is damaged ({error}); fetch it again.") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{path} holds a {type(content).__name__} where an object is expected; fetch it again.")
    return content


def _without_prefix(stored: Mapping[str, np.ndarray], arch: Architecture) -> Flat:
    prefix = PREFIX[arch.family]
    # The first BERTs were written with TensorFlow's names for a norm's two vectors.
    return {
        name.removeprefix(prefix)
        .replace("LayerNorm.gamma", "LayerNorm.weight")
        .replace("LayerNorm.beta", "LayerNorm.bias"): array
        for name, array in stored.items()
    }


def _restored(array: np.ndarray, tensor: Tensor) -> np.ndarray:
    match tensor.stored:
        case "transposed":
            return array.T
        case "third":
            return np.split(array, 3, axis=-1)[tensor.part]
        case _:
            return array


def _shape(path: str, arch: Architecture) -> tuple[int, ...] | None:
    """What a parameter's shape must be; None where the task decides."""
    inner, shared = arch.num_heads * arch.head_width, arch.num_kv_heads * arch.head_width
    table = {
        "token": (arch.vocab_size, arch.width),
        "vocabulary": (arch.vocab_size, arch.width),
        "position": (arch.max_length, arch.width),
        "segment": (arch.num_segments, arch.width),
        "attention.query": (arch.width, inner),
        "attention.key": (arch.width, shared),
        "attention.value": (arch.width, shared),
        "attention.output": (inner, arch.width),
        "mlp.up": (arch.width, arch.hidden_width),
        "mlp.gate": (arch.width, arch.hidden_width),
        "mlp.down": (arch.hidden_width, arch.width),
    }
    if path in table:
        return table[path]
    parts = path.split(".")
    if parts[0] == "layers" and parts[-1] in ("kernel", "bias"):
        shape = table.get(".".join(parts[2:-1]))
        if shape is not None:
            return shape if parts[-1] == "kernel" else shape[1:]
    if parts[0] == "classifier":
        return None
    if path == "masked_head.bias":
        return (arch.vocab_size,)
    if parts[-1] == "kernel":
        return arch.width, arch.width
    return (arch.width,)


def _some(names: Iterable[str], most: int = 3) -> str:
    names = list(names)
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
