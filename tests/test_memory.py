"""What can't fit is refused before it is made, with the field and the estimate."""

import pytest
from hydra import compose, initialize_config_dir

from experiments import jobs, memory
from experiments.border import from_hydra
from experiments.config import CONF, ConfigError
from experiments.task import Job

FEW = ["federated=fedavg", "federated.clients_per_round=10", "federated.num_clients=40"]
WIDE = ["model=mlp", "model.hidden=[3000000]"]

CASES = {
    "parameters": (["model=mlp", "model.hidden=[2000000000]"], "model.hidden=.* makes parameters of about 3,353 GiB"),
    "steps": (["optimizer.num_steps=2147483647"], "optimizer.num_steps=2147483647 makes history of about 480 GiB"),
    "seeds": (["num_seeds=2147483647"], "num_seeds=2147483647 makes rows of about 8,192 GiB"),
    "rows": (
        [*FEW, "federated.partition=sampled", "federated.records_per_client=2147483647"],
        "federated.num_clients=40 makes lists of rows of about 640 GiB",
    ),
    "states": ([*FEW, *WIDE, "federated=scaffold"], "federated.num_clients=40 makes states of clients of about"),
    "messages": (
        [*FEW, *WIDE, "federated.aggregation=secure"],
        "federated.clients_per_round=10 makes messages of about",
    ),
    "noise": (
        [*WIDE, "privacy=dp_ftrl", "privacy.bands=60"],
        "privacy.bands=60 makes noise that is kept of about 50 GiB",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_what_does_not_fit_is_refused(case, monkeypatch, tmp_path):
    overrides, sentence = CASES[case]
    monkeypatch.setattr(memory, "machine_bytes", lambda: 2.0**34)
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = from_hydra(compose("config", ["model=logistic", "privacy.accountant=rdp", *overrides]))
    with pytest.raises(ConfigError, match=f"{sentence}.*this machine has 16 GiB; lower it"):
        list(jobs.run_group([Job(cfg, tmp_path, "")]))


def test_the_machine_has_memory():
    assert memory.machine_bytes() > 2**28
