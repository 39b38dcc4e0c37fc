"""Small problems that several test files sum up or train on."""

import jax
import jax.numpy as jnp
import numpy as np

from dpjax import example_gradient


def inner_product(w, x, key):
    """A loss whose gradient is the unit: what a unit sends is itself."""
    return w @ x


ITSELF = example_gradient(inner_product)


def softmax_loss(params, example, key):
    """Cross-entropy of a linear model of features and a class."""
    x, y = example
    return -jax.nn.log_softmax(x @ params["w"] + params["b"])[y]


def three_classes(rows):
    """Features ``[rows, 6]``, classes, parameters for ``softmax_loss``, and the generator that goes on from there."""
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(size=(rows, 6)), jnp.float32)
    y = jnp.asarray(rng.integers(0, 3, rows))
    params = {"w": jnp.asarray(rng.normal(size=(6, 3)), jnp.float32), "b": jnp.zeros(3)}
    return x, y, params, rng
