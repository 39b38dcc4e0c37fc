"""Lanes over 8 devices beside the same lanes one by one, for test_lane_devices; prints what it found as JSON."""

import json
import re
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax

from dpjax import HParams, example_gradient, make_train, poisson_sampler
from dpjax.checkpoints import Checkpoints
from dpjax.kept_lanes import InStretches, compile_kept_lanes, run_kept_lanes
from dpjax.sweeps import compile_lanes, run_lanes

LANES, STEPS = 11, 6
rows = np.random.default_rng(0).normal(size=(96, 16)).astype(np.float32)


def loss_fn(params, row, key):
    loss = jnp.sum((jnp.tanh(row @ params) - 1) ** 2)
    return loss, {"loss": loss}


def run(arrays):
    return make_train(
        lambda key: jax.random.normal(key, (16, 8)),
        example_gradient(loss_fn),
        arrays,
        sampler=poisson_sampler(96, 0.2, num_steps=STEPS, capacity=40),
        num_steps=STEPS,
        make_optimizer=lambda h: optax.sgd(h.learning_rate),
    )


def train(arrays, hparams, key):
    return run(arrays)(hparams, key)[0].params


stretches = InStretches(
    lambda arrays, h, key: run(arrays).begin(h, key),
    lambda arrays, progress, start, stop, h, key: run(arrays).advance(progress, start, stop, h, key),
    lambda arrays, progress, h, key: run(arrays).finish(progress, h, key)[0].params,
    STEPS,
)
points = [HParams(learning_rate=0.1 * (i % 3 + 1), noise_multiplier=float(i % 4)) for i in range(LANES)]
seeds = list(range(LANES))
alone = jax.jit(train)
expected = [np.asarray(alone(rows, jax.tree.map(jnp.float32, points[i]), jax.random.key(i))) for i in seeds]
one_by_one = compile_kept_lanes(stretches, rows, num_lanes=1)
expected_kept = {
    lane.index: lane.output for lane in run_kept_lanes(one_by_one, points, seeds, [None] * LANES, seconds=60)
}


def equal(lanes, to):
    found = {lane.index: lane.output for lane in lanes}
    return [bool(np.array_equal(found[i], to[i])) for i in seeds]


report = {"devices": jax.device_count(), "kinds": {}}
for lanes in ("map", "vmap", "2"):
    program = compile_lanes(train, rows, num_lanes=LANES, lanes=lanes)
    messages = re.findall(r"(?:all-reduce|all-gather|all-to-all|collective-permute)\(", program.call.as_text())  # pyright: ignore[reportFunctionMemberAccess]
    kept = compile_kept_lanes(stretches, rows, num_lanes=LANES, lanes=lanes)
    report["kinds"][lanes] = {
        "width": list(program.width),
        "equal": equal(run_lanes(program, points, seeds), expected),
        "messages": len(messages),
        "kept_equal": equal(run_kept_lanes(kept, points, seeds, [None] * LANES, seconds=60), expected_kept),
    }


class Killed(BaseException):
    pass


class Killing(Checkpoints):
    """Ends the run once a state of it is on disk."""

    def save(self, step, tree):
        super().save(step, tree)
        self.close()
        raise Killed


kept = compile_kept_lanes(stretches, rows, num_lanes=LANES, lanes="map")
folder = Path(sys.argv[1])
try:
    list(run_kept_lanes(kept, points, seeds, [Killing(folder / str(i), {}) for i in seeds], seconds=1e-9))
except Killed:
    report["killed"] = True
places = [Checkpoints(folder / str(i), {}) for i in seeds]
report["resumed"] = equal(run_kept_lanes(kept, points, seeds, places, seconds=60), expected_kept)
print(json.dumps(report))
