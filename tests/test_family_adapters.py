"""Adapters of every family against logits that PEFT gave (tests/golden/make_adapters.py), and bad ones."""

import json
import warnings
from pathlib import Path

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import save_file

from dpjax.models import pretrained
from dpjax.models.pretrained import CheckpointError
from dpjax.models.transformers import FAMILIES, Head, Ia3, Lora, SoftPrompt, tiny
from dpjax.models.tuning import fine_tune
from dpjax.models.tuning_methods import Method
from tests.families import ADAPTED, task_of, weights_of

FOLDER = Path(__file__).parent / "golden"
BASES = json.loads((FOLDER / "families.json").read_text())
GOLDEN = json.loads((FOLDER / "adapters.json").read_text())
CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"


@pytest.fixture(scope="module")
def bodies(tmp_path_factory):
    """family → the loaded checkpoint."""
    loaded = {}

    def body(family):
        if family not in loaded:
            folder = tmp_path_factory.mktemp("checkpoint")
            golden = BASES[f"{family} 0"]
            (folder / "config.json").write_text(json.dumps(golden["config"]))
            save_file(weights_of(golden["shapes"]), folder / "model.safetensors")
            pretrained.word_tokenizer([f"w{i}" for i in range(88)]).raw.save(str(folder / "tokenizer.json"))
            loaded[family] = pretrained.load(folder)
        return loaded[family]

    return body


def stored(folder, golden, dtype=np.float32):
    folder.mkdir(exist_ok=True)
    (folder / CONFIG).write_text(json.dumps(golden["config"]))
    save_file({name: array.astype(dtype) for name, array in weights_of(golden["shapes"]).items()}, folder / WEIGHTS)
    return folder


def logits(arch, params, method, ids):
    tuned = fine_tune(arch, params, Head(task_of(arch.family)), method, scan_layers=True)
    start = tuned.init(tuned.start, jax.random.key(0))
    model = tuned.applying(tuned.frozen)
    return tuned, np.asarray(jax.jit(lambda row: model.apply(start, row, None))(jnp.asarray(ids, jnp.int32)))


def test_there_is_a_case_of_every_family():
    assert set(ADAPTED) == set(FAMILIES)
    assert len(GOLDEN) == sum(len(names) - 2 for names in ADAPTED.values())


def quick(case):
    """One adapter of each family, and one of each kind."""
    family, kind = case.split(" ", 1)
    return kind == ADAPTED[family][2] or case in ("gpt2 ia3", "gemma3_text prompt", "llama prefix")


@pytest.mark.parametrize(
    "case", [case if quick(case) else pytest.param(case, marks=pytest.mark.slow) for case in GOLDEN]
)
def test_logits_are_those_of_peft(bodies, case, tmp_path):
    """As adapters in layers that are one loop; and what is written of them says the same again."""
    golden, body = GOLDEN[case], bodies(case.split()[0])
    found, kind = pretrained.load_adapters(stored(tmp_path / "theirs", golden), body.arch)
    method = Method.of(kind)
    tuned, said = logits(body.arch, body.params | found, method, golden["ids"])
    np.testing.assert_allclose(said[:, ::18], golden["logits"], atol=1e-4, rtol=1e-4)
    assert not tuned.new
    pretrained.save_adapters(tmp_path / "ours", body.arch, {**body.params, **found}, kind, "base")
    again, read = pretrained.load_adapters(tmp_path / "ours", body.arch)
    assert Method.of(read).name == method.name
    assert again.keys() - found.keys() <= {path for path in body.params if path.startswith("masked_head.")}
    assert found.keys() <= again.keys()
    if not isinstance(kind, SoftPrompt):
        merged = [pretrained.merge_adapters(body.params | each, k) for each, k in ((found, kind), (again, read))]
        for path, array in merged[0].items():
            np.testing.assert_allclose(merged[1][path], array, atol=1e-5, err_msg=path)
        if case.split()[0] in ("gpt2", "phi3", "gpt_neox"):
            _, said = logits(body.arch, merged[0], Method("full"), golden["ids"])
            np.testing.assert_allclose(said[:, ::18], golden["logits"], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("case", ["llama lora", "gpt2 ia3", "phi3 lora dora", "gemma2 prompt", "llama prefix"])
@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
def test_adapters_of_half_precision_are_read_in_float32(case, dtype, tmp_path):
    golden, arch = GOLDEN[case], pretrained_arch(case.split()[0])
    rough, _ = pretrained.load_adapters(stored(tmp_path / "half", golden, dtype), arch)
    exact, _ = pretrained.load_adapters(stored(tmp_path / "whole", golden), arch)
    assert rough.keys() == exact.keys()
    moved = 0.0
    for path, array in rough.items():
        assert array.dtype == np.float32
        np.testing.assert_allclose(array, exact[path], rtol=2e-2, atol=2e-2)
        moved += float(np.abs(array - exact[path]).sum())
    assert moved > 0


def pretrained_arch(family):
    from dpjax.models.transformers import from_hub_config

    return from_hub_config(BASES[f"{family} 0"]["config"])


# --- merge and unmerge


@pytest.mark.parametrize("case", ["llama lora", "gpt2 lora", "gpt2 ia3", "roberta ia3", "phi3 ia3"])
def test_what_was_merged_is_taken_out_again(bodies, case, tmp_path):
    base = bodies(case.split()[0])
    added, kind = pretrained.load_adapters(stored(tmp_path, GOLDEN[case]), base.arch)
    merged = pretrained.merge_adapters(base.params | added, kind)
    assert sum(not np.allclose(merged[path], base.params[path], atol=1e-2) for path in base.params) > 3
    again = pretrained.unmerge_adapters(merged, added, kind)
    assert again.keys() == base.params.keys()
    for path, array in base.params.items():
        np.testing.assert_allclose(again[path], array, atol=1e-6, rtol=1e-5, err_msg=path)


def test_what_cannot_be_taken_out_is_refused(bodies, tmp_path):
    base, kernel = bodies("gpt2"), "layers.0.mlp.down"
    added, dora = pretrained.load_adapters(stored(tmp_path, GOLDEN["gpt2 lora dora"]), base.arch)
    merged = pretrained.merge_adapters(base.params | added, dora)
    lengths = np.linalg.norm(merged["layers.1.attention.value.kernel"], axis=0)
    np.testing.assert_allclose(lengths, np.abs(added["layers.1.attention.value.lora.magnitude"]), rtol=1e-5)
    with pytest.raises(CheckpointError, match=r"magnitude of DoRA.*keep the base"):
        pretrained.unmerge_adapters(merged, added, dora)
    zero = {f"{kernel}.ia3.inputs": np.zeros(base.arch.hidden_width, np.float32)}
    with pytest.raises(CheckpointError, match="a zero in its vector"):
        pretrained.unmerge_adapters(base.params, zero, Ia3())
    with pytest.raises(CheckpointError, match="in no matrix"):
        pretrained.merge_adapters(base.params, SoftPrompt())
    with pytest.raises(CheckpointError, match=r"down\.kernel, of which the base has shape \(96, 24\)"):
        pretrained.merge_adapters(base.params | {f"{kernel}.ia3.inputs": np.ones(9, np.float32)}, Ia3())


# --- another base


@pytest.mark.parametrize(
    ("case", "change", "words"),
    [
        ("llama lora", {"num_layers": 3}, r"layers\.3\..*which a llama has no place for"),
        ("llama lora", {"num_layers": 5}, r"holds no adapter of layer 4, where adapter_config\.json puts one"),
        ("llama ia3", {"num_layers": 6}, "holds no adapter of layer 4"),
        ("llama ia3", {"num_kv_heads": 4}, r"v_proj\.ia3_l has shape \(12, 1\).*\(24, 1\).*another model"),
        ("llama prefix", {"num_kv_heads": 1}, r"prompt_embeddings has shape \(3, 96\).*\(3, 48\).*another model"),
        ("gemma2 prompt", {"width": 32}, r"prompt_embeddings has shape \(3, 24\).*another model"),
        ("phi3 lora dora", {"hidden_width": 80}, r"has shape .*another model"),
    ],
)
def test_an_adapter_of_another_base_is_refused(case, change, words, tmp_path):
    import dataclasses

    arch = dataclasses.replace(pretrained_arch(case.split()[0]), **change)
    with pytest.raises(CheckpointError, match=words) as found:
        pretrained.load_adapters(stored(tmp_path, GOLDEN[case]), arch)
    assert "\n" not in str(found.value)


def test_an_adapter_of_another_repository_warns_and_of_a_folder_does_not(tmp_path):
    golden, arch = GOLDEN["llama lora"], pretrained_arch("llama")
    named = {**golden, "config": {**golden["config"], "base_model_name_or_path": "owner/name"}}
    folder = stored(tmp_path, named)
    with pytest.warns(UserWarning, match="is 'owner/name', and the adapters are put on 'owner/other'"):
        pretrained.load_adapters(folder, arch, base="owner/other")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for base in ("owner/name", str(tmp_path), None):
            pretrained.load_adapters(folder, arch, base=base)


@pytest.mark.parametrize(
    ("case", "fields", "words"),
    [
        ("llama prefix", {"num_virtual_tokens": 4}, r"ask for \(4, 96\)"),
        ("llama prefix", {"task_type": "SEQ_CLS"}, "task_type is 'SEQ_CLS'"),
        ("llama prefix", {"num_virtual_tokens": None}, "num_virtual_tokens is None"),
        ("gemma2 prompt", {"something_new": 3}, "something_new is 3, which dpjax does not compute"),
        ("gemma2 prompt", {"peft_type": "PREFIX_TUNING"}, "a gemma2 with windows"),
        ("gpt2 prompt", {"peft_type": "PREFIX_TUNING"}, "a gpt2 has learned positions"),
        ("gpt2 prompt", {"peft_type": "P_TUNING"}, "peft_type is 'P_TUNING', but dpjax reads LORA, IA3, PROMPT_TUNING"),
        ("llama ia3", {"feedforward_modules": ["v_proj"]}, r"ia3_l has shape .*feedforward_modules"),
        (
            "gpt2 lora dora",
            {"use_dora": False},
            "lora_magnitude_vector, while use_dora of adapter_config.json is False",
        ),
        ("gpt2 lora", {"use_dora": True}, "lora_magnitude_vector is missing"),
    ],
)
def test_what_means_something_else_is_refused(case, fields, words, tmp_path):
    golden = GOLDEN[case]
    changed = {**golden, "config": {**golden["config"], **fields}}
    with pytest.raises(CheckpointError, match=words) as found:
        pretrained.load_adapters(stored(tmp_path, changed), pretrained_arch(case.split()[0]))
    assert "\n" not in str(found.value)


def test_what_peft_has_no_layout_for_is_not_written(tmp_path):
    bert, head = tiny("bert"), Head("classify", 2, "pooler")
    params = {"prompt": np.zeros((3, 16)), "classifier.kernel": np.zeros((16, 2)), "classifier.bias": np.zeros(2)}
    with pytest.raises(CheckpointError, match="has no layout in PEFT"):
        pretrained.save_adapters(tmp_path / "a", bert, params, SoftPrompt(3), "base", head=head)
    scaled = {f"layers.0.mlp.{part}.ia3.inputs": np.full(16, float(i)) for i, part in enumerate(("gate", "up"))}
    with pytest.raises(CheckpointError, match="one vector of PEFT does not hold"):
        pretrained.save_adapters(tmp_path / "a", tiny("phi3"), scaled, Ia3(inputs=("gate", "up")), "base")
    half = {f"layers.0.attention.query.lora.{end}": np.ones(8, np.float32) for end in ("a", "b", "magnitude")}
    with pytest.raises(CheckpointError, match="pass the frozen parameters too"):
        pretrained.save_adapters(tmp_path / "a", tiny("gpt2"), half, Lora(dora=True), "base")
    assert not (tmp_path / "a").exists()
