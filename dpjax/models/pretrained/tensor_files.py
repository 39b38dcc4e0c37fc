"""Checkpoints as files: safetensors in, parameters out, and back."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from dpjax.keeping import whole_file
from dpjax.mapped_arrays import Place, let_go, mapped
from dpjax.models.pretrained.names import NAMES, joined, outputs, taken, tensors
from dpjax.models.transformers.architecture import Architecture
from dpjax.models.transformers.config_fields import shown


class CheckpointError(ValueError):
    """A checkpoint that cannot be used; one sentence that names what is wrong with it and the fix."""


Flat = dict[str, np.ndarray]
"""Parameters by path, each layer by itself: ``"layers.3.attention.query.kernel"``."""


_READABLE = {
    **{f"F{8 * size}": f"<f{size}" for size in (2, 4, 8)},
    **{f"{kind}{8 * size}": f"<{kind.lower()}{size}" for size in (1, 2, 4, 8) for kind in "IU"},
    "BOOL": "?",
    "BF16": ml_dtypes.bfloat16,
}
"""Kinds of numbers that NumPy and ml_dtypes have; others are quantised and need scales that nobody here knows."""


def read_safetensors(folder: Path) -> Flat:
    """Every tensor of a folder's ``model.safetensors``, or of the shards that its index lists.

    Raises:
      CheckpointError: no such file, cut short, not of that format, or shards that are not what their index says.
    """
    index = folder / "model.safetensors.index.json"
    if (folder / "model.safetensors").exists() or not index.exists():
        return read_tensors(folder / "model.safetensors")
    home = read_json(index).get("weight_map")
    names = list(home.values()) if isinstance(home, dict) else []
    if (
        not isinstance(home, dict)
        or not names
        or not all(isinstance(name, str) and Path(name).name == name for name in names)
    ):
        raise CheckpointError(
            f"{index}: weight_map is {shown(home)}, but must name a file of the same folder for each tensor; fetch it "
            "again."
        )
    flat: Flat = {}
    for shard in sorted(set(names)):
        tensors_here = read_tensors(folder / shard)
        listed = {name for name, where in home.items() if where == shard}
        if tensors_here.keys() != listed:
            one = min(tensors_here.keys() ^ listed)
            says, is_there = ("lists", "is not") if one in listed else ("does not list", "is")
            raise CheckpointError(
                f"{index} {says} {one} in {shard}, where it {is_there}; the files belong to different checkpoints."
            )
        flat |= tensors_here
    return flat


def read_tensors(path: Path) -> Flat:
    """Every tensor of one safetensors file, mapped: nothing is in memory before it is used.

    Raises:
      CheckpointError: it is not there, damaged, or holds numbers that NumPy has no kind for, as float8.
    """
    import safetensors

    if not path.exists():
        raise CheckpointError(f"{path.parent} has no {path.name}; take the whole of it, in the safetensors format.")
    try:
        with safetensors.safe_open(path, "np") as file:
            names = sorted(file.keys())
            kinds = {name: file.get_slice(name).get_dtype() for name in names}
        for name, kind in kinds.items():
            if kind not in _READABLE:
                raise CheckpointError(
                    f"{path}: {name} is stored as {kind}, quantised; take a copy in bfloat16, float16 or float32."
                )
        return _mapped(path)
    except CheckpointError:
        raise
    except (safetensors.SafetensorError, ValueError, OSError) as error:
        raise CheckpointError(f"{path} is damaged or cut short ({error}); fetch it again.") from error


def _mapped(path: Path) -> Flat:
    """The tensors of a file whose header was found right."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
    entries = {name: entry for name, entry in header.items() if name != "__metadata__"}
    places = [
        Place(np.dtype(_READABLE[entry["dtype"]]), tuple(entry["shape"]), 8 + length + entry["data_offsets"][0])
        for entry in entries.values()
    ]
    return dict(zip(entries, mapped(path, places), strict=True))


def to_parameters(
    stored: Mapping[str, np.ndarray],
    arch: Architecture,
    what: str,
    stated: str = "config.json",
    *,
    headless: bool = False,
) -> Flat:
    """A checkpoint's tensors as parameters: renamed, turned, cut, and each checked.

    Args:
      stored: name → tensor.
      arch: what they must fit.
      what: names the checkpoint in errors.
      stated: names what the architecture was read from.
      headless: whether it may come without a decoder's own head over the vocabulary, as a saved classifier does.

    Raises:
      CheckpointError: a tensor is missing, too many, of another shape or kind, or holds NaN; the first few are named.
    """
    stored = _without_prefix(stored, arch)
    if arch.num_layers > len(stored):  # no layer is without a tensor; absurd numbers are not even counted up to
        raise CheckpointError(
            f"{what}: {stated} asks for {arch.num_layers} layers, but there are only {len(stored)} tensors; the two "
            "belong to different models."
        )
    plan = tensors(arch)
    needed = {path: t for path, t in plan.items() if not (t.optional or (headless and path == "vocabulary"))}
    missing = sorted({t.name for t in needed.values() if t.name not in stored})
    if missing:
        raise CheckpointError(
            f"{what} lacks {_some(missing)}, which a {arch.family} of {arch.num_layers} layers has; take the whole "
            "checkpoint."
        )
    known = {t.name for t in plan.values()}
    extra = sorted(n for n in stored if n not in known and not any(part in n for part in NAMES[arch.family].ignored))
    if extra:
        raise CheckpointError(
            f"{what} holds {_some(extra)}, which a {arch.family} of {arch.num_layers} layers does not have; {stated} "
            "belongs to another model."
        )
    for t in plan.values():
        if t.sizes and t.name in stored:
            shape = stored[t.name].shape
            if len(shape) < 1 or shape[0 if t.turned else -1] != sum(t.sizes):
                raise CheckpointError(
                    f"{what}: {t.name} has shape {shape}, which is not {len(t.sizes)} matrices of "
                    f"{', '.join(map(str, t.sizes))} outputs side by side; {stated} belongs to another model, or the "
                    "file is damaged."
                )
    params = {path: taken(stored[t.name], t) for path, t in plan.items() if t.name in stored}
    for path, array in params.items():
        expected = shape_of(path, arch)
        if expected is not None and array.shape != expected:
            raise CheckpointError(
                f"{what}: {plan[path].name} has shape {array.shape} as {path} where {stated} asks for {expected}; the "
                "two belong to different models."
            )
        if not (np.issubdtype(array.dtype, np.floating) or array.dtype.name == "bfloat16"):
            raise CheckpointError(
                f"{what}: {plan[path].name} is {array.dtype}, not floating; take an unquantised copy."
            )
        refuse_non_finite(array, what, plan[path].name)
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
    prefix = NAMES[arch.family].prefix if prefixed else ""
    plan, together = tensors(arch), dict[str, dict[int, np.ndarray]]()
    for path, array in params.items():
        if path not in plan:
            raise CheckpointError(
                f"parameter {path} has no place in a {arch.family} checkpoint; merge or drop it first."
            )
        t = plan[path]
        together.setdefault(t.name if t.headed else prefix + t.name, {})[t.part] = array
    places = {t.name if t.headed else prefix + t.name: t for t in plan.values()}
    return {name: np.ascontiguousarray(joined(parts, places[name])) for name, parts in together.items()}


def write_safetensors(stored: Mapping[str, np.ndarray], path: Path) -> None:
    """Writes tensors whole or not at all."""
    from safetensors.numpy import save_file

    with whole_file(path) as part:
        save_file(dict(stored), part, metadata={"format": "pt"})


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object.

    Raises:
      CheckpointError: there is none, or it is damaged.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CheckpointError(f"{path.parent} has no {path.name}; take the whole checkpoint.") from None
    except OSError as error:  # a folder of that name, or one that may not be read
        raise CheckpointError(f"{path} cannot be read ({error.strerror}); take the whole checkpoint.") from error
    except RecursionError:
        raise CheckpointError(f"{path} is damaged (nested too deeply); fetch it again.") from None
    except ValueError as error:
        raise CheckpointError(f"{path} is damaged ({error}); fetch it again.") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{path} holds a {type(content).__name__} where an object is expected; fetch it again.")
    return content


def refuse_non_finite(array: np.ndarray, what: str, name: str) -> None:
    """Raises where one number of a tensor is NaN or infinite: all that is computed from it would be NaN.

    Raises:
      CheckpointError: naming the tensor and the first place.
    """
    finite = np.isfinite(array)
    let_go(array)
    if not finite.all():
        wrong = ~finite
        place = tuple(int(i) for i in np.argwhere(wrong)[0])
        raise CheckpointError(
            f"{what}: {name} holds {array[place]} at {place} and {int(wrong.sum())} such numbers in all; take another "
            "copy of the checkpoint."
        )


def _without_prefix(stored: Mapping[str, np.ndarray], arch: Architecture) -> Flat:
    names, flat = NAMES[arch.family], Flat()
    for name, array in stored.items():
        name = name.removeprefix(names.prefix)
        for other, its in names.aliases.items():
            name = name.replace(other, its)
        flat[name] = array
    return flat


def shape_of(path: str, arch: Architecture) -> tuple[int, ...] | None:
    """What a parameter's shape must be; None where the task decides."""
    inner, shared = arch.num_heads * arch.head_width, arch.num_kv_heads * arch.head_width
    table = {
        "token": (arch.vocab_size, arch.width),
        "vocabulary": (arch.vocab_size, arch.width),
        "position": (arch.max_length + arch.position_offset, arch.width),
        "segment": (arch.num_segments, arch.width),
        "masked_head.bias": (arch.vocab_size,),
    }
    if path in table:
        return table[path]
    if path.startswith("classifier."):
        return None
    place, _, part = path.rpartition(".")
    place = place.split(".", 2)[-1] if path.startswith("layers.") else place
    if part == "kernel":
        inputs = {"attention.output": inner, "mlp.down": arch.hidden_width}.get(place, arch.width)
        return inputs, outputs(place, arch)
    normed = {"head": (arch.head_width, arch.head_width), "all": (inner, shared)}.get(arch.query_norm or "")
    if normed and place in ("attention.query_norm", "attention.key_norm"):
        return (normed[place == "attention.key_norm"],)
    return (outputs(place, arch),)


def _some(names: Iterable[str], most: int = 3) -> str:
    names = list(names)
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
