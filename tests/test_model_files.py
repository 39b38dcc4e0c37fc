"""Files of models that are damaged, absurd or computed otherwise: one sentence, or the right model."""

import json
import math
from pathlib import Path

import jax
import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from tokenizers import Tokenizer, processors

from dpjax.models import pretrained
from dpjax.models.pretrained import CheckpointError, copies, word_tokenizer
from dpjax.models.transformers import ArchitectureError, from_hub_config, tiny, to_hub_config
from dpjax.models.tuning import fresh_parameters

WORDS = [f"w{i}" for i in range(62)]
FAMILIES = ("bert", "gpt2", "llama")
ABSURD = [None, "", "768", [], {}, [1], {"a": 1}, 0, -1, 1, 1.5, 2**31, 2**40, 2**70, True, False, math.nan, math.inf]
DEEP = "[" * 100_000 + "]" * 100_000


@pytest.fixture(scope="module")
def originals(tmp_path_factory):
    """A tiny checkpoint of each family; nobody changes it."""
    made = {}
    for family in FAMILIES:
        folder = tmp_path_factory.mktemp(family)
        arch = tiny(family)
        made[family] = pretrained.save(folder, arch, fresh_parameters(arch, jax.random.key(0)), word_tokenizer(WORDS))
    return made


@pytest.fixture
def folder(originals, tmp_path):
    """A BERT to damage."""
    return copied(originals["bert"], tmp_path / "checkpoint")


def copied(original, target):
    target.mkdir()
    for path in original.iterdir():
        (target / path.name).write_bytes(path.read_bytes())
    return target


OWN = CheckpointError, ArchitectureError


def refused(folder, words):
    with pytest.raises(OWN, match=words) as found:
        pretrained.load(folder)
    assert "\n" not in str(found.value)
    assert str(folder) in str(found.value)


def change_tensor(folder, name, change):
    stored = load_file(folder / "model.safetensors")
    save_file(stored | {name: change(stored[name])}, folder / "model.safetensors")


def config_with(folder, **fields):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


# --- config.json ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"num_attention_heads": 0}, "num_attention_heads is 0, but must be a whole number from 1 to"),
        ({"num_attention_heads": 3}, "num_attention_heads is 3, which does not divide hidden_size=16"),
        ({"hidden_size": None}, "hidden_size is None"),
        ({"vocab_size": "30522"}, "vocab_size is '30522'"),
        ({"intermediate_size": []}, r"intermediate_size is \[\]"),
        ({"num_hidden_layers": True}, "num_hidden_layers is True"),
        ({"num_hidden_layers": 2**40}, "num_hidden_layers is 1099511627776"),
        ({"layer_norm_eps": -1}, "layer_norm_eps is -1, but must be a number above 0 and below 1"),
        ({"layer_norm_eps": math.nan}, "layer_norm_eps is nan"),
        ({"hidden_act": ["gelu"]}, r"hidden_act is \['gelu'\]"),
        ({"model_type": {}}, r"model_type is \{\}"),
        ({"tie_word_embeddings": "no"}, "tie_word_embeddings is 'no', but must be true or false"),
        ({"is_decoder": True}, "is_decoder is True"),
        ({"add_cross_attention": True}, "add_cross_attention is True"),
        ({"quantization_config": {"quant_method": "fp8"}}, "quantization_config is .* unquantised"),
        ({"pruned_heads": {"0": [1]}}, "pruned_heads is"),
    ],
)
def test_a_field_of_the_config_is_refused_by_its_name_and_file(folder, fields, words):
    config_with(folder, **fields)
    refused(folder, rf"config\.json: {words}")


def test_more_layers_than_there_are_tensors_are_not_counted_up_to(folder):
    config_with(folder, num_hidden_layers=2**31 - 1)
    refused(folder, "asks for 2147483647 layers, but there are only")


@pytest.mark.parametrize(
    ("rope", "words"),
    [
        ({"rope_scaling": {"factor": 4.0}}, "factor is 4.0 where rope_type is 'default'"),
        ({"rope_scaling": {"type": 3}}, "rope_type is 3, but dpjax computes default"),
        ({"rope_scaling": {"type": "linear"}}, "no factor"),
        ({"rope_scaling": [4.0]}, "must be an object or null"),
        ({"rope_parameters": {"full_attention": {"rope_type": "default"}, "more": 3}}, "rope_parameters is"),
        ({"rope_parameters": {"type": "linear"}, "rope_scaling": {"type": "yarn"}}, "contradict each other"),
        ({"rope_parameters": {"rope_theta": 5e5}, "rope_theta": 1e4}, "contradict each other"),
        ({"partial_rotary_factor": 0.5}, "partial_rotary_factor is 0.5"),
        ({"rope_theta": -1}, "rope_theta is -1"),
    ],
)
def test_rotary_positions_that_say_nothing_clear_are_refused(rope, words):
    config = to_hub_config(tiny("llama")) | rope
    with pytest.raises(ArchitectureError, match=words):
        from_hub_config(config)


def test_rotary_positions_are_read_wherever_they_stand():
    config = to_hub_config(tiny("llama"))
    del config["rope_theta"]
    assert (
        from_hub_config(config | {"rope_parameters": {"rope_theta": 5e5, "rope_type": "default"}}).views[0].rope.base
        == 5e5
    )
    assert from_hub_config(config | {"rope_scaling": None}).views[0].rope.base == 10_000.0


# --- any JSON ------------------------------------------------------------------------------------------------------

NAMES = ("config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors.index.json", "manifest.json")


@pytest.mark.parametrize("name", NAMES)
def test_json_of_any_damage_names_its_file(folder, name):
    if name == "model.safetensors.index.json":
        (folder / "model.safetensors").unlink()
    damages = ["", "{", "[]", "5", "null", '{"weight_map": 5}', '{"weight_map": {"a": 5}}', DEEP, "\x00"]
    for content in (*damages, '{"a": 1' + "0" * 5000 + "}"):
        (folder / name).write_text(content)
        if name == "tokenizer_config.json" and content.startswith('{"weight'):
            continue  # it has no field that must be there
        refused(folder, name.replace(".", r"\."))
    (folder / name).write_bytes(b"\xff\xfe{}")
    refused(folder, name.replace(".", r"\."))


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"])
def test_a_folder_in_place_of_a_file_is_named(folder, name):
    (folder / name).unlink(missing_ok=True)
    (folder / name).mkdir()
    refused(folder, name.replace(".", r"\."))


def mutations(content, at=()):
    """Every field of a JSON tree, by its path."""
    children = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    for number, (key, value) in enumerate(children):
        if number < 8:  # a vocabulary's entries are all alike
            yield (*at, key)
            yield from mutations(value, (*at, key))


def changed(content, path, value):
    copy = json.loads(json.dumps(content))
    inner = copy
    for key in path[:-1]:
        inner = inner[key]
    if value is DEEP:
        del inner[path[-1]]
    else:
        inner[path[-1]] = value
    return copy


def loaded_or_refused(folder):
    try:
        body = pretrained.load(folder)
        body.tokenizer.encode(["w1 and w2", "7"], 8)
    except OWN as error:
        return None, str(error)
    return body, ""


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "tokenizer_config.json"])
@pytest.mark.parametrize("family", FAMILIES)
def test_every_field_of_every_file_by_kind_and_range(originals, family, name, tmp_path):
    """Mutated by kind and range: it loads as the field says, or one sentence of dpjax's own names the file."""
    folder = copied(originals[family], tmp_path / "checkpoint")
    whole = json.loads((folder / name).read_text())
    seen = {"loaded": 0, "refused": 0}
    paths = list(mutations(whole))
    assert paths
    for path in paths:
        for value in (*ABSURD, DEEP):
            (folder / name).write_text(json.dumps(changed(whole, path, value)))
            body, said = loaded_or_refused(folder)
            seen["loaded" if body else "refused"] += 1
            assert "\n" not in said, (path, value, said)
            assert body or str(folder) in said, (path, value, said)
            if body and name == "config.json" and value is not DEEP and value is not None:
                read = to_hub_config(body.arch)
                assert path[0] not in read or path[0] == "architectures" or read[path[0]] == value, (path, value)
    assert min(seen.values()) > 0, seen


# --- tensors -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("kind", [np.float32, np.float16, ml_dtypes.bfloat16])
def test_a_weight_that_is_no_number_is_named(folder, value, kind):
    def damage(array):
        array = array.astype(kind)
        array[3, 5] = value
        return array

    change_tensor(folder, "encoder.layer.1.attention.self.key.weight", damage)
    refused(folder, rf"encoder\.layer\.1\.attention\.self\.key\.weight holds {value} at \(5, 3\) and 1 such")


@pytest.mark.parametrize("kind", [ml_dtypes.float8_e4m3fn, ml_dtypes.float8_e5m2])
def test_weights_in_eight_bits_are_refused_by_name(folder, kind):
    change_tensor(folder, "embeddings.word_embeddings.weight", lambda x: x.astype(kind))
    refused(folder, r"model\.safetensors: embeddings\.word_embeddings\.weight is stored as F8_E\d.*bfloat16, float16")


def sharded(folder):
    stored = load_file(folder / "model.safetensors")
    names = sorted(stored)
    home = {name: f"model-{1 + i % 2}.safetensors" for i, name in enumerate(names)}
    for shard in set(home.values()):
        save_file({name: stored[name] for name in names if home[name] == shard}, folder / shard)
    (folder / "model.safetensors").unlink()
    return home


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda home: {}, "weight_map is {}, but must name a file"),
        (lambda home: home | {"more": "model-1.safetensors"}, "lists more in model-1.safetensors, where it is not"),
        (lambda home: {name: home[name] for name in sorted(home)[1:]}, "does not list .* where it is"),
        (lambda home: home | {"more": "../else.safetensors"}, "must name a file of the same folder"),
        (lambda home: home | {"more": "model-3.safetensors"}, "has no model-3.safetensors"),
        (lambda home: {name: f"model-{3 - int(shard[6])}.safetensors" for name, shard in home.items()}, "list"),
    ],
)
def test_shards_are_what_their_index_says(folder, change, words):
    home = sharded(folder)
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": home}))
    pretrained.load(folder)
    index.write_text(json.dumps({"weight_map": change(home)}))
    refused(folder, words)


def test_the_hash_of_a_folder_follows_its_shards(folder):
    home = sharded(folder)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": home}))
    before = copies.digest(folder)
    shard = folder / "model-1.safetensors"
    save_file({name: array + 1 for name, array in load_file(shard).items()}, shard)
    assert copies.digest(folder) != before


# --- tokenizers ----------------------------------------------------------------------------------------------------


def template(folder, single, pair, ids):
    raw = Tokenizer.from_file(str(folder / "tokenizer.json"))
    raw.post_processor = processors.TemplateProcessing(single=single, pair=pair, special_tokens=ids)
    raw.save(str(folder / "tokenizer.json"))
    return raw


def test_a_template_comes_before_and_after_each_text(folder):
    raw = template(folder, "w0 $A", "w0 $A w0 $B", [("w0", 2)])
    tokenizer = pretrained.load(folder).tokenizer
    assert (
        tokenizer.encode(["w1 w2"], 6).ids.tolist() == [[*raw.encode("w1 w2").ids, 1, -1, -1]] == [[2, 3, 4, 1, -1, -1]]
    )
    assert tokenizer.encode(["w1 w2"], 6, ended=False).ids.tolist() == [[2, 3, 4, -1, -1, -1]]
    # A pair is one text that goes on: the answer begins where the question ends.
    found = tokenizer.encode([("w1", "w2"), ("w1 w1 w1 w1", "w2 w2")], 6)
    assert found.ids.tolist() == [[2, 3, 4, 1, -1, -1], [2, 3, 3, 4, 4, 1]]
    assert found.answer.tolist() == [2, 3]
    assert found.cut.tolist() == [False, True]


def test_a_template_that_ends_texts_is_followed_for_pairs_too(folder):
    raw = template(folder, "w0 $A <end>", "w0 $A <end> w9 $B:1 <end>:1", [("w0", 2), ("w9", 11), ("<end>", 1)])
    tokenizer = pretrained.load(folder).tokenizer
    assert tokenizer.encode(["w1 w2"], 4).ids[0].tolist() == raw.encode("w1 w2").ids
    assert tokenizer.encode([("w1 w2", "w3")], 7).ids[0].tolist() == raw.encode("w1 w2", "w3").ids
    with pytest.raises(CheckpointError, match="use at least 5"):
        tokenizer.encode([("w1", "w2")], 4)


@pytest.mark.parametrize(("first", "last"), [(True, False), (False, True), (True, True), (False, False)])
def test_tokens_that_the_tokenizer_config_puts_around_texts_are_put_there(folder, first, last):
    template(folder, "w7 $A", "w7 $A $B", [("w7", 9)])
    config = {"bos_token": "w0", "eos_token": {"content": "<end>"}, "add_bos_token": first, "add_eos_token": last}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    ids = pretrained.load(folder).tokenizer.encode(["w1"], 4).ids[0].tolist()
    assert ids == [*([2] if first else []), 3, 1, *([-1] if first else [-1, -1])]
    (folder / "tokenizer_config.json").write_text(json.dumps(config | {"add_bos_token": True, "bos_token": "w99"}))
    refused(folder, "add_bos_token is true, but bos_token is 'w99'")


def test_prompts_go_on_after_an_opening_that_is_the_end_token_too(originals, tmp_path):
    from dpjax.models.pretrained import writing

    folder = copied(originals["gpt2"], tmp_path / "checkpoint")
    template(folder, "<end> $A", "<end> $A $B", [("<end>", 1)])
    body = pretrained.load(folder)
    assert body.tokenizer.encode(["w1 w2"], 5, ended=False).ids.tolist() == [[1, 3, 4, -1, -1]]
    assert len(writing.write(body, ["w1 w2", "w3"], num_tokens=2)) == 2


def test_tokenizers_that_can_read_nothing_are_refused_when_they_are_loaded(folder):
    whole = json.loads((folder / "tokenizer.json").read_text())
    path = folder / "tokenizer.json"
    path.write_text(json.dumps(whole | {"model": whole["model"] | {"vocab": {}}, "added_tokens": []}))
    refused(folder, r"tokenizer\.json .*")
    path.write_text(json.dumps(whole | {"model": {"type": "BPE", "vocab": {}, "merges": []}, "added_tokens": []}))
    (folder / "tokenizer_config.json").unlink()
    refused(folder, r"tokenizer\.json has no tokens")
    path.write_text(json.dumps(whole | {"model": whole["model"] | {"unk_token": "w99"}}))
    refused(folder, "needs a token for unknown words")


def test_an_end_token_that_the_tokenizer_lacks_is_named(folder):
    (folder / "tokenizer_config.json").write_text(json.dumps({"eos_token": "</s>"}))
    refused(folder, r"has no token '</s>', which tokenizer_config\.json calls its end")


def test_paths_are_shown_as_they_were_given(folder):
    assert Path(pretrained.load(folder).name) == folder
