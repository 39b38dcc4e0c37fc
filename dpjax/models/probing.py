"""How much vectors say about classes: a linear head on some of them, scored on others."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from dpjax import metrics
from dpjax.models.dense import logistic

STEPS, RATE = 300, 0.005
"""Of the head, without noise: on a few hundred vectors this is early stopping."""


def head_scores(
    known: tuple[np.ndarray, np.ndarray], asked: tuple[np.ndarray, np.ndarray], num_classes: int
) -> dict[str, float]:
    """A logistic regression of one set of vectors, scored on another; not private by itself.

    Args:
      known: vectors ``[texts, width]`` and classes ``[texts]`` to learn from.
      asked: those to be tested on.
      num_classes: of both.
    """
    model = logistic(num_classes=num_classes, input_shape=known[0].shape[1:])
    batched = jax.vmap(lambda params, x: model.apply(params, x, None), in_axes=(None, 0))
    optimizer = optax.adam(RATE)

    def loss(params: Any, inputs: Any, labels: Any) -> Any:
        return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(batched(params, inputs), labels))

    @jax.jit
    def fit(inputs: Any, labels: Any) -> Any:
        def step(carry: Any, _: None) -> tuple[Any, None]:
            params, state = carry
            updates, state = optimizer.update(jax.grad(loss)(params, inputs, labels), state)
            return (optax.apply_updates(params, updates), state), None

        start = model.init(jax.random.key(0))
        return jax.lax.scan(step, (start, optimizer.init(start)), None, STEPS)[0][0]

    @jax.jit
    def score(params: Any, inputs: Any, labels: Any) -> Any:
        return metrics.accuracy(batched(params, inputs), labels), loss(params, inputs, labels)

    params = fit(*known)
    scores = {}
    for split, rows in {"train": known, "test": asked}.items():
        scores[f"{split}_accuracy"], scores[f"{split}_loss"] = map(float, score(params, *rows))
    return scores
