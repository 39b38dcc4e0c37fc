"""A checkpoint's config.json read into an ``Architecture``, and written back: every family by its row of data."""

import difflib
import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from dpjax.models.transformers.architecture import Activation, Architecture, View
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
from dpjax.models.transformers.families import FAMILIES, NAMES, REFUSED, Family
from dpjax.models.transformers.rotary import Rope
from dpjax.models.transformers.rotary_fields import FULL, SLIDING, read_rope, write_rope

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


def from_hub_config(config: Mapping[str, Any]) -> Architecture:
    """Reads a checkpoint's ``config.json``.

    Formal guarantees: all or nothing: a variant that dpjax would compute otherwise is refused, not approximated.

    Args:
      config: its contents; ``model_type`` must be one of ``FAMILIES``.

    Returns:
      The architecture.

    Raises:
      ArchitectureError: another architecture, a missing field, or a variant that computes something else than dpjax
        does (relative positions, cross-attention).

    Example:
      >>> from_hub_config({"model_type": "gpt2", "n_embd": 8, "n_layer": 1, "n_head": 2}).hidden_width
      32
      >>> from_hub_config({"model_type": "qwen2_5"})
      Traceback (most recent call last):
      dpjax.models.transformers.config_fields.ArchitectureError: model_type is 'qwen2_5', and the nearest that dpjax \
builds is 'qwen2'; take a checkpoint of one of bert, distilbert, gemma2, gemma3_text, gpt2, gpt_neox, llama, mistral, \
modernbert, olmo2, phi3, qwen2, qwen3, roberta, smollm3, xlm-roberta.
    """
    kind = config.get("model_type")
    if not isinstance(kind, str) or kind not in FAMILIES:
        raise ArchitectureError(_unknown(kind))
    if config.get("quantization_config"):
        raise ArchitectureError(
            f"quantization_config is {shown(config['quantization_config'])}, and dpjax reads floating weights; take an "
            "unquantised copy."
        )
    if config.get("pruned_heads"):
        raise ArchitectureError(
            f"pruned_heads is {shown(config['pruned_heads'])}, and dpjax has all heads; take another checkpoint."
        )
    family = FAMILIES[kind]
    for field, known in family.only.items():
        only(config, field, *known)
    try:
        return _read(kind, family, {**family.usual, **config})
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
    a, family = architecture, FAMILIES[architecture.family]
    names = NAMES | dict(family.names)
    written: dict[str, Any] = {"model_type": a.family, "tie_word_embeddings": a.tied}
    written["architectures"] = [f"{family.classes}{'ForCausalLM' if a.causal else 'Model'}"]
    if a.family == "gpt2":
        written["architectures"] = ["GPT2LMHeadModel"]
    for field, name in names.items():
        value = getattr(a, field)
        written[name] = _WRITTEN[value] if field.endswith("activation") else value
    written["pad_token_id"] = None  # a class's own may be beyond the embedding's rows
    if a.position_offset:
        written["max_position_embeddings"] = a.max_length + a.position_offset
        written["pad_token_id"] = a.position_offset - 1
    written |= {name: getattr(a, field) for field, name in family.flags.items()}
    for field, name in family.numbers.items():
        value = getattr(a, field)
        written[name] = int(value) if field == "query_scalar" and value and float(value).is_integer() else value
    if a.family == "gpt_neox":
        written["use_parallel_residual"] = a.residual == "parallel"
    return written | _written_views(a, family)


def small_config(kind: str) -> dict[str, Any]:
    """The config.json of a model of some thousand parameters.

    Args:
      kind: ``model_type``.

    Raises:
      KeyError: another.
    """
    return {"model_type": kind, **FAMILIES[kind].small}


def tiny(family: str, **changes: Any) -> Architecture:
    """A transformer of a few thousand parameters, for examples and tests.

    Formal guarantees: an architecture holds no data; the sizes are constants.

    Args:
      family: ``model_type`` of one that dpjax builds, such as ``"bert"``, ``"gpt2"`` or ``"llama"``.
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
    return replace(from_hub_config(small_config(family)), **changes)


def _unknown(kind: object) -> str:
    known = ", ".join(sorted(FAMILIES))
    if isinstance(kind, str) and kind in REFUSED:
        return f"model_type is {shown(kind)}, which dpjax does not build: {REFUSED[kind]}; it builds {known}."
    near = difflib.get_close_matches(kind, FAMILIES, 1, 0.5) if isinstance(kind, str) else []
    nearest = f"the nearest that dpjax builds is {near[0]!r}" if near else "dpjax does not build it"
    return f"model_type is {shown(kind)}, and {nearest}; take a checkpoint of one of {known}."


def _read(kind: str, family: Family, config: Mapping[str, Any]) -> Architecture:
    names = NAMES | dict(family.names)
    width, heads = size(config, names["width"]), size(config, names["num_heads"])
    read: dict[str, Any] = {"family": kind, "width": width, "num_heads": heads, **family.constants}
    for field in ("vocab_size", "num_layers", "max_length"):
        read[field] = size(config, names[field])
    if "num_kv_heads" in names:
        read["num_kv_heads"] = size(config, "num_key_value_heads", heads, nullable=True)
        read["head_width"] = size(config, "head_dim", max(width // heads, 1), nullable=True)
    else:
        read["num_kv_heads"] = heads
        read["head_width"] = divided(config, names["width"], names["num_heads"])
    inner = {"usual": min(4 * width, LARGEST), "nullable": True} if kind == "gpt2" else {}
    read["hidden_width"] = size(config, names["hidden_width"], **inner)
    if "norm_epsilon" in names:
        read["norm_epsilon"] = positive(config, names["norm_epsilon"], 1e-5, below=1)
    read["activation"] = _activation(config, names["activation"])
    if "head_activation" in names:
        read["head_activation"] = _activation(config, names["head_activation"])
    if kind in ("bert", "distilbert"):
        read["head_activation"] = read["activation"]
    if "num_segments" in names:
        read["num_segments"] = size(config, names["num_segments"])
    read |= {field: switch(config, name, True) for field, name in family.flags.items()}
    for field, name in family.numbers.items():
        read[field] = None if config.get(name) is None else positive(config, name, 1.0)
    if "norm_offset" in family.constants:
        read["embedding_scale"] = math.sqrt(width)
    if kind == "gpt_neox":
        read["residual"] = "parallel" if switch(config, "use_parallel_residual", True) else "pre"
    if "pad_token_id" in family.usual:
        read |= _counted_from(config, read["max_length"])
    read["views"] = _views(config, family, read)
    read["tied"] = switch(config, "tie_word_embeddings", True)
    return Architecture(**read)


def _counted_from(config: Mapping[str, Any], rows: int) -> dict[str, int]:
    """RoBERTa's positions: the first token of a text stands behind the padding's id."""
    padding = config.get("pad_token_id")
    if isinstance(padding, bool) or not isinstance(padding, int) or not 0 <= padding < rows - 1:
        raise ArchitectureError(
            f"pad_token_id is {shown(padding)}, but positions are counted from it in {rows} rows; take the whole "
            "checkpoint."
        )
    return {"position_offset": padding + 1, "max_length": rows - padding - 1}


def _views(config: Mapping[str, Any], family: Family, read: Mapping[str, Any]) -> tuple[View, ...]:
    """What each layer sees, as often as it repeats."""
    if family.rope is None:
        return (View(),)
    layers = read["num_layers"]
    if layers > 10_000:  # no layer is without a tensor, which is said elsewhere; absurd numbers are not counted up to
        return (View(),)
    ropes = {
        kind: read_rope(config, kind, family.rope, read["head_width"], read["max_length"]) for kind in (FULL, SLIDING)
    }
    window = _window(config, family)
    near = _near(config, family, layers, window)
    turned = _turned_layers(config, family, layers)
    views = [
        View(window if is_near else None, ropes[SLIDING if is_near else FULL] if turns else None)
        for is_near, turns in zip(near, turned, strict=True)
    ]
    return next(
        tuple(views[:period])
        for period in range(1, layers + 1)
        if all(view == views[i % period] for i, view in enumerate(views))
    )


def _window(config: Mapping[str, Any], family: Family) -> int | None:
    """Tokens at a distance below it are seen."""
    name, both_sides = family.window
    if family.windows in ("none", "unturned") or config.get(name) is None:
        return None
    if family.windows == "late" and not switch(config, "use_sliding_window", False):
        return None
    tokens = size(config, name)
    return tokens // 2 + 1 if both_sides else tokens


def _near(config: Mapping[str, Any], family: Family, layers: int, window: int | None) -> list[bool]:
    """Whether each layer has a window."""
    listed = config.get("layer_types")
    if listed is not None and family.windows not in ("none", "all"):
        if not isinstance(listed, list) or len(listed) != layers or any(each not in (FULL, SLIDING) for each in listed):
            raise ArchitectureError(
                f"layer_types is {shown(listed)}, but must say {FULL} or {SLIDING} for each of the {layers} layers; "
                "take the whole checkpoint."
            )
        if SLIDING in listed and window is None:
            raise ArchitectureError(
                f"layer_types has {SLIDING}, but {family.window[0]} gives it no window; take the whole checkpoint."
            )
        return [each == SLIDING for each in listed]
    if window is None:
        return [False] * layers
    if family.windows == "late":
        first = config.get("max_window_layers")
        if isinstance(first, bool) or not isinstance(first, int) or first < 0:
            raise ArchitectureError(
                f"max_window_layers is {shown(first)}, but must be a whole number; take the whole checkpoint."
            )
        return [layer >= first for layer in range(layers)]
    if family.windows == "alternate":
        period, first = _period(config, family), family.period[2]
        return [bool((layer if first else layer + 1) % period) for layer in range(layers)]
    return [True] * layers


def _turned_layers(config: Mapping[str, Any], family: Family, layers: int) -> list[bool]:
    """Whether each layer has rotary positions."""
    if family.windows != "unturned":
        return [True] * layers
    listed = config.get("no_rope_layers")
    if listed is None:
        period = _period(config, family)
        return [(layer + 1) % period != 0 for layer in range(layers)]
    if not isinstance(listed, list) or len(listed) != layers or any(each not in (0, 1) for each in listed):
        raise ArchitectureError(
            f"no_rope_layers is {shown(listed)}, but must say 0 or 1 for each of the {layers} layers; take the whole "
            "checkpoint."
        )
    return [bool(each) for each in listed]


def _period(config: Mapping[str, Any], family: Family) -> int:
    name, usual, _ = family.period
    return size(config, name, usual) if name else usual


def _written_views(a: Architecture, family: Family) -> dict[str, Any]:
    if family.rope is None:
        return {}
    views = [a.view(layer) for layer in range(a.num_layers)]
    full = [view for view in views if view.window is None]
    near = [view for view in views if view.window is not None]
    wholes: list[Rope] = [view.rope for view in (full or near) if view.rope is not None]
    written = write_rope(wholes[0], family.rope, a.head_width) if wholes else {}
    if near and family.rope.local is not None and near[0].rope is not None:
        written |= write_rope(near[0].rope, family.rope, a.head_width, local=True)
    if family.windows == "unturned":
        return written | {"no_rope_layers": [int(view.rope is not None) for view in views]}
    if family.windows == "none":
        return written
    name, both_sides = family.window
    window = near[0].window if near else None
    if family.windows == "all":
        return written | {name: window}
    if family.windows == "late":
        written["use_sliding_window"] = window is not None
    if window is not None:
        written[name] = 2 * (window - 1) if both_sides else window
    return written | {"layer_types": [SLIDING if view.window is not None else FULL for view in views]}


def _activation(config: Mapping[str, Any], field: str) -> Activation:
    name = config[field]
    if not isinstance(name, str) or name not in _ACTIVATIONS:
        raise ArchitectureError(
            f"{field} is {shown(name)}, but dpjax has {', '.join(_ACTIVATIONS)}; take another checkpoint."
        )
    return _ACTIVATIONS[name]
