"""Parameters spread over a mesh's second axis, on 8 forced host devices: same numbers, an eighth of the memory."""

import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import AxisType
from jax.sharding import PartitionSpec as P

from dpjax.clipping import Engine, clipped_sum
from dpjax.clipping.layout import Shards, largest_axis, specs

PROGRAM = Path(__file__).parent / "on_devices" / "spread_parameters.py"


@pytest.fixture(scope="module")
def report():
    flags = os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8"
    done = subprocess.run(
        [sys.executable, PROGRAM], env=os.environ | {"XLA_FLAGS": flags}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


@pytest.mark.parametrize("shape", ["1x2", "1x4", "1x8", "2x4", "8x1"])
def test_every_mesh_agrees_with_one_device(report, shape):
    found = report["meshes"][shape]
    assert found["error"] < 1e-5
    assert found["history"] < 1e-4  # of norms near 30
    assert found["rejected"] == report["rejected"] > 0


@pytest.mark.parametrize(("shape", "devices"), [("1x2", 2), ("1x4", 4), ("1x8", 8), ("2x4", 4)])
def test_a_device_holds_its_part_alone(report, shape, devices):
    found = report["meshes"][shape]
    assert found["own_part"] == found["own_moments"] == 1 / devices
    assert found["memory"] < 1.33 / devices  # at 8: below a sixth
    assert not found["whole_noise"]


@pytest.mark.parametrize("shape", ["1x2", "1x4", "1x8", "2x4"])
def test_norms_take_one_message_a_microbatch(report, shape):
    assert report["meshes"][shape]["norm_messages"] == 1


@pytest.mark.parametrize(
    ("kind", "most"),
    [
        ("auto", 1e-5),
        ("per layer", 1e-5),
        ("adaptive", 1e-5),
        ("rows", 1e-5),
        ("adam", 1e-4),
        ("banded noise", 1e-5),
        ("buffered noise", 1e-5),
        ("clients", 1e-5),
    ],
)
def test_every_kind_of_run_agrees_with_one_device(report, kind, most):
    assert report["kinds"][kind] < most


def test_a_unit_moves_the_sum_by_no_more_than_the_clip_norm(report):
    assert all(0.2 < moved <= 0.25 * (1 + 1e-5) for moved in report["moved"])


def test_what_ended_as_it_began_is_known_wherever_it_lies(report):
    assert report["unmoved"] == [{"idle": True, "read": False}] * 2


def test_a_parameter_lies_over_its_longest_axis_that_divides():
    assert largest_axis((1000, 768), "model", 8) == P("model")
    assert largest_axis((50257, 768), "model", 8) == P(None, "model")
    assert largest_axis((768, 768), "model", 8) == P(None, "model")
    assert largest_axis((3, 3, 64, 128), "model", 8) == P(None, None, None, "model")
    assert largest_axis((8,), "model", 8) == P()  # too small to be worth a message
    assert largest_axis((1013, 1013), "model", 8) == P()


MESH = jax.make_mesh((1, 1), ("data", "model"), axis_types=(AxisType.Auto,) * 2)


class Eight(Shards):
    """A mesh of one device that says it has eight."""

    @property
    def size(self):
        return 8


@pytest.mark.parametrize(
    ("layout", "error", "said"),
    [
        (None, ValueError, "mesh axis 'model' has 8 devices, which divide no axis of a parameter of 16,384 numbers"),
        (lambda path, shape: "model", TypeError, r"layout\(\"\['w'\]\", \(1013, 1013\)\) returned 'model'"),
        (lambda path, shape: P("data"), ValueError, "name the axis 'model' once"),
        (lambda path, shape: P("model", "model"), ValueError, "name the axis 'model' once"),
        (lambda path, shape: P("model"), ValueError, "axis 0 has length 1013, which 8 devices can't share evenly"),
        (lambda path, shape: P(None, None, "model"), ValueError, "axis 2 has length None"),
        (lambda path, shape: P(), ValueError, r"layout leaves every parameter whole .*\(1013, 1013\).*; name the axis"),
        (lambda path, shape: {"['v']": P("model")}.get(path, P()), ValueError, "paths of this very model"),
    ],
)
def test_a_layout_that_does_not_fit_is_refused_in_a_sentence(layout, error, said):
    with pytest.raises(error, match=said):
        specs(Eight(MESH, layout), {"w": jnp.zeros((1013, 1013))})


def test_a_mesh_for_no_parameters_at_all_is_refused_in_a_sentence():
    with pytest.raises(ValueError, match="which divide no axis of a parameter"):
        specs(Eight(MESH, None), {})


def test_an_engine_that_can_not_be_spread_is_refused():
    three = jax.make_mesh((1, 1, 1), ("a", "b", "c"), axis_types=(AxisType.Auto,) * 3)
    with pytest.raises(ValueError, match="mesh has axes"):
        Engine(mesh=three)
    with pytest.raises(ValueError, match="give a mesh that has one"):
        Engine(layout=lambda path, shape: P())
    with pytest.raises(TypeError, match="layout"):
        Engine(mesh=MESH, layout=3)  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="engine='bookkeeping' takes norms layer by layer"):
        clipped_sum(lambda params, unit, key: (params, {}), engine="bookkeeping", mesh=MESH)


def test_rows_of_a_mesh_with_fewer_filled_slots_wait_for_the_others():
    """Or else a device that sends a part of a parameter waits for one that has left the loop, and none ever ends."""
    flags = os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=4"
    program = PROGRAM.parent / "uneven_rows.py"
    done = subprocess.run(
        [sys.executable, program], env=os.environ | {"XLA_FLAGS": flags}, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert max(json.loads(done.stdout).values()) < 1e-5
