"""From floating-point vectors to integers of bounded norm, without bias, and how coarse they may be."""

import math
from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from dpjax.federated.aggregation.messages import Round, clipped_rows
from dpjax.federated.side_keys import Purpose, side_key
from dpjax.gaussian import threefry
from dpjax.ranges import RING_BITS
from dpjax.types import Cohort

_ATTEMPTS = 8


def inner_fraction(levels: int, size: int) -> float:
    """Which part of the clip norm a vector may fill so that it keeps the bound once it is rounded.

    Rounding to a grid of step γ = clip norm / ``levels`` adds at most γ c + γ² (d/4 + √d / 2) to the square of a norm
    c, except with chance exp(-1/2), in which case it is done again.

    Args:
      levels: grid steps in a clip norm.
      size: coordinates d.

    Raises:
      ValueError: a grid so coarse that rounding alone fills the bound.

    Example:
      >>> round(inner_fraction(2**16, 10_000), 5), round(inner_fraction(200, 10_000), 3)
      (0.99999, 0.965)

    References:
      Kairouz, Liu & Steinke, The Distributed Discrete Gaussian Mechanism, 2021, section 4
      (https://arxiv.org/abs/2102.06387).
    """
    room = 1 - (size / 4 + math.sqrt(size) / 2) / levels**2
    fraction = (math.sqrt(max(1 / levels**2 + 4 * room, 0)) - 1 / levels) / 2
    if room <= 0 or fraction <= 0:
        raise ValueError(
            f"levels={levels} are too few for {size} coordinates: rounding alone would fill the clip norm; take at "
            f"least {math.ceil(math.sqrt(size))}, with more bits if the ring is too small for them."
        )
    return fraction


def messages_on_grid(this: Round, cohort: Cohort, levels: int) -> Int[Array, "slots size"]:
    """Each client's message bounded, in whole steps of clip norm / ``levels``; of a norm up to that."""
    rows = clipped_rows(this, cohort, inner_fraction(levels, this.size))
    keys = jax.random.split(side_key(this.key, Purpose.ROUNDING), len(rows))
    return jax.vmap(partial(stochastic_round, levels=levels))(rows * (levels / this.clip_norm), keys)


def stochastic_round(vector: Float[Array, "size"], key: Key[Array, ""], levels: int) -> Int[Array, "size"]:
    """Rounds each coordinate up or down at random, so that its mean stays, and the norm within ``levels``.

    Formal guarantees: the result's L2 norm is at most ``levels`` (up to float32 rounding, relative 1e-6). A draw that
    breaks the bound is made again; after eight of them the vector is rounded towards zero, which can't.

    Args:
      vector: in units of the grid's step; its norm at most ``inner_fraction(levels, size) × levels``.
      key: of the draws.
      levels: bound on the norm; at most 2²², beyond which float32 has no room for fractions.

    Example:
      >>> rounded = stochastic_round(jnp.full(100, 2.5), jax.random.key(0), 30)
      >>> sorted(set(rounded.tolist())), bool(jnp.linalg.norm(rounded.astype(jnp.float32)) <= 30)
      ([2, 3], True)
    """
    low = jnp.floor(vector)

    def fits(rounded: Array) -> Array:
        return jnp.sum(jnp.square(rounded)) <= float(levels) ** 2

    def again(carry: tuple[Array, Array]) -> Array:
        attempt, rounded = carry
        return (attempt < _ATTEMPTS) & ~fits(rounded)

    def draw(carry: tuple[Array, Array]) -> tuple[Array, Array]:
        attempt, _ = carry
        up = fair_uniform(jax.random.fold_in(key, attempt), vector.shape[0]) < vector - low
        return attempt + 1, low + up.astype(vector.dtype)

    _, rounded = jax.lax.while_loop(again, draw, draw((jnp.int32(0), vector)))
    return jnp.where(fits(rounded), rounded, jnp.trunc(vector)).astype(jnp.int32)


def fair_uniform(key: Key[Array, ""], size: int) -> Float[Array, "size"]:
    """Independent uniform numbers in [0, 1) with 24 bits each, in one fused loop.

    Example:
      >>> bool(abs(fair_uniform(jax.random.key(0), 10_000).mean() - 0.5) < 0.01)
      True
    """
    counter = jnp.arange(size, dtype=jnp.uint32)
    high, low = threefry(jax.random.key_data(key), jnp.zeros_like(counter), counter)
    return ((high ^ low) >> jnp.uint32(8)).astype(jnp.float32) * jnp.float32(2.0**-24)


def safe_levels(bits: int, clients: int, reserved: int = 0) -> int:
    """The most grid steps in a clip norm with which a sum over ``clients`` can't wrap around.

    Args:
      bits: width of the ring.
      clients: of a cohort.
      reserved: bits of it that are left to noise.

    Raises:
      ValueError: ``bits`` out of range, or a ring too small for so many clients.

    Example:
      >>> safe_levels(16, 100), safe_levels(32, 100)
      (327, 4194304)
    """
    bits = RING_BITS.known("bits", bits)
    levels = min((2 ** (bits - reserved - 1) - 1) // clients, 2**22) if bits - reserved >= 2 else 0
    if levels < 1:
        left = ", half of them for noise" if reserved else ""
        raise ValueError(
            f"bits={bits} are too few for a cohort of {clients} clients: the ring holds {2**bits} numbers{left}; take "
            f"at least {math.ceil(math.log2(clients + 1)) + 2 + reserved} bits."
        )
    return levels
