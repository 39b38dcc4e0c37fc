"""GGUF checkpoints: dequantised tensors under the hub's names, the architecture and the tokenizer out of one file."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from dpjax.models.pretrained.gguf_families import FACTORS, Fields, Stored, hub_config_of, stored_as
from dpjax.models.pretrained.gguf_tokenizers import read_gguf_tokenizer
from dpjax.models.pretrained.names import NAMES, Tensor, joined, taken, tensors
from dpjax.models.pretrained.tensor_files import CheckpointError, Flat
from dpjax.models.pretrained.tokens import TextTokenizer
from dpjax.models.transformers.architecture import Architecture
from dpjax.models.transformers.config_fields import ArchitectureError
from dpjax.models.transformers.hub_config import from_hub_config


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
    from gguf import GGUFReader

    try:
        reader = GGUFReader(path)
        fields = Fields({name: field.contents() for name, field in reader.fields.items()}, path)
        stored = stored_as(fields)
        found = {tensor.name: tensor for tensor in reader.tensors}
        factors = {name: _dequantized(found[name]) if name in FACTORS else None for name in found}
        arch = from_hub_config(hub_config_of(fields, factors))
        flat = {name: _dequantized(tensor) for name, tensor in found.items() if name not in FACTORS}
        kinds = sorted({tensor.tensor_type.name for tensor in reader.tensors} - {"F32", "F16", "BF16"})
        kind = fields["general.architecture"]
        return arch, _as_on_the_hub(flat, arch, stored, kind), read_gguf_tokenizer(fields, arch), " and ".join(kinds)
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


def _dequantized(tensor: Any) -> np.ndarray:
    from gguf import dequantize

    return np.asarray(dequantize(tensor.data, tensor.tensor_type), np.float32)


def _unpaired(rows: np.ndarray, heads: int) -> np.ndarray:
    """Rows of a head from pairs (0, 1), (2, 3), … back to halves, as rotary positions here turn them."""
    paired = rows.reshape(heads, len(rows) // heads // 2, 2, *rows.shape[1:])
    return paired.swapaxes(1, 2).reshape(rows.shape)
