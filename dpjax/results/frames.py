"""Rows as a data frame in the columns, types and order of the schema."""

from typing import Any

import numpy as np
import pandas as pd

from dpjax.results.columns import COLUMNS
from dpjax.results.schema import METRICS, SCHEMA

PANDAS = {"str": "str", "json": "str", "int": "Int64", "float": "float64", "bool": "boolean"}
ORDER = [
    "experiment",
    "dataset",
    "model",
    "unit",
    "partition",
    "num_clients",
    "clients_per_round",
    "epsilon",
    "clip_norm",
    "learning_rate",
]
"""Columns that rows are sorted by, the seed after them."""


def frame_of(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """Rows as a data frame in the schema's columns, dtypes and order.

    Args:
      rows: one mapping per (point, seed), from column name to value.

    Example:
      >>> frame_of([{"seed": 1, "epsilon": 2.0}, {"seed": 0, "epsilon": 2.0, "note": "x"}])[["seed", "note"]].values
      array([[0, 'x'],
             [1, nan]], dtype=object)
    """
    unknown = list(dict.fromkeys(name for row in rows for name in row if name not in SCHEMA))
    rows = [row if row.get("diverged") is not None else row | {"diverged": _seems_diverged(row)} for row in rows]
    data = {
        column.name: pd.Series([row.get(column.name) for row in rows], dtype=PANDAS.get(column.dtype, "object"))
        for column in COLUMNS
    }
    data |= {name: pd.Series([row.get(name) for row in rows]) for name in unknown}
    return in_order(data)


def in_order(data: dict[str, pd.Series]) -> pd.DataFrame:
    """Columns as a data frame whose rows are in the order of ``ORDER``.

    Args:
      data: column by name, all of one length.
    """
    frame = pd.DataFrame(data)
    keys: Any = frame[[*ORDER, "seed"]]
    keys = keys.sort_values([*ORDER, "seed"], kind="stable", na_position="first")
    if not (keys.index == frame.index).all():  # a table that was written in order is not copied, with all its texts
        frame = frame.loc[keys.index].reset_index(drop=True)
    frame.attrs |= {"unreadable": [], "refused": []}
    return frame


def _seems_diverged(row: dict[str, Any]) -> bool | None:
    """Of a row from before there was the column: whether one of its metrics is no finite number; None: nothing says."""
    numbers = [value for name in METRICS if isinstance(value := row.get(name), float)]
    return True if not np.isfinite(numbers).all() else None
