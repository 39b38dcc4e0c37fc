"""A report's contents as compact JSON: column by column, each text and each curve once, curves thinned to a budget."""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dpjax.norm_bins import NORM_BIN_EDGES
from dpjax.report.cells import DIGITS, Spelt, column, raised, rounded, told_cell
from dpjax.report.config_leaves import config_leaves
from dpjax.report.contents import Contents
from dpjax.report.curve_points import KNOBS, pack_points
from dpjax.report.spent_curve import SPENT, epsilon_over_steps
from dpjax.report.sweep_state import command
from dpjax.report.thinning import thinned
from dpjax.results.claims import claim, text
from dpjax.results.distinct import Distinct, Table
from dpjax.results.failures import Failure
from dpjax.results.mishaps import COUNTED
from dpjax.results.remarks import marked
from dpjax.results.schema import METRICS, SCHEMA, bounds_of, lower_is_better
from dpjax.results.summarize import own_columns, own_metrics

_ROUNDED_UP = ("epsilon_pld", "epsilon_rdp")
_FIRST = ("sweep", "experiment", "dataset", "model", "unit", "partition", "epsilon", *KNOBS, "seed")
_FIRST += (
    "test_accuracy",
    "test_r2",
    "test_mae",
    "test_rmse",
    "test_loss",
    "validation_accuracy",
    "train_accuracy",
    "epsilon_pld",
    "wall_seconds",
)
_OWN = {"sweep": "The folder that the row comes from."}
_REDUNDANT = ("sampling_rate", "num_steps", "num_clients", "max_length")  # told by the others, in most sweeps


def pack(contents: Contents, created: str) -> dict[str, Any]:
    """A report's contents as a document that ``page.as_json`` spells and the page reads.

    Formal guarantees: numbers keep 6 significant digits, curves 4; claims are made before rounding, so that no ε is
    rounded down. A column with one value is written once. Curves longer than the budget allows keep their first and
    last evaluation and as many between as fit, and a notice says how many.

    Args:
      contents: what ``gather`` gave.
      created: when, ISO 8601.

    Example:
      >>> from dpjax.results.table import frame_of
      >>> frame = frame_of([{"seed": 0, "epsilon": 1.0, "test_accuracy": 0.9}])
      >>> packed = pack(Contents("a", frame, None, [], [], None), "2026-01-01")
      >>> packed["count"], packed["cells"]["test_accuracy"]
      (1, {'all': 0.9})
    """
    texts: dict[str, int] = {}
    scores, own = own_metrics(contents.frame), own_columns(contents.frame)
    table = Table(contents.frame)
    claims = table.each(claim)
    points = pack_points(contents.points, table, texts)
    lists, notice = thinned(table.replaced(**{SPENT: table.each(_spent)}), points.best)
    raise_of = {name: raised for name in _ROUNDED_UP if name in table.names} | {"epsilon": told_cell}
    table = table.replaced(**{name: table[name].each(function) for name, function in raise_of.items()})
    names = [str(name) for name in contents.frame.columns if name != "config"]
    cells = {name: column(table[name], texts) for name in names if name not in lists.places}
    cells |= {
        "claim": column(claims, texts),
        "command": column(table.each(_command), texts),
        "key": column(_keys(table), texts),
    }
    cells |= {name: {"l": places} for name, places in lists.places.items()}
    notices = [*contents.notices, *([notice] if notice else [])]
    metrics = [name for name in (*METRICS, *scores) if any(cell is not None for cell in table[name].cells)]
    return {
        "format": "dpjax-report",
        "version": 1,
        "name": contents.name,
        "made": created,
        "complete": contents.is_complete,
        "count": table.size,
        "notices": [each._asdict() for each in notices],
        "failures": [_failure(each) for each in contents.failures if not each.refused],
        "progress": None if contents.progress is None else {**contents.progress._asdict(), "pending": []},
        "columns": _columns(names, table, own, scores),
        "metrics": [_metric(name) for name in metrics],
        "knobs": [*KNOBS, *own],
        "edges": [rounded(edge, DIGITS) for edge in NORM_BIN_EDGES],
        "cells": cells,
        "config": config_leaves(table["config"], texts),
        **points.packed,
        "texts": list(texts),
        "lists": Spelt(f"[{','.join(lists.spelt)}]"),
    }


def _spent(row: Mapping[str, Any]) -> list[float] | None:
    steps = row.get("eval_steps")
    return epsilon_over_steps(row, steps) if steps else None


def _keys(table: Table) -> Distinct:
    """A name for each row that stays when others join it: what the page's addresses are made of."""
    seen: dict[str, int] = {}
    keys = []
    for i, (point, seed) in enumerate(zip(table["config_hash"].told(), table["seed"].told(), strict=True)):
        named = point if isinstance(point, str) else ""
        key = f"{named}-{seed}" if named and seed is not None else named or str(i + 1)
        seen[key] = seen.get(key, 0) + 1
        keys.append(key if seen[key] == 1 else f"{key}-{seen[key]}")
    return Distinct(np.arange(table.size), keys)


def _columns(names: Sequence[str], table: Table, own: list[str], scores: list[str]) -> list[dict[str, Any]]:
    """What the table knows of each column that has values and is no curve; what tells runs apart comes first."""
    columns = []
    for name in sorted(names, key=_place):
        column = SCHEMA.get(name)
        dtype = "str" if column is None else column.dtype
        if dtype in ("ints", "floats", "json") or not (values := {_key(cell) for cell in table[name].cells} - {None}):
            continue
        has_numbers = any(isinstance(cell, int | float) for cell in table[name].cells)
        facts = {
            "name": name,
            "label": marked(name),
            "unit": _unit(name),
            "meaning": column.meaning if column else _OWN.get(name, "A column of its own."),
            "numeric": dtype in ("int", "float") or (column is None and has_numbers),
            "shown": name in scores or _is_shown(name, values) or (name in own and len(values) > 1),
        }
        columns.append(facts)
    if {"sweep", "experiment"} <= set(names):
        pairs = set(zip(table["sweep"].told(), table["experiment"].told(), strict=True))
        for facts in columns:
            # Mostly the experiment is the sweep by another name.
            facts["shown"] &= facts["name"] != "experiment" or len(pairs) > len({sweep for sweep, _ in pairs})
    return columns


def _place(name: str) -> int:
    return _FIRST.index(name) if name in _FIRST else len(_FIRST)


def _is_shown(name: str, values: set[Any]) -> bool:
    if name in ("epsilon", "test_accuracy", "test_r2", "test_mae", "test_rmse", "test_loss"):
        return True
    if name in COUNTED:
        return values != {0}
    if name == "diverged":
        return True in values
    # A reference has no clip norm of its own, which alone makes no column worth its place.
    return name in _FIRST and name not in _REDUNDANT and len(values - {math.inf}) > 1


def _key(value: Any) -> Any:
    return json.dumps(value, default=str) if isinstance(value, list | dict) else value


def _metric(name: str) -> dict[str, Any]:
    bounds = [end if math.isfinite(end) else None for end in bounds_of(name)]
    return {"name": name, "label": marked(name), "lower": lower_is_better(name), "unit": _unit(name), "bounds": bounds}


def _unit(name: str) -> str:
    return SCHEMA[name].unit if name in SCHEMA else ""


def _command(row: Mapping[str, Any]) -> str | None:
    overrides = text(row, "overrides")
    return command(overrides) if overrides else None


def _failure(failure: Failure) -> dict[str, Any]:
    return {**failure._asdict(), "command": command(failure.overrides) if failure.overrides else None}
