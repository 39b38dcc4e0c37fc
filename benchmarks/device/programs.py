"""What is no step: lanes of a sweep, federated rounds, and noise by itself."""

import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks.device.memory import peak_bytes, risen
from benchmarks.device.works import LLAMAS
from benchmarks.federated_rounds import works as federated
from benchmarks.federated_rounds.contestants import dpjax_rounds
from benchmarks.federated_rounds.measure import spread
from benchmarks.noise import compiled as compiled_noise
from benchmarks.step_time.timing import Runner, inner_steps, sizes
from dpjax import example_gradient, make_train, poisson_sampler
from dpjax.models import mlp
from dpjax.models.adapters import from_nnx
from dpjax.models.model import cross_entropy_loss
from dpjax.models.transformers import Added, Head, Plan, Transformer, tiny
from dpjax.noise import gaussian_privatizer
from dpjax.sweeps import compile_lanes, grid, run_lanes

SECONDS, MOST = 2.0, 50
"""What is timed by itself is repeated for so long, but no more often."""


def repeated(run: Runner, small: bool) -> dict[str, Any]:
    """Median and range of a few timings, after one that is not counted."""
    milliseconds = run(1)
    inner, times, started = (1 if small else inner_steps(milliseconds)), [], time.perf_counter()
    while not times or (not small and len(times) < MOST and time.perf_counter() - started < SECONDS):
        times.append(run(inner))
    return {name: value for name, value in spread(times).items() if name != "times_ms"}


def lanes(how: str, small: bool) -> dict[str, Any]:
    """A sweep's lanes; a step's time is that of all lanes by the number of lanes and steps."""
    rows, steps, points = (64, 2, 4) if small else (10_000, 100, 16)
    model = mlp(10, (784,), hidden=(128,))
    inputs = jax.random.normal(jax.random.key(0), (rows, 784))
    labels = jax.random.randint(jax.random.key(1), (rows,), 0, 10)
    batch = min(rows // 4, 256)

    def train(arrays: Any, hparams: Any, key: Any) -> Any:
        run = make_train(
            model.init,
            example_gradient(cross_entropy_loss(model)),
            arrays,
            sampler=poisson_sampler(rows, batch / rows, num_steps=steps),
            num_steps=steps,
            make_optimizer=lambda h: optax.sgd(h.learning_rate),
        )
        return run(hparams, key)[0].params

    hparams = grid(clip_norm=np.linspace(0.1, 1, points).tolist(), noise_multiplier=[1.0], learning_rate=[0.1])
    before = peak_bytes()
    program = compile_lanes(train, (inputs, labels), num_lanes=points, lanes=how, hparams=hparams[0])

    def run(inner: int) -> float:
        started = time.perf_counter()
        for _ in range(inner):
            list(run_lanes(program, hparams, [0] * points))
        return (time.perf_counter() - started) / (inner * points * steps) * 1e3

    row = repeated(run, small) | {"compile_s": program.compile_seconds, "note": f"{points} lanes of {steps} steps"}
    temporary, whole = sizes(program.call)  # pyright: ignore[reportArgumentType]
    return row | {"temp_bytes": temporary, "whole_bytes": whole} | risen(before)


def rounds(name: str, small: bool) -> dict[str, Any]:
    """Rounds of federated averaging, all of a run in one program."""
    work = federated.WORKS[name]()
    if small:
        owned = np.arange(200, dtype=np.int32).reshape(20, 10)
        work = work._replace(inputs=work.inputs[:200], labels=work.labels[:200], owned=owned, cohort=4, local_steps=1)
    before = peak_bytes()
    compiled = dpjax_rounds(work, 2 if small else 20)
    row = repeated(compiled.time, small) | {"compile_s": compiled.compile_seconds}
    return row | {"note": f"{work.cohort} of {len(work.owned):,} clients"} | risen(before)


def draws(what: str, small: bool) -> dict[str, Any]:
    """Noise on one matrix, or on every array of a Llama shape of 135M."""
    place, _, rival = what.partition(", ")
    before = peak_bytes()
    started = time.perf_counter()
    if place == "matrix":
        shape = (64, 64) if small else (4096, 4096)
        noised: Any = jnp.zeros(shape)
        compiled = compiled_noise(rival or "dpjax", shape)
        note = " × ".join(map(str, shape))
    else:
        noised = _arrays(small)
        compiled = jax.jit(_rival if rival else _ours).lower(noised, jax.random.key(3), jnp.float32(2)).compile()
        note = f"{len(noised)} arrays, {sum(x.size for x in noised):,} numbers"
    seconds = time.perf_counter() - started
    call: Callable[..., Any] = compiled

    def run(inner: int) -> float:
        began, after = time.perf_counter(), None
        for _ in range(inner):
            after = call(noised, jax.random.key(3), jnp.float32(2))
        jax.block_until_ready(after)
        return (time.perf_counter() - began) / inner * 1e3

    temporary, whole = sizes(compiled)
    row = repeated(run, small) | {"compile_s": seconds, "note": note}
    return row | {"temp_bytes": temporary, "whole_bytes": whole} | risen(before)


def _arrays(small: bool) -> list[jax.Array]:
    arch = tiny("llama") if small else LLAMAS["135m"]
    model = from_nnx(lambda rngs: Transformer(arch, Head("causal"), Added(), Plan(), rngs=rngs))
    return [jnp.zeros(leaf.shape) for leaf in jax.tree.leaves(jax.eval_shape(model.init, jax.random.key(0)))]


def _ours(arrays: Any, key: Any, stddev: Any) -> Any:
    privatizer = gaussian_privatizer(stddev, key)
    return privatizer.update(arrays, privatizer.init(arrays))[0]


def _rival(arrays: Any, key: Any, stddev: Any) -> Any:
    return [
        x + stddev * jax.random.normal(part, x.shape)
        for x, part in zip(arrays, jax.random.split(key, len(arrays)), strict=True)
    ]


PROGRAMS = {"lanes": lanes, "rounds": rounds, "draws": draws}
