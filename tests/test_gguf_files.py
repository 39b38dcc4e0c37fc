"""GGUF files: the model that llama.cpp would run, or one sentence that names the field."""

import dataclasses
import math

import gguf
import jax
import numpy as np
import pytest

from dpjax.models import pretrained
from dpjax.models.pretrained import CheckpointError
from dpjax.models.transformers import ArchitectureError, Rope, tiny
from dpjax.models.tuning import fresh_parameters


def cut(path, share):
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])


def test_gguf_that_is_none_or_cut_short_is_refused(tmp_path):
    path = tmp_path / "model.gguf"
    path.write_bytes(b"GGUF but not for long")
    with pytest.raises(CheckpointError, match="damaged, cut short or no GGUF"):
        pretrained.load(path)


def write_gguf(path, arch, params, **fields):
    """A Llama as llama.cpp's converter writes it."""
    writer = gguf.GGUFWriter(path, fields.get("architecture", "llama"))
    writer.add_context_length(arch.max_length)
    writer.add_embedding_length(arch.width)
    writer.add_block_count(arch.num_layers)
    writer.add_feed_forward_length(arch.hidden_width)
    writer.add_head_count(arch.num_heads)
    writer.add_head_count_kv(fields.get("kv", arch.num_kv_heads))
    writer.add_layer_norm_rms_eps(arch.norm_epsilon)
    writer.add_rope_freq_base(arch.views[0].rope.base)
    writer.add_rope_dimension_count(arch.head_width)
    tokens = [*"abcdefghijklmnopqrstuvwxyz", "Ġ", "ab", "<end>", *[f"<{i}>" for i in range(arch.vocab_size - 29)]]
    writer.add_tokenizer_model(fields.get("tokenizer", "gpt2"))
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(tokens)
    writer.add_token_types([3 if t.startswith("<") else 1 for t in tokens])
    writer.add_token_merges(["a b"])
    for role in ("eos", "bos"):
        if fields.get(role, {"eos": 28, "bos": None}[role]) is not None:
            getattr(writer, f"add_{role}_token_id")(fields.get(role, 28))
    for add in fields.get("more", ()):
        add(writer)
    names = {"query": "attn_q", "key": "attn_k", "value": "attn_v", "output": "attn_output"}
    names |= {"gate": "ffn_gate", "up": "ffn_up", "down": "ffn_down"}
    writer.add_tensor("token_embd.weight", params["token"])
    writer.add_tensor("output_norm.weight", params["final_norm.scale"])
    for i in range(arch.num_layers):
        writer.add_tensor(f"blk.{i}.attn_norm.weight", params[f"layers.{i}.attention_norm.scale"])
        writer.add_tensor(f"blk.{i}.ffn_norm.weight", params[f"layers.{i}.mlp_norm.scale"])
        for part, name in names.items():
            where = "mlp" if part in ("gate", "up", "down") else "attention"
            kernel = params[f"layers.{i}.{where}.{part}.kernel"].T
            heads = {"query": arch.num_heads, "key": arch.num_kv_heads}.get(part)
            if heads:  # the converter's permutation: halves of a head become pairs
                rows, columns = kernel.shape
                kernel = kernel.reshape(heads, 2, rows // heads // 2, columns).swapaxes(1, 2).reshape(rows, columns)
            writer.add_tensor(f"blk.{i}.{name}.weight", np.ascontiguousarray(kernel))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def test_gguf_gives_the_parameters_that_were_written(tmp_path):
    arch = tiny("llama")
    params = fresh_parameters(arch, jax.random.key(0))
    write_gguf(tmp_path / "model.gguf", arch, params)
    body = pretrained.load(tmp_path / "model.gguf")
    assert dataclasses.replace(body.arch, norm_epsilon=arch.norm_epsilon) == arch
    assert all(np.array_equal(body.params[path], params[path]) for path in params)
    assert body.tokenizer.encode(["ab<end>"[:2]], 4).ids.tolist() == [[27, 28, -1, -1]]
    # A text cannot say the token that ends it.
    assert 28 not in body.tokenizer.encode(["abend"], 8).ids[0][:-4].tolist()
    write_gguf(tmp_path / "other.gguf", arch, params, architecture="falcon")
    with pytest.raises(CheckpointError, match=r"general\.architecture is 'falcon'"):
        pretrained.load(tmp_path / "other.gguf")
    write_gguf(tmp_path / "words.gguf", arch, params, tokenizer="bert")
    with pytest.raises(CheckpointError, match="its tokenizer is 'bert'"):
        pretrained.load(tmp_path / "words.gguf")
    write_gguf(tmp_path / "scores.gguf", arch, params, tokenizer="llama")
    with pytest.raises(CheckpointError, match=r"has no tokenizer\.ggml\.scores"):
        pretrained.load(tmp_path / "scores.gguf")
    cut(tmp_path / "model.gguf", 0.9)
    with pytest.raises(CheckpointError, match="damaged, cut short or no GGUF"):
        pretrained.load(tmp_path / "model.gguf")


@pytest.fixture(scope="module")
def params():
    return fresh_parameters(tiny("llama"), jax.random.key(0))


def written(tmp_path, params, *more, **fields):
    path = tmp_path / "model.gguf"
    write_gguf(path, tiny("llama"), params, more=more, **fields)
    return path


def number(name, value):
    return lambda writer: writer.add_float32(name, value)


def word(name, value):
    return lambda writer: writer.add_string(name, value)


def count(name, value):
    return lambda writer: writer.add_uint32(name, value)


REFUSED = {
    "scaling of another kind": ([word("llama.rope.scaling.type", "cubic")], "rope.scaling.type is cubic"),
    "yarn in other steps": (
        [word("llama.rope.scaling.type", "yarn"), number("llama.rope.scaling.yarn_ext_factor", 0.5)],
        r"yarn_ext_factor is 0\.5",
    ),
    "frequencies of other heads": (
        [lambda w: w.add_tensor("rope_freqs.weight", np.array([1, 8, 8], np.float32))],
        "short_factor has 3 numbers",
    ),
    "experts": ([count("llama.expert_count", 8)], r"llama\.expert_count is 8, which dpjax does not know"),
    "a sliding window": ([count("llama.attention.sliding_window", 8)], r"llama\.attention\.sliding_window is 8"),
    "narrow values": (
        [count("llama.attention.value_length", 2)],
        r"attention\.value_length is 2 where a head is 4 wide",
    ),
    "wide keys": ([count("llama.attention.key_length", 8)], r"rope\.dimension_count is 4 where a head is 8 wide"),
    "a bias": (
        [lambda w: w.add_tensor("blk.0.attn_q.bias", np.ones(16, np.float32))],
        r"holds blk\.0\.attn_q\.bias.*its header",
    ),
    "no beginning": ([lambda w: w.add_add_bos_token(True)], r"add_bos_token is true, but there is no .*bos_token_id"),
}


@pytest.mark.parametrize(
    ("more", "rope"),
    [
        (
            [word("llama.rope.scaling.type", "linear"), number("llama.rope.scaling.factor", 4.0)],
            Rope(stretch="linear", factor=4.0),
        ),
        ([number("llama.rope.scaling.factor", 4.0)], Rope(stretch="linear", factor=4.0)),
        ([number("llama.rope.scale_linear", 4.0)], Rope(stretch="linear", factor=4.0)),
        (
            [
                word("llama.rope.scaling.type", "yarn"),
                number("llama.rope.scaling.factor", 4.0),
                count("llama.rope.scaling.original_context_length", 8),
            ],
            Rope(stretch="yarn", factor=4.0, trained=8, loudness=1 + 0.1 * math.log(4)),
        ),
        (
            [lambda w: w.add_tensor("rope_freqs.weight", np.array([1, 8], np.float32))],
            Rope(stretch="longrope", trained=32, short=(1.0, 8.0), long=(1.0, 8.0)),
        ),
    ],
)
def test_positions_for_longer_texts_are_read(more, rope, tmp_path, params):
    assert pretrained.load(written(tmp_path, params, *more)).arch.views[0].rope == rope


@pytest.mark.parametrize("case", REFUSED)
def test_what_a_plain_llama_does_not_compute_is_refused_by_name(case, tmp_path, params):
    more, words = REFUSED[case]
    path = written(tmp_path, params, *more)
    with pytest.raises((CheckpointError, ArchitectureError), match=words) as found:
        pretrained.load(path)
    assert str(path) in str(found.value)
    assert "config.json" not in str(found.value)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"kv": [2, 1]}, r"head_count_kv is \[2, 1\], and dpjax has layers of one kind"),
        ({"kv": 0}, "num_key_value_heads is 0"),
        ({"kv": 3}, "num_kv_heads is 3, which does not divide"),
        ({"eos": 64}, "eos_token_id is 64, but there are 64 tokens"),
        ({"bos": 99}, "bos_token_id is 99"),
    ],
)
def test_numbers_that_fit_no_llama_are_named(fields, words, tmp_path, params):
    path = written(tmp_path, params, **fields)
    with pytest.raises((CheckpointError, ArchitectureError), match=words) as found:
        pretrained.load(path)
    assert str(path) in str(found.value)


def test_numbers_once_for_each_layer_are_read_where_they_are_one(tmp_path, params):
    body = pretrained.load(written(tmp_path, params, kv=[2, 2]))
    assert body.arch.num_kv_heads == 2
    assert all(np.array_equal(body.params[path], params[path]) for path in params)


def test_scaling_by_nothing_is_none(tmp_path, params):
    more = (
        word("llama.rope.scaling.type", "none"),
        number("llama.rope.scaling.factor", 4.0),
        count("llama.expert_count", 0),
    )
    assert pretrained.load(written(tmp_path, params, *more)).arch.views[0].rope == Rope()
    assert (
        pretrained.load(written(tmp_path, params, word("llama.rope.scaling.type", "yarn"))).arch.views[0].rope == Rope()
    )


def test_a_token_that_begins_texts_is_put_there_and_saved(tmp_path, params):
    path = written(tmp_path, params, lambda w: w.add_add_bos_token(True), bos=29)
    body = pretrained.load(path)
    assert body.tokenizer.encode(["ab"], 4).ids.tolist() == [[29, 27, 28, -1]]
    again = pretrained.load(pretrained.save(tmp_path / "saved", body.arch, body.params, body.tokenizer))
    assert again.tokenizer.encode(["ab"], 4).ids.tolist() == [[29, 27, 28, -1]]


def test_its_chat_template_is_read_and_saved(tmp_path, params):
    source = "{% for m in messages %}{{ m.content }}{{ eos_token }}{% endfor %}"
    body = pretrained.load(written(tmp_path, params, lambda w: w.add_chat_template(source)))
    assert body.tokenizer.chat is not None
    assert (body.tokenizer.chat.source, body.tokenizer.chat.tokens) == (source, (("eos_token", "<end>"),))
    talk = [{"role": "user", "content": "ab"}, {"role": "assistant", "content": "b<end>"}]
    rows = pretrained.encode_conversations([talk], body.tokenizer, 12)
    # What the assistant wrote is letters, and only the template's own end is one.
    assert (rows.ids == 28).sum() == 2
    again = pretrained.load(pretrained.save(tmp_path / "saved", body.arch, body.params, body.tokenizer))
    assert np.array_equal(pretrained.encode_conversations([talk], again.tokenizer, 12).ids, rows.ids)
    with pytest.raises(CheckpointError, match=r"tokenizer\.chat_template is 7, no text; fetch it again"):
        pretrained.load(written(tmp_path, params, count("tokenizer.chat_template", 7)))


def test_without_an_end_token_texts_just_stop(tmp_path, params):
    body = pretrained.load(written(tmp_path, params, eos=None))
    assert body.tokenizer.separator is None
    assert body.tokenizer.encode(["ab"], 4).ids.tolist() == [[27, -1, -1, -1]]


@pytest.mark.parametrize(
    "name",
    [
        *("general.architecture", "tokenizer.ggml.tokens", "tokenizer.ggml.token_type", "tokenizer.ggml.merges"),
        *("llama.block_count", "llama.embedding_length", "llama.context_length", "llama.attention.head_count"),
        *("llama.feed_forward_length", "llama.attention.layer_norm_rms_epsilon", "tokenizer.ggml.model"),
    ],
)
def test_a_field_that_is_missing_is_named(name, tmp_path, params, monkeypatch):
    add = gguf.GGUFWriter.add_key_value
    monkeypatch.setattr(
        gguf.GGUFWriter, "add_key_value", lambda self, key, *rest, **more: key == name or add(self, key, *rest, **more)
    )
    path = written(tmp_path, params)
    with pytest.raises(CheckpointError, match=name.replace(".", r"\.") + "|its tokenizer is None") as found:
        pretrained.load(path)
    assert str(path) in str(found.value)
