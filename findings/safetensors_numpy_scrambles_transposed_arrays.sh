#!/usr/bin/env bash
# Guess: safetensors.numpy.save_file writes any NumPy array so that load_file gives it back; strided ones are
# copied first (as torch's side does or refuses). Seen (safetensors 0.8.0): the bytes are taken from where the
# array's data starts, in memory order, and the shape from the view. A transposed or Fortran-ordered matrix comes
# back with the right shape and dtype, and its numbers in other places; every second row of a table comes back as
# its first rows. No error, no warning, the file validates. Hurts: carrying weights between JAX, Flax or NumPy and
# PyTorch is one long list of kernel.T; the saved model is noise with plausible statistics (norms, means and
# histograms are those of the original), and looks like a checkpoint that private training ruined.
# np.ascontiguousarray first is the remedy.
set -euo pipefail
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
cd "$work"  # so that no project's constraints hold here
if uv --version >/dev/null 2>&1; then
  uv venv -q --python 3.12 "$work/venv"
  uv pip install -q --python "$work/venv/bin/python" 'safetensors==0.8.0' numpy
else  # PYTHON: an interpreter of 3.12 or later
  "${PYTHON:-python3}" -m venv "$work/venv"
  "$work/venv/bin/python" -m pip install -q 'safetensors==0.8.0' numpy
fi
"$work/venv/bin/python" -W ignore - <<'PY'
import warnings, numpy as np
from safetensors.numpy import load_file, save_file
warnings.simplefilter("error")
rng = np.random.default_rng(0)
kernel = rng.normal(size=(64, 64)).astype(np.float32)
table = rng.normal(size=(100, 8)).astype(np.float32)
arrays = {"contiguous": kernel, "transposed": kernel.T, "fortran": np.asfortranarray(rng.normal(size=(3, 5))),
          "every_second_row": table[::2], "copied": np.ascontiguousarray(kernel.T)}
save_file(arrays, "weights.safetensors")
back = load_file("weights.safetensors")
same = {}
for name, array in arrays.items():
    assert back[name].shape == array.shape and back[name].dtype == array.dtype
    same[name] = bool(np.array_equal(back[name], array))
    print(f"{name}: equal {same[name]}, entries in place {np.mean(back[name] == array):.1%}, norm {np.linalg.norm(array):.4f} -> {np.linalg.norm(back[name]):.4f}")
assert same["contiguous"] and same["copied"]
assert not (same["transposed"] or same["fortran"] or same["every_second_row"])
assert np.array_equal(back["transposed"], kernel) and np.array_equal(back["every_second_row"], table[:50])
PY
