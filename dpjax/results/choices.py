"""What is chosen where a chart or a table shows several points as one: the best of them, and over what."""

import math
from collections.abc import Sequence
from typing import Any

import pandas as pd

from dpjax.results.schema import lower_is_better
from dpjax.results.several import SWEEP
from dpjax.results.summarize import own_columns
from dpjax.results.wording import label

# What may differ among points of one family; what a chart does not show of these, it takes the best over.
_FREE = ("method", "clip_norm", "clipping", "clients_per_round", "num_clients", "learning_rate", "num_steps")
_FREE += (
    "sampling_rate",
    "algorithm",
    "aggregation",
    "noise",
    "noise_cohort_size",
    "optimizer",
    "hidden",
    "plugin",
    "loss",
)
_FREE += ("tuning", "robust", "corruption", "compression", "records_per_unit", "max_length", "dtype", "accountant")
_FREE += (SWEEP, "experiment", "overrides")


def best_per(points: pd.DataFrame, keys: Sequence[str], metric: str, *, finished_first: bool = False) -> pd.DataFrame:
    """The best point for each value of the keys, sorted by them.

    Args:
      points: rows of ``summary``.
      keys: the columns that are shown.
      metric: the column to compare by its mean.
      finished_first: whether a point of which a run diverged is taken only where there is no other.

    Example:
      >>> points = pd.DataFrame({"epsilon": [1, 1, 2], "test_accuracy_mean": [0.8, 0.9, 0.95]})
      >>> best_per(points, ["epsilon"], "test_accuracy")["test_accuracy_mean"].tolist()
      [0.9, 0.95]
    """
    # A mean that is no finite number is better than none, whichever way is better.
    means = points[f"{metric}_mean"]
    points = points.assign(_mean=means.where(means.abs() < math.inf))
    by, ascending = ["_mean"], [lower_is_better(metric)]
    if finished_first:
        points = points.assign(_diverged=points["diverged"] > 0)
        by, ascending = ["_diverged", *by], [True, *ascending]
    ordered: Any = points.sort_values(by, ascending=ascending, kind="stable")
    best = ordered.drop_duplicates(list(keys)).sort_values(list(keys), kind="stable", ignore_index=True)
    return best.drop(columns=["_mean", *(["_diverged"] if finished_first else [])])


def hidden_choices(points: pd.DataFrame, shown: Sequence[str]) -> list[str]:
    """What varies among points that a chart shows as one: it draws the best over these, and must say so.

    Args:
      points: rows of ``summary``.
      shown: the columns that the chart shows.

    Example:
      >>> hidden_choices(pd.DataFrame({"epsilon": [1, 1], "learning_rate": [0.1, 0.2]}), ["epsilon"])
      ['learning rate']
    """
    varied = hidden_columns(points, shown, [*_FREE, *own_columns(points)])
    if not varied and hidden_columns(points, shown, ["config_hash"]):
        return ["settings that no column tells"]
    named = [name for name in varied if name != "overrides"]
    return [label(name) for name in (named or varied)]


def hidden_columns(points: pd.DataFrame, shown: Sequence[str], free: Sequence[str]) -> list[str]:
    """Which columns vary among points that agree in those that are shown.

    Args:
      points: rows of ``summary``.
      shown: the columns that are shown.
      free: the columns that are asked about.

    Example:
      >>> hidden_columns(pd.DataFrame({"epsilon": [1, 1], "hidden": ["a", None]}), ["epsilon"], ["hidden", "noise"])
      ['hidden']
    """
    asked = [name for name in free if name in points.columns and name not in shown]
    groups: Any = points.groupby(list(shown), dropna=False)
    return [name for name in asked if (groups[name].nunique(dropna=False) > 1).any()]
