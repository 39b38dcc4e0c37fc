"""Federated settings from a config: who adds noise, who is corrupted, what is sent, and what can't go together."""

import itertools
import math

import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from hypothesis import given, settings
from hypothesis import strategies as st

from dpjax import Mechanism, epsilon
from dpjax.accounting import DistributedNoise, LocalReports
from dpjax.datasets import load
from dpjax.results import claim
from experiments import config, jobs, setup
from experiments.border import from_hydra
from experiments.federated import make_clients
from experiments.privacy import as_run
from experiments.task import Job

QUICK = ["model=logistic", "optimizer.num_steps=2", "num_seeds=1", "figures=false"]


def composed(*overrides):
    with initialize_config_dir(str(config.CONF), version_base="1.3"):
        return from_hydra(compose("config", [*QUICK, *overrides]))


def row(tmp_path, *overrides):
    cfg = composed(*overrides)
    (outcome,) = jobs.run_group([Job(cfg, tmp_path, "")])
    assert outcome.error is None
    assert math.isfinite(outcome.rows[0]["test_loss"])
    return outcome.rows[0]


FEW = ["federated.num_clients=40", "federated.clients_per_round=20"]
DIGITS = load("digits")

# ---- buckets -------------------------------------------------------------------------------------------------------


@given(
    st.sampled_from(["federated=fedprox", "federated=fedavg", "federated=scaffold"]),
    st.sampled_from(["quantity", "dirichlet", "shards"]),
    st.integers(1, 5),
    st.sampled_from(["uniform", "sizes"]),
)
@settings(max_examples=12, deadline=None)
def test_buckets_of_a_config_are_so_many_and_hold_the_same_clients(algorithm, partition, num_buckets, weights):
    """With the weight of each beside its own rows, in less room than without; their number is not passed over."""
    words = [algorithm, f"federated.partition={partition}", "privacy.epsilon=inf", f"federated.weights={weights}"]
    plain = make_clients(composed(*words, *FEW).federated, DIGITS)
    clients = make_clients(composed(*words, *FEW, f"federated.num_buckets={num_buckets}").federated, DIGITS)
    tables = clients.units.tables if num_buckets > 1 else (clients.units,)
    rows = [set(np.asarray(i)[np.asarray(m)]) for table in tables for i, m in zip(*table, strict=True)]
    padded = [set(np.asarray(i)[np.asarray(m)]) for i, m in zip(*clients.records, strict=True)]
    before = [set(np.asarray(i)[np.asarray(m)]) for i, m in zip(*plain.records, strict=True)]
    assert rows == padded
    assert sorted(map(sorted, rows)) == sorted(map(sorted, before))
    sizes = [len(each) for each in rows]
    assert len(tables) == min(num_buckets, len(set(sizes)))
    assert sum(table.mask.size for table in tables) == min(
        sum((b - a) * max(1, sorted(sizes)[b - 1]) for a, b in itertools.pairwise((0, *at, len(sizes))))
        for at in itertools.combinations(sorted(set(map(sorted(sizes).index, sizes)) - {0}), len(tables) - 1)
    )
    if weights == "sizes":
        assert clients.weights == pytest.approx(np.array(sizes) / sum(sizes))
    else:
        assert clients.weights is None


# ---- whose noise ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("noise", config.LOCAL_NOISE)
def test_reports_are_calibrated_as_reports(noise, tmp_path):
    found = row(tmp_path, "federated=local_privacy", f"privacy.noise={noise}", "privacy.epsilon=4", *FEW)
    assert found["noise"] == noise
    assert found["epsilon_pld"] == pytest.approx(4.0, rel=2e-3)
    assert found["epsilon_pld"] <= 4.0
    assert "against the server too" in claim(found)
    if noise == "local_gaussian":
        # Two rounds, each a Gaussian between contributions 2 clip norms apart; drawing half of them amplifies nothing.
        plain = {"unit": "client", "adjacency": "replace_one", "sampling": "full", "sampling_rate": 1.0, "num_steps": 2}
        twin = Mechanism(**plain, noise_multiplier=found["noise_multiplier"])
        assert epsilon(twin, 1e-5) == pytest.approx(found["epsilon_pld"], rel=1e-6)
    else:
        assert found["noise_multiplier"] == 0
        assert 2.0 <= found["epsilon_per_report"] < 4.0


def test_shares_are_accounted_as_what_runs(tmp_path):
    found = row(tmp_path, "federated=distributed_privacy", "federated.masks=false", "privacy.epsilon=4", *FEW)
    assert found["noise"] == "skellam"
    assert found["epsilon_rdp"] == pytest.approx(4.0, rel=2e-3)
    assert found["epsilon_pld"] is None
    cfg = composed("federated=distributed_privacy", *FEW)
    told = setup.build(cfg).mechanism.noise
    assert isinstance(told, DistributedNoise)
    assert (told.dimension, told.shares) == (650, 10)  # a logistic model; half of the cohort


def test_inside_clients_epsilon_is_of_an_example(tmp_path):
    found = row(tmp_path, "federated=inside_clients", "privacy.epsilon=4")
    assert (found["unit"], found["sampling_rate"], found["num_steps"]) == ("example", 0.1, 10)
    assert found["epsilon_pld"] == pytest.approx(4.0, rel=2e-3)
    assert "10 steps" in claim(found)
    assert "noise inside each client" in claim(found)


def test_correlated_noise_is_one_gaussian(tmp_path):
    found = row(tmp_path, "privacy=dp_ftrl", "optimizer.sampling=cyclic", "privacy.epsilon=4", "optimizer.num_steps=8")
    assert found["noise"] == "correlated(banded 4)"  # four cohorts to an epoch
    one = {"unit": "example", "adjacency": "zero_out", "sampling": "full", "sampling_rate": 1.0, "num_steps": 1}
    assert epsilon(Mechanism(**one, noise_multiplier=found["noise_multiplier"]), 1e-5) == pytest.approx(4, rel=2e-3)
    assert "noise correlated(banded 4)" in claim(found)


def test_a_noise_cohort_is_said_to_be_simulated(tmp_path):
    real = row(tmp_path, "federated=fedavg", *FEW, "privacy.epsilon=2")
    made = row(tmp_path, "federated=fedavg", *FEW, "privacy.epsilon=2", "federated.noise_cohort=2000")
    assert made["noise_multiplier"] == real["noise_multiplier"]
    assert (real["noise_cohort_size"], made["noise_cohort_size"]) == (None, 2000)
    assert made["test_loss"] < real["test_loss"]  # a hundredth of the noise
    assert "SIMULATED with the noise of 2000 clients a round" in claim(made)
    assert "SIMULATED" not in claim(real)


def test_a_reference_has_no_noise_of_any_kind(tmp_path):
    for overrides in (["federated=local_privacy", "privacy.noise=privunit", *FEW], ["federated=inside_clients"]):
        found = row(tmp_path, *overrides, "privacy.epsilon=inf")
        assert found["noise"] is None
        assert found["epsilon_pld"] == math.inf
        assert found["test_accuracy"] > 0.3
        assert claim(found).startswith("not private")


def test_local_reports_of_a_group_are_told_to_the_accountant_point_by_point():
    cfg = composed("federated=local_privacy", "privacy.noise=laplace", *FEW)
    group = setup.build(cfg)
    made = as_run(group.mechanism, cfg.federated, group.sampler, 0.0, 0.7)
    assert made.noise == LocalReports("laplace", 0.7)


# ---- who sends what ------------------------------------------------------------------------------------------------

MEDIAN, KRUM = ([f"federated.robust={name}", "privacy.epsilon=inf"] for name in ("median", "krum"))


@pytest.mark.parametrize(
    ("overrides", "columns"),
    [
        (
            [*MEDIAN, "federated.corruption.name=labels", "federated.num_buckets=2"],
            {"robust": "median", "corruption": "labels(0.1)"},
        ),
        (
            [*KRUM, "federated.dropout_rate=0.1", "federated.compression.name=random_k"],
            {"robust": "krum(0.2)", "compression": "random_k(0.1)"},
        ),
        (
            ["federated.corruption.name=nan", "federated.compression.name=quantized"],
            {"corruption": "nan(0.1)", "compression": "quantized(8)"},
        ),
        (
            ["federated.compression.name=sketch", "federated=secure", "federated.masks=false"],
            {"compression": "sketch(0.1)"},
        ),
        (
            ["federated=scaffold", "federated.compression.name=top_k", "federated.compression.error_feedback=true"],
            {"compression": "top_k(0.1 fed back)"},
        ),
    ],
)
def test_rows_say_what_was_sent(overrides, columns, tmp_path):
    found = row(tmp_path, "federated=fedavg", *FEW, *overrides)
    assert {name: found[name] for name in columns} == columns
    assert found["uplink_bytes"] > 0
    if columns.get("corruption") == "nan(0.1)":
        assert found["rejected_count"] > 0
    if "compression" in columns:
        assert found["uplink_bytes"] < 4 * 650 * (2 if "scaffold" in overrides[0] else 1) + 10_000


def test_a_robust_mean_stands_an_attack_that_the_sum_does_not(tmp_path):
    attack = ["federated.corruption.name=sign_flipped", "federated.corruption.fraction=0.3"]
    attack += [
        "federated.corruption.factor=20",
        "privacy.epsilon=inf",
        "optimizer.num_steps=6",
        "federated=fedavg",
        *FEW,
    ]
    plain, robust = row(tmp_path, *attack), row(tmp_path, *attack, "federated.robust=geometric_median")
    assert robust["test_accuracy"] > 0.7 > 0.5 > plain["test_accuracy"]


def test_personal_heads_remember_what_they_kept_back(tmp_path):
    feedback = ["federated.compression.name=top_k", "federated.compression.error_feedback=true", "model=mlp"]
    found = row(tmp_path, "federated=personalized", *FEW, *feedback, "model.hidden=[8]")
    assert found["client_accuracy_p10"] is not None
    assert found["uplink_bytes"] < 4 * (64 * 8 + 8)  # the head stays at home


def test_the_loop_over_clients_can_be_chosen_by_the_clock(tmp_path, monkeypatch):
    monkeypatch.setenv("DPJAX_CACHE_DIR", str(tmp_path / "cache"))
    few = ["federated.num_clients=10", "federated.clients_per_round=3", "optimizer.sampling=fixed_size"]
    few += ["privacy.epsilon=8"]
    tuned = row(tmp_path, "federated=scaffold", *few, "engine=tuned")
    assert len(list((tmp_path / "cache" / "autotune").glob("*.json"))) == 1
    assert tuned["test_loss"] == pytest.approx(row(tmp_path, "federated=scaffold", *few)["test_loss"], rel=1e-5)


def test_natural_clients_are_counted_by_the_data_and_not_by_the_config():
    composed("federated.partition=natural", "federated.clients_per_round=500")
    with pytest.raises(config.ConfigError, match="is more than the population"):
        composed("federated.clients_per_round=500")


BAD = {
    "federated=local_privacy privacy.adjacency=zero_out": "must be replace_one with",
    "federated=local_privacy federated.aggregation=secure": "federated.aggregation=secure must be plain",
    "privacy.noise=laplace": "privacy.noise=laplace is added by clients; set federated.clients_per_round",
    "privacy.noise=ghost": "privacy.noise=ghost is not known; use gaussian or correlated",
    "federated=distributed_privacy privacy.accountant=pld": "privacy.accountant=pld knows no dominating",
    "federated=distributed_privacy federated.aggregation=plain": "federated.aggregation=plain must be secure",
    "federated=distributed_privacy privacy.adjacency=add_or_remove_one": "takes its share of the noise along",
    "federated=inside_clients federated.algorithm=scaffold": "federated.algorithm=scaffold must be fedavg",
    "federated=inside_clients privacy.adjacency=add_or_remove_one": "the number of a client's rows is public",
    "federated=inside_clients federated.local_sampling_rate=0": "federated.local_sampling_rate=0.0 must be in (0, 1]",
    "federated=inside_clients federated.noise_cohort=100": "is for noise that the server adds",
    "federated=fedavg federated.noise_cohort=10": "must be at least federated.clients_per_round=50",
    "federated=fedavg federated.robust=median": "has no sensitivity, so that no noise makes it private",
    "federated=fedavg federated.robust=ghost": "federated.robust=ghost is not known",
    "federated=secure federated.robust=median privacy.epsilon=inf": "reads every message; use",
    "federated=fedavg federated.robust=krum federated.robust_fraction=0.5 privacy.epsilon=inf": "a majority cannot be",
    "federated=fedavg federated.corruption.name=ghost": "federated.corruption.name=ghost is not known",
    "federated=fedavg federated.corruption.fraction=2": "federated.corruption.fraction=2.0 must be in [0, 1]",
    "federated=fedavg federated.compression.name=ghost": "federated.compression.name=ghost is not known",
    "federated=secure federated.compression.name=top_k": "saves nothing under federated.aggregation=secure",
    "federated=fedavg federated.compression.error_feedback=true": "is for federated.compression.name=top_k",
    "federated=personalized federated.compression.name=sketch": "use another, or none",
    "federated=fedavg federated.noise_cohort=100 clipping=adaptive": "clipping=adaptive has noise on a count too",
    "privacy=dp_ftrl clipping=adaptive": "clipping.name=adaptive noises its count with the sum",
}  # fmt: skip


@pytest.mark.parametrize("overrides", BAD)
def test_what_can_not_go_together_is_refused_in_a_sentence(overrides):
    with pytest.raises(config.ConfigError) as error:
        composed(*overrides.split())
    assert BAD[overrides] in str(error.value)
    assert str(error.value).count("\n") == 0


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (
            ["federated.personal=nosuch"],
            r"federated.personal=nosuch is in no parameter's path; use a word of some of \['",
        ),
        (
            ["federated.personal='['"],
            r"federated.personal=\[ is in the path of every parameter, so that none is shared",
        ),
        (
            ["data.num_evaluated=2000"],
            "data.num_evaluated=2000 is more than the 1438 rows of data=digits that are trained",
        ),
        (["data.num_evaluated=101", "data.num_train=100"], "data.num_evaluated=101 is more than the 100 rows"),
    ],
)
def test_a_part_that_is_not_there_is_named(overrides, sentence):
    cfg = composed("federated=personalized", "model=mlp", *overrides, *FEW)
    with pytest.raises(config.ConfigError, match=sentence):
        setup.build(cfg)
