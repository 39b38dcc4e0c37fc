"""Runs on a mesh of 8 devices beside the same runs on one, for test_layout; prints what it found as JSON."""

import json
import re
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import AxisType
from jax.sharding import PartitionSpec as P

from dpjax import (
    Cohort,
    HParams,
    UnitData,
    client_delta,
    cyclic_sampler,
    example_gradient,
    fixed_size_sampler,
    make_train,
    poisson_sampler,
)
from dpjax.accounting import banded_toeplitz, buffered_toeplitz
from dpjax.clipping import Engine, Summing, adaptive_clipping, clipped_sum, flat_clipping, per_layer_clipping
from dpjax.correlated_noise import correlated_privatizer
from dpjax.noise import gaussian_privatizer

WIDTH, ROWS, CAPACITY, STEPS = 384, 96, 32, 4


def init(key):
    keys = jax.random.split(key, 2)
    layers = {
        f"l{i}": {"w": jax.random.normal(k, (WIDTH, WIDTH)) / WIDTH**0.5, "b": jnp.zeros(WIDTH)}
        for i, k in enumerate(keys)
    }
    return layers | {"head": jax.random.normal(keys[0], (WIDTH, 3)) / WIDTH**0.5}


def loss_fn(params, row, key):
    h = row
    for i in range(2):
        h = jnp.tanh(h @ params[f"l{i}"]["w"] + params[f"l{i}"]["b"])
    keep = jax.random.bernoulli(key, 0.9, h.shape)  # a unit's key must follow its slot
    loss = jnp.sum((jnp.where(keep, h, 0) @ params["head"] - 1) ** 2)
    return loss, {"loss": loss}


rows = np.random.default_rng(0).normal(size=(ROWS, WIDTH)).astype(np.float32)
rows[5] = np.nan
hparams = HParams(learning_rate=1e-2, clip_norm=0.5, noise_multiplier=0.7)
sampler = poisson_sampler(ROWS, 0.2, num_steps=STEPS, capacity=CAPACITY)
clients = UnitData(jnp.asarray(rows.reshape(24, 4, WIDTH)), jnp.ones((24, 4), bool))
cyclic = cyclic_sampler(ROWS, 24)
banded = banded_toeplitz(cyclic.sampling.participation(STEPS), 2)
buffered = buffered_toeplitz(cyclic.sampling.participation(STEPS), buffers=2)

momentum = partial(optax.sgd, momentum=0.9)


def run(
    mesh,
    engine="auto",
    layout=None,
    rule=flat_clipping(),  # noqa: B008 - frozen
    noise=gaussian_privatizer,
    learner=example_gradient(loss_fn),  # noqa: B008 - frozen
    optimizer=momentum,
    sampler=sampler,
    units=rows,
):
    train = make_train(
        init,
        learner,
        units,
        sampler=sampler,
        num_steps=STEPS,
        make_optimizer=lambda h: optimizer(h.learning_rate),
        sum_factory=Summing(rule, engine=Engine(engine, microbatch_size=4, mesh=mesh, layout=layout)),
        noise=noise,
    )
    compiled = jax.jit(train).lower(hparams, jax.random.key(3)).compile()
    state, history = compiled(hparams, jax.random.key(3))
    return compiled, jax.device_get((state.params, state.optimizer_state)), history, state


def error(a, b):
    gaps = jax.tree.map(lambda x, y: float(np.max(np.abs(np.asarray(x) - np.asarray(y)))), a, b)
    return max(jax.tree.leaves(gaps))


def mesh_of(data, model):
    devices = jax.devices()[: data * model]
    return jax.make_mesh((data, model), ("data", "model"), axis_types=(AxisType.Auto,) * 2, devices=devices)


def bytes_of(compiled):
    m = compiled.memory_analysis()
    return m.argument_size_in_bytes + m.output_size_in_bytes + m.temp_size_in_bytes


report = {"devices": jax.device_count(), "meshes": {}, "kinds": {}}
alone, expected, history, _ = run(None, "microbatch")
report["rejected"] = int(np.sum(history.report.num_rejected))
for data, model in [(1, 2), (1, 4), (1, 8), (2, 4), (8, 1)]:
    compiled, found, spread, state = run(mesh_of(data, model), "microbatch")
    hlo = compiled.as_text() or ""
    body = [line for line in hlo.splitlines() if re.search(r" all-reduce(-start)?\(", line)]
    report["meshes"][f"{data}x{model}"] = {
        "error": error(expected, found),
        "history": error(history.report.mean_norm, spread.report.mean_norm),
        "rejected": int(np.sum(spread.report.num_rejected)),
        "memory": bytes_of(compiled) / bytes_of(alone),
        "norm_messages": len([line for line in body if re.search(r"f32\[1,4\]", line)]),
        "own_part": state.params["l1"]["w"].addressable_shards[0].data.size / WIDTH**2,
        "own_moments": state.optimizer_state[0].trace["l1"]["w"].addressable_shards[0].data.size / WIDTH**2,
        "whole_noise": f"f32[{WIDTH},{WIDTH}]" in hlo,
    }
mesh = mesh_of(2, 4)
kinds = {
    "auto": {},
    "per layer": {"rule": per_layer_clipping()},
    "adaptive": {"noise": adaptive_clipping()},
    "rows": {"layout": lambda path, shape: P("model") if len(shape) == 2 and shape[0] == WIDTH else P()},
    # Adam divides a gradient near 0 by itself, so that its rounding is part of a step of 0.01.
    "adam": {"optimizer": optax.adam},
    "banded noise": {"sampler": cyclic, "noise": partial(correlated_privatizer, factorization=banded)},
    "buffered noise": {"sampler": cyclic, "noise": partial(correlated_privatizer, factorization=buffered)},
    "clients": {
        "learner": client_delta(loss_fn, optax.sgd(0.01), num_steps=2),
        "units": clients,
        "sampler": poisson_sampler(24, 0.3, num_steps=STEPS, capacity=CAPACITY),
    },
}
for name, kind in kinds.items():
    one = {k: v for k, v in kind.items() if k != "layout"}
    report["kinds"][name] = error(run(None, **one)[1], run(mesh, **kind)[1])

# One unit taken away moves the sum by no more than the clip norm, whatever lies where.
params, key = init(jax.random.key(1)), jax.random.key(2)
moved = []
summed = jax.jit(clipped_sum(example_gradient(loss_fn), microbatch_size=4, mesh=mesh))
big = Cohort(jnp.asarray(np.nan_to_num(rows[:16]) * 100 + 300), jnp.ones(16, bool))
with_all = summed(params, big, key, 0.25)
for unit in (0, 7, 15):
    without = summed(params, big._replace(mask=big.mask.at[unit].set(False)), key, 0.25)
    gap = jax.tree.map(lambda a, b: np.asarray(a, float) - np.asarray(b, float), with_all.total, without.total)
    moved.append(float(np.sqrt(sum(np.sum(x**2) for x in jax.tree.leaves(gap)))))
report["moved"] = moved

# A parameter that nothing reads is told from one that moved, in a whole run and in stretches.
train = make_train(
    lambda key: {"read": jnp.zeros(4), "idle": jax.random.normal(key, (16, 24)) / 4},
    example_gradient(lambda params, row, key: jnp.sum((row @ params["read"] - 1) ** 2)),
    np.ones((8, 4), np.float32),
    sampler=fixed_size_sampler(8, 8),
    num_steps=2,
    make_optimizer=lambda hparams: optax.sgd(0.1),
    sum_factory=Summing(engine=Engine(mesh=mesh, layout=lambda path, shape: P(None, "model") if shape[1:] else P())),
)
point = HParams(clip_norm=1.0, noise_multiplier=0.0), jax.random.key(0)
begin, advance, finish = jax.jit(train.begin), jax.jit(train.advance), jax.jit(train.finish)
histories = jax.jit(train)(*point)[1], finish(advance(begin(*point), 0, 2, *point), *point)[1]
report["unmoved"] = [{name: bool(still) for name, still in history.unmoved.items()} for history in histories]
print(json.dumps(report))
