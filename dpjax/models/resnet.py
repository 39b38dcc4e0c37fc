"""Wide residual networks as private training uses them: groups of channels in the place of batches."""

from collections.abc import Sequence

from flax import nnx
from jaxtyping import Array, Float

from dpjax.checks import whole_number
from dpjax.models.adapters import from_nnx
from dpjax.models.convolution import Conv
from dpjax.models.model import Model, check_example, check_sizes, find_activation, linear

STEM = 16
"""Channels of the first convolution; those of the three stages are 1, 2 and 4 times as many, times the width."""


class Block(nnx.Module):
    """Two 3×3 convolutions, each after normalisation and activation, beside a shortcut."""

    def __init__(self, channels: int, features: int, strides: int, groups: int, activation: str, rngs: nnx.Rngs):
        self.activation = find_activation("wide_resnet", activation)
        self.norm_in = nnx.GroupNorm(channels, num_groups=groups, rngs=rngs)
        self.conv_in = _conv(channels, features, 3, strides, rngs)
        self.norm_out = nnx.GroupNorm(features, num_groups=groups, rngs=rngs)
        self.conv_out = _conv(features, features, 3, 1, rngs)
        same = channels == features and strides == 1
        self.shortcut = None if same else _conv(channels, features, 1, strides, rngs)

    def __call__(self, inputs: Float[Array, "height width channels"]) -> Float[Array, "out_height out_width features"]:
        ready = self.activation(self.norm_in(inputs))
        beside = inputs if self.shortcut is None else self.shortcut(ready)
        return beside + self.conv_out(self.activation(self.norm_out(self.conv_in(ready))))


class WideResNet(nnx.Module):
    """A first convolution, three stages of blocks, the mean over all places, logits."""

    def __init__(
        self,
        num_classes: int,
        input_shape: tuple[int, ...],
        blocks: int,
        width: int,
        groups: int,
        activation: str,
        rngs: nnx.Rngs,
    ):
        self.input_shape, self.activation = input_shape, find_activation("wide_resnet", activation)
        self.stem = _conv((*input_shape, 1)[2], STEM, 3, 1, rngs)
        channels, parts = STEM, []
        for stage in range(3):
            features = STEM * 2**stage * width
            for number in range(blocks):
                strides = 2 if stage > 0 and number == 0 else 1
                parts.append(Block(channels, features, strides, groups, activation, rngs))
                channels = features
        self.blocks = nnx.List(parts)
        self.norm = nnx.GroupNorm(channels, num_groups=groups, rngs=rngs)
        self.head = linear(channels, num_classes, rngs)

    def __call__(self, inputs: Array) -> Float[Array, "classes"]:
        check_example("wide_resnet", inputs, self.input_shape)
        features = self.stem(inputs if inputs.ndim == 3 else inputs[..., None])
        for block in self.blocks:
            features = block(features)
        return self.head(self.activation(self.norm(features)).mean((0, 1)))


def wide_resnet(
    num_classes: int,
    input_shape: Sequence[int],
    *,
    depth: int = 16,
    width: int = 4,
    groups: int = 16,
    activation: str = "relu",
) -> Model:
    """A wide residual network, WRN-16-4 if nothing else is said: what private CIFAR-10 is compared on.

    Batch normalisation, which couples the examples of a batch, is replaced by normalisation over groups of an
    example's own channels. Weights are not standardised. On CPU, compiling the default takes a minute or more.

    Formal guarantees: the logits of an example are computed from that example alone: no layer sees another, so that
    clipping bounds each.

    Args:
      num_classes: at least 2.
      input_shape: ``(height, width)`` or ``(height, width, channels)`` of ONE float32 example, 4 pixels a side or more.
      depth: convolutions in a row and the dense layer, 6 n + 4: 10, 16, 22, 28, 40.
      width: by how much the three stages are wider than 16, 32 and 64 channels.
      groups: of channels that are normalised together, a divisor of 16.
      activation: ``tanh``, ``relu``, ``sigmoid``, ``elu``, ``gelu`` or ``silu``.

    Returns:
      A model whose kernels start LeCun-normal, whose convolutions have no biases and whose scales start at one.

    Raises:
      ValueError: for a shape that is no image, another depth, a width below 1, groups that do not divide 16, fewer
        than 2 classes or an unknown activation; from ``apply``, for an input of another shape.

    Example:
      >>> import jax
      >>> from dpjax.models.model import count_params
      >>> model = wide_resnet(num_classes=10, input_shape=(32, 32, 3))
      >>> count_params(jax.eval_shape(model.init, jax.random.key(0)))
      2748890

    References:
      Zagoruyko & Komodakis, Wide Residual Networks, 2016 (https://arxiv.org/abs/1605.07146); Wu & He, Group
      Normalization, 2018 (https://arxiv.org/abs/1803.08494); De et al., Unlocking High-Accuracy Differentially Private
      Image Classification through Scale, 2022 (https://arxiv.org/abs/2204.13650).
    """
    shape = check_sizes("wide_resnet", num_classes, input_shape)
    if len(shape) not in (2, 3) or min(shape[:2]) < 4:
        raise ValueError(
            f"wide_resnet: input_shape is {shape}, but it must be (height, width) or (height, width, channels) of 4 "
            "pixels a side or more; use mlp or logistic for a table."
        )
    depth = whole_number("wide_resnet: depth", depth, fix="it is 6 n + 4, such as 16")
    if depth < 10 or depth % 6 != 4:
        raise ValueError(f"wide_resnet: depth is {depth}, but it must be 6 n + 4; use 10, 16, 22, 28 or 40.")
    width = whole_number("wide_resnet: width", width, fix="it multiplies the stages' channels")
    groups = whole_number("wide_resnet: groups", groups, fix="it divides 16")
    if STEM % groups:
        raise ValueError(f"wide_resnet: groups is {groups}, but it must divide {STEM}; use 1, 2, 4, 8 or 16.")
    find_activation("wide_resnet", activation)
    blocks = (depth - 4) // 6
    return from_nnx(lambda rngs: WideResNet(num_classes, shape, blocks, width, groups, activation, rngs))


def _conv(channels: int, features: int, size: int, strides: int, rngs: nnx.Rngs) -> Conv:
    return Conv(channels, features, (size, size), strides=strides, padding="SAME", use_bias=False, rngs=rngs)
