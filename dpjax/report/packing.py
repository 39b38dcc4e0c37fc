"""A report's contents as compact JSON: column by column, each text and each curve once, curves thinned to a budget."""

import json
import math
import re
from collections.abc import Iterable
from typing import Any

from dpjax.norm_bins import NORM_BIN_EDGES
from dpjax.report.cells import DIGITS, as_told, column, raised, records, rounded
from dpjax.report.contents import Contents, Notice
from dpjax.report.curve_points import KNOBS, pack_points
from dpjax.report.spent_curve import epsilon_over_steps
from dpjax.report.sweep_state import command
from dpjax.results.claims import claim, text
from dpjax.results.columns import COLUMNS
from dpjax.results.failures import Failure
from dpjax.results.mishaps import COUNTED
from dpjax.results.remarks import marked
from dpjax.results.schema import METRICS, SCHEMA, bounds_of, lower_is_better
from dpjax.results.summarize import own_columns, own_metrics

CURVE_BYTES = 3_500_000
"""What curves may weigh; longer ones are thinned, and the report says so."""

_SPENT = "epsilon_over_steps"
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
    """A report's contents as a document that JSON holds and the page reads.

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
    scores = own_metrics(contents.frame)
    rows = records(contents.frame)
    for row in rows:
        if steps := row.get("eval_steps"):
            row[_SPENT] = epsilon_over_steps(row, steps)
    lists, thinned, notice = _thin(rows)
    claims = [claim(row) for row in rows]
    own = own_columns(contents.frame)
    for row in rows:
        row.update(as_told(row) | {name: raised(row.get(name)) for name in _ROUNDED_UP})
    cells = {str(n): column([row.get(n) for row in rows], texts) for n in contents.frame.columns if n != "config"}
    cells |= {
        "claim": column(claims, texts),
        "command": column([_command(row) for row in rows], texts),
        "key": column(_keys(rows), texts),
    }
    for name in [*thinned, *[c.name for c in COLUMNS if c.dtype in ("ints", "floats") and c.name not in thinned]]:
        cells[name] = {"l": [_placed(row.get(name), lists) for row in rows]}
    notices = [*contents.notices, *([notice] if notice else [])]
    return {
        "format": "dpjax-report",
        "version": 1,
        "name": contents.name,
        "made": created,
        "complete": contents.is_complete,
        "count": len(rows),
        "notices": [each._asdict() for each in notices],
        "failures": [_failure(each) for each in contents.failures],
        "progress": None if contents.progress is None else {**contents.progress._asdict(), "pending": []},
        "columns": _columns(contents.frame.columns, rows, own, scores),
        "metrics": [_metric(name) for name in (*METRICS, *scores) if any(row.get(name) is not None for row in rows)],
        "knobs": [*KNOBS, *own],
        "edges": [rounded(edge, DIGITS) for edge in NORM_BIN_EDGES],
        "cells": cells,
        "config": _config(rows, texts),
        **pack_points(contents.points, rows, texts),
        "texts": list(texts),
        "lists": [json.loads(each) for each in lists],
    }


def _thin(rows: list[dict[str, Any]]) -> tuple[dict[str, int], list[str], Notice | None]:
    """Curves over the evaluations, in place, so that they fit; the lists so far, their columns, and what to say."""
    names = ["eval_steps", _SPENT]
    names += [c.name for c in COLUMNS if c.dtype in ("ints", "floats") and not c.name.startswith("norm_counts")]
    names = list(dict.fromkeys(names))
    longest = max((len(row.get("eval_steps") or []) for row in rows), default=0)
    most = longest
    while True:
        lists: dict[str, int] = {}
        for row in rows:
            length = len(row.get("eval_steps") or [])
            for name in names:
                _placed(_picked(row.get(name), length, most), lists)
        weight = sum(map(len, lists))
        if weight <= CURVE_BYTES or most <= 2:
            break
        most = max(2, min(most - 1, int(most * CURVE_BYTES / weight)))
    if most < longest:
        for row in rows:
            length = len(row.get("eval_steps") or [])
            row.update({name: _picked(row.get(name), length, most) for name in names})
        sentence = f"Curves show at most {most} of up to {longest} evaluations, so that this file stays small."
        return lists, names, Notice("note", f"{sentence} results.parquet has them all.", [])
    return lists, names, None


def _picked(values: Any, length: int, most: int) -> Any:
    if not isinstance(values, list) or len(values) != length or length <= most:
        return values
    return [values[round(i * (length - 1) / (most - 1))] for i in range(most)]


def _placed(values: Any, lists: dict[str, int]) -> int | None:
    """The place of a curve among the lists, each of which is JSON already."""
    if not isinstance(values, list) or not values:
        return None
    # A million numbers go through here: spelt out in place, as four significant digits are valid JSON.
    spelt = ",".join(["null" if v is None else f"{v:.4g}" if isinstance(v, float) else str(v) for v in values])
    if "n" in spelt:
        spelt = re.sub(r"-?inf|nan", r'"\g<0>"', spelt)
    return lists.setdefault(f"[{spelt}]", len(lists))


def _keys(rows: list[dict[str, Any]]) -> list[str]:
    """A name for each row that stays when others join it: what the page's addresses are made of."""
    seen: dict[str, int] = {}
    keys = []
    for i, row in enumerate(rows):
        point = text(row, "config_hash")
        seed = row.get("seed")
        key = f"{point}-{seed}" if point and seed is not None else point or str(i + 1)
        seen[key] = seen.get(key, 0) + 1
        keys.append(key if seen[key] == 1 else f"{key}-{seen[key]}")
    return keys


def _columns(
    names: Iterable[Any], rows: list[dict[str, Any]], own: list[str], scores: list[str]
) -> list[dict[str, Any]]:
    """What the table knows of each column that has values and is no curve; what tells runs apart comes first."""
    columns = []
    for name in sorted(map(str, names), key=_place):
        column = SCHEMA.get(name)
        dtype = "str" if column is None else column.dtype
        values = {_key(row.get(name)) for row in rows} - {None}
        if not values or dtype in ("ints", "floats", "json"):
            continue
        has_numbers = any(isinstance(row.get(name), int | float) for row in rows)
        facts = {
            "name": name,
            "label": marked(name),
            "unit": _unit(name),
            "meaning": column.meaning if column else _OWN.get(name, "A column of its own."),
            "numeric": dtype in ("int", "float") or (column is None and has_numbers),
            "shown": name in scores or _is_shown(name, values) or (name in own and len(values) > 1),
        }
        columns.append(facts)
    if {"sweep", "experiment"} <= set(map(str, names)):
        pairs = {(row["sweep"], row["experiment"]) for row in rows}
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


def _command(row: dict[str, Any]) -> str | None:
    overrides = text(row, "overrides")
    return command(overrides) if overrides else None


def _failure(failure: Failure) -> dict[str, Any]:
    return {**failure._asdict(), "command": command(failure.overrides) if failure.overrides else None}


def _config(rows: list[dict[str, Any]], texts: dict[str, int]) -> dict[str, Any]:
    """The resolved configs, leaf by leaf: most leaves are the same in all of them."""
    flat = [_leaves(row.get("config")) for row in rows]
    names = dict.fromkeys(name for leaves in flat for name in leaves)
    return {name: column([leaves.get(name) for leaves in flat], texts) for name in names}


def _leaves(config: Any) -> dict[str, Any]:
    try:
        document = json.loads(config) if isinstance(config, str) else config
    except ValueError:
        return {"config": str(config)}
    leaves: dict[str, Any] = {}

    def walk(node: Any, path: str) -> None:
        if isinstance(node, dict) and node:
            for name, value in node.items():
                walk(value, f"{path}.{name}" if path else str(name))
        elif path:
            leaves[path] = node

    walk(document, "")
    return leaves
