"""The configs of published language models: each runs on made files in the hub's format, at the ε that it names."""

import dataclasses
import itertools
import math

import jax
import numpy as np
import pytest
import yaml
from hydra import compose, initialize_config_dir
from safetensors.numpy import load_file, save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

from dpjax import datasets
from dpjax.datasets import registry
from dpjax.models import pretrained
from dpjax.models.transformers import from_hub_config
from dpjax.models.tuning import fresh_parameters
from experiments import config, jobs
from experiments.border import from_hydra
from experiments.task import Job
from paper.language import LANGUAGE
from tests.families import SIZES, weights_of

pa = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")

WORDS = [
    "the",
    "film",
    "was",
    "good",
    "bad",
    "fine",
    "dull",
    "what",
    "who",
    "where",
    "is",
    "it",
    "a",
    "plot",
    "name",
    "food",
    "price",
    "river",
]
PAIRS = {
    "sst2": ("sentence",),
    "qnli": ("question", "sentence"),
    "qqp": ("question1", "question2"),
    "mnli": ("premise", "hypothesis"),
    "e2e": ("meaning_representation", "human_reference"),
}
CLASSES = {"sst2": 2, "qnli": 2, "qqp": 2, "mnli": 3, "e2e": 0}
SPLITS = {"sst2": "validation", "qnli": "validation", "qqp": "validation", "mnli": "validation_matched", "e2e": "test"}
ROWS = {"train": 160, "test": 16}


def made_up_table(name, split, source):
    """Rows as the hub's Parquet files have them; of MNLI the mismatched set lies beside, which is not read."""
    number = ROWS["train" if split == "train" else "test"]
    columns = {
        column: [f"{split} {i} " + " ".join(source.choice(WORDS, 6)) for i in range(number)] for column in PAIRS[name]
    }
    if CLASSES[name]:
        columns |= {"label": [i % CLASSES[name] for i in range(number)], "idx": list(range(number))}
    return pa.table(columns)


def byte_tokenizer(special, frame):
    raw = Tokenizer(models.BPE(unk_token=None))
    raw.pre_tokenizer, raw.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    raw.train_from_iterator(
        [" ".join(WORDS)], trainers.BpeTrainer(vocab_size=320, special_tokens=special, initial_alphabet=alphabet)
    )
    if frame:
        raw.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), add_prefix_space=False)
    return raw


@pytest.fixture(scope="module")
def hub_like(tmp_path_factory):
    """A RoBERTa and a GPT-2 as the hub has them, with the head over tokens and the buffers that those files carry."""
    folder = tmp_path_factory.mktemp("checkpoints")
    one_layer = {
        **SIZES,
        "num_hidden_layers": 1,
        "vocab_size": 330,
        "type_vocab_size": 1,
        "max_position_embeddings": 66,
    }
    gpt2 = {"n_embd": 24, "n_layer": 1, "n_head": 4, "n_positions": 64, "vocab_size": 330}
    for family, fields in (("roberta", one_layer), ("gpt2", gpt2)):
        arch = from_hub_config({"model_type": family, **fields})
        pretrained.save(folder / family, arch, fresh_parameters(arch, jax.random.key(0)))
        stored = load_file(folder / family / "model.safetensors")
        if family == "roberta":
            stored = {f"roberta.{name}": x for name, x in stored.items()}
            heads = {
                "dense.weight": (24, 24),
                "dense.bias": (24,),
                "layer_norm.weight": (24,),
                "layer_norm.bias": (24,),
            }
            stored |= weights_of({f"lm_head.{name}": shape for name, shape in heads.items()} | {"lm_head.bias": (330,)})
            stored |= weights_of({"roberta.pooler.dense.weight": (24, 24), "roberta.pooler.dense.bias": (24,)})
            stored["roberta.embeddings.position_ids"] = np.arange(66)[None]
        else:
            stored["h.0.attn.bias"] = np.tril(np.ones((1, 1, 64, 64), np.float32))
        save_file(stored, folder / family / "model.safetensors", {"format": "pt"})
        special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"] if family == "roberta" else ["<|endoftext|>"]
        byte_tokenizer(special, family == "roberta").save(str(folder / family / "tokenizer.json"))
    return folder


def fetched(name, folder, monkeypatch):
    """The data set as a user fetches it, from a folder in the hub's form, with as many rows as are made up."""
    monkeypatch.setenv("DPJAX_DATA_DIR", str(folder / "cache"))
    entry = dataclasses.replace(registry.ENTRIES[name], num_train=ROWS["train"], num_test=ROWS["test"])
    monkeypatch.setitem(registry.ENTRIES, name, entry)
    source = np.random.default_rng(0)
    at = folder / "glue" / (getattr(entry.sources[0], "config", None) or "data")
    at.mkdir(parents=True)
    others = ("validation_mismatched",) if name == "mnli" else ()
    for split in ("train", SPLITS[name], *others):
        parquet.write_table(made_up_table(name, split, source), at / f"{split}-00000-of-00001.parquet")
    datasets.fetch(name, source=str(folder / "glue"))
    assert datasets.load(name).num_classes == max(CLASSES[name], 1)


def points_of(experiment):
    """What the sweep of a config is made of, grid by grid, as the overrides of one job each."""
    path = config.CONF / "experiment" / f"{experiment}.yaml"
    for grid in yaml.safe_load(path.read_text(encoding="utf-8"))["hydra"]["sweeper"]["grids"]:
        values = [str(value).split(",") for value in grid.values()]
        yield [[f"{n}={v}" for n, v in zip(grid, row, strict=True)] for row in itertools.product(*values)]


def composed(experiment, overrides, checkpoints):
    family = "gpt2" if experiment == "published_e2e_gpt2" else "roberta"
    own = ["optimizer.num_steps=2", "optimizer.evaluate_every=2", "model.max_length=24", "model.num_lengths=1"]
    kept = [
        each for each in overrides if not each.startswith(("model.checkpoint", "optimizer.num_s", "optimizer.eval"))
    ]
    with initialize_config_dir(str(config.CONF), version_base="1.3"):
        words = [f"experiment={experiment}", *kept, f"model.checkpoint={checkpoints / family}", *own]
        return from_hydra(compose("config", words))


EXPERIMENTS = sorted({each.experiment for each in LANGUAGE})
LATER = (
    "published_roberta_sst2",
    "published_roberta_qnli",
    "published_roberta_qqp",
)  # MNLI's has pairs and more classes


@pytest.fixture
def promoting():
    """Adam leaves a promotion to jax."""
    jax.config.update("jax_numpy_dtype_promotion", "standard")
    yield
    jax.config.update("jax_numpy_dtype_promotion", "strict")


def run(experiment, grid, hub_like, tmp_path, monkeypatch):
    """Two steps of every point of a grid, each at its own noise."""
    monkeypatch.setenv("DPJAX_MODELS_DIR", str(tmp_path / "models"))
    name = "e2e" if experiment == "published_e2e_gpt2" else experiment.rpartition("_")[2]
    fetched(name, tmp_path, monkeypatch)
    together = {
        str(cfg): cfg for cfg in (composed(experiment, point, hub_like) for point in grid)
    }  # base and large are one
    outcomes = list(jobs.run_group([Job(cfg, tmp_path / str(i), "") for i, cfg in enumerate(together.values())]))
    assert [outcome.error for outcome in outcomes] == [None] * len(together)
    for outcome in outcomes:
        (row,) = outcome.rows
        cfg = outcome.job.cfg
        assert (row["experiment"], row["dataset"], row["delta"]) == (experiment, name, cfg.privacy.delta)
        assert row["sampling_rate"] == cfg.optimizer.sampling_rate
        assert row["epsilon_pld"] == pytest.approx(row["epsilon"], rel=2e-3)
        assert row["epsilon_pld"] <= row["epsilon"]
        assert math.isfinite(row["test_loss"])
        assert 0 <= row["test_accuracy"] <= 1
        yield row


@pytest.mark.usefixtures("promoting")
@pytest.mark.parametrize(
    "experiment", [pytest.param(each, marks=pytest.mark.slow if each in LATER else ()) for each in EXPERIMENTS]
)
def test_every_published_config_runs_two_steps_on_files_in_the_hubs_format(experiment, hub_like, tmp_path, monkeypatch):
    rows = list(run(experiment, next(points_of(experiment)), hub_like, tmp_path, monkeypatch))
    assert sorted(row["epsilon"] for row in rows) == [3, 8]
    assert {row["tuning"] for row in rows} == {"full"}


@pytest.mark.slow
@pytest.mark.usefixtures("promoting")
@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_the_other_grids_of_a_published_config_run_two_steps(experiment, hub_like, tmp_path, monkeypatch):
    rows = []
    for number, grid in enumerate(list(points_of(experiment))[1:]):
        with monkeypatch.context() as patched:
            rows += run(experiment, grid, hub_like, tmp_path / str(number), patched)
    wanted = {(each.tuning, each.clipping) for each in LANGUAGE if each.experiment == experiment} - {("full", "flat")}
    found = {(row["tuning"], row["clipping"].split("(")[0]) for row in rows}
    assert wanted <= found


@pytest.mark.parametrize("score", LANGUAGE, ids=lambda score: f"{score.dataset}-{score.tuning}-{score.epsilon:g}")
def test_a_published_score_has_a_config_that_says_it(score):
    """Its recipe is in a grid at its ε, and the head of the file has the value that the table has."""
    text = (config.CONF / "experiment" / f"{score.experiment}.yaml").read_text(encoding="utf-8")
    head = text.partition("defaults:")[0]
    assert f"{score.value:g}" in head or f"{score.value:.2f}" in head
    name, _, rank = score.tuning.rstrip(")").partition("(")
    wanted = {f"privacy.epsilon={score.epsilon:g}"} | ({f"tuning={name}", f"tuning.rank={rank}"} if rank else set())
    wanted |= {"clipping=automatic"} if score.clipping == "automatic" else set()
    if score.dataset != "e2e":
        wanted |= {"model.checkpoint=FacebookAI/roberta-large"}
    assert any(wanted <= set(point) for grid in points_of(score.experiment) for point in grid)


SIZES_OF = {
    "sst2": (67_349, 1000, 3),
    "qnli": (104_743, 2000, 6),
    "qqp": (363_846, 6000, 18),
    "mnli": (392_702, 6000, 18),
}


@pytest.mark.parametrize("name", [*SIZES_OF, "e2e"])
def test_cohorts_epochs_and_delta_are_those_of_the_papers(name):
    """Cohorts of the published size, over the rows that the data set has, for the published epochs."""
    rows, cohort, epochs = SIZES_OF.get(name, (42_061, 1024, 10))
    experiment = "published_e2e_gpt2" if name == "e2e" else f"published_roberta_{name}"
    with initialize_config_dir(str(config.CONF), version_base="1.3"):
        cfg = from_hydra(compose("config", [f"experiment={experiment}"]))
    assert registry.ENTRIES[name].num_train == rows
    assert cfg.optimizer.sampling_rate * rows == pytest.approx(cohort, rel=1e-5)
    assert cfg.optimizer.sampling_rate * cfg.optimizer.num_steps == pytest.approx(epochs, rel=2e-3)
    assert cfg.privacy.clip_norm == 0.1
    assert cfg.privacy.delta == (8e-6 if name == "e2e" else pytest.approx(1 / (2 * rows), rel=5e-3))
