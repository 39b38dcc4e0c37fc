"""A results table laid out for people: which columns, in which words, with what every number rests on.

``sheets`` decides what is shown, once; ``dpjax.results.show`` turns it into a terminal's table, Markdown and LaTeX.
"""

import itertools
import math
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import pandas as pd

from dpjax.results.claims import (
    number,
    small,
    text,
)
from dpjax.results.metric import metric_of
from dpjax.results.mishaps import COUNTED
from dpjax.results.remarks import basis_sentences, marked
from dpjax.results.rivals import FAMILY
from dpjax.results.schema import METRICS
from dpjax.results.several import SWEEP
from dpjax.results.sheet_notes import is_reference, notes_of, title
from dpjax.results.summarize import IDENTITY, is_federated, own_columns, own_metrics, references_as_one, summary
from dpjax.results.wording import cell_text, label, mean_and_std, with_told_epsilon


class Field(NamedTuple):
    """One column of a sheet.

    Attributes:
      header: its heading.
      cells: a text per row.
      priority: the lowest number is the last to go when a terminal is narrow; 0 always stays.
      is_metric: whether the best row's cell is to be set off.
    """

    header: str
    cells: list[str]
    priority: int
    is_metric: bool = False


class Sheet(NamedTuple):
    """One family of points that may be compared: same data, model, unit and δ.

    Attributes:
      title: data set, model and unit.
      notes: what all rows share, and what to beware of; one sentence each.
      fields: the columns.
      best: per row, whether it is the best of its ε.
      private: per row, whether noise was added.
    """

    title: str
    notes: list[str]
    fields: list[Field]
    best: list[bool]
    private: list[bool]


def sheets(frame: pd.DataFrame, metric: str = "") -> list[Sheet]:
    """A results table as one sheet per family of comparable points.

    Formal guarantees: every sheet states accountant, δ, unit, adjacency, sampling, steps and whether tuning was paid
    for, in a note where its rows agree and in a column where they do not. No two rows look the same.

    Args:
      frame: what ``collect`` or ``load`` gave.
      metric: the column that the best point of each ε is chosen by; empty: what ``metric_of`` says.

    Raises:
      ResultsError: the table has no such numeric column.

    Example:
      >>> from dpjax.results.table import frame_of
      >>> row = {"dataset": "digits", "unit": "example", "epsilon": 1.0, "test_accuracy": 0.9}
      >>> sheet, = sheets(frame_of([row | {"seed": 0}, row | {"seed": 1}]))
      >>> sheet.title, [(field.header, field.cells) for field in sheet.fields]
      ('digits, per example', [('ε', ['1']), ('test accuracy', ['0.900 ± 0.000'])])
    """
    metric = metric or metric_of(frame)
    points: Any = summary(references_as_one(with_told_epsilon(frame)), metric)
    # Central before federated, and all that compares at one ε together.
    own = own_columns(frame)
    points = one_reference(points.assign(federated=is_federated(points)), own)
    points = points.sort_values(["experiment", "federated", "epsilon"], kind="stable", na_position="first")
    groups = points.groupby(list(FAMILY), dropna=False, sort=False)
    scores = own_metrics(frame)
    differing = [name for name in FAMILY if points[name].nunique(dropna=False) > 1]
    return [_sheet(group.to_dict("records"), metric, own, scores, differing) for _, group in groups]


_SHOWN = (
    "test_accuracy",
    "test_r2",
    "test_mae",
    "test_rmse",
    "test_loss",
    "train_accuracy",
    "train_r2",
    "wall_seconds",
)
_TOLD_COSTS = ("uplink_bytes", "tokens_per_second", "epoch_seconds", "peak_memory_mib")
_DEFAULTS = {"–", "none", "plain"}
_OF_PRIVACY = ("clip_norm", "clipping", "noise", "noise_cohort_size")
# What a row is, with what goes first on a narrow terminal. Shown where rows differ, in a note where they agree.
_KNOBS = {
    SWEEP: 0,
    "method": 0,
    "tuning": 0,
    "trained_parameters": 3,
    "dtype": 1,
    "algorithm": 0,
    "records_per_unit": 0,
    "aggregation": 0,
    "noise": 0,
    "noise_cohort_size": 0,
    "clip_norm": 0,
    "clients_per_round": 0,
}
_KNOBS |= {"robust": 1, "corruption": 1, "compression": 1, "learning_rate": 1, "num_clients": 2, "sampling_rate": 5}
_KNOBS |= {
    "optimizer": 1,
    "hidden": 1,
    "loss": 1,
    "plugin": 1,
    "code": 4,
    "clipping": 0,
    "num_steps": 3,
    "population": 5,
    "accountant": 4,
    "tuning_accounted": 4,
}


def _sheet(
    points: list[dict[str, Any]], metric: str, own: Sequence[str], scores: Sequence[str], differing: Sequence[str]
) -> Sheet:
    fields = [Field(label("epsilon"), [cell_text(point, "epsilon") for point in points], 0)]
    shared: dict[str, str] = {}
    for name, priority in {**_KNOBS, **dict.fromkeys(own, 1)}.items():
        if name not in points[0]:
            continue  # rows of one folder do not say which
        cells = [cell_text(point, name) for point in points]
        # A reference is neither clipped nor noised: that alone does not make them differ.
        stated = [c for c, p in zip(cells, points, strict=True) if name not in _OF_PRIVACY or not is_reference(p)]
        stated = stated or cells
        if len(set(stated)) > 1 and set(stated) <= _DEFAULTS:
            continue  # central rows beside federated ones: what the latter leave out, the former have not
        if len(set(stated)) > 1:
            fields.append(Field(label(name), cells, priority))
        elif stated[0] not in ("–", "none") and name != "method" and name not in own:
            shared[name] = stated[0]
    fields += _swept(points, fields)
    fields = _telling_first(fields + _last_resort(points, fields))
    for name, priority in (("noise_multiplier", 6), ("epsilon_pld", 4), ("epsilon_rdp", 8)):
        fields.append(Field(label(name), [cell_text(point, name) for point in points], priority))
    shown = dict.fromkeys([metric, *scores, *_SHOWN])
    for rank, name in enumerate(shown):
        cells = [mean_and_std(point[f"{name}_mean"], point[f"{name}_std"]) for point in points]
        if name == "wall_seconds":
            cells = ["–" if math.isnan(p[f"{name}_mean"]) else f"{p[f'{name}_mean']:.1f}" for p in points]
        # A score of one's own is there because somebody asked for it.
        priority = 2 if name in scores and name != metric else 5 * rank
        fields.append(Field(marked(name), cells, priority, is_metric=name == metric))
    fields += _costs(points)
    fields += [
        Field(marked(name), [cell_text(point, name) for point in points], 2 if name == "dropped_count" else 1)
        for name in COUNTED
        if any(number(point, name) for point in points)
    ]
    if any(point["diverged"] for point in points):
        fields.append(
            Field(label("diverged"), [f"{p['diverged']} of {p['n']}" if p["diverged"] else "–" for p in points], 0)
        )
    seeds = [str(point["n"]) for point in points]
    if len(set(seeds)) > 1:
        fields.append(Field("seeds", seeds, 7))
    fields = [field for field in fields if set(field.cells) != {"–"}]
    headers = {field.header for field in fields}
    told = [name for name in (*shown, *COUNTED) if marked(name) in headers]
    return Sheet(
        title=title(points[0], differing),
        notes=[*notes_of(points, shared, seeds, metric), *basis_sentences(points, told)],
        fields=fields,
        best=[bool(point["best"]) and not point["diverged"] for point in points],
        private=[not is_reference(point) for point in points],
    )


def _costs(points: list[dict[str, Any]]) -> list[Field]:
    """What training on texts and what messages cost: the last to be asked for on a narrow terminal."""
    costs = [name for name in _TOLD_COSTS if any(number(point, f"{name}_mean") is not None for point in points)]
    if "tokens_per_second" not in costs:  # of other rows, seconds say it all
        costs = [name for name in costs if name == "uplink_bytes"]
    fields = []
    for rank, name in enumerate(costs):
        means = [number(point, f"{name}_mean") for point in points]
        rounded = [None if x is None else float(f"{x:.3g}") for x in means]
        cells = ["–" if x is None else f"{x:,.0f}" if x >= 100 else small(x) for x in rounded]
        # Of messages, what they weigh is half of the result where they differ.
        differ = name == "uplink_bytes" and len(set(cells)) > 1
        fields.append(Field(label(name), cells, 2 if differ else 21 + rank))
    return fields


_NOT_OF_THE_POINT = frozenset(
    (
        *("experiment", "figures", "lanes", "method", "notify", "num_seeds", "results_dir", "resume", "save_model"),
        *("seed", "task"),
    )
)
"""Overrides that no point differs in: where and how it was run, and its seeds, which are pooled."""


def _swept(points: list[dict[str, Any]], fields: list[Field]) -> list[Field]:
    """Columns of what was swept outside the schema, if nothing else tells the rows apart."""
    if _kinds(fields) == len(points):
        return []
    written = [text(point, "overrides") for point in points]
    # A space or a comma parts two overrides where a name and = follow.
    given = [
        dict(pair.split("=", 1) for pair in re.split(r"[ ,](?=[\w./]+=)", line) if "=" in pair) for line in written
    ]
    # A reference may leave ε out, or have it last: ε is its own column.
    columns = {name for name in _KNOBS if name in points[0] and any(cell_text(point, name) != "–" for point in points)}
    keys = [key for key in dict.fromkeys(itertools.chain(*given)) if key.rsplit(".", 1)[-1] not in columns]
    keys = [key for key in keys if key not in _NOT_OF_THE_POINT and not key.startswith(("tracker", "hydra"))]
    swept = {key: [line.get(key, "–") for line in given] for key in keys if key != "privacy.epsilon"}
    differing = {key: cells for key, cells in swept.items() if len(set(cells)) > 1}
    headings = [Field(label(key.rsplit(".", 1)[-1]), cells, 1) for key, cells in differing.items()]
    if 0 < len(headings) <= 3 and _kinds(fields + headings) == len(points):
        return headings
    return [Field("overrides", [line or "–" for line in written], 1)]


def _last_resort(points: list[dict[str, Any]], fields: list[Field]) -> list[Field]:
    """Columns that are seldom asked for, and then the config's digest, where rows would look the same without."""
    needed: list[Field] = []
    for name in ("momentum", "max_length", "inputs", "config_hash"):
        cells = [cell_text(point, name) for point in points]
        if name == "config_hash":
            lengths = range(8, max(map(len, cells)) + 1)
            length = next((n for n in lengths if len({c[:n] for c in cells}) == len(set(cells))), None)
            cells = [cell[:length] for cell in cells]
        field = Field(label(name), cells, 1)
        needed += [field] if _kinds([*fields, *needed, field]) > _kinds(fields + needed) else []
    return needed


def _telling_first(fields: list[Field]) -> list[Field]:
    """Columns without which two rows would look the same are the last to go on a narrow terminal."""
    needed: list[Field] = []
    for field in sorted(fields, key=lambda field: field.priority):
        if _kinds([*needed, field]) > _kinds(needed):
            needed.append(field)
    return [field._replace(priority=min(field.priority, 1)) if field in needed else field for field in fields]


def _kinds(fields: list[Field]) -> int:
    return len(set(zip(*[field.cells for field in fields], strict=True)))


def one_reference(points: Any, own: Sequence[str] = ()) -> Any:
    """The points, with runs without privacy that differ in nothing but their config told once.

    A sweep over ε × clip norm runs the reference once per clip norm, which it ignores.

    Args:
      points: what ``summary`` gave.
      own: columns of one's own that tell points apart.

    Example:
      >>> from dpjax.results.table import frame_of
      >>> len(one_reference(summary(frame_of([{"epsilon": math.inf, "config_hash": c, "test_accuracy": 0.9}
      ...                                     for c in "ab"]))))
      1
    """
    reference = points["epsilon"] == math.inf
    same = [name for name in (*IDENTITY, SWEEP, *own) if name != "config_hash" and name in points.columns]
    same += [f"{name}_mean" for name in METRICS]
    return points[~(reference & points[reference].duplicated(same).reindex(points.index, fill_value=False))]
