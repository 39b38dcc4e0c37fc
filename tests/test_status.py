"""Where a sweep stands: finished, failed, running, stalled or stopped; the best so far; and the exit status of each."""

import datetime
import json
import math
import os
import subprocess
import sys
from pathlib import Path

import jax.numpy as jnp
import pytest

from dpjax.checkpoints import Checkpoints
from dpjax.cli import main as dpjax_main
from dpjax.keeping import MACHINE, runs_here, this_process
from dpjax.report.status import status
from dpjax.results import write_job_result
from experiments.launching.plan import tell_plan, telling

NOW = datetime.datetime.now(datetime.UTC)
EPSILONS = (1.0, 8.0)


def job(folder: Path, epsilon: float, clip_norm: float, accuracy: float, age: float = 0.0, **more) -> str:
    """A finished job, whose result is so old in seconds; its overrides."""
    overrides = f"results_dir=here privacy.epsilon={epsilon:g} privacy.clip_norm={clip_norm:g}"
    row = {
        "experiment": "mine",
        "config_hash": overrides,
        "dataset": "digits",
        "model": "mlp",
        "unit": "example",
        "delta": 1e-5,
        "epsilon": epsilon,
        "epsilon_pld": epsilon * 0.999,
        "clip_norm": clip_norm,
        "overrides": overrides,
        **more,
    }
    rows = [row | {"seed": seed, "test_accuracy": accuracy + seed / 100} for seed in (0, 1)]
    path = write_job_result(folder / overrides.replace("/", "_"), rows, "made up")
    os.utime(path, (NOW.timestamp() - age,) * 2)
    return overrides


def plan(folder: Path, overrides: list[str], age: float = 60.0, **more) -> None:
    started = (NOW - datetime.timedelta(seconds=age)).isoformat()
    told = {"format": "dpjax-progress", "version": 1, "planned": len(overrides), "started": started}
    (folder / "progress.json").write_text(json.dumps(told | {"jobs": overrides} | more))
    os.utime(folder / "progress.json", (NOW.timestamp() - age,) * 2)


def fail(folder: Path, overrides: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    told = {"format": "dpjax-failure", "version": 1, "experiment": "mine", "overrides": overrides, "error": "no luck."}
    (folder / "failure.json").write_text(json.dumps(told))


@pytest.fixture
def sweep(tmp_path):
    folder = tmp_path / "mine"
    made = [job(folder, epsilon, norm, 0.5 + epsilon / 50 + norm / 100) for epsilon in EPSILONS for norm in (0.3, 1.0)]
    plan(folder, made)
    return folder, made


def dead_process() -> str:
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    return f"{MACHINE}.{child.pid}"


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="processes have no files here")
def test_a_process_that_has_ended_runs_no_more_though_nobody_has_asked_how():
    child = subprocess.Popen([sys.executable, "-c", ""], stdin=subprocess.DEVNULL)
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # it stays a zombie
    assert runs_here(f"{MACHINE}.{child.pid}") is False
    child.wait()


def test_a_sweep_of_which_all_is_there_is_complete(sweep):
    found = status(sweep[0])
    assert (found.state, found.planned, found.finished, found.failed) == ("complete", 4, 4, 0)
    assert [(best.epsilon, best.overrides) for best in found.best] == [
        (1.0, "privacy.epsilon=1 privacy.clip_norm=1"),
        (8.0, "privacy.epsilon=8 privacy.clip_norm=1"),
    ]
    best = found.best[1]
    assert (best.family, best.seeds, best.accountant) == ("mine, digits, mlp, per example", 2, "PLD")
    assert (best.mean, best.stated) == (pytest.approx(0.675), pytest.approx(7.992))


@pytest.mark.parametrize(
    ("process", "age", "state"),
    [
        ("this", 0.0, "running"),
        ("this", 3000.0, "running"),  # some jobs take as long, and the process is there
        ("this", 30_000.0, "stalled"),
        ("elsewhere.1", 0.0, "running"),
        ("elsewhere.1", 3000.0, "stalled"),
        (None, 3000.0, "stalled"),
        ("dead", 0.0, "stopped"),
    ],
)
def test_what_has_not_ended_runs_or_is_stalled_or_stopped(tmp_path, process, age, state):
    process = this_process() if process == "this" else process
    folder = tmp_path / "mine"
    made = [job(folder, epsilon, 1.0, 0.5, age) for epsilon in EPSILONS]
    told = {} if process is None else {"process": dead_process() if process == "dead" else process}
    plan(folder, [*made, "privacy.epsilon=2"], age + 60.0, **told)
    found = status(folder, NOW)
    assert (found.state, found.finished, found.planned) == (state, 2, 3)
    assert found.seconds_since_change == pytest.approx(age, abs=1)
    left = pytest.approx((age + 60.0) / 2, rel=0.05) if state == "running" else None
    assert found.seconds_left == left


@pytest.mark.parametrize(("age", "left"), [(0.0, 30.0), (12.0, 18.0), (31.0, None)])
def test_what_is_left_is_what_the_sweep_told_less_what_has_passed(tmp_path, age, left):
    made = [job(tmp_path, epsilon, 1.0, 0.5, age) for epsilon in EPSILONS]
    at = (NOW - datetime.timedelta(seconds=age)).isoformat()
    plan(tmp_path, [*made, "privacy.epsilon=2"], 600.0, process=this_process(), left={"seconds": 30.0, "at": at})
    assert status(tmp_path, NOW).seconds_left == left


def test_the_sweep_tells_what_is_left_in_its_own_plan_and_in_no_other(tmp_path):
    tell_plan(tmp_path, [["a=1"], ["a=2"]])
    telling(tmp_path)(7.5)
    told = json.loads((tmp_path / "progress.json").read_text())
    assert (told["planned"], told["jobs"], told["left"]["seconds"]) == (2, ["a=1", "a=2"], 7.5)
    (tmp_path / "progress.json").write_text(json.dumps(told | {"process": "elsewhere.1"}))
    telling(tmp_path)(1.0)
    assert json.loads((tmp_path / "progress.json").read_text())["left"]["seconds"] == 7.5
    telling(tmp_path / "nowhere")(1.0)  # of a search, which has no plan
    assert not (tmp_path / "nowhere").exists()


def test_a_slow_sweep_is_not_stalled_as_long_as_a_quick_one(tmp_path):
    made = [job(tmp_path, 1.0, 1.0, 0.5, 3000.0)]
    plan(tmp_path, [*made, "privacy.epsilon=2"], 3000.0 + 3600.0)  # an hour a job
    assert status(tmp_path, NOW).state == "running"


def test_a_failure_lacks_a_result_and_is_named(sweep, capsys):
    folder, made = sweep
    plan(folder, [*made, "privacy.epsilon=2"])
    fail(folder / "2", "privacy.epsilon=2")
    found = status(folder)
    assert (found.state, found.failed, found.failures) == ("incomplete", 1, ["privacy.epsilon=2: no luck."])
    assert told(folder, capsys)[0] == 1


def test_a_folder_that_tells_no_plan_and_one_above_several_are_read(sweep, tmp_path, capsys):
    (sweep[0] / "progress.json").unlink()
    found = status(sweep[0])
    assert (found.state, found.planned, found.finished, found.seconds_left) == ("complete", None, 4, None)
    plan(sweep[0], sweep[1])
    other = tmp_path / "other"
    made = [job(other, 1.0, 1.0, 0.5, experiment="other")]
    plan(other, [*made, "privacy.epsilon=3"], process=this_process())
    found = status(tmp_path)
    assert (found.state, found.planned, found.finished) == ("running", 6, 5)
    assert {best.family.partition(",")[0] for best in found.best} == {"mine", "other"}
    assert told(tmp_path, capsys)[0] == 3


def test_families_that_differ_in_what_epsilon_means_have_headings_of_their_own(tmp_path, capsys):
    for name, told in (("a", {}), ("b", {"delta": 1e-3}), ("c", {"adjacency": "replace_one"})):
        job(tmp_path / name, 1.0, 1.0, 0.5, **told)
    lines = told_lines(tmp_path, capsys)
    heads = [line for line in lines if line.startswith("  mine")]
    assert len(set(heads)) == len(heads) == 3
    assert any("δ=0.001" in line for line in heads)
    assert any("replace_one" in line for line in heads)


def test_an_empty_folder_lacks_all(tmp_path, capsys):
    assert status(tmp_path).state == "incomplete"
    code, out, _ = told(tmp_path, capsys)
    assert (code, out.splitlines()[1]) == (1, "  0 jobs finished, 0 failed")


def test_what_cannot_be_read_is_named(sweep):
    folder = sweep[0]
    (folder / "torn").mkdir()
    (folder / "torn" / "result.json").write_text("{")
    found = status(folder)
    assert found.state == "incomplete"
    assert "torn" in found.unreadable[0]


def told(folder: Path, capsys, *words: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as stop:
        dpjax_main(["status", str(folder), *words])
    assert isinstance(stop.value.code, int)
    return stop.value.code, *capsys.readouterr()


def told_lines(folder: Path, capsys) -> list[str]:
    return told(folder, capsys)[1].splitlines()


def test_the_command_says_it_in_lines(sweep, capsys):
    folder, _ = sweep
    (folder / "results.json").write_text("{}")
    job(folder, math.inf, math.inf, 0.9, epsilon_pld=math.inf)
    code, out, err = told(folder, capsys)
    lines = out.splitlines()
    assert (code, err) == (0, "")
    assert lines[0].startswith(f"{folder}: complete, last change ")
    assert lines[1:] == [
        "  4 of 4 planned jobs finished, 0 failed",
        "Best of each ε so far, by test accuracy (this choice is not accounted):",
        "  mine, digits, mlp, per example",
        "    ε=1 (0.999 PLD)  0.535 ± 0.007  privacy.epsilon=1 privacy.clip_norm=1",
        "    ε=8 (8 PLD)  0.675 ± 0.007  privacy.epsilon=8 privacy.clip_norm=1",
        "    ε=∞  0.905 ± 0.007  privacy.epsilon=inf privacy.clip_norm=inf",
        f"Results: {folder / 'results.json'}",
    ]


def test_the_command_says_it_as_json(sweep, capsys):
    folder, _ = sweep
    job(folder, math.inf, math.inf, 0.9, epsilon_pld=math.inf)
    code, out, _ = told(folder, capsys, "--json")
    document = json.loads(out, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert (code, document["state"], document["finished"], document["results"]) == (0, "complete", 4, str(folder))
    assert [best["epsilon"] for best in document["best"]] == [1.0, 8.0, "inf"]


def test_help_says_what_the_exit_status_means(capsys):
    with pytest.raises(SystemExit):
        dpjax_main(["status", "--help"])
    out = " ".join(capsys.readouterr().out.split())
    assert "exit status is 0 when all planned jobs have a result, 1 when" in out
    assert "and 3 while the sweep runs" in out


def test_a_run_that_is_kept_is_running_while_its_process_lives_and_stopped_then(tmp_path):
    states = tmp_path / "run" / "checkpoints"
    (states / "seed-0" / "5").mkdir(parents=True)
    (states / "seed-0.lock").write_text(this_process())
    found = status(tmp_path, NOW)
    assert found.state == "running"
    assert "under way" in found.notes[0]
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    (states / "seed-0.lock").write_text(f"{MACHINE}.{ended.pid}")
    found = status(tmp_path, NOW)
    assert found.state == "stopped"
    assert "was stopped and is kept on the way" in found.notes[0]


def test_the_process_that_keeps_a_run_says_so(tmp_path):
    kept = Checkpoints(tmp_path / "checkpoints" / "seed-0", {"a": "b"})
    kept.save(1, {"w": jnp.zeros(2)})
    assert status(tmp_path, NOW).state == "running"
    kept.close()
    assert status(tmp_path, NOW).state == "stopped"
