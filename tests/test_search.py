"""Searches by Optuna in batches: what they choose from, what they tell, how they go on, and what they refuse."""

import math
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from hydra.core.utils import JobReturn, JobStatus
from omegaconf import OmegaConf

from benchmarks.two_nodes import wait_for
from dpjax.results import load
from experiments.config import ConfigError
from experiments.launching import search as searching
from experiments.launching.search import search
from experiments.launching.space import Axis, make_space
from experiments.launching.study import SearchOptions, open_study
from experiments.task import Told

pytest.importorskip("optuna", reason="the extra tune is not installed")
RATE = "optimizer.learning_rate=interval(0,1)"


class Launcher:
    """Jobs whose accuracy follows from their learning rate; some fail, and it may be stopped in the middle."""

    def __init__(self, fails=(), stop_after=math.inf, spread=0.01):
        self.batches, self.fails, self.stop_after, self.spread = [], fails, stop_after, spread

    def launch(self, jobs, initial_job_idx):
        if len(self.batches) >= self.stop_after:
            raise KeyboardInterrupt
        self.batches.append(jobs)
        return [self._one(dict(word.split("=", 1) for word in job)) for job in jobs]

    def _one(self, job):
        done = JobReturn(overrides=[f"{k}={v}" for k, v in job.items()])
        if len(self.batches) in self.fails:
            done.status, done.return_value = JobStatus.FAILED, ValueError("it failed.")
            return done
        rate, seeds = float(job["optimizer.learning_rate"]), int(job.get("num_seeds", 3))
        values = [1 - (rate - 0.3) ** 2 + self.spread * (i - (seeds - 1) / 2) for i in range(seeds)]
        done.status = JobStatus.COMPLETED
        done.return_value = Told([{"test_accuracy": v, "epsilon": 8 * rate, "wall_seconds": 1.0} for v in values])
        return done


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A search with a launcher that trains nothing; what its end was asked to show."""
    import experiments.finish as finish

    shown = []
    monkeypatch.setattr(finish, "finish_sweep", lambda folder, cfg, returns: shown.append(len(returns)))
    monkeypatch.setattr(finish, "show_table", lambda folder: shown.append("table"))
    monkeypatch.setattr(searching, "as_typed", lambda cfg: cfg)

    def start(launcher, *words, **options):
        config = OmegaConf.create({"notify": "", "hydra": {"sweep": {"dir": str(tmp_path / "sweep")}}})
        context = SimpleNamespace(config_loader=None)
        sweeper = SimpleNamespace(config=config, params={}, hydra_context=context, launcher=launcher)
        search(sweeper, SearchOptions(**options), words or (RATE,))
        return shown

    return start


def trials(tmp_path, *words, **options):
    space = make_space(words or (RATE,), {})
    with open_study(tmp_path / "sweep", space, ["maximize"], SearchOptions(**options)) as study:
        return study._study.get_trials()


def states(tmp_path, **options):
    found = [trial.state.name for trial in trials(tmp_path, **options)]
    return {name: found.count(name) for name in set(found)}


@pytest.mark.parametrize(
    ("word", "axis"),
    [
        ("optimizer.learning_rate=interval(0.1,1)", Axis("float", 0.1, 1.0)),
        ("optimizer.learning_rate=tag(log,interval(0.1,1))", Axis("float", 0.1, 1.0, True)),
        ("optimizer.num_steps=interval(10,100)", Axis("int", 10, 100)),
        ("optimizer.num_steps=range(10,100,20)", Axis("int", 10, 90, step=20)),
        ("privacy.epsilon=range(0.5,2,0.5)", Axis("float", 0.5, 1.5, step=0.5)),
        ("model=mlp,cnn", Axis("choice", options=("mlp", "cnn"))),
        ("model.hidden=choice([64],[32,32])", Axis("choice", options=("[64]", "[32,32]"))),
        ("optimizer.name=sgd,adam", Axis("choice", options=("sgd", "adam"))),
    ],
)
def test_what_a_field_is_chosen_from(word, axis):
    space = make_space([word, "seed=3"], {"num_seeds": 2, "seed": 9})
    assert space.chosen == {word.partition("=")[0]: axis}
    assert sorted(space.fixed) == ["num_seeds=2", "seed=3"]  # the command line takes the place of the config


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["seed=3"], r"^a search has nothing to choose; give a field an interval"),
        (["optimizer.rate=interval(0,1)"], r"^optimizer\.rate is no field of the config"),
        (["optimizer.learning_rate=interval(1,1)"], r"has no length; give two finite numbers"),
        (["optimizer.learning_rate=tag(log,interval(0,1))"], r"can't be logarithmic; give an interval of numbers > 0"),
        (["model.name=interval(0,1)"], r"is an interval, but model\.name is no number; list its values"),
    ],
)
def test_spaces_that_cannot_be_are_refused(words, said):
    with pytest.raises(ConfigError, match=said):
        make_space(words, {})


def test_trials_come_in_batches_and_the_best_is_where_it_should_be(run, tmp_path):
    launcher = Launcher()
    assert run(launcher, n_trials=30, batch=8) == [30]
    assert [len(jobs) for jobs in launcher.batches] == [8, 8, 8, 6]
    best = max(trials(tmp_path), key=lambda trial: trial.value)
    assert abs(best.params["optimizer.learning_rate"] - 0.3) < 0.05
    assert best.value == pytest.approx(1 - (best.params["optimizer.learning_rate"] - 0.3) ** 2)


def test_a_stopped_search_goes_on_with_what_was_under_way(run, tmp_path):
    with pytest.raises(SystemExit):
        run(Launcher(stop_after=2), n_trials=24, batch=8)
    assert states(tmp_path) == {"COMPLETE": 16, "RUNNING": 8}
    left = [trial.params["optimizer.learning_rate"] for trial in trials(tmp_path)][16:]
    launcher = Launcher()
    run(launcher, n_trials=24, batch=8)
    assert launcher.batches == [[[f"optimizer.learning_rate={rate!r}"] for rate in left]]
    assert states(tmp_path) == {"COMPLETE": 24}
    idle = Launcher()
    assert run(idle, n_trials=24, batch=8)[-1] == "table"
    assert idle.batches == []
    run(idle, n_trials=28, batch=8)
    assert [len(jobs) for jobs in idle.batches] == [4]


def test_a_point_is_trained_once_however_often_it_is_drawn(run, tmp_path):
    launcher = Launcher()
    run(launcher, "optimizer.learning_rate=0.1,0.2", n_trials=12, batch=4)
    trained = [tuple(job) for jobs in launcher.batches for job in jobs]
    assert sorted(trained) == [("optimizer.learning_rate=0.1",), ("optimizer.learning_rate=0.2",)]
    assert len(trials(tmp_path, "optimizer.learning_rate=0.1,0.2")) == 12


def test_failed_points_are_told_and_the_search_goes_on(run, tmp_path):
    launcher = Launcher(fails=(2,))
    run(launcher, n_trials=32, batch=8)
    assert len(launcher.batches) == 4
    assert states(tmp_path) == {"COMPLETE": 24, "FAIL": 8}


def test_a_search_whose_first_points_all_fail_ends(run, tmp_path):
    launcher = Launcher(fails=(1, 2, 3, 4))
    run(launcher, n_trials=32, batch=8)
    assert len(launcher.batches) == 1
    assert states(tmp_path) == {"FAIL": 8}


def test_one_process_at_a_time_searches_in_a_folder(run, tmp_path):
    space = make_space([RATE], {})
    folder = tmp_path / "sweep"
    folder.mkdir()
    said = r"^another process searches in .*; wait for it, or give this one a name"
    with open_study(folder, space, ["maximize"], SearchOptions()), pytest.raises(ConfigError, match=said):
        run(Launcher(), n_trials=2)
    run(Launcher(), n_trials=2)


def test_points_far_below_the_best_lose_their_other_seeds(run, tmp_path, capsys):
    launcher = Launcher()
    run(launcher, n_trials=24, batch=8, prune=True)
    found = states(tmp_path)
    assert found["PRUNED"] > 4
    assert found["PRUNED"] + found["COMPLETE"] == 24
    assert "points can't win after one seed." in capsys.readouterr().err
    first = [len(jobs) for jobs in launcher.batches if "num_seeds=1" in jobs[0]]
    assert first == [8, 8, 8]
    wide = Launcher(spread=1.0)  # seeds that spread by more than points differ: nothing is known to lose
    search_again = lambda: run(wide, n_trials=48, batch=8, prune=True)  # noqa: E731
    search_again()
    assert states(tmp_path)["PRUNED"] >= found["PRUNED"]


def test_two_objectives_have_a_front(run, tmp_path, capsys):
    run(Launcher(), n_trials=24, batch=8, objectives=("accuracy", "epsilon"))
    assert "trials are beaten by none in accuracy and epsilon." in capsys.readouterr().out


def test_pruning_wants_a_second_seed(run):
    with pytest.raises(ConfigError, match=r"prune=true trains one seed of a point before its others"):
        run(Launcher(), RATE, "num_seeds=1", n_trials=4, prune=True)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"n_trials": 0}, r"^hydra\.sweeper\.n_trials=0 must be ≥ 1"),
        ({"batch": 0}, r"^hydra\.sweeper\.batch=0 must be ≥ 1"),
        ({"objectives": ()}, r"^hydra\.sweeper\.objectives is empty"),
        ({"objectives": ("accuracy", "epsilon"), "prune": True}, r"^hydra\.sweeper\.prune=true is of one objective"),
        ({"objectives": ("most:accuracy",)}, r"most:accuracy begins with most; write minimize: or maximize:"),
        ({"objectives": ("qqqq",)}, r"qqqq is no number of the results; there are epsilon, .* and others"),
        ({"objectives": ("test_acuracy",)}, r"test_acuracy is no column of the results; did you mean test_accuracy\?"),
        ({"sampler": "magic"}, r"^hydra\.sweeper\.sampler=magic is not known; use tpe, nsga2, random, gp"),
        (
            {"storage": "nosuch://me:secret@host/db"},
            r"^hydra\.sweeper\.storage=nosuch://…@host/db can't be used \(\w+\)",
        ),
        ({"storage": "sqlite:////nowhere/at/all/study.db"}, r"storage=sqlite:////nowhere.* can't be used"),
    ],
)
def test_options_that_cannot_be_are_refused_in_a_sentence(run, options, said):
    with pytest.raises(ConfigError, match=said) as refused:
        run(Launcher(), **({"n_trials": 2} | options))
    assert "secret" not in str(refused.value)


def test_a_study_of_another_space_is_refused(run):
    run(Launcher(), n_trials=2)
    run(Launcher(), RATE, "figures=false", "lanes=map", n_trials=4)  # which change no number
    with pytest.raises(
        ConfigError,
        match=r"^the study in this folder has other fields to choose: optimizer\.learning_rate was chosen otherw",
    ):
        run(Launcher(), "optimizer.learning_rate=interval(0,2)", n_trials=4)
    with pytest.raises(ConfigError, match=r"other fixed fields: nothing there, seed=3 here"):
        run(Launcher(), RATE, "seed=3", n_trials=4)
    with pytest.raises(ConfigError, match=r"other objectives: accuracy there, epsilon here"):
        run(Launcher(), n_trials=4, objectives=("epsilon",))


def test_a_real_search_is_killed_and_goes_on(tmp_path):
    """On digits, with two objectives, killed in its second batch; all trials end, and no ε pays for the tuning."""
    words = [sys.executable, "-m", "experiments.run", "-m", "hydra/sweeper=optuna_batched", f"results_dir={tmp_path}"]
    words += ["name=found", "num_seeds=1", "model=logistic", "figures=false", "data.validation=0.1"]
    words += ["privacy.accountant=rdp", "hydra.sweeper.objectives=[accuracy,epsilon]", "hydra.sweeper.n_trials=12"]
    words += ["hydra.sweeper.batch=4", "privacy.epsilon=tag(log,interval(0.5,8))", "optimizer.num_steps=40"]
    words += ["optimizer.learning_rate=tag(log,interval(0.05,2))"]
    first = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_for("fifth result", lambda: len(list(Path(tmp_path, "found").glob("*/result.json"))) >= 5, 120)
    first.send_signal(signal.SIGKILL)
    first.wait()
    stopped = subprocess.run(
        [Path(sys.executable).with_name("dpjax"), "status", tmp_path], capture_output=True, text=True
    )
    assert (stopped.returncode, "of 12 planned" in stopped.stdout) == (1, True), stopped.stdout
    done = subprocess.run(words, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "of 12 trials are beaten by none in accuracy and epsilon." in done.stdout
    assert "Trials 9–12 of 12." in done.stderr
    status = subprocess.run(
        [Path(sys.executable).with_name("dpjax"), "status", tmp_path], capture_output=True, text=True
    )
    assert (status.returncode, "12 of 12 planned" in status.stdout) == (0, True), status.stdout
    rows = load(tmp_path / "found")
    assert len(rows) == 12
    assert not rows["tuning_accounted"].any() if "tuning_accounted" in rows else "not accounted" in done.stdout


def test_a_search_on_a_budget_is_refused_as_scores_are_paid_for_by_nothing(main, tmp_path):
    code, _, err = main(
        *("-m", "data=breast_cancer", "hydra/sweeper=optuna_batched", "optimizer.learning_rate=interval(0.1,1)"),
        *("governance=local", f"governance.ledger={tmp_path / 'none.db'}"),
    )
    assert code == 1
    assert "a search is steered by scores on rows, which no ε covers" in err
