"""The two rounds of a task: every method tries its settings, then each one's best is run anew with other seeds."""

import json
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from dpjax.results import ResultsError, collect
from experiments.leaderboard.declare import Method, Protocol, Task

TUNING, REPORTED = "tuning", "reported"
"""Folders of the two rounds."""


def run_task(task: Task, methods: Sequence[Method], protocol: Protocol, folder: Path) -> int:
    """Both rounds of a task. Finished jobs are skipped, so the same call goes on where it was stopped.

    Args:
      task: what is learnt.
      methods: those for its setting.
      protocol: what each gets.
      folder: of the results; the rounds' folders are made in it.

    Returns:
      The exit status: 0 if every run of both rounds is on disk.
    """
    shared = {**task.overrides, "data.validation": protocol.validation, "optimizer.evaluate_every": _steps(task)}
    tried = [grid for method in methods for grid in _grids(method, shared, protocol.epsilons)]
    status = _sweep(task.name, tried, folder / TUNING, seed=protocol.tuning_seed, num_seeds=1)
    try:
        chosen = best_settings(collect(folder / TUNING / f"leaderboard_{task.name}"), methods)
    except ResultsError as error:
        print(f"{task.name}: {error}", file=sys.stderr)
        return status or 1
    grids = [
        {**shared, **method.overrides, **setting, "privacy.epsilon": epsilon, "method": method.name}
        if method.private
        else {**shared, **method.overrides, **setting, "method": method.name}
        for method, epsilon, setting in chosen
    ]
    return _sweep(task.name, grids, folder / REPORTED, seed=0, num_seeds=protocol.seeds) or status


def best_settings(frame: Any, methods: Iterable[Method]) -> list[tuple[Method, float, dict[str, Any]]]:
    """The setting of each method and ε that did best on the rows held out.

    Formal guarantees: the test set is not looked at. Of settings that are equally accurate, the one of lower loss is
    taken.

    Args:
      frame: of the tuning round.
      methods: in the order that is given back.

    Raises:
      ResultsError: no run was judged.
    """
    judged: Any = frame[frame["validation_accuracy"].notna()]
    if not len(judged):
        raise ResultsError("no run of the tuning round has a validation_accuracy: see what failed above")
    order = judged.sort_values(["validation_accuracy", "validation_loss"], ascending=[False, True], kind="stable")
    chosen = []
    for method in methods:
        best: dict[float, dict[str, Any]] = {}
        for row in order[order["method"] == method.name].to_dict("records"):
            config = json.loads(row["config"])
            setting = {name: field_of(config, name) for name in method.tuned}
            if method.tries(setting):  # what an older declaration tried has no say
                best.setdefault(float(row["epsilon"]), setting)
        chosen += [(method, epsilon, best[epsilon]) for epsilon in sorted(best)]
    return chosen


def _grids(method: Method, shared: dict[str, Any], epsilons: Sequence[float]) -> list[dict[str, Any]]:
    budget = {"privacy.epsilon": ",".join(f"{epsilon:g}" for epsilon in epsilons)} if method.private else {}
    return [{**shared, **method.overrides, **grid, **budget, "method": method.name} for grid in method.tune]


def _sweep(name: str, grids: Sequence[dict[str, Any]], folder: Path, *, seed: int, num_seeds: int) -> int:
    command = [sys.executable, "-m", "experiments.run", "-m", "experiment=leaderboard", f"task={name}"]
    command += [
        f"results_dir={folder}",
        f"seed={seed}",
        f"num_seeds={num_seeds}",
        "figures=false",
        "hydra.sweeper.reference=false",
    ]
    command.append(f"hydra.sweeper.grids=[{','.join(_written(grid) for grid in grids)}]")
    return subprocess.run(command, check=False, stdout=subprocess.DEVNULL).returncode


def _written(grid: dict[str, Any]) -> str:
    """A mapping in Hydra's grammar; values are quoted, so that commas stay in them."""
    return "{" + ",".join(f"{name}:'{_value(value)}'" for name, value in grid.items()) + "}"


def _value(value: Any) -> str:
    words = {None: "null", True: "true", False: "false"}
    return str(words[value]) if value is None or isinstance(value, bool) else str(value)


def field_of(config: dict[str, Any], path: str) -> Any:
    """The value of a field in a config that was written out.

    >>> field_of({"privacy": {"epsilon": 1.0}}, "privacy.epsilon")
    1.0
    """
    for part in path.split("."):
        config = config[part]
    return config


def _steps(task: Task) -> Any:
    return task.overrides.get("optimizer.num_steps", 100)
