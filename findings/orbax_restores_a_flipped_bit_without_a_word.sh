#!/usr/bin/env bash
# Guess: a checkpoint that rotted on disk, one bit of it, is refused: its manifest and its index carry CRC-32C, and
# damage there is answered with DATA_LOSS. Seen (orbax-checkpoint 0.12.8, tensorstore 0.1.86, jax 0.12.0.1, CPU): the
# arrays' own bytes, all but the whole checkpoint, have no checksum. They are zstd frames without one, and float
# parameters barely compress, so that most of a file is stored as it is: 20 single bits flipped at even distances
# through the file give back the arrays without an error or a warning, most of them different. Hurts: who resumes from
# a checkpoint of a network or object store and says that the run is the same to the last bit, or audits one against
# the accounted noise. Keep a hash of the leaves beside it and compare after restoring.
set -euo pipefail
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
cd "$work"  # so that no project's constraints hold here
pins=('jax==0.12.0.1' 'jaxlib==0.12.0.1' 'orbax-checkpoint==0.12.8' 'tensorstore==0.1.86' 'numpy==2.5.4')
if uv --version >/dev/null 2>&1; then
  uv venv -q --python 3.12 "$work/venv"
  uv pip install -q --python "$work/venv/bin/python" "${pins[@]}"
else  # PYTHON: an interpreter of 3.12 or later
  "${PYTHON:-python3}" -m venv "$work/venv"
  "$work/venv/bin/python" -m pip install -q "${pins[@]}"
fi
cat > job.py <<'PY'
import pathlib, shutil, warnings
import jax, jax.numpy as jnp, numpy as np
import orbax.checkpoint as ocp

tree = {"w": jax.random.normal(jax.random.key(0), (300, 100)), "step": jnp.int32(7)}
like = jax.eval_shape(lambda: tree)
with ocp.CheckpointManager(pathlib.Path("whole").absolute()) as manager:
    manager.save(1, args=ocp.args.StandardSave(tree))
file = max((p for p in pathlib.Path("whole").rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)
size = file.stat().st_size
seen = {"refused": 0, "the same": 0, "different": 0}
for i in range(20):
    shutil.copytree("whole", "flipped")
    damaged = pathlib.Path("flipped") / file.relative_to("whole")
    content = bytearray(damaged.read_bytes())
    content[size * (i + 1) // 21] ^= 1
    damaged.write_bytes(content)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with ocp.CheckpointManager(pathlib.Path("flipped").absolute()) as manager:
                back = manager.restore(1, args=ocp.args.StandardRestore(like))
        same = all(np.array_equal(back[name], tree[name]) for name in tree)
        seen["the same" if same else "different"] += 1
    except Exception:
        seen["refused"] += 1
    shutil.rmtree("flipped")
print(f"one bit of {size:,} bytes of arrays flipped, 20 times:", seen)
assert seen["different"] >= 10, seen
PY
JAX_PLATFORMS=cpu "$work/venv/bin/python" job.py 2>/dev/null
