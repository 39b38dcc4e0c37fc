"""From grids to jobs: unions, references, Hydra's grammar; and configs composed once, equal to Hydra's."""

import math
import pickle
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf

from experiments.config import CONF, Config, ConfigError
from experiments.launching import launcher
from experiments.launching.compose import make_compose
from experiments.launching.sweeper import expand
from experiments.task import Told


def jobs(*arguments, **options):
    return [" ".join(job) for job in expand(arguments, **{"reference": False, **options})]


def test_a_product_of_axes_in_the_order_given():
    assert jobs("num_seeds=1,2", "seed=5,6") == [
        "num_seeds=1 seed=5",
        "num_seeds=1 seed=6",
        "num_seeds=2 seed=5",
        "num_seeds=2 seed=6",
    ]


def test_grids_are_a_union_without_repetition():
    grids = [
        {"privacy.epsilon": "1,2", "privacy.clip_norm": 1},
        {"privacy.clip_norm": 1, "privacy.epsilon": "2,4"},  # the same point in another order
    ]
    assert jobs(grids=grids) == [
        "privacy.epsilon=1 privacy.clip_norm=1",
        "privacy.epsilon=2 privacy.clip_norm=1",
        "privacy.clip_norm=1 privacy.epsilon=4",
    ]


def test_a_number_is_one_point_however_it_is_spelt():
    assert jobs("privacy.epsilon=1,1.0,1e0,10e-1", "seed=3") == ["privacy.epsilon=1 seed=3"]
    grids = [{"privacy.clip_norm": "0.1"}, {"privacy.clip_norm": "1e-1"}]
    assert jobs("privacy.epsilon=inf,1", grids=grids, reference=True) == [
        "privacy.clip_norm=0.1 privacy.epsilon=inf",
        "privacy.clip_norm=0.1 privacy.epsilon=1",
    ]
    assert len(jobs("data.name=10,010,1e1")) == 3  # names are not numbers


def test_the_command_line_replaces_an_axis_and_adds_one():
    grids = [{"privacy.epsilon": "1,2", "privacy.clip_norm": "0.1,1"}, {"privacy.epsilon": "8"}]
    found = jobs("privacy.epsilon=4", "seed=7", grids=grids, params={"num_seeds": 2, "privacy.clip_norm": 3})
    assert found == [
        "num_seeds=2 privacy.clip_norm=0.1 privacy.epsilon=4 seed=7",
        "num_seeds=2 privacy.clip_norm=1 privacy.epsilon=4 seed=7",
        "num_seeds=2 privacy.clip_norm=3 privacy.epsilon=4 seed=7",
    ]


@pytest.mark.parametrize(
    ("argument", "values"),
    [
        ("num_seeds=range(1,4)", ["num_seeds=1", "num_seeds=2", "num_seeds=3"]),
        ("num_seeds=choice(2,5)", ["num_seeds=2", "num_seeds=5"]),
        ("model=mlp,logistic", ["model=mlp", "model=logistic"]),
        ("model.hidden=[32],[64,32]", ["model.hidden=[32]", "model.hidden=[64,32]"]),
        ("model.hidden=[64,32]", ["model.hidden=[64,32]"]),
        ("federated.clients_per_round=null,10", ["federated.clients_per_round=null", "federated.clients_per_round=10"]),
        ("tracker.group='a,b'", ["tracker.group='a,b'"]),
        ("++privacy.epsilon=1,2", ["++privacy.epsilon=1", "++privacy.epsilon=2"]),
        ("~tracker", ["~tracker"]),
        ("privacy.delta=1e-5,1e-6", ["privacy.delta=1e-05", "privacy.delta=1e-06"]),
    ],
)
def test_hydras_grammar(argument, values):
    assert jobs(argument) == values


def test_a_grid_may_hold_lists_null_and_booleans():
    grid = {"model.hidden": [64, 32], "federated.clients_per_round": None, "figures": False}
    assert jobs(grids=[grid]) == ["model.hidden=[64, 32] federated.clients_per_round=null figures=false"]


def test_glob_asks_hydra(hydra_loader):
    found = jobs("model=glob(*)", config_loader=hydra_loader)
    assert sorted(found) == [
        f"model={name}" for name in ("cnn", "logistic", "mlp", "pretrained", "scattering", "smollm2", "text")
    ]


def test_references_keep_what_matters_without_privacy():
    found = jobs("privacy.epsilon=1,inf", "privacy.clip_norm=0.1,1", "privacy.delta=1e-6", "seed=1,2", reference=True)
    assert found[:2] == [f"privacy.delta=1e-6 seed={seed} privacy.epsilon=inf" for seed in (1, 2)]
    assert len(found) == 2 + 4  # ε=inf is the reference, not a line of clip norms
    assert not any("inf" in job for job in found[2:])


def test_a_sweep_without_privacy_is_its_references():
    assert jobs("privacy=none", "seed=1,2", reference=True) == [
        "seed=1 privacy.epsilon=inf",
        "seed=2 privacy.epsilon=inf",
    ]
    assert jobs("privacy.epsilon=inf", reference=True) == ["privacy.epsilon=inf"]
    assert jobs("privacy=none") == ["privacy=none"]


def test_a_reference_has_no_noise_of_its_own():
    assert jobs("privacy.noise_multiplier=2", reference=True) == ["privacy.epsilon=inf", "privacy.noise_multiplier=2"]
    # without private jobs it is no reference, and what was asked for stays, to be refused
    assert jobs("privacy.epsilon=inf", "privacy.noise_multiplier=2", reference=True) == [
        "privacy.noise_multiplier=2 privacy.epsilon=inf"
    ]


def test_a_reference_keeps_nothing_of_what_it_lost():
    found = jobs("privacy.noise=gaussian,correlated", "privacy.factorization=tree", "privacy.epsilon=1", reference=True)
    assert found[0] == "privacy.epsilon=inf"


def test_each_grid_has_its_reference():
    grids = [{"privacy.epsilon": "1,2"}, {"privacy.epsilon": 1, "federated.clients_per_round": "10,20"}]
    found = [job for job in jobs(grids=grids, reference=True) if "inf" in job]
    assert found == [
        "privacy.epsilon=inf",
        "federated.clients_per_round=10 privacy.epsilon=inf",
        "federated.clients_per_round=20 privacy.epsilon=inf",
    ]


@pytest.mark.parametrize("argument", ["privacy.epsilonn=1,2", "modell=mlp", "privacy.eps=1"])
def test_an_axis_that_is_no_field_is_named(argument):
    with pytest.raises(ConfigError, match="is no field of the config; did you mean"):
        jobs(argument)


def test_a_range_without_steps_is_named():
    with pytest.raises(ConfigError, match="continuous range"):
        jobs("privacy.epsilon=interval(0,1)")


@pytest.fixture
def hydra_loader():
    with initialize_config_dir(str(CONF), version_base="1.3"):
        yield GlobalHydra.instance().config_loader()


def test_configs_are_composed_as_hydra_would(hydra_loader):
    master = compose(
        "config", ["hydra.job.config_name=config", "hydra.sweeper.reference=false"], return_hydra_config=True
    )
    jobs = [
        ["privacy.epsilon=1", "privacy.clip_norm=0.1"],
        ["privacy.epsilon=8", "privacy.clip_norm=1e-1"],
        ["privacy.epsilon=inf", "model=logistic", "seed=3", "model.hidden=[1,2]"],
        ["model=logistic", "privacy.epsilon=2"],
        ["experiment=quickstart", "federated.clients_per_round=null", "tracker.group='a,b'"],
        ["+new=3", "privacy.epsilon=1"],
        ["privacy={epsilon:2}"],
        ["optimizer.learning_rate=${seed}"],
        ["+privacy.new=3", "model=logistic", "seed=2"],
        ["++optimizer.new={a:1}", "++privacy.epsilon=3"],
        ["+tracker.new={a:1,b:2}", "~tracker.new.a", "seed=1"],
        [],
    ]
    fast = make_compose(hydra_loader, master)
    for overrides in jobs:
        want = hydra_loader.load_sweep_config(master, overrides)
        assert OmegaConf.to_container(fast(overrides)) == OmegaConf.to_container(want), overrides
    # and a copy that one job changes is not seen by the next
    assert fast(jobs[0]).privacy.epsilon == 1.0


@pytest.mark.parametrize(
    "override",
    [
        "privacy.epsilon=abc",
        "seed=1.5",
        "privacy.epsilon=",
        "model=mpl",
        "a b",
        "privacy.epsilonn=1",
        "privacy.epsilon.x=1",
        "seed.x=1",
        "+privacy.epsilon=1",
        "+privacy.epsilon.x=1",
        "~privacy.clip_norm",
        "~privacy.clip_norm=7",
        "~privacy.epsilonn",
        "privacy@other=dp",
        "privacy.epsilon@other=1",
    ],
)
def test_what_hydra_refuses_is_refused_alike(hydra_loader, override):
    master = compose("config", ["hydra.job.config_name=config"], return_hydra_config=True)
    with pytest.raises(Exception) as want:  # noqa: PT011  # whatever Hydra says is compared below
        hydra_loader.load_sweep_config(master, [override])
    with pytest.raises(type(want.value)) as found:
        make_compose(hydra_loader, master)([override])
    assert str(found.value) == str(want.value)


@pytest.mark.parametrize(
    ("rows", "objective"),
    [
        ([{"test_accuracy": 0.5, "validation_accuracy": None}, {"test_accuracy": 0.7}], 0.6),
        ([{"test_accuracy": 0.5, "validation_accuracy": 0.75}], 0.75),  # to choose by the test set would flatter
        ([{"seed": 0}], math.nan),
    ],
)
def test_a_job_is_a_number_to_a_sweeper_that_searches(rows, objective):
    job = SimpleNamespace(cfg=Config(), folder=Path("job"))
    done: Any = launcher._completed(["a=1"], job, Told(rows)).return_value  # pyright: ignore[reportArgumentType]
    assert float(done) == pytest.approx(objective, nan_ok=True)
    assert done == rows  # and its rows to everything else
    assert pickle.loads(pickle.dumps(done)) == rows
