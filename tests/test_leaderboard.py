"""The leaderboard: what is declared can run, everybody tries as much, and only reported runs are counted."""

import dataclasses
import json
import math
from types import SimpleNamespace

import pytest
from hydra import compose, initialize_config_dir

from dpjax.accounting import Mechanism, epsilon
from dpjax.results import ResultsError
from dpjax.results.table import frame_of
from experiments import config, jobs
from experiments.border import from_hydra
from experiments.leaderboard import board, declare, rounds
from experiments.task import Job

TASKS, METHODS = declare.tasks(), declare.methods()
PAIRS = [(t, m) for t in TASKS.values() for m in METHODS.values() if t.setting in m.settings]


def overrides(task, method, tune, *more):
    fields = {**task.overrides, **method.overrides, **{k: str(v).split(",")[0] for k, v in tune.items()}}
    return [*(f"{name}={rounds._value(value)}" for name, value in fields.items()), *more]


@pytest.mark.parametrize(("task", "method"), PAIRS, ids=lambda x: x.name)
def test_every_method_composes_on_every_task_of_its_setting(task, method):
    with initialize_config_dir(str(config.CONF), version_base="1.3"):
        for tune in method.tune:
            more = ("data.validation=0.1", f"method={method.name}")
            cfg = from_hydra(compose("config", overrides(task, method, tune, *more)))
            assert math.isinf(cfg.privacy.epsilon) != method.private


@pytest.mark.parametrize("method", [m for m in METHODS.values() if "clients" in m.settings], ids=lambda m: m.name)
def test_every_federated_method_runs_two_rounds_and_is_judged(method, tmp_path, request):
    import jax

    jax.config.update("jax_numpy_dtype_promotion", "standard")  # optax leaves this promotion to jax
    request.addfinalizer(lambda: jax.config.update("jax_numpy_dtype_promotion", "strict"))
    more = ("data.validation=0.1", "optimizer.num_steps=2", "num_seeds=1", "privacy.accountant=rdp")
    with initialize_config_dir(str(config.CONF), version_base="1.3"):
        cfg = from_hydra(compose("config", overrides(TASKS["digits_clients"], method, method.tune[0], *more)))
    (outcome,) = jobs.run_group([Job(cfg, tmp_path, "")])
    assert outcome.error is None
    assert 0 <= outcome.rows[0]["validation_accuracy"] <= 1


def test_all_three_settings_and_the_domains_of_the_project_have_tasks():
    assert {task.setting for task in TASKS.values()} == set(declare.SETTINGS)
    domains = " ".join(task.domain for task in TASKS.values())
    for word in ("image", "table", "text", "medical", "financial", "legal"):
        assert word in domains


def test_a_method_that_tries_more_than_the_others_is_refused(tmp_path, monkeypatch):
    (tmp_path / "methods").mkdir()
    (tmp_path / "methods" / "greedy.yaml").write_text(
        'title: g\npaper: ""\nsettings: [records]\noverrides: {}\ntune: [{optimizer.learning_rate: "1,2,3"}]\n'
    )
    monkeypatch.setattr(declare, "FOLDER", tmp_path)
    with pytest.raises(config.ConfigError, match="greedy has 3 settings; the protocol gives every method 2"):
        declare.methods(budget=2)
    (tmp_path / "methods" / "greedy.yaml").write_text("title: g\nspeed: 3\n")
    with pytest.raises(config.ConfigError, match=r"greedy\.yaml has speed"):
        declare.methods(budget=2)


def judged(method, epsilon, rate, validation_accuracy, test_accuracy=0.5, loss=1.0):
    return {
        "method": method,
        "epsilon": epsilon,
        "seed": 100,
        "validation_accuracy": validation_accuracy,
        "validation_loss": loss,
        "test_accuracy": test_accuracy,
        "config": json.dumps({"privacy": {"clip_norm": 1.0}, "optimizer": {"learning_rate": rate}}),
    }


def test_settings_are_chosen_by_held_out_rows_and_never_by_the_test_set():
    frame = frame_of(
        [
            judged("dp_sgd", 1.0, 0.05, 0.8, test_accuracy=0.1),
            judged("dp_sgd", 1.0, 0.2, 0.7, test_accuracy=0.99),
            judged("dp_sgd", 8.0, 0.05, 0.8, loss=0.9),
            judged("dp_sgd", 8.0, 0.8, 0.8, loss=0.5),
            judged("dp_sgd", 8.0, 0.3, 0.99),  # no setting of its declaration
        ]
    )
    chosen = rounds.best_settings(frame, [METHODS["dp_sgd"]])
    found = [(epsilon, setting["optimizer.learning_rate"]) for _, epsilon, setting in chosen]
    assert found == [(1.0, 0.05), (8.0, 0.8)]


def test_ranks_compare_methods_of_one_task_at_one_epsilon():
    def row(method, epsilon, accuracy, seed):
        ran = {"num_steps": 10, "sampling_rate": 0.1, "population": 100, "wall_seconds": 1.0, "unit": "example"}
        shared = {"experiment": "leaderboard_digits", "method": method, "epsilon": epsilon, "seed": seed}
        return ran | shared | {"test_accuracy": accuracy, "delta": 1e-5, "adjacency": "zero_out"}

    rows = [row("dp_sgd", 1.0, 0.5 + s / 10, s) for s in (0, 1)] + [row("dp_adam", 1.0, 0.7, s) for s in (0, 1)]
    table = board.leaderboard(frame_of([*rows, row("dp_sgd", 8.0, 0.9, 0)]), TASKS, METHODS)
    assert table[["epsilon", "method", "rank"]].values.tolist() == [
        [1.0, "dp_adam", 1],
        [1.0, "dp_sgd", 2],
        [8.0, "dp_sgd", 1],
    ]
    assert table["mean"].tolist() == pytest.approx([0.7, 0.55, 0.9])
    assert set(table["gradients"]) == {100}


def test_both_rounds_end_to_end_and_again(main, tmp_path, monkeypatch):
    """Two methods, two steps: the reported runs are those of the chosen settings, with other seeds."""
    task = dataclasses.replace(
        TASKS["digits"], overrides=TASKS["digits"].overrides | {"optimizer.num_steps": 2, "model": "logistic"}
    )
    quick = {"privacy.accountant": "rdp"}
    some = [
        dataclasses.replace(
            METHODS[name],
            overrides=METHODS[name].overrides | (quick if METHODS[name].private else {}),
            tune=[{"optimizer.learning_rate": "0.1,1"}],
        )
        for name in ("dp_sgd", "non_private")
    ]
    protocol = dataclasses.replace(declare.protocol(), epsilons=[8.0], seeds=2)
    assert rounds.run_task(task, some, protocol, tmp_path) == 0
    frame = board.reported(tmp_path)
    assert sorted(zip(frame["method"], frame["seed"], strict=True)) == [
        ("dp_sgd", 0),
        ("dp_sgd", 1),
        ("non_private", 0),
        ("non_private", 1),
    ]
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("result.json")}
    again = []

    def here(command, **how):
        code, _, said = main(*command[3:])
        again.append(said)
        return SimpleNamespace(returncode=code)

    monkeypatch.setattr(rounds.subprocess, "run", here)
    assert rounds.run_task(task, some, protocol, tmp_path) == 0
    assert [said.count("finished before") for said in again] == [1, 1]
    assert before == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("result.json")}


def test_runs_of_several_settings_are_no_mean():
    ran = {"num_steps": 10, "sampling_rate": 0.1, "population": 100, "method": "dp_sgd", "epsilon": 1.0}
    rows = [ran | {"experiment": "leaderboard_digits", "config_hash": c, "test_accuracy": 0.5} for c in "ab"]
    with pytest.raises(ResultsError, match="dp_sgd was reported on digits at ε=1 with several settings"):
        board.leaderboard(frame_of(rows), TASKS, METHODS)


def test_what_seeds_do_not_tell_apart_from_the_best_is_marked():
    from experiments.leaderboard.pages import not_told_apart

    means = {"dp_sgd": 0.9, "dp_adam": 0.8995, "dp_ftrl": 0.8}
    noise = {"dp_sgd": 0.0, "dp_adam": 0.004, "dp_ftrl": 0.004}
    ran = {"num_steps": 10, "sampling_rate": 0.1, "population": 100, "epsilon": 1.0, "wall_seconds": 1.0}
    ran |= {"experiment": "leaderboard_digits"}
    rows = [
        ran | {"method": name, "seed": s, "test_accuracy": mean + noise[name] * (s % 3 - 1) + s / 1000}
        for name, mean in means.items()
        for s in range(6)
    ]
    frame = frame_of(rows)
    assert not_told_apart(frame, board.leaderboard(frame, TASKS, METHODS)) == {("dp_adam", 1.0)}


def some_runs(relations, reference=0.5):
    """Made-up reported runs on digits: method → its neighbouring relation."""
    ran = {"experiment": "leaderboard_digits", "dataset": "digits", "model": "mlp", "unit": "example", "num_steps": 10}
    ran |= {"sampling": "poisson", "sampling_rate": 0.1, "population": 100, "delta": 1e-5, "wall_seconds": 1.0}
    ran |= {"config": "{}"}
    private = [ran | {"method": m, "adjacency": a, "epsilon": 1.0, "test_accuracy": 0.6} for m, a in relations.items()]
    none = ran | {"method": "non_private", "epsilon": math.inf, "test_accuracy": reference}
    return frame_of([row | {"seed": seed} for row in [*private, none] for seed in range(2)])


def made(monkeypatch, *given, **more):
    from experiments.leaderboard import pages

    monkeypatch.setattr(pages, "_chosen", lambda row, method: "")
    return pages.pages(some_runs(*given, **more), "some", TASKS, METHODS)


def test_a_row_whose_relation_does_not_compare_is_marked_and_the_page_says_why(monkeypatch):
    relations = {"dp_sgd": "add_or_remove_one", "dp_ftrl": "zero_out", "dp_adam": "replace_one"}
    found = made(monkeypatch, relations)
    page, index = (" ".join(found[name].split()) for name in ("digits.md", "index.md"))
    assert "| DP-Adam† |" in page
    assert "| DP-SGD |" in page
    assert "| DP-FTRL |" in page
    assert "Every ε holds under *zero_out*: rows that state *add_or_remove_one* drew Poisson" in page
    assert "† is under *replace_one*" in page
    assert "DP-Adam† |" in index
    alike = made(monkeypatch, {"dp_sgd": "zero_out", "dp_adam": "zero_out"})["digits.md"]
    assert "Every ε is under *zero_out*." in alike
    assert "†" not in alike


@pytest.mark.parametrize("reference", [0.5, 0.7])
def test_the_index_says_how_the_reference_is_tuned_and_where_it_loses(reference, monkeypatch):
    index = made(monkeypatch, {"dp_sgd": "zero_out", "dp_adam": "zero_out"}, reference=reference)["index.md"]
    told = " ".join(index.partition("## Without privacy")[2].split())
    assert "6 settings (optimizer sgd, learning rate 0.03 or 0.3 or 3; optimizer adam" in told
    assert ("On 1 of 1 tasks" in told) == (reference < 0.6)


@pytest.mark.parametrize("accountant", ["rdp", "pld"])
def test_what_is_said_to_compare_has_one_epsilon_under_both_relations(accountant):
    from experiments.leaderboard.pages import holds_under_zero_out

    def epsilons(**fields):
        fields |= {"unit": "example", "noise_multiplier": 2.0, "num_steps": 20, "sampling_rate": 0.1}
        relations = ("zero_out", "add_or_remove_one")
        return [epsilon(Mechanism(**fields, adjacency=each), 1e-5, accountant) for each in relations]

    zeroed, removed = epsilons(sampling="poisson")
    assert zeroed == pytest.approx(removed, rel=1e-9)
    zeroed, removed = epsilons(sampling="fixed_size", population=1000)
    assert zeroed > 1.01 * removed
    assert not holds_under_zero_out({"adjacency": "add_or_remove_one", "sampling": "fixed_size"})
