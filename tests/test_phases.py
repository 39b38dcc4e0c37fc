"""What is being done is said as it is: the phases of a run in their order, and a line for one that takes long."""

import sys
import time
from dataclasses import replace

import pytest

from experiments import run
from experiments.config import Config, OptimizerConf, PrivacyConf
from experiments.jobs import run_group
from experiments.phases import Phases
from experiments.progress import Progress
from experiments.task import Job

CFG = Config(num_seeds=1, privacy=PrivacyConf(accountant="rdp"), optimizer=OptimizerConf(num_steps=2))


BOTH, ALONE = "calibrating noise while compiling", "calibrating noise"
CALIBRATED = ([BOTH], [BOTH, ALONE], [ALONE])  # as fast as the machine compiles


def phases_of(cfg, folder):
    told = []
    (outcome,) = run_group([Job(cfg, folder, "")], lambda stage, done, total: told.append(stage))
    assert outcome.error is None
    return [stage for i, stage in enumerate(told) if stage not in told[:i]]


@pytest.mark.parametrize(("more", "measured"), [({}, []), ({"engine": "tuned"}, ["measuring which engine is faster"])])
def test_a_run_says_its_phases_in_their_order(tmp_path, more, measured):
    found = phases_of(replace(CFG, **more), tmp_path)
    assert found[:2] == ["loading data", "preparing the run"]
    assert found[2:-2] in [[*measured, *calibrated] for calibrated in CALIBRATED]
    assert found[-2:] == ["compiling", "training"]


def test_the_import_of_jax_is_a_phase_where_it_is_still_to_come(monkeypatch):
    told = []
    monkeypatch.setattr(run, "keep_programs", lambda: None)
    run.run([], lambda *stage: told.append(stage))
    monkeypatch.delitem(sys.modules, "jax")
    run.run([], lambda *stage: told.append(stage))
    assert told == [("importing JAX", 0, 1)]


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr("experiments.phases.LONG", 0.05)


def wait_for(said, count):
    until = time.monotonic() + 10
    while len(said) < count and time.monotonic() < until:
        time.sleep(0.01)


def test_a_phase_that_takes_long_is_named_once_while_it_lasts(quick):
    said = []
    phases = Phases(said.append)
    phases.start()
    wait_for(said, 1)
    phases.begin("compiling")
    wait_for(said, 2)
    phases.begin("compiling")
    time.sleep(0.2)
    phases.begin("training")
    phases.silence()  # another line has named it
    time.sleep(0.2)
    phases.stop()
    phases.begin("figures")
    time.sleep(0.1)
    assert said == ["starting ...", "compiling ..."]


def test_where_there_is_no_terminal_a_long_phase_has_a_line_and_a_short_one_none(quick, capsys):
    with Progress(1) as progress:
        progress.tell("loading data", 0, 1)
        progress.tell("loading the model", 0, 1)
        time.sleep(0.3)
        progress.tell("training", 0, 1)
    assert capsys.readouterr().err.splitlines() == ["loading the model ..."]
