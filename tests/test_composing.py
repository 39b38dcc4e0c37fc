"""What the tests remember of Hydra's files makes the very configs that Hydra makes of them."""

import pytest
from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from omegaconf import OmegaConf

from experiments.config import CONF
from tests.composing import forget_files

CASES = [
    [],
    ["seed=3"],
    ["results_dir=here", "model=logistic", "figures=false"],
    ["~seed"],
    ["model=logistic", "optimizer.num_steps=2", "privacy.epsilon=3"],
    ["privacy.epsilon=3", "model=logistic", "optimizer.num_steps=2"],
    ["optimizer.learning_rate=3", "optimizer=adam"],
    ["optimizer={num_steps: 3}", "optimizer.num_steps=4"],
    ["optimizer.num_steps=4", "optimizer={num_steps: 3}"],
    ["experiment=quickstart", "federated=secure", "federated.clients_per_round=3"],
    ["+hydra.job.env_set.A=3", "hydra.run.dir=here"],
    ["+model@foo=mlp"],
    ["+foo.bar=1"],
    ["~optimizer.momentum"],
    ["~tracker"],
    ["~tracker=wandb"],
    ["model=mpl"],
    ["modle=mlp"],
    ["privacy=[dp,none]"],
    ["privacy.epsilon=1,2"],
]


def composed(overrides):
    with initialize_config_dir(str(CONF), version_base="1.3"):
        try:
            return OmegaConf.to_yaml(compose("config", overrides, return_hydra_config=True))
        except HydraException as error:
            return str(error)


@pytest.mark.parametrize("overrides", CASES, ids=" ".join)
def test_a_config_of_remembered_files_is_the_one_that_hydra_composes(overrides, monkeypatch):
    first, again = composed(overrides), composed(overrides)
    with monkeypatch.context() as patch:
        forget_files(patch)
        assert first == again == composed(overrides)


def test_files_that_are_searched_besides_are_read_each_time(tmp_path):
    (tmp_path / "model").mkdir()
    search = f"hydra.searchpath=[file://{tmp_path}]"
    for width in (3, 4):
        (tmp_path / "model/mine.yaml").write_text(f"hidden: [{width}]\n")
        assert f"- {width}\n" in composed([search, "model=mine"])
