#!/usr/bin/env bash
# Guess: how long XLA takes to compile 100 additions of slices of one array depends on how many there are. Seen (jax
# 0.12.0.1, CPU): on what tells them apart. Its CPU backend hands each DIFFERENT loop to LLVM once, and a constant
# inside a loop makes it different: 100 slices of equal length at constant offsets are 100 LLVM modules, the same
# slices at offsets that it can't see (dynamic_slice, the offsets behind an optimization_barrier) are one, and
# compile in a tenth of the time. A dynamic_slice at a plain constant is turned back into the first kind. Hurts:
# flattened gradients cut into leaves (ravel_pytree, fused optimizers, one draw of noise for all parameters), a key of
# its own for each leaf out of one split: all look like a cheap way to write it, and make a transformer's step compile
# for half a minute; a loop over layers that takes its constants as operands costs one layer.
set -euo pipefail
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
cd "$work"  # so that no project's constraints hold here
if uv --version >/dev/null 2>&1; then
  uv venv -q --python 3.12 "$work/venv"
  uv pip install -q --python "$work/venv/bin/python" 'jax==0.12.0.1' 'jaxlib==0.12.0.1' numpy
else  # PYTHON: an interpreter of 3.12 or later
  "${PYTHON:-python3}" -m venv "$work/venv"
  "$work/venv/bin/python" -m pip install -q 'jax==0.12.0.1' 'jaxlib==0.12.0.1' numpy
fi
cat > compile.py <<'PY'
import sys, time
import jax, jax.numpy as jnp
LENGTH, COUNT = 1000, 100
leaves = [jnp.zeros((25, 40)) for _ in range(COUNT)]

def cut(flat, leaves):
    flat = jax.lax.optimization_barrier(flat + 1)
    starts = [jnp.int32(LENGTH * i) for i in range(COUNT)]
    if sys.argv[1] == "hidden":
        starts = jax.lax.optimization_barrier(starts)
    if sys.argv[1] == "static":
        parts = [flat[LENGTH * i : LENGTH * (i + 1)] for i in range(COUNT)]
    else:
        parts = [jax.lax.dynamic_slice(flat, (start,), (LENGTH,)) for start in starts]
    return [leaf + 2 * part.reshape(leaf.shape) for leaf, part in zip(leaves, parts)]

lowered = jax.jit(cut).lower(jnp.zeros(LENGTH * COUNT), leaves)
print("BEGIN", file=sys.stderr, flush=True)
began = time.process_time()
lowered.compile()
print(f"{time.process_time() - began:.2f}")
PY
for way in static constant hidden; do
  seconds="$(env -u JAX_COMPILATION_CACHE_DIR -u XLA_FLAGS JAX_PLATFORMS=cpu TF_CPP_MIN_LOG_LEVEL=0 TF_CPP_VMODULE=ir_compiler=1 \
    "$work/venv/bin/python" compile.py "$way" 2>log)"
  modules="$(sed -n '/BEGIN/,$p' log | grep -c 'Compiled LLVM module' || true)"
  echo "$way offsets: $modules LLVM modules, $seconds processor seconds"
  eval "$way=$modules"
done
test "$static" -ge 90 && test "$constant" -ge 90 && test "$hidden" -le 10
