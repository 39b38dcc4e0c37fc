"""Weights that lie in their file until they are read, and are in memory once."""

import json
import subprocess
import sys

import jax
import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from dpjax.mapped_arrays import Place, let_go, mapped, on_top
from dpjax.models.pretrained import save
from dpjax.models.pretrained.tensor_files import CheckpointError, read_tensors
from dpjax.models.pretrained.tokens import word_tokenizer
from dpjax.models.transformers import tiny

DTYPES = ["float64", "float32", "float16", ml_dtypes.bfloat16, "int64", "int8", "uint16", "uint8", "bool"]


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(DTYPES), st.lists(st.integers(0, 4), max_size=3)), min_size=1, max_size=6))
def test_what_is_mapped_is_what_was_written(tmp_path_factory, kinds):
    rng, path = np.random.default_rng(0), tmp_path_factory.mktemp("some") / "model.safetensors"
    written = {f"t{i}": np.asarray(rng.normal(size=shape) * 50).astype(dtype) for i, (dtype, shape) in enumerate(kinds)}
    save_file(written, path)
    found = read_tensors(path)
    assert found.keys() == written.keys()
    for name, array in load_file(path).items():
        assert (found[name].dtype, found[name].shape) == (array.dtype, array.shape)
        assert found[name].tobytes() == array.tobytes()
        assert not found[name].flags.writeable or not array.size


def test_a_header_of_any_length_leaves_numbers_where_they_are(tmp_path):
    """The header need not end at a multiple of what a number takes."""
    data = np.arange(5, dtype="<f8")
    for filler in range(8):
        header = json.dumps({"a": {"dtype": "F64", "shape": [5], "data_offsets": [0, 40]}}).encode() + b" " * filler
        path = tmp_path / f"{filler}.safetensors"
        path.write_bytes(len(header).to_bytes(8, "little") + header + data.tobytes())
        assert read_tensors(path)["a"].tolist() == data.tolist()


def test_a_file_that_another_takes_the_place_of_stays_what_it_was(tmp_path):
    path = tmp_path / "model.safetensors"
    save_file({"a": np.ones(3, np.float32)}, path)
    found = read_tensors(path)["a"]
    other = tmp_path / "other"
    save_file({"a": np.zeros(3, np.float32)}, other)
    other.replace(path)
    let_go(found)
    assert found.tolist() == [1, 1, 1]


def test_a_place_beyond_the_end_is_refused(tmp_path):
    (tmp_path / "short").write_bytes(b"abcd")
    with pytest.raises(ValueError, match="buffer"):
        mapped(tmp_path / "short", [Place(np.dtype("<f4"), (2,), 0)])
    save_file({"a": np.ones(300, np.float32)}, tmp_path / "cut")
    whole = (tmp_path / "cut").read_bytes()
    (tmp_path / "cut").write_bytes(whole[:-4])
    with pytest.raises(CheckpointError, match="damaged or cut short"):
        read_tensors(tmp_path / "cut")


@pytest.mark.parametrize("shape", [(3, 5), (1,), (64, 64)])
def test_a_stack_is_taken_by_the_device_as_it_lies(shape):
    stacked = on_top([np.full(shape, i, np.float32) for i in range(3)])
    assert [float(part.min()) for part in stacked] == [0, 1, 2]
    assert not stacked.flags.writeable
    taken = jax.device_put(stacked, may_alias=True)
    if jax.default_backend() == "cpu":
        assert taken.unsafe_buffer_pointer() == stacked.ctypes.data


LOADING = """
import sys
import jax, numpy as np
from dpjax.models import pretrained, tuning
from dpjax.models.tuning_methods import Method
from dpjax.models.transformers import Head, Lora
def memory(what):
    return int(next(line for line in open("/proc/self/status") if line.startswith(what)).split()[1]) * 1024
jax.numpy.zeros(1).block_until_ready()
body = pretrained.load(sys.argv[2])  # small: all that is imported on the way
tuning.fine_tune(body.arch, body.params, Head("causal"), Method("lora", Lora(2)), scan_layers=True)
open("/proc/self/clear_refs", "w").write("5")  # the peak from here on
before = memory("VmRSS")
body = pretrained.load(sys.argv[1])
loaded = memory("VmHWM")
tuned = tuning.fine_tune(
    body.arch, body.params, Head("causal"), Method("lora", Lora(2)), scan_layers=True,
    frozen_dtype=None if sys.argv[3] == "None" else sys.argv[3],
)
frozen = jax.device_put(tuned.frozen, may_alias=True)
jax.block_until_ready(frozen)
print(loaded - before, memory("VmHWM") - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="counts memory as Linux does")
@pytest.mark.parametrize(
    ("dtype", "kind", "most"), [("float32", None, 1.1), ("bfloat16", "bfloat16", 1.1), ("bfloat16", "nf4", 0.6)]
)
def test_a_model_is_in_memory_once(tmp_path, dtype, kind, most):
    sizes = {
        "width": 512,
        "num_heads": 8,
        "num_kv_heads": 8,
        "head_width": 64,
        "hidden_width": 2048,
        "vocab_size": 8192,
    }
    for name, arch in (("large", tiny("llama", **sizes, num_layers=12)), ("small", tiny("llama", num_layers=2))):
        from dpjax.models.tuning import abstract_parameters

        rng = np.random.default_rng(0)
        shapes = {path: x for path, x in abstract_parameters(arch).items() if path != "vocabulary" or not arch.tied}
        body = {path: rng.random(x.shape, np.float32).astype(jax.numpy.dtype(dtype)) for path, x in shapes.items()}
        save(tmp_path / name, arch, body, word_tokenizer(["a", "b"]))
    size = (tmp_path / "large/model.safetensors").stat().st_size
    assert size > 5e7
    command = [sys.executable, "-c", LOADING, str(tmp_path / "large"), str(tmp_path / "small"), str(kind)]
    said = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True).stdout
    loading, both = map(int, said.split())
    assert loading < 0.5 * size
    assert both < most * size
