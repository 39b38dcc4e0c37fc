"""What a GGUF says of a model, in the words of config.json: keys by family, and what only llama.cpp's code knows."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from dpjax.models.pretrained.tensor_files import CheckpointError
from dpjax.models.transformers.config_fields import shown
from dpjax.models.transformers.families import FAMILIES, NAMES, Family


@dataclass(frozen=True)
class Stored:
    """How a family lies in a GGUF.

    Attributes:
      family: its ``model_type``.
      paired: rows of queries and keys are in the order (0, half), (1, half + 1), … of a head's channels.
      by_part: queries, keys and values that take turns on the hub lie one after the other.
      plus: what is added to the scale of every norm.
      known: fields of config.json that no key says, as llama.cpp has them in its code.
    """

    family: str
    paired: bool = False
    by_part: bool = False
    plus: float = 0.0
    known: Mapping[str, Any] = field(default_factory=dict)


STORED = {
    "llama": Stored("llama", paired=True),
    "smollm3": Stored("smollm3", paired=True),
    "qwen2": Stored("qwen2"),
    "qwen3": Stored("qwen3"),
    "gemma2": Stored("gemma2", plus=1.0),
    "gemma3": Stored("gemma3_text", plus=1.0),
    "phi3": Stored("phi3"),
    "olmo2": Stored("olmo2"),
    "gpt2": Stored("gpt2"),
    "gptneox": Stored("gpt_neox", by_part=True),
}
"""``general.architecture`` → how it lies there. A Mistral is stored as a llama."""

_SIZES = {
    "context_length": "max_length",
    "embedding_length": "width",
    "block_count": "num_layers",
    "feed_forward_length": "hidden_width",
    "attention.head_count": "num_heads",
    "attention.layer_norm_rms_epsilon": "norm_epsilon",
    "attention.layer_norm_epsilon": "norm_epsilon",
}
"""Key → field of ``Architecture``, whose name in config.json is the family's."""

_NEEDED = "context_length", "embedding_length", "block_count", "feed_forward_length", "attention.head_count"

_NAMED = {
    "attention.head_count_kv": "num_key_value_heads",
    "attention.sliding_window": "sliding_window",
    "attn_logit_softcapping": "attn_logit_softcapping",
    "final_logit_softcapping": "final_logit_softcapping",
    "use_parallel_residual": "use_parallel_residual",
}
"""Key → field of config.json."""

_BY_ITSELF = {
    *("vocab_size", "attention.key_length", "attention.value_length", "rope.dimension_count", "rope.freq_base"),
    *("attention.causal", "rope.scale_linear"),
}
_SCALING = "rope.scaling."
_FREE = {"type", "factor", "original_context_length", "attn_factor", "finetuned", "yarn_beta_fast", "yarn_beta_slow"}
"""Of rope.scaling.*: what is read; ``finetuned`` changes nothing."""

FACTORS = {"rope_freqs.weight", "rope_factors_short.weight", "rope_factors_long.weight"}
"""Tensors of factors of each pair's rotary rate."""


@dataclass(frozen=True)
class Fields:
    """What a file says of itself, by name.

    Attributes:
      content: all of it.
      path: of the file, for errors.
    """

    content: Mapping[str, Any]
    path: Path

    def __getitem__(self, name: str) -> Any:
        if name not in self.content:
            raise CheckpointError(f"{self.path} has no {name}; take the whole checkpoint.")
        return self.content[name]

    def get(self, name: str, usual: Any = None) -> Any:
        """A value, or the usual one.

        Args:
          name: of the field.
          usual: if there is none.
        """
        return self.content.get(name, usual)

    def one(self, name: str) -> Any:
        """A number that may be written once for each layer, if it is the same for all of them.

        Args:
          name: of the field.

        Raises:
          CheckpointError: there is none, or layers of several kinds.
        """
        value = self[name]
        if not isinstance(value, list):
            return value
        if not value or any(each != value[0] for each in value):
            raise CheckpointError(
                f"{self.path}: {name} is {shown(value)}, and dpjax has layers of one kind; take another checkpoint."
            )
        return value[0]


def stored_as(fields: Fields) -> Stored:
    """How the file's family lies in it.

    Raises:
      CheckpointError: another family.
    """
    kind = fields.get("general.architecture")
    if not isinstance(kind, str) or kind not in STORED:
        raise CheckpointError(
            f"{fields.path}: general.architecture is {shown(kind)}, but dpjax reads {', '.join(STORED)} from GGUF; use "
            "safetensors."
        )
    return STORED[kind]


def hub_config_of(fields: Fields, tensors: Mapping[str, np.ndarray | None]) -> dict[str, Any]:
    """The config.json of the same model.

    Formal guarantees: nothing that changes what is computed is passed over: a key that is not known and says something
    is refused.

    Args:
      fields: of the file.
      tensors: names in the file; with the content of those of ``FACTORS``.

    Returns:
      Fields for ``from_hub_config``.

    Raises:
      CheckpointError: naming the key.
    """
    kind, stored = fields["general.architecture"], stored_as(fields)
    family = FAMILIES[stored.family]
    names = NAMES | dict(family.names)
    said = {key.removeprefix(f"{kind}."): key for key in fields.content if key.startswith(f"{kind}.")}
    config: dict[str, Any] = {"model_type": stored.family, **stored.known}
    for key, full in said.items():
        if key in _SIZES and _SIZES[key] in names:
            config[names[_SIZES[key]]] = fields.one(full)
        elif key in _NAMED and _reads(family, _NAMED[key]):
            config[_NAMED[key]] = fields.one(full)
        elif key == "attention.head_count_kv" and fields.one(full) == fields.get(f"{kind}.attention.head_count"):
            continue  # each head has its own
        elif key not in _BY_ITSELF and not key.startswith(_SCALING) and fields[full] not in (0, False, None, "", []):
            raise CheckpointError(
                f"{fields.path}: {full} is {shown(fields[full])}, which dpjax does not know; take another checkpoint."
            )
    epsilon = (
        "attention.layer_norm_rms_epsilon" if family.constants.get("norm") == "rms" else "attention.layer_norm_epsilon"
    )
    for needed in (*_NEEDED, epsilon):
        fields[f"{kind}.{needed}"]
    config["vocab_size"] = len(fields["tokenizer.ggml.tokens"])
    config["tie_word_embeddings"] = "output.weight" not in tensors
    width, heads = config[names["width"]], config[names["num_heads"]]
    if family.rope is not None:
        config |= _head_and_rope(fields, kind, stored, width, heads)
        config |= _stretched(fields, kind, tensors, config)
    if "query_scalar" in family.numbers:
        # As llama.cpp has it: the largest models divide by the width of their share of a head.
        largest = {"gemma2": 46, "gemma3": 62}.get(kind)
        head = config["head_dim"] if config[names["num_layers"]] != largest else width // heads
        config["query_pre_attn_scalar"] = head
    if family.windows == "late" and config.get("sliding_window"):
        raise CheckpointError(
            f"{fields.path}: {kind}.attention.sliding_window is {config['sliding_window']}, and which layers it is "
            "for is not said; use the checkpoint's safetensors."
        )
    return config


def _reads(family: Family, name: str) -> bool:
    """Whether a family's config.json has a field."""
    return any(name in listed for listed in (family.names.values(), family.usual, family.numbers.values(), family.only))


def _head_and_rope(fields: Fields, kind: str, stored: Stored, width: Any, heads: Any) -> dict[str, Any]:
    """How wide a head is, how much of it turns, and the base."""
    family = FAMILIES[stored.family]
    assert family.rope is not None
    turned, head = fields.get(f"{kind}.rope.dimension_count"), fields.get(f"{kind}.attention.key_length")
    if head is None:
        whole = isinstance(width, int) and isinstance(heads, int) and heads and width % heads == 0
        head = turned if turned is not None and family.rope.share is None else width // heads if whole else None
    config: dict[str, Any] = {} if head is None or "head_width" not in family.names else {"head_dim": head}
    value = fields.get(f"{kind}.attention.value_length", head)
    if value != head or (turned is not None and turned != head and family.rope.share is None):
        name, other = ("attention.value_length", value) if value != head else ("rope.dimension_count", turned)
        raise CheckpointError(
            f"{fields.path}: {kind}.{name} is {shown(other)} where a head is {shown(head)} wide, and dpjax turns and "
            "mixes whole heads; take another checkpoint."
        )
    if family.rope.share is not None and turned is not None and isinstance(head, int) and head:
        config[family.rope.share] = turned / head
    if (base := fields.get(f"{kind}.rope.freq_base")) is not None:
        config[family.rope.base] = base
    return config


def _stretched(
    fields: Fields, kind: str, tensors: Mapping[str, np.ndarray | None], config: Mapping[str, Any]
) -> dict[str, Any]:
    """Rotary positions for longer texts, as ``rope_scaling`` has them."""
    begin = f"{kind}.{_SCALING}"
    said = {key.removeprefix(begin): value for key, value in fields.content.items() if key.startswith(begin)}
    if strange := sorted(key for key, value in said.items() if key not in _FREE and value not in (0, None, "", 1)):
        raise CheckpointError(
            f"{fields.path}: {begin}{strange[0]} is {shown(said[strange[0]])}, which dpjax does not know; take another "
            "checkpoint."
        )
    trained = said.get("original_context_length", fields[f"{kind}.context_length"])
    lists = dict(_lists(tensors))
    if lists:
        short = lists.get("rope_freqs.weight") or lists.get("rope_factors_short.weight")
        long = lists.get("rope_freqs.weight") or lists.get("rope_factors_long.weight")
        scaling = {"rope_type": "longrope", "short_factor": short, "long_factor": long, "factor": 1.0}
        scaling |= {"attention_factor": said.get("attn_factor", 1.0)}
        apart = {"original_max_position_embeddings": trained}
        return {"rope_scaling": scaling} | apart if kind == "phi3" else {"rope_scaling": scaling | apart}
    factor = said.get("factor") or fields.get(f"{kind}.rope.scale_linear")
    form = said.get("type", "linear" if factor not in (None, 0, 1) else "none")
    if form == "none" or (form in ("linear", "yarn") and factor in (None, 0, 1)):
        return {}
    scaling = {"rope_type": form, "factor": factor}
    if form == "yarn":
        scaling |= {"original_max_position_embeddings": trained}
        scaling |= {name: said[f"yarn_{name}"] for name in ("beta_fast", "beta_slow") if said.get(f"yarn_{name}")}
        if said.get("attn_factor", 1) != 1:
            form = f"yarn with attn_factor={shown(said['attn_factor'])}"
    if form not in ("linear", "yarn"):
        raise CheckpointError(
            f"{fields.path}: {begin}type is {form}, which dpjax does not know; take another checkpoint."
        )
    return {"rope_scaling": scaling}


def _lists(tensors: Mapping[str, np.ndarray | None]) -> Iterator[tuple[str, list[float]]]:
    for name in FACTORS & tensors.keys():
        array = tensors[name]
        if array is not None:
            yield name, np.asarray(array, np.float32).reshape(-1).tolist()
