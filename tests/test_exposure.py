"""Exposure of planted secrets: its ends, its mean by chance, and what planting does to a data set."""

import dataclasses
import math

import jax
import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from hypothesis import given, settings
from hypothesis import strategies as st

from dpjax.auditing.canaries import WORDS, expected_of_chance, exposure, make_canaries, ranks, repetitions_of
from dpjax.cli import main
from dpjax.datasets import load
from dpjax.datasets.texts import text_array
from dpjax.models import pretrained
from dpjax.models.pretrained.from_scratch import write_small
from dpjax.results.table import frame_of
from experiments import identity, jobs, plots
from experiments.border import from_hydra
from experiments.config import CONF, Config, ConfigError, DataConf
from experiments.figures.leakage import NO_BOUND, exposure_table
from experiments.problems.canaries import canaries_of, planted
from experiments.task import Job
from tests.raw_files import write_notes

LOSSES = st.lists(st.integers(0, 100), min_size=1, max_size=30)


@settings(max_examples=80, deadline=None)
@given(LOSSES, LOSSES)
def test_exposure_lies_between_nothing_and_all_bits_and_falls_with_the_loss(secrets, others):
    secrets, others = np.array(secrets, float), np.array(others, float)
    found = exposure(secrets, others)
    assert np.all(found >= 0)
    assert np.all(found <= math.log2(len(others) + 1))
    order = np.argsort(secrets, kind="stable")
    assert np.all(np.diff(found[order]) <= 0)
    assert np.array_equal(exposure(2 * secrets + 1, 2 * others + 1), found)  # of ranks alone


def test_the_likeliest_has_all_bits_the_least_likely_none_and_a_tie_no_more_than_chance():
    others = np.arange(1.0, 1024.0)
    assert exposure(np.array([0.0, 2000.0, math.nan]), others).tolist() == [10, 0, 0]
    assert ranks(np.array([7.0]), np.full(1023, 7.0)).tolist() == [512.5]


@pytest.mark.parametrize("candidates", [2, 10, 1024])
def test_the_mean_by_chance_is_that_of_uniform_ranks(candidates):
    exact = np.mean([math.log2(candidates) - math.log2(rank) for rank in range(1, candidates + 1)])
    assert expected_of_chance(candidates) == pytest.approx(exact, rel=1e-12)
    assert expected_of_chance(candidates) < 1 / math.log(2)
    losses = np.random.default_rng(0).uniform(size=(4000, candidates))
    drawn = np.mean([exposure(row[:1], row[1:])[0] for row in losses])
    assert drawn == pytest.approx(exact, abs=4 * 1.45 / math.sqrt(4000))


def test_canaries_differ_come_from_the_seed_and_fill_every_blank():
    made = make_canaries("PIN ## of @.", 5, 60, 3)
    assert made == make_canaries("PIN ## of @.", 5, 60, 3)
    assert made != make_canaries("PIN ## of @.", 5, 60, 4)
    texts = [*made.planted, *made.others]
    assert len(set(texts)) == len(texts) == 64
    assert {text.split()[-1].rstrip(".") for text in texts} <= set(WORDS)
    assert len(set(WORDS)) == 64
    digits = [text[4] for text in make_canaries("PIN #######", 1, 3000, 0).others]
    assert min(np.unique(digits, return_counts=True)[1]) > 230  # of 300 each
    with pytest.raises(ValueError, match=r"can be 100 texts, too few for 64"):
        make_canaries("PIN ##", 5, 60, 3)


def owned(names=("a", "b", "c")):
    base = load("digits")
    return dataclasses.replace(
        base,
        task="document",
        input_shape=(),
        train_inputs=text_array(["one", "two", "three"]),
        train_labels=np.zeros(3, np.int32),
        test_inputs=text_array(["four", "five"]),
        test_labels=np.zeros(2, np.int32),
        train_units=np.array([0, 1, 1], np.int32),
        test_units=np.array([1, 2], np.int32),
        num_units=3,
        num_train_units=2,
        unit_names=names,
    )


def test_planted_persons_come_behind_those_who_train_and_change_nobody():
    before, data = owned(), DataConf(canaries=3, canary_repetitions=[1, 2], canary_candidates=8)
    after = planted(before, data)
    texts = canaries_of(data).planted
    assert after.train_inputs.tolist() == ["one", "two", "three", texts[0], texts[1], texts[1], texts[2]]
    assert after.train_units.tolist() == [0, 1, 1, 2, 3, 3, 4]
    assert after.test_units.tolist() == [1, 5]
    assert (after.num_units, after.num_train_units) == (6, 5)
    assert after.unit_names == ("a", "b", "planted secret 0", "planted secret 1", "planted secret 2", "c")
    assert after.test_inputs.tolist() == before.test_inputs.tolist()
    assert planted(before, DataConf()) is before
    assert repetitions_of(3, [1, 2]).tolist() == [1, 2, 1]


@pytest.mark.parametrize(
    ("dataset", "fields", "words"),
    [
        (dataclasses.replace(owned(), train_units=None, test_units=None), {}, "are nobody's; say data.unit"),
        (load("digits"), {}, "has no single texts"),
        (owned(), {"num_train": 2}, "data.num_train might leave a secret out"),
        (owned(), {"validation": 0.5}, "data.validation might leave a secret out"),
        (owned(), {"canary_repetitions": [0]}, "must be counts"),
        (owned(), {"canary_repetitions": []}, "must be counts"),
        (owned(), {"canary_form": "no blank"}, "data.canary_form='no blank' can be 1 texts"),
        (owned(("a", "planted secret 0", "c")), {}, "is called 'planted secret 0' already"),
    ],
)
def test_what_nothing_can_be_planted_in_is_refused_in_one_sentence(dataset, fields, words):
    with pytest.raises(ConfigError, match=words) as error:
        planted(dataset, DataConf(canaries=2, **fields))
    assert "\n" not in str(error.value)


def test_planting_is_part_of_what_identifies_a_run():
    plain = Config()
    changed = [DataConf(canaries=2), DataConf(canaries=2, canary_seed=1), DataConf(pseudonymise=True)]
    digests = {identity.digest(each) for each in (plain, *(dataclasses.replace(plain, data=data) for data in changed))}
    assert len(digests) == 4


def ran(folder, *overrides):
    with initialize_config_dir(str(CONF), version_base="1.3"):
        words = ["experiment=notes_folder", f"data.path={folder / 'notes'}", f"model.checkpoint={folder / 'small'}"]
        cfg = from_hydra(compose("config", [*words, *overrides]))
    (outcome,) = jobs.run_group([Job(cfg, folder / "job", "")])
    if outcome.error is not None:
        raise outcome.error
    return outcome.rows[0]


@pytest.fixture
def promoted():
    """As outside of tests: optax leaves promotion to jax."""
    jax.config.update("jax_numpy_dtype_promotion", "standard")
    yield
    jax.config.update("jax_numpy_dtype_promotion", "strict")


@pytest.mark.slow
def test_without_dp_secrets_are_known_and_the_row_says_what_was_planted(promoted, tmp_path):
    write_notes(tmp_path / "notes", people=16, each=1)
    write_small(tmp_path / "small", layers=1, width=32)
    quick = ["optimizer.num_steps=120", "federated.clients_per_round=11", "optimizer.evaluate_every=120"]
    quick += ["data.canaries=2", "data.canary_repetitions=[1]", "data.canary_candidates=64", "model.max_length=40"]
    quick += ["data.canary_form='Code ######.'", "federated.records_per_client=2", "optimizer.learning_rate=0.02"]
    row = ran(tmp_path, "privacy.epsilon=inf", *quick)
    assert row["exposure"] > 4  # of 6 bits
    assert row["exposure_before"] < 4
    assert row["exposure"] == pytest.approx(np.mean(row["exposures"]))
    assert row["canaries"] == "2 planted persons, 1 copies each, ranked among 64"
    assert row["dataset"].endswith("notes + 2 secrets")
    assert row["num_units"] == row["population"]
    with pytest.raises(ConfigError, match="would be cut off"):
        ran(tmp_path, "privacy.epsilon=inf", *quick, "model.max_length=8")
    with pytest.raises(ConfigError, match=r"more than the federated.records_per_client=2 rows"):
        ran(tmp_path, "privacy.epsilon=inf", *quick, "data.canary_repetitions=[3]")


def secrets(epsilon, seed, level):
    noise = np.random.default_rng(seed).uniform(-0.5, 0.5, 6)
    return {
        "experiment": "notes", "dataset": "notes + 6 secrets", "epsilon": epsilon, "seed": seed, "test_accuracy": 0.5,
        "config_hash": f"h{epsilon}", "canary_candidates": 1024, "canary_copies": [1, 4, 16, 1, 4, 16],
        "exposures": (level + noise).tolist(), "exposures_before": [1.0, 2.0, 1.0, 2.0, 1.0, 2.0],
    }  # fmt: skip


def test_the_figure_and_its_table_have_each_model_and_say_that_they_are_no_bound():
    frame = frame_of([secrets(e, s, level) for e, level in ((1.0, 1.5), (8.0, 3.0), (math.inf, 9.0)) for s in (0, 1)])
    (axes,) = plots.draw("exposure_of_secrets", frame).axes
    assert NO_BOUND in axes.get_label()
    names = [line.get_label() for line in axes.get_legend().legend_handles]
    assert names[:4] == ["before training", "without DP", "ε = 8", "ε = 1"]
    assert names[4:] == ["likeliest of all: 10", "chance: 1.44"]
    table = exposure_table(frame)
    assert len(table) == 12
    mine = [np.mean([secrets(1.0, s, 1.5)["exposures"][i] for s in (0, 1)]) for i in (0, 3)]
    row = table[(table["model"] == "ε = 1") & (table["copies"] == 1)].iloc[0]
    assert row["exposure"] == pytest.approx(np.mean(mine))
    assert row["error"] == pytest.approx(np.std(mine, ddof=1) / math.sqrt(2))
    assert (row["secrets"], row["seeds"]) == (2, 2)


def test_a_small_model_is_written_once_and_reads_what_it_is_given(tmp_path, capsys):
    for words, status, said in (
        (["--layers", "1", "--width", "32"], 0, "random weights"),
        ([], 1, "is there already"),
    ):
        with pytest.raises(SystemExit) as ended:
            main(["models", "new", str(tmp_path / "small"), *words])
        told = capsys.readouterr()
        assert ended.value.code == status
        assert said in " ".join((told.out + told.err).split())
    body = pretrained.load(str(tmp_path / "small"))
    assert body.arch.vocab_size == body.tokenizer.vocab_size == 257
    ids = body.tokenizer.encode(["naïve ☕ ##"], 40).ids[0]
    assert body.tokenizer.raw.decode(ids[ids >= 0].tolist()) == "naïve ☕ ##"
