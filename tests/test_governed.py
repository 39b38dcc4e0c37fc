"""Runs with governance=local: what they reserve, what they spend, and whose noise it is."""

import os
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from safetensors.numpy import load_file

from dpjax.cli.app import run as run_command
from dpjax.datasets.raw_columns import columns_at, columns_of
from dpjax.fingerprints import fingerprint_of
from dpjax.governance.ledger import Ledger, create_ledger
from dpjax.results import ResultsError, load
from tests.test_docs import ROOT

RUN = (
    *("data=breast_cancer", "model=logistic", "optimizer.num_steps=8", "num_seeds=1", "figures=false"),
    *("privacy.accountant=rdp", "privacy.delta=1e-5", "privacy.epsilon=2"),
)


@pytest.fixture
def ledger(tmp_path, monkeypatch):
    monkeypatch.setenv("DPJAX_LEDGER", str(tmp_path / "ledger.db"))
    made = create_ledger(who="ana")
    rows = fingerprint_of(columns_of("breast_cancer"))
    made.set_budget("cancer", rows, unit="example", adjacency="zero_out", epsilon=4.0, delta=1e-5)
    return made


def test_a_run_that_fits_spends_what_its_row_says_and_the_next_is_refused(main, ledger):
    code, _, err = main(*RUN, "governance=local")
    assert code == 0, err
    assert "note: this run of cancer may take it to ε=" in err
    account = ledger.account("cancer")
    [run] = account.runs
    assert (run.state, run.steps, run.spend.steps, run.tool) == ("closed", 8, 8, "dpjax")
    assert 1.5 < account.spent == account.reserved <= 2.0
    code, _, err = main(*RUN, "privacy.epsilon=6", "governance=local")
    assert code == 1
    assert "error: data cancer has spent ε=" in err
    assert "would fit" in err
    assert ledger.account("cancer") == account
    assert main(*RUN, "governance=local")[0] == 0  # is on disk already, and costs nothing
    assert ledger.account("cancer") == account
    ledger.verify()


def test_each_seed_is_paid_for_and_draws_noise_of_its_own(main, ledger, tmp_path):
    models = []
    for i, governance in enumerate(("local", "local", "off", "off")):
        folder = tmp_path / f"results{i}"
        code, _, err = main(
            *RUN, "save_model=true", "num_seeds=2", "privacy.epsilon=1", f"governance={governance}", folder=folder
        )
        assert code == 0, err
        [file] = folder.rglob("model/*.safetensors")
        models.append(load_file(file))
    assert len(ledger.account("cancer").runs) == 4
    name = max(models[0], key=lambda name: models[0][name].size)
    assert not np.allclose(models[0][name], models[1][name], atol=1e-3)  # or the two would share their noise
    np.testing.assert_array_equal(models[2][name], models[3][name])


def test_a_sweep_is_reserved_whole_or_not_at_all(main, ledger, tmp_path):
    sweep = ("-m", *RUN, "governance=local", "hydra.sweeper.reference=false", "model.hidden=[8]")
    code, _, err = main(*sweep, "model=logistic,mlp", "privacy.epsilon=0.5,4", "privacy.clip_norm=1")
    assert code == 1
    assert "these 4 runs would make it" in err
    [folder] = {path.parent.parent for path in tmp_path.rglob("failure.json")}
    with pytest.raises(ResultsError, match=r"no point of .* has run: 4 points were refused by the ledger: data cancer"):
        load(folder)
    assert ledger.account("cancer").runs == ()
    code, _, err = main(*sweep, "model=logistic,mlp", "privacy.epsilon=0.5,1", "privacy.clip_norm=1")
    assert code == 0, err
    assert "note: these 4 runs of cancer may take it to" in err
    account = ledger.account("cancer")
    assert [(run.state, run.steps) for run in account.runs] == [("closed", 8)] * 4
    assert account.reserved == account.spent < 4


def test_what_is_no_private_run_on_this_budget_is_told(main, ledger):
    for fields, words in {
        ("privacy.epsilon=inf",): "privacy.epsilon=inf is more than any budget",
        ("privacy.adjacency=add_or_remove_one",): "budget for unit=example and adjacency=zero_out",
        ("federated=fedavg", "federated.num_clients=20", "federated.clients_per_round=10"): "run it for examples",
        ("governance.ledger=/none/l.db",): "ledger /none/l.db is not there; make it with `dpjax ledger init`",
    }.items():
        code, _, err = main(*RUN, "governance=local", *fields)
        assert code == 1
        assert words in err
    assert ledger.account("cancer").runs == ()
    assert "governance.name=local" in main(*RUN, "governance.ledger=x.db")[2]  # which nothing reads


def test_rows_of_ones_own_want_a_budget_and_public_ones_none(main, ledger, tmp_path):
    rng = np.random.default_rng(0)
    table = tmp_path / "patients.csv"
    lines = [f"{rng.uniform(20, 80):.3f},{rng.normal():.4f},{'yn'[i % 2]}" for i in range(120)]
    table.write_text("age,score,ill\n" + "\n".join(lines))
    own = (
        "data=own",
        f"data.path={table}",
        "data.label=ill",
        "data.columns={age:[0,100],score:[-4,4]}",
        "data.classes=[n,y]",
    )
    run = [each for each in RUN if not each.startswith("data")]
    code, _, err = main(*own, *run, "governance=local", "privacy.delta=1e-4")
    assert code == 1
    assert f"{table} has no budget in the ledger; set one with `dpjax ledger budget NAME --data {table}" in err
    rows = fingerprint_of(columns_at(str(table)))
    ledger.set_budget("clinic", rows, unit="example", adjacency="zero_out", epsilon=4.0, delta=1e-4)
    copy = tmp_path / "other.csv"
    copy.write_text("sick,years,points\n" + "\n".join(",".join(reversed(line.split(","))) for line in reversed(lines)))
    swapped = [each.replace(str(table), str(copy)) for each in own]
    swapped = [
        each.replace("label=ill", "label=sick").replace("age:", "points:").replace("score:", "years:")
        for each in swapped
    ]
    code, _, err = main(*swapped, *run, "governance=local", "privacy.delta=1e-4")
    assert code == 0, err
    assert len(ledger.account("clinic").runs) == 1
    assert main("data=digits", *run, "governance=local")[0] == 0
    assert len(ledger.account("clinic").runs) == 1


def test_without_it_nothing_of_it_is_imported(tmp_path):
    code = (
        "import sys\nfrom experiments import run\n"
        f"sys.argv = ['run', 'results_dir={tmp_path}', *{list(RUN)!r}]\nrun.main()\n"
        "names = {'sqlalchemy', 'alembic', 'psycopg', 'dpjax.governance', 'experiments.governed', 'casbin', 'jwt',\n"
        "         'keyring', 'pkcs11', 'dpjax.encryption.keys', 'dpjax.sealed_checkpoints'}\n"
        "loaded = names & sys.modules.keys()\n"
        "print('LOADED', sorted(loaded))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert "LOADED []" in ran.stdout, ran.stdout + ran.stderr


def test_a_killed_run_has_spent_what_it_began_and_goes_on_in_its_reservation(ledger, tmp_path):
    command = [
        *(sys.executable, "-m", "experiments.run", f"results_dir={tmp_path / 'results'}", *RUN, "governance=local"),
        *("checkpoint_seconds=0.2", "optimizer.num_steps=400000", "privacy.epsilon=1"),
    ]
    killed = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    ended = time.monotonic() + 200
    while time.monotonic() < ended and not (runs := [r for r in ledger.account("cancer").runs if r.steps > 5000]):
        time.sleep(0.2)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    [before] = runs
    [dead] = ledger.account("cancer").runs
    assert (dead.state, dead.id) == ("open", before.id)
    assert before.steps <= dead.steps < 400000
    # The same command goes on; interrupted, it gives back what it has not begun.
    again = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    while time.monotonic() < ended and ledger.account("cancer").runs[0].steps <= dead.steps:
        time.sleep(0.2)
    again.send_signal(signal.SIGINT)
    _, err = again.communicate(timeout=100)
    assert "runs on from what was kept" in err or "goes on from what was kept" in err
    [run] = ledger.account("cancer").runs
    assert run.id == dead.id
    assert run.state == "closed"
    assert dead.steps < run.steps <= 400000
    assert ledger.account("cancer").spent < 1.0 or run.steps == 400000
    Ledger(str(ledger.url.database)).verify()
    assert os.path.exists(tmp_path / "results")


def test_no_row_holds_the_password_of_a_ledger():
    from hydra import compose, initialize_config_dir

    from experiments import config, identity
    from experiments.border import from_hydra

    with initialize_config_dir(str(config.CONF), version_base="1.3"):
        cfg = from_hydra(compose("config", ["governance=local", "governance.ledger=postgresql://ana:geheim@db/l"]))
    written = identity.written_config(cfg)
    assert "geheim" not in written
    assert "postgresql://ana:***@db/l" in written


def test_a_file_s_mapping_does_not_keep_the_ledger_out_without_a_word(main, ledger, tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("data: {name: breast_cancer}\ngovernance: {name: 'off'}\n")
    code, _, err = main(f"experiment={file}", "governance=local", "privacy.delta=1e-5", "optimizer.num_steps=2")
    assert code == 1
    assert "says governance.name=off, which comes after governance=local; write governance.name=local" in err
    assert ledger.account("cancer").runs == ()


@pytest.mark.parametrize("begun", [0, 1])
def test_a_run_that_another_process_is_at_is_not_taken_over(ledger, begun):
    from tests.ledgers import request

    code = (
        "import sys\nfrom dpjax.governance.ledger import Ledger\nfrom dpjax.keeping import this_process\n"
        "from tests.ledgers import request\nledger = Ledger(who='ana')\n"
        f"[run] = ledger.reserve('cancer', [request('a', noise_multiplier=9.0)])\nledger.commit({{run: {begun}}})\n"
        "print(run, this_process(), flush=True)\nsys.stdin.readline()"
    )
    other = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    run, process = other.stdout.readline().split()
    with pytest.raises(ValueError, match=r"is being run by ana in process .*; wait for it"):
        ledger.take_over("cancer", [run])
    with pytest.raises(ValueError, match="is being run by ana"):
        ledger.reserve("cancer", [request("a", noise_multiplier=9.0)])
    ledger.take_over("cancer", [run], process)  # whom it was reserved for
    assert ledger.account("cancer").runs[0].process == process
    other.communicate("\n")
    ledger.take_over("cancer", [run])
    ledger.close({run: 1})


def test_of_one_command_that_is_started_twice_one_runs_and_the_other_says_so_at_once(ledger, tmp_path):
    command = [
        *(sys.executable, "-m", "experiments.run", f"results_dir={tmp_path / 'results'}", *RUN, "governance=local"),
        *("checkpoint_seconds=0.2", "optimizer.num_steps=400000", "privacy.epsilon=1"),
    ]
    both = [subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) for _ in range(2)]
    ended = time.monotonic() + 100
    while time.monotonic() < ended and all(each.poll() is None for each in both):
        time.sleep(0.1)
    refused, going = sorted(both, key=lambda each: each.poll() is None)
    _, err = refused.communicate(timeout=1)
    assert refused.returncode == 1
    assert err.strip().splitlines()[-1].startswith("error: the folder ")
    assert f".{going.pid}; wait for it" in err
    assert "note: this run" not in err  # it did not come as far as to a reservation
    while time.monotonic() < ended and not [run for run in ledger.account("cancer").runs if run.steps]:
        time.sleep(0.1)
    going.send_signal(signal.SIGINT)
    going.communicate(timeout=100)
    [run] = ledger.account("cancer").runs
    assert (run.state, run.process.rpartition(".")[2]) == ("closed", str(going.pid))
    ledger.verify()


TRAINS = {"setup.py", "jobs.py", "kept_jobs.py", "deploy/beside.py", "deploy/federation.py"}
"""Files of ``experiments`` that build what trains: the first three reserve, and what is deployed is refused."""


def test_nothing_else_trains_than_what_asks_the_ledger_or_refuses_it(main, ledger, tmp_path, monkeypatch, capsys):
    here = ROOT / "experiments"
    building = re.compile(r"import .*\b(build|run_lanes|make_train)\b")
    found = {
        path.relative_to(here).as_posix() for path in here.rglob("*.py") if building.search(path.read_text("utf-8"))
    }
    assert found == TRAINS
    monkeypatch.chdir(tmp_path)
    federated = ("data=breast_cancer", "federated=fedavg", "federated.num_clients=4", "federated.clients_per_round=2")
    for command in (["rehearse", "four"], ["plan", "plan.json", "--client", "a=a.pub"]):
        assert run_command(["deploy", *command, *federated, "governance=local"]) == 1
        said = capsys.readouterr().err
        assert said.count("\n") == 1
        assert said.startswith("error: governance=local can't be deployed: enter its ε beforehand with `dpjax ledger")
    code, _, err = main("-m", *RUN, "governance=local", "hydra/sweeper=optuna_batched")
    assert code == 1
    assert "a search is steered by scores on rows" in err
    assert ledger.account("cancer").runs == ()
