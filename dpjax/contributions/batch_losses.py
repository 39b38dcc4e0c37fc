"""What is meant for a batch and is given ONE example: told in one sentence, where shapes disagree deep inside."""

import inspect
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

_LABELS = ("y", "label", "labels", "target", "targets")


def refuse_label_for_key(loss_fn: Callable[..., Any]) -> None:
    """Refuse a loss whose third argument is called as a label is, where the key would arrive.

    Raises:
      TypeError: it is.

    Example:
      >>> refuse_label_for_key(lambda params, x, y: x)
      Traceback (most recent call last):
      TypeError: loss_fn takes (params, x, y), but a key is its third argument; take input and label as one example, \
(x, y), and the key after it.
    """
    try:
        names = list(inspect.signature(loss_fn).parameters)
    except (TypeError, ValueError):  # of a builtin, which does not say
        return
    if names[2:3] and names[2] in _LABELS:
        raise TypeError(
            f"loss_fn takes ({', '.join(names)}), but a key is its third argument; take input and label as one "
            f"example, ({names[1]}, {names[2]}), and the key after it."
        )


def is_for_a_batch(loss_fn: Callable[..., Any], params: Any, example: Any, key: Any) -> bool:
    """Whether a loss that fails on one example takes several: tried on shapes, and only once it has failed.

    Args:
      loss_fn: that failed.
      params, example, key: that it failed on, traced or not.

    Example:
      >>> over_a_batch = lambda w, x, key: jnp.mean(w * x[:, 0])
      >>> is_for_a_batch(over_a_batch, jnp.float32(0), jnp.zeros(3), jax.random.key(0))
      True
    """

    def two(x: Any) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct((2, *jnp.shape(x)), jnp.result_type(x))

    try:
        out = jax.eval_shape(loss_fn, params, jax.tree.map(two, example), key)
    except Exception:  # anybody's code, which has failed before
        return False
    return isinstance(out, jax.ShapeDtypeStruct | tuple)


def shapes_of(example: Any) -> str:
    """The arrays of one example, for a sentence.

    Example:
      >>> shapes_of((jnp.zeros((8, 8)), jnp.int32(1)))
      'float32[8, 8], int32[]'
    """
    return ", ".join(f"{jnp.result_type(x)}{list(jnp.shape(x))}" for x in jax.tree.leaves(example))


def in_place_of_scalar(example: Any, shape: tuple[int, ...]) -> str:
    """What to do about a loss of a shape that is no scalar's.

    Args:
      example: that it is of.
      shape: of the loss.

    Example:
      >>> in_place_of_scalar((jnp.zeros(5), jnp.zeros(1)), (1,))
      'labels of shape [n, 1] may be meant to be [n]: give labels[:, 0]'
    """
    if shape == (1,) and any(jnp.shape(x) == (1,) for x in jax.tree.leaves(example)):
        return "labels of shape [n, 1] may be meant to be [n]: give labels[:, 0]"
    return "write loss_fn for ONE example, without a batch axis, and sum or average over its outputs"
