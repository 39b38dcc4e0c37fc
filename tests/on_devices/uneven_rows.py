"""Rows of a mesh with more and with fewer filled slots, while parts of parameters move between its devices."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import AxisType

from dpjax import HParams, example_gradient, make_train, poisson_sampler
from dpjax.clipping import Engine, Summing

WIDTH = 128


def init(key):
    keys = jax.random.split(key, 2)
    return {
        "qkv": jax.random.normal(keys[0], (WIDTH, 3 * WIDTH)) / 11,
        "out": jax.random.normal(keys[1], (WIDTH, WIDTH)) / 11,
    }


def loss_fn(params, row, key):
    # Thirds of an axis that halves of it are spread over: what lies on the other device is sent for.
    query, keys, values = jnp.split(row @ params["qkv"], 3, -1)
    return jnp.sum(jnp.tanh(query * jax.nn.sigmoid(keys) + values) @ params["out"]) ** 2 / WIDTH


rows = jnp.asarray(np.random.default_rng(0).normal(size=(200, WIDTH)).astype(np.float32))
devices = np.array(jax.devices()).reshape(2, 2)
found = {}
for name in ("auto", "microbatch"):
    ends = []
    for mesh in (None, jax.sharding.Mesh(devices, ("data", "model"), axis_types=(AxisType.Auto,) * 2)):
        train = make_train(
            init,
            example_gradient(loss_fn),
            rows,
            sampler=poisson_sampler(200, 0.1, num_steps=6, capacity=64),  # of 32 slots a row, the second's are empty
            num_steps=6,
            make_optimizer=lambda h: optax.sgd(h.learning_rate),
            sum_factory=Summing(engine=Engine(name, microbatch_size=4, mesh=mesh)),
        )
        state, _ = jax.jit(train)(HParams(learning_rate=0.1, clip_norm=0.5, noise_multiplier=1.0), jax.random.key(0))
        ends.append(jax.tree.map(np.asarray, state.params))
    far = jax.tree.map(lambda a, b: float(np.abs(a - b).max()), *ends)
    found[name] = max(jax.tree.leaves(far))
print(json.dumps(found))
