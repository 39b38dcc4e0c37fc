"""GGUF checkpoints: dequantised tensors under the hub's names, the architecture and the tokenizer out of one file."""

import re
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from dpjax.models.pretrained.gguf_families import FACTORS, Fields, Stored, hub_config_of, stored_as
from dpjax.models.pretrained.gguf_header import StoredTensor, read_header
from dpjax.models.pretrained.gguf_tokenizers import read_gguf_tokenizer
from dpjax.models.pretrained.names import NAMES, Tensor, joined, taken, tensors
from dpjax.models.pretrained.tensor_files import CheckpointError, Flat
from dpjax.models.pretrained.tokens import TextTokenizer
from dpjax.models.transformers.architecture import Architecture
from dpjax.models.transformers.config_fields import ArchitectureError, shown
from dpjax.models.transformers.hub_config import from_hub_config

_NUMBERS = 1 << 18
"""Of one step of ``gguf``: what lies in between stays in the caches."""

_THREADS = 4
"""NumPy lets go of the interpreter within each of its steps."""

_PART = re.compile(r"-(\d{5})-of-(\d{5})\.gguf$")


def read_gguf(path: Path) -> tuple[Architecture, Flat, TextTokenizer, str]:
    """Reads a model in GGUF, of each type of numbers that the package ``gguf`` dequantises.

    Args:
      path: of the file.

    Returns:
      Its architecture; tensors as a hub checkpoint names and lays them out, float32; its tokenizer; and the
      quantisation of the tensors, in words.

    Raises:
      CheckpointError: cut short, not a GGUF, another architecture, a field that changes what its family computes, or a
        tokenizer dpjax cannot rebuild.
    """
    try:
        said, found = _whole(path)
        fields = Fields(said, path)
        stored = stored_as(fields)
        factors = {name: dequantized(found[name], name, path) if name in FACTORS else None for name in found}
        arch = from_hub_config(hub_config_of(fields, factors))
        tokenizer = read_gguf_tokenizer(fields, arch)
        kinds = sorted({_name_of(tensor.kind) for tensor in found.values()} - {"F32", "F16", "BF16"})
        names = [name for name in found if name not in FACTORS]
        with ThreadPoolExecutor(_THREADS) as pool:
            flat = dict(zip(names, pool.map(lambda name: dequantized(found[name], name, path), names), strict=True))
        return arch, _as_on_the_hub(flat, arch, stored, fields["general.architecture"]), tokenizer, " and ".join(kinds)
    except CheckpointError:
        raise
    except ArchitectureError as error:
        raise ArchitectureError(f"{path}: {error}") from None
    except FileNotFoundError:
        raise CheckpointError(f"{path} is not there; fetch it, or give the right path.") from None
    except Exception as error:  # the reader maps the file and trips over whatever is wrong with it
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(f"{path} is damaged, cut short or no GGUF ({reason}); fetch it again.") from error


def _as_on_the_hub(flat: Mapping[str, np.ndarray], arch: Architecture, stored: Stored, kind: str) -> Flat:
    """Tensors renamed and turned; those without a place keep their names, and ``to_parameters`` says so."""
    if arch.num_layers > len(flat):  # which it says too; absurd numbers are not counted up to
        return dict(flat)
    from gguf import MODEL_ARCH_NAMES, get_tensor_name_map

    number = next(number for number, name in MODEL_ARCH_NAMES.items() if name == kind)
    table = get_tensor_name_map(number, arch.num_layers)
    prefix = NAMES[arch.family].prefix
    renamed, used = Flat(), set[str]()
    for path, tensor in tensors(arch).items():
        whole = tensor.name if tensor.headed else prefix + tensor.name
        name = "output.weight" if path == "vocabulary" else table.get_name(whole, (".weight", ".bias"))
        if name is not None and name in flat and tensor.name not in renamed:
            used.add(name)
            renamed[tensor.name] = _as_stored(flat[name], path, tensor, arch, stored)
    return renamed | {name: array for name, array in flat.items() if name not in used}


def _as_stored(array: np.ndarray, path: str, tensor: Tensor, arch: Architecture, stored: Stored) -> np.ndarray:
    """A tensor as the hub has it."""
    if stored.plus and path.endswith("norm.scale"):
        return array - np.float32(stored.plus)
    heads = arch.num_heads if ".query." in path else arch.num_kv_heads if ".key." in path else None
    if stored.paired and heads is not None:
        return _unpaired(array, heads)
    if array.ndim == 2 and path.endswith("kernel") and not tensor.turned:
        array = array.T  # here all matrices have outputs first
    if stored.by_part and tensor.heads > 1:
        apart = tensor._replace(heads=1)
        return joined({i: taken(array, apart._replace(part=i)) for i in range(len(tensor.sizes))}, tensor)
    return array


def _whole(path: Path) -> tuple[Mapping[str, Any], dict[str, StoredTensor]]:
    """Fields, and the tensors of this file and of those that belong to it."""
    header = read_header(path)
    parts = header.fields.get("split.count", 0)
    if parts in (0, 1):
        return header.fields, dict(header.tensors)
    found = _PART.search(path.name)
    if not isinstance(parts, int) or found is None or int(found[1]) != 1 or int(found[2]) != parts:
        raise CheckpointError(
            f"{path}: split.count is {shown(parts)}, and its name must be that of the first part, as "
            f"NAME-00001-of-{parts:05d}.gguf; give that one, beside all others."
        )
    tensors = dict(header.tensors)
    for number in range(2, parts + 1):
        other = path.with_name(f"{path.name[: found.start()]}-{number:05d}-of-{parts:05d}.gguf")
        if not other.is_file():
            raise CheckpointError(f"{other} is not there, one of the {parts} parts of {path.name}; fetch all of them.")
        more = read_header(other).tensors
        if twice := sorted(tensors.keys() & more.keys()):
            raise CheckpointError(f"{other} has {twice[0]} again; its parts belong to different models.")
        tensors |= more
    expected = header.fields.get("split.tensors.count", len(tensors))
    if expected != len(tensors):
        raise CheckpointError(
            f"{path}: split.tensors.count is {shown(expected)}, but its parts have {len(tensors)}; fetch all of them "
            "again."
        )
    return header.fields, tensors


def dequantized(tensor: StoredTensor, name: str, path: Path) -> np.ndarray:
    """A tensor's numbers as float32.

    Args:
      tensor: as it is stored.
      name: of the tensor, for errors.
      path: of its file, for errors.

    Raises:
      CheckpointError: a type that ``gguf`` does not dequantise.
    """
    from gguf import GGMLQuantizationType, dequantize

    kind, content = GGMLQuantizationType(tensor.kind), tensor.content
    if kind is GGMLQuantizationType.F64:
        return content.view(np.float64).reshape(tensor.shape).astype(np.float32)
    try:
        # gguf takes 16 rows at once. Rows are whole blocks, so several may go as one: fewer steps, each still small.
        count = int(np.prod(tensor.shape[:-1]))
        most = max(1, _NUMBERS // (16 * tensor.shape[-1]))
        together = next(each for each in range(min(most, count), 0, -1) if count % each == 0)
        rows = dequantize(content.reshape(count // together, -1), kind)
    except NotImplementedError:
        raise CheckpointError(
            f"{path}: {name} is stored as {kind.name}, which gguf does not dequantise; take another quantisation."
        ) from None
    return np.asarray(rows, np.float32).reshape(tensor.shape)


def _name_of(kind: int) -> str:
    from gguf import GGMLQuantizationType

    return GGMLQuantizationType(kind).name


def _unpaired(rows: np.ndarray, heads: int) -> np.ndarray:
    """Rows of a head from pairs (0, 1), (2, 3), … back to halves, as rotary positions here turn them."""
    paired = rows.reshape(heads, len(rows) // heads // 2, 2, *rows.shape[1:])
    return paired.swapaxes(1, 2).reshape(rows.shape)
