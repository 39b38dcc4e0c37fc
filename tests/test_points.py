"""Points made from one that was composed are those that Hydra composes one by one."""

import itertools

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf

from experiments.config import CONF, ConfigError
from experiments.launching.compose import as_job, make_compose
from experiments.launching.points import make_points
from experiments.run import task

GRIDS = {
    "numbers of two fields": (("privacy.epsilon=1", "privacy.epsilon=8.0"), ("privacy.clip_norm=1e-1", "seed=3")),
    "a group": (("model=mlp", "model=logistic"), ("optimizer.learning_rate=0.1", "optimizer.learning_rate=1")),
    "what an interpolation reads": (
        ("federated=fedavg",),
        ("federated.clients_per_round=5", "federated.clients_per_round=50"),
        ("optimizer.learning_rate=0.5", "privacy.epsilon=2", "privacy.epsilon=inf"),
    ),
    "what decides a rate that another sets": (
        ("model.name=mlp", "model.name=logistic"),
        ("federated.clients_per_round=5", "federated.clients_per_round=null"),
    ),
    "lists and texts": (
        ("model.hidden=[8]", "model.hidden=[16,8]"),
        ("data.name=digits", "data.name=wine"),
        ("privacy.adjacency=zero_out", "privacy.adjacency=add_or_remove"),
    ),
    "an interpolation of one's own": (("seed=1", "seed=2"), ("optimizer.num_steps=${seed}", "optimizer.num_steps=7")),
    "a field twice": (("seed=1", "seed=2"), ("seed=3", "seed=4")),
    "names of folders": (("results_dir=a", "results_dir=b"), ("name=x", "name=y"), ("seed=1", "seed=2")),
    "none and truths": (
        ("federated.clients_per_round=null", "federated.clients_per_round=10"),
        ("figures=false", "figures=true"),
        ("seed=1", "seed=2"),
    ),
    "a mapping, and what is added": (("privacy={epsilon:2}", "privacy={epsilon:3}"), ("+seed=3", "++seed=4")),
    "out of range": (("privacy.epsilon=1", "privacy.epsilon=-1", "privacy.epsilon=nan"), ("seed=1", "seed=9999999999")),
    "no such thing": (("privacy.epsilon=abc", "privacy.epsilonn=1", "privacy.epsilon=1"), ("seed=1", "seed=1.5")),
    "other files": (("privacy=dp_ftrl", "privacy=dp"), ("experiment=quickstart",), ("seed=1", "seed=2")),
}  # fmt: skip


@pytest.fixture
def hydra_loader():
    with initialize_config_dir(str(CONF), version_base="1.3"):
        yield GlobalHydra.instance().config_loader()


def outcome(make):
    try:
        return make()
    except Exception as error:
        return type(error), str(error)


@pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS)
@pytest.mark.parametrize(
    "settings", [[], ["hydra.sweep.subdir=${hydra.job.num}"], ["hydra.sweep.dir=x/${hydra:job.override_dirname}"]]
)
def test_a_point_is_what_hydra_composes(hydra_loader, grid, settings):
    settings = ["hydra.job.config_name=config", *settings]
    master = compose("config", settings, return_hydra_config=True)
    composer = make_compose(hydra_loader, master)
    point = make_points(hydra_loader, composer, task)
    jobs = list(itertools.product(*grid))
    for index, overrides in enumerate([*jobs, *reversed(jobs)]):

        def whole(overrides=overrides, index=index):
            composed = composer(overrides)
            job = as_job(composed, overrides, index)
            choices = OmegaConf.to_container(composed.hydra.runtime.choices)
            return task.typed(job.cfg), job.folder, job.overrides, choices

        def quick(overrides=overrides, index=index):
            made = point(overrides, index)
            return made.cfg, made.folder, made.overrides, OmegaConf.to_container(made.choices)

        assert outcome(quick) == outcome(whole), overrides


def test_most_points_are_not_composed(hydra_loader):
    master = compose("config", ["hydra.job.config_name=config"], return_hydra_config=True)
    composer, composed = make_compose(hydra_loader, master), []
    point = make_points(hydra_loader, lambda overrides: composed.append(1) or composer(overrides), task)
    for rate, clip, model in itertools.product(range(1, 21), range(1, 21), ("mlp", "logistic")):
        made = point([f"model={model}", f"optimizer.learning_rate={rate}", f"privacy.clip_norm={clip}"], 0)
        assert (made.cfg.optimizer.learning_rate, made.cfg.privacy.clip_norm) == (rate, clip)
        assert made.cfg.model.name == model
    assert len(composed) == 4  # of each model the groups alone, and one point


def test_what_cannot_run_is_refused_though_it_was_not_composed(hydra_loader):
    master = compose("config", ["hydra.job.config_name=config"], return_hydra_config=True)
    point = make_points(hydra_loader, make_compose(hydra_loader, master), task)
    point(["privacy.epsilon=1", "privacy.clip_norm=1"], 0)
    with pytest.raises(ConfigError, match="clip_norm"):
        point(["privacy.epsilon=1", "privacy.clip_norm=-1"], 1)
    with pytest.raises(ConfigError, match="must be finite"):
        point(["privacy.epsilon=1", "privacy.clip_norm=inf"], 2)
    assert point(["privacy.epsilon=1", "privacy.clip_norm=2"], 3).cfg.privacy.clip_norm == 2
