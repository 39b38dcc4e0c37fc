"""Every type of numbers that the package ``gguf`` dequantises, to the last bit; and files in parts, old, or swapped."""

import gguf
import jax
import numpy as np
import pytest
from gguf import GGMLQuantizationType, GGUFReader
from gguf.quants import _type_traits, dequantize
from hypothesis import given, settings
from hypothesis import strategies as st

from dpjax.models import pretrained
from dpjax.models.pretrained import CheckpointError
from dpjax.models.pretrained.gguf_files import dequantized
from dpjax.models.pretrained.gguf_header import read_header
from dpjax.models.transformers import tiny
from dpjax.models.tuning import fresh_parameters
from tests.gguf_writing import write_family

pytestmark = pytest.mark.filterwarnings("ignore:.*encountered in:RuntimeWarning")  # of random scales
PLAIN = [GGMLQuantizationType.F32, GGMLQuantizationType.F16]
READ = [*PLAIN, *_type_traits]
# 8-bit blocks that only arithmetic uses, and whole numbers.
UNREAD = [kind for kind in GGMLQuantizationType if kind not in READ and kind.name != "F64"]


def raw(kind, shape, seed, mask=0xFF):
    block, size = gguf.GGML_QUANT_SIZES[kind]
    shape = (*shape[:-1], shape[-1] * size // block)
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8) & np.uint8(mask)


def written(path, tensors, *, version=3, order=gguf.GGUFEndian.LITTLE):
    """name → (kind, bytes)."""
    writer = gguf.GGUFWriter(path, "llama", endianess=order)
    writer.add_string("a.word", "ä")
    writer.add_array("words", ["", "ab", "ä"])
    writer.add_array("counts", [1, 2, 3])
    writer.add_float64("wide", 0.1)
    writer.add_bool("yes", True)
    for name, (kind, content) in tensors.items():
        writer.add_tensor(name, content, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    if version != 3:
        content = bytearray(path.read_bytes())
        content[4:8] = version.to_bytes(4, "little")
        path.write_bytes(content)
    return path


@settings(max_examples=12)
@given(shape=st.sampled_from([(256,), (3, 256), (2, 3, 512), (1, 768)]), seed=st.integers(0, 2**32 - 1))
def test_numbers_of_every_type_are_those_of_gguf(tmp_path_factory, shape, seed):
    path = tmp_path_factory.mktemp("types") / "model.gguf"
    written(path, {kind.name: (kind, raw(kind, shape, seed + kind)) for kind in READ}, version=2 + seed % 2)
    header, reader = read_header(path), GGUFReader(path)
    assert dict(header.fields) == {
        name: field.contents() for name, field in reader.fields.items() if not name.startswith("GGUF.")
    }
    for tensor in reader.tensors:
        found = dequantized(header.tensors[tensor.name], tensor.name, path)
        assert found.dtype == np.float32
        assert found.shape == shape
        expected = np.asarray(dequantize(tensor.data, tensor.tensor_type), np.float32).reshape(shape)
        np.testing.assert_array_equal(found.view(np.uint32), expected.view(np.uint32), err_msg=tensor.name)


def test_a_model_of_many_types_loads(tmp_path):
    arch = tiny("llama", num_layers=5, width=256, hidden_width=256, head_width=64)
    path = tmp_path / "model.gguf"
    params = fresh_parameters(arch, jax.random.key(0))
    places = [(i, part) for i in range(5) for part in ("attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down")]
    kinds = dict(zip((f"blk.{i}.{part}.weight" for i, part in places), READ[1:], strict=True))
    add, contents = gguf.GGUFWriter.add_tensor, {}

    def add_quantized(self, name, array):
        if name not in kinds:
            return add(self, name, array)
        contents[name] = raw(kinds[name], array.shape, kinds[name], mask=0x3F)  # scales stay finite
        return add(self, name, contents[name], raw_dtype=kinds[name])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gguf.GGUFWriter, "add_tensor", add_quantized)
        write_family(path, arch, params, "llama")
    body = pretrained.load(path)
    names = {"attn_v": "attention.value", "attn_output": "attention.output"}
    for (i, part), name in zip(places, kinds, strict=True):
        ours = body.params[f"layers.{i}.{names.get(part, 'mlp.' + part[4:])}.kernel"]
        np.testing.assert_array_equal(ours.T, dequantize(contents[name], kinds[name]), err_msg=kinds[name].name)
    assert "Q4_K" in body.source
    assert "NVFP4" in body.source


@pytest.mark.parametrize("kind", UNREAD, ids=lambda kind: kind.name)
def test_a_type_that_is_not_dequantised_is_named(kind, tmp_path):
    path = written(tmp_path / "model.gguf", {"some.weight": (kind, raw(kind, (2, 256), 0))})
    with pytest.raises(CheckpointError, match=f"some.weight is stored as {kind.name}, which gguf does not dequantise"):
        dequantized(read_header(path).tensors["some.weight"], "some.weight", path)


def test_double_precision_is_rounded_once(tmp_path):
    values = np.array([[0.1, 1 / 3, 1e-40, -2.5]])
    path = written(tmp_path / "model.gguf", {"w": (GGMLQuantizationType.F64, values)})
    np.testing.assert_array_equal(dequantized(read_header(path).tensors["w"], "w", path), values.astype(np.float32))


def test_files_for_other_machines_and_of_other_versions_are_named(tmp_path):
    tensors = {"w": (GGMLQuantizationType.F32, np.ones((1, 32), np.float32))}
    swapped = written(tmp_path / "swapped.gguf", tensors, order=gguf.GGUFEndian.BIG)
    with pytest.raises(CheckpointError, match=r"swapped\.gguf is a GGUF in the order of big-endian machines, but"):
        pretrained.load(swapped)
    for version in (1, 4):
        with pytest.raises(CheckpointError, match=f"is a GGUF of version {version}, but dpjax reads"):
            pretrained.load(written(tmp_path / "other.gguf", tensors, version=version))


def test_rows_that_are_no_whole_blocks_are_named(tmp_path):
    path = written(
        tmp_path / "model.gguf", {"w": (GGMLQuantizationType.Q8_0, raw(GGMLQuantizationType.Q8_0, (2, 32), 0))}
    )
    content = path.read_bytes()
    at = content.index(b"\1\0\0\0\0\0\0\0w") + 9 + 4
    path.write_bytes(content[:at] + (31).to_bytes(8, "little") + content[at + 8 :])
    with pytest.raises(CheckpointError, match="w has rows of 31 numbers, which are no whole blocks of 32"):
        pretrained.load(path)


def in_parts(folder, arch, params):
    """The same model in one file and in three."""
    write_family(folder / "whole.gguf", arch, params, "llama")
    whole = read_header(folder / "whole.gguf")
    names = list(whole.tensors)
    for number in range(3):
        path = folder / f"model-{number + 1:05d}-of-00003.gguf"
        mine = names[number::3]

        def add(writer, number=number, mine=mine):
            writer.add_uint16("split.count", 3)
            writer.add_uint16("split.no", number)
            writer.add_int32("split.tensors.count", len(names))
            writer.add_tensor = lambda name, array: (
                gguf.GGUFWriter.add_tensor(writer, name, array) if name in mine else None
            )

        write_family(path, arch, params, "llama", add)
    return folder / "model-00001-of-00003.gguf"


def test_a_model_in_parts_is_that_of_one_file(tmp_path):
    arch = tiny("llama")
    params = fresh_parameters(arch, jax.random.key(0))
    first = in_parts(tmp_path, arch, params)
    body, whole = pretrained.load(first), pretrained.load(tmp_path / "whole.gguf")
    assert body.arch == whole.arch
    assert body.params.keys() == whole.params.keys()
    assert all(np.array_equal(body.params[path], array) for path, array in whole.params.items())
    with pytest.raises(CheckpointError, match=r"its name must be that of the first part, as NAME-00001-of-00003\.gguf"):
        pretrained.load(tmp_path / "model-00002-of-00003.gguf")
    (tmp_path / "model-00003-of-00003.gguf").unlink()
    with pytest.raises(CheckpointError, match=r"model-00003-of-00003\.gguf is not there, one of the 3 parts"):
        pretrained.load(first)
    (tmp_path / "model-00003-of-00003.gguf").write_bytes((tmp_path / "model-00002-of-00003.gguf").read_bytes())
    with pytest.raises(CheckpointError, match="belong to different models"):
        pretrained.load(first)
