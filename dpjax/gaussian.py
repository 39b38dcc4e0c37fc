"""Standard normal samples in one fused loop: those of ``jax.random.normal``, faster on CPUs."""

import math
from collections.abc import Iterable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key, UInt

_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
_PARITY = 0x1BD11BDA
_NARROW = 32
"""Rows shorter than this are drawn flat: a CPU's vector units run along the last axis."""
_TOGETHER = 2**18
"""Numbers of a draw that arrays share, which is written and read again: 1 MiB, which stays in a core's cache."""
_ALONE = 2**17
"""Arrays of as many numbers have a draw of their own, fused with what it is added to."""


@partial(jax.jit, static_argnames=("shape", "dtype"), inline=True)
def standard_normal(
    key: Key[Array, ""], shape: tuple[int, ...], dtype: jax.typing.DTypeLike = jnp.float32
) -> Float[Array, "..."]:
    """Independent samples of N(0, 1): those of ``jax.random.normal(key, shape, dtype)``, to rounding.

    JAX compiles the rounds of its generator to a loop of passes over memory on CPUs; here they are unrolled, so that
    XLA fuses counter, rounds and inverse error function into one pass. Every sample depends on its own index only:
    a sharded result is drawn where it lies. Keys of another generator than Threefry, other dtypes than float32 and
    shapes of 2³² samples or more go to ``jax.random.normal``.

    Args:
      key: scalar typed key.
      shape: of the result.
      dtype: of the result, floating.

    Example:
      >>> import jax
      >>> key = jax.random.key(0)
      >>> bool(jax.numpy.allclose(standard_normal(key, (3, 5)), jax.random.normal(key, (3, 5)), rtol=1e-6))
      True

    References:
      Salmon et al., Parallel Random Numbers: As Easy as 1, 2, 3, 2011 (https://doi.org/10.1145/2063384.2063405).
    """
    size = math.prod(shape)
    known = str(jax.random.key_impl(key)) == "threefry2x32" and jax.config.jax_threefry_partitionable
    if not known or jnp.dtype(dtype) != jnp.float32 or not 0 < size < 2**32:
        return jax.random.normal(key, shape, dtype)
    flat = len(shape) > 1 and shape[-1] < _NARROW
    counter = _counter((size,) if flat else shape)
    high, low = threefry(jax.random.key_data(key), jnp.zeros_like(counter), counter)
    samples = _from_bits(high ^ low)
    return jax.lax.optimization_barrier(samples).reshape(shape) if flat else samples


def add_normal(key: Key[Array, ""], leaves: list[Array], stddevs: list[Array]) -> list[Array]:
    """Arrays plus independent normal samples, at the price of compiling few generators.

    XLA compiles a fused generator in about the time of a small network. Small arrays share draws, of which each is a
    part; a large one has a draw of its own, which needs no memory and lies where the array does. XLA's CPU backend
    compiles equal loops once: so what tells arrays of one shape apart, which key and where in a draw, is an operand.

    Args:
      key: scalar typed key, used for nothing else.
      leaves: floating arrays of at least 32 bits.
      stddevs: for each of them a scalar of its dtype.
    """
    draws = _draws([leaf.size if leaf.dtype == jnp.float32 else _ALONE for leaf in leaves])
    keys = jax.random.split(key, len(draws))
    noisy = list(leaves)
    for places, number in zip(draws, _operands(range(len(draws))), strict=True):
        own_key = jax.lax.dynamic_index_in_dim(keys, number, keepdims=False, allow_negative_indices=False)
        if len(places) == 1:
            leaf = leaves[places[0]]
            samples = [standard_normal(own_key, leaf.shape, leaf.dtype)]
        else:
            samples = _parts(own_key, [leaves[place].shape for place in places])
        for place, sample in zip(places, samples, strict=True):
            noisy[place] = leaves[place] + stddevs[place] * sample
    return noisy


def _draws(sizes: list[int]) -> list[list[int]]:
    """Which arrays, by their places, share a draw."""
    draws: list[list[int]] = []
    shared: list[int] = []
    room = 0
    for place, size in enumerate(sizes):
        if size >= _ALONE:
            draws.append([place])
            continue
        if size > room or not shared:
            shared, room = [], _TOGETHER
            draws.append(shared)
        shared.append(place)
        room -= size
    return draws


def _parts(key: Key[Array, ""], shapes: list[tuple[int, ...]]) -> list[Array]:
    """Consecutive parts of one draw."""
    ends = np.cumsum([math.prod(shape) for shape in shapes]).tolist()
    # The barrier keeps XLA from drawing anew in each part.
    together = jax.lax.optimization_barrier(standard_normal(key, (ends[-1],)))
    return [
        jax.lax.dynamic_slice_in_dim(together, start, math.prod(shape), allow_negative_indices=False).reshape(shape)
        for start, shape in zip(_operands([0, *ends[:-1]]), shapes, strict=True)
    ]


def _operands(numbers: Iterable[int]) -> list[Int[Array, ""]]:
    """Numbers that XLA does not see, so that it takes them for operands of one loop and not for several loops."""
    return jax.lax.optimization_barrier([jnp.int32(number) for number in numbers])


def _counter(shape: tuple[int, ...]) -> UInt[Array, "..."]:
    """Each entry's index in the flat result, computed from the indices along the axes: nothing to gather."""
    counter = jnp.zeros(shape, jnp.uint32)
    for axis in range(len(shape)):
        stride = jnp.uint32(math.prod(shape[axis + 1 :]))
        counter += jax.lax.broadcasted_iota(jnp.uint32, shape, axis) * stride
    return counter


def threefry(
    key: UInt[Array, "2"], first: UInt[Array, "*shape"], second: UInt[Array, "*shape"]
) -> tuple[UInt[Array, "*shape"], UInt[Array, "*shape"]]:
    """Threefry-2x32 with 20 rounds: two words per counter, in one fused loop."""
    words = (key[0], key[1], key[0] ^ key[1] ^ jnp.uint32(_PARITY))
    first, second = first + words[0], second + words[1]
    for group in range(5):
        for rotation in _ROTATIONS[group % 2]:
            first = first + second
            rotated = (second << jnp.uint32(rotation)) | (second >> jnp.uint32(32 - rotation))
            second = first ^ rotated
        first = first + words[(group + 1) % 3]
        second = second + words[(group + 2) % 3] + jnp.uint32(group + 1)
    return first, second


def _from_bits(bits: UInt[Array, "*shape"]) -> Float[Array, "*shape"]:
    """The upper 23 bits as a uniform number in (-1, 1), through the inverse error function."""
    below_one = np.nextafter(np.float32(-1), np.float32(0))
    one_to_two = jax.lax.bitcast_convert_type((bits >> jnp.uint32(9)) | jnp.uint32(0x3F800000), jnp.float32)
    uniform = (one_to_two - jnp.float32(1)) * (jnp.float32(1) - below_one) + below_one
    return jnp.float32(np.sqrt(2)) * jax.lax.erf_inv(jnp.maximum(below_one, uniform))
