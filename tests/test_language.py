"""Language models in experiments: texts of a file, a tiny checkpoint, every way to tune it, central and federated."""

import csv
import json
import math

import jax
import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from safetensors.numpy import load_file

from dpjax.encryption.keys import add_key
from dpjax.encryption.writer import write_sealed
from dpjax.models import pretrained
from dpjax.models.probing import head_scores
from dpjax.models.transformers import tiny
from dpjax.models.tuning import fresh_parameters
from dpjax.models.tuning_methods import Method
from dpjax.results import claim
from dpjax.results.sheet import sheets
from dpjax.results.table import frame_of
from experiments import identity, jobs
from experiments.border import from_hydra
from experiments.config import CONF, ConfigError
from experiments.deploy.deployable import refuse_undeployable
from experiments.problems import features, synthetic
from experiments.setup import build
from experiments.task import Job
from experiments.validation import validate

WORDS = ["good", "bad", "film", "plot", "the", "a", "was", "fine", "dull", *[f"w{i}" for i in range(53)]]
BERT = tiny("bert", num_layers=1)  # every tuning is compiled anew, and a second layer would prove nothing


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A tiny BERT, a tiny Llama and 64 texts whose class is in their words; features are kept beside them.

    They are evaluated 16 at a time, and what is left over would be compiled by itself.
    """
    folder = tmp_path_factory.mktemp("world")
    source = np.random.default_rng(0)
    for family, arch in (("bert", BERT), ("llama", tiny("llama"))):
        fresh = fresh_parameters(tiny(family), jax.random.key(1))
        body = {path: (x + 0.1 * source.normal(size=x.shape)).astype(np.float32) for path, x in fresh.items()}
        body = {path: x for path, x in body.items() if arch.num_layers == 2 or not path.startswith("layers.1.")}
        pretrained.save(folder / family, arch, body, pretrained.word_tokenizer(WORDS))
    for split, rows in (("train", 64), ("test", 16)):
        (folder / "texts").mkdir(exist_ok=True)
        with (folder / "texts" / f"{split}.csv").open("w", newline="") as file:
            out = csv.writer(file)
            out.writerow(["text", "answer", "label"])
            for i in range(rows):
                words = [("good", "bad")[i % 2], *source.choice(WORDS[2:], source.integers(1, 9))]
                out.writerow([" ".join(words), "the fine film", ("fresh", "rotten")[i % 2]])
    return folder


def composed(world, *overrides, family="bert", data=""):
    data = data or "?text=text"
    with initialize_config_dir(str(CONF.resolve()), version_base=None):
        cfg = compose(
            "config",
            overrides=[
                f'data.name="{world / "texts"}{data}"',
                "model=pretrained",
                f"model.checkpoint={world / family}",
                "model.max_length=12",
                "model.num_lengths=1",
                "optimizer.num_steps=2",
                "optimizer.evaluate_every=2",
                "num_seeds=1",
                "privacy.delta=1e-3",
                *overrides,
            ],
        )
    return from_hydra(cfg)


def row_of(cfg, folder):
    (outcome,) = jobs.run_group([Job(cfg, folder, "")])
    assert outcome.error is None, outcome.error
    return outcome.rows[0]


CORRELATED = ["privacy.noise=correlated", "optimizer.sampling=cyclic"]


ADAPTERS = ("lora", "dora", "ia3", "prompt")
"""What PEFT opens of a BERT."""


@pytest.mark.parametrize(
    ("tuning", "noise"),
    [
        ("head", []),
        ("bitfit", []),
        ("lora", CORRELATED),  # over the steps; what is tuned and what noise it gets know nothing of each other
        ("dora", []),
        ("ia3", []),
        ("last", []),
        ("prompt", []),
        ("prefix", []),
        ("full", []),
    ],
)
def test_every_tuning_runs_and_says_what_it_trained(tuning, noise, world, tmp_path, monkeypatch):
    monkeypatch.setenv("DPJAX_MODELS_DIR", str(tmp_path / "models"))
    row = row_of(composed(world, f"tuning={tuning}", "save_model=true", *noise), tmp_path)
    own = {"lora": "(8)", "dora": "(8)", "last": "(1)", "prompt": "(8)", "prefix": "(8)"}
    assert row["tuning"] == tuning + own.get(tuning, "")
    assert math.isfinite(row["test_loss"])
    assert row["epsilon_pld"] <= 1.001
    if noise:
        assert row["noise"] == "correlated(banded 2)"
        assert row["epsilon_pld"] == pytest.approx(1, abs=1e-3)
    assert row["max_length"] == 12
    assert row["model"].endswith("bert")
    expected = {
        "head": 34,
        "lora": 34 + 2 * 2 * 16 * 8,
        "ia3": 34 + 16 + 16 + 32,
        "prompt": 34 + 8 * 16,
        "prefix": 34 + 2 * 8 * 16,
    }
    if tuning in expected:
        assert row["trained_parameters"] == expected[tuning]
    saved = tmp_path / "model"
    released = json.loads((saved / "privacy.json").read_text(encoding="utf-8"))
    assert (released["claim"], released["epsilon"], released["max_length"]) == (claim(row), row["epsilon_pld"], 12)
    page = (saved / "README.md").read_text(encoding="utf-8")
    assert claim(row) in page
    assert ("The names of its classes" in page) == (tuning in (*ADAPTERS, "bitfit", "last", "full"))
    if tuning in ADAPTERS:
        assert page.startswith("---\nlibrary_name: peft\n")
        assert Method.of(pretrained.load_adapters(saved, BERT)[1]).name == tuning
    elif tuning in ("bitfit", "last", "full"):
        # What was saved is a whole model: the next run may start from it.
        again = pretrained.load(saved)
        assert again.params["classifier.kernel"].shape == (16, 2)
    else:
        assert load_file(saved / "trained.safetensors").keys() >= {"classifier.kernel"} or tuning == "head"


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ((), "up to 3 to one, and ε is for one example: privacy.records_per_unit=k"),
        (
            ("federated=fedavg", "federated.num_clients=4", "federated.clients_per_round=2"),
            "federated.partition=natural",
        ),
        (("privacy.records_per_unit=2",), ""),
        (("federated=fedsgd", "federated.partition=natural", "federated.clients_per_round=4"), ""),
        (("privacy=none",), ""),
    ],
)
def test_owners_whose_rows_epsilon_is_for_are_told_of(asked, told, world, tmp_path, recwarn):
    path = tmp_path / "letters.csv"
    words = "\n".join(f"{('good', 'bad')[i % 2]} w{i} w{i // 2},{('a', 'b')[i % 2]},p{i // 3}" for i in range(60))
    path.write_text(f"text,label,who\n{words}\n")
    row = row_of(composed(world, "tuning=head", *asked, f'data.name="{path}?owner=who"'), tmp_path / "job")
    warned = [str(each.message) for each in recwarn if "rows belong to" in str(each.message)]
    (sheet,) = sheets(frame_of([row]))
    noted = [note for note in sheet.notes if "belong to" in note]
    assert (len(warned), len(noted)) == ((1, 1) if told else (0, 0))
    if told:
        assert (row["owners"], row["rows_per_owner"]) == (16, 3)
        assert told in warned[0]
        assert told in noted[0]
        assert noted[0].startswith("Rows belong to 16 owners")
    elif asked != ("privacy=none",):
        assert (row["owners"], row["rows_per_owner"]) == (None, None)


def test_which_weights_were_saved_is_said_and_a_run_without_noise_says_that_too(world, tmp_path):
    asked = ["tuning=head", "save_model=true", "optimizer.ema=0.9", "privacy=none"]
    row_of(composed(world, *asked), tmp_path)
    released = json.loads((tmp_path / "model" / "privacy.json").read_text(encoding="utf-8"))
    assert (released["weights"], released["private"], released["epsilon"]) == ("average", False, None)


def test_epsilon_is_that_of_any_other_run_of_the_sampler(world):
    text = build(composed(world))
    assert (text.mechanism.unit, text.sampler.sampling.name, text.sampler.population) == ("example", "poisson", 64)
    assert text.sampler.sampling_rate == 0.25


@pytest.mark.parametrize(
    ("family", "overrides", "data"),
    [
        ("llama", ["model.task=causal"], ""),
        ("llama", ["model.task=completion"], "?text=text,answer"),
        ("llama", ["model.task=causal", "model.scan_layers=true", "model.dtype=bfloat16"], ""),
        ("llama", ["model.task=causal", "model.scan_layers=true", "model.frozen_dtype=nf4"], ""),
        ("llama", ["model.task=causal", "model.frozen_dtype=int8"], ""),
    ],
)
def test_next_tokens_are_learnt(family, overrides, data, world, tmp_path):
    cfg = composed(
        world,
        *overrides,
        "optimizer=adam_corrected",
        "privacy=none",
        "optimizer.num_steps=20",
        family=family,
        data=data,
    )
    row = row_of(cfg, tmp_path)
    assert row["test_loss"] < math.log(64)
    dtype = cfg.model.dtype if cfg.model.frozen_dtype is None else f"float32, frozen {cfg.model.frozen_dtype}"
    assert row["dtype"] == (None if dtype == "float32" else dtype)
    assert (f"dtype {dtype}" in sheets(frame_of([row]), "test_loss")[0].notes[0]) == (dtype != "float32")
    assert row["model"].endswith(f"({cfg.model.task})")
    assert row["tokens_per_second"] > 0


def test_a_head_learns_from_what_a_private_decoder_wrote(world, tmp_path, monkeypatch):
    monkeypatch.setenv("DPJAX_MODELS_DIR", str(tmp_path / "models"))
    asked = ["model.task=synthetic", f"synthesis.checkpoint={world / 'bert'}", "synthesis.num_tokens=4"]
    asked += ["synthesis.num_texts=10", "synthesis.instruction='a {class} film'", "synthesis.classes=[good,bad]"]
    with jax.numpy_dtype_promotion("standard"):  # of optax's Adam
        row = row_of(composed(world, *asked, family="llama"), tmp_path / "one")
    assert row["epsilon_pld"] <= 1.001
    assert 0 <= row["test_accuracy"] <= 1
    assert row["model"].endswith("llama")
    assert json.loads((tmp_path / "one" / "synthetic-0.privacy.json").read_text())["claim"] == claim(row)
    with (tmp_path / "one" / "synthetic-0.csv").open(newline="") as file:
        written = list(csv.DictReader(file))
    assert 0 < len(written) <= 10
    assert {text["label"] for text in written} <= {"fresh", "rotten"}
    # A head that learnt from real texts, or from a private one, would not end where this one does.
    known = [np.zeros((4, 3), np.float32), np.array([0, 1, 0, 1], np.int32)]
    known[0][1::2, 0] = 1
    with jax.numpy_dtype_promotion("standard"):
        scores = head_scores((known[0], known[1]), (known[0], 1 - known[1]), 2)
    assert (scores["train_accuracy"], scores["test_accuracy"]) == (1, 0)


def test_a_decoder_that_writes_nothing_fails_its_own_job_in_one_sentence(world, tmp_path, monkeypatch):
    monkeypatch.setattr(synthetic, "write_tuned", lambda tuned, trained, tokenizer, prompts, **_: [" "] * len(prompts))
    asked = ["model.task=synthetic", f"synthesis.checkpoint={world / 'bert'}", "synthesis.num_tokens=4"]
    cfg = composed(world, *asked, family="llama")
    (outcome,) = jobs.run_group([Job(cfg, tmp_path, "")])
    assert "ended every text at once, so there is nothing to learn from; lower" in str(outcome.error)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (["synthesis.classes=[good]"], r"synthesis.classes=\['good'\] names 1 classes and data=.* has 2; name each"),
        (["synthesis.num_tokens=5000"], "synthesis.num_tokens=5000 is more than the .* tokens that .* has positions"),
        (["synthesis.instruction=write"], "synthesis.instruction=write must hold {class}"),
        (["synthesis.temperature=0"], "synthesis.temperature=0.0 must be finite and > 0"),
    ],
)
def test_what_cannot_be_written_is_refused_before_it_trains(overrides, sentence, world):
    with pytest.raises(ConfigError, match=sentence):
        build(
            composed(
                world, "model.task=synthetic", f"synthesis.checkpoint={world / 'bert'}", *overrides, family="llama"
            )
        )


def test_a_head_on_kept_vectors_equals_a_head_on_the_model(world, tmp_path, monkeypatch):
    monkeypatch.setenv("DPJAX_MODELS_DIR", str(tmp_path / "models"))
    overrides = ["tuning=head", "privacy=none", "optimizer=sgd", "optimizer.learning_rate=0.0000001"]
    quick = row_of(composed(world, *overrides), tmp_path / "quick")
    assert quick["test_loss"] == pytest.approx(math.log(2), abs=1e-3)  # it starts at zero
    assert len(list((tmp_path / "features").glob("*.npy"))) == 2
    embedded = []
    monkeypatch.setattr(features, "embed", lambda *args, **kwargs: embedded.append(1))
    row_of(composed(world, *overrides), tmp_path / "again")
    assert not embedded


@pytest.mark.parametrize(
    "overrides",
    [
        ["federated=fedavg", "tuning=lora"],
        ["federated=fedsgd", "tuning=bitfit"],
        ["federated=secure", "tuning=lora"],
    ],
)
def test_clients_send_what_is_trained_and_nothing_else(overrides, world, tmp_path):
    clients = ["federated.num_clients=12", "federated.clients_per_round=4", "federated.local_steps=1"]
    row = row_of(composed(world, *overrides, *clients), tmp_path)
    assert row["unit"] in ("client", "user")
    assert row["uplink_bytes"] >= 4 * row["trained_parameters"]
    assert row["uplink_bytes"] < 8 * row["trained_parameters"] + 20_000
    assert 0 <= row["client_accuracy_mean"] <= 1


@pytest.mark.parametrize(
    ("overrides", "family", "data", "words"),
    [
        (["model.max_length=40"], "bert", "", "model.max_length=40 is more than the 32 tokens"),
        (["model.task=causal"], "bert", "", "which sees later tokens; use masked"),
        (["model.task=masked"], "llama", "", r"has no \[MASK\] token"),
        (["model.task=completion"], "llama", "", "has single texts"),
        (["model.pooling=pooler"], "bert", "", "has none; use mean"),
        (["model.checkpoint=nothing"], "bert", "", "is neither a folder nor a known name"),
        (["data.num_train=65"], "bert", "", r"data.num_train=65 must be from 1 to the 64 rows"),
        (["tuning=bitfit"], "llama", "", "has no biases"),
        (["model=mlp"], "bert", "", "reads no texts"),
    ],
)
def test_what_does_not_go_together_is_said_in_one_sentence(overrides, family, data, words, world):
    cfg = composed(world, *overrides, family=family, data=data)
    with pytest.raises(ValueError, match=words) as found:
        build(cfg)
    assert "\n" not in str(found.value)


@pytest.mark.parametrize(
    "override",
    [
        "tuning.name=lorra",
        "model.task=translate",
        "model.pooling=max",
        "model.dtype=float16",
        "model.frozen_dtype=int4",
        "model.max_length=3",
        "tuning.rank=0",
        "tuning.targets=[]",
        "tuning.targets=[kernel]",
        "model.num_lengths=0",
        "optimizer.warmup_steps=3",
        "optimizer.decay=exponential",
        "optimizer.ema=1.0",
        "data.num_evaluated=0",
    ],
)
def test_bad_values_are_refused_before_anything_is_loaded(override, world):
    with pytest.raises(ConfigError, match=override.split("=")[0].replace(".", r"\.")):
        composed(world, override)


def test_empty_texts_are_named(world, tmp_path):
    for split in ("train", "test"):
        (tmp_path / "texts").mkdir(exist_ok=True)
        (tmp_path / "texts" / f"{split}.csv").write_text('text,label\ngood film,a\n"  ",b\n')
    with pytest.raises(ValueError, match="empty"):
        build(composed(tmp_path, f"model.checkpoint={world / 'bert'}"))


def test_a_static_field_of_a_model_parts_groups_and_epsilon_does_not(world):
    one, other = composed(world, "privacy.epsilon=1"), composed(world, "privacy.epsilon=8")
    assert identity.signature(one) == identity.signature(other)
    assert identity.signature(one) != identity.signature(composed(world, "tuning.rank=4"))


def test_vectors_of_sealed_texts_are_kept_in_memory_alone(world, tmp_path, monkeypatch):
    monkeypatch.setenv("DPJAX_MODELS_DIR", str(tmp_path / "models"))
    monkeypatch.setenv("DPJAX_KEYS", f"file:{tmp_path / 'keys'}")
    keys = add_key(f"file:{tmp_path / 'keys'}")
    asked, data = ["tuning=head", "privacy=none"], f'data.name="{tmp_path / "sealed"}?text=text"'
    (tmp_path / "sealed").mkdir()
    for each in (world / "texts").iterdir():
        write_sealed(tmp_path / "sealed" / f"{each.name}.sealed", each.read_bytes(), keys, purpose="data")
    row = row_of(composed(world, *asked, data), tmp_path / "of sealed")
    assert not (tmp_path / "features").exists()
    again = row_of(composed(world, *asked), tmp_path / "of open")
    assert list((tmp_path / "features").iterdir())
    assert row["test_loss"] == again["test_loss"]
    kept = composed(world, *asked, "governance=local", "governance.seal=true")
    assert not features.may_be_kept(kept)


# ---- clients of different ranks --------------------------------------------------------------------------------------

RANKED = ["federated=fedavg", "federated.num_clients=16", "federated.clients_per_round=8", "federated.local_steps=1"]
RANKED += ["tuning=lora", "tuning.rank=4", "tuning.freeze_a=true", "federated.client_ranks=[1,4]"]


def test_clients_of_different_ranks_send_what_they_hold(world, tmp_path, monkeypatch):
    """At the ε of any others, and what is saved has the factor that nobody trained."""
    monkeypatch.setenv("DPJAX_MODELS_DIR", str(tmp_path / "models"))
    row = row_of(composed(world, *RANKED, "save_model=true", "privacy.epsilon=8"), tmp_path / "ranked")
    assert row["tuning"] == "lora_b(1/4)"
    assert row["trained_parameters"] == 34 + 2 * 16 * 4
    assert 4 * (34 + 2 * 16 * 1) < row["uplink_bytes"] < 4 * row["trained_parameters"]
    assert row["epsilon_pld"] == pytest.approx(8, rel=2e-3)
    assert row["unit"] == "client"
    stored, lora = pretrained.load_adapters(tmp_path / "ranked/model", BERT)
    assert lora.rank == 4
    factors = [array for path, array in stored.items() if path.endswith("lora.a")]
    assert factors
    assert all(np.abs(array).max() > 0.1 for array in factors)


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (
            ["tuning.freeze_a=false"],
            "aggregated exactly only where clients share one factor; set tuning=lora and tuning",
        ),
        (["tuning.rank=8"], "tuning.rank=8 must be 4, the largest of federated.client_ranks"),
        (["federated.client_ranks=[0,4]"], "must hold ranks ≥ 1"),
        (
            ["federated.algorithm=scaffold"],
            "is for clients that send deltas and remember nothing; use federated=fedavg",
        ),
        (["federated.compression.name=quantized"], "federated.compression.name=none and federated.robust=none"),
        (["federated=local_privacy", "federated.clients_per_round=8"], "privacy.noise=local_gaussian would noise it"),
    ],
)
def test_ranks_that_have_no_exact_mean_are_refused(overrides, sentence, world):
    with pytest.raises(ConfigError, match="client_ranks") as error:
        validate(composed(world, *RANKED, *overrides))
    assert sentence in str(error.value)


def test_ranks_are_not_deployed_yet(world):
    with pytest.raises(ConfigError, match=r"federated.client_ranks=\[1, 4\] can't be deployed"):
        refuse_undeployable(composed(world, *RANKED, "optimizer.sampling=fixed_size"))
