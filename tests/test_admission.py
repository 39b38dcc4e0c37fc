"""What is refused before rows are read, quoted or compiled for; and what is said where nobody counts."""

import json
import subprocess
import sys
import warnings

import numpy as np
import pytest

from dpjax.cli.app import run as run_command
from dpjax.datasets.raw_columns import columns_at
from dpjax.fingerprints import fingerprint_of
from dpjax.governance.identity import user
from dpjax.governance.ledger import Ledger, create_ledger
from dpjax.governance.signing import new_signing_key
from dpjax.known_rows import known_in
from dpjax.results.failures import write_failure
from dpjax.results.result_files import JOB_FILE
from experiments import admission, jobs
from experiments.config import Config, DataConf
from tests.ledgers import rows, set_budget
from tests.policies import grant

OLGA = new_signing_key()
SHORT = ("model=logistic", "optimizer.num_steps=4", "num_seeds=1", "figures=false", "privacy.accountant=rdp")
PRIVATE = (*SHORT, "privacy.delta=1e-4", "privacy.epsilon=2")
SECRET = "73.719"
"""A cell, which is in no other row, and the largest of its column."""


@pytest.fixture
def table(tmp_path):
    rng = np.random.default_rng(0)
    lines = [f"{rng.uniform(20, 70):.3f},{rng.normal():.4f},{'ny'[i % 2]}" for i in range(120)]
    path = tmp_path / "patients.csv"
    path.write_text("\n".join(["age,score,ill", f"{SECRET},0.5,n", *lines]) + "\n")
    return path


def own(table, *fields, columns="{age:[0,100],score:[-4,4]}", classes="[n,y]"):
    said = ("data=own", f"data.path={table}", "data.label=ill", f"data.classes={classes}", f"data.columns={columns}")
    return (*said, *fields, *PRIVATE)


@pytest.fixture
def ledger(table, tmp_path, monkeypatch):
    """Of olga, with the table as sensitive data; who runs the tests has the roles that a test gives."""
    monkeypatch.setenv("DPJAX_LEDGER", str(tmp_path / "ledger.db"))
    monkeypatch.setenv("DPJAX_SIGNING_KEY", str(tmp_path / "key.pem"))
    made = create_ledger(who="olga", key=OLGA)
    budget = {"unit": "example", "adjacency": "zero_out", "epsilon": 4.0, "delta": 1e-4}
    made.set_budget("clinic", fingerprint_of(columns_at(str(table))), sensitive=True, **budget)
    return made


def roles(ledger, *names):
    text = grant(["olga"], "owner", ["*"]) + "".join(grant([user()], name) for name in names)
    ledger.set_policy(text)


def told(ledger, action):
    return [each["detail"] for each in ledger.history() if each["action"] == action]


RELEASE = ("data.release=[age,score]", "data.release_noise_multiplier=0.1")


@pytest.mark.parametrize(
    ("fields", "sweep"), [({"classes": "[no,yes]"}, ()), ({"columns": "{}"}, ()), ({}, ("-m", "privacy.epsilon=1,2"))]
)
def test_who_may_train_on_nothing_is_denied_before_a_row_is_read(main, ledger, table, monkeypatch, fields, sweep):
    def never(*given):
        raise AssertionError("rows were read")

    monkeypatch.setattr("dpjax.datasets.raw_columns.open_tables", never)
    monkeypatch.setattr("dpjax.datasets.own_tables.reading.open_tables", never)
    admission._fingerprint.cache_clear()
    roles(ledger, "auditor")
    release = RELEASE if "columns" in fields else ()
    code, out, err = main(*sweep[:1], *own(table, *release, **fields), *sweep[1:], "governance=local")
    assert code == 1
    assert f"data clinic is sensitive, and to run on it takes the role analyst; {user()} has the role auditor" in err
    assert "row" not in err.replace("ledger", "")
    assert SECRET not in out + err
    [denied] = told(ledger, "deny")
    assert denied["action"] == "train"
    ledger.verify()


def test_beside_data_that_are_open_to_all_it_is_denied_before_rows_are_quoted_or_compiled_for(
    main, ledger, table, monkeypatch
):
    set_budget(ledger, "open", rows=rows(), sensitive=False)
    roles(ledger, "auditor")
    monkeypatch.setattr(jobs, "build", lambda *given: pytest.fail("the data set was made"))
    code, out, err = main(*own(table, classes="[no,yes]"), "governance=local")
    assert code == 1
    assert "takes the role analyst" in err
    assert "'n'" not in out + err
    assert len(told(ledger, "deny")) == 1


def test_a_run_beyond_its_grant_is_denied_before_it_is_compiled_for(main, ledger, table, monkeypatch):
    ledger.set_policy(grant(["olga"], "owner", ["*"]) + grant([user()], "analyst", max_epsilon=0.5))
    monkeypatch.setattr(jobs, "compile_group", lambda *given: pytest.fail("it was compiled for"))
    code, _, err = main(*own(table), "governance=local")
    assert (code, "and the limit is 0.5" in err) == (1, True), err


def test_ranges_that_are_released_are_refused_by_the_config_alone(main, ledger, table, monkeypatch):
    roles(ledger, "analyst")
    monkeypatch.setattr("dpjax.datasets.raw_columns.open_tables", lambda *given: pytest.fail("rows were read"))
    admission._fingerprint.cache_clear()
    code, out, err = main(*own(table, *RELEASE, columns="{}"), "governance=local")
    assert code == 1
    assert "data.release draws its noise from data.release_seed" in err
    assert "released with noise" not in err
    assert SECRET not in out + err
    [refused] = told(ledger, "refuse")
    assert refused["why"].startswith("data.release draws")


@pytest.mark.parametrize("raw", [False, True])
def test_a_cell_is_quoted_to_those_who_may_read_rows(main, ledger, table, tmp_path, raw):
    roles(ledger, "analyst", *(["owner"] if raw else []))
    code, _, err = main(*own(table, classes="[no,yes]"), "governance=local")
    assert code == 1
    assert ("label 'n'" in err) == raw, err
    assert ("may quote one, which takes the role owner to see" in err) == (not raw)
    [log] = tmp_path.rglob("run.log")
    assert err.strip().splitlines()[-1].removeprefix("error: ") in log.read_text(encoding="utf-8")
    code, _, err = main(*own(table, "data.unit=who"), "governance=local")
    assert (code, "data.unit='who' is no column" in err) == (1, True), err  # which is no cell
    code, _, err = main(*own(tmp_path / "patient.csv"), "governance=local")
    assert (code, "patient.csv" in err, "may quote" in err) == (1, True, False), err


def own_conf(path):
    return Config(data=DataConf(name="own", path=str(path)))


def test_a_run_that_nobody_counts_is_warned_of_on_rows_that_a_ledger_knows(ledger, table, tmp_path, monkeypatch):
    first, *lines = table.read_text().splitlines()
    files = {
        "copy": lines[::-1],
        "part": lines[:90],
        "other": [f"{80 + i * 0.377:.3f},{i * 0.73:.2f},{'ny'[i % 2]}" for i in range(99)],
    }
    for name, kept in files.items():
        (tmp_path / f"{name}.csv").write_text("\n".join([first, *kept]))
    copy, part, other = (own_conf(tmp_path / f"{name}.csv") for name in files)
    with pytest.warns(
        UserWarning, match=r"has the rows of clinic, which is sensitive in the ledger .* governance=local"
    ):
        admission.admit([copy, copy])
    with pytest.warns(UserWarning, match="has rows of clinic, which is sensitive"):
        admission.admit([part])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        admission.admit([other, Config(), own_conf("/nowhere.csv")])
        monkeypatch.setenv("DPJAX_LEDGER", str(tmp_path / "none.db"))
        monkeypatch.setattr(admission, "_fingerprint", lambda *given: pytest.fail("rows were looked at"))
        admission.admit([copy])


def test_a_run_begins_with_the_warning(main, ledger, table):
    with pytest.warns(UserWarning, match="has the rows of clinic"):
        code, _, err = main(*own(table, classes="[no,yes]"))
    assert (code, "has the label 'n'" in err) == (1, True), err  # the warning came before rows were read


def test_to_warn_of_them_nothing_of_governance_is_imported(ledger, table, tmp_path):
    code = (
        "import sys\nfrom experiments.admission import admit\nfrom experiments.config import Config, DataConf\n"
        f"admit([Config(data=DataConf(name='own', path={str(table)!r}))])\n"
        "names = {'sqlalchemy', 'dpjax.governance', 'experiments.governed', 'casbin', 'jax'}\n"
        "print('LOADED', sorted(names & sys.modules.keys()))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=100)
    assert "LOADED []" in ran.stdout, ran.stdout + ran.stderr
    assert "has the rows of clinic" in ran.stderr


@pytest.mark.parametrize("content", [b"", b"no ledger", b"SQLite format 3\x00" + bytes(200)])
def test_what_is_no_ledger_knows_no_rows(tmp_path, content):
    (tmp_path / "l.db").write_bytes(content)
    assert known_in(tmp_path / "l.db", lambda names: rows()) is None
    assert (tmp_path / "l.db").read_bytes() == content


def test_a_reference_that_no_budget_can_pay_leaves_no_job_behind(main, ledger, table, tmp_path, capsys):
    roles(ledger, "analyst")
    sweep = ("-m", *own(table), "privacy.epsilon=0.5,1", "governance=local")
    code, _, err = main(*sweep, folder=tmp_path / "results")
    assert code == 1
    assert "the reference of a sweep with hydra.sweeper.reference=false" in err
    assert [
        path for path in (tmp_path / "results").rglob("*") if path.parent.name == "patients" and path.is_dir()
    ] == []
    assert list((tmp_path / "results").rglob("failure.json")) == []
    code, _, err = main(*sweep, "hydra.sweeper.reference=false", folder=tmp_path / "results")
    assert code == 0, err
    [done] = {path.parent.parent for path in (tmp_path / "results").rglob(JOB_FILE)}
    # As a sweep of before left it: a point that is planned no more, and has not failed.
    write_failure(done / "privacy.epsilon=inf", "x", "privacy.epsilon=inf", "it has no noise.", refused=True)
    capsys.readouterr()
    assert run_command(["status", str(done)]) == 0, capsys.readouterr()
    assert "failed:" not in capsys.readouterr().out
    assert run_command(["results", "show", str(done)]) == 0


def test_a_single_run_that_is_refused_says_so_in_its_log(main, ledger, table, tmp_path):
    roles(ledger, "analyst")
    assert main(*own(table), "privacy.epsilon=inf", "governance=local")[0] == 1
    [log] = tmp_path.rglob("run.log")
    assert "privacy.epsilon=inf is more than any budget" in log.read_text(encoding="utf-8")
    assert json.dumps(told(ledger, "refuse")).count("more than any budget") == 1
    Ledger().verify()
