"""A cohort spread over 8 forced host devices: same numbers, one all-reduce."""

import json
import os
import subprocess
import sys

import pytest

PROGRAM = """
import json, re
import jax, jax.numpy as jnp, numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec as P
from dpjax import Cohort, clipped_sum, example_gradient
from dpjax.gaussian import standard_normal

def loss_fn(params, example, key):
    h = jnp.tanh(example @ params["w"] + params["b"])
    keep = jax.random.bernoulli(key, 0.5, h.shape)  # a unit's key must follow its slot over devices
    return jnp.sum(jnp.where(keep, h, 0) @ params["v"])

keys = jax.random.split(jax.random.key(0), 4)
params = {"w": jax.random.normal(keys[0], (5, 7)), "b": jnp.zeros(7), "v": jax.random.normal(keys[1], (7, 3))}
x = jax.random.normal(keys[2], (32, 5)).at[3].set(jnp.nan)
cohort = Cohort(x, jnp.arange(32) < 27)
mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
sharded = jax.device_put(cohort, NamedSharding(mesh, P("data")))
params_everywhere = jax.device_put(params, NamedSharding(mesh, P()))
report = {"devices": jax.device_count()}
for engine in ("materialize", "microbatch", "bookkeeping", "auto"):
    alone = jax.jit(clipped_sum(example_gradient(loss_fn), engine=engine, microbatch_size=2))
    spread = jax.jit(clipped_sum(example_gradient(loss_fn), engine=engine, microbatch_size=2, mesh=mesh))
    key = jax.random.key(7)
    a, b = alone(params, cohort, key, 0.5), spread(params_everywhere, sharded, key, 0.5)
    hlo = spread.lower(params_everywhere, sharded, key, 0.5).compile().as_text()
    report[engine] = {
        "error": max(float(np.max(np.abs(np.asarray(p) - np.asarray(q)))) for p, q in
                     zip(jax.tree.leaves((a.total, a.norms, a.aux)), jax.tree.leaves((b.total, b.norms, b.aux)))),
        "rejected": [int(a.num_rejected), int(b.num_rejected)],
        "all_reduces": len(re.findall(r"= \\S+ all-reduce(?:-start)?\\(", hlo)),
        "others": len(re.findall(r"(?:all-gather|all-to-all|collective-permute|reduce-scatter)(?:-start)?\\(", hlo)),
        "norms_on": len(b.norms.sharding.device_set),
    }
by_rows = NamedSharding(jax.make_mesh((8,), ("model",), axis_types=(AxisType.Auto,)), P("model"))
draw = jax.jit(lambda key: standard_normal(key, (64, 48)), out_shardings=by_rows)
report["noise"] = {
    "hlo": draw.lower(key).compile().as_text(),
    "error": float(jnp.max(jnp.abs(draw(key) - jax.random.normal(key, (64, 48))))),
}
print(json.dumps(report))
"""


@pytest.fixture(scope="module")
def report():
    flags = os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8"
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=os.environ | {"XLA_FLAGS": flags}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


@pytest.mark.parametrize("engine", ["materialize", "microbatch", "bookkeeping", "auto"])
def test_eight_devices_agree_with_one_and_exchange_one_message(report, engine):
    assert report["devices"] == 8
    found = report[engine]
    assert found["error"] < 1e-5  # of norms and sums near 10
    assert found["rejected"] == [1, 1]
    assert found["all_reduces"] == 1
    assert found["others"] == 0
    assert found["norms_on"] == 8


def test_noise_is_drawn_where_it_lies(report):
    assert report["noise"]["error"] < 1e-6
    assert "f32[64,48]" not in report["noise"]["hlo"]  # no device holds more than its rows
    assert "f32[8,48]" in report["noise"]["hlo"]
    assert "all-" not in report["noise"]["hlo"]
