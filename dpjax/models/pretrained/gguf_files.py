"""GGUF checkpoints: dequantised tensors under the hub's names, the architecture and the tokenizer out of one file."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from dpjax.models.pretrained.files import CheckpointError, Flat
from dpjax.models.pretrained.tokens import TextTokenizer, fitted
from dpjax.models.transformers.architecture import Architecture, from_hub_config

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
    "token_embd.weight": "embed_tokens.weight",
    "output_norm.weight": "norm.weight",
    "output.weight": "lm_head.weight",
}
_SPLIT_DIGITS = {"smollm": True, "gpt-2": False, "default": False}


def read_gguf(path: Path) -> tuple[Architecture, Flat, TextTokenizer, str]:
    """Reads a Llama in GGUF.

    Args:
      path: of the file.

    Returns:
      Its architecture; tensors as a hub checkpoint names and lays them out, float32; its tokenizer; and the
      quantisation of the tensors, in words.

    Raises:
      CheckpointError: cut short, not a GGUF, another architecture, or a tokenizer dpjax cannot rebuild.
    """
    from gguf import GGUFReader

    try:
        reader = GGUFReader(path)
        fields = {name: field.contents() for name, field in reader.fields.items()}
        arch = _architecture(fields, reader)
        found = {_name(tensor.name): _dequantized(tensor) for tensor in reader.tensors}
    except CheckpointError:
        raise
    except FileNotFoundError:
        raise CheckpointError(f"{path} is not there; fetch it, or give the right path.") from None
    except Exception as error:  # the reader maps the file and trips over whatever is wrong with it
        raise CheckpointError(f"{path} is damaged, cut short or no GGUF ({error}); fetch it again.") from error
    for name, array in found.items():
        heads = {"q_proj": arch.num_heads, "k_proj": arch.num_kv_heads}.get(name.split(".")[-2])
        if heads is not None:
            found[name] = _unpaired(array, heads)
    kinds = sorted({tensor.tensor_type.name for tensor in reader.tensors} - {"F32", "F16", "BF16"})
    return arch, found, _tokenizer(fields, arch, path), " and ".join(kinds)


def _architecture(fields: Mapping[str, Any], reader: Any) -> Architecture:
    kind = fields.get("general.architecture")
    if kind != "llama":
        raise CheckpointError(f"general.architecture is {kind!r}, but dpjax reads llama from GGUF; use safetensors.")
    names = {tensor.name for tensor in reader.tensors}
    config = {
        "model_type": "llama",
        "vocab_size": len(fields["tokenizer.ggml.tokens"]),
        "hidden_size": fields["llama.embedding_length"],
        "num_hidden_layers": fields["llama.block_count"],
        "num_attention_heads": fields["llama.attention.head_count"],
        "num_key_value_heads": fields.get("llama.attention.head_count_kv"),
        "head_dim": fields.get("llama.rope.dimension_count"),
        "intermediate_size": fields["llama.feed_forward_length"],
        "max_position_embeddings": fields["llama.context_length"],
        "rms_norm_eps": float(fields["llama.attention.layer_norm_rms_epsilon"]),
        "rope_theta": float(fields.get("llama.rope.freq_base", 10_000.0)),
        "tie_word_embeddings": "output.weight" not in names,
    }
    return from_hub_config(config)


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


def _tokenizer(fields: Mapping[str, Any], arch: Architecture, path: Path) -> TextTokenizer:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    kind, before = fields.get("tokenizer.ggml.model"), fields.get("tokenizer.ggml.pre", "default")
    if kind != "gpt2" or before not in _SPLIT_DIGITS:
        raise CheckpointError(
            f"{path}: its tokenizer is {kind!r} with {before!r} before it, but dpjax rebuilds byte-level BPE with "
            f"{', '.join(_SPLIT_DIGITS)}; use the checkpoint's safetensors and tokenizer.json."
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
    end = tokens[fields["tokenizer.ggml.eos_token_id"]]
    return fitted(raw, {"eos_token": end}, arch.vocab_size, str(path))
