"""Transformers in Flax NNX for ONE text: every family is one architecture with different numbers."""

from dpjax.models.transformers.architecture import Architecture, View
from dpjax.models.transformers.config_fields import ArchitectureError
from dpjax.models.transformers.families import FAMILIES
from dpjax.models.transformers.hub_config import from_hub_config, tiny, to_hub_config
from dpjax.models.transformers.layers import Added, Ia3, Lora, Memory, SoftPrompt
from dpjax.models.transformers.rotary import Rope
from dpjax.models.transformers.transformer import PADDING, Head, Plan, Transformer

__all__ = [
    "FAMILIES",
    "PADDING",
    "Added",
    "Architecture",
    "ArchitectureError",
    "Head",
    "Ia3",
    "Lora",
    "Memory",
    "Plan",
    "Rope",
    "SoftPrompt",
    "Transformer",
    "View",
    "from_hub_config",
    "tiny",
    "to_hub_config",
]
