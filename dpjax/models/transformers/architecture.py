"""What a transformer looks like, in numbers: read from a checkpoint's config.json, and written back to one."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from dpjax.models.transformers.config_fields import (
    LARGEST,
    ArchitectureError,
    divided,
    only,
    positive,
    shown,
    size,
    switch,
)

Activation = Literal["gelu", "gelu_tanh", "silu", "relu"]

_ACTIVATIONS: dict[str, Activation] = {
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "gelu_fast": "gelu_tanh",
    "silu": "silu",
    "swish": "silu",
    "relu": "relu",
}
_SIZES = "vocab_size", "width", "num_layers", "num_heads", "num_kv_heads", "head_width", "hidden_width", "max_length"
_WRITTEN = {"gelu": "gelu", "gelu_tanh": "gelu_new", "silu": "silu", "relu": "relu"}


@dataclass(frozen=True)
class Architecture:
    """One transformer, of whichever family: every difference between BERT, Llama and GPT-2 is a field.

    Attributes:
      family: ``"bert"``, ``"llama"`` or ``"gpt2"``: how its checkpoints name their tensors.
      vocab_size: rows of the token embedding.
      width: of the residual stream.
      num_layers: blocks.
      num_heads: query heads of a block.
      num_kv_heads: key and value heads, shared by ``num_heads / num_kv_heads`` query heads each.
      head_width: of one head.
      hidden_width: of the MLP between its two matrices.
      max_length: most tokens that positions are known for.
      norm_epsilon: added to the variance in every norm.
      activation: of the MLP.
      causal: a token sees only itself and those before it.
      norm_first: norms before attention and MLP (Llama, GPT-2) or after the residual sum (BERT).
      norm: ``"layer"`` (mean and variance) or ``"rms"`` (root mean square alone).
      gated: the MLP is ``down(act(gate(x)) * up(x))`` instead of ``down(act(up(x)))``.
      bias: attention has biases.
      mlp_bias: the MLP has them.
      rope_base: base of rotary positions; None: learned positions.
      num_segments: rows of the embedding of segments (BERT's token types); 0: none.
      tied: the language model's head is the token embedding.
    """

    family: str
    vocab_size: int
    width: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    head_width: int
    hidden_width: int
    max_length: int
    norm_epsilon: float
    activation: Activation
    causal: bool
    norm_first: bool
    norm: Literal["layer", "rms"] = "layer"
    gated: bool = False
    bias: bool = True
    mlp_bias: bool = True
    rope_base: float | None = None
    num_segments: int = 0
    tied: bool = True

    def __post_init__(self) -> None:
        for name in _SIZES:
            size({name: getattr(self, name)}, name)
        if self.num_heads % self.num_kv_heads:
            raise ArchitectureError(
                f"num_kv_heads is {self.num_kv_heads}, which does not divide num_heads={self.num_heads}; every key "
                "head must serve equally many query heads."
            )
        if self.rope_base is not None and self.head_width % 2:
            raise ArchitectureError(f"head_width is {self.head_width}, but rotary positions turn pairs; make it even.")


def from_hub_config(config: Mapping[str, Any]) -> Architecture:
    """Reads a checkpoint's ``config.json``.

    Formal guarantees: all or nothing: a variant that dpjax would compute otherwise is refused, not approximated.

    Args:
      config: its contents; ``model_type`` must be bert, llama or gpt2.

    Returns:
      The architecture.

    Raises:
      ArchitectureError: another architecture, a missing field, or a variant that computes something else than dpjax
        does (relative positions, scaled rotary positions, cross-attention).

    Example:
      >>> from_hub_config({"model_type": "gpt2", "n_embd": 8, "n_layer": 1, "n_head": 2}).hidden_width
      32
      >>> from_hub_config({"model_type": "t5"})
      Traceback (most recent call last):
      dpjax.models.transformers.config_fields.ArchitectureError: model_type is 't5', but dpjax builds bert, gpt2 and \
llama; take a checkpoint of one of these.
    """
    kind = config.get("model_type")
    if not isinstance(kind, str) or kind not in _READERS:
        raise ArchitectureError(
            f"model_type is {shown(kind)}, but dpjax builds {', '.join(sorted(_READERS)[:-1])} and {max(_READERS)}; "
            "take a checkpoint of one of these."
        )
    if config.get("quantization_config"):
        raise ArchitectureError(
            f"quantization_config is {shown(config['quantization_config'])}, and dpjax reads floating weights; take an "
            "unquantised copy."
        )
    if config.get("pruned_heads"):
        raise ArchitectureError(
            f"pruned_heads is {shown(config['pruned_heads'])}, and dpjax has all heads; take another checkpoint."
        )
    try:
        return _READERS[kind](config)
    except KeyError as error:
        raise ArchitectureError(f"config.json of a {kind} has no {error}; take the whole checkpoint.") from None


def to_hub_config(architecture: Architecture) -> dict[str, Any]:
    """The ``config.json`` that ``transformers`` builds the same model from; ``from_hub_config`` reads it back.

    Formal guarantees: nothing is lost: ``from_hub_config`` gives back an equal architecture.

    Args:
      architecture: of any family.

    Returns:
      Field → value, as JSON holds them.

    Example:
      >>> one = from_hub_config({"model_type": "gpt2", "n_embd": 8, "n_layer": 1, "n_head": 2})
      >>> from_hub_config(to_hub_config(one)) == one
      True
    """
    a = architecture
    shared = {"model_type": a.family, "vocab_size": a.vocab_size, "tie_word_embeddings": a.tied}
    if a.family == "gpt2":
        return shared | {
            "architectures": ["GPT2LMHeadModel"],
            "n_embd": a.width,
            "n_layer": a.num_layers,
            "n_head": a.num_heads,
            "n_inner": a.hidden_width,
            "n_positions": a.max_length,
            "layer_norm_epsilon": a.norm_epsilon,
            "activation_function": _WRITTEN[a.activation],
        }
    shared |= {
        "hidden_size": a.width,
        "num_hidden_layers": a.num_layers,
        "num_attention_heads": a.num_heads,
        "intermediate_size": a.hidden_width,
        "max_position_embeddings": a.max_length,
        "hidden_act": _WRITTEN[a.activation],
    }
    if a.family == "bert":
        return shared | {
            "architectures": ["BertModel"],
            "layer_norm_eps": a.norm_epsilon,
            "type_vocab_size": a.num_segments,
        }
    return shared | {
        "architectures": ["LlamaForCausalLM"],
        "num_key_value_heads": a.num_kv_heads,
        "head_dim": a.head_width,
        "rms_norm_eps": a.norm_epsilon,
        "rope_theta": a.rope_base,
        "attention_bias": a.bias,
        "mlp_bias": a.mlp_bias,
    }


def _bert(config: Mapping[str, Any]) -> Architecture:
    only(config, "position_embedding_type", "absolute")
    for field in ("is_decoder", "add_cross_attention"):
        only(config, field, False)
    heads = size(config, "num_attention_heads")
    return Architecture(
        family="bert",
        vocab_size=size(config, "vocab_size"),
        width=size(config, "hidden_size"),
        num_layers=size(config, "num_hidden_layers"),
        num_heads=heads,
        num_kv_heads=heads,
        head_width=divided(config, "hidden_size", "num_attention_heads"),
        hidden_width=size(config, "intermediate_size"),
        max_length=size(config, "max_position_embeddings"),
        norm_epsilon=positive(config, "layer_norm_eps", 1e-12, below=1),
        activation=_activation(config, "hidden_act", "gelu"),
        causal=False,
        norm_first=False,
        num_segments=size(config, "type_vocab_size", 2),
        tied=switch(config, "tie_word_embeddings", True),
    )


def _llama(config: Mapping[str, Any]) -> Architecture:
    rope_base = _rope_base(config)
    heads, width = size(config, "num_attention_heads"), size(config, "hidden_size")
    return Architecture(
        family="llama",
        vocab_size=size(config, "vocab_size"),
        width=width,
        num_layers=size(config, "num_hidden_layers"),
        num_heads=heads,
        num_kv_heads=size(config, "num_key_value_heads", heads, nullable=True),
        head_width=size(config, "head_dim", max(width // heads, 1), nullable=True),
        hidden_width=size(config, "intermediate_size"),
        max_length=size(config, "max_position_embeddings", 2048),
        norm_epsilon=positive(config, "rms_norm_eps", 1e-6, below=1),
        activation=_activation(config, "hidden_act", "silu"),
        causal=True,
        norm_first=True,
        norm="rms",
        gated=True,
        bias=switch(config, "attention_bias", False),
        mlp_bias=switch(config, "mlp_bias", False),
        rope_base=rope_base,
        tied=switch(config, "tie_word_embeddings", False),
    )


def _rope_base(config: Mapping[str, Any]) -> float:
    """The base of plain rotary positions; whatever scales them is refused."""
    bases = {"rope_theta": config["rope_theta"]} if config.get("rope_theta") is not None else {}
    for field in ("rope_parameters", "rope_scaling"):
        rope = config.get(field)
        if rope is None:
            continue
        if not isinstance(rope, Mapping):
            raise ArchitectureError(
                f"{field} is {shown(rope)}, but must be an object or null; take another checkpoint."
            )
        plain = {
            "rope_type": "default",
            "type": "default",
            "factor": 1,
            "attention_factor": 1,
            "partial_rotary_factor": 1,
        }
        scaled = any(rope.get(name) is not None and rope[name] != usual for name, usual in plain.items())
        if scaled or any(isinstance(value, Mapping) for value in rope.values()):
            raise ArchitectureError(
                f"{field} is {shown(dict(rope))}, and dpjax has plain rotary positions; take a checkpoint without "
                "scaling."
            )
        if rope.get("rope_theta") is not None:
            bases[f"{field}.rope_theta"] = rope["rope_theta"]
    only(config, "partial_rotary_factor", 1.0, 1)
    values = {name: positive({name: base}, name, 10_000.0) for name, base in bases.items()}
    if len(set(values.values())) > 1:
        both = " and ".join(f"{name}={base:g}" for name, base in values.items())
        raise ArchitectureError(f"{both} contradict each other; keep the one that the checkpoint was trained with.")
    return next(iter(values.values()), 10_000.0)


def _gpt2(config: Mapping[str, Any]) -> Architecture:
    for field in ("scale_attn_by_inverse_layer_idx", "add_cross_attention"):
        only(config, field, False)
    only(config, "scale_attn_weights", True)
    heads, width = size(config, "n_head"), size(config, "n_embd")
    return Architecture(
        family="gpt2",
        vocab_size=size(config, "vocab_size", 50_257),
        width=width,
        num_layers=size(config, "n_layer"),
        num_heads=heads,
        num_kv_heads=heads,
        head_width=divided(config, "n_embd", "n_head"),
        hidden_width=size(config, "n_inner", min(4 * width, LARGEST), nullable=True),
        max_length=size(config, "n_positions", 1024),
        norm_epsilon=positive(config, "layer_norm_epsilon", 1e-5, below=1),
        activation=_activation(config, "activation_function", "gelu_new"),
        causal=True,
        norm_first=True,
        tied=switch(config, "tie_word_embeddings", True),
    )


_READERS: dict[str, Callable[[Mapping[str, Any]], Architecture]] = {"bert": _bert, "llama": _llama, "gpt2": _gpt2}


def _activation(config: Mapping[str, Any], field: str, usual: str) -> Activation:
    name = config.get(field, usual)
    if not isinstance(name, str) or name not in _ACTIVATIONS:
        raise ArchitectureError(
            f"{field} is {shown(name)}, but dpjax has {', '.join(_ACTIVATIONS)}; take another checkpoint."
        )
    return _ACTIVATIONS[name]


def tiny(family: str, **changes: Any) -> Architecture:
    """A transformer of a few thousand parameters, for examples and tests.

    Formal guarantees: an architecture holds no data; the sizes are constants.

    Args:
      family: ``"bert"``, ``"gpt2"`` or ``"llama"``.
      **changes: fields of ``Architecture`` to set otherwise.

    Returns:
      The architecture.

    Raises:
      ArchitectureError: a combination of fields that dpjax does not build.
      KeyError: another family.

    Example:
      >>> tiny("llama").num_kv_heads
      2
    """
    small = {
        "bert": Architecture("bert", 64, 16, 2, 4, 4, 4, 32, 32, 1e-12, "gelu", False, False, num_segments=2),
        "gpt2": Architecture("gpt2", 64, 16, 2, 4, 4, 4, 32, 32, 1e-5, "gelu_tanh", True, True),
        "llama": Architecture(
            "llama", 64, 16, 2, 4, 2, 4, 32, 32, 1e-5, "silu", True, True, "rms", True, False, False, 10_000.0
        ),
    }
    return replace(small[family], **changes)
