"""Every family against logits that ``transformers`` gave (tests/golden/make_families.py), and its row of data."""

import dataclasses
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from dpjax import Cohort, example_gradient
from dpjax.clipping.explanation import explain
from dpjax.models import pretrained
from dpjax.models.adapters import from_nnx
from dpjax.models.generation import Sampling, make_generate
from dpjax.models.layer_stacks import flat_paths
from dpjax.models.pretrained.gguf_families import STORED
from dpjax.models.transformers import (
    FAMILIES,
    Added,
    ArchitectureError,
    Head,
    Lora,
    Plan,
    Transformer,
    from_hub_config,
    tiny,
    to_hub_config,
)
from dpjax.models.tuning import fine_tune, fresh_parameters
from dpjax.models.tuning_methods import Method
from tests.families import CASES, CONFIGS, task_of, weights_of
from tests.gguf_writing import write_family

GOLDEN = json.loads((Path(__file__).parent / "golden" / "families.json").read_text())


@pytest.fixture(scope="module")
def bodies(tmp_path_factory):
    """family, number → the loaded checkpoint."""
    loaded = {}

    def body(family, number):
        if (family, number) not in loaded:
            folder = tmp_path_factory.mktemp("checkpoint")
            golden = GOLDEN[f"{family} {number}"]
            (folder / "config.json").write_text(json.dumps(golden["config"]))
            save_file(weights_of(golden["shapes"]), folder / "model.safetensors")
            pretrained.word_tokenizer([f"w{i}" for i in range(88)]).raw.save(str(folder / "tokenizer.json"))
            loaded[family, number] = pretrained.load(folder)
        return loaded[family, number]

    return body


def logits(body, task, row, scan_layers):
    tuned = fine_tune(body.arch, body.params, Head(task), Method("full"), scan_layers=scan_layers)
    assert not tuned.new
    params = tuned.init(tuned.start, jax.random.key(0))
    return np.asarray(tuned.applying(tuned.frozen).apply(params, jnp.asarray(row), None))


def test_there_is_a_case_of_every_family():
    assert set(CONFIGS) == set(FAMILIES)
    assert len(GOLDEN) == len(CASES)


@pytest.mark.parametrize(("family", "number"), CASES)
def test_logits_are_those_of_transformers(bodies, family, number):
    """Layer by layer, scanned, and with padding behind the text."""
    body, golden = bodies(family, number), GOLDEN[f"{family} {number}"]
    ids = np.asarray(golden["ids"], np.int32)
    for scan_layers, row in ((False, ids), (True, np.concatenate([ids, np.full(3, -1, np.int32)]))):
        found = logits(body, task_of(family), row, scan_layers)[: len(ids), ::18]
        np.testing.assert_allclose(found, golden["logits"], atol=1e-4)


@pytest.mark.parametrize(("family", "number"), CASES)
def test_a_checkpoint_is_written_as_it_was_read(bodies, family, number, tmp_path):
    body = bodies(family, number)
    assert from_hub_config(json.loads(json.dumps(to_hub_config(body.arch)))) == body.arch
    pretrained.save(tmp_path, body.arch, body.params, body.tokenizer)
    again = pretrained.load(tmp_path)
    assert again.arch == body.arch
    assert again.params.keys() == body.params.keys()
    assert all(np.array_equal(again.params[path], array) for path, array in body.params.items())
    written, given = load_file(tmp_path / "model.safetensors"), weights_of(GOLDEN[f"{family} {number}"]["shapes"])
    assert set(written) <= set(given)
    assert all(np.array_equal(array, given[name]) for name, array in written.items())


@pytest.mark.parametrize("kind", STORED)
def test_a_family_is_read_from_gguf(kind, tmp_path):
    arch = tiny(STORED[kind].family)
    if kind == "gemma3":  # its pattern is in llama.cpp's code
        arch = tiny(STORED[kind].family, num_layers=6, views=(*arch.views[:1] * 5, arch.views[-1]))
    if kind == "smollm3":
        arch = tiny(STORED[kind].family, num_layers=4, views=(*arch.views[:1] * 3, arch.views[-1]))
    params = fresh_parameters(arch, jax.random.key(0))
    if not arch.tied:
        params["vocabulary"] = params["token"] - 1
    params = {path: array + np.float32(0.5) for path, array in params.items()}
    write_family(tmp_path / "model.gguf", arch, params, kind)
    body = pretrained.load(tmp_path / "model.gguf")
    close = {field: getattr(arch, field) for field in ("norm_epsilon", "attention_cap", "logit_cap")}  # float32 there
    assert dataclasses.replace(body.arch, **close) == arch
    assert body.params.keys() == params.keys()
    for path, array in params.items():
        np.testing.assert_allclose(body.params[path], array, atol=1e-6, err_msg=path)


@pytest.mark.parametrize("family", [family for family in FAMILIES if task_of(family) == "causal"])
def test_a_text_written_token_by_token_is_the_likeliest(family):
    """With keys and values remembered, through windows and layers without positions."""
    arch = tiny(family)
    tuned = fine_tune(arch, fresh_parameters(arch, jax.random.key(1)), Head("causal"), Method("full"))
    model, held = tuned.applying(tuned.frozen), tuned.init(tuned.start, jax.random.key(0))
    held = jax.tree.map(lambda x: x + 0.3 * jax.random.normal(jax.random.key(x.size), x.shape), held)
    prompt = np.array([5, 9, 2, 7, 11], np.int32)
    everything = tuned.bind(tuned.frozen)(held)
    written = make_generate(arch, num_tokens=12)(everything, jnp.asarray(prompt)[None], Sampling(), jax.random.key(0))[
        0
    ]
    row = prompt
    for token in np.asarray(written):
        scores = np.asarray(model.apply(held, jnp.asarray(row), None))[-1]
        assert scores[token] >= scores.max() - 1e-4
        row = np.append(row, token)


@pytest.mark.parametrize(
    ("family", "change", "words"),
    [
        ("llama", {"rope_scaling": {"rope_type": "cubic"}}, "rope_type is 'cubic', but dpjax computes default, linear"),
        ("llama", {"rope_scaling": {"rope_type": "llama3"}}, "no factor"),
        ("llama", {"rope_scaling": {"type": "linear", "factor": 0}}, "factor is 0"),
        ("llama", {"rope_scaling": {"rope_type": "linear", "factor": 2, "mrope_section": [1]}}, "not compute mrope"),
        ("phi3", {"rope_scaling": {"type": "su", "short_factor": [1.0], "long_factor": [1.0]}}, "1 numbers"),
        ("gpt_neox", {"rotary_pct": 1.5}, "rotary_pct is 1.5"),
        ("gpt_neox", {"rotary_pct": 0.1}, "turn 0 of 8 channels"),
        ("qwen3", {"layer_types": ["sliding_attention"] * 2}, "sliding_window gives it no window"),
        ("qwen3", {"layer_types": ["chunked_attention"] * 2}, "must say full_attention or sliding_attention"),
        ("gemma2", {"layer_types": ["full_attention"]}, "for each of the 2 layers"),
        ("gemma3_text", {"use_bidirectional_attention": True}, "use_bidirectional_attention is True"),
        ("gemma3_text", {"attn_logit_softcapping": 5.0}, "attn_logit_softcapping is 5.0"),
        ("smollm3", {"no_rope_layers": [1, 2]}, "must say 0 or 1 for each"),
        ("smollm3", {"use_sliding_window": True}, "use_sliding_window is True"),
        ("roberta", {"pad_token_id": 40}, "pad_token_id is 40"),
        ("roberta", {"pad_token_id": None}, "pad_token_id is None"),
        ("modernbert", {"hidden_activation": "relu6"}, "hidden_activation is 'relu6'"),
        ("mistral", {"sliding_window": 0}, "sliding_window is 0"),
    ],
)
def test_what_would_be_computed_otherwise_is_refused_by_its_field(family, change, words):
    config = to_hub_config(tiny(family))
    with pytest.raises(ArchitectureError, match=words):
        from_hub_config({**config, **change})


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("mixtral", "its experts"),
        ("deberta-v2", "relative positions"),
        ("gemma3", "gemma3_text"),
        ("qwen2_5", "nearest that dpjax builds is 'qwen2'"),
        ("zzz", "model_type is 'zzz', and dpjax does not build it; take"),
        (None, "model_type is None"),
    ],
)
def test_an_unknown_architecture_is_named_with_the_nearest_known(kind, words):
    with pytest.raises(ArchitectureError, match=words):
        from_hub_config({"model_type": kind})


@pytest.mark.parametrize("name", ["full", "lora", "dora", "ia3"])
@pytest.mark.parametrize("family", FAMILIES)
def test_no_family_needs_a_units_own_gradient_of_a_matrix(family, name):
    """Norms of queries, caps and windows hide no matrix from the one pass that clips."""
    arch = tiny(family)
    method = Method(name, Lora(rank=2, targets=("query", "value", "up", "down")))
    body = {path: np.zeros(leaf.shape, np.float32) for path, leaf in shapes_of(arch).items()}
    tuned = fine_tune(arch, body, Head("classify", 2), method, scan_layers=True)
    shapes = jax.eval_shape(tuned.init, tuned.start, jax.random.key(0))
    params = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
    model = tuned.applying(tuned.frozen)

    def loss(params, row, key):
        return -jax.nn.log_softmax(model.apply(params, row[0], None))[row[1]]

    rows = Cohort((jnp.ones((4, 12), jnp.int32), jnp.zeros(4, jnp.int32)), jnp.ones(4, bool))
    plan = explain(example_gradient(loss), params, rows, jax.random.key(0))
    assert (plan.engine, plan.materialized) == ("bookkeeping", ())


def shapes_of(arch):
    made = from_nnx(lambda rngs: Transformer(arch, Head(), Added(), Plan(), rngs=rngs))
    return flat_paths(jax.eval_shape(made.init, jax.random.key(0)))
