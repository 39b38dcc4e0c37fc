"""Which tensor of a checkpoint is which parameter: for every family a table of names, and how each is stored."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from dpjax.models.transformers.architecture import Architecture

_TOKEN = "token"  # nosec B105 # a word's vector, no password


class Tensor(NamedTuple):
    """One parameter's place in a checkpoint.

    Attributes:
      name: of the tensor, without the prefix that models with a task's head put before it.
      turned: it is stored as torch's Linear has it: outputs first.
      sizes: outputs of the layers that lie side by side in one tensor; (): it is alone.
      part: which of these.
      heads: how many times such layers take turns, head by head (GPT-NeoX); 1: each is in one piece.
      optional: whether a checkpoint may come without it.
      headed: whether the task's head owns it, so that no prefix is put before it.
    """

    name: str
    turned: bool = False
    sizes: tuple[int, ...] = ()
    part: int = 0
    heads: int = 1
    optional: bool = False
    headed: bool = False


@dataclass(frozen=True)
class Names:
    """How the checkpoints of one family name their tensors.

    Attributes:
      prefix: what a model with a task's head writes before the names of its body.
      whole: path → name of what there is once; a norm or dense layer stands for its parts.
      layer: the same within a layer; several paths may share a name, side by side in one tensor.
      layers: what stands before them, with ``{}`` for the layer's number.
      heads: path → name of what the task's heads own.
      ignored: parts of names that checkpoints carry and that no parameter corresponds to.
      aliases: parts of names that other writers use → as they are here.
      turned: whether dense layers are stored as torch's Linear has them.
      by_head: whether layers in one tensor take turns, head by head.
    """

    prefix: str
    layers: str
    whole: Mapping[str, str]
    layer: Mapping[str, str]
    heads: Mapping[str, str] = field(default_factory=dict)
    ignored: tuple[str, ...] = ()
    aliases: Mapping[str, str] = field(default_factory=dict)
    turned: bool = True
    by_head: bool = False


_BERT_LAYER = {
    "attention.query": "attention.self.query",
    "attention.key": "attention.self.key",
    "attention.value": "attention.self.value",
    "attention.output": "attention.output.dense",
    "attention_norm": "attention.output.LayerNorm",
    "mlp.up": "intermediate.dense",
    "mlp.down": "output.dense",
    "mlp_norm": "output.LayerNorm",
}
_BERT_WHOLE = {
    _TOKEN: "embeddings.word_embeddings.weight",
    "position": "embeddings.position_embeddings.weight",
    "segment": "embeddings.token_type_embeddings.weight",
    "embedding_norm": "embeddings.LayerNorm",
}
_LLAMA_ATTENTION = {f"attention.{part}": f"self_attn.{part[0]}_proj" for part in ("query", "key", "value", "output")}
_LLAMA_MLP = {f"mlp.{part}": f"mlp.{part}_proj" for part in ("gate", "up", "down")}
_QUERY_NORMS = {"attention.query_norm": "self_attn.q_norm", "attention.key_norm": "self_attn.k_norm"}
_LLAMA_NORMS = {"attention_norm": "input_layernorm", "mlp_norm": "post_attention_layernorm"}
_GEMMA_NORMS = {
    "attention_norm": "input_layernorm",
    "attention_output_norm": "post_attention_layernorm",
    "mlp_norm": "pre_feedforward_layernorm",
    "mlp_output_norm": "post_feedforward_layernorm",
}
_LLAMA_HEADS = {"vocabulary": "lm_head.weight", "classifier": "score"}


def _llama(*layer: Mapping[str, str]) -> Names:
    parts = {path: name for part in layer for path, name in part.items()}
    whole = {_TOKEN: "embed_tokens.weight", "final_norm": "norm"}
    return Names("model.", "layers.{}", whole, parts, _LLAMA_HEADS, ("rotary_emb.inv_freq",))


_ROBERTA = Names(
    "roberta.",
    "encoder.layer.{}",
    _BERT_WHOLE,
    _BERT_LAYER,
    {
        "masked_head.dense": "lm_head.dense",
        "masked_head.norm": "lm_head.layer_norm",
        "masked_head.bias": "lm_head.bias",
        "vocabulary": "lm_head.decoder.weight",
        "pooler": "classifier.dense",
        "classifier": "classifier.out_proj",
    },
    ("embeddings.position_ids", "lm_head.decoder.bias", "pooler."),
)
_PLAIN = _llama(_LLAMA_ATTENTION, _LLAMA_MLP, _LLAMA_NORMS)
_QUERY_NORMED = _llama(_LLAMA_ATTENTION, _QUERY_NORMS, _LLAMA_MLP, _LLAMA_NORMS)

NAMES: dict[str, Names] = {
    "bert": Names(
        "bert.",
        "encoder.layer.{}",
        {**_BERT_WHOLE, "pooler": "pooler.dense"},
        _BERT_LAYER,
        {
            "masked_head.dense": "cls.predictions.transform.dense",
            "masked_head.norm": "cls.predictions.transform.LayerNorm",
            "masked_head.bias": "cls.predictions.bias",
            "vocabulary": "cls.predictions.decoder.weight",
            "classifier": "classifier",
        },
        ("embeddings.position_ids", "cls.seq_relationship.", "cls.predictions.decoder.bias", "pooler."),
        # The first BERTs were written with TensorFlow's names for a norm's two vectors.
        {"LayerNorm.gamma": "LayerNorm.weight", "LayerNorm.beta": "LayerNorm.bias"},
    ),
    "roberta": _ROBERTA,
    "xlm-roberta": _ROBERTA,
    "distilbert": Names(
        "distilbert.",
        "transformer.layer.{}",
        {name: part for name, part in _BERT_WHOLE.items() if name != "segment"},
        {
            "attention.query": "attention.q_lin",
            "attention.key": "attention.k_lin",
            "attention.value": "attention.v_lin",
            "attention.output": "attention.out_lin",
            "attention_norm": "sa_layer_norm",
            "mlp.up": "ffn.lin1",
            "mlp.down": "ffn.lin2",
            "mlp_norm": "output_layer_norm",
        },
        {
            "masked_head.dense": "vocab_transform",
            "masked_head.norm": "vocab_layer_norm",
            "masked_head.bias": "vocab_projector.bias",
            "vocabulary": "vocab_projector.weight",
            "pooler": "pre_classifier",
            "classifier": "classifier",
        },
        ("embeddings.position_ids",),
    ),
    "modernbert": Names(
        "model.",
        "layers.{}",
        {_TOKEN: "embeddings.tok_embeddings.weight", "embedding_norm": "embeddings.norm", "final_norm": "final_norm"},
        {
            "attention_norm": "attn_norm",
            "attention.query": "attn.Wqkv",
            "attention.key": "attn.Wqkv",
            "attention.value": "attn.Wqkv",
            "attention.output": "attn.Wo",
            "mlp_norm": "mlp_norm",
            "mlp.gate": "mlp.Wi",
            "mlp.up": "mlp.Wi",
            "mlp.down": "mlp.Wo",
        },
        {
            "masked_head.dense": "head.dense",
            "masked_head.norm": "head.norm",
            "masked_head.bias": "decoder.bias",
            "vocabulary": "decoder.weight",
            "classifier": "classifier",
        },
    ),
    "gpt2": Names(
        "transformer.",
        "h.{}",
        {_TOKEN: "wte.weight", "position": "wpe.weight", "final_norm": "ln_f"},
        {
            "attention.query": "attn.c_attn",
            "attention.key": "attn.c_attn",
            "attention.value": "attn.c_attn",
            "attention.output": "attn.c_proj",
            "mlp.up": "mlp.c_fc",
            "mlp.down": "mlp.c_proj",
            "attention_norm": "ln_1",
            "mlp_norm": "ln_2",
        },
        _LLAMA_HEADS,
        (".attn.bias", ".attn.masked_bias"),
        turned=False,
    ),
    "gpt_neox": Names(
        "gpt_neox.",
        "layers.{}",
        {_TOKEN: "embed_in.weight", "final_norm": "final_layer_norm"},
        {
            "attention.query": "attention.query_key_value",
            "attention.key": "attention.query_key_value",
            "attention.value": "attention.query_key_value",
            "attention.output": "attention.dense",
            "mlp.up": "mlp.dense_h_to_4h",
            "mlp.down": "mlp.dense_4h_to_h",
            **_LLAMA_NORMS,
        },
        {"vocabulary": "embed_out.weight", "classifier": "score"},
        (".attention.bias", ".attention.masked_bias", "rotary_emb.inv_freq"),
        {"lm_head.": "embed_out."},
        by_head=True,
    ),
    "llama": _PLAIN,
    "mistral": _PLAIN,
    "qwen2": _PLAIN,
    "smollm3": _PLAIN,
    "qwen3": _QUERY_NORMED,
    "gemma2": _llama(_LLAMA_ATTENTION, _LLAMA_MLP, _GEMMA_NORMS),
    "gemma3_text": _llama(_LLAMA_ATTENTION, _QUERY_NORMS, _LLAMA_MLP, _GEMMA_NORMS),
    "olmo2": _llama(
        _LLAMA_ATTENTION,
        _QUERY_NORMS,
        _LLAMA_MLP,
        {"attention_norm": "post_attention_layernorm", "mlp_norm": "post_feedforward_layernorm"},
    ),
    "phi3": _llama(
        {f"attention.{part}": "self_attn.qkv_proj" for part in ("query", "key", "value")},
        {"attention.output": "self_attn.o_proj"},
        {"mlp.gate": "mlp.gate_up_proj", "mlp.up": "mlp.gate_up_proj", "mlp.down": "mlp.down_proj"},
        _LLAMA_NORMS,
    ),
}
"""``model_type`` → the names of its tensors."""


def tensors(arch: Architecture) -> dict[str, Tensor]:
    """Path of each parameter → its tensor.

    Paths are joined by dots, with each layer by itself: ``"layers.3.attention.query.kernel"``.

    Example:
      >>> from dpjax.models.transformers import tiny
      >>> tensors(tiny("bert"))["layers.1.mlp.up.kernel"].name
      'encoder.layer.1.intermediate.dense.weight'
    """
    return dict(_tensors(arch))


def _tensors(arch: Architecture) -> Iterator[tuple[str, Tensor]]:
    names = NAMES[arch.family]
    for path, name in names.whole.items():
        yield from _parts(arch, path, Tensor(name, optional=path == "pooler"))
    for i in range(arch.num_layers):
        for path, name in names.layer.items():
            if path == "attention_norm" and i == 0 and not arch.first_norm:
                continue
            beside = [other for other, its in names.layer.items() if its == name]
            sizes = tuple(outputs(other, arch) for other in beside) if len(beside) > 1 else ()
            tensor = Tensor(
                f"{names.layers.format(i)}.{name}",
                sizes=sizes,
                part=beside.index(path),
                heads=arch.num_heads if sizes and names.by_head else 1,
            )
            yield from _parts(arch, f"layers.{i}.{path}", tensor)
    for path, name in names.heads.items():
        yield from _parts(
            arch, path, Tensor(name, optional=path != "vocabulary" or arch.tied or not arch.causal, headed=True)
        )


def _parts(arch: Architecture, path: str, tensor: Tensor) -> Iterator[tuple[str, Tensor]]:
    """A tensor by itself, or those of a norm or a dense layer."""
    names, last = NAMES[arch.family], path.rsplit(".", 1)[-1]
    if path in ("token", "position", "segment", "vocabulary", "masked_head.bias"):
        if path != "masked_head.bias" or arch.vocabulary_bias:
            yield path, tensor
    elif "norm" in last:
        yield f"{path}.scale", tensor._replace(name=f"{tensor.name}.weight")
        if arch.norm == "layer" and arch.norm_bias:
            yield f"{path}.bias", tensor._replace(name=f"{tensor.name}.bias")
    else:
        yield (
            f"{path}.kernel",
            tensor._replace(name=f"{tensor.name}.weight", turned=names.turned or not path.startswith("layers.")),
        )
        if _is_biased(path, arch):
            yield f"{path}.bias", tensor._replace(name=f"{tensor.name}.bias")


def _is_biased(path: str, arch: Architecture) -> bool:
    if ".mlp." in path:
        return arch.mlp_bias
    if path.endswith("attention.output"):
        return arch.output_bias
    if ".attention." in path:
        return arch.bias
    return arch.head_bias if path == "masked_head.dense" else True


def outputs(path: str, arch: Architecture) -> int:
    """Outputs of a dense layer, by its path within a layer."""
    inner, shared = arch.num_heads * arch.head_width, arch.num_kv_heads * arch.head_width
    return {
        "attention.query": inner,
        "attention.key": shared,
        "attention.value": shared,
        "mlp.gate": arch.hidden_width,
        "mlp.up": arch.hidden_width,
    }.get(path, arch.width)


def taken(array: np.ndarray, tensor: Tensor) -> np.ndarray:
    """A parameter from the tensor that holds it: its part, inputs first.

    Args:
      array: as it is stored.
      tensor: its place.

    Raises:
      ValueError: parts of other sizes.
    """
    turned = array.T if tensor.turned else array
    if not tensor.sizes:
        return turned
    if turned.ndim < 1 or turned.shape[-1] != sum(tensor.sizes):
        raise ValueError(f"{tensor.name} has {turned.shape[-1:]} outputs, not {sum(tensor.sizes)}.")
    if tensor.heads == 1:
        return np.split(turned, np.cumsum(tensor.sizes)[:-1], axis=-1)[tensor.part]
    by_head = turned.reshape(*turned.shape[:-1], tensor.heads, len(tensor.sizes), -1)
    return by_head[..., tensor.part, :].reshape(*turned.shape[:-1], -1)


def joined(parts: Mapping[int, np.ndarray], tensor: Tensor) -> np.ndarray:
    """The reverse of ``taken``, from all parts of a tensor by their numbers."""
    ordered = [parts[number] for number in sorted(parts)]
    if tensor.heads > 1:
        split = [part.reshape(*part.shape[:-1], tensor.heads, 1, -1) for part in ordered]
        whole = np.concatenate(split, axis=-2).reshape(*ordered[0].shape[:-1], -1)
    else:
        whole = ordered[0] if len(ordered) == 1 else np.concatenate(ordered, axis=-1)
    return whole.T if tensor.turned else whole


def modules(arch: Architecture) -> dict[str, tuple[str, ...]]:
    """Name of each matrix that an adapter may sit on → paths of the dense layers in it: three where they are joined.

    Example:
      >>> from dpjax.models.transformers import tiny
      >>> modules(tiny("gpt2"))["h.1.attn.c_attn"]
      ('layers.1.attention.query', 'layers.1.attention.key', 'layers.1.attention.value')
    """
    grouped: dict[str, tuple[str, ...]] = {}
    for path, tensor in tensors(arch).items():
        if path.endswith(".kernel") and path != "classifier.kernel":
            name = tensor.name.removesuffix(".weight")
            grouped[name] = (*grouped.get(name, ()), path.removesuffix(".kernel"))
    return grouped
