"""What a model is to dpjax: a pair of pure functions that see ONE example, and its loss."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int, Key, PyTree

from dpjax.checks import brief, whole_number
from dpjax.metrics import predicted
from dpjax.types import Metrics, Params

ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "tanh": jnp.tanh,
    "relu": jax.nn.relu,
    "sigmoid": jax.nn.sigmoid,
    "elu": jax.nn.elu,
    "gelu": jax.nn.gelu,
    "silu": jax.nn.silu,
}
"""Activations by name. Bounded ones (tanh) keep gradient norms small and so survive clipping better."""


class Model(NamedTuple):
    """A model as two pure functions; a plain function pair is as good as one built of Flax layers.

    Formal guarantees: ``apply`` sees one example, so it cannot couple two of them: that is what makes per-unit clipping
    bound a unit's influence. Batches are made outside, with ``jax.vmap``.

    Attributes:
      init: ``init(key) -> params``, a nested dict of float32 arrays; runs under ``jit`` and ``vmap``.
      apply: ``apply(params, input, key) -> logits [num_classes]`` for ONE input. The key drives dropout and the
        like; ``None`` is evaluation mode.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> linear = Model(lambda key: {"w": jnp.zeros((4, 3))}, lambda params, x, key: x @ params["w"])
      >>> linear.apply(linear.init(jax.random.key(0)), jnp.ones(4), None).shape
      (3,)
    """

    init: Callable[[Key[Array, ""]], Params]
    apply: Callable[[Params, Array, Key[Array, ""] | None], Array]


def cross_entropy_loss(
    model: Model,
) -> Callable[[Params, tuple[Array, Array], Key[Array, ""] | None], tuple[Array, Metrics]]:
    """Turns a classifier into the per-example loss that contributions and evaluation take.

    The loss of logits z and label y is ``log(sum(exp(z))) - z[y]``.

    Formal guarantees: the loss is of ONE example, so that its gradient is that example's contribution and no other's,
    if the model's logits are.

    Args:
      model: a classifier; ``apply`` returns logits ``[num_classes]``.

    Returns:
      ``loss_fn(params, (input, label), key) -> (loss, {"accuracy": 0. or 1.})`` for ONE example. ``label`` is an
      integer scalar. With key ``None`` the model runs in evaluation mode.

    Raises:
      ValueError: from ``loss_fn``, when the logits are not a vector or the label is not an integer scalar.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from dpjax.models import logistic
      >>> model = logistic(num_classes=3, input_shape=(4,))
      >>> loss, metrics = cross_entropy_loss(model)(model.init(jax.random.key(0)), (jnp.ones(4), jnp.int32(0)), None)
      >>> print(f"{loss:.4f}", sorted(metrics))
      1.0986 ['accuracy']
    """

    def loss_fn(
        params: Params, example: tuple[Array, Int[Array, "..."]], key: Key[Array, ""] | None
    ) -> tuple[Float[Array, ""], Metrics]:
        inputs, label = example
        if jnp.shape(label) == (1,):
            raise ValueError(
                "label has shape (1,), but is a scalar of ONE example; give labels [n] where they are [n, 1], as "
                "labels[:, 0]."
            )
        if not jnp.issubdtype(jnp.result_type(label), jnp.integer):
            raise ValueError(
                f"label is {jnp.result_type(label)}{list(jnp.shape(label))}, but is the number of its class; give "
                "labels [n] of integers, such as labels.astype('int32'), or argmax(labels, axis=1) of one-hot rows."
            )
        logits = model.apply(params, inputs, key)
        if logits.ndim != 1 or jnp.ndim(label) != 0:
            raise ValueError(
                f"logits have shape {logits.shape} and label {jnp.shape(label)}, but loss_fn takes ONE example "
                "with logits [num_classes] and a scalar label; wrap a batch in jax.vmap."
            )
        if logits.shape == (1,):
            raise ValueError(
                "logits have shape (1,), and of one class nothing is learnt; give a model of two classes or more, or "
                "squared_error_loss where a number is predicted."
            )
        loss = -jnp.take(jax.nn.log_softmax(logits), label)
        return loss, {"accuracy": (predicted(logits) == label).astype(logits.dtype)}

    return loss_fn


def squared_error_loss(
    model: Model,
) -> Callable[[Params, tuple[Array, Array], Key[Array, ""] | None], tuple[Array, Metrics]]:
    """Turns a model of one output into the per-example loss of a number.

    The loss of output z and label y is ``(z - y)²``.

    Formal guarantees: the loss is of ONE example, so that its gradient is that example's contribution and no other's,
    if the model's output is.

    Args:
      model: whose ``apply`` returns ``[1]``, the number.

    Returns:
      ``loss_fn(params, (input, label), key) -> (loss, {})`` for ONE example. ``label`` is a float scalar, in a range
      near [-1, 1] if gradients are to be of one size. With key ``None`` the model runs in evaluation mode.

    Raises:
      ValueError: from ``loss_fn``, when the output is not one number or the label is not a float scalar.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from dpjax.models import logistic
      >>> model = logistic(num_classes=1, input_shape=(4,))
      >>> loss, _ = squared_error_loss(model)(model.init(jax.random.key(0)), (jnp.ones(4), jnp.float32(0.5)), None)
      >>> print(loss)
      0.25
    """

    def loss_fn(
        params: Params, example: tuple[Array, Array], key: Key[Array, ""] | None
    ) -> tuple[Float[Array, ""], Metrics]:
        inputs, label = example
        output = model.apply(params, inputs, key)
        if output.shape != (1,) or jnp.ndim(label) != 0 or not jnp.issubdtype(jnp.result_type(label), jnp.floating):
            raise ValueError(
                f"the output has shape {output.shape} and label is {jnp.result_type(label)}{list(jnp.shape(label))}, "
                "but loss_fn takes ONE example with output [1] and a float scalar; give a model of num_classes=1, and "
                "labels [n] of floats."
            )
        return jnp.square(output[0] - label), {}

    return loss_fn


def check_sizes(factory: str, num_classes: int, input_shape: Sequence[int]) -> tuple[int, ...]:
    """Returns ``input_shape`` as a tuple of Python ints, or says in one sentence what is wrong with it."""
    # One output is a number that is predicted; the loss of classes refuses it.
    whole_number(f"{factory}: num_classes", num_classes, least=1, fix="a classifier needs at least two, a number one")
    if isinstance(input_shape, str) or not isinstance(input_shape, Sequence):
        raise ValueError(
            f"{factory}: input_shape={brief(input_shape)} must be a tuple of sizes; write it like (28, 28, 1)."
        )
    fix = "give the shape of ONE example"
    shape = tuple(whole_number(f"{factory}: input_shape", size, least=0, fix=fix) for size in input_shape)
    if not shape or min(shape) < 1:
        raise ValueError(
            f"{factory}: input_shape is {shape}, but it must be the shape of ONE example, such as (30,) or (28, 28, 1)."
        )
    return shape


def find_activation(factory: str, name: str) -> Callable[[Array], Array]:
    """Looks an activation up by name."""
    if name not in ACTIVATIONS:
        raise ValueError(f"{factory}: activation is {name!r}, but it must be one of {', '.join(ACTIVATIONS)}.")
    return ACTIVATIONS[name]


def check_example(factory: str, inputs: Array, input_shape: tuple[int, ...]) -> None:
    """Raises unless ``inputs`` is ONE example of the declared shape."""
    if inputs.shape != input_shape:
        raise ValueError(
            f"{factory}: the input has shape {inputs.shape}, but the model was built for input_shape "
            f"{input_shape}; apply takes ONE example, so wrap a batch in jax.vmap."
        )
    if not jnp.issubdtype(inputs.dtype, jnp.floating):
        raise ValueError(
            f"{factory}: the input is {inputs.dtype}, but it must be floating; scale it to [0, 1] first, "
            "or use model text for ids of characters."
        )


def count_params(params: PyTree[Any]) -> int:
    """How many numbers a model learns; shapes from ``jax.eval_shape(model.init, key)`` will do.

    Example:
      >>> import jax.numpy as jnp
      >>> count_params({"kernel": jnp.zeros((4, 3)), "bias": jnp.zeros(3)})
      15
    """
    return sum(leaf.size for leaf in jax.tree.leaves(params))


def linear(features_in: int, features_out: int, rngs: nnx.Rngs, *, zero: bool = False) -> nnx.Linear:
    """A dense layer, LeCun-normal or all zeros at the start."""
    init = nnx.initializers.zeros_init() if zero else nnx.initializers.lecun_normal()
    return nnx.Linear(features_in, features_out, kernel_init=init, rngs=rngs)
