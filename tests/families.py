"""Small configurations of every family and variant, as ``transformers`` takes them; needs no torch."""

from zlib import crc32

import numpy as np

from dpjax.models.transformers import FAMILIES

SIZES = {
    "vocab_size": 90,
    "hidden_size": 24,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "intermediate_size": 40,
    "max_position_embeddings": 64,
    "pad_token_id": 1,
    "bos_token_id": 0,
    "eos_token_id": 2,
}
KV = {**SIZES, "num_key_value_heads": 2}
LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16}
FACTORS = {"short_factor": [1.0, 1.1, 1.3], "long_factor": [1.5, 2.0, 4.0]}
GEMMA = {**KV, "head_dim": 8, "query_pre_attn_scalar": 12, "sliding_window": 5}

CONFIGS = {
    "bert": [SIZES, {**SIZES, "hidden_act": "relu", "type_vocab_size": 3}],
    "roberta": [{**SIZES, "type_vocab_size": 1}, {**SIZES, "pad_token_id": 0, "bos_token_id": 1}],
    "xlm-roberta": [SIZES],
    "distilbert": [
        {
            "vocab_size": 90,
            "dim": 24,
            "n_layers": 3,
            "n_heads": 4,
            "hidden_dim": 40,
            "max_position_embeddings": 64,
            "activation": activation,
        }
        for activation in ("gelu", "relu")
    ],
    "modernbert": [
        {**SIZES, "local_attention": 8, "layer_types": None},
        {
            **{**SIZES, "num_hidden_layers": 5},
            "local_attention": 6,
            "global_attn_every_n_layers": 2,
            "norm_bias": True,
            "attention_bias": True,
            "mlp_bias": True,
            "classifier_bias": True,
        },
        {**SIZES, "layer_types": ["sliding_attention", "full_attention"] * 2, "local_attention": 4},
    ],
    "gpt2": [{"vocab_size": 90, "n_embd": 24, "n_layer": 3, "n_head": 4, "n_positions": 64, "eos_token_id": 2}],
    "gpt_neox": [
        {**SIZES, "hidden_size": 32, "rotary_pct": 0.5},
        {**SIZES, "rotary_pct": 1.0, "use_parallel_residual": False, "rotary_emb_base": 500},
        {**SIZES, "attention_bias": False, "tie_word_embeddings": True, "rotary_pct": 0.34, "hidden_size": 48},
    ],
    "llama": [
        KV,
        {**KV, "rope_theta": 500.0, "rope_scaling": LLAMA3, "tie_word_embeddings": True},
        {**KV, "rope_scaling": {"rope_type": "linear", "factor": 3.0}, "attention_bias": True, "mlp_bias": True},
        {**KV, "rope_scaling": {"rope_type": "dynamic", "factor": 3.0}, "max_position_embeddings": 12},
        {**KV, "rope_scaling": YARN, "head_dim": 16},
        {**KV, "rope_scaling": {**YARN, "truncate": False, "beta_fast": 8.0, "mscale": 0.7, "mscale_all_dim": 0.3}},
    ],
    "mistral": [{**KV, "sliding_window": 4}, {**KV, "sliding_window": None, "head_dim": 10}],
    "qwen2": [
        KV,
        {**KV, "use_sliding_window": True, "sliding_window": 3, "max_window_layers": 2, "tie_word_embeddings": True},
    ],
    "qwen3": [{**KV, "head_dim": 8}, {**KV, "head_dim": 6, "attention_bias": True, "rope_scaling": YARN}],
    "gemma2": [GEMMA, {**GEMMA, "attn_logit_softcapping": 2.0, "final_logit_softcapping": 1.5}],
    "gemma3_text": [
        {**GEMMA, "sliding_window_pattern": 3, "layer_types": None},
        {**GEMMA, "rope_scaling": {"rope_type": "linear", "factor": 8.0}},
        {**GEMMA, "final_logit_softcapping": 1.5, "attention_bias": True},
    ],
    "smollm3": [
        {**KV, "no_rope_layer_interval": 3, "layer_types": None, "no_rope_layers": None},
        {**KV, "no_rope_layers": [1, 0, 0, 1], "attention_bias": True, "mlp_bias": True},
    ],
    "phi3": [
        KV,
        {**KV, "sliding_window": 5, "tie_word_embeddings": True},
        {**KV, "rope_scaling": {"rope_type": "longrope", **FACTORS}, "original_max_position_embeddings": 12},
        {**KV, "rope_scaling": {"rope_type": "longrope", **FACTORS}, "original_max_position_embeddings": 40},
        {**KV, "hidden_size": 32, "partial_rotary_factor": 0.5},
    ],
    "olmo2": [KV, {**KV, "attention_bias": True}],
}
CASES = [(family, number) for family, configs in CONFIGS.items() for number in range(len(configs))]


def task_of(family):
    return "causal" if FAMILIES[family].constants["causal"] else "masked"


def class_of(family):
    """Of ``transformers``: the model with the head of its task."""
    if family == "gpt2":
        return "GPT2LMHeadModel"
    return FAMILIES[family].classes + {"masked": "ForMaskedLM", "causal": "ForCausalLM"}[task_of(family)]


def weights_of(shapes):
    """Weights that follow from names alone, so that nobody has to store them.

    Args:
      shapes: name → shape.
    """
    flat = {}
    for name, shape in shapes.items():
        rng = np.random.default_rng(crc32(name.encode()))
        values = rng.normal(size=shape)
        scale = 0.3 if len(shape) > 1 else 0.2
        flat[name] = (scale * values + (1 if len(shape) == 1 and name.endswith("weight") else 0)).astype(np.float32)
    return flat


_QKV, _MLP = ["q_proj", "v_proj"], ["down_proj"]
_BERT = ["attention.self.query", "attention.self.value"]
ADAPTED = {
    "bert": (_BERT, ["output.dense"], "lora", "lora dora"),
    "roberta": (_BERT, ["output.dense"], "lora", "ia3"),
    "xlm-roberta": (_BERT, ["output.dense"], "lora dora"),
    "distilbert": (["q_lin", "v_lin"], ["lin2"], "lora", "ia3"),
    "modernbert": (["Wqkv"], ["mlp.Wo"], "lora", "lora dora", "ia3"),
    "gpt2": (["c_attn"], ["mlp.c_proj"], "lora", "lora dora", "ia3", "prompt"),
    "gpt_neox": (["query_key_value"], ["dense_4h_to_h"], "lora", "lora dora", "ia3", "prefix"),
    "llama": (_QKV, _MLP, "lora", "ia3", "prefix"),
    "mistral": (_QKV, _MLP, "lora"),
    "qwen2": (_QKV, _MLP, "lora", "ia3"),
    "qwen3": (_QKV, _MLP, "lora dora", "prefix"),
    "gemma2": (_QKV, _MLP, "lora", "prompt"),
    "gemma3_text": (_QKV, _MLP, "lora dora", "prompt"),
    "smollm3": (_QKV, _MLP, "lora", "prefix"),
    "phi3": (["qkv_proj", "gate_up_proj"], _MLP, "lora", "lora dora", "ia3"),
    "olmo2": (_QKV, _MLP, "lora dora", "prefix"),
}
"""Family → matrices of its attention, of its MLP's end, and what adapters of it were recorded."""

ADAPTERS = {
    "lora": lambda names: {
        "r": 4,
        "lora_alpha": 6,
        "target_modules": [*names[0], *names[1]],
        "rank_pattern": {names[0][0]: 3, rf".*\.1\..*{names[1][0]}": 2},
        "alpha_pattern": {names[1][0]: 2.5},
        "use_rslora": True,
    },
    "lora dora": lambda names: {
        "r": 2,
        "lora_alpha": 3,
        "target_modules": rf".*\.(0|1|2)\..*({'|'.join([*names[0], *names[1]])})",
        "use_dora": True,
    },
    "ia3": lambda names: {"target_modules": [*names[0], *names[1]], "feedforward_modules": names[1]},
    "prompt": lambda names: {"num_virtual_tokens": 3},
    "prefix": lambda names: {"num_virtual_tokens": 3},
}
"""Kind → the fields of its configuration in PEFT."""
