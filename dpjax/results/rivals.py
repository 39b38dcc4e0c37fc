"""Which points may be compared, and which of them are best: one rule for tables, figures and reports."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from dpjax.results.schema import lower_is_better

SUBJECT = ("experiment", "dataset", "split", "model", "unit", "partition")

FAMILY: tuple[str, ...] = (*SUBJECT, "adjacency", "sampling", "delta")
"""Columns that rows must share before it makes sense to compare their accuracy at one ε."""

_WAYS = ("model",)
"""Those of them that are a way to the same task: who lays them out side by side asks which is best."""


def rivals_share(laid_out: Sequence[str] = ()) -> list[str]:
    """Columns that points share where one of them is the best; whoever named an experiment says nothing of it.

    Args:
      laid_out: columns that a reader chose to see side by side.

    Example:
      >>> set(rivals_share()) - set(rivals_share(["model", "dataset"]))
      {'model'}
    """
    shared = (*FAMILY[1:], "epsilon")
    return [name for name in shared if name not in _WAYS or name not in laid_out]


def best_of_each(points: Any, metric: str) -> pd.Series:
    """Whether each point has the best mean of its family and ε: all do that equal it.

    Formal guarantees: a point of which a run diverged, or whose mean is not finite, is the best only where all are
    such.

    Args:
      points: rows of a summary.
      metric: the column.

    Example:
      >>> points = pd.DataFrame({"epsilon": [1, 1, 1], "diverged": 0, "test_accuracy_mean": [0.9, 0.8, 0.9]})
      >>> best_of_each(points.assign(**dict.fromkeys(FAMILY, "")), "test_accuracy").tolist()
      [True, False, True]
    """
    score = points[f"{metric}_mean"] * (-1 if lower_is_better(metric) else 1)
    rivals = [points[name] for name in (*FAMILY, "epsilon")]
    finished = ((points["diverged"] == 0) & np.isfinite(points[f"{metric}_mean"])).astype(float)
    score = score.where(finished == finished.groupby(rivals, dropna=False).transform("max"))
    top = score.groupby(rivals, dropna=False).transform("max")
    return (score == top) & score.notna()
