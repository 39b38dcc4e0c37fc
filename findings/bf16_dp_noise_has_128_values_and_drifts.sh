#!/usr/bin/env bash
# Guess: optax's DP aggregation and jax-privacy's Gaussian privatizer, given bfloat16 gradients, add Gaussian
# noise that is drawn well and rounded to bfloat16 at the end. Seen (optax 0.2.8, jax-privacy 2.0.0, jax
# 0.12.0.1): both draw in the gradients' own type, and jax.random.normal in bfloat16 maps 7 random bits to a
# sample. Noise takes 128 values in all, never lies beyond 2.9 standard deviations, and its mean is not 0 but
# -0.012 sd in every coordinate and step (the grid of uniforms is not symmetric). Hurts: a Gaussian mechanism's
# delta lives in the tails that are missing, so no (epsilon, delta) of an accountant holds; and the bias is a
# drift that grows with the steps while noise grows with their root. Torch draws the same noise with 3,600 values
# and no bias.
set -euo pipefail
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
cd "$work"  # so that no project's constraints hold here
if uv --version >/dev/null 2>&1; then
  uv venv -q --python 3.12 "$work/venv"
  uv pip install -q --python "$work/venv/bin/python" 'jax==0.12.0.1' 'jaxlib==0.12.0.1' 'optax==0.2.8' 'jax-privacy==2.0.0' numpy
else  # PYTHON: an interpreter of 3.12 or later
  "${PYTHON:-python3}" -m venv "$work/venv"
  "$work/venv/bin/python" -m pip install -q 'jax==0.12.0.1' 'jaxlib==0.12.0.1' 'optax==0.2.8' 'jax-privacy==2.0.0' numpy
fi
"$work/venv/bin/python" -W ignore - <<'PY'
import jax, jax.numpy as jnp, numpy as np, optax
from jax_privacy import noise_addition
size, steps = 100_000, 400

def optax_noise(dtype):
    tx = optax.contrib.differentially_private_aggregate(l2_norm_clip=1.0, noise_multiplier=1.0, key=0)
    params = jnp.zeros(size, dtype)
    state = tx.init(params)
    def step(state):
        noise, state = tx.update(jnp.zeros((1, size), dtype), state, params)
        return noise, state
    return jax.jit(step), state

def privatizer_noise(dtype):
    tx = noise_addition.gaussian_privatizer(stddev=1.0, prng_key=0)
    state = tx.init(jnp.zeros(size, dtype))
    def step(state):
        noise, state = tx.update(jnp.zeros(size, dtype), state)
        return noise, state
    return jax.jit(step), state

for label, make in ("optax", optax_noise), ("jax-privacy", privatizer_noise):
    for dtype in jnp.float32, jnp.bfloat16:
        step, state = make(dtype)
        total, values, largest = np.zeros(size), set(), 0.0
        for _ in range(steps):
            noise, state = step(state)
            assert noise.dtype == dtype
            x = np.asarray(noise.astype(jnp.float32), np.float64)
            total += x
            largest = max(largest, abs(x).max())
            if len(values) < 100_000:
                values.update(np.unique(x).tolist())
        bias = total.mean() / steps       # standard error 1 / sqrt(size * steps) = 0.00016
        print(f"{label}, {dtype.__name__}: {len(values)} values in 4e7 draws (counted up to 1e5), largest {largest:.2f} sd, "
              f"mean {bias:+.4f} sd, after {steps} steps the sum is off by {total.mean() / steps**.5:+.2f} of its own sd")
        if dtype == jnp.bfloat16:
            assert len(values) == 128 and largest < 3 and bias < -.01
        else:
            assert len(values) > 50_000 and largest > 5 and abs(bias) < .001
PY
