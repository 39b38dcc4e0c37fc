"""A language model for next characters: an embedding of the last few, then a multi-layer perceptron."""

from collections.abc import Sequence
from itertools import pairwise

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from dpjax.checks import whole_number
from dpjax.models.adapters import from_nnx
from dpjax.models.model import Model, check_sizes, find_activation, linear


class _TextMLP(nnx.Module):
    def __init__(
        self,
        num_classes: int,
        input_shape: tuple[int, ...],
        context: int,
        embedding: int,
        hidden: tuple[int, ...],
        activation: str,
        rngs: nnx.Rngs,
    ):
        self.input_shape, self.context = input_shape, context
        self.activation = find_activation("text", activation)
        # Unit variance is what LeCun-normal kernels expect of their inputs.
        self.embedding = nnx.Embed(num_classes, embedding, embedding_init=nnx.initializers.normal(1.0), rngs=rngs)
        sizes = (context * embedding, *hidden)
        self.hidden = nnx.List([linear(*pair, rngs) for pair in pairwise(sizes)])
        self.head = linear(sizes[-1], num_classes, rngs)

    def __call__(self, inputs: Array) -> Float[Array, "classes"]:
        _check_text(inputs, self.input_shape)
        features = self.embedding(inputs[-self.context :]).reshape(-1)
        for layer in self.hidden:
            features = self.activation(layer(features))
        return self.head(features)


def text_mlp(
    num_classes: int,
    input_shape: Sequence[int],
    *,
    context: int = 16,
    embedding: int = 16,
    hidden: Sequence[int] = (64,),
    activation: str = "tanh",
) -> Model:
    """The neural language model of Bengio et al.: which id follows, given the last few.

    Ids w₁ … w_n become rows C[w] of one table, those of the last ``context`` ids are laid end to end, and a perceptron
    gives the logits of the next id: ``z = head(tanh(hidden([C[w_{n-context+1}], …, C[w_n]])))``.

    Formal guarantees: the logits of an example are computed from that example alone: no layer sees another, so that
    clipping bounds each.

    Args:
      num_classes: size of the vocabulary, at least 2; inputs and labels are ids below it.
      input_shape: ``(length,)`` of ONE int32 example; the last id is the one before the label.
      context: how many of the last ids the model reads, at most ``length``.
      embedding: width of a row of the table.
      hidden: width of each hidden layer.
      activation: ``tanh``, ``relu``, ``sigmoid``, ``elu``, ``gelu`` or ``silu``; tanh suits clipping best
        (Papernot et al. 2021).

    Returns:
      A model whose table starts standard normal, whose kernels start LeCun-normal and whose biases start at zero. An
      id outside the vocabulary makes the loss NaN, and so a contribution that counts as zero and is reported.

    Raises:
      ValueError: for fewer than 2 classes, a shape that is no sequence, a context longer than it, a width below 1 or
        an unknown activation; from ``apply``, for an input of another shape or of floating-point numbers.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> model = text_mlp(num_classes=98, input_shape=(80,), context=8)
      >>> params = model.init(jax.random.key(0))
      >>> params["embedding"]["embedding"].shape, params["hidden"]["0"]["kernel"].shape
      ((98, 16), (128, 64))
      >>> model.apply(params, jnp.zeros(80, jnp.int32), None).shape
      (98,)

    References:
      Bengio, Ducharme, Vincent, Jauvin: A Neural Probabilistic Language Model, JMLR 3, 2003.
    """
    shape = check_sizes("text", num_classes, input_shape)
    if len(shape) != 1:
        raise ValueError(
            f"text: input_shape is {shape}, but the model reads one sequence of ids; use (length,), or cnn for images."
        )
    context = whole_number("text: context", context, most=shape[0], fix=f"an example has {shape[0]} ids")
    embedding = whole_number("text: embedding", embedding, fix="it is a width")
    widths = tuple(whole_number("text: hidden", width, fix="it is the width of a layer") for width in hidden)
    find_activation("text", activation)
    return from_nnx(lambda rngs: _TextMLP(num_classes, shape, context, embedding, widths, activation, rngs))


def _check_text(inputs: Array, input_shape: tuple[int, ...]) -> None:
    """Raises unless ``inputs`` is ONE sequence of ids of the declared length."""
    if inputs.shape != input_shape:
        raise ValueError(
            f"text: the input has shape {inputs.shape}, but the model was built for input_shape {input_shape}; apply "
            "takes ONE example, so wrap a batch in jax.vmap."
        )
    if not jnp.issubdtype(inputs.dtype, jnp.integer):
        raise ValueError(
            f"text: the input is {inputs.dtype}, but ids must be integers; use mlp or cnn for numbers and images, or "
            "cast ids to int32."
        )
