"""Convolution and pooling as slices and one matmul: what vmapped gradients on a CPU want.

Under ``vmap(grad)``, XLA turns ``lax.conv`` into grouped convolutions and max pooling into ``reduce_window`` and
``select_and_scatter``, which its CPU backend runs many times slower than the arithmetic needs
(``benchmarks/cnn_layout.py`` measures it). Slices and matmuls stay fast when a batch axis is added by ``vmap``.
"""

from collections.abc import Sequence
from functools import reduce
from typing import Any

import jax.numpy as jnp
from flax import nnx
from jax import lax
from jaxtyping import Array, Float

Padding = str | Sequence[tuple[int, int]]


def im2col_conv(
    inputs: Float[Array, "batch *space features_in"],
    kernel: Float[Array, "*window group_features features_out"],
    strides: Sequence[int],
    padding: Padding,
    *,
    lhs_dilation: Sequence[int] | None = None,
    rhs_dilation: Sequence[int] | None = None,
    dimension_numbers: Any = None,
    feature_group_count: int = 1,
    precision: Any = None,
    **options: Any,
) -> Float[Array, "batch *out_space features_out"]:
    """Convolves by copying every window into a row and multiplying once by the kernel.

    It equals ``jax.lax.conv_general_dilated`` on channels-last arrays and takes its arguments, so that it fits the
    ``conv_general_dilated`` argument of ``nnx.Conv`` and ``linen.Conv``. Grouped and input-dilated (transposed)
    convolutions are handed on to ``lax``.

    Formal guarantees: each entry of the batch is convolved by itself; the numbers are those of ``lax`` beyond rounding.

    Args:
      inputs: ``[batch, *space, features_in]``, any number of space axes.
      kernel: ``[*window, features_in / groups, features_out]``.
      strides: one per space axis.
      padding: ``"SAME"``, ``"VALID"`` or a (low, high) pair per space axis.
      lhs_dilation: input dilation; anything but 1 goes to ``lax``.
      rhs_dilation: kernel dilation, one per space axis.
      dimension_numbers: only read where ``lax`` takes over; the layout is always channels-last.
      feature_group_count: anything but 1 goes to ``lax``.
      precision: of the matmul, as in ``jax.lax.Precision``.
      **options: what else Flax passes on.

    Returns:
      ``[batch, *out_space, features_out]``.

    Example:
      >>> import jax.numpy as jnp
      >>> im2col_conv(jnp.ones((1, 4, 4, 1)), jnp.ones((3, 3, 1, 2)), (1, 1), "VALID").shape
      (1, 2, 2, 2)
    """
    dilation = tuple(rhs_dilation or (1,) * (kernel.ndim - 2))
    if feature_group_count != 1 or any(step != 1 for step in lhs_dilation or ()):
        return lax.conv_general_dilated(
            inputs,
            kernel,
            strides,
            padding,
            lhs_dilation=lhs_dilation,
            rhs_dilation=dilation,
            dimension_numbers=dimension_numbers,
            feature_group_count=feature_group_count,
            precision=precision,
            **options,
        )
    spans = [(size - 1) * step + 1 for size, step in zip(kernel.shape, dilation, strict=False)]
    patches = _pad(inputs, spans, strides, padding, value=0.0)
    # One axis after another, last first: sum(window) slices instead of prod(window), in the kernel's own order.
    for axis in reversed(range(len(spans))):
        patches = _windows(patches, axis + 1, kernel.shape[axis], strides[axis], dilation[axis])
    features_out = kernel.shape[-1]
    rows = patches.reshape(-1, patches.shape[-1])
    flat = jnp.matmul(rows, kernel.reshape(-1, features_out), precision=precision)
    return flat.reshape(*patches.shape[:-1], features_out)


class Conv(nnx.Conv):
    """``nnx.Conv`` computed by ``im2col_conv``: same arguments, same parameters, same start, same result.

    Args:
      *args: as ``flax.nnx.Conv``; ``kernel_size`` may have any number of axes.
      **kwargs: as ``flax.nnx.Conv``, but not ``conv_general_dilated``.

    Example:
      >>> import jax.numpy as jnp
      >>> from flax import nnx
      >>> layer = Conv(1, 16, (8, 8), strides=2, rngs=nnx.Rngs(0))
      >>> layer(jnp.ones((28, 28, 1))).shape
      (14, 14, 16)
    """

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, conv_general_dilated=im2col_conv, **kwargs)


def max_pool(
    inputs: Float[Array, "*batch_space features"],
    window_shape: Sequence[int],
    strides: Sequence[int] | None = None,
    padding: Padding = "VALID",
) -> Float[Array, "*batch_out_space features"]:
    """Takes the maximum over windows, one axis after another; equals ``flax.nnx.max_pool``.

    Where a window holds two equal maxima the gradient is shared between them (``nnx.max_pool`` gives all of it to
    the first); both are subgradients.

    Formal guarantees: each entry of the batch is pooled by itself; values are exactly those of ``nnx.max_pool``.

    Args:
      inputs: ``[*batch, *space, features]``; the space axes are the ones just before the last.
      window_shape: one size per space axis.
      strides: one per space axis; 1 each if left out.
      padding: ``"SAME"``, ``"VALID"`` or a (low, high) pair per space axis; padding never wins.

    Returns:
      ``[*batch, *out_space, features]``.

    Example:
      >>> import jax.numpy as jnp
      >>> max_pool(jnp.arange(16.0).reshape(4, 4, 1), (2, 2), strides=(2, 2))[..., 0].tolist()
      [[5.0, 7.0], [13.0, 15.0]]
    """
    first = inputs.ndim - 1 - len(window_shape)
    strides = tuple(strides or (1,) * len(window_shape))
    pooled = _pad(inputs, window_shape, strides, padding, value=-jnp.inf)
    for axis, (size, stride) in enumerate(zip(window_shape, strides, strict=True), start=first):
        pooled = reduce(jnp.maximum, _slices(pooled, axis, range(size), size, stride))
    return pooled


def _pad(inputs: Array, window: Sequence[int], strides: Sequence[int], padding: Padding, *, value: float) -> Array:
    """Pads the space axes, which come just before the last."""
    first = inputs.ndim - 1 - len(window)
    space = inputs.shape[first:-1]
    pairs = lax.padtype_to_pads(space, window, strides, padding) if isinstance(padding, str) else padding
    if not any(low or high for low, high in pairs):
        return inputs
    config = [(0, 0, 0)] * first + [(low, high, 0) for low, high in pairs] + [(0, 0, 0)]
    return lax.pad(inputs, jnp.asarray(value, inputs.dtype), config)


_RUN = 32
"""Numbers in a block from which on its gradient saves more than its copy costs."""


def _windows(inputs: Array, axis: int, size: int, stride: int, dilation: int) -> Array:
    """The windows along one axis, their entries put before the features."""
    if stride > 1 and dilation == 1 and stride * inputs.shape[-1] >= _RUN:
        return _blocked_windows(inputs, axis, size, stride)
    taps = [offset * dilation for offset in range(size)]
    return _side_by_side(_slices(inputs, axis, taps, taps[-1] + 1, stride))


def _blocked_windows(inputs: Array, axis: int, size: int, stride: int) -> Array:
    """The windows put together from blocks of ``stride`` entries, of which each window holds a few neighbours.

    The gradient of such slices adds up shifted blocks, where that of strided slices spreads numbers among zeros.
    """
    count, blocks = (inputs.shape[axis] - size) // stride + 1, -(-size // stride)
    entries = (count + blocks - 1) * stride
    config = [(0, 0, 0)] * inputs.ndim
    config[axis] = (0, entries - inputs.shape[axis], 0)  # below 0: entries that no window reaches
    whole = lax.pad(inputs, jnp.zeros((), inputs.dtype), config)
    split = whole.reshape(*whole.shape[:axis], entries // stride, stride, *whole.shape[axis + 1 :])
    turned = jnp.moveaxis(split, axis + 1, -2)
    rows = turned.reshape(*turned.shape[:-2], stride * inputs.shape[-1])
    pieces = _slices(rows, axis, range(blocks), blocks, 1)
    last = (size - (blocks - 1) * stride) * inputs.shape[-1]
    return _side_by_side([*pieces[:-1], pieces[-1][..., :last]])


def _side_by_side(pieces: list[Array]) -> Array:
    return jnp.concatenate(pieces, axis=-1) if len(pieces) > 1 else pieces[0]


def _slices(inputs: Array, axis: int, offsets: Sequence[int], span: int, stride: int) -> list[Array]:
    """The strided slice along one axis that starts at each offset of a window ``span`` wide."""
    count = (inputs.shape[axis] - span) // stride + 1
    return [
        lax.slice_in_dim(inputs, offset, offset + (count - 1) * stride + 1, stride, axis=axis) for offset in offsets
    ]
