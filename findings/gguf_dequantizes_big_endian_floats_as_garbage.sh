#!/usr/bin/env bash
# Guess: what GGUFReader reads of a big-endian file, dequantize turns into the numbers that were written, as it does of
# a little-endian one; both are of one package.
# Seen (gguf 0.19.0): the reader knows the file's byte order and its `tensor.data` is right (`>f4`, `>f2`). But
# dequantize(tensor.data, F32) looks at the same bytes as the machine's own floats: every number is another, some NaN
# or 1e38, and nothing is raised. F16 likewise. Norms, biases and unquantised tensors are of these types in every GGUF, so
# that a big-endian model loads by the documented two calls as noise. Blocks that GGUFWriter puts into the same file keep
# the machine's order, and come out right, which hides it. Hurts: a conversion pipeline that checks shapes and types
# passes; who sees a bad score looks for it in the training.
set -euo pipefail
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
cd "$work"  # so that no project's constraints hold here
packages=('gguf==0.19.0' numpy)
if uv --version >/dev/null 2>&1; then
  uv venv -q --python 3.12 "$work/venv"
  uv pip install -q --python "$work/venv/bin/python" "${packages[@]}"
else  # PYTHON: an interpreter of 3.12 or later
  "${PYTHON:-python3}" -m venv "$work/venv"
  "$work/venv/bin/python" -m pip install -q "${packages[@]}"
fi
"$work/venv/bin/python" -W ignore - <<'PY'
import gguf, numpy as np
from gguf import GGMLQuantizationType as Kind, GGUFEndian as Endian

numbers = np.linspace(-1, 1, 256, dtype=np.float32).reshape(4, 64)
right = {}
for endian in (Endian.LITTLE, Endian.BIG):
    writer = gguf.GGUFWriter("model.gguf", "llama", endianess=endian)
    writer.add_tensor("wide", numbers.copy())
    writer.add_tensor("half", numbers.astype(np.float16))
    writer.add_tensor("blocks", gguf.quants.quantize(numbers, Kind.Q8_0), raw_dtype=Kind.Q8_0)
    writer.write_header_to_file(); writer.write_kv_data_to_file(); writer.write_tensors_to_file(); writer.close()
    for tensor in gguf.GGUFReader("model.gguf").tensors:
        found = np.asarray(gguf.quants.dequantize(tensor.data, tensor.tensor_type), np.float32).reshape(numbers.shape)
        near = bool(np.allclose(found, numbers, atol=1e-2))
        data = bool(np.allclose(tensor.data.astype(np.float32), numbers, atol=1e-2)) if tensor.name != "blocks" else None
        right[tensor.name, endian.name] = data, near
        print(f"{endian.name:6} {tensor.name:6} {str(tensor.data.dtype):7} tensor.data right: {data!s:5} dequantized right: {near}")
for name in ("wide", "half"):
    assert right[name, "LITTLE"] == (True, True)
    assert right[name, "BIG"] == (True, False)
assert right["blocks", "BIG"][1]
PY
