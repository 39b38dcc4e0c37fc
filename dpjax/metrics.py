"""Losses and accuracies of classifiers, errors of numbers, and their mean over a data set of any length."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PyTree, Shaped

from dpjax.checks import whole_number
from dpjax.types import Metrics, Params, Records


def softmax_cross_entropy(
    logits: Float[Array | np.ndarray, "*batch classes"], label: Int[Array | np.ndarray, "*batch"]
) -> Float[Array, "*batch"]:
    """The negative log-likelihood of a class, in nats: log Σ exp(logits) less the class's own logit.

    Formal guarantees: none of privacy; it is a loss of ONE example, or of each in a batch, and couples none. Finite for
    all finite logits. For one example or any batch of them; nothing is averaged.

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


def predicted(logits: Float[Array | np.ndarray, "*batch classes"]) -> Int[Array, "*batch"]:
    """The class of the largest logit; ties go to the first. Of logits that decide nothing it is -1, which is no class.

    A NaN among the logits, or an infinite largest one, decides nothing: a model that diverged is right about no
    example, where a bare argmax would always say class 0.

    Formal guarantees: none of privacy; of one example it is computed from that example alone.

    Args:
      logits: ``[..., classes]``.

    Returns:
      ``[...]`` class numbers, int32.

    Example:
      >>> print(predicted(jnp.array([[0.0, 2.0], [0.0, jnp.nan], [0.0, -jnp.inf]])))
      [ 1 -1  0]
    """
    return jnp.where(jnp.isfinite(jnp.max(logits, axis=-1)), jnp.argmax(logits, axis=-1), -1)


def accuracy(
    logits: Float[Array | np.ndarray, "*batch classes"], labels: Int[Array | np.ndarray, "*batch"]
) -> Float[Array, ""]:
    """The share of examples whose largest logit is that of their class, as ``predicted`` decides.

    Formal guarantees: none of privacy; see ``evaluate``.

    Args:
      logits: ``[..., classes]``.
      labels: ``[...]`` class numbers.

    Returns:
      float32 scalar in [0, 1].

    Example:
      >>> print(accuracy(jnp.eye(4), jnp.array([0, 1, 2, 0])))
      0.75
    """
    return jnp.mean(predicted(logits) == labels, dtype=jnp.float32)


def evaluate(
    apply_fn: Callable[[Params, Array], Array],
    params: Params,
    inputs: Shaped[Array | np.ndarray, "rows *shape"],
    labels: Int[Array | np.ndarray, "rows"],
    *,
    batch_size: int | None = None,
) -> Metrics:
    """The mean loss and the accuracy of a classifier over a data set.

    Formal guarantees: none of privacy. Every row counts exactly once whatever the batch size: the last batch overlaps
    the one before instead of being padded, and rows counted already are left out. jit, vmap over ``params`` and grad
    apply. Its results are not private: evaluate on held-out data, or read them as diagnosis.

    Args:
      apply_fn: ``(params, inputs [batch, ...]) -> logits [batch, classes]``.
      params: of the model.
      inputs: ``[rows, ...]``, at least one row.
      labels: ``[rows]`` class numbers.
      batch_size: rows in memory at once; None: all.

    Returns:
      ``{"loss": nats per example, "accuracy": in [0, 1]}``, float32 scalars. Of logits that are NaN the loss is NaN
      and the accuracy 0.

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
    if batch_size is not None:
        batch_size = whole_number("batch_size", batch_size, fix="leave it out to take all rows at once")
    size = min(batch_size or rows, rows)

    def add_batch(sums: tuple[Array, Array], first: Array) -> tuple[tuple[Array, Array], None]:
        start = jnp.minimum(first, rows - size)
        batch_inputs = jax.lax.dynamic_slice_in_dim(inputs, start, size)
        batch_labels = jax.lax.dynamic_slice_in_dim(labels, start, size)
        logits = apply_fn(params, batch_inputs)
        fresh = start + jnp.arange(size) >= first
        losses = jnp.where(fresh, softmax_cross_entropy(logits, batch_labels), 0)
        correct = fresh & (predicted(logits) == batch_labels)
        return (sums[0] + losses.sum(dtype=jnp.float32), sums[1] + correct.sum(dtype=jnp.int32)), None

    zero = jnp.zeros((), jnp.float32), jnp.zeros((), jnp.int32)
    (loss, correct), _ = jax.lax.scan(add_batch, zero, jnp.arange(0, rows, size))
    return {"loss": loss / rows, "accuracy": correct.astype(jnp.float32) / rows}


def evaluate_numbers(
    apply_fn: Callable[[Params, Array], Array],
    params: Params,
    inputs: Shaped[Array | np.ndarray, "rows *shape"],
    labels: Float[Array | np.ndarray, "rows"],
    *,
    batch_size: int = 2048,
) -> Metrics:
    """The mean squared error and R² of a model of a number over a data set.

    Formal guarantees: none of privacy. Every row counts exactly once whatever the batch size.

    Args:
      apply_fn: ``(params, inputs [batch, ...]) -> numbers [batch, 1]``.
      params: of the model.
      inputs: ``[rows, ...]``, at least one row.
      labels: ``[rows]``, of any unit.
      batch_size: rows in memory at once.

    Returns:
      ``{"loss": squared error per example, "r2": 1 - loss / variance of the labels}``, float32 scalars; ``r2`` is NaN
      where all labels are one.

    Example:
      >>> found = evaluate_numbers(lambda params, inputs: inputs @ params, jnp.ones((1, 1)), jnp.eye(3)[:, :1],
      ...                          jnp.array([1.0, 0.0, 0.5]))
      >>> print(round(float(found["r2"]), 3))
      0.5
    """
    labels = jnp.asarray(labels)
    said = map_rows(lambda x: apply_fn(params, x[None])[0, 0], jnp.asarray(inputs), batch_size=batch_size)
    loss = jnp.mean(jnp.square(said - labels), dtype=jnp.float32)
    spread = jnp.var(labels)
    return {"loss": loss, "r2": jnp.where(spread > 0, 1 - loss / jnp.where(spread > 0, spread, 1), jnp.nan)}


def map_rows(
    function: Callable[[PyTree[Array]], PyTree[Array]],
    rows: PyTree[Shaped[Array | np.ndarray, "rows ..."]],
    *,
    batch_size: int,
) -> PyTree[Array]:
    """A function of one row, of every row: in batches of one size, so that it is compiled once.

    Formal guarantees: none of privacy. What ``jax.vmap(function)(rows)`` gives; the last batch begins early and only
    what is new of it counts, where ``jax.lax.map`` compiles the function again for the rest.

    Args:
      function: of one row, pure.
      rows: pytree, leaves ``[rows, ...]`` with at least one row.
      batch_size: rows in memory at once.

    Returns:
      pytree, leaves ``[rows, ...]``.

    Example:
      >>> map_rows(lambda x: 2 * x, jnp.arange(5), batch_size=2).tolist()
      [0, 2, 4, 6, 8]
    """
    number = jax.tree.leaves(rows)[0].shape[0]
    size = min(batch_size, number)
    if size == number:
        return jax.vmap(function)(rows)
    starts = np.minimum(np.arange(0, number, size), number - size)

    def batch(start: Array) -> PyTree[Array]:
        return jax.vmap(function)(
            jax.tree.map(lambda x: jax.lax.dynamic_slice_in_dim(jnp.asarray(x), start, size), rows)
        )

    def joined(found: Array) -> Array:
        new = number - size * (len(starts) - 1)
        return jnp.concatenate([found[:-1].reshape(-1, *found.shape[2:]), found[-1, size - new :]])

    return jax.tree.map(joined, jax.lax.map(batch, starts.astype(np.int32)))


def evaluate_units(
    apply_fn: Callable[[Params, Array], Array],
    params_of: Callable[[PyTree[Array]], Params],
    records: Records,
    inputs: Shaped[Array | np.ndarray, "rows *shape"],
    labels: Int[Array | np.ndarray, "rows"],
    *,
    states: PyTree[Array] = (),
    batch_size: int = 2048,
) -> Float[Array, "units"]:
    """The accuracy on each unit's own rows; NaN for a unit that has none.

    Formal guarantees: none of privacy: it says how well the model fits each client.

    Args:
      apply_fn: ``(params, inputs [batch, ...]) -> logits [batch, classes]``.
      params_of: a unit's state → the parameters it predicts with.
      records: ``[units, records]`` into the rows.
      inputs: ``[rows, ...]``.
      labels: ``[rows]`` class numbers.
      states: pytree, leaves ``[units, ...]``; ``()`` if all predict with the same parameters, which are then applied
        to every row once.
      batch_size: rows at once where all predict with the same parameters.

    Returns:
      float32 ``[units]``, shares in [0, 1].

    Example:
      >>> owners = Records(jnp.array([[0, 1], [2, 0]]), jnp.array([[True, True], [True, False]]))
      >>> apply_fn = lambda params, inputs: inputs @ params
      >>> print(evaluate_units(apply_fn, lambda _: jnp.eye(3), owners, jnp.eye(3), jnp.array([0, 0, 2])))
      [0.5 1. ]
    """

    def share(correct: Array, mask: Array) -> Array:
        hits, rows = (jnp.sum(x, axis=-1, dtype=jnp.float32) for x in (correct & mask, mask))
        return hits / rows

    if not jax.tree.leaves(states):
        params = params_of(())
        predictions = map_rows(
            lambda x: predicted(apply_fn(params, x[None])[0]), jnp.asarray(inputs), batch_size=batch_size
        )
        return share((predictions == labels)[records.index], records.mask)

    def one(unit: tuple[Records, PyTree[Array]]) -> Array:
        members, state = unit
        logits = apply_fn(params_of(state), jnp.asarray(inputs)[members.index])
        return share(predicted(logits) == jnp.asarray(labels)[members.index], members.mask)

    return jax.lax.map(one, (records, states))
