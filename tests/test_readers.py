"""Fields that nothing reads are refused; and what the table says of who reads a field is what the code does."""

import csv
import dataclasses
import json
from typing import Any

import jax
import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf

from dpjax.datasets import load
from dpjax.models import pretrained
from dpjax.models.transformers import tiny
from dpjax.models.tuning import fresh_parameters
from experiments import jobs, readers, rows
from experiments.border import as_typed, from_hydra
from experiments.config import CONF, Config, ConfigError
from experiments.fields import leaves
from experiments.launching.compose import make_compose
from experiments.launching.sweeper import expand
from experiments.problems import choice
from experiments.readers import READ_WHEN, Sweep, refuse_unread, unread
from experiments.setup import build
from experiments.task import Job

AROUND = {
    "experiment",
    "name",
    "task",
    "num_seeds",
    "seed",
    "lanes",
    "save_model",
    "figures",
    "results_dir",
    "plugin",
    "resume",
    "notify",
    "checkpoint_seconds",
} | {name for name in READ_WHEN if name.startswith(("tracker.", "governance."))}
"""Read by what stands around a run."""

SPLITS = ("train", "test")

FEW = ["model=logistic", "federated=fedavg", "federated.clients_per_round=10", "federated.num_clients=40"]
SHARED = ["federated=distributed_privacy", "federated.clients_per_round=10", "federated.num_clients=40"]

RUNS = {
    "central": ["model=mlp", "clipping=adaptive", "privacy.noise_multiplier=1", "data.validation=0.1"],
    "automatic": ["model=cnn", "clipping=automatic", "optimizer=adam", "optimizer.decay=linear"],
    "decayed": ["model=scattering", "optimizer=adamw", "optimizer.ema=0.5"],
    "correlated": ["model=logistic", "privacy=dp_ftrl", "optimizer.sampling=cyclic"],
    "text": ["model=text", "data.name=letters", "model.context=4", "optimizer=fedyogi"],
    "tuned": ["model=logistic", "engine=materialize", "optimizer=adam_corrected"],
    "dirichlet": [*FEW, "federated.partition=dirichlet", "federated.corruption.name=scaled", "federated.num_buckets=2"],
    "shards": [*FEW, "federated.partition=shards", "federated.local_epochs=1", "federated.dropout_rate=0.1"],
    "sampled": [*FEW, "federated.partition=sampled", "federated.records_per_client=8", "federated.straggler_rate=0.1"],
    "fedprox": [*FEW, "federated=fedprox", "federated.compression.name=top_k"],
    "personal": [*FEW, "federated=personalized", "model=mlp", "federated.compression.name=quantized"],
    "fedsgd": [*FEW, "federated=fedsgd", "federated.compression.name=sketch", "federated.noise_cohort=20"],
    "robust": [
        "model=logistic",
        "federated=inside_clients",
        "federated.robust=krum",
        "federated.corruption.name=noise",
    ],
    "secure": ["model=logistic", *SHARED],
    "own": ["model=logistic", "data=own", "data.path=table.csv", "data.label=ill", "privacy.delta=1e-3"],
    "released": [
        *("model=logistic", "data=own", "data.path=table.csv", "data.label=ill", "privacy.delta=1e-3"),
        *("data.columns={age: number}", "data.release=[age]", "data.release_noise_multiplier=1", "privacy.epsilon=20"),
    ],
    "number": [
        "model=logistic",
        "data=own",
        "data.path=table.csv",
        "data.label=age",
        "data.target=number",
        "privacy.delta=1e-3",
    ],
    "inside": ["model=logistic", "federated=inside_clients"],
}
TEXTS = {
    "lora": ["tuning=lora"],
    "dora": ["tuning=dora"],
    "ranks": [
        *("tuning=lora", "tuning.freeze_a=true", "tuning.rank=4", "federated.client_ranks=[2,4]"),
        *("federated=fedavg", "federated.clients_per_round=5", "federated.num_clients=20"),
    ],
    "head": ["tuning=head"],
    "last": ["tuning=last"],
    "prompt": ["tuning=prompt"],
    "ids": ["tuning=head", "data.name=own", "data.path=ids.jsonl", "data.tokens=ids", "data.label=label"],
    "pairs": [
        *("tuning=lora", "model.task=preference", "data.name=own", "data.path=pairs.jsonl"),
        "data.messages=[prompt,chosen,rejected]",
    ],
    "synthetic": ["tuning=lora", "model.task=synthetic", "synthesis.num_tokens=3"],
    "planted": [
        *("tuning=lora", "model.task=causal", "data.name=own", "data.raw=documents", "data.path=notes"),
        *(
            "data.text=[text]",
            "data.unit=owner",
            "data.owners='{owner}-*'",
            "data.canaries=2",
            "data.pseudonymise=true",
        ),
        *("data.canary_form='the @ @ film'", "data.canary_candidates=4", "data.canary_repetitions=[1]"),
    ],
    "mails": [
        *("tuning=lora", "model.task=causal", "data.name=own", "data.raw=mailbox", "data.path=in.mbox"),
        *("data.text=[text]", "data.unit=owner", "data.quotes=true", "data.piece_words=4"),
    ],
}


def composed(*overrides):
    few = ["optimizer.num_steps=2", "optimizer.evaluate_every=2", "num_seeds=1", "privacy.accountant=rdp"]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return from_hydra(compose("config", [*few, *overrides]))


@pytest.fixture
def asked(monkeypatch):
    """The fields that code has looked at, as ``cfg.group.field``."""
    found: set[str] = set()

    def note(schema, prefix):
        def noting(self, name):
            found.add(prefix + name)
            return object.__getattribute__(self, name)

        monkeypatch.setattr(schema, "__getattribute__", noting)
        for spec in dataclasses.fields(schema):
            if dataclasses.is_dataclass(spec.type):
                note(spec.type, f"{prefix}{spec.name}.")

    note(Config, "")
    return found


@pytest.fixture
def letters(monkeypatch):
    """Next characters, as many as there are digits; optax leaves promotion to jax."""
    digits = load("digits")
    few = {f"{split}_inputs": getattr(digits, f"{split}_inputs")[:, 0, :4, 0].astype(np.uint8) for split in SPLITS}
    made = dataclasses.replace(digits, name="letters", input_shape=(4,), **few)
    real = choice._load
    monkeypatch.setattr(
        choice, "_load", lambda data, by_owner: made if data.name == "letters" else real(data, by_owner)
    )
    jax.config.update("jax_numpy_dtype_promotion", "standard")
    yield
    jax.config.update("jax_numpy_dtype_promotion", "strict")


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    folder = tmp_path_factory.mktemp("texts")
    words = ["good", "bad", "film", "plot", "the", "A", "text", "of", "class", ":"]
    for family in ("bert", "llama"):
        body = {path: np.asarray(x) for path, x in fresh_parameters(tiny(family), jax.random.key(1)).items()}
        chat = pretrained.ChatTemplate("{% for m in messages %}{{ m.content }} {% endfor %}")
        tokenizer = dataclasses.replace(pretrained.word_tokenizer(words), chat=chat)
        pretrained.save(folder / family, tiny(family), body, tokenizer)
    for split, number in (("train", 20), ("test", 10)):
        (folder / "texts").mkdir(exist_ok=True)
        with (folder / "texts" / f"{split}.csv").open("w", newline="") as file:
            csv.writer(file).writerows(
                [["text", "label"], *([f"the {words[i % 2]} film", words[i % 2]] for i in range(number))]
            )
    return folder


def says_nobody_read(cfg, found):
    said = {name for name, conditions in READ_WHEN.items() if all(when.holds(cfg) for when in conditions)}
    return said - found - AROUND


@pytest.mark.parametrize("run", RUNS)
def test_what_the_table_says_is_read_is_read(run, asked, letters, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "table.csv").write_text("age,ill\n" + "".join(f"{i % 60},{'ny'[i % 3 == 0]}\n" for i in range(90)))
    cfg = composed(*RUNS[run])
    asked.clear()
    made = build(cfg)
    points, refused = jobs._calibrate([Job(cfg, tmp_path, "")], made, lambda *stage: None)
    assert not refused
    jax.eval_shape(made.train, made.arrays, jobs.hparams_of(points[0]), jax.random.key(0))
    rows.common(*points[0], made, {})
    assert not says_nobody_read(cfg, asked)


@pytest.mark.parametrize("run", TEXTS)
def test_what_the_table_says_is_read_of_texts_is_read(run, asked, letters, texts, tmp_path, monkeypatch):
    monkeypatch.setenv("DPJAX_MODELS_DIR", str(tmp_path / "models"))
    monkeypatch.chdir(tmp_path)
    ids = [{"ids": [2 + i % 2, 5, 6][: 2 + i % 5], "label": "ab"[i % 2], "n": i} for i in range(40)]
    (tmp_path / "ids.jsonl").write_text("\n".join(map(json.dumps, ids)))
    pairs = [{"prompt": f"good {i}", "chosen": "film", "rejected": "plot"} for i in range(40)]
    (tmp_path / "pairs.jsonl").write_text("\n".join(map(json.dumps, pairs)))
    for i in range(12):
        (tmp_path / "notes").mkdir(exist_ok=True)
        (tmp_path / "notes" / f"p{i}-a.txt").write_text(f"the film {i}")
    mails = [f"From - Mon\nFrom: p{i}@example.org\n\nthe film {i}\n\n" for i in range(12)]
    (tmp_path / "in.mbox").write_text("".join(mails))
    body = texts / ("llama" if run in ("synthetic", "pairs", "planted", "mails") else "bert")
    where = [f"data.name='{texts / 'texts'}?text=text'", f"model.checkpoint={body}"]
    where.append(f"synthesis.checkpoint={texts / 'bert'}")
    cfg = composed("model=pretrained", *where, "model.max_length=12", "privacy.delta=1e-3", *TEXTS[run])
    asked.clear()
    made = build(cfg)
    start = jax.eval_shape(made.problem.init, made.arrays.frozen, jax.random.key(0))
    if made.problem.finish is not None:
        few = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), start)
        made.problem.finish(few, 0, tmp_path, {}, lambda *stage: None)
    of_texts = {name for name in READ_WHEN if name.startswith(("model.", "tuning.", "synthesis."))}
    of_texts |= {"data.tokens", "data.padding", "data.mask", "data.messages"}
    of_texts |= {"data.raw", "data.owners", "data.quotes"}
    of_texts |= {"data.piece_words", "data.pseudonymise", *(name for name in READ_WHEN if "canar" in name)}
    assert not says_nobody_read(cfg, asked) & of_texts


def test_every_field_says_who_reads_it():
    assert set(READ_WHEN) == {name for name, _ in leaves()}
    fields = set(READ_WHEN)
    assert all(readers.depends_on(name) <= fields for name in fields)


def test_every_field_that_is_not_always_read_is_read_in_some_run_above():
    read = set()
    for overrides in [*RUNS.values(), *(["model=pretrained", *each] for each in TEXTS.values())]:
        cfg = composed(*overrides)
        read |= {name for name, conditions in READ_WHEN.items() if all(when.holds(cfg) for when in conditions)}
    assert set(READ_WHEN) - read - AROUND == set()


CASES = {
    "federated.aggregation=secure": "is read only with federated.clients_per_round; set that, or leave it at plain.",
    "privacy.epsilon=inf privacy.noise_multiplier=1": "noise_multiplier=1.0 is read only with a finite privacy.epsilon",
    "privacy.bands=5": "privacy.bands=5 is read only with privacy.noise=correlated",
    "clipping.stability=0.5": "clipping.stability=0.5 is read only with clipping.name=automatic",
    "model=logistic model.hidden=[3]": r"model.hidden=\[3\] is read only with model.name=mlp or text",
    "optimizer=adam optimizer.momentum=0.3": "optimizer.momentum=0.3 is read only with optimizer.name=sgd",
    "federated=fedavg optimizer.sampling_rate=0.1": "optimizer.sampling_rate=0.1 is read only with central training",
    "tuning=head": "tuning.name=head is read only with model.name=pretrained",
    "federated=fedavg federated.robust_fraction=0.3": "is read only with federated.robust=trimmed_mean or krum",
    "engine=materialize microbatch_size=3": "is read only with engine=auto or bookkeeping or microbatch",
    "task=mine": "task=mine is read only with an experiment that is named after it; set that, or leave it empty.",
}


@pytest.mark.parametrize("overrides", CASES)
def test_a_field_that_nothing_reads_is_refused(overrides):
    cfg = composed(*overrides.split())
    with pytest.raises(ConfigError, match=CASES[overrides]):
        refuse_unread(cfg, {})


def test_a_plugin_takes_the_place_of_what_it_replaces(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(
        "import optax\nfrom dpjax.clipping import flat_clipping as clipping_rule\n\n\n"
        "def make_optimizer(hparams, cohort_size):\n    return optax.sgd(hparams.weight_decay)\n"
    )
    cfg = composed(
        f"plugin={path}", "optimizer=adam", "clipping=automatic", "optimizer.weight_decay=0.1", "optimizer.ema=0.5"
    )
    assert set(unread(cfg)) == {"optimizer.name", "clipping.name", "optimizer.ema"}


def test_in_a_sweep_a_field_is_read_if_one_of_its_jobs_reads_it():
    one, two = composed("model=logistic", "model.hidden=[3]"), composed("model=mlp", "model.hidden=[3]")
    refuse_unread(one, {}, Sweep([one, two]))
    again = composed("model=logistic", "model.hidden=[4]")  # what would be trained twice
    with pytest.raises(ConfigError, match=r"^model\.hidden"):
        refuse_unread(one, {}, Sweep([one, two, again]))
    with pytest.raises(ConfigError, match=r"^model\.hidden"):
        refuse_unread(one, {}, Sweep([one, composed("model=mlp", "model.hidden=[4]")]))


def test_what_a_chosen_file_says_may_stay():
    cfg = composed("federated=inside_clients", "federated.partition=natural")
    assert "federated.num_clients" in unread(cfg)
    refuse_unread(cfg, {"federated": "inside_clients"})


def test_a_file_that_is_chosen_in_vain_is_refused():
    cfg = composed("tuning=full", "model=logistic")
    with pytest.raises(ConfigError, match=r"tuning\.name=full is read only with model\.name=pretrained"):
        refuse_unread(cfg, {"tuning": "full"})
    refuse_unread(cfg, {"tuning": "full"}, Sweep([cfg, composed("tuning=full", "model=pretrained")]))


def test_nothing_that_the_shipped_experiments_set_goes_unread():
    with initialize_config_dir(str(CONF), version_base="1.3"):
        loader = GlobalHydra.instance().config_loader()
        for name in sorted(path.stem for path in (CONF / "experiment").glob("*.yaml") if path.stem != "leaderboard"):
            master = compose("config", [f"experiment={name}", "hydra.job.config_name=config"], return_hydra_config=True)
            made = make_compose(loader, master)
            sweeper = master.hydra.sweeper
            grids: Any = OmegaConf.to_container(sweeper.grids)
            chosen = expand([f"experiment={name}"], grids, reference=sweeper.reference, config_loader=loader)
            whole = [made(job) for job in chosen]
            cfgs = [as_typed(each) for each in whole]
            together = Sweep(cfgs)
            for each, cfg in zip(whole, cfgs, strict=True):
                choices = dict(each.hydra.runtime.choices) | {"experiment": None}
                refuse_unread(cfg, choices, together)
