"""Transformers in Flax NNX for ONE text: BERT, Llama and GPT-2 as one architecture with different numbers."""

from dpjax.models.transformers.architecture import (
    Architecture,
    ArchitectureError,
    from_hub_config,
    tiny,
    to_hub_config,
)
from dpjax.models.transformers.layers import Added, Lora, Memory
from dpjax.models.transformers.transformer import PADDING, Head, Plan, Transformer

__all__ = [
    "PADDING",
    "Added",
    "Architecture",
    "ArchitectureError",
    "Head",
    "Lora",
    "Memory",
    "Plan",
    "Transformer",
    "from_hub_config",
    "tiny",
    "to_hub_config",
]
