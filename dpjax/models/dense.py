"""Logistic regression and multi-layer perceptrons."""

import math
from collections.abc import Sequence
from itertools import pairwise

from flax import nnx
from jaxtyping import Array, Float

from dpjax.checks import brief, whole_number
from dpjax.models.adapters import from_nnx
from dpjax.models.model import Model, check_example, check_sizes, find_activation, linear


class _MLP(nnx.Module):
    def __init__(
        self,
        name: str,
        num_classes: int,
        input_shape: tuple[int, ...],
        hidden: tuple[int, ...],
        activation: str,
        rngs: nnx.Rngs,
    ):
        self.name, self.input_shape = name, input_shape
        self.activation = find_activation(name, activation)
        sizes = (math.prod(input_shape), *hidden)
        self.hidden = nnx.List([linear(*pair, rngs) for pair in pairwise(sizes)])
        # A convex problem starts at zero; a deep one must break the symmetry.
        self.head = linear(sizes[-1], num_classes, rngs, zero=not hidden)

    def __call__(self, inputs: Array) -> Float[Array, "classes"]:
        check_example(self.name, inputs, self.input_shape)
        features = inputs.reshape(-1)
        for layer in self.hidden:
            features = self.activation(layer(features))
        return self.head(features)


def logistic(num_classes: int, input_shape: Sequence[int]) -> Model:
    """Multinomial logistic regression: one dense layer on the flattened input, started at zero.

    Formal guarantees: the logits of an example are computed from that example alone: no layer sees another, so that
    clipping bounds each.

    Args:
      num_classes: at least 2.
      input_shape: shape of ONE float32 example, any rank.

    Returns:
      A model with ``prod(input_shape) * num_classes + num_classes`` parameters, convex under cross-entropy.

    Raises:
      ValueError: for fewer than 2 classes or an empty shape; from ``apply``, for an input of another shape.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> model = logistic(num_classes=2, input_shape=(30,))
      >>> model.apply(model.init(jax.random.key(0)), jnp.ones(30), None)
      Array([0., 0.], dtype=float32)
    """
    shape = check_sizes("logistic", num_classes, input_shape)
    return from_nnx(lambda rngs: _MLP("logistic", num_classes, shape, (), "tanh", rngs))


def mlp(
    num_classes: int, input_shape: Sequence[int], *, hidden: Sequence[int] = (64,), activation: str = "tanh"
) -> Model:
    """A multi-layer perceptron on the flattened input.

    Formal guarantees: the logits of an example are computed from that example alone: no layer sees another, so that
    clipping bounds each.

    Args:
      num_classes: at least 2.
      input_shape: shape of ONE float32 example, any rank.
      hidden: width of each hidden layer.
      activation: ``tanh``, ``relu``, ``sigmoid``, ``elu``, ``gelu`` or ``silu``. Bounded activations keep gradient
        norms small, which loses less to clipping (Papernot et al. 2021).

    Returns:
      A model whose kernels start LeCun-normal and whose biases start at zero.

    Raises:
      ValueError: for fewer than 2 classes, an empty shape, a width below 1 or an unknown activation; from
        ``apply``, for an input of another shape.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> model = mlp(num_classes=10, input_shape=(8, 8), hidden=(64,))
      >>> jax.tree.map(jnp.shape, model.init(jax.random.key(0)))["hidden"]
      {'0': {'bias': (64,), 'kernel': (64, 64)}}

    References:
      Papernot, Thakurta, Song, Chien, Erlingsson: Tempered Sigmoid Activations for Deep Learning with
      Differential Privacy, AAAI 2021.
    """
    shape = check_sizes("mlp", num_classes, input_shape)
    if isinstance(hidden, str) or not isinstance(hidden, Sequence):
        raise ValueError(f"mlp: hidden={brief(hidden)} must be a list or tuple of widths; write it like (64, 32).")
    widths = tuple(whole_number("mlp: hidden", width, fix="every layer needs a width") for width in hidden)
    find_activation("mlp", activation)
    return from_nnx(lambda rngs: _MLP("mlp", num_classes, shape, widths, activation, rngs))
