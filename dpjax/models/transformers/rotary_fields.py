"""What a config.json says of rotary positions, wherever its writer put it, read into ``Rope`` and written back."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_args

from dpjax.models.transformers.config_fields import ArchitectureError, positive, shown, size, switch
from dpjax.models.transformers.rotary import Rope, Stretch, loudness_of_yarn

FULL, SLIDING = "full_attention", "sliding_attention"
"""Names that ``transformers`` gives the kinds of layers."""

_WHERE = "rope_parameters", "rope_scaling"
_KNOWN = {
    *("rope_type", "type", "rope_theta", "partial_rotary_factor", "factor", "original_max_position_embeddings"),
    *("attention_factor", "low_freq_factor", "high_freq_factor", "beta_fast", "beta_slow", "truncate"),
    *("mscale", "mscale_all_dim", "short_factor", "long_factor"),
}


@dataclass(frozen=True)
class RopeFields:
    """Where a family's config.json keeps its rotary positions.

    Attributes:
      base: field of the base.
      usual: base where there is none.
      share: field of the share of a head's channels that turn; None: all of them do.
      usual_share: share where there is none.
      local: field of the base of layers with a window; None: that of all layers.
      usual_local: base of these where there is none.
      local_stretched: whether ``rope_scaling`` is about them too.
      aliases: names of stretches that mean another one here.
      apart: whether ``original_max_position_embeddings`` stands outside the settings, and above what they say.
    """

    base: str = "rope_theta"
    usual: float = 10_000.0
    share: str | None = None
    usual_share: float = 1.0
    local: str | None = None
    usual_local: float = 10_000.0
    local_stretched: bool = False
    aliases: Mapping[str, str] | None = None
    apart: bool = False


def read_rope(config: Mapping[str, Any], kind: str, fields: RopeFields, head_width: int, max_length: int) -> Rope:
    """Rotary positions of one kind of layers.

    Formal guarantees: nothing that changes an angle is passed over: a setting that is not computed is refused, and so
    are two that contradict each other.

    Args:
      config: contents of config.json.
      kind: ``FULL`` or ``SLIDING``.
      fields: where this family keeps them.
      head_width: channels of a head.
      max_length: tokens that the model reads.

    Raises:
      ArchitectureError: naming the field.
    """
    local = kind == SLIDING and fields.local is not None
    field = fields.local if local and fields.local else fields.base
    said = _said(config, kind, local and not fields.local_stretched)
    names = (field,) if local else (field, "rope_theta")
    bases = {name: config[name] for name in names if config.get(name) is not None}
    if said.get("rope_theta") is not None:
        bases["rope_theta of its rope parameters"] = said["rope_theta"]
    usual = fields.usual_local if local else fields.usual
    base = _agreed({name: positive({name: value}, name, usual) for name, value in bases.items()}, usual)
    turned = _turned(config, said, fields, head_width)
    stretch = said.get("rope_type", "default")
    stretch = (fields.aliases or {}).get(stretch, stretch) if isinstance(stretch, str) else stretch
    if not isinstance(stretch, str) or stretch not in get_args(Stretch):
        raise ArchitectureError(
            f"rope_type is {shown(stretch)}, but dpjax computes {', '.join(get_args(Stretch))}; take another "
            "checkpoint."
        )
    return Rope(base, turned, **_settings(config, said, stretch, max_length))  # pyright: ignore[reportArgumentType]


def write_rope(rope: Rope, fields: RopeFields, head_width: int, local: bool = False) -> dict[str, Any]:
    """Fields of config.json that ``read_rope`` reads the same from.

    Args:
      rope: of one kind of layers.
      fields: where this family keeps them.
      head_width: channels of a head.
      local: whether it is that of layers with a window, beside another of the whole.
    """
    written: dict[str, Any] = {fields.local if local and fields.local else fields.base: rope.base}
    if fields.share is not None:
        written[fields.share] = rope.width(head_width) / head_width
    if rope.stretch == "default" or (local and not fields.local_stretched):
        return written
    said: dict[str, Any] = {"rope_type": rope.stretch, "factor": rope.factor}
    if rope.stretch in ("llama3", "yarn", "longrope"):
        (written if fields.apart else said)["original_max_position_embeddings"] = rope.trained
    if rope.stretch == "llama3":
        said |= {"low_freq_factor": rope.low, "high_freq_factor": rope.high}
    if rope.stretch == "yarn":
        said |= {"beta_slow": rope.slow, "beta_fast": rope.fast, "truncate": rope.truncated}
    if rope.stretch == "longrope":
        said |= {"short_factor": list(rope.short), "long_factor": list(rope.long)}
    if rope.stretch in ("yarn", "longrope"):
        said["attention_factor"] = rope.loudness
    return written | {"rope_scaling": said}


def _said(config: Mapping[str, Any], kind: str, plain: bool) -> dict[str, Any]:
    """What the two objects say of one kind, as one."""
    merged: dict[str, Any] = {}
    for field in _WHERE:
        rope = config.get(field)
        if rope is None:
            continue
        if not isinstance(rope, Mapping):
            raise ArchitectureError(
                f"{field} is {shown(rope)}, but must be an object or null; take another checkpoint."
            )
        nested = [name for name, value in rope.items() if isinstance(value, Mapping)]
        if nested:
            if set(rope) - {FULL, SLIDING} or len(nested) != sum(value is not None for value in rope.values()):
                raise ArchitectureError(
                    f"{field} is {shown(dict(rope))}, but must have an object for {FULL} and for {SLIDING}; take the "
                    "whole checkpoint."
                )
            rope = rope.get(kind) or {}
        elif plain and field == "rope_scaling":
            continue
        for name, value in rope.items():
            if value is None:
                continue
            if name not in _KNOWN:
                raise ArchitectureError(
                    f"{field} is {shown(dict(rope))}, of which dpjax does not compute {name}; take another checkpoint."
                )
            name = "rope_type" if name == "type" else name
            if name in merged and merged[name] != value:
                raise ArchitectureError(
                    f"{field} says {name}={shown(value)} and {shown(merged[name])}, which contradict each other; keep "
                    "the one that the checkpoint was trained with."
                )
            merged[name] = value
    return merged


def _turned(config: Mapping[str, Any], said: Mapping[str, Any], fields: RopeFields, head_width: int) -> int | None:
    names = dict.fromkeys(("partial_rotary_factor", fields.share or "partial_rotary_factor"))
    shares = {name: config[name] for name in names if config.get(name) is not None}
    if said.get("partial_rotary_factor") is not None:
        shares["partial_rotary_factor of its rope parameters"] = said["partial_rotary_factor"]
    usual = fields.usual_share
    share = _agreed({name: positive({name: value}, name, usual) for name, value in shares.items()}, usual)
    if share > 1 or (share != 1 and fields.share is None):
        raise ArchitectureError(
            f"{next(iter(shares))} is {share:g}, but a head of this family turns whole; take another checkpoint."
        )
    return None if share == 1 else int(head_width * share)


def _agreed(values: Mapping[str, float], usual: float) -> float:
    if len(set(values.values())) > 1:
        both = " and ".join(f"{name}={value:g}" for name, value in values.items())
        raise ArchitectureError(f"{both} contradict each other; keep the one that the checkpoint was trained with.")
    return next(iter(values.values()), usual)


def _settings(config: Mapping[str, Any], said: Mapping[str, Any], stretch: str, max_length: int) -> dict[str, Any]:
    """Fields of ``Rope`` beyond base and share."""
    if stretch == "default":
        for name in ("factor", "attention_factor"):
            if said.get(name, 1) != 1:
                raise ArchitectureError(
                    f"{name} is {shown(said[name])} where rope_type is 'default', which has none; say which kind of "
                    "rope scaling it is."
                )
        return {}
    read: dict[str, Any] = {"stretch": stretch}
    outer = {name: config[name] for name in ("original_max_position_embeddings",) if config.get(name) is not None}
    trained = size(dict(said) | outer, "original_max_position_embeddings", max_length)
    ratio = max_length / trained
    if stretch in ("yarn", "longrope") and said.get("factor") is None:
        factor = ratio if ratio > 0 else 1.0
    else:
        if "factor" not in said:
            raise ArchitectureError(f"rope scaling of rope_type {stretch!r} has no factor; take the whole checkpoint.")
        factor = positive(said, "factor", 1.0)
    read["factor"] = factor
    if stretch == "dynamic":
        read["trained"] = max_length
    elif stretch != "linear":
        read["trained"] = trained
    if stretch == "llama3":
        read |= {"low": positive(said, "low_freq_factor", 1.0), "high": positive(said, "high_freq_factor", 4.0)}
        if read["high"] <= read["low"]:
            raise ArchitectureError(
                f"high_freq_factor is {read['high']:g}, but must be above low_freq_factor={read['low']:g}; take the "
                "whole checkpoint."
            )
    if stretch == "yarn":
        read |= {"slow": positive(said, "beta_slow", 1.0), "fast": positive(said, "beta_fast", 32.0)}
        read["truncated"] = switch(said, "truncate", True)
        over, under = (positive(said, name, 1.0) if said.get(name) else 0.0 for name in ("mscale", "mscale_all_dim"))
        usual = loudness_of_yarn(factor, over, under) if over and under else loudness_of_yarn(factor)
        read["loudness"] = positive(said, "attention_factor", usual)
    if stretch == "longrope":
        read |= {"short": _factors(said, "short_factor"), "long": _factors(said, "long_factor")}
        usual = 1.0 if factor <= 1 or trained < 2 else math.sqrt(1 + math.log(factor) / math.log(trained))
        read["loudness"] = positive(said, "attention_factor", usual)
    return read


def _factors(said: Mapping[str, Any], name: str) -> tuple[float, ...]:
    listed = said.get(name)
    if not isinstance(listed, list) or not listed:
        raise ArchitectureError(f"{name} is {shown(listed)}, but must be a list of numbers; take the whole checkpoint.")
    return tuple(positive({name: value}, name, 1.0) for value in listed)
