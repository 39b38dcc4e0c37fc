"""Signals, read-only disks, folders that vanish, writers that were killed: what is finished stays and is shown."""

import gc
import os
import shutil
import signal
import time

import pytest

from dpjax import keeping
from dpjax.cli.stopping import Stopped, heard, status_of
from dpjax.results import ResultsError
from experiments import jobs
from experiments.progress import Progress

QUICK = ["model=logistic", "optimizer.num_steps=2", "num_seeds=1", "privacy.accountant=rdp", "figures=false"]
SWEEP = ["-m", *QUICK, "seed=1,2", "hydra.sweeper.reference=false"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_a_sweep_as_ctrl_c_does(number, main, tmp_path, monkeypatch):
    real = jobs._finish
    done = []

    def finish(*args):
        done.append(real(*args))
        if len(done) == 1:
            signal.raise_signal(number)
        return done[-1]

    monkeypatch.setattr(jobs, "_finish", finish)
    before = signal.signal(number, signal.SIG_DFL)  # a test run under nohup ignores one of them
    code, out, err = main(*SWEEP)
    assert code == 128 + number
    assert err.splitlines()[-1].startswith("interrupted: 1 job is finished and on disk")
    assert "Table: " in out
    assert "Traceback" not in err
    assert signal.getsignal(number) == signal.SIG_DFL
    signal.signal(number, before)
    monkeypatch.setattr(jobs, "_finish", real)
    code, _, err = main(*SWEEP)
    assert code == 0
    assert "1 job finished before and skipped" in err


def test_a_signal_in_the_garbage_collector_is_not_lost():
    def callback(phase, info):
        if phase == "start":
            signal.raise_signal(signal.SIGTERM)

    with heard(), Progress(1) as progress:
        gc.callbacks.append(callback)
        try:
            gc.collect()  # Python drops it, and goes on
        finally:
            gc.callbacks.remove(callback)
        with pytest.raises(Stopped) as stop:
            progress.tell("training", 1, 2)
    assert status_of(stop.value) == 143
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_what_is_ignored_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # nohup
    try:
        with heard():
            assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_finished_sweep_shows_its_table_from_a_disk_that_can_only_be_read(main, monkeypatch, tmp_path):
    assert main(*SWEEP)[0] == 0

    def refuse(path, data):
        raise ResultsError(f"could not write {path}: Read-only file system; choose an output folder")

    def read_only(*args, **kwargs):
        raise OSError(30, "Read-only file system", str(tmp_path))

    monkeypatch.setattr("dpjax.results.table.write_atomically", refuse)
    monkeypatch.setattr("experiments.launching.plan.write_atomically", refuse)
    monkeypatch.setattr("experiments.launching.sweeper.OmegaConf.save", read_only)
    code, out, err = main(*SWEEP)
    assert code == 1
    assert "digits" in out
    assert err.splitlines()[-1].startswith("error: the table is not on disk: could not write")
    code, _, err = main(*SWEEP[:-2], "seed=1,2,3", SWEEP[-1])  # what is not finished computes nothing in vain
    assert code == 1
    assert "Read-only file system" in err
    assert "Group" not in err


def test_a_finished_job_whose_folder_vanishes_is_named(main, monkeypatch):
    real = jobs._finish
    done = []

    def finish(job, *args):
        if done:
            shutil.rmtree(done[0])
        done.append(job.folder)
        return real(job, *args)

    monkeypatch.setattr(jobs, "_finish", finish)
    code, out, err = main(*SWEEP)
    assert code == 1
    assert "error: 1 job was finished, but the results are gone from" in err
    assert done[0].name in err
    assert "Table: " in out


def test_what_killed_writers_left_goes_and_what_living_ones_write_stays(main, tmp_path):
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    folder = tmp_path / "default" / "seed=1"
    folder.mkdir(parents=True)
    names = {
        "dead": f".progress.json.{keeping.MACHINE}.{child}.tmp",
        "alive": f".result.json.{keeping.MACHINE}.{os.getpid()}.tmp",
        "elsewhere": f".result.json.0000.{child}.tmp",
        "older": f".progress.json.{child}.tmp",
    }
    for name in names.values():
        (folder / name).write_text("{")
    long_ago = time.time() - 2 * keeping.STALE_SECONDS
    os.utime(folder / names["older"], (long_ago, long_ago))
    assert main(*SWEEP)[0] == 0
    left = {path.name for path in folder.glob(".*.tmp")}
    assert left == {names["alive"], names["elsewhere"]}
