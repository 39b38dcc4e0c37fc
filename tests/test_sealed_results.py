"""Results and states of governed runs that lie encrypted: for holders of the key as ever, for others nothing."""

import os
import signal
import subprocess
import sys
import time

import pytest

from dpjax.cli.app import run as dpjax
from dpjax.datasets.raw_columns import columns_of
from dpjax.encryption.keys import add_key
from dpjax.fingerprints import fingerprint_of
from dpjax.governance.ledger import create_ledger
from dpjax.results import ResultsError, load, read_job_result, write_table
from dpjax.results.result_files import write_job_result
from dpjax.results.sealing import SealedError, is_sealed

RUN = (
    *("data=breast_cancer", "model=logistic", "optimizer.num_steps=8", "num_seeds=1", "governance=local"),
    *("privacy.accountant=rdp", "privacy.delta=1e-5", "privacy.epsilon=2", "governance.seal=true"),
)


@pytest.fixture
def ledger(tmp_path, monkeypatch):
    monkeypatch.setenv("DPJAX_LEDGER", str(tmp_path / "ledger.db"))
    add_key(f"file:{tmp_path / 'keys'}")
    monkeypatch.setenv("DPJAX_KEYS", f"file:{tmp_path / 'keys'}")
    made = create_ledger(who="ana")
    rows = fingerprint_of(columns_of("breast_cancer"))
    made.set_budget("cancer", rows, unit="example", adjacency="zero_out", epsilon=4.0, delta=1e-5)
    return made


def test_a_sealed_sweep_is_a_table_for_holders_of_the_key_and_for_no_one_else(
    main, ledger, tmp_path, monkeypatch, capsys
):
    folder = tmp_path / "results"
    code, out, err = main("-m", *RUN, "privacy.epsilon=1,2", "hydra.sweeper.reference=false", folder=folder)
    assert code == 0, err
    assert "test accuracy" in out
    assert "no figures are drawn" in err
    written = [each for each in folder.rglob("*") if each.is_file()]
    for each in written:
        assert b"test_accuracy" not in each.read_bytes(), each
        assert each.suffix != ".png"
    assert sum(map(is_sealed, written)) == 2 + 2  # jobs, and their table twice
    [sweep] = {each.parent.parent for each in written if each.name == "result.json"}
    assert load(sweep)["test_accuracy"].notna().all()
    assert load(sweep / "results.parquet")["epsilon"].tolist() == [1.0, 2.0]
    assert load(sweep / "results.json")["epsilon"].tolist() == [1.0, 2.0]
    assert dpjax(["results", "show", str(sweep)]) == 0
    before = ledger.account("cancer")
    assert main("-m", *RUN, "privacy.epsilon=1,2", "hydra.sweeper.reference=false", folder=folder)[0] == 0
    assert ledger.account("cancer") == before
    unsealed = [each for each in RUN if "seal" not in each]  # what is sealed stays so
    code, _, err = main("-m", *unsealed, "privacy.epsilon=1,2", "hydra.sweeper.reference=false", folder=folder)
    assert code == 0
    assert "no figures are drawn" in err
    assert not list(folder.rglob("*.png"))
    # Without the key nothing is read, and nothing is run, and paid for, again.
    monkeypatch.delenv("DPJAX_KEYS")
    capsys.readouterr()
    assert dpjax(["results", "show", str(sweep)]) == 1
    assert "is sealed: no key is named" in " ".join(capsys.readouterr().err.split())
    code, _, err = main("-m", *RUN, "privacy.epsilon=1,2", "hydra.sweeper.reference=false", folder=folder)
    assert code == 1
    assert "no key is named" in err
    assert ledger.account("cancer") == before
    add_key(f"file:{tmp_path / 'other'}")
    monkeypatch.setenv("DPJAX_KEYS", f"file:{tmp_path / 'other'}")
    only = r"^\S*result\.json was sealed with key \w+…, which file:\S*other does not hold; .* \(1 other file alike\)\.$"
    with pytest.raises(SealedError, match=only):
        load(sweep)
    with pytest.raises(
        SealedError, match=r"/results\.parquet was sealed with key \w+…, which file:.*; name the source"
    ):
        load(sweep / "results.parquet")


def test_results_of_before_are_sealed_when_it_is_asked_for(main, ledger, tmp_path):
    open_run = [each for each in RUN if "seal" not in each]
    assert main(*open_run, "figures=false", folder=tmp_path / "r")[0] == 0
    [result] = (tmp_path / "r").rglob("result.json")
    assert not is_sealed(result)
    folder = result.parent
    (folder / "run.log").write_text("[experiments.launching.launcher][INFO] seed 0: test accuracy 0.9700, ε 2.0\n")
    assert dpjax(["report", str(folder)]) == dpjax(["results", "export", str(folder)]) == 0
    before = ledger.account("cancer")
    code, _, err = main(*RUN, folder=tmp_path / "r")
    assert code == 1
    assert "result.json lies open where it was sealed, so anybody may have written it; " in err
    assert "`dpjax keys seal` if you know that it is what your run wrote" in err
    assert dpjax(["keys", "seal", str(tmp_path / "r")]) == 0
    code, _, err = main(*RUN, folder=tmp_path / "r")
    assert code == 0
    assert (
        "holds scores open, as they were written before or with --open: report.html, run.log, summary.csv, table.md"
        in err
    )
    assert is_sealed(result)
    for name in ("report.html", "run.log", "summary.csv", "table.md", "table.tex"):
        (folder / name).unlink()
    assert "holds scores open" not in main(*RUN, folder=tmp_path / "r")[2]
    assert ledger.account("cancer") == before


@pytest.fixture
def sweep(tmp_path, ledger):
    """A sealed sweep of two jobs, as runs leave it."""
    folder = tmp_path / "sweep"
    for job in "01":
        write_job_result(folder / job, [{"seed": 0, "epsilon": 1.0, "test_accuracy": 0.5}], "d", seal=True)
    (folder / "multirun.yaml").write_text("experiment: x\ngovernance:\n  name: local\n  ledger: null\n  seal: true\n")
    write_table(folder)
    return folder


@pytest.mark.parametrize("left", ["all", "no table", "no settings", "nothing else"])
def test_an_open_result_in_the_place_of_a_sealed_one_is_named_and_never_a_row(sweep, left):
    forged = [{"seed": 0, "epsilon": 1.0, "test_accuracy": 0.99}]
    write_job_result(sweep / "0", forged, "d")
    if left in ("no table", "nothing else"):
        for table in ("results.parquet", "results.json"):
            (sweep / table).unlink()
    if left == "no settings":
        (sweep / "multirun.yaml").unlink()
    if left == "nothing else":
        write_job_result(sweep / "1", forged, "d")
        with pytest.raises(ResultsError, match=r"result\.json lies open where it was sealed"):
            load(sweep)
    else:
        assert load(sweep)["test_accuracy"].tolist() == [0.5]
        assert "0/result.json lies open where it was sealed" in load(sweep).attrs["unreadable"][0]
    with pytest.raises(SealedError, match=r"0/result\.json lies open where it was sealed"):
        read_job_result(sweep / "0")
    assert dpjax(["keys", "seal", str(sweep)]) == 0
    assert 0.99 in load(sweep)["test_accuracy"].tolist()


def test_an_open_table_beside_sealed_results_is_not_taken_for_theirs(sweep, tmp_path):
    other = tmp_path / "other"
    for job in "01":
        write_job_result(other / job, [{"seed": 0, "epsilon": 1.0, "test_accuracy": 0.99}], "d")
    write_table(other)
    (sweep / "results.parquet").write_bytes((other / "results.parquet").read_bytes())
    assert load(sweep)["test_accuracy"].tolist() == [0.5, 0.5]
    for job in "01":
        (sweep / job / "result.json").unlink()
    with pytest.raises(ResultsError, match=r"results\.parquet lies open where it was sealed"):
        load(sweep)
    assert load(other)["test_accuracy"].tolist() == [0.99, 0.99]


def test_an_open_run_among_sealed_results_is_refused_before_it_runs(main, ledger, tmp_path):
    folder, grid = tmp_path / "r", ("-m", "hydra.sweeper.reference=false", "figures=false")
    assert main(*RUN, *grid, "privacy.epsilon=1", folder=folder)[0] == 0
    before = ledger.account("cancer")
    unsealed = [each for each in RUN if "seal" not in each]
    code, _, err = main(*unsealed, *grid, "privacy.epsilon=2", folder=folder)
    assert code == 1
    assert "would lie open among them; add governance=local governance.seal=true" in err
    assert ledger.account("cancer") == before


def test_a_model_beside_sealed_results_is_said_to_be_open_and_a_tracker_is_refused(main, ledger, tmp_path):
    code, _, err = main(*RUN, "save_model=true", folder=tmp_path / "r")
    assert code == 0, err
    assert err.count("note: the files of the model lie open: they are the private output.") == 1
    [model] = (tmp_path / "r").rglob("*.safetensors")
    assert not is_sealed(model)
    spent = ledger.account("cancer")
    code, _, err = main(*RUN, "tracker=wandb", folder=tmp_path / "s")
    assert code == 1
    assert "tracker.name=wandb keeps results open elsewhere, which governance.seal=true seals; use none." in err
    assert ledger.account("cancer") == spent


def test_without_a_key_nothing_is_reserved(main, ledger, monkeypatch):
    monkeypatch.delenv("DPJAX_KEYS")
    code, _, err = main(*RUN)
    assert code == 1
    assert "no key is named; set DPJAX_KEYS to where yours lie" in err
    assert ledger.account("cancer").runs == ()
    assert "governance.name=local" in main("data=digits", "governance.seal=true")[2]  # which nothing reads


def test_a_sealed_file_that_was_changed_is_not_read(ledger, tmp_path):
    path = write_job_result(tmp_path, [{"seed": 0, "epsilon": 1.0}], "d", seal=True)
    assert read_job_result(tmp_path) == ([{"seed": 0, "epsilon": 1.0}], "d")
    content = bytearray(path.read_bytes())
    content[-20] ^= 4
    path.write_bytes(content)
    with pytest.raises(SealedError, match=r"result\.json was changed after it was sealed, or is damaged; restore it"):
        read_job_result(tmp_path)


def test_a_killed_run_goes_on_from_its_sealed_states(ledger, tmp_path):
    command = [
        *(sys.executable, "-m", "experiments.run", f"results_dir={tmp_path / 'results'}", *RUN, "privacy.epsilon=1"),
        *("checkpoint_seconds=0.2", "optimizer.num_steps=400000", "figures=false"),
    ]
    killed = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    ended = time.monotonic() + 200
    while time.monotonic() < ended and not [r for r in ledger.account("cancer").runs if r.steps > 5000]:
        time.sleep(0.2)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    states = [each for each in (tmp_path / "results").rglob("checkpoints/*/*") if each.is_file()]
    assert any(map(is_sealed, states))
    again = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    [dead] = ledger.account("cancer").runs
    while time.monotonic() < ended and ledger.account("cancer").runs[0].steps <= dead.steps:
        time.sleep(0.2)
    again.send_signal(signal.SIGINT)
    _, err = again.communicate(timeout=100)
    assert "on from what was kept" in err
    [run] = ledger.account("cancer").runs
    assert run.id == dead.id
    assert run.steps > dead.steps
    assert os.path.exists(tmp_path / "results")


SEARCH = (
    *("-m", "hydra/sweeper=optuna_batched", "hydra.sweeper.n_trials=2", "hydra.sweeper.batch=2", "model=logistic"),
    *("privacy.clip_norm=choice(0.1,1)", "num_seeds=1", "optimizer.num_steps=2", "figures=false"),
)


@pytest.mark.parametrize("rows", ["fixed", "chosen"])
def test_a_search_writes_no_score_on_sealed_rows_open(main, ledger, tmp_path, rows):
    table = tmp_path / "rows.csv"
    table.write_text("age,ill\n" + "".join(f"{20 + i},{i % 2}\n" for i in range(40)))
    assert dpjax(["data", "protect", str(table)]) == 0
    path = f"data.path={table}.sealed" if rows == "fixed" else f"data.path=choice({table},{table}.sealed)"
    code, _, err = main(*SEARCH, "data=own", path, "data.label=ill", "data.classes=[0,1]", folder=tmp_path / "r")
    assert code == 1
    assert "data.path names sealed rows, and a search writes scores on them open into its study" in err
    assert not list((tmp_path / "r").rglob("study.journal"))


def test_a_search_into_sealed_results_or_of_a_budget_is_refused(main, sweep, tmp_path):
    words = (*SEARCH, "data=breast_cancer", f"hydra.sweep.dir={sweep}")
    code, _, err = main(*words)
    assert code == 1
    assert "holds sealed results, and a search writes their scores open into its study" in err
    code, _, err = main(*words, "governance=local", "governance.seal=true")
    assert code == 1
    assert "a search is steered by scores on rows" in err
    assert not (sweep / "study.journal").exists()
