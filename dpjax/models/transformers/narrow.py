"""Frozen matrices in few bits, widened where they are multiplied and nowhere else."""

from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int8, UInt8

Narrow = Literal["float32", "bfloat16", "float16", "int8", "nf4"]
"""How a frozen matrix is stored."""

NARROW: tuple[str, ...] = get_args(Narrow)

FEW_BITS = ("int8", "nf4")
"""Those with a scale for each block."""

BLOCK = 64
"""Rows that share a scale, in each column."""


class Int8Matrix(NamedTuple):
    """``codes · scales``, 8 bits a number.

    Attributes:
      codes: ``[*layers, rows, columns]``, from −127 to 127; rows filled up to whole blocks.
      scales: ``[*layers, blocks, columns]``, float32: a block's largest size / 127.
    """

    codes: Int8[Array | np.ndarray, "*layers rows columns"]
    scales: Float[Array | np.ndarray, "*layers blocks columns"]


class Nf4Matrix(NamedTuple):
    """``LEVELS[codes] · scales``, 4 bits a number.

    Attributes:
      codes: ``[*layers, rows / 2, columns]``: the first half of the rows in the low four bits, the second in the high.
      scales: ``[*layers, blocks, columns]``, float32: a block's largest size.

    References:
      Dettmers et al., QLoRA, 2023 (https://arxiv.org/abs/2305.14314).
    """

    codes: UInt8[Array | np.ndarray, "*layers halves columns"]
    scales: Float[Array | np.ndarray, "*layers blocks columns"]


Matrix = Array | np.ndarray | Int8Matrix | Nf4Matrix


def _levels() -> np.ndarray:
    """Sixteen numbers that a normal variable is equally likely to be near, zero among them, scaled to ±1."""
    from scipy.stats import norm

    edge = (1 - 1 / 32 + 1 - 1 / 30) / 2  # the mean of what half the levels of each side would leave out
    above = norm.ppf(np.linspace(edge, 0.5, 9)[:-1])
    below = -norm.ppf(np.linspace(edge, 0.5, 8)[:-1])
    levels = np.sort(np.concatenate([below, [0.0], above]))
    return (levels / levels.max()).astype(np.float32)


LEVELS = _levels()


def narrowed(kernel: np.ndarray, kind: Narrow) -> Matrix:
    """A matrix as it is stored.

    Formal guarantees: a rounding of public weights; it touches no data. ``int8`` is off by at most a 254th of the
    largest size in a block of 64 rows of a column, ``nf4`` by at most 0.152 of it.

    Args:
      kernel: ``[*layers, rows, columns]``, floating.
      kind: how.

    Raises:
      ValueError: another kind, or numbers that are not finite.

    Example:
      >>> kernel = np.linspace(-1, 1, 128, dtype=np.float32).reshape(64, 2)
      >>> float(abs(np.asarray(widened(narrowed(kernel, "int8"), 64)) - kernel).max()) <= 1 / 254 + 1e-6
      True
    """
    if kind not in NARROW:
        raise ValueError(f"frozen={kind!r} must be one of {', '.join(NARROW)}.")
    if kind not in FEW_BITS:
        return np.asarray(kernel, jnp.dtype(kind))
    *layers, rows, columns = kernel.shape
    blocks = -(-rows // BLOCK)
    filled = np.zeros((*layers, blocks * BLOCK, columns), np.float32)
    filled[..., :rows, :] = kernel
    if not np.isfinite(filled).all():
        raise ValueError(f"frozen={kind!r}: the matrix holds numbers that are not finite; take another checkpoint.")
    parts = filled.reshape(*layers, blocks, BLOCK, columns)
    largest = np.abs(parts).max(-2)
    if kind == "int8":
        scales = largest / 127
        codes = np.rint(parts / np.where(scales > 0, scales, 1)[..., None, :]).astype(np.int8)
        return Int8Matrix(codes.reshape(filled.shape), scales)
    shares = parts / np.where(largest > 0, largest, 1)[..., None, :]
    borders = (LEVELS[1:] + LEVELS[:-1]) / 2
    nearest = np.searchsorted(borders, shares).astype(np.uint8).reshape(filled.shape)
    half = filled.shape[-2] // 2
    return Nf4Matrix(nearest[..., :half, :] | (nearest[..., half:, :] << 4), largest)


def narrowed_shape(shape: tuple[int, ...], kind: Narrow) -> Any:
    """What ``narrowed`` gives for a matrix of a shape, without one.

    Args:
      shape: ``(*layers, rows, columns)``.
      kind: how it is stored.

    Example:
      >>> narrowed_shape((3, 100, 7), "nf4").codes.shape
      (3, 64, 7)
    """
    if kind not in FEW_BITS:
        return jax.ShapeDtypeStruct(shape, jnp.dtype(kind))
    *layers, rows, columns = shape
    blocks = -(-rows // BLOCK)
    scales: Any = jax.ShapeDtypeStruct((*layers, blocks, columns), jnp.float32)
    rows, dtype, make = {
        "int8": (blocks * BLOCK, jnp.int8, Int8Matrix),
        "nf4": (blocks * BLOCK // 2, jnp.uint8, Nf4Matrix),
    }[kind]
    codes: Any = jax.ShapeDtypeStruct((*layers, rows, columns), dtype)
    return make(codes, scales)


def widened(
    matrix: Matrix, rows: int, dtype: jax.typing.DTypeLike = jnp.float32
) -> Float[Array, "*layers rows columns"]:
    """A stored matrix as numbers to multiply by.

    Args:
      matrix: as ``narrowed`` made it.
      rows: of the matrix that was stored.
      dtype: of the numbers.
    """
    match matrix:
        case Int8Matrix(codes, scales):
            values = jnp.asarray(codes, jnp.float32)
        case Nf4Matrix(codes, scales):
            codes = jnp.asarray(codes)
            both = jnp.concatenate([codes & 15, codes >> 4], axis=-2)
            values = jnp.asarray(LEVELS)[both]
        case _:
            return jnp.asarray(matrix, dtype)
    *layers, _, columns = values.shape
    parts = values.reshape(*layers, scales.shape[-2], BLOCK, columns) * scales[..., :, None, :]
    return parts.reshape(values.shape)[..., :rows, :].astype(dtype)


def product(x: Float[Array, "*length rows"], matrix: Matrix) -> Float[Array, "*length columns"]:
    """``x @ matrix``, with a narrow matrix widened for this product alone, and again for its backward pass.

    Kept for the backward pass is the narrow one: a loop over layers holds no wide copy of them all.

    Args:
      x: ``[*length, rows]``.
      matrix: trained or frozen; one that is stored in fewer bits than ``x`` has must be frozen to gain by it.
    """
    if isinstance(matrix, Array | np.ndarray) and matrix.dtype.itemsize >= x.dtype.itemsize:
        return x @ matrix.astype(x.dtype)
    return jax.checkpoint(lambda x, matrix: x @ widened(matrix, x.shape[-1], x.dtype))(x, matrix)
