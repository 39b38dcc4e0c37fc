"""Losses and accuracies of classifiers, and their mean over a data set of any length."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from dpjax.types import Metrics, Params


def softmax_cross_entropy(
    logits: Float[Array | np.ndarray, "*batch classes"], label: Int[Array | np.ndarray, "*batch"]
) -> Float[Array, "*batch"]:
    r"""The negative log-likelihood :math:`\log \sum_c e^{z_c} - z_y` of a class, in nats.

    Finite for all finite logits. For one example or any batch of them; nothing is averaged.

    Args:
      logits: ``[..., classes]``.
      label: ``[...]`` class numbers in ``[0, classes)``.

    Returns:
      ``[...]``, dtype of ``logits``.

    Example:
      >>> print(softmax_cross_entropy(jnp.zeros(10), jnp.array(3)))
      2.3025851
    """
    chosen = jnp.take_along_axis(logits, label[..., None], axis=-1)[..., 0]
    return jax.nn.logsumexp(logits, axis=-1) - chosen


def accuracy(
    logits: Float[Array | np.ndarray, "*batch classes"], labels: Int[Array | np.ndarray, "*batch"]
) -> Float[Array, ""]:
    """The share of examples whose largest logit is that of their class; ties go to the first class.

    Args:
      logits: ``[..., classes]``.
      labels: ``[...]`` class numbers.

    Returns:
      float32 scalar in [0, 1].

    Example:
      >>> print(accuracy(jnp.eye(4), jnp.array([0, 1, 2, 0])))
      0.75
    """
    return jnp.mean(jnp.argmax(logits, axis=-1) == labels, dtype=jnp.float32)


def evaluate(
    apply_fn: Callable[[Params, Array], Array],
    params: Params,
    inputs: Float[Array | np.ndarray, "rows *shape"],
    labels: Int[Array | np.ndarray, "rows"],
    *,
    batch_size: int | None = None,
) -> Metrics:
    """The mean loss and the accuracy of a classifier over a data set.

    Guarantees that every row counts exactly once whatever the batch size: the last batch overlaps the one before
    instead of being padded, and rows counted already are left out. jit, vmap over ``params`` and grad apply.
    Its results are not private: evaluate on held-out data, or read them as diagnosis.

    Args:
      apply_fn: ``(params, inputs [batch, ...]) -> logits [batch, classes]``.
      params: of the model.
      inputs: ``[rows, ...]``, at least one row.
      labels: ``[rows]`` class numbers.
      batch_size: rows in memory at once; None: all.

    Returns:
      ``{"loss": nats per example, "accuracy": in [0, 1]}``, float32 scalars.

    Raises:
      ValueError: no rows, or ``batch_size`` < 1.

    Example:
      >>> apply_fn = lambda params, inputs: inputs @ params
      >>> result = evaluate(apply_fn, 5 * jnp.eye(3), jnp.eye(3), jnp.arange(3), batch_size=2)
      >>> print(result["accuracy"])
      1.0
    """
    rows = labels.shape[0]
    if rows == 0:
        raise ValueError("inputs hold 0 rows; evaluate on at least one.")
    if batch_size is not None and batch_size < 1:
        raise ValueError(f"batch_size={batch_size} must be at least 1, or None for all rows at once.")
    size = min(batch_size or rows, rows)

    def add_batch(sums: tuple[Array, Array], first: Array) -> tuple[tuple[Array, Array], None]:
        start = jnp.minimum(first, rows - size)
        batch_inputs = jax.lax.dynamic_slice_in_dim(inputs, start, size)
        batch_labels = jax.lax.dynamic_slice_in_dim(labels, start, size)
        logits = apply_fn(params, batch_inputs)
        fresh = start + jnp.arange(size) >= first
        losses = jnp.where(fresh, softmax_cross_entropy(logits, batch_labels), 0)
        correct = fresh & (jnp.argmax(logits, axis=-1) == batch_labels)
        return (sums[0] + losses.sum(dtype=jnp.float32), sums[1] + correct.sum(dtype=jnp.int32)), None

    zero = jnp.zeros((), jnp.float32), jnp.zeros((), jnp.int32)
    (loss, correct), _ = jax.lax.scan(add_batch, zero, jnp.arange(0, rows, size))
    return {"loss": loss / rows, "accuracy": correct.astype(jnp.float32) / rows}
