"""The families that dpjax builds, each a row of data: how its config.json is read and what its checkpoints all have."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from dpjax.models.transformers.rotary_fields import RopeFields

Windows = Literal["none", "all", "late", "alternate", "unturned"]


@dataclass(frozen=True)
class Family:
    """What the checkpoints of one ``model_type`` have in common.

    Attributes:
      classes: how the names of its classes in ``transformers`` begin.
      constants: fields of ``Architecture`` that are the same for all of them.
      names: field of ``Architecture`` → of config.json, where it has another than usual.
      usual: field of config.json → its value where there is none; a field without one must be there.
      only: field of config.json → the values that dpjax computes; none and null are the first.
      flags: field of ``Architecture`` → true-or-false field of config.json that sets it.
      numbers: the same for numbers that may be null.
      rope: where rotary positions stand; None: there are none.
      windows: which layers see only near tokens: ``"none"``; ``"all"`` (if there is a ``sliding_window``); ``"late"``
        (from ``max_window_layers`` on, if they are used); ``"alternate"`` (all but each n-th); ``"unturned"``
        (SmolLM3: none, but each n-th has no positions). ``layer_types`` says it for each layer, where it is given.
      window: field of the window, and whether it counts the tokens of both sides.
      period: field of n, and n where there is none; whether the full layer is the first of them or the last.
      small: fields of config.json beside the usual of a model of some thousand parameters.
    """

    classes: str
    constants: Mapping[str, Any]
    names: Mapping[str, str] = field(default_factory=dict)
    usual: Mapping[str, Any] = field(default_factory=dict)
    only: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    flags: Mapping[str, str] = field(default_factory=dict)
    numbers: Mapping[str, str] = field(default_factory=dict)
    rope: RopeFields | None = None
    windows: Windows = "none"
    window: tuple[str, bool] = ("sliding_window", False)
    period: tuple[str, int, bool] = ("", 1, False)
    small: Mapping[str, Any] = field(default_factory=dict)


NAMES = {
    "vocab_size": "vocab_size",
    "width": "hidden_size",
    "num_layers": "num_hidden_layers",
    "num_heads": "num_attention_heads",
    "hidden_width": "intermediate_size",
    "max_length": "max_position_embeddings",
    "activation": "hidden_act",
}
"""Fields of config.json that most families use."""

_SMALL = {
    "vocab_size": 64,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 32,
    "max_position_embeddings": 32,
}
_KV = {"num_kv_heads": "num_key_value_heads", "head_width": "head_dim"}

_ENCODER = {"causal": False, "residual": "post", "embedding_norm": True, "learned": True}
_BERT_NAMES = {"norm_epsilon": "layer_norm_eps", "num_segments": "type_vocab_size"}
_BERT_ONLY = {"position_embedding_type": ("absolute",), "is_decoder": (False,), "add_cross_attention": (False,)}
_LLAMA = {"causal": True, "residual": "pre", "norm": "rms", "gated": True}
_LLAMA_NAMES = {"norm_epsilon": "rms_norm_eps", **_KV}
_LLAMA_USUAL = {"hidden_act": "silu", "rms_norm_eps": 1e-6, "tie_word_embeddings": False}
_LLAMA_SMALL = {**_SMALL, "tie_word_embeddings": True, "num_key_value_heads": 2, "head_dim": 4}
_GEMMA = {"causal": True, "residual": "both", "norm": "rms", "norm_offset": 1.0, "gated": True}
_GEMMA_NAMES = {**_LLAMA_NAMES, "activation": "hidden_activation"}
_GEMMA_USUAL = {"hidden_activation": "gelu_pytorch_tanh", "rms_norm_eps": 1e-6, "query_pre_attn_scalar": 256}
_GEMMA_NUMBERS = {
    "query_scalar": "query_pre_attn_scalar",
    "attention_cap": "attn_logit_softcapping",
    "logit_cap": "final_logit_softcapping",
}
_GEMMA_SMALL = {**_LLAMA_SMALL, "query_pre_attn_scalar": 4, "sliding_window": 8}
_ATTENTION_BIAS = {"bias": "attention_bias", "output_bias": "attention_bias"}
_NO_BIAS = {"bias": False, "output_bias": False, "mlp_bias": False}


def _roberta(classes: str) -> Family:
    return Family(
        classes,
        _ENCODER,
        names=_BERT_NAMES,
        usual={"hidden_act": "gelu", "layer_norm_eps": 1e-12, "type_vocab_size": 2, "pad_token_id": 1},  # nosec B105 # no password
        only=_BERT_ONLY,
        small={**_SMALL, "type_vocab_size": 1, "max_position_embeddings": 34},
    )


FAMILIES: dict[str, Family] = {
    "bert": Family(
        "Bert",
        _ENCODER,
        names=_BERT_NAMES,
        usual={"hidden_act": "gelu", "layer_norm_eps": 1e-12, "type_vocab_size": 2},
        only=_BERT_ONLY,
        small={**_SMALL, "type_vocab_size": 2},
    ),
    "roberta": _roberta("Roberta"),
    "xlm-roberta": _roberta("XLMRoberta"),
    "distilbert": Family(
        "DistilBert",
        {**_ENCODER, "norm_epsilon": 1e-12, "pooler_activation": "relu"},
        names={
            "width": "dim",
            "num_layers": "n_layers",
            "num_heads": "n_heads",
            "hidden_width": "hidden_dim",
            "activation": "activation",
        },
        usual={"activation": "gelu"},
        small={
            "vocab_size": 64,
            "dim": 16,
            "n_layers": 2,
            "n_heads": 4,
            "hidden_dim": 32,
            "max_position_embeddings": 32,
        },
    ),
    "modernbert": Family(
        "ModernBert",
        {"causal": False, "residual": "pre", "embedding_norm": True, "first_norm": False, "gated": True},
        names={
            "norm_epsilon": "norm_eps",
            "activation": "hidden_activation",
            "head_activation": "classifier_activation",
        },
        usual={
            "hidden_activation": "gelu",
            "classifier_activation": "gelu",
            "norm_eps": 1e-5,
            "norm_bias": False,
            "mlp_bias": False,
            "attention_bias": False,
            "classifier_bias": False,
            "decoder_bias": True,
            "local_attention": 128,
        },
        flags={
            **_ATTENTION_BIAS,
            "mlp_bias": "mlp_bias",
            "norm_bias": "norm_bias",
            "head_bias": "classifier_bias",
            "vocabulary_bias": "decoder_bias",
        },
        rope=RopeFields("global_rope_theta", 160_000.0, local="local_rope_theta", local_stretched=True),
        windows="alternate",
        window=("local_attention", True),
        period=("global_attn_every_n_layers", 3, True),
        small={**_SMALL, "num_hidden_layers": 4, "local_attention": 8},
    ),
    "gpt2": Family(
        "GPT2",
        {"causal": True, "residual": "pre", "learned": True},
        names={
            "width": "n_embd",
            "num_layers": "n_layer",
            "num_heads": "n_head",
            "hidden_width": "n_inner",
            "max_length": "n_positions",
            "norm_epsilon": "layer_norm_epsilon",
            "activation": "activation_function",
        },
        usual={
            "vocab_size": 50_257,
            "n_positions": 1024,
            "layer_norm_epsilon": 1e-5,
            "activation_function": "gelu_new",
        },
        only={
            "scale_attn_by_inverse_layer_idx": (False,),
            "add_cross_attention": (False,),
            "scale_attn_weights": (True,),
        },
        small={"vocab_size": 64, "n_embd": 16, "n_layer": 2, "n_head": 4, "n_inner": 32, "n_positions": 32},
    ),
    "gpt_neox": Family(
        "GPTNeoX",
        {"causal": True},
        names={"norm_epsilon": "layer_norm_eps"},
        usual={
            "hidden_act": "gelu",
            "layer_norm_eps": 1e-5,
            "attention_bias": True,
            "tie_word_embeddings": False,
            "use_parallel_residual": True,
        },
        flags=_ATTENTION_BIAS,
        rope=RopeFields("rotary_emb_base", share="rotary_pct", usual_share=0.25),
        small={**_SMALL, "hidden_size": 32, "rotary_pct": 0.5},
    ),
    "llama": Family(
        "Llama",
        _LLAMA,
        names=_LLAMA_NAMES,
        usual={**_LLAMA_USUAL, "max_position_embeddings": 2048, "attention_bias": False, "mlp_bias": False},
        flags={**_ATTENTION_BIAS, "mlp_bias": "mlp_bias"},
        rope=RopeFields(),
        small={**_LLAMA_SMALL, "rms_norm_eps": 1e-5},
    ),
    "mistral": Family(
        "Mistral",
        {**_LLAMA, **_NO_BIAS},
        names=_LLAMA_NAMES,
        usual={**_LLAMA_USUAL, "max_position_embeddings": 131_072, "sliding_window": 4096},
        rope=RopeFields(),
        windows="all",
        small={**_LLAMA_SMALL, "sliding_window": 8},
    ),
    "qwen2": Family(
        "Qwen2",
        {**_LLAMA, "bias": True, "output_bias": False, "mlp_bias": False},
        names=_LLAMA_NAMES,
        usual={
            **_LLAMA_USUAL,
            "max_position_embeddings": 32_768,
            "sliding_window": 4096,
            "use_sliding_window": False,
            "max_window_layers": 28,
        },
        rope=RopeFields(),
        windows="late",
        small=_LLAMA_SMALL,
    ),
    "qwen3": Family(
        "Qwen3",
        {**_LLAMA, "mlp_bias": False, "query_norm": "head"},
        names=_LLAMA_NAMES,
        usual={
            **_LLAMA_USUAL,
            "head_dim": 128,
            "max_position_embeddings": 32_768,
            "attention_bias": False,
            "sliding_window": 4096,
            "use_sliding_window": False,
            "max_window_layers": 28,
        },
        flags=_ATTENTION_BIAS,
        rope=RopeFields(),
        windows="late",
        small=_LLAMA_SMALL,
    ),
    "gemma2": Family(
        "Gemma2",
        {**_GEMMA, "mlp_bias": False},
        names=_GEMMA_NAMES,
        usual={
            **_GEMMA_USUAL,
            "head_dim": 256,
            "num_key_value_heads": 4,
            "max_position_embeddings": 8192,
            "attention_bias": False,
            "sliding_window": 4096,
            "attn_logit_softcapping": 50.0,
            "final_logit_softcapping": 30.0,
        },
        only={"use_bidirectional_attention": (None, False)},
        flags=_ATTENTION_BIAS,
        numbers=_GEMMA_NUMBERS,
        rope=RopeFields(),
        windows="alternate",
        period=("", 2, False),
        small=_GEMMA_SMALL,
    ),
    "gemma3_text": Family(
        "Gemma3",
        {**_GEMMA, "mlp_bias": False, "query_norm": "head"},
        names=_GEMMA_NAMES,
        usual={
            **_GEMMA_USUAL,
            "head_dim": 256,
            "num_key_value_heads": 4,
            "max_position_embeddings": 131_072,
            "attention_bias": False,
            "sliding_window": 4096,
        },
        only={"use_bidirectional_attention": (None, False), "attn_logit_softcapping": (None,)},
        flags=_ATTENTION_BIAS,
        numbers={name: part for name, part in _GEMMA_NUMBERS.items() if name != "attention_cap"},
        rope=RopeFields(usual=1_000_000.0, local="rope_local_base_freq"),
        windows="alternate",
        period=("sliding_window_pattern", 6, False),
        small={**_GEMMA_SMALL, "num_hidden_layers": 3, "sliding_window_pattern": 3},
    ),
    "smollm3": Family(
        "SmolLM3",
        _LLAMA,
        names=_LLAMA_NAMES,
        usual={
            **_LLAMA_USUAL,
            "num_key_value_heads": 4,
            "max_position_embeddings": 32_768,
            "attention_bias": False,
            "mlp_bias": False,
            "tie_word_embeddings": True,
        },
        only={"use_sliding_window": (False,)},
        flags={**_ATTENTION_BIAS, "mlp_bias": "mlp_bias"},
        rope=RopeFields(usual=2_000_000.0),
        windows="unturned",
        period=("no_rope_layer_interval", 4, False),
        small={**_LLAMA_SMALL, "no_rope_layer_interval": 2},
    ),
    "phi3": Family(
        "Phi3",
        {**_LLAMA, **_NO_BIAS},
        names=_LLAMA_NAMES,
        usual={
            **_LLAMA_USUAL,
            "rms_norm_eps": 1e-5,
            "max_position_embeddings": 4096,
            "sliding_window": None,
        },
        rope=RopeFields(share="partial_rotary_factor", aliases={"su": "longrope", "yarn": "longrope"}, apart=True),
        windows="all",
        small=_LLAMA_SMALL,
    ),
    "olmo2": Family(
        "Olmo2",
        {**_LLAMA, "residual": "output", "mlp_bias": False, "query_norm": "all"},
        names=_LLAMA_NAMES,
        usual={**_LLAMA_USUAL, "rms_norm_eps": 1e-5, "max_position_embeddings": 2048, "attention_bias": False},
        flags=_ATTENTION_BIAS,
        rope=RopeFields(),
        small=_LLAMA_SMALL,
    ),
}
"""``model_type`` → what its checkpoints have in common."""

REFUSED = {
    "mixtral": "its experts each read few tokens, and every unit's gradient would be made for all of them",
    "qwen2_moe": "its experts each read few tokens, and every unit's gradient would be made for all of them",
    "qwen3_moe": "its experts each read few tokens, and every unit's gradient would be made for all of them",
    "deberta": "its attention adds scores of relative positions",
    "deberta-v2": "its attention adds scores of relative positions",
    "t5": "it has an encoder and a decoder",
    "bart": "it has an encoder and a decoder",
    "gemma3": "it reads images too; save its text model, whose model_type is gemma3_text",
    "gpt_neo": "its attention is not scaled",
    "mamba": "it has no attention",
}
"""``model_type`` → why dpjax does not build it."""
