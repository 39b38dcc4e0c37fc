"""Convolutional networks for small images."""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from flax import nnx
from jaxtyping import Array, Float

from dpjax.checks import whole_number
from dpjax.models.adapters import from_nnx
from dpjax.models.convolution import Conv, max_pool
from dpjax.models.model import Model, check_example, check_sizes, find_activation, linear


class ConvBlock(NamedTuple):
    """One block of a CNN: convolution, then max pooling, then the activation.

    Pooling comes before the activation because the two commute for a monotone one and fewer numbers are left.

    Attributes:
      features: channels out.
      kernel_size: side of the square kernel.
      strides: of the convolution.
      padding: ``"SAME"`` or ``"VALID"``.
      pool_size: side of the square pooling window; 1 means no pooling.
      pool_strides: of the pooling, which pads nothing.
    """

    features: int
    kernel_size: int = 3
    strides: int = 1
    padding: str = "SAME"
    pool_size: int = 1
    pool_strides: int = 1

    def out_size(self, size: int) -> int:
        """How long an axis of ``size`` is after the block; below 1 where the block does not fit."""
        kernel = 1 if self.padding == "SAME" else self.kernel_size
        return ((size - kernel) // self.strides + 1 - self.pool_size) // self.pool_strides + 1


TUTORIAL = (
    ConvBlock(16, kernel_size=8, strides=2, padding="SAME", pool_size=2, pool_strides=1),
    ConvBlock(32, kernel_size=4, strides=2, padding="VALID", pool_size=2, pool_strides=1),
)
"""The MNIST network of the TensorFlow Privacy and Opacus tutorials: 26,010 parameters on 28×28×1."""

SMALL = (ConvBlock(16), ConvBlock(32, pool_size=2, pool_strides=2))
"""Two 3×3 convolutions and one pool, for images of 4 to 19 pixels a side, such as the 8×8 digits: 21,546 parameters."""


class ConvNet(nnx.Module):
    """Convolution blocks, one hidden dense layer, logits. ``conv`` and ``pool`` are there for benchmarks to swap."""

    def __init__(
        self,
        num_classes: int,
        input_shape: tuple[int, ...],
        blocks: Sequence[ConvBlock],
        hidden: int,
        activation: str,
        rngs: nnx.Rngs,
        *,
        conv: Callable[..., Any] = Conv,
        pool: Callable[..., Array] = max_pool,
    ):
        self.input_shape, self.blocks, self.pool = input_shape, tuple(blocks), pool
        self.activation = find_activation("cnn", activation)
        height, width, channels = (*input_shape, 1)[:3]
        convs = []
        for block in blocks:
            size = (block.kernel_size, block.kernel_size)
            convs.append(conv(channels, block.features, size, strides=block.strides, padding=block.padding, rngs=rngs))
            height, width, channels = block.out_size(height), block.out_size(width), block.features
        self.convs = nnx.List(convs)
        self.hidden = linear(math.prod((height, width, channels)), hidden, rngs)
        self.head = linear(hidden, num_classes, rngs)

    def __call__(self, inputs: Array) -> Float[Array, "classes"]:
        check_example("cnn", inputs, self.input_shape)
        features = inputs if inputs.ndim == 3 else inputs[..., None]
        for block, conv in zip(self.blocks, self.convs, strict=True):
            features = conv(features)
            if block.pool_size > 1:
                window, strides = (block.pool_size,) * 2, (block.pool_strides,) * 2
                features = self.pool(features, window, strides=strides)
            features = self.activation(features)
        return self.head(self.activation(self.hidden(features.reshape(-1))))


def cnn(
    num_classes: int,
    input_shape: Sequence[int],
    *,
    blocks: Sequence[ConvBlock | Sequence[Any]] | None = None,
    hidden: int = 32,
    activation: str = "tanh",
) -> Model:
    """A small convolutional network, shaped to be fast under per-example gradients on CPU too.

    The default follows the image: from 20 pixels a side it is the MNIST network of the TensorFlow Privacy and Opacus
    tutorials (conv 16 8×8 stride 2, pool 2, conv 32 4×4 stride 2, pool 2, dense 32; 26,010 parameters on 28×28×1);
    below, two 3×3 convolutions of 16 and 32 channels with one pool. On CPU use microbatches of 16 to 64.

    Formal guarantees: the logits of an example are computed from that example alone: no layer sees another, so that
    clipping bounds each.

    Args:
      num_classes: at least 2.
      input_shape: ``(height, width)`` or ``(height, width, channels)`` of ONE float32 example, 4 pixels a side or more.
      blocks: convolution blocks to use instead; a plain list ``[features, kernel_size, …]`` is read as a
        ``ConvBlock``.
      hidden: width of the dense layer before the logits.
      activation: ``tanh``, ``relu``, ``sigmoid``, ``elu``, ``gelu`` or ``silu``; tanh suits clipping best
        (Papernot et al. 2021).

    Returns:
      A model whose kernels start LeCun-normal and whose biases start at zero.

    Raises:
      ValueError: for a shape that is no image, blocks that shrink it to nothing, fewer than 2 classes, a width
        below 1 or an unknown activation; from ``apply``, for an input of another shape.

    Example:
      >>> import jax
      >>> from dpjax.models.model import count_params
      >>> model = cnn(num_classes=10, input_shape=(28, 28, 1))
      >>> count_params(jax.eval_shape(model.init, jax.random.key(0)))
      26010

    References:
      Papernot, Thakurta, Song, Chien, Erlingsson: Tempered Sigmoid Activations for Deep Learning with
      Differential Privacy, AAAI 2021.
    """
    shape = check_sizes("cnn", num_classes, input_shape)
    if len(shape) not in (2, 3):
        raise ValueError(
            f"cnn: input_shape is {shape}, but it must be (height, width) or (height, width, channels); "
            "use mlp or logistic for a table."
        )
    side = min(shape[:2])
    if blocks is None:
        if side < 4:
            raise ValueError(f"cnn: input_shape is {shape}, but an image needs 4 pixels a side; use mlp instead.")
        blocks = TUTORIAL if side >= 20 else SMALL
    hidden = whole_number("cnn: hidden", hidden, fix="it is the dense layer's width")
    find_activation("cnn", activation)
    chosen = tuple(_check_block(block) for block in blocks)
    for block in chosen:
        side = block.out_size(side)
        if side < 1:
            raise ValueError(
                f"cnn: {block} leaves nothing of an image of input_shape {shape}; use a smaller kernel_size, "
                "strides or pool_size."
            )
    return from_nnx(lambda rngs: ConvNet(num_classes, shape, chosen, hidden, activation, rngs))


def _check_block(fields: Sequence[Any]) -> ConvBlock:
    block = ConvBlock(*fields)
    if block.padding not in ("SAME", "VALID"):
        raise ValueError(f"cnn: padding is {block.padding!r} in {block}, but it must be 'SAME' or 'VALID'.")
    if min(size for size in block if isinstance(size, int)) < 1:
        raise ValueError(f"cnn: {block} holds a size below 1, but every size and stride must be at least 1.")
    return block
