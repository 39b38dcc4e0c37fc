#!/usr/bin/env bash
# Guess: a file of JAX's persistent compilation cache that was cut off (a job killed while it was written, a full
# disk) is noticed, compiled anew and written again. Seen (jax 0.12.0.1, CPU): it is noticed, with a warning, and
# compiled anew, but never written again: put() returns where a file of that name exists, whatever is in it. Each
# later run of that program warns and compiles, for as long as the folder lives. And files are written in place, not
# moved there, so that a kill at that moment leaves such a one. Hurts: sweeps under a scheduler, which are killed by
# time limits and started again on the same shared folder: the largest program, the longest to write, is the one
# that is cut off, and costs its minutes of compilation in every job from then on. Remove what warns.
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
cat > job.py <<'PY'
import collections, warnings
import jax, jax.numpy as jnp
jax.config.update("jax_compilation_cache_dir", "programs")
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
counts = collections.Counter()
jax.monitoring.register_event_listener(lambda event, **facts: counts.update([event.rsplit("/", 1)[1]]))
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    jax.jit(lambda x: jnp.tanh(x) @ x).lower(jnp.zeros((8, 8))).compile()
print(counts["cache_hits"], sum("persistent compilation cache" in str(w.message) for w in caught))
PY
job() { env -u JAX_COMPILATION_CACHE_DIR JAX_PLATFORMS=cpu "$work/venv/bin/python" job.py; }
job >/dev/null
fresh="$(job)"
file="$(ls -S programs/*-cache | head -1)"
for each in programs/*-cache; do  # as a kill leaves it: half of it
  head -c "$(( $(wc -c < "$each") / 2 ))" "$each" > half && cp half "$each"
done
size="$(wc -c < "$file")"
first="$(job)"; second="$(job)"; third="$(job)"
echo "hits and warnings of a run: whole files $fresh; cut off, run after run: $first, $second, $third"
echo "bytes of the largest file after three runs: $(wc -c < "$file"), as it was cut: $size"
test "$(wc -c < "$file")" = "$size"
test "${fresh% *}" -ge 1 && test "${fresh#* }" = 0
for seen in "$first" "$second" "$third"; do test "${seen#* }" -ge 1; done
