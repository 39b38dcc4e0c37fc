"""Tables of the hub by name: fetched explicitly, kept with their revision, read offline; the hub here is made up."""

import dataclasses
import importlib
import os
import subprocess
import sys
import types
from pathlib import Path

import pytest
from typer.testing import CliRunner

from dpjax.cli.hub_tables import app
from dpjax.datasets import DatasetError, hub, hub_copies
from dpjax.datasets.own_tables.reading import load_table
from dpjax.datasets.own_tables.source import TableSource
from dpjax.datasets.own_tables.texts import load_texts
from dpjax.datasets.own_tables.tokens import load_tokens
from experiments.config import DataConf
from experiments.inputs import data_inputs
from tests import hub_server

library = pytest.importorskip("datasets")
REVISION = "0123456789abcdef0123456789abcdef01234567"
NAME = "hub:some/patients"


def rows(number, first=0):
    return {
        "age": [20 + (first + i) % 50 for i in range(number)],
        "ill": [(first + i) % 2 for i in range(number)],
        "who": [f"p{(first + i) // 2}" for i in range(number)],
        "note": [f"note {first + i}" for i in range(number)],
        "input_ids": [[1 + i % 7, 5, 6] for i in range(number)],
    }


def split(number, first=0):
    kinds = library.Features(
        age=library.Value("int32"),
        ill=library.ClassLabel(names=["no", "yes"]),
        who=library.Value("string"),
        note=library.Value("string"),
        input_ids=library.Sequence(library.Value("int32")),
    )
    return library.Dataset.from_dict(rows(number, first), features=kinds)


@pytest.fixture
def made_up(monkeypatch, tmp_path):
    """A hub of one repository, as the library gives it; what is asked of it."""
    asked = []

    def load_dataset(repo, config, revision):
        asked.append((repo, config, revision))
        return library.DatasetDict(train=split(60), validation=split(20, 60), test=split(20, 80))

    monkeypatch.setenv("DPJAX_DATA_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(hub, "check_reachable", lambda source, revision=REVISION: revision)
    monkeypatch.setattr(hub, "card_licence", lambda repo: "mit")
    real, stub = importlib.import_module, types.SimpleNamespace(load_dataset=load_dataset)
    monkeypatch.setattr(
        importlib, "import_module", lambda name, package=None: stub if name == "datasets" else real(name, package)
    )
    return asked


def of(path, **more):
    return TableSource(path, label="ill", classes=("no", "yes"), columns={"age": [0, 120]}, **more)


def test_a_repository_is_fetched_once_and_then_read_as_a_file(made_up, monkeypatch):
    with pytest.raises(
        DatasetError, match=r"is not on this machine; fetch it with `dpjax data fetch-tables hub:some/p"
    ):
        load_table(of(NAME))
    assert data_inputs(DataConf(name="own", path=NAME)) == {f"data {NAME}": "absent"}
    said = CliRunner().invoke(app, ["fetch-tables", NAME])
    assert said.exit_code == 0, said.output
    assert REVISION in said.output
    hub_copies.fetch_tables(NAME)  # is here already
    assert made_up == [("some/patients", None, REVISION)]
    monkeypatch.setattr(hub, "read_hub_tables", None)  # nothing asks any more
    columns = dict.fromkeys(("note", "who", "input_ids"), "skip")
    with pytest.warns(UserWarning, match="its splits validation are not read"):
        data = load_table(dataclasses.replace(of(NAME), columns={"age": [0, 120], **columns}))
    assert (data.train_inputs.shape, data.test_inputs.shape) == ((60, 1), (20, 1))
    assert data.class_names == ("no", "yes")  # the names that the hub has for 0 and 1
    assert data.learnt == ""
    recorded = data_inputs(DataConf(name="own", path=NAME))
    assert set(recorded) == {f"hub:some/patients@{REVISION}/{each}" for each in ("train", "validation", "test")}
    assert all(len(digest) == 64 for digest in recorded.values())


def test_a_split_and_a_revision_are_asked_for(made_up):
    asked = f"{NAME}?config=en&revision=abc&test=validation"
    with pytest.raises(DatasetError, match=r"fetch it with `dpjax data fetch-tables 'hub:some/patients\?config=en&rev"):
        load_texts(TableSource(asked, label="ill", unit="who"), ["note"])
    hub_copies.fetch_tables(asked)
    assert made_up == [("some/patients", "en", "abc")]
    with pytest.warns(UserWarning, match="its splits test are not read"):
        texts = load_texts(TableSource(asked, label="ill", unit="who"), ["note"])
    assert sorted(texts.test_inputs)[0] == "note 60"
    assert texts.unit_names[0] == "p0"
    with pytest.raises(DatasetError, match="no split to test on is called 'dev'"):
        load_texts(TableSource(asked.replace("validation", "dev"), label="ill"), ["note"])
    with pytest.warns(UserWarning, match="not read"):
        ids = load_tokens(TableSource(asked, label="ill"), "input_ids")
    assert ids.train_inputs[0].tolist() == [1, 5, 6]


def test_a_copy_that_was_changed_is_refused(made_up):
    folder = hub_copies.fetch_tables(NAME)
    (folder / "test.parquet").write_bytes(b"PAR1")
    with (
        pytest.warns(UserWarning, match="not read"),
        pytest.raises(DatasetError, match=r"test\.parquet in the cache was changed .* --force`"),
    ):
        load_table(of(NAME))
    hub_copies.fetch_tables(NAME, force=True)
    with pytest.warns(UserWarning, match="not read"):
        hub_copies.read_kept(NAME)


def test_offline_it_is_one_sentence(monkeypatch, tmp_path):
    monkeypatch.setenv("DPJAX_DATA_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    said = CliRunner().invoke(app, ["fetch-tables", NAME])
    assert said.exit_code == 1, said.exception
    assert said.output.strip() == (
        f"error: data.path={NAME!r} could not be fetched: HF_HUB_OFFLINE is set; or hand over a copy of the repository "
        "with --source FOLDER"
    )
    assert not (tmp_path / "cache").exists()


def test_a_copy_of_a_repository_carried_over_is_read(monkeypatch, tmp_path):
    monkeypatch.setenv("DPJAX_DATA_DIR", str(tmp_path / "cache"))
    library.disable_progress_bars()
    (tmp_path / "repo").mkdir()
    for name, number in (("train", 60), ("test", 20)):
        split(number).to_parquet(tmp_path / "repo" / f"{name}-00000-of-00001.parquet")
    hub_copies.fetch_tables(NAME, source=str(tmp_path / "repo"))
    assert hub_copies.kept_copy(NAME)[1]["revision"] == "local"
    assert set(hub_copies.read_kept(NAME)) == {"train", "test"}


def test_what_is_called_so_here_is_read_here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("hub:some").mkdir()
    split(60).to_csv("hub:some/patients.csv")
    assert not hub_copies.is_hub("hub:some/patients.csv")
    columns = {"age": [0, 120], "note": "skip", "input_ids": "skip", "who": "skip"}
    data = load_table(TableSource("hub:some/patients.csv", label="ill", columns=columns))
    assert data.class_names == ("0", "1")


@pytest.mark.parametrize(
    ("path", "sentence"),
    [
        ("hub:patients", "names no repository; write hub:owner/name"),
        ("hub:some/patients?text=note", "says 'text=note'; after '\\?' come config=, revision= and test="),
        ("hub:some/patients?test=", "says 'test='"),
        ("hub:some/patients?test=a&test=b", "each once"),
    ],
)
def test_a_name_that_says_something_else_is_refused(path, sentence):
    with pytest.raises(DatasetError, match=sentence):
        load_table(of(path))


def test_the_library_itself_fetches_from_a_hub_on_this_machine(tmp_path, monkeypatch):
    library.disable_progress_bars()
    (tmp_path / "repo" / "data").mkdir(parents=True)
    for name, number, first in (("train", 60, 0), ("validation", 20, 60), ("test", 20, 80)):
        split(number, first).to_parquet(tmp_path / "repo" / "data" / f"{name}-00000-of-00001.parquet")
    monkeypatch.setenv("DPJAX_DATA_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(name, "127.0.0.1")
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)

    def fetched(*words, endpoint):
        code = "from dpjax.cli import main; main()"
        command = [sys.executable, "-c", code, "data", "fetch-tables", *words]
        env = os.environ | {"HF_ENDPOINT": endpoint}  # which the library reads when it is imported
        done = subprocess.run(command, capture_output=True, text=True, env=env, timeout=120)
        return done.returncode, done.stderr

    with hub_server.hub_of("some/patients", tmp_path / "repo") as endpoint:
        code, said = fetched(NAME, endpoint=endpoint)
        assert code == 0, said
        assert "licence of some/patients: mit" in said
        assert f"train, validation, test of revision {hub_server.REVISION}" in " ".join(said.split())
        code, said = fetched(f"{NAME}?revision=0123456", endpoint=endpoint)
        assert code == 0, said
        assert hub_server.REVISION in said  # in full
        code, said = fetched(f"{NAME}?revision=beef", endpoint=endpoint)
        assert (code, "some/patients has no revision beef" in said) == (1, True), said
        code, said = fetched("hub:some/patient", endpoint=endpoint)
        assert (code, "the hub has no dataset some/patient" in said) == (1, True), said
    with pytest.warns(UserWarning, match="not read"):
        read = hub_copies.read_kept(NAME)
    assert read["train"].column("ill").to_pylist() == rows(60)["ill"]
    assert read["test"].column("input_ids").to_pylist() == rows(20, 80)["input_ids"]
    with pytest.warns(UserWarning, match="not read"):
        data = load_texts(TableSource(NAME, label="ill", unit="who"), ["note"])
    assert data.class_names == ("no", "yes")
