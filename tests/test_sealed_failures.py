"""What went wrong with rows that lie sealed: the terminal may quote them, and no file that lies open does."""

import pytest

import experiments.jobs
from dpjax.cli.app import run as dpjax
from dpjax.datasets.raw_columns import columns_at
from dpjax.datasets.sealed_rows import SEALED
from dpjax.encryption.keys import add_key, keys_from
from dpjax.encryption.rotation import rewrap
from dpjax.fingerprints import fingerprint_of
from dpjax.governance.ledger import create_ledger
from dpjax.results import load, write_job_result
from dpjax.results.failures import read_failures, write_failure
from dpjax.results.sealing import is_sealed
from experiments.launching.slurm_work import Work
from experiments.launching.worker import Ended

SECRET = "Bonnsecret"
RUN = (
    *("-m", "data=own", "model=logistic", "optimizer.num_steps=2", "num_seeds=1", "privacy.accountant=rdp"),
    *("privacy.delta=1e-5", "privacy.epsilon=1,2", "hydra.sweeper.reference=false", "figures=false"),
)
WRONG = {
    "label": ("data.label=city", "data.classes=[a,b]", "data.columns={age:[0,99]}"),
    "number": ("data.label=ill", "data.classes=[0,1]", "data.columns={age:[0,99],city:[0,9]}"),
}


@pytest.fixture
def rows(tmp_path, monkeypatch):
    add_key(f"file:{tmp_path / 'keys'}")
    monkeypatch.setenv("DPJAX_KEYS", f"file:{tmp_path / 'keys'}")
    cells = ["a" if i % 2 else "b" for i in range(40)]
    cells[0] = SECRET
    table = "age,city,ill\n" + "".join(f"{20 + i},{city},{i % 2}\n" for i, city in enumerate(cells))
    (tmp_path / "rows.csv").write_text(table)
    return tmp_path / "rows.csv"


def quoting(folder):
    return [each for each in folder.rglob("*") if each.is_file() and SECRET.encode() in each.read_bytes()]


@pytest.mark.parametrize(("wrong", "sealed_rows"), [("label", False), ("number", True)])
def test_a_cell_is_told_at_the_terminal_and_to_holders_of_the_key(
    main, rows, tmp_path, monkeypatch, capsys, wrong, sealed_rows
):
    words = [*RUN, *WRONG[wrong]]
    if sealed_rows:
        assert dpjax(["data", "protect", str(rows)]) == 0
        words.append(f"data.path={rows}{SEALED}")
    else:
        monkeypatch.setenv("DPJAX_LEDGER", str(tmp_path / "ledger.db"))
        made = create_ledger(who="ana")
        known = fingerprint_of(columns_at(str(rows)))
        made.set_budget("clinic", known, unit="example", adjacency="zero_out", epsilon=9.0, delta=1e-5)
        words += [f"data.path={rows}", "governance=local", "governance.seal=true"]
    folder = tmp_path / "results"
    code, _, err = main(*words, folder=folder)
    assert code == 1
    assert SECRET in err
    assert quoting(folder) == []
    logs = [each.read_text() for each in folder.rglob("run.log")]
    assert logs
    assert all("may quote a row" in log for log in logs)
    failures, unreadable = read_failures(folder)
    assert len(failures) == 2
    assert all(SECRET in each.error for each in failures)
    assert unreadable == []
    [sweep] = {each.parent.parent for each in folder.rglob("failure.json")}
    capsys.readouterr()
    dpjax(["status", str(sweep)])
    assert SECRET in capsys.readouterr().out
    assert dpjax(["report", str(sweep)]) == 1
    assert "is sealed, and the report would lie open" in " ".join(capsys.readouterr().err.split())
    assert quoting(folder) == []
    monkeypatch.delenv("DPJAX_KEYS")
    dpjax(["status", str(sweep)])
    assert "no key is named" in " ".join(capsys.readouterr().out.split())


def test_open_rows_keep_their_reason_in_the_folder(main, rows, tmp_path):
    assert main(*RUN, *WRONG["label"], f"data.path={rows}", folder=tmp_path / "results")[0] == 1
    assert {each.name for each in quoting(tmp_path / "results")} == {"failure.json", "run.log"}


def test_without_a_key_a_failure_says_no_more_than_that_it_is_one(tmp_path, monkeypatch):
    monkeypatch.delenv("DPJAX_KEYS", raising=False)
    write_failure(tmp_path, "mine", "a=1", f"as {SECRET!r} in row 5", seal=True)
    assert quoting(tmp_path) == []
    [failure] = read_failures(tmp_path)[0]
    assert (failure.overrides, "could not be sealed" in failure.error) == ("a=1", True)


def governed(rows, tmp_path, monkeypatch):
    monkeypatch.setenv("DPJAX_LEDGER", str(tmp_path / "ledger.db"))
    rows.write_text("age,ill\n" + "".join(f"{20 + i},{i % 2}\n" for i in range(40)))
    known = fingerprint_of(columns_at(str(rows)))
    made = create_ledger(who="ana")
    made.set_budget("clinic", known, unit="example", adjacency="zero_out", epsilon=9.0, delta=1e-5)
    right = ("data.label=ill", "data.classes=[0,1]", "data.columns={age:[0,99]}")
    return (*RUN, *right, f"data.path={rows}", "governance=local", "governance.seal=true")


def test_a_key_source_that_goes_while_a_sealed_run_trains_loses_no_result(main, rows, tmp_path, monkeypatch):
    words, keys = governed(rows, tmp_path, monkeypatch), tmp_path / "keys"
    text, train = keys.read_text(), experiments.jobs.run_group_lanes

    def losing(*given, **more):
        keys.unlink(missing_ok=True)
        yield from train(*given, **more)

    monkeypatch.setattr("experiments.jobs.run_group_lanes", losing)
    code, _, err = main(*words, folder=tmp_path / "results")
    assert code == 0, err
    assert not keys.exists()
    results = list((tmp_path / "results").rglob("result.json"))
    assert len(results) == 2
    assert all(map(is_sealed, results))
    keys.write_text(text)
    keys.chmod(0o600)
    assert len(load(results[0].parent.parent)) == 2


@pytest.mark.parametrize("key", [True, False])
def test_log_and_file_agree_on_where_an_error_lies(main, rows, tmp_path, monkeypatch, key):
    words = governed(rows, tmp_path, monkeypatch)

    def fails(*given, **more):
        if not key:
            monkeypatch.delenv("DPJAX_KEYS")
        raise ValueError(f"as {SECRET!r} in row 5.")
        yield

    monkeypatch.setattr("experiments.jobs.run_group_lanes", fails)
    code, _, err = main(*words, folder=tmp_path / "results")
    assert code == 1
    assert SECRET in err
    assert quoting(tmp_path / "results") == []
    log = "".join(each.read_text() for each in (tmp_path / "results").rglob("run.log"))
    files = list((tmp_path / "results").rglob("failure.json"))
    assert all(is_sealed(each) == key for each in files)
    assert ("in failure.json, sealed" in log) == key
    assert ("could not be sealed, so that the terminal alone was told" in log) != key
    assert key or all("the terminal alone was told" in each.read_text() for each in files)


def test_an_error_of_the_keys_themselves_quotes_no_row_and_is_told(main, rows, tmp_path, monkeypatch):
    words = governed(rows, tmp_path, monkeypatch)
    monkeypatch.delenv("DPJAX_KEYS")
    code, _, _ = main(*words, folder=tmp_path / "results")
    assert code == 1
    log = "".join(each.read_text() for each in (tmp_path / "results").rglob("run.log"))
    assert "no key is named; set DPJAX_KEYS" in log
    assert "may quote a row" not in log
    failures = [each.read_text() for each in (tmp_path / "results").rglob("failure.json")]
    assert failures
    assert all("no key is named; set DPJAX_KEYS" in each for each in failures)


@pytest.mark.parametrize("key", [True, False])
def test_a_node_tells_its_driver_nothing_that_lies_open(rows, tmp_path, monkeypatch, key):
    ended = Ended(0, [], ValueError(f"as {SECRET!r} in row 5"), (f"warning: {SECRET}",))
    monkeypatch.setattr("experiments.launching.slurm_work.work", lambda site, jobs: [ended])
    if not key:
        monkeypatch.delenv("DPJAX_KEYS")
    (tmp_path / "inbox").mkdir()
    Work(b"", b"", tmp_path / "inbox", seal=True)()
    [told] = (tmp_path / "inbox").iterdir()
    assert is_sealed(told) == key
    assert quoting(tmp_path / "inbox") == []


def test_another_key_makes_no_failed_job_a_finished_one(rows, tmp_path):
    write_job_result(tmp_path / "job", [{"seed": 0, "epsilon": 1.0}], "d", seal=True)
    write_failure(tmp_path / "job", "mine", "a=1", "no memory", seal=True)
    assert len(read_failures(tmp_path)[0]) == 1
    add_key(f"file:{tmp_path / 'keys'}")
    for file in ("result.json", "failure.json"):
        assert rewrap(tmp_path / "job" / file, keys_from())
    assert len(read_failures(tmp_path)[0]) == 1
