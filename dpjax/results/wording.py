"""How a table says a column's name, a mean, a cell and what went wrong: the same words in every output."""

import math
from typing import Any

import pandas as pd

from dpjax.results.claims import number, rounded_up, small, told_epsilon
from dpjax.results.schema import SCHEMA


def mean_and_std(mean: float | int, std: float | int) -> str:
    """A mean and its spread over seeds, to the digits that accuracies and losses are compared at.

    Args:
      mean: any float; missing gives a dash.
      std: its standard deviation; missing (a single seed) is left out.

    Example:
      >>> mean_and_std(0.9534, 0.0041), mean_and_std(0.9534, float("nan")), mean_and_std(float("nan"), 0.0)
      ('0.953 ± 0.004', '0.953', '–')
      >>> mean_and_std(1.69e18, 1.5e17)
      '1.69e18 ± 1.5e17'
      >>> mean_and_std(1.25e-7, 2e-9), mean_and_std(0.0, 0.0)
      ('1.25e-7 ± 2e-9', '0.000 ± 0.000')
    """
    if math.isnan(mean):
        return "–"
    if abs(mean) >= 1e6:
        return " ± ".join(small(float(f"{x:.3g}")) for x in (mean, std) if not math.isnan(x))
    if 0 < abs(mean) < 5e-4:  # of an error in a unit that is large for it
        return " ± ".join(small(float(f"{x:.3g}")) for x in (mean, std) if not math.isnan(x))
    digits = 3 if abs(mean) < 100 else 0
    spread = "" if math.isnan(std) else f" ± {std:.{digits}f}"
    return f"{mean:.{digits}f}{spread}"


def with_told_epsilon(frame: pd.DataFrame) -> pd.DataFrame:
    """Rows whose ε are those that a table tells, so that two which read the same are one value of it.

    Args:
      frame: of rows or of points.

    Example:
      >>> with_told_epsilon(pd.DataFrame({"epsilon": [2.5806, 2.5899, 1.0]}))["epsilon"].tolist()
      [2.59, 2.59, 1.0]
    """
    known: Any = frame["epsilon"]
    return frame.assign(epsilon=known.map(told_epsilon, na_action="ignore"))


def label(column: str) -> str:
    """A column's name in words.

    Args:
      column: name of a column.

    Example:
      >>> label("test_accuracy"), label("epsilon_pld")
      ('test accuracy', 'ε PLD')
    """
    return _WORDS.get(column, column.replace("_", " "))


_WORDS = {
    "epsilon": "ε",
    "epsilon_pld": "ε PLD",
    "epsilon_rdp": "ε RDP",
    "delta": "δ",
    "test_auroc": "test AUROC",
    "test_auprc": "test AUPRC",
    "test_f1": "test F1",
    "test_r2": "test R²",
    "test_mae": "test MAE",
    "test_rmse": "test RMSE",
    "train_r2": "train R²",
    "validation_r2": "validation R²",
    "noise_multiplier": "noise mult.",
    "clip_norm": "clip norm",
    "clients_per_round": "clients",
    "wall_seconds": "seconds",
    "overflow_count": "overflow",
    "rejected_count": "rejected",
    "dropped_count": "dropped",
    "aborted_count": "aborted",
    "wrapped_count": "wrapped",
    "trained_parameters": "parameters",
    "epoch_seconds": "s / epoch",
    "tokens_per_second": "tokens / s",
    "peak_memory_mib": "MiB",
    "uplink_bytes": "bytes up",
    "records_per_unit": "rows kept",
}
ROUNDED_UP = ("epsilon_pld", "epsilon_rdp")
"""Columns that are claims: never told smaller than they are."""


def diverged_runs(diverged: int, runs: int) -> str:
    """What a table or a figure says of runs that ended in numbers that are not finite.

    Args:
      diverged: how many did.
      runs: of how many.

    Example:
      >>> diverged_runs(2, 9)
      '2 of 9 runs diverged (their answers count as wrong, they have no loss)'
    """
    return f"{diverged} of {runs} runs diverged (their answers count as wrong, they have no loss)"


def cell_text(point: dict[str, Any], name: str) -> str:
    """What a point says in a column, in as few signs as tell it; a dash where it says nothing.

    Args:
      point: a row of ``summary``.
      name: the column.

    Example:
      >>> cell_text({"accountant": "pld"}, "accountant"), cell_text({"clip_norm": 0.10}, "clip_norm")
      ('PLD', '0.1')
    """
    of_words = name in SCHEMA and SCHEMA[name].dtype in ("str", "bool")
    if of_words or isinstance(point[name], str) or pd.api.types.is_bool(point[name]):
        cell = "–" if pd.isna(point[name]) else str(point[name])
        return cell.upper() if name == "accountant" else cell
    value = number(point, name)
    if value is None:
        return "–"
    if name in ROUNDED_UP:
        return rounded_up(value)
    if name == "epsilon":
        return small(told_epsilon(value))
    if name == "trained_parameters":
        return f"{value:,.0f}"
    return small(float(f"{value:.3g}") if name == "noise_multiplier" else value)
