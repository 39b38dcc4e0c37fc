"""wandb is a sink: silent, quick, below the sweep's folder, and not there when it is off."""

import json
import math
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from dpjax.results import COLUMNS, write_job_result
from dpjax.results.sharing import SHARED
from experiments import tracking
from experiments.config import Config, GovernanceConf, TrackerConf

ROWS = [
    {
        "experiment": "quickstart",
        "config_hash": "abc",
        "overrides": "privacy.epsilon=1",
        "seed": seed,
        "unit": "example",
        "dataset": "digits",
        "epsilon": epsilon,
        "epsilon_pld": epsilon,
        "delta": 1e-5,
        "clip_norm": math.inf,
        "test_accuracy": 0.9,
        "eval_steps": [10, 20],
        "eval_test_accuracy": [0.5, 0.9],
        "eval_test_loss": [2.0, 0.4],
        "train_loss_curve": [2.1, 0.3],
        "timestamp": "2026-01-01T00:00:00+00:00",
    }
    for seed, epsilon in ((0, 1.0), (1, math.inf))
]


def config(**options: Any) -> Any:
    return Config(experiment="quickstart", tracker=TrackerConf(name="wandb", **options))


@pytest.fixture(autouse=True)
def _no_account(monkeypatch, tmp_path_factory):
    for name in ("WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE", "WANDB_MODE", "WANDB_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path_factory.mktemp("home") / "netrc"))


class FakeRun:
    def __init__(self, arguments: dict[str, Any]) -> None:
        self.arguments, self.logged, self.summary, self.finished = arguments, [], {}, False

    def log(self, values: dict[str, Any], step: int | None = None) -> None:
        self.logged.append((step, values))

    def finish(self) -> None:
        self.finished = True


@pytest.fixture
def fake(monkeypatch):
    """wandb as far as the sink sees it, keeping what it was told."""
    runs: list[FakeRun] = []

    def init(**arguments):
        runs.append(FakeRun(arguments))
        return runs[-1]

    module = SimpleNamespace(
        init=init,
        runs=runs,
        Settings=lambda **settings: settings,
        Table=lambda **table: table,
        Image=lambda path: f"image {path}",
    )
    monkeypatch.setitem(sys.modules, "wandb", module)
    return module


def test_off_imports_nothing_of_wandb():
    code = (
        "import sys; from experiments.config import Config, TrackerConf; from experiments.tracking import tracker\n"
        "for conf in (TrackerConf('none'), TrackerConf('wandb', mode='disabled'), TrackerConf()):\n"
        "    sink = tracker(Config(tracker=conf), '/nowhere'); sink.log_job(Config(), [{}]); sink.finish()\n"
        "assert not [name for name in sys.modules if name.startswith('wandb')]"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_one_run_per_row_grouped_with_curve_and_summary(fake, tmp_path):
    sink = tracking.tracker(config(entity="team"), tmp_path)
    sink.log_job(Config(seed=7), ROWS)
    sink.finish(figures=[tmp_path / "curve.png", tmp_path / "curve.pdf"])
    first, second, last = fake.runs
    assert all(run.finished for run in fake.runs)
    assert {run.arguments["group"] for run in fake.runs} == {"quickstart"}
    assert {run.arguments["dir"] for run in fake.runs} == {str(tmp_path)}
    assert len({run.arguments["id"] for run in fake.runs}) == 3
    assert first.arguments["config"]["privacy"]["epsilon"] == 1.0
    assert [run.arguments["config"]["seed"] for run in (first, second)] == [0, 1]
    assert first.arguments["tags"] == ["digits", "example"]
    assert first.arguments["project"] == "dpjax"
    assert first.arguments["entity"] == "team"
    assert first.logged[1] == (
        20,
        {"step": 20, "eval/test_accuracy": 0.9, "eval/test_loss": 0.4, "eval/train_loss": 0.3},
    )
    assert first.summary["test_accuracy"] == 0.9
    assert first.summary["claim"].startswith("(ε=1 PLD, δ=1e-5)-DP per example")
    assert second.summary["claim"].startswith("not private")
    table = last.logged[0][1]["results"]
    column = table["columns"].index("epsilon")
    assert [row[column] for row in table["data"]] == [1.0, "inf"]
    json.dumps(table["data"], allow_nan=False)
    assert last.logged[1][1] == {"figures/curve": f"image {tmp_path / 'curve.png'}"}


TOLD = """
experiment method config_hash overrides seed dataset model loss hidden tuning dtype checkpoint trained_parameters
max_length unit records_per_unit split released release_noise_multiplier release_delta adjacency sampling sampling_rate
num_steps overflow_probability abort_probability epsilon delta accountant epsilon_pld epsilon_rdp tuning_accounted
noise_multiplier noise noise_dimension noise_levels noise_shares secret_cohorts epsilon_per_report noise_cohort_size
ledger ledger_run clip_norm final_clip_norm clipping optimizer momentum plugin learning_rate clients_per_round
num_clients partition algorithm aggregation robust corruption compression wall_seconds compile_seconds device
git_revision dpjax_version jax_version python_version timestamp code
"""
"""Whoever adds to this has thought about whether it was computed without noise from rows that a budget protects."""


def _sentinel(number: int, dtype: str):
    """A cell that is in no other column."""
    value = 700_000 + number
    return {
        "str": f"told{value}",
        "json": f'"told{value}"',
        "int": value,
        "float": float(value),
        "bool": True,
        "floats": [float(value)],
        "ints": [value],
    }[dtype]


@pytest.mark.parametrize("adjacency", ["zero_out", "add_or_remove_one"])
def test_of_data_with_a_budget_a_tracker_gets_what_is_on_the_list_and_nothing_else(fake, tmp_path, capsys, adjacency):
    whole = {column.name: _sentinel(i, column.dtype) for i, column in enumerate(COLUMNS)}
    whole |= {"adjacency": adjacency, "my_own_score": "told799999", "learnt": "range of age"}
    whole |= {"overrides": "a=1 governance.ledger=postgresql://ana:hunter2@db/l b=2"}
    cfg = replace(config(mode="offline"), governance=GovernanceConf("local", "postgresql://ana:hunter2@db/l"))
    sink = tracking.tracker(cfg, tmp_path)
    sink.log_job(cfg, [whole], figures=[tmp_path / "curve.png"])
    sink.finish(figures=[tmp_path / "curve.png"])
    told = set(TOLD.split()) | ({"population", "num_units", "capacity"} if adjacency == "zero_out" else set())
    row, table = fake.runs
    assert row.logged == []  # neither a curve nor a figure
    assert row.summary.keys() == told | {"claim"}
    [(_, logged)] = table.logged
    assert set(logged["results"]["columns"]) == told | {"claim"}
    everything = repr([(run.arguments, run.logged, run.summary) for run in fake.runs])
    held_back = [i for i, column in enumerate(COLUMNS) if column.name not in told and column.dtype != "bool"]
    assert len(held_back) > 40
    assert [i for i in (*held_back, 99_999) if str(700_000 + i) in everything] == []
    assert "hunter2" not in everything
    assert "NOT private: range of age" in row.summary["claim"]
    assert capsys.readouterr().err.count("no metric and no figure") == 1


def test_the_list_has_no_column_that_is_called_not_private_but_a_time():
    assert set(TOLD.split()) == SHARED
    unprotected = {column.name for column in COLUMNS if "NOT private" in column.meaning}
    assert SHARED & unprotected == {"wall_seconds"}
    assert not any(
        name.startswith(("test_", "train_", "validation_", "eval_", "norm_"))
        for name in SHARED - {"trained_parameters"}
    )
    assert {column.name for column in COLUMNS} >= SHARED


def test_figures_that_may_show_data_with_a_budget_stay(fake, tmp_path):
    write_job_result(tmp_path / "before", [ROWS[0] | {"ledger_run": "5e1f"}], "d")
    sink = tracking.tracker(config(mode="offline"), tmp_path)
    sink.log_job(config(), ROWS)
    sink.finish(figures=[tmp_path / "curve.png"])
    assert "curve" not in repr([run.logged for run in fake.runs])
    assert fake.runs[0].summary["test_accuracy"] == 0.9  # of data without a budget


@pytest.mark.parametrize("account", ["key", "netrc", None])
def test_without_an_account_runs_stay_offline_and_one_line_says_so(fake, tmp_path, monkeypatch, capsys, account):
    if account == "key":
        monkeypatch.setenv("WANDB_API_KEY", "x" * 40)
    if account == "netrc":
        (tmp_path / "netrc").write_text(f"machine api.wandb.ai login user password {'x' * 40}\n")
        monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    sink = tracking.tracker(config(mode=None), tmp_path)
    sink.log_job(Config(), ROWS[:1])
    assert fake.runs[0].arguments["mode"] == ("online" if account else "offline")
    out, err = capsys.readouterr()
    assert out == ""
    assert len(err.splitlines()) == (0 if account else 1)
    if account is None:
        assert "wandb sync" in err


def test_online_without_an_account_is_one_sentence(fake, tmp_path):
    with pytest.raises(tracking.TrackerError, match=r"run `wandb login`, or use tracker\.mode=offline"):
        tracking.tracker(config(mode="online"), tmp_path)


def test_a_run_that_cannot_start_is_one_sentence(fake, tmp_path):
    def refuse(**arguments):
        raise RuntimeError("no route to host\nand more")

    fake.init = refuse
    sink = tracking.tracker(config(mode="offline"), tmp_path)
    with pytest.raises(
        tracking.TrackerError, match=r"^wandb could not start a run \(no route to host\); results are on"
    ):
        sink.log_job(Config(), ROWS)


def test_wandb_missing_names_the_fix(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(tracking.TrackerError, match="uv run --extra wandb"):
        tracking.tracker(config(), tmp_path)


def test_the_real_thing_offline_is_silent_quick_and_logs_nothing_twice(tmp_path, capfd):
    pytest.importorskip("wandb")
    picture = tmp_path / "curve.png"
    _tiny_png(picture)
    for _ in range(2):
        sink = tracking.tracker(config(mode="offline"), tmp_path)
        sink.log_job(config(), ROWS)
        sink.log_job(config(), [row | {"config_hash": "def"} for row in ROWS])
        start = time.perf_counter()
        sink.log_job(config(), [row | {"config_hash": "ghi"} for row in ROWS])
        assert time.perf_counter() - start < 5  # measured: 0.02 s a run; minutes were the thing to rule out
        sink.finish(figures=[picture])
    runs = sorted((tmp_path / "wandb").glob("offline-run-*"))
    assert len(runs) == 3 * len(ROWS) + 1
    assert all(any(run.glob("*.wandb")) for run in runs)
    assert list((tmp_path / "wandb").rglob("*.table.json"))
    assert list((tmp_path / "wandb").rglob("curve*.png"))
    assert capfd.readouterr() == ("", "")
    assert not (Path.cwd() / "wandb").exists()


def _tiny_png(path: Path) -> None:
    from matplotlib.figure import Figure

    Figure(figsize=(0.1, 0.1)).savefig(path)
