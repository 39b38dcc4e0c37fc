#!/usr/bin/env bash
# Guess: the matrix-factorisation privatizer of jax-privacy 2.0.0, made from a dense n x n matrix, raises (or
# turns to NaN) when it is asked for step n+1; others would guess fresh noise. Seen: rows are looked up with JAX's
# clamped indexing and the key never changes, so from step n+1 on each step gets exactly the noise of step n, bit
# for bit, without a warning. Hurts: train four steps longer than planned (an epoch of ceil instead of floor, a
# restart whose counter goes on) and the differences of released gradients have no noise in them at all, while the
# log goes on showing noise of the right size. No accountant can see it. The streaming privatizer has no such end,
# so swapping one for the other changes it.
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
import warnings
import jax.numpy as jnp, numpy as np
from jax_privacy import noise_addition
steps, extra = 8, 3
noising = np.linalg.inv(np.tril(np.ones((steps, steps)))).astype(np.float32)
with warnings.catch_warnings():
    warnings.simplefilter("error")
    privatizer = noise_addition.matrix_factorization_privatizer(noising, stddev=5.0, prng_key=0)
    state = privatizer.init(jnp.zeros(1000))
    released = []
    for step in range(steps + extra):
        gradient = jnp.full(1000, float(step))           # the secret
        noisy, state = privatizer.update(gradient, state)
        released.append(np.asarray(noisy, np.float64))
for step in range(1, steps + extra):
    difference = released[step] - released[step - 1]
    print(f"step {step + 1:>2} less step {step}: mean {difference.mean():+.3f}, standard deviation {difference.std():.2e}")
    if step < steps:
        assert difference.std() > 1
    else:
        assert abs(difference - 1.0).max() < 1e-5        # the two gradients' difference, in clear
PY
