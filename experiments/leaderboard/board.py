"""The leaderboard: per task and ε, each method's accuracy over seeds, its rank, and what it cost."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from dpjax.results import ResultsError, collect
from dpjax.results.summarize import latest_runs
from experiments.leaderboard.declare import Method, Task
from experiments.leaderboard.rounds import REPORTED

COLUMNS = (
    "task",
    "domain",
    "setting",
    "unit",
    "adjacency",
    "epsilon",
    "delta",
    "method",
    "mean",
    "std",
    "seeds",
    "rank",
    "gradients",
    "seconds",
)


def leaderboard(frame: Any, tasks: Mapping[str, Task], methods: Mapping[str, Method]) -> pd.DataFrame:
    """One row per task, ε and method, best first.

    Formal guarantees: ranks compare methods of one task at one ε; ``gradients`` counts the contributions that a run
    computes, which does not depend on the machine, as ``seconds`` does.

    Args:
      frame: of reported runs; those of the tuning round have no place in it.
      tasks, methods: what was declared.

    Raises:
      ResultsError: runs of several settings, as after a change of what is declared.
    """
    rows = []
    for (experiment, method, epsilon), runs in latest_runs(frame).groupby(
        ["experiment", "method", "epsilon"], sort=False
    ):
        task = experiment.removeprefix("leaderboard_")
        if task not in tasks or method not in methods:
            continue
        if len(runs[["config_hash", "code", "inputs"]].drop_duplicates()) > 1:
            raise ResultsError(
                f"{method} was reported on {task} at ε={epsilon:g} with several settings, of before and after its "
                "declaration or its code changed: delete the task's folder below 'reported' and run it again"
            )
        first = runs.iloc[0]
        accuracies = runs["test_accuracy"].fillna(0.0)  # a run that diverged is right about nothing
        steps = first["num_steps"] * first["sampling_rate"] * first["population"]
        rows.append(
            {
                "task": task,
                "domain": tasks[task].domain,
                "setting": tasks[task].setting,
                "unit": first["unit"],
                "adjacency": first["adjacency"],
                "epsilon": epsilon,
                "delta": first["delta"],
                "method": method,
                "mean": accuracies.mean(),
                "std": accuracies.std(ddof=1),
                "seeds": len(runs),
                "gradients": round(steps),
                "seconds": runs["wall_seconds"].median(),
            }
        )
    board: Any = pd.DataFrame(rows)
    board["rank"] = board.groupby(["task", "epsilon"])["mean"].rank(ascending=False, method="min").astype(int)
    order = {name: place for place, name in enumerate(tasks)}
    board["place"] = board["task"].map(order)
    board = board.sort_values(["place", "epsilon", "rank", "method"], kind="stable", ignore_index=True)
    return board[list(COLUMNS)]


def reported(folder: Path) -> Any:
    """The rows that the table is made of, from the folder of the results.

    Args:
      folder: what ``rounds`` wrote to.

    Raises:
      ResultsError: there are none.
    """
    frame = collect(folder / REPORTED)
    if not len(frame):
        raise ResultsError(f"nothing is reported below {folder}: run `python -m experiments.leaderboard run` first")
    return frame
