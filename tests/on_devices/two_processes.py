"""One of two processes that train together over `jax.distributed`, for test_two_processes; prints JSON."""

import hashlib
import json
import sys

import jax

number, port = int(sys.argv[1]), sys.argv[2]
jax.config.update("jax_cpu_collectives_implementation", "gloo")
jax.distributed.initialize(f"127.0.0.1:{port}", num_processes=2, process_id=number)

import jax.numpy as jnp  # noqa: E402 - after the processes have met
import numpy as np  # noqa: E402
import optax  # noqa: E402
from jax.experimental import multihost_utils  # noqa: E402
from jax.sharding import AxisType  # noqa: E402

from dpjax import HParams, example_gradient, make_train, poisson_sampler  # noqa: E402
from dpjax.clipping import Engine, Summing  # noqa: E402

WIDTH, STEPS = 384, 4


def init(key):
    return {"w": jax.random.normal(key, (WIDTH, WIDTH)) / WIDTH**0.5, "b": jnp.zeros(WIDTH)}


def loss_fn(params, row, key):
    loss = jnp.sum((jnp.tanh(row @ params["w"] + params["b"]) - 1) ** 2)
    return loss, {"loss": loss}


rows = np.random.default_rng(0).normal(size=(96, WIDTH)).astype(np.float32)
hparams = HParams(learning_rate=1e-2, clip_norm=0.5, noise_multiplier=0.7)


def run(mesh):
    train = make_train(
        init,
        example_gradient(loss_fn),
        rows,
        sampler=poisson_sampler(96, 0.2, num_steps=STEPS, capacity=32),
        num_steps=STEPS,
        make_optimizer=lambda h: optax.sgd(h.learning_rate, momentum=0.9),
        sum_factory=Summing(engine=Engine("microbatch", microbatch_size=4, mesh=mesh)),
    )
    state, _ = jax.jit(train)(hparams, jax.random.key(3))
    own = {name: leaf.addressable_shards[0].data.size / leaf.size for name, leaf in state.params.items()}
    return multihost_utils.process_allgather(state.params, tiled=True) if mesh else jax.device_get(state.params), own


report = {"processes": jax.process_count(), "devices": jax.device_count(), "runs": {}}
shapes = {"alone": None, "data": (jax.device_count(), 1), "both": (2, jax.device_count() // 2)}
for name, shape in shapes.items():
    mesh = shape and jax.make_mesh(shape, ("data", "model"), axis_types=(AxisType.Auto,) * 2)
    params, own = run(mesh)
    report["runs"][name] = {"own": own, "w": np.asarray(params["w"]).ravel()[::997].tolist()}
    report["runs"][name]["digest"] = hashlib.sha256(np.ascontiguousarray(params["w"]).tobytes()).hexdigest()
print(json.dumps(report))
