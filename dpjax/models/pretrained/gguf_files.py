"""GGUF checkpoints: dequantised tensors under the hub's names, the architecture and the tokenizer out of one file."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dpjax.models.pretrained.tensor_files import CheckpointError, Flat
from dpjax.models.pretrained.tokens import TextTokenizer, fitted, frame
from dpjax.models.transformers.architecture import Architecture
from dpjax.models.transformers.config_fields import ArchitectureError, shown
from dpjax.models.transformers.hub_config import from_hub_config

_LAYER = {
    "attn_norm.weight": "input_layernorm.weight",
    "ffn_norm.weight": "post_attention_layernorm.weight",
    "attn_q.weight": "self_attn.q_proj.weight",
    "attn_k.weight": "self_attn.k_proj.weight",
    "attn_v.weight": "self_attn.v_proj.weight",
    "attn_output.weight": "self_attn.o_proj.weight",
    "ffn_gate.weight": "mlp.gate_proj.weight",
    "ffn_up.weight": "mlp.up_proj.weight",
    "ffn_down.weight": "mlp.down_proj.weight",
}
_WHOLE = {
    "token_embd.weight": "embed_tokens.weight",  # nosec B105 # no password
    "output_norm.weight": "norm.weight",
    "output.weight": "lm_head.weight",
}
_SPLIT_DIGITS = {"smollm": True, "gpt-2": False, "default": False}


_KNOWN = {
    *("vocab_size", "context_length", "embedding_length", "block_count", "feed_forward_length"),
    *("attention.head_count", "attention.head_count_kv", "attention.layer_norm_rms_epsilon"),
    *("attention.key_length", "attention.value_length", "rope.dimension_count", "rope.freq_base"),
}
"""What is read of ``llama.*``; rope.scaling.* is looked at by itself, and whatever else says something is refused."""


def read_gguf(path: Path) -> tuple[Architecture, Flat, TextTokenizer, str]:
    """Reads a Llama in GGUF.

    Args:
      path: of the file.

    Returns:
      Its architecture; tensors as a hub checkpoint names and lays them out, float32; its tokenizer; and the
      quantisation of the tensors, in words.

    Raises:
      CheckpointError: cut short, not a GGUF, another architecture, a field that changes what a Llama computes, or a
        tokenizer dpjax cannot rebuild.
    """
    from gguf import GGUFReader

    try:
        reader = GGUFReader(path)
        fields = _Fields({name: field.contents() for name, field in reader.fields.items()}, path)
        arch = _architecture(fields, {tensor.name for tensor in reader.tensors})
        flat = {_name(tensor.name): _dequantized(tensor) for tensor in reader.tensors}
        for name, array in flat.items():
            heads = {"q_proj": arch.num_heads, "k_proj": arch.num_kv_heads}.get(name.split(".")[-2])
            if heads is not None:
                flat[name] = _unpaired(array, heads)
        kinds = sorted({tensor.tensor_type.name for tensor in reader.tensors} - {"F32", "F16", "BF16"})
        return arch, flat, _tokenizer(fields, arch), " and ".join(kinds)
    except CheckpointError:
        raise
    except ArchitectureError as error:
        raise ArchitectureError(f"{path}: {error}") from None
    except FileNotFoundError:
        raise CheckpointError(f"{path} is not there; fetch it, or give the right path.") from None
    except Exception as error:  # the reader maps the file and trips over whatever is wrong with it
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(f"{path} is damaged, cut short or no GGUF ({reason}); fetch it again.") from error


@dataclass(frozen=True)
class _Fields:
    """What a file says of itself, by name."""

    content: Mapping[str, Any]
    path: Path

    def __getitem__(self, name: str) -> Any:
        if name not in self.content:
            raise CheckpointError(f"{self.path} has no {name}; take the whole checkpoint.")
        return self.content[name]

    def get(self, name: str, usual: Any = None) -> Any:
        return self.content.get(name, usual)

    def one(self, name: str, usual: Any = None) -> Any:
        """A number that may be written once for each layer, if it is the same for all of them."""
        value = self[name] if usual is None else self.get(name, usual)
        if not isinstance(value, list):
            return value
        if not value or any(each != value[0] for each in value):
            raise CheckpointError(
                f"{self.path}: {name} is {shown(value)}, and dpjax has layers of one kind; take another checkpoint."
            )
        return value[0]


def _architecture(fields: _Fields, names: set[str]) -> Architecture:
    kind = fields.get("general.architecture")
    if kind != "llama":
        raise CheckpointError(
            f"{fields.path}: general.architecture is {shown(kind)}, but dpjax reads llama from GGUF; use safetensors."
        )
    _refuse_variants(fields, names)
    heads, width = fields.one("llama.attention.head_count"), fields["llama.embedding_length"]
    turned = fields.get("llama.rope.dimension_count")
    head = fields.get("llama.attention.key_length", turned)
    config = {
        "model_type": "llama",
        "vocab_size": len(fields["tokenizer.ggml.tokens"]),
        "hidden_size": width,
        "num_hidden_layers": fields["llama.block_count"],
        "num_attention_heads": heads,
        "num_key_value_heads": fields.one("llama.attention.head_count_kv", heads),
        "head_dim": head,
        "intermediate_size": fields.one("llama.feed_forward_length"),
        "max_position_embeddings": fields["llama.context_length"],
        "rms_norm_eps": fields["llama.attention.layer_norm_rms_epsilon"],
        "rope_theta": fields.get("llama.rope.freq_base", 10_000.0),
        "tie_word_embeddings": "output.weight" not in names,
    }
    arch = from_hub_config(config)
    for name, value in (("rope.dimension_count", turned), ("attention.value_length", None)):
        value = fields.get(f"llama.{name}", value)
        if value is not None and value != arch.head_width:
            raise CheckpointError(
                f"{fields.path}: llama.{name} is {shown(value)} where a head is {arch.head_width} wide, and dpjax "
                "turns and mixes whole heads; take another checkpoint."
            )
    return arch


def _refuse_variants(fields: _Fields, names: set[str]) -> None:
    """Raises for whatever makes a Llama compute something else than it does here."""
    scaling = {name: value for name, value in fields.content.items() if name.startswith("llama.rope.scal")}
    factors = [scaling.get(f"llama.rope.{name}") for name in ("scaling.factor", "scale_linear")]
    if scaling.get("llama.rope.scaling.type", "none") != "none" or (
        "llama.rope.scaling.type" not in scaling and any(each not in (None, 0, 1) for each in factors)
    ):
        raise CheckpointError(
            f"{fields.path}: rope scaling is {shown(scaling)}, and dpjax has plain rotary positions; take a checkpoint "
            "without scaling."
        )
    if "rope_freqs.weight" in names:
        raise CheckpointError(
            f"{fields.path}: rope_freqs.weight scales its rotary positions, and dpjax has plain ones; take a "
            "checkpoint without rope scaling, such as a Llama before 3.1."
        )
    for name, value in fields.content.items():
        bare = name.removeprefix("llama.")
        known = bare == name or bare in _KNOWN or name in scaling
        if not known and value not in (0, False, None, "", []):
            raise CheckpointError(
                f"{fields.path}: {name} is {shown(value)}, which dpjax does not know; take another checkpoint."
            )


def _name(name: str) -> str:
    if name.startswith("blk."):
        _, number, rest = name.split(".", 2)
        if rest in _LAYER:
            return f"layers.{number}.{_LAYER[rest]}"
    elif name in _WHOLE:
        return _WHOLE[name]
    return name  # unknown: to_parameters says so


def _dequantized(tensor: Any) -> np.ndarray:
    from gguf import dequantize

    return np.asarray(dequantize(tensor.data, tensor.tensor_type), np.float32)


def _unpaired(kernel: np.ndarray, heads: int) -> np.ndarray:
    """Rows of a head from pairs (0, 1), (2, 3), … back to halves, as rotary positions here turn them."""
    rows, columns = kernel.shape
    paired = kernel.reshape(heads, rows // heads // 2, 2, columns)
    return paired.swapaxes(1, 2).reshape(rows, columns)


def _tokenizer(fields: _Fields, arch: Architecture) -> TextTokenizer:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    kind, before = fields.get("tokenizer.ggml.model"), fields.get("tokenizer.ggml.pre", "default")
    if kind != "gpt2" or before not in _SPLIT_DIGITS:
        raise CheckpointError(
            f"{fields.path}: its tokenizer is {kind!r} with {before!r} before it, but dpjax rebuilds byte-level BPE "
            f"with {', '.join(_SPLIT_DIGITS)}; use the checkpoint's safetensors and tokenizer.json."
        )
    tokens, kinds = fields["tokenizer.ggml.tokens"], fields["tokenizer.ggml.token_type"]
    merges = [tuple(merge.split(" ", 1)) for merge in fields["tokenizer.ggml.merges"]]
    raw = Tokenizer(models.BPE({token: i for i, token in enumerate(tokens)}, merges))
    bytes_level = pre_tokenizers.ByteLevel(add_prefix_space=False)
    digits = [pre_tokenizers.Digits(individual_digits=True)] if _SPLIT_DIGITS[before] else []
    raw.pre_tokenizer = pre_tokenizers.Sequence([*digits, bytes_level])
    raw.decoder = decoders.ByteLevel()
    control = 3  # the kind of a token that no text may contain
    raw.add_special_tokens([token for token, kind in zip(tokens, kinds, strict=True) if kind == control])
    first, last = (_special(fields, role, len(tokens)) for role in ("bos", "eos"))
    opens, ends = (fields.get(f"tokenizer.ggml.add_{role}_token") is True for role in ("bos", "eos"))
    for role, id_, put in (("bos", first, opens), ("eos", last, ends)):
        if put and id_ is None:
            raise CheckpointError(
                f"{fields.path}: tokenizer.ggml.add_{role}_token is true, but there is no "
                f"tokenizer.ggml.{role}_token_id; take another checkpoint."
            )
    if opens and first is not None:  # the end comes after each text in any case
        frame(raw, [first], [])
    return fitted(raw, {} if last is None else {"eos_token": tokens[last]}, arch.vocab_size, str(fields.path))


def _special(fields: _Fields, role: str, count: int) -> int | None:
    """The id of the token that begins or ends a text; None: there is none, and a text just stops."""
    id_ = fields.get(f"tokenizer.ggml.{role}_token_id")
    if id_ is not None and not (isinstance(id_, int) and 0 <= id_ < count):
        raise CheckpointError(
            f"{fields.path}: tokenizer.ggml.{role}_token_id is {shown(id_)}, but there are {count} tokens; take "
            "another checkpoint."
        )
    return id_
