"""``dpjax new`` writes a project that runs as it is."""

import importlib.util
from pathlib import Path

import pytest

from dpjax.cli import main as dpjax
from dpjax.results import load
from experiments.new_project import files_of


def call(*words):
    with pytest.raises(SystemExit) as done:
        dpjax(list(words))
    return done.value.code or 0


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert call("new", "clinic-one") == 0
    monkeypatch.chdir(tmp_path / "clinic-one")
    return tmp_path / "clinic-one"


def test_what_it_writes_trains_and_learns_nothing_from_the_rows(project, main, capsys):
    assert sorted(path.name for path in project.iterdir()) == sorted(files_of("clinic-one"))
    code, _, err = main("experiment=clinic-one.yaml", "optimizer.num_steps=3", "num_seeds=1", "figures=false")
    assert code == 0, err
    (row,) = load(next(project.parent.rglob("results.parquet"))).to_dict("records")
    assert (row["experiment"], row["dataset"], row["model"]) == ("clinic-one", "data.csv", "model.py:make_model")
    assert row["unit"] == "user"
    assert row["learnt"] != row["learnt"]  # nothing: a missing cell
    assert call("data", "inspect", "data.csv", "--label", "outcome", "--unit", "person") == 0
    assert "outcome" in capsys.readouterr().out


def test_its_own_test_is_one(project):
    spec = importlib.util.spec_from_file_location("test_clinic_one", project / "test_clinic_one.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert callable(module.test_it_trains)
    assert "experiment=clinic-one.yaml" in (project / "test_clinic_one.py").read_text()


def test_names_that_are_taken_or_none_are_refused_in_one_sentence(project, monkeypatch, capsys):
    monkeypatch.chdir(project.parent)
    capsys.readouterr()
    for name, sentence in (("clinic-one", "is there already"), ("../x", "names a folder"), ("9a", "names a folder")):
        assert call("new", name) == 1
        assert sentence in capsys.readouterr().err
    assert not Path("x").exists()
