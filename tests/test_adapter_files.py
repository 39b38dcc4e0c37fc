"""Adapters as PEFT writes them: the numbers that PEFT computes, or one sentence that names the field."""

import functools
import json
import math

import jax
import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from dpjax.models import pretrained
from dpjax.models.pretrained import CheckpointError
from dpjax.models.pretrained.exporting import base_of
from dpjax.models.transformers import Head, Lora, tiny
from dpjax.models.tuning import fine_tune, fresh_parameters
from dpjax.models.tuning_methods import Method

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
RNG = np.random.default_rng(0)
QUERY = {
    "bert": "bert.encoder.layer.{}.attention.self.query",
    "llama": "model.layers.{}.self_attn.q_proj",
    "gpt2": "transformer.h.{}.attn.c_attn",
}


def normal(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


def adapter(folder, family="llama", ranks=(4, 4), extra=(), **fields):
    """Adapters on the matrices that hold the queries, and the two matrices of each layer."""
    stored, made = dict(extra), {}
    outs = 48 if family == "gpt2" else 16
    for layer, rank in enumerate(ranks):
        stem = f"base_model.model.{QUERY[family].format(layer)}"
        made[layer] = a, b = normal(rank, 16), normal(outs, rank)
        stored |= {f"{stem}.lora_A.weight": a, f"{stem}.lora_B.weight": b}
    folder.mkdir(exist_ok=True)
    save_file(stored, folder / WEIGHTS)
    config = {"peft_type": "LORA", "task_type": "SEQ_CLS", "base_model_name_or_path": "base", "r": 4, "lora_alpha": 8}
    config |= {"target_modules": [QUERY[family].rsplit(".", 1)[-1]], "bias": "none", "modules_to_save": None}
    whole = {name: value for name, value in (config | fields).items() if value != "absent"}
    (folder / CONFIG).write_text(json.dumps(whole))
    return made


@functools.cache
def body(arch):
    return fresh_parameters(arch, jax.random.key(0))


def merged_by(folder, arch):
    """What loading and merging adds to each parameter."""
    base = body(arch)
    found, lora = pretrained.load_adapters(folder, arch)
    merged = pretrained.merge_adapters(base | found, lora)
    return {path: merged[path] - base[path] for path in base if not np.array_equal(merged[path], base[path])}


SCALES = {
    "plain": ({}, (2.0, 2.0), (4, 4)),
    "rank of one layer": ({"rank_pattern": {"layers.1.self_attn.q_proj": 2}}, (2.0, 4.0), (4, 2)),
    "a larger rank of one layer": ({"rank_pattern": {r"model\.layers\.0\..*": 8}}, (1.0, 2.0), (8, 4)),
    "alpha of all": ({"alpha_pattern": {"q_proj": 32}}, (8.0, 8.0), (4, 4)),
    "alpha of one layer": ({"alpha_pattern": {".*.0.self_attn.q_proj": 1.5}}, (0.375, 2.0), (4, 4)),
    "the first pattern counts": ({"alpha_pattern": {"1.self_attn.q_proj": 4, "q_proj": 16}}, (4.0, 1.0), (4, 4)),
    "no pattern is inside a word": ({"alpha_pattern": {"proj": 32, "layers": 5}}, (2.0, 2.0), (4, 4)),
    "rslora": ({"use_rslora": True}, (4.0, 4.0), (4, 4)),
    "rslora with ranks": (
        {"use_rslora": True, "rank_pattern": {"1.self_attn.q_proj": 2}},
        (4.0, 8 / math.sqrt(2)),
        (4, 2),
    ),
    "defaults of PEFT": ({"r": "absent", "lora_alpha": "absent"}, (1.0, 1.0), (8, 8)),
    "what changes nothing": (
        {
            "lora_dropout": 0.5,
            "fan_in_fan_out": True,
            "init_lora_weights": "gaussian",
            "megatron_core": "megatron.core",
        },
        (2.0, 2.0),
        (4, 4),
    ),
    "one expression for targets": ({"target_modules": r".*layers\.\d+\.self_attn\.q_proj"}, (2.0, 2.0), (4, 4)),
    "some layers": ({"layers_to_transform": [0, 1], "layers_pattern": "layers"}, (2.0, 2.0), (4, 4)),
    "one layer": ({"layers_to_transform": 0}, (2.0,), (4,)),
    "all linear": ({"target_modules": "all-linear"}, (2.0, 2.0), (4, 4)),
}


@pytest.mark.parametrize("case", SCALES)
def test_ranks_and_scales_are_those_of_peft(case, tmp_path):
    fields, scales, ranks = SCALES[case]
    made = adapter(tmp_path, ranks=ranks, **fields)
    moved = merged_by(tmp_path, tiny("llama"))
    assert moved.keys() == {f"layers.{layer}.attention.query.kernel" for layer in made}
    for layer, (a, b) in made.items():
        np.testing.assert_allclose(
            moved[f"layers.{layer}.attention.query.kernel"], scales[layer] * (b @ a).T, atol=1e-4
        )


@pytest.mark.parametrize("kind", [np.float16, ml_dtypes.bfloat16, np.float64])
def test_numbers_of_another_kind_are_multiplied_in_float32(kind, tmp_path):
    made = adapter(tmp_path)
    stored = {name: array.astype(kind) for name, array in load_file(tmp_path / WEIGHTS).items()}
    save_file(stored, tmp_path / WEIGHTS)
    a, b = (array.astype(kind).astype(np.float32) for array in made[0])
    moved = merged_by(tmp_path, tiny("llama"))["layers.0.attention.query.kernel"]
    np.testing.assert_allclose(moved, 2.0 * (b @ a).T, atol=1e-5)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"peft_type": "LOHA"}, "peft_type is 'LOHA', but dpjax reads LORA"),
        ({"use_dora": True}, "lora_magnitude_vector is missing"),
        ({"use_dora": True, "lora_bias": True}, "with use_dora PEFT computes no bias"),
        ({"layer_replication": [[0, 2]]}, "layer_replication is"),
        ({"trainable_token_indices": [3]}, "trainable_token_indices is"),
        ({"target_parameters": ["weight"]}, "target_parameters is"),
        ({"alora_invocation_tokens": [1]}, "alora_invocation_tokens is"),
        ({"what_comes_next_year": {"a": 1}}, "what_comes_next_year is"),
        (
            {"init_lora_weights": "pissa_niter_4"},
            "init_lora_weights is 'pissa_niter_4', which takes the adapter's start",
        ),
        ({"lora_alpha": None}, "lora_alpha is None, but must be a number"),
        ({"lora_alpha": math.nan}, "lora_alpha is nan"),
        ({"r": 0}, "r is 0, but a rank must be"),
        ({"r": "absent"}, r"has shape \(4, 16\) where the model and r=8"),
        ({"rank_pattern": {"q_proj": 3}}, r"has shape \(4, 16\) where the model and r=3"),
        ({"rank_pattern": {"(": 3}}, r"rank_pattern is .*'\(' is no regular expression"),
        ({"bias": "some"}, "bias is 'some', but must be one of none, all, lora_only"),
        ({"target_modules": ["v_proj"]}, "puts no adapter .*target_modules is"),
        ({"exclude_modules": ["q_proj"]}, "puts no adapter"),
        ({"layers_to_transform": [1]}, "puts no adapter"),
        ({"modules_to_save": ["self_attn"]}, "puts no adapter"),
    ],
)
def test_what_is_not_computed_is_refused_by_name(fields, words, tmp_path):
    adapter(tmp_path, **fields)
    with pytest.raises(CheckpointError, match=words) as found:
        pretrained.load_adapters(tmp_path, tiny("llama"))
    assert str(tmp_path) in str(found.value)
    assert "\n" not in str(found.value)


def test_joined_query_key_and_value_are_three(tmp_path):
    made = adapter(tmp_path, "gpt2", fan_in_fan_out=True)
    moved = merged_by(tmp_path, tiny("gpt2"))
    for layer, (a, b) in made.items():
        whole = [moved[f"layers.{layer}.attention.{part}.kernel"] for part in ("query", "key", "value")]
        np.testing.assert_allclose(np.concatenate(whole, axis=1), 2.0 * (b @ a).T, atol=1e-4)


@pytest.mark.parametrize(
    "targets", [("query",), ("query", "value"), ("key", "down"), ("query", "key", "value", "output", "up")]
)
def test_adapters_on_parts_of_a_joined_matrix_come_back_as_they_were(targets, tmp_path):
    arch, lora = tiny("gpt2"), Lora(3, 5.0, targets)
    params = {}
    for path, kernel in body(arch).items():
        if path.endswith(".kernel") and path.split(".")[-2] in targets:
            stem = path.removesuffix(".kernel")
            params |= {f"{stem}.lora.a": normal(kernel.shape[0], 3), f"{stem}.lora.b": normal(3, kernel.shape[1])}
    pretrained.save_adapters(tmp_path, arch, params, lora, "gpt2")
    found, read = pretrained.load_adapters(tmp_path, arch)
    assert found.keys() == params.keys()
    assert all(np.array_equal(found[path], params[path]) for path in params)
    assert (read.rank, set(read.targets)) == (3, set(targets))
    assert read.alpha == pytest.approx(5.0)


def test_biases_that_were_trained_replace_those_of_the_base(tmp_path):
    arch = tiny("bert")
    base = "base_model.model.bert.encoder.layer.0."
    extra = {
        f"{base}attention.self.query.base_layer.bias": normal(16),
        f"{base}attention.self.value.bias": normal(16),
        f"{base}output.LayerNorm.bias": normal(16),
        "base_model.model.classifier.original_module.bias": normal(3),
        "base_model.model.classifier.modules_to_save.bias": normal(3),
        "base_model.model.classifier.modules_to_save.weight": normal(3, 16),
        "base_model.model.classifier.original_module.weight": normal(3, 16),
    }
    adapter(tmp_path, "bert", extra=extra, bias="all", modules_to_save=["classifier"])
    found, _ = pretrained.load_adapters(tmp_path, arch)
    layer = "layers.0."
    assert np.array_equal(found[f"{layer}attention.query.bias"], extra[f"{base}attention.self.query.base_layer.bias"])
    assert np.array_equal(found[f"{layer}attention.value.bias"], extra[f"{base}attention.self.value.bias"])
    assert np.array_equal(found[f"{layer}mlp_norm.bias"], extra[f"{base}output.LayerNorm.bias"])
    assert np.array_equal(found["classifier.bias"], extra["base_model.model.classifier.modules_to_save.bias"])
    assert np.array_equal(found["classifier.kernel"].T, extra["base_model.model.classifier.modules_to_save.weight"])


@pytest.mark.parametrize("family", ["bert", "gpt2"])
def test_biases_of_adapters_are_scaled_and_added(family, tmp_path):
    outs = 48 if family == "gpt2" else 16
    bias = {f"base_model.model.{QUERY[family].format(i)}.lora_B.bias": normal(outs) for i in range(2)}
    adapter(tmp_path, family, extra=bias, lora_bias=True)
    moved = merged_by(tmp_path, tiny(family))
    parts = ("query", "key", "value") if family == "gpt2" else ("query",)
    for i, expected in enumerate(bias.values()):
        found = np.concatenate([moved[f"layers.{i}.attention.{part}.bias"] for part in parts])
        np.testing.assert_allclose(found, 2.0 * expected, rtol=1e-6)
    adapter(tmp_path, family, extra=bias)
    with pytest.raises(CheckpointError, match="lora_bias=False"):
        pretrained.load_adapters(tmp_path, tiny(family))


def test_biases_of_adapters_have_no_place_without_biases(tmp_path):
    bias = {f"base_model.model.{QUERY['llama'].format(0)}.lora_B.bias": normal(16)}
    adapter(tmp_path, extra=bias, lora_bias=True)
    with pytest.raises(CheckpointError, match=r"lora_bias=True of .* and a llama have no place"):
        pretrained.load_adapters(tmp_path, tiny("llama"))


EXTRA = {
    "a classifier of two layers": ({"classifier.dense.weight": normal(16, 16)}, {}, r"holds classifier\.dense\.weight"),
    "its second layer": ({"classifier.out_proj.bias": normal(3)}, {}, r"holds classifier\.out_proj\.bias"),
    "a classifier of another width": (
        {"score.weight": normal(3, 17)},
        {"modules_to_save": ["score"]},
        r"score\.weight has shape \(3, 17\) as classifier\.kernel where the model asks for \(16, 3\)",
    ),
    "embeddings that others share": (
        {"model.embed_tokens.weight": normal(64, 16)},
        {"modules_to_save": ["embed_tokens"], "task_type": "CAUSAL_LM"},
        "trained apart from the matrix that it shares",
    ),
    "adapters on the embedding": ({"model.embed_tokens.lora_embedding_A": normal(4, 64)}, {}, "lora_embedding_A"),
    "a magnitude of DoRA": (
        {"model.layers.0.self_attn.q_proj.lora_magnitude_vector": normal(16)},
        {},
        "lora_magnitude_vector",
    ),
    "half an adapter": (
        {"model.layers.0.self_attn.v_proj.lora_A.weight": normal(4, 16)},
        {},
        "lora_B.weight is missing",
    ),
    "a weight under an adapter": (
        {"model.layers.0.self_attn.q_proj.weight": normal(16, 16)},
        {},
        "modules_to_save=.*take both from one training",
    ),
    "an adapter on the classifier": ({"score.lora_A.weight": normal(4, 16)}, {}, r"score\.lora_A.*no place"),
    "whole numbers": ({"score.weight": np.ones((3, 16), np.int32)}, {}, "is int32, not floating"),
    "no number": ({"score.weight": np.full((3, 16), np.nan, np.float32)}, {}, "score.weight holds nan"),
}


@pytest.mark.parametrize("case", EXTRA)
def test_tensors_without_a_place_are_named(case, tmp_path):
    extra, fields, words = EXTRA[case]
    both = {"target_modules": ["q_proj", "v_proj"]} | fields
    adapter(tmp_path, extra={f"base_model.model.{name}": array for name, array in extra.items()}, **both)
    with pytest.raises(CheckpointError, match=words) as found:
        pretrained.load_adapters(tmp_path, tiny("llama"))
    assert str(tmp_path / WEIGHTS) in str(found.value)


def test_a_saved_score_without_a_bias_has_a_bias_of_zero(tmp_path):
    extra = {
        "base_model.model.score.weight": normal(3, 16),
        "base_model.model.model.embed_tokens.weight": normal(64, 16),
    }
    adapter(tmp_path, extra=extra, modules_to_save=["score", "embed_tokens"])
    found, _ = pretrained.load_adapters(tmp_path, tiny("llama"))
    assert found["classifier.bias"].tolist() == [0, 0, 0]
    assert np.array_equal(found["token"], extra["base_model.model.model.embed_tokens.weight"])


def test_an_adapter_on_the_pooler_is_merged_into_it_or_refused(tmp_path):
    stem = "base_model.model.bert.pooler.dense.lora_"
    a, b = normal(4, 16), normal(16, 4)
    adapter(tmp_path, "bert", extra={f"{stem}A.weight": a, f"{stem}B.weight": b}, target_modules=["query", "dense"])
    found, lora = pretrained.load_adapters(tmp_path, tiny("bert"))
    assert lora.targets == ("query",)
    base = body(tiny("bert"))
    merged = pretrained.merge_adapters(base | {"pooler.kernel": np.zeros((16, 16), np.float32)} | found, lora)
    np.testing.assert_allclose(merged["pooler.kernel"], 2.0 * (b @ a).T, atol=1e-5)
    with pytest.raises(CheckpointError, match=r"sits on pooler\.kernel, of which the base has none"):
        pretrained.merge_adapters(base | found, lora)


def test_adapters_that_a_model_has_no_place_for_are_not_left_out(tmp_path):
    arch = tiny("llama")
    adapter(tmp_path)
    found, lora = pretrained.load_adapters(tmp_path, arch)
    with pytest.raises(ValueError, match=r"layers\.0\.attention\.query\.lora\.a, .* merge_adapters first"):
        fine_tune(arch, body(arch) | found, Head("causal"), Method("full"))
    further = fine_tune(arch, body(arch) | found, Head("causal"), Method("lora", lora))
    assert (further.new, further.num_trained) == ((), sum(array.size for array in found.values()))


def test_adapters_of_another_width_are_refused(tmp_path):
    adapter(tmp_path)
    wide = tiny("llama", width=32, head_width=8, hidden_width=64)
    with pytest.raises(CheckpointError, match=r"q_proj\.lora_A\.weight has shape \(4, 16\).*\(4, 32\).*another model"):
        pretrained.load_adapters(tmp_path, wide)


ABSURD = [None, "", "x", "(", [], {}, [1], ["("], {"a": 1}, {"(": 2}, 0, -1, 3, 1.5, 2**70, True, False, math.nan]


def test_every_field_of_the_adapters_config_by_kind_and_range(tmp_path):
    """It computes what PEFT would, or one sentence names the file; nothing else comes out."""
    fields = json.loads(ALL_FIELDS)
    extra = {"base_model.model.score.weight": normal(3, 16)}
    made = adapter(tmp_path, extra=extra, **fields)
    arch, seen = tiny("llama"), {"read": 0, "refused": 0}
    plain = {layer: 2.0 * (b @ a).T for layer, (a, b) in made.items()}
    whole = json.loads((tmp_path / CONFIG).read_text())
    for field in [*whole, "not_known_yet"]:
        for value in ABSURD:
            (tmp_path / CONFIG).write_text(json.dumps(whole | {field: value}))
            try:
                moved = merged_by(tmp_path, arch)
            except CheckpointError as error:
                said = str(error)
                moved = None
            else:
                said = ""
            seen["refused" if moved is None else "read"] += 1
            if moved is None:
                assert str(tmp_path) in said, (field, value, said)
                assert "\n" not in said, (field, value, said)
            else:  # an alpha or a scale follows the field; everything else is what it was
                factor = {"lora_alpha": lambda v: v / 8, "use_rslora": lambda v: 2 if v else 1}.get(field, lambda v: 1)
                for layer, expected in plain.items():
                    found = moved.get(f"layers.{layer}.attention.query.kernel", np.zeros((16, 16), np.float32))
                    np.testing.assert_allclose(
                        found, expected * factor(value), atol=1e-3, rtol=1e-3, err_msg=f"{field}={value}"
                    )
    assert min(seen.values()) > 50, seen


ALL_FIELDS = """{"alora_invocation_tokens": null, "alpha_pattern": {}, "arrow_config": null, "auto_mapping": null,
"base_model_name_or_path": "base", "bias": "none", "corda_config": null, "ensure_weight_tying": false, "eva_config":
null, "exclude_modules": null, "fan_in_fan_out": false, "inference_mode": true, "init_lora_weights": true,
"layer_replication": null, "layers_pattern": null, "layers_to_transform": null, "loftq_config": {}, "lora_alpha": 8,
"lora_bias": false, "lora_dropout": 0.0, "megatron_config": null, "megatron_core": "megatron.core", "modules_to_save":
["score"], "peft_type": "LORA", "peft_version": "0.21.2", "qalora_group_size": 16, "r": 4, "rank_pattern": {},
"revision": null, "target_modules": ["q_proj"], "target_parameters": null, "task_type": "SEQ_CLS",
"trainable_token_indices": null,
"use_bdlora": null, "use_dora": false, "use_qalora": false, "use_rslora": false}"""


@pytest.mark.parametrize("name", [CONFIG, WEIGHTS])
def test_damaged_and_missing_files_of_an_adapter_are_named(name, tmp_path):
    adapter(tmp_path)
    path = tmp_path / name
    whole = path.read_bytes()
    for content in (b"", b"{", b"[]", b"null", b"[" * 100_000, whole[: len(whole) // 2]):
        path.write_bytes(content)
        with pytest.raises(CheckpointError, match=name.replace(".", r"\.")):
            pretrained.load_adapters(tmp_path, tiny("llama"))
    path.unlink()
    with pytest.raises(CheckpointError, match=f"has no {name}"):
        pretrained.load_adapters(tmp_path, tiny("llama"))
    path.mkdir()
    with pytest.raises(CheckpointError, match=name.replace(".", r"\.")):
        pretrained.load_adapters(tmp_path, tiny("llama"))


# --- what is written -----------------------------------------------------------------------------------------------


def with_classifier(arch, lora):
    params = dict(body(arch))
    for path, kernel in list(params.items()):
        if path.endswith(".kernel") and path.split(".")[-2] in lora.targets:
            stem = path.removesuffix(".kernel")
            params |= {f"{stem}.lora.a": normal(kernel.shape[0], lora.rank)}
            params |= {f"{stem}.lora.b": normal(lora.rank, kernel.shape[1])}
    return params | {"classifier.kernel": normal(16, 3), "classifier.bias": normal(3)}


@pytest.mark.parametrize("family", ["bert", "llama", "gpt2"])
def test_a_classifier_that_peft_would_read_otherwise_lies_beside_the_adapters(family, tmp_path):
    arch, lora = tiny(family), Lora(2, 4.0, ("query", "down"))
    params = with_classifier(arch, lora)
    head = Head("classify", 3, "last", normalized=family != "gpt2")
    pretrained.save_adapters(tmp_path, arch, params, lora, "minilm", head=head, labels=["ham", "spam", "egg"])
    config = json.loads((tmp_path / CONFIG).read_text())
    assert config["base_model_name_or_path"] == "sentence-transformers/all-MiniLM-L6-v2"
    assert config["task_type"] == "FEATURE_EXTRACTION"
    assert not [name for name in load_file(tmp_path / WEIGHTS) if "lora" not in name]
    facts = json.loads((tmp_path / "classifier.json").read_text())
    assert (facts["pooling"], facts["normalized"]) == ("last", family != "gpt2")
    assert facts["id2label"] == {"0": "ham", "1": "spam", "2": "egg"}
    compile((tmp_path / "classify.py").read_text(), "classify.py", "exec")
    found, _ = pretrained.load_adapters(tmp_path, arch)
    assert all(np.array_equal(found[path], params[path]) for path in ("classifier.kernel", "classifier.bias"))


def test_a_classifier_on_the_pooler_goes_with_the_adapters(tmp_path):
    arch, lora = tiny("bert"), Lora(2, 4.0, ("query",))
    params = with_classifier(arch, lora)
    pretrained.save_adapters(tmp_path, arch, params, lora, "minilm", head=Head("classify", 3))
    pretrained.save_adapters(tmp_path, arch, params, lora, "minilm", head=Head("classify", 3, "pooler"), labels="abc")
    config = json.loads((tmp_path / CONFIG).read_text())
    assert (config["task_type"], config["modules_to_save"]) == ("SEQ_CLS", ["classifier"])
    assert not (tmp_path / "classifier.json").exists()
    assert "id2label={'0': 'a', '1': 'b', '2': 'c'}" in (tmp_path / "README.md").read_text()
    found, _ = pretrained.load_adapters(tmp_path, arch)
    assert np.array_equal(found["classifier.kernel"], params["classifier.kernel"])


@pytest.mark.parametrize("labels", [["a", "b"], ["a", "b", "b"]])
def test_labels_are_one_for_each_class(labels, tmp_path):
    params = with_classifier(tiny("bert"), Lora(2))
    with pytest.raises(CheckpointError, match="must be 3 different ones"):
        pretrained.save_adapters(
            tmp_path, tiny("bert"), params, Lora(2), "minilm", head=Head("classify", 3), labels=labels
        )


def test_the_base_has_a_name_that_others_know(tmp_path):
    assert base_of("owner/name") == ("owner/name", None, "")
    assert base_of("smollm2")[0] == "HuggingFaceTB/SmolLM2-135M-Instruct"
    assert base_of(str(tmp_path)) == (str(tmp_path), None, "")
    (tmp_path / "model.gguf").write_text("")
    assert base_of(str(tmp_path / "model.gguf")) == base_of(str(tmp_path)) == (str(tmp_path), "model.gguf", "")


@pytest.mark.parametrize("family", ["bert", "llama", "gpt2"])
@pytest.mark.parametrize("pooling", ["mean", "pooler"])
def test_a_tuned_model_is_saved_with_the_classifier_it_had(family, pooling, tmp_path):
    arch, head = tiny(family), Head("classify", 3, pooling)
    params = {path: array for path, array in with_classifier(arch, Lora(2)).items() if ".lora." not in path}
    tokenizer = pretrained.word_tokenizer([f"w{i}" for i in range(62)])
    with pytest.raises(CheckpointError, match="pass the Head"):
        pretrained.save(tmp_path, arch, params, tokenizer)
    if pooling == "pooler" and family != "bert":
        with pytest.raises(CheckpointError, match="only a BERT has"):
            pretrained.save(tmp_path, arch, params, tokenizer, head=head)
        return
    pretrained.save(tmp_path, arch, params, tokenizer, head=head, labels=["ham", "spam", "egg"])
    config = json.loads((tmp_path / "config.json").read_text())
    native = pooling == "pooler"
    assert config["architectures"][0].endswith("ForSequenceClassification" if native else "Model")
    facts = config if native else json.loads((tmp_path / "classifier.json").read_text())
    assert facts["label2id"] == {"ham": 0, "spam": 1, "egg": 2}
    again = pretrained.load(tmp_path)
    assert again.params.keys() == params.keys()
    assert all(np.array_equal(again.params[path], params[path]) for path in params)
    assert again.tokenizer.encode(["w1"], 4).ids.tolist() == tokenizer.encode(["w1"], 4).ids.tolist()
