"""The points of a sweep for its curves: means over seeds, the runs of each, and the families that may be compared."""

import math
from typing import Any, NamedTuple

import numpy as np

from dpjax.report.cells import DIGITS, column, rounded, told_cell
from dpjax.results.claims import number, rounded_up, sampling_word, text
from dpjax.results.distinct import Table, of_cells
from dpjax.results.majority import majorities, majority_sentence
from dpjax.results.outdone import outdone_sentence
from dpjax.results.remarks import basis_sentences
from dpjax.results.rivals import FAMILY, rivals_share
from dpjax.results.schema import METRICS
from dpjax.results.summarize import IDENTITY

# What a point of a chart may be told apart by, in the order in which charts prefer it.
KNOBS = (
    "model",
    "sweep",
    "method",
    "algorithm",
    "tuning",
    "noise",
    "records_per_unit",
    "clip_norm",
    "clients_per_round",
)
KNOBS += ("clipping", "aggregation", "robust", "corruption", "compression", "learning_rate", "num_clients", "num_steps")
KNOBS += ("sampling_rate", "max_length", "optimizer", "hidden", "plugin", "experiment")
_ADOPTED = ("adjacency", "sampling", "delta")  # what a non-private point takes over from its family
_MADE_BY = ("config_hash", "overrides", "checkpoint", "git_revision", "dpjax_version", "jax_version")
_MADE_BY += ("python_version", "timestamp", "device", "code", "inputs", "config", "ledger", "ledger_run")


class PackedPoints(NamedTuple):
    """Points as the page reads them.

    Attributes:
      packed: what the document holds of them.
      best: numbers of the runs whose points are the best of their ε.
    """

    packed: dict[str, Any]
    best: list[int]


def pack_points(points: Any, table: Table, texts: dict[str, int]) -> PackedPoints:
    """Means over seeds, the runs of each, and the families that may be compared.

    Args:
      points: what ``dpjax.results.summary`` gave, or None.
      table: of the runs.
      texts: text → its place; new ones are added.

    Example:
      >>> import pandas as pd
      >>> pack_points(None, Table(pd.DataFrame()), {}).packed["families"]
      []
    """
    if points is None:
        return PackedPoints({"points": {"count": 0, "cells": {}, "runs": []}, "families": [], "tasks": []}, [])
    columns = Table(points)
    columns = columns.replaced(epsilon=columns["epsilon"].each(told_cell))
    point_rows = columns.records()
    is_one = "sweep" not in points  # of several folders, an experiment's name is but the sweep's
    shared = [name for name in FAMILY if is_one or name != "experiment"]
    families: dict[tuple[Any, ...], int] = {}
    for point in sorted(point_rows, key=lambda point: point.get("clients_per_round") is not None):  # central first
        point["family"] = families.setdefault(tuple(point.get(name) for name in shared), len(families))
        rows_each = number(point, "records_per_unit")
        if rows_each is not None and not text(point, "algorithm"):
            # The other way to protect a user, beside the algorithms that draw users.
            point["algorithm"] = f"{rows_each:.0f} row{'s' * (rows_each != 1)} each"
    tasks: dict[tuple[Any, ...], list[int]] = {}
    for values, place in families.items():
        told = [name for name in rivals_share(["model"]) if name in shared]
        of_each = dict(zip(shared, values, strict=True))
        experiment = of_each.get("experiment")
        tasks.setdefault((experiment, *(of_each[name] for name in told)), []).append(place)
    several = [places for places in tasks.values() if len(places) > 1]
    same = [name for name in (*IDENTITY, "sweep") if name not in _ADOPTED]
    owners = _runs_of(Table(points), table, same)
    best = [run for runs, is_best in zip(owners, columns["best"].told(), strict=True) if is_best for run in runs]
    several_splits = len({text(point, "split") for point in point_rows}) > 1
    left_out = {*_MADE_BY, *FAMILY, "best"} - {"overrides", "delta", "unit", *_told_apart(point_rows)}
    left_out -= {"model"} if several else set()
    names = [name for name in point_rows[0] if name not in left_out]
    anew = {name: of_cells([point.get(name) for point in point_rows]) for name in ("family", "algorithm")}
    columns = columns.replaced(**anew)
    cells = {name: column(columns[name], texts) for name in names}
    packed = {
        "points": {
            "count": len(point_rows),
            "cells": cells,
            "runs": owners,
        },
        "families": [
            _family([p for p in point_rows if p["family"] == i], is_one, several_splits) for i in families.values()
        ],
        # What differs in the model alone has charts of its own, and may be overlaid.
        "tasks": [
            {
                "families": each,
                **_family([p | {"model": None} for p in point_rows if p["family"] in each], is_one, several_splits),
            }
            for each in several
        ],
    }

    return PackedPoints(packed, best)


def _runs_of(points: Table, table: Table, same: list[str]) -> list[list[int]]:
    """The numbers of the runs of every point: those that are the same as it in some columns."""
    kinds = table.same(same)
    rows = np.split(np.argsort(kinds.codes, kind="stable"), np.cumsum(np.bincount(kinds.codes))[:-1])
    of_kind = zip(*[table[name].some(np.array(kinds.cells, int)) for name in same], strict=True)
    owners = {place: runs.tolist() for place, runs in zip(of_kind, rows, strict=True)}
    return [owners.get(place, []) for place in zip(*[points[name].told() for name in same], strict=True)]


def _told_apart(points: list[dict[str, Any]]) -> set[str]:
    """The experiment, where one folder of several holds more than one: elsewhere the sweep says it."""
    pairs = {(point["sweep"], point["experiment"]) for point in points if "sweep" in point}
    return {"experiment"} if len(pairs) > len({sweep for sweep, _ in pairs}) else set()


def _family(points: list[dict[str, Any]], is_one: bool, several_splits: bool) -> dict[str, Any]:
    first = points[0]
    unit = text(first, "unit")
    names = [text(first, name) for name in ("experiment", "dataset", "model") if is_one or name != "experiment"]
    names += [f"per {unit}" if unit else "", text(first, "partition")]
    names += [text(first, "split")] if several_splits else []
    delta = number(first, "delta")
    notes = [f"δ={rounded_up(delta, 6)}"] if delta is not None else []
    notes += [text(first, "adjacency")] if text(first, "adjacency") else []
    notes += [f"{sampling_word(text(first, 'sampling'))} sampling"] if text(first, "sampling") else []
    private = [point for point in points if point.get("epsilon") != math.inf]
    paid = bool(private) and all(str(point.get("tuning_accounted")) == "True" for point in private)
    notes.append(f"tuning {'accounted' if paid else 'not accounted'}")
    computed = [p["epsilon_pld"] for p in private if isinstance(p.get("epsilon_pld"), float)]
    notes += [f"ε computed by PLD up to {rounded_up(max(computed))}"] if computed else []
    told = [name for name in METRICS if any(number(point, f"{name}_mean") is not None for point in points)]
    notes += [line.rstrip(".") for line in basis_sentences(points, told)]
    said = {name: _read_against(points, name) for name in told}
    levels = {name: [rounded(share, DIGITS) for share in majorities(points, name)] for name in told}
    return {
        "title": ", ".join(name for name in names if name) or "results",
        "notes": ", ".join(notes),
        "said": {name: sentences for name, sentences in said.items() if sentences},
        "levels": {name: found for name, found in levels.items() if found},
    }


def _read_against(points: list[dict[str, Any]], metric: str) -> list[str]:
    """What a curve of the metric must be read against: the commonest class, and ∞ where it is no ceiling."""
    common = majority_sentence(points, metric)
    sentences = [f"{common[0].upper()}{common[1:]}."] if common else []
    return [*sentences, *filter(None, [outdone_sentence(points, metric)])]
