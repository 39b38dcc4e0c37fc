"""Checkpoints that do not fit, of every family: damaged, contradicting, in other formats: one sentence each."""

import json
import pickle

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from dpjax.datasets import load as load_data
from dpjax.models import pretrained
from dpjax.models.adapters import from_nnx
from dpjax.models.layer_stacks import flat_paths
from dpjax.models.pretrained import CheckpointError, word_tokenizer
from dpjax.models.transformers import FAMILIES, Added, ArchitectureError, Head, Plan, Transformer, tiny
from dpjax.models.transformers.hub_config import NAMES
from experiments.config import ConfigError, ModelConf
from experiments.problems import language

WORDS = [f"w{i}" for i in range(62)]


@pytest.fixture(scope="module")
def originals(tmp_path_factory):
    """A tiny checkpoint of each family with constant weights, which nobody changes: made when first asked for."""
    made = {}

    def of(family):
        if family not in made:
            arch = tiny(family)
            head = Head("causal") if arch.causal else Head()
            model = from_nnx(lambda rngs: Transformer(arch, head, Added(), Plan(), rngs=rngs))
            shapes = flat_paths(jax.eval_shape(model.init, jax.random.key(0)))
            params = {path: np.full(x.shape, 0.01, np.float32) for path, x in shapes.items()}
            made[family] = pretrained.save(tmp_path_factory.mktemp(family), arch, params, word_tokenizer(WORDS))
        return made[family]

    return of


@pytest.fixture
def copied(originals, tmp_path):
    def copy(family):
        target = tmp_path / "checkpoint"
        target.mkdir()
        for path in originals(family).iterdir():
            (target / path.name).write_bytes(path.read_bytes())
        return target

    return copy


def config_of(folder):
    return json.loads((folder / "config.json").read_text())


def change_config(folder, **fields):
    (folder / "config.json").write_text(json.dumps(config_of(folder) | fields))


def change_weights(folder, change):
    stored = load_file(folder / "model.safetensors")
    change(stored)
    save_file(stored, folder / "model.safetensors")


def named(family, field):
    return (NAMES | dict(FAMILIES[family].names))[field]


def grown(field, by):
    def change(folder, family):
        name = named(family, field)
        change_config(folder, **{name: config_of(folder)[name] * by})

    return change


def poisoned(folder, family):
    def change(stored):
        name = max(stored, key=lambda name: stored[name].size)
        stored[name] = np.where(np.arange(stored[name].size).reshape(stored[name].shape) == 3, np.nan, stored[name])

    change_weights(folder, change)


def cut(folder, family):
    content = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(content[: len(content) // 2])


def one_shard_lost(folder, family):
    stored = load_file(folder / "model.safetensors")
    names = sorted(stored)
    shards = {f"model-0000{i + 1}-of-00002.safetensors": names[i::2] for i in range(2)}
    index = {"weight_map": {name: shard for shard, own in shards.items() for name in own}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    first = next(iter(shards))
    save_file({name: stored[name] for name in shards[first]}, folder / first)
    (folder / "model.safetensors").unlink()


def larger_tokenizer(folder, family):
    word_tokenizer([*WORDS, "more", "words"]).raw.save(str(folder / "tokenizer.json"))


MISFITS = {
    "more layers": (
        grown("num_layers", 2),
        "lacks .*take the whole checkpoint|(full_attention or sliding_attention|0 or 1) for ",
    ),
    "another vocabulary": (grown("vocab_size", 2), "asks for .*belong to different models"),
    "another width": (grown("width", 2), "asks for |outputs side by side|holds .*belongs to another model"),
    "a longer text": (grown("max_length", 2), ""),
    "NaN": (poisoned, "nan"),
    "cut": (cut, "is damaged or cut short"),
    "a shard is lost": (one_shard_lost, "has no model-00002-of-00002"),
    "a larger tokenizer": (larger_tokenizer, "gives ids up to 65, but the embedding has 64 rows"),
    "quantised by gptq": (
        lambda f, _: change_config(f, quantization_config={"quant_method": "gptq"}),
        "gptq.*unquantised",
    ),
    "quantised by awq": (
        lambda f, _: change_config(f, quantization_config={"quant_method": "awq"}),
        "awq.*unquantised",
    ),
    "in four bits": (
        lambda f, _: change_config(f, quantization_config={"quant_method": "bitsandbytes", "load_in_4bit": True}),
        "bitsandbytes.*unquantised",
    ),
}


def refused(folder, words):
    with pytest.raises((CheckpointError, ArchitectureError), match=f"(?i){words}") as found:
        pretrained.load(folder)
    said = str(found.value)
    assert "\n" not in said
    assert said.endswith(".")
    assert str(folder) in said
    return said


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("misfit", MISFITS)
def test_a_checkpoint_that_does_not_fit_is_refused_in_every_family(misfit, family, copied):
    folder = copied(family)
    pretrained.load(folder)
    change, words = MISFITS[misfit]
    if misfit == "a longer text":
        if not tiny(family).learned:  # positions that turn are in no tensor
            return
        words = "asks for .*belong to different models"
    change(folder, family)
    refused(folder, words)


class Opened:
    """A pickle that would tell if it was opened."""

    def __reduce__(self):
        return (pytest.fail, ("a pickle was opened",))


OTHER = {
    "pytorch_model.bin": "is a pickle, .*save_pretrained",
    "pytorch_model-00001-of-00002.bin": "is a pickle, .*save_pretrained",
    "model.pt": "is a pickle",
    "weights.pth": "is a pickle",
    "last.ckpt": "is a pickle",
    "tf_model.h5": "holds weights of TensorFlow.*from_tf=True",
    "flax_model.msgpack": "holds weights of Flax.*from_flax=True",
    "model.onnx": "is an exported program; take the checkpoint that it was exported from",
}


@pytest.mark.parametrize("name", OTHER)
def test_weights_in_another_format_are_not_opened_and_say_how_to_convert(name, copied):
    folder = copied("gpt2")
    (folder / "model.safetensors").unlink()
    (folder / name).write_bytes(pickle.dumps(Opened()))
    (folder / "training_args.bin").write_bytes(pickle.dumps(Opened()))
    said = refused(folder, f"has no model.safetensors: {name} {OTHER[name]}")
    assert said.count(". ") == 0
    alone = refused(folder / name, OTHER[name])
    assert alone.startswith(str(folder / name))


def test_a_pickle_beside_safetensors_is_passed_over(copied):
    folder = copied("roberta")
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Opened()))
    assert pretrained.load(folder).arch == tiny("roberta")


def test_adapters_as_a_pickle_and_adapters_alone_are_named(copied, tmp_path):
    folder = tmp_path / "adapters"
    folder.mkdir()
    config = {"peft_type": "LORA", "r": 2, "lora_alpha": 4, "target_modules": ["q_proj"], "bias": "none"}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    (folder / "adapter_model.bin").write_bytes(pickle.dumps(Opened()))
    with pytest.raises(CheckpointError, match=r"has no adapter_model\.safetensors: adapter_model\.bin is a pickle"):
        pretrained.load_adapters(folder, tiny("llama"))
    refused(folder, "holds adapters and no model")


@pytest.mark.parametrize(
    "names", [["vocab.json", "merges.txt"], ["tokenizer.model"], ["spiece.model"], ["sentencepiece.bpe.model"]]
)
def test_another_tokenizer_says_how_to_make_the_one_that_is_read(names, copied):
    folder = copied("llama")
    (folder / "tokenizer.json").unlink()
    for name in names:
        (folder / name).write_text("{}")
    refused(folder, f"has no tokenizer.json, but .*{names[-1]}; write it with transformers .AutoTokenizer")


def test_code_of_a_checkpoint_is_not_run_and_that_is_said(copied):
    """Where the family is known it is computed by dpjax, and the row's checkpoint says so; else it is refused."""
    folder = copied("phi3")
    (folder / "modeling_mine.py").write_text("raise SystemExit('run')")
    change_config(folder, auto_map={"AutoModelForCausalLM": "modeling_mine.Mine"})
    assert pretrained.load(folder).source.endswith("; its own code (auto_map) was not run")
    change_config(folder, model_type="phi3small")
    refused(folder, r"the nearest that dpjax builds is 'phi3'.*its own code \(auto_map\) was not run")


@pytest.mark.parametrize(("family", "field"), [("gpt2", "gpt2x"), ("llama", "lama"), ("modernbert", "modern-bert")])
def test_an_unknown_architecture_is_named_with_the_nearest(family, field, copied):
    folder = copied(family)
    change_config(folder, model_type=field)
    refused(folder, f"model_type is '{field}', and the nearest that dpjax builds is '{family}'")


@pytest.mark.parametrize("family", [name for name in FAMILIES if FAMILIES[name].constants["causal"]])
def test_a_saved_decoder_says_where_texts_end(family, copied):
    """In both files that transformers asks; padding only where nothing is trained by it."""
    folder = copied(family)
    ends = {"eos_token_id": 1}
    assert {name: config_of(folder).get(name) for name in ("eos_token_id", "bos_token_id", "pad_token_id")} == {
        **ends,
        "bos_token_id": None,
        "pad_token_id": None,
    }
    assert json.loads((folder / "generation_config.json").read_text()) == {**ends, "pad_token_id": 1}
    again = pretrained.load(folder)
    pretrained.save(folder, again.arch, again.params)
    assert not (folder / "generation_config.json").exists()


def test_a_classifier_on_a_decoder_with_a_head_of_its_own_is_loaded_again(tmp_path):
    """It was saved without that head, which a classifier does not use; without a classifier the head must be there."""
    arch = tiny("llama", tied=False)
    model = from_nnx(lambda rngs: Transformer(arch, Head("classify", 2), Added(), Plan(), rngs=rngs))
    shapes = flat_paths(jax.eval_shape(model.init, jax.random.key(0)))
    params = {path: np.full(x.shape, 0.01, np.float32) for path, x in shapes.items()}
    folder = pretrained.save(tmp_path / "one", arch, params, word_tokenizer(WORDS), head=Head("classify", 2))
    again = pretrained.load(folder)
    assert again.params.keys() == params.keys()
    assert not (folder / "generation_config.json").exists()
    causal = ModelConf(name="pretrained", task="causal", max_length=8)
    with pytest.raises(
        ConfigError, match=r"model\.task=causal: .* saved as a classifier, without its head over the voc"
    ):
        language._check(causal, load_data("digits"), again)
    (folder / "classifier.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"lacks lm_head\.weight"):
        pretrained.load(folder)


def test_a_repository_of_pickles_is_not_fetched(tmp_path, monkeypatch):
    """Nothing of it is kept, and nothing of it is downloaded that would have to be opened."""
    import huggingface_hub

    def download(repo, revision, local_dir, allow_patterns):
        local_dir.mkdir(parents=True)
        assert not any(pattern.endswith((".bin", ".pt", "*")) for pattern in allow_patterns)
        (local_dir / "config.json").write_text("{}")

    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setattr(
        huggingface_hub.HfApi, "model_info", lambda self, repo, **_: type("Info", (), {"sha": "a" * 40})
    )
    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    with pytest.raises(CheckpointError, match=r"owner/name has no model\.safetensors, and pickles .* convert a copy"):
        pretrained.fetch("owner/name", cache_dir=tmp_path)
    assert not list(tmp_path.rglob("config.json"))
