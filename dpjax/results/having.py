"""What a table of results has, for hints that hold for it: settings that can be laid out and metrics with numbers."""

from collections.abc import Collection
from typing import Any

import pandas as pd

from dpjax.checks import nearest
from dpjax.results.errors import ResultsError
from dpjax.results.metric import metric_of
from dpjax.results.rivals import FAMILY
from dpjax.results.schema import METRICS
from dpjax.results.several import SWEEP

_FIRST = (SWEEP, "method", "algorithm", "clip_norm", "clients_per_round", "learning_rate", "tuning", "model", "dataset")


def settings_in(frame: pd.DataFrame, known: Collection[str], but: Collection[str] = ()) -> list[str]:
    """Settings that differ among the rows, those that tell most first; where none differs, those that rows state.

    Args:
      frame: the rows.
      known: settings that points have one value of, such as ``IDENTITY``.
      but: settings that are not asked for.

    Example:
      >>> settings_in(pd.DataFrame({"model": ["a", "b"], "clip_norm": [0.1, 1.0], "noise": None}), ["noise", "model",
      ...                                                                                           "clip_norm"])
      ['clip_norm', 'model']
    """
    names = [name for name in dict.fromkeys([*_FIRST, *known]) if name in frame.columns and name not in but]
    names = [name for name in names if (name in known or name == SWEEP) and name not in ("config_hash", "inputs")]
    table: Any = frame
    differing = [name for name in names if table[name].nunique() > 1]
    # A column of the family has a table for each of its values, and so is the last to come to mind.
    differing.sort(key=lambda name: name in FAMILY and name not in ("model", "dataset"))
    return differing or [name for name in names if table[name].notna().any()]


def metrics_in(frame: pd.DataFrame) -> list[str]:
    """Metrics that some row has a number of, the one that tables go by first.

    Args:
      frame: the rows.

    Example:
      >>> metrics_in(pd.DataFrame({"test_loss": [0.1], "test_accuracy": [0.9], "test_r2": [None]}))
      ['test_accuracy', 'test_loss']
    """
    table: Any = frame
    there = [name for name in METRICS if name in frame.columns and bool(table[name].notna().any())]
    return list(dict.fromkeys([*([metric_of(frame)] if there else []), *there]))


def no_column(frame: pd.DataFrame, name: str, otherwise: str = "") -> ResultsError:
    """The error of a column that rows do not have, in one wording wherever a column is named.

    Args:
      frame: the rows.
      name: that was given.
      otherwise: what to do where no column is near; empty: look at the list of them.

    Returns:
      What to raise; the nearest column is named.

    Example:
      >>> print(no_column(pd.DataFrame({"test_auroc": [0.9]}), "test_aurco"))
      there is no column test_aurco: did you mean test_auroc?
    """
    near = nearest(name, [str(column) for column in frame.columns])
    table: Any = frame
    if near and len(frame) and bool(table[near].isna().all()):  # a hint that leads from one error to the next is none
        return ResultsError(f"there is no column {name}, and {near} has no values here: {otherwise or 'name another'}")
    return ResultsError(
        f"there is no column {name}: "
        + (f"did you mean {near}?" if near else otherwise or "`dpjax results columns` lists those that there are")
    )
