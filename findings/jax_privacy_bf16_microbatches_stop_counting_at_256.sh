#!/usr/bin/env bash
# Guess: clipped_grad's microbatch_size trades memory for time and leaves the sum of clipped gradients alone, up
# to rounding (1 % in bfloat16). Seen (jax-privacy 2.0.0): microbatches are added up in the gradients' own type.
# In bfloat16 a sum that is 256 times its next term no longer grows, so with microbatch_size=1 examples after the
# 256th count for nothing: 4,096 agreeing examples give the sum of 256, 16 times too small; at 8 a batch of 16,384
# gives an eighth; float16 stops at 2,048. Without microbatches, and in float32, the sum is right. Hurts: large
# batches in small microbatches are how private training is run, and the noise is scaled to a sum that never
# arrives: utility falls by an order of magnitude with a setting thought to be neutral, and the order of rows
# decides who trains. No warning; dtype=float32 is the remedy.
set -euo pipefail
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
cd "$work"  # so that no project's constraints hold here
if uv --version >/dev/null 2>&1; then
  uv venv -q --python 3.12 "$work/venv"
  uv pip install -q --python "$work/venv/bin/python" 'jax==0.12.0.1' 'jaxlib==0.12.0.1' 'jax-privacy==2.0.0' numpy
else  # PYTHON: an interpreter of 3.12 or later
  "${PYTHON:-python3}" -m venv "$work/venv"
  "$work/venv/bin/python" -m pip install -q 'jax==0.12.0.1' 'jaxlib==0.12.0.1' 'jax-privacy==2.0.0' numpy
fi
"$work/venv/bin/python" -W ignore - <<'PY'
import jax, jax.numpy as jnp
from jax_privacy import clipping
loss = lambda w, x: jnp.sum(w * x)

def share(dtype, examples, microbatch, accumulator=None):
    x = jnp.full((examples, 16), .25, dtype)           # every example's gradient has norm 1 = the clip norm
    grad = clipping.clipped_grad(loss, l2_clip_norm=1.0, microbatch_size=microbatch, dtype=accumulator)
    return float(jax.jit(grad)(jnp.zeros(16, dtype), x)[0]) / (.25 * examples)

got = {}
for dtype in jnp.float32, jnp.bfloat16, jnp.float16:
    for examples, microbatch in (256, 1), (4096, None), (4096, 1), (16384, 8), (4096, 64):
        got[dtype.__name__, examples, microbatch] = share(dtype, examples, microbatch)
        print(f"{dtype.__name__}: {examples} examples, microbatch_size={microbatch}: {got[dtype.__name__, examples, microbatch]:.3f} of the sum")
kept = share(jnp.bfloat16, 4096, 1, jnp.float32)
print(f"bfloat16 with dtype=float32: {kept:.3f}")
assert all(abs(v - 1) < .01 for k, v in got.items() if k[0] == "float32" or k[2] in (None, 64)) and abs(kept - 1) < .01
assert abs(got["bfloat16", 256, 1] - 1) < .01
assert got["bfloat16", 4096, 1] < .1 and got["bfloat16", 16384, 8] < .2 and got["float16", 4096, 1] < .6
PY
