"""What a transformer looks like, in numbers: read from a checkpoint's config.json, and written back to one."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

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
_WRITTEN = {"gelu": "gelu", "gelu_tanh": "gelu_new", "silu": "silu", "relu": "relu"}


class ArchitectureError(ValueError):
    """A checkpoint's configuration that dpjax cannot build; one sentence with the field, the value and the fix."""


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
        for name in ("vocab_size", "width", "num_layers", "num_heads", "num_kv_heads", "head_width", "hidden_width"):
            if getattr(self, name) < 1:
                raise ArchitectureError(f"{name} is {getattr(self, name)}, but a transformer needs at least 1.")
        if self.num_heads % self.num_kv_heads:
            raise ArchitectureError(
                f"num_kv_heads is {self.num_kv_heads}, which does not divide num_heads={self.num_heads}; every key "
                "head must serve equally many query heads."
            )
        if self.rope_base is not None and self.head_width % 2:
            raise ArchitectureError(f"head_width is {self.head_width}, but rotary positions turn pairs; make it even.")


def from_hub_config(config: Mapping[str, Any]) -> Architecture:
    """Reads a checkpoint's ``config.json``.

    Args:
      config: its contents; ``model_type`` must be bert, llama or gpt2.

    Raises:
      ArchitectureError: another architecture, a missing field, or a variant that computes something else than dpjax
        does (relative positions, scaled rotary positions, cross-attention).

    Example:
      >>> from_hub_config({"model_type": "gpt2", "n_embd": 8, "n_layer": 1, "n_head": 2}).hidden_width
      32
      >>> from_hub_config({"model_type": "t5"})
      Traceback (most recent call last):
      dpjax.models.transformers.architecture.ArchitectureError: model_type is 't5', but dpjax builds bert, gpt2 and \
llama; take a checkpoint of one of these.
    """
    kind = config.get("model_type")
    if kind not in _READERS:
        raise ArchitectureError(
            f"model_type is {kind!r}, but dpjax builds {', '.join(sorted(_READERS)[:-1])} and {max(_READERS)}; take a "
            "checkpoint of one of these."
        )
    try:
        return _READERS[kind](config)
    except KeyError as error:
        raise ArchitectureError(f"config.json of a {kind} has no {error}; take the whole checkpoint.") from None


def to_hub_config(architecture: Architecture) -> dict[str, Any]:
    """The ``config.json`` that ``transformers`` builds the same model from; ``from_hub_config`` reads it back.

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
    _refuse(config, "position_embedding_type", ("absolute",))
    _refuse(config, "is_decoder", (False,))
    heads, width = config["num_attention_heads"], config["hidden_size"]
    return Architecture(
        family="bert",
        vocab_size=config["vocab_size"],
        width=width,
        num_layers=config["num_hidden_layers"],
        num_heads=heads,
        num_kv_heads=heads,
        head_width=width // heads,
        hidden_width=config["intermediate_size"],
        max_length=config["max_position_embeddings"],
        norm_epsilon=config.get("layer_norm_eps", 1e-12),
        activation=_activation(config, "hidden_act", "gelu"),
        causal=False,
        norm_first=False,
        num_segments=config.get("type_vocab_size", 2),
        tied=config.get("tie_word_embeddings", True),
    )


def _llama(config: Mapping[str, Any]) -> Architecture:
    rope = dict(config.get("rope_parameters") or config.get("rope_scaling") or {})
    if rope.get("rope_type", rope.get("type", "default")) != "default":
        raise ArchitectureError(
            f"rope_scaling is {rope}, and dpjax has plain rotary positions; take a checkpoint without scaling."
        )
    heads, width = config["num_attention_heads"], config["hidden_size"]
    return Architecture(
        family="llama",
        vocab_size=config["vocab_size"],
        width=width,
        num_layers=config["num_hidden_layers"],
        num_heads=heads,
        num_kv_heads=config.get("num_key_value_heads") or heads,
        head_width=config.get("head_dim") or width // heads,
        hidden_width=config["intermediate_size"],
        max_length=config.get("max_position_embeddings", 2048),
        norm_epsilon=config.get("rms_norm_eps", 1e-6),
        activation=_activation(config, "hidden_act", "silu"),
        causal=True,
        norm_first=True,
        norm="rms",
        gated=True,
        bias=config.get("attention_bias", False),
        mlp_bias=config.get("mlp_bias", False),
        rope_base=float(config.get("rope_theta") or rope.get("rope_theta") or 10_000.0),
        tied=config.get("tie_word_embeddings", False),
    )


def _gpt2(config: Mapping[str, Any]) -> Architecture:
    for field, usual in (("scale_attn_by_inverse_layer_idx", False), ("add_cross_attention", False)):
        _refuse(config, field, (usual,))
    _refuse(config, "scale_attn_weights", (True,))
    heads, width = config["n_head"], config["n_embd"]
    return Architecture(
        family="gpt2",
        vocab_size=config.get("vocab_size", 50_257),
        width=width,
        num_layers=config["n_layer"],
        num_heads=heads,
        num_kv_heads=heads,
        head_width=width // heads,
        hidden_width=config.get("n_inner") or 4 * width,
        max_length=config.get("n_positions", 1024),
        norm_epsilon=config.get("layer_norm_epsilon", 1e-5),
        activation=_activation(config, "activation_function", "gelu_new"),
        causal=True,
        norm_first=True,
        tied=config.get("tie_word_embeddings", True),
    )


_READERS: dict[str, Callable[[Mapping[str, Any]], Architecture]] = {"bert": _bert, "llama": _llama, "gpt2": _gpt2}


def _activation(config: Mapping[str, Any], field: str, usual: str) -> Activation:
    name = config.get(field, usual)
    if name not in _ACTIVATIONS:
        raise ArchitectureError(f"{field} is {name!r}, but dpjax has {', '.join(_ACTIVATIONS)}.")
    return _ACTIVATIONS[name]


def _refuse(config: Mapping[str, Any], field: str, known: tuple[Any, ...]) -> None:
    """Raise where a checkpoint was trained with a variant that would be computed wrongly."""
    value = config.get(field, known[0])
    if value is not None and value not in known:
        raise ArchitectureError(f"{field} is {value!r}, but dpjax computes only {known[0]!r}; take another checkpoint.")


def tiny(family: str, **changes: Any) -> Architecture:
    """A transformer of a few thousand parameters, for examples and tests.

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
