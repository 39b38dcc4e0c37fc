"""Lanes: one compilation, and every lane as if it had run alone."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dpjax import HParams, example_gradient, make_train, poisson_sampler
from dpjax.sweeps import compile_lanes, grid, parse_lanes, run_lanes

X = jax.random.normal(jax.random.key(0), (30, 4))
TRACES = []


def train(arrays, hparams, key):
    TRACES.append(1)
    run = make_train(
        lambda k: jax.random.normal(k, (4,)),
        example_gradient(lambda p, x, k: jnp.square(p @ x - 1.0)),
        arrays,
        sampler=poisson_sampler(30, 0.5, num_steps=6),
        num_steps=6,
        make_optimizer=lambda h: optax.sgd(h.learning_rate, h.momentum),
    )
    state, history = run(hparams, key)
    return state.params, history.steps["loss"]


POINTS = grid(HParams(learning_rate=0.1), clip_norm=[0.1, 1.0, 5.0], noise_multiplier=[0.0, 0.5])
POINTS[4] = POINTS[4]._replace(clip_norm=np.inf)  # the reference line: neither clipping nor noise
SEEDS = [3, 1, 4, 1, 5, 9]


def lanes_of(lanes, workers=1):
    fresh = lambda *arguments: train(*arguments)  # noqa: E731 - jax would remember the trace of `train` itself
    program = compile_lanes(fresh, X, num_lanes=len(POINTS), lanes=lanes)
    return {lane.index: lane for lane in run_lanes(program, POINTS, SEEDS, workers=workers)}


@pytest.mark.parametrize(("lanes", "workers"), [("vmap", 1), (4, 1), ("chunk(4)", 1), ("map", 3)])
def test_every_way_of_running_lanes_gives_the_same(lanes, workers):
    alone, other = lanes_of("map"), lanes_of(lanes, workers)
    assert sorted(other) == list(range(len(POINTS)))
    for i, lane in alone.items():
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), lane.output, other[i].output)


def test_a_sweep_is_traced_once():
    TRACES.clear()
    lanes_of("map")
    assert len(TRACES) == 1
    lanes_of("chunk(4)")  # the last chunk is half empty and needs no program of its own
    assert len(TRACES) == 2


def test_a_lane_does_not_depend_on_its_neighbours():
    program = compile_lanes(train, X, num_lanes=2, lanes="vmap")
    together = {lane.index: lane for lane in run_lanes(program, POINTS, SEEDS)}
    swapped = {lane.index: lane for lane in run_lanes(program, POINTS[::-1], SEEDS[::-1])}
    for i in range(6):
        np.testing.assert_array_equal(together[i].output[0], swapped[5 - i].output[0])


def test_noise_and_no_noise_share_a_program():
    lanes = lanes_of("map")
    assert not np.allclose(lanes[0].output[0], lanes[1].output[0])
    assert all(np.isfinite(lane.output[0]).all() for lane in lanes.values())


@pytest.mark.parametrize("lanes", ["chunk(0)", "chunk(x)", "all", "chunk()", "0", "-1", "2.5", "", 0, -1])
def test_unknown_lanes_are_named(lanes):
    with pytest.raises(ValueError, match="lanes="):
        parse_lanes(lanes)


def test_bad_axes_and_seeds_are_named():
    with pytest.raises(ValueError, match="'sigma' is no hyper-parameter"):
        grid(sigma=[1.0])
    program = compile_lanes(train, X, num_lanes=1)
    with pytest.raises(ValueError, match="6 hyper-parameters and 1 seeds"):
        list(run_lanes(program, POINTS, [0]))


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_a_seed_that_is_another_one_s_run_is_refused(seed):
    program = compile_lanes(lambda arrays, hparams, key: hparams.learning_rate, (), num_lanes=1)
    with pytest.raises(ValueError, match=r"^seed=.* must be"):
        next(run_lanes(program, [HParams()], [seed]))
