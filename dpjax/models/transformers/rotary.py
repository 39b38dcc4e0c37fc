"""Rotary positions: the rates at which pairs of a head's channels turn, plain or stretched for longer texts."""

import math
from dataclasses import dataclass
from typing import Literal

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from dpjax.models.transformers.config_fields import ArchitectureError

Stretch = Literal["default", "linear", "dynamic", "llama3", "yarn", "longrope"]


@dataclass(frozen=True)
class Rope:
    """How the channels of a head turn with a token's position.

    Attributes:
      base: the slowest pair turns about ``1 / base`` of a radian per token.
      turned: channels of a head that turn, the first ones; the rest stand still. None: all.
      stretch: how the rates are lowered for texts longer than the model was first trained on; the further fields are
        of the kinds that name them.
      factor: by how much: linear, dynamic, llama3, yarn.
      trained: longest texts of the first training, in tokens: all but linear.
      low, high: pairs that turn fewer than ``low`` times in ``trained`` tokens are lowered, those with more than
        ``high`` are left: llama3 (between them smoothly).
      slow, fast: the same for yarn, between them linearly.
      truncated: whether yarn's two bounds are whole numbers of pairs.
      loudness: cosines and sines are multiplied by it: yarn and longrope.
      short, long: each pair's own factor, for texts up to ``trained`` tokens and beyond: longrope.

    References:
      Su et al., RoFormer, 2021 (https://arxiv.org/abs/2104.09864); Peng et al., YaRN, 2023
      (https://arxiv.org/abs/2309.00071); Ding et al., LongRoPE, 2024 (https://arxiv.org/abs/2402.13753).
    """

    base: float = 10_000.0
    turned: int | None = None
    stretch: Stretch = "default"
    factor: float = 1.0
    trained: int = 0
    low: float = 1.0
    high: float = 4.0
    slow: float = 1.0
    fast: float = 32.0
    truncated: bool = True
    loudness: float = 1.0
    short: tuple[float, ...] = ()
    long: tuple[float, ...] = ()

    def width(self, head_width: int) -> int:
        """Channels that turn in a head of so many."""
        return head_width if self.turned is None else self.turned


def check_rope(rope: Rope, head_width: int) -> None:
    """Raises where pairs cannot be formed, or factors are not one for each pair.

    Args:
      rope: of an architecture.
      head_width: of its heads.

    Raises:
      ArchitectureError: naming the field.

    Example:
      >>> check_rope(Rope(), 4)
      >>> check_rope(Rope(turned=6), 4)
      Traceback (most recent call last):
      dpjax.models.transformers.config_fields.ArchitectureError: rotary positions turn 6 of 4 channels in pairs; \
partial_rotary_factor must leave an even number from 2 to head_width.
    """
    width = rope.width(head_width)
    if width % 2 or not 2 <= width <= head_width:
        raise ArchitectureError(
            f"rotary positions turn {width} of {head_width} channels in pairs; partial_rotary_factor must leave an "
            "even number from 2 to head_width."
        )
    for name, factors in (("short_factor", rope.short), ("long_factor", rope.long)):
        if rope.stretch == "longrope" and len(factors) != width // 2:
            raise ArchitectureError(
                f"{name} has {len(factors)} numbers, but must have one for each of the {width // 2} pairs that turn; "
                "take the whole checkpoint."
            )
    if rope.stretch == "dynamic" and width < 4:
        raise ArchitectureError("rope_type is 'dynamic', which needs at least two pairs that turn; take another head.")


def rates_of(rope: Rope, head_width: int, length: int | Int[Array, ""]) -> Float[Array, "pairs"]:
    """Radians per token of each pair, float32.

    Args:
      rope: how they turn.
      head_width: channels of a head.
      length: tokens of the text, which dynamic and longrope depend on.

    Returns:
      ``[pairs]``.

    Example:
      >>> rates_of(Rope(base=100.0), 4, 8).tolist()
      [1.0, 0.10000000149011612]
      >>> rates_of(Rope(base=100.0, stretch="linear", factor=2.0), 4, 8).tolist()
      [0.5, 0.05000000074505806]
    """
    width = rope.width(head_width)
    exponents = np.arange(0, width, 2, dtype=np.float32) / np.float32(width)
    waves = np.float32(rope.base) ** exponents
    match rope.stretch:
        case "default":
            return jnp.asarray(1 / waves)
        case "linear":
            return jnp.asarray(1 / waves / np.float32(rope.factor))
        case "llama3":
            return jnp.asarray(_smooth(1 / waves, rope))
        case "yarn":
            return jnp.asarray(_ramped(waves, rope, width))
        case "dynamic":
            beyond = jnp.maximum(jnp.asarray(length, jnp.float32), rope.trained) / rope.trained
            base = rope.base * (rope.factor * beyond - (rope.factor - 1)) ** (width / (width - 2))
            return 1 / base**exponents
        case "longrope":
            factors = jnp.where(jnp.asarray(length) > rope.trained, jnp.asarray(rope.long), jnp.asarray(rope.short))
            return 1 / (factors.astype(jnp.float32) * waves)


def rotation_of(
    positions: Int[Array, "tokens"], rope: Rope, head_width: int, length: int | Int[Array, ""] = 0
) -> tuple[Float[Array, "tokens pairs"], Float[Array, "tokens pairs"]]:
    """Cosines and sines of the positions' angles, float32.

    Args:
      positions: ``[tokens]``.
      rope: how they turn.
      head_width: channels of a head.
      length: tokens of the text.
    """
    angles = positions.astype(jnp.float32)[:, None] * rates_of(rope, head_width, length)[None, :]
    return jnp.cos(angles) * rope.loudness, jnp.sin(angles) * rope.loudness


def rotate(x: Float[Array, "tokens heads head"], rotation: tuple[Array, Array]) -> Float[Array, "tokens heads head"]:
    """Turns the pairs (i, i + turned/2) of every head by their positions' angles; channels beyond them stay."""
    cosine, sine = (part[:, None, :] for part in rotation)
    width = 2 * cosine.shape[-1]
    whole = x.astype(jnp.float32)
    first, second = jnp.split(whole[..., :width], 2, axis=-1)
    parts = [first * cosine - second * sine, second * cosine + first * sine]
    if width < x.shape[-1]:
        parts.append(whole[..., width:])
    return jnp.concatenate(parts, axis=-1).astype(x.dtype)


def loudness_of_yarn(factor: float, over: float = 0.0, under: float = 0.0) -> float:
    """What yarn multiplies cosines and sines by where a checkpoint does not say.

    Args:
      factor: by how much texts are stretched.
      over, under: ``mscale`` and ``mscale_all_dim``; 0: not given.
    """

    def one(scale: float) -> float:
        return 1.0 if factor <= 1 else 0.1 * scale * math.log(factor) + 1.0

    return one(over) / one(under) if over and under else one(1.0)


def _smooth(rates: np.ndarray, rope: Rope) -> np.ndarray:
    """Llama 3's: by how often a pair turns in a text of the first training."""
    turns = rope.trained * rates / (2 * math.pi)
    kept = (turns - rope.low) / (rope.high - rope.low)
    between = (1 - kept) * rates / rope.factor + kept * rates
    slow = np.where(turns < rope.low, rates / rope.factor, between)
    return np.where(turns > rope.high, rates, slow).astype(np.float32)


def _ramped(waves: np.ndarray, rope: Rope, width: int) -> np.ndarray:
    """YaRN's: linearly from pair to pair."""

    def pair(turns: float) -> float:
        return width * math.log(rope.trained / (turns * 2 * math.pi)) / (2 * math.log(rope.base))

    first, last = pair(rope.fast), pair(rope.slow)
    if rope.truncated:
        first, last = math.floor(first), math.ceil(last)
    first, last = max(first, 0), min(last, width - 1)
    ramp = np.clip((np.arange(width // 2, dtype=np.float32) - first) / (last - first or 0.001), 0, 1)
    return ((ramp / rope.factor + (1 - ramp)) / waves).astype(np.float32)
