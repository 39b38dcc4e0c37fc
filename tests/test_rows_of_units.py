"""A run says at its start how many rows its clients and owners have, as `dpjax data inspect` does."""

from typing import Any

import numpy as np
import pytest
from hydra import compose, initialize_config_dir

from dpjax.cli.data import app
from experiments import jobs, rows_of_units
from experiments.border import from_hydra
from experiments.config import CONF
from experiments.setup import build
from experiments.task import Job
from tests.patients import write_patients

OWN = ["data=own", "data.label=diagnosis", "privacy.delta=1e-3", "model=logistic", "data.classes=[neg,pos]"]
CLIENTS = ["federated=fedavg", "federated.clients_per_round=4"]


def composed(*overrides):
    few = ["optimizer.num_steps=2", "optimizer.evaluate_every=2", "num_seeds=1", "privacy.accountant=rdp"]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return from_hydra(compose("config", [*few, *overrides]))


def lines(*overrides):
    cfg = composed(*overrides)
    return rows_of_units.rows_of_units(cfg, build(cfg))


def spread(sizes):
    return f"least, median, most {sizes.min():,}, {np.median(sizes):,.0f}, {sizes.max():,}"


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    return f"data.path={write_patients(tmp_path_factory.mktemp('clinic') / 'patients.csv', 600)}"


def owners_of(table: str, column: int) -> Any:
    with open(table.removeprefix("data.path=")) as file:
        return [line.split(",")[column] for line in file][1:]


def test_owners_are_said_before_and_after_their_rows_are_bounded(table):
    (free,) = lines(*OWN, table, "data.unit=patient_id")
    (kept,) = lines(*OWN, table, "data.unit=patient_id", "privacy.records_per_unit=2")
    sizes = np.unique(owners_of(table, 1), return_counts=True)[1]
    assert f"rows of one: least, median, most 1, 3, {sizes.max()} (NOT private)." in free
    assert "owners train (patient_id); " in free
    assert "owners train (patient_id, of each at most 2 kept); rows of one: least, median, most 1, 2, 2 (NOT" in kept


@pytest.mark.parametrize(
    ("more", "kept"), [([], ""), (["federated.records_per_client=30"], ", of each at most 30 kept")]
)
def test_natural_clients_are_said(table, more, kept):
    cfg = composed(*OWN, table, "data.unit=hospital", "data.split=rows", *CLIENTS, "federated.partition=natural", *more)
    setup = build(cfg)
    assert setup.problem.dataset.train_units is not None
    sizes = np.unique(setup.problem.dataset.train_units, return_counts=True)[1]
    sizes = np.minimum(sizes, 30) if kept else sizes
    expected = f"8 clients train (hospital{kept}); rows of one: {spread(sizes)} (NOT private)."
    assert rows_of_units.rows_of_units(cfg, setup) == [expected]


def test_made_up_clients_are_said_beside_the_owners_of_their_rows(table):
    clients, owners = lines(*OWN, table, "data.unit=patient_id", *CLIENTS, "federated.num_clients=20")
    assert clients.startswith("20 clients train (iid); rows of one: ")
    assert "owners train (patient_id); rows of one: " in owners


def test_data_of_our_own_say_clients_and_no_owners_that_they_have_not():
    (clients,) = lines("model=logistic", *CLIENTS, "federated.num_clients=100")
    assert clients == "100 clients train (iid); rows of one: least, median, most 14, 14, 15 (NOT private)."
    assert lines("model=logistic") == []


def test_it_is_printed_once_and_is_in_no_row(table, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(rows_of_units, "_said", set())
    cfg = composed(*OWN, table, "data.unit=patient_id", "privacy.records_per_unit=2")
    twice = [*jobs.run_group([Job(cfg, tmp_path, "")]), *jobs.run_group([Job(cfg, tmp_path, "")])]
    outcome = twice[-1]
    assert outcome.error is None
    assert capsys.readouterr().err.count("rows of one: least, median, most 1, 2, 2 (NOT private).") == 1
    assert outcome.rows[0]["rows_per_owner"] is None


def test_the_median_is_that_of_data_inspect(table):
    from typer.testing import CliRunner

    path = table.removeprefix("data.path=")
    said = CliRunner().invoke(app, ["inspect", path, "--label", "diagnosis", "--unit", "hospital", "--split", "rows"])
    sizes = np.unique(owners_of(table, 2), return_counts=True)[1]
    assert spread(sizes) in " ".join(said.output.split())
