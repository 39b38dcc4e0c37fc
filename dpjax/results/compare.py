"""Is one better? Paired differences over seeds, with intervals that are honest about how many pairs were looked at."""

import itertools
import math
from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from dpjax.checks import as_listed
from dpjax.results.claims import small
from dpjax.results.distinct import Table
from dpjax.results.errors import ResultsError
from dpjax.results.having import metrics_in, no_column, settings_in
from dpjax.results.metric import metric_of
from dpjax.results.mishaps import COUNTED, count_sentences, rows_counted
from dpjax.results.schema import METRICS, lower_is_better
from dpjax.results.summarize import IDENTITY, require, same_runs
from dpjax.results.unpaired import Candidate, nearest_sentence
from dpjax.results.verdicts import Difference, Raw, judged
from dpjax.results.wording import cell_text, label

CONTEXT = ("dataset", "unit", "partition", "delta", "epsilon")
"""What two runs must share to be comparable at all: data, what is protected, and how well."""

FOLDER = "folder"
"""The column that tells two folders apart; experiments of other names may then be pairs."""

_NAMES = ("experiment", "config_hash", "method")
"""What a run is called, which says nothing of what it does."""

_WATCHED = tuple(name for name in IDENTITY if name not in (*CONTEXT, *_NAMES, "code", "inputs"))
_SILENT = ("learnt", "released", "release_noise_multiplier")
"""What two points of a pair may differ in besides, and what their ε says more or less of."""

_VERSIONS = ("code", "inputs")
"""What two versions of a method differ in, which are what is compared."""


class Comparison(NamedTuple):
    """What was compared, and what could not be.

    Attributes:
      metric: the column.
      confidence: of all verdicts together.
      differences: one per pair.
      unpaired: one sentence for each point that met no other.
      diverged: runs among those compared that ended in numbers that are not finite.
      counted: one sentence for each thing that went wrong in their steps.
      apart: what points of a pair differ in besides, in words: it is compared with them.
      best: whether each side's point was chosen by the metric.
    """

    metric: str
    confidence: float
    differences: list[Difference]
    unpaired: list[str]
    diverged: int = 0
    counted: Sequence[str] = ()
    apart: Sequence[str] = ()
    best: bool = False


def compare(
    frame: pd.DataFrame,
    by: str,
    *,
    values: Sequence[str] = (),
    metric: str = "",
    confidence: float = 0.95,
    best: bool = False,
) -> Comparison:
    """Compares the values of a column with each other, pair by pair, over the seeds that both sides ran.

    Formal guarantees: two points are a pair only if they share data set, unit of privacy, partition, δ and ε. The
    chance that any verdict is given where there is no difference is at most ``1 − confidence`` over all pairs together
    (Holm), if differences over seeds are normal. Differences that are equal over all seeds have no t-test; sign flips
    test them, which ask for symmetry alone. An interval excludes 0 exactly where a verdict is given; for all intervals
    together nothing is claimed. With ``best`` nothing is claimed at all: p is as if nobody had chosen. What meets no
    other is named.

    Args:
      frame: what ``collect`` or ``load`` gave.
      by: the column whose values are compared, such as ``algorithm``, ``clipping`` or ``method``.
      values: two or more of them, in the order of the pairs; all that occur if empty.
      metric: the column that is compared; the schema says which way is better. Empty: what ``metric_of`` says.
      confidence: of all verdicts together.
      best: take each side's best point in the metric, instead of points that agree in everything else. Both sides have
        then been chosen by what is compared.

    Raises:
      ResultsError: a column that is not there, fewer than two values, or no pair with two common seeds.

    Example:
      >>> from dpjax.results.table import frame_of
      >>> rows = [{"algorithm": a, "epsilon": 1.0, "seed": s, "test_accuracy": x + s / 100} for s in range(5)
      ...         for a, x in (("fedavg", 0.80 + s / 1000), ("scaffold", 0.90))]
      >>> found, = compare(frame_of(rows), "algorithm").differences
      >>> found.first, found.second, found.verdict, round(found.mean, 3)
      ('fedavg', 'scaffold', 'second', -0.098)

    References:
      Holm, A Simple Sequentially Rejective Multiple Test Procedure, 1979.
    """
    metric = metric or metric_of(frame)
    require(frame, metric)
    if metric in ("seed", by):
        raise ResultsError(f"metric {metric!r} is what runs are told apart by: choose one such as {metric_of(frame)}")
    if not 0 < confidence < 1:
        raise ResultsError(f"confidence is {confidence}: give a number between 0 and 1, such as 0.95")
    if by not in frame.columns:
        raise no_column(frame, by, _what_differs(frame))
    if bool(frame[by].isna().to_numpy().all()):
        raise ResultsError(f"the results have no values in column {by!r}: {_what_differs(frame)}")
    needed = {*IDENTITY, *_SILENT, *COUNTED, *METRICS, by, metric, "seed", "timestamp", "diverged", "num_steps"}
    # Texts as long as a config are not copied.
    named_rows: Any = frame.loc[frame[by].notna(), [name for name in frame.columns if name in needed]]
    named_rows = named_rows.assign(side=Table(named_rows)[by].each(_cell).told())
    there = named_rows["side"].unique().tolist()
    sides = list(values) or there
    for side in sides:
        if side not in there:
            raise ResultsError(f"no row has {by}={side}: choose two of {', '.join(map(as_listed, there))}")
    if len(sides) < 2:
        raise ResultsError(f"column {by!r} has one value, {sides[0]}: {_what_differs(frame)}")
    apart = _apart(named_rows, sides) if by == FOLDER else {}
    raw, unpaired, unequal = _pairs(named_rows, sides, by, metric, best, apart)
    if not raw:
        for side in sides:
            if bool(named_rows.loc[named_rows["side"] == side, metric].isna().all()):
                both = [name for name in metrics_in(named_rows) if _all_have(named_rows, sides, name)]
                fix = f"choose a metric that both have, such as {both[0]}" if both else "no metric is in both"
                raise ResultsError(f"no row of {side} has {metric}: {fix}")
        why = f": {unpaired[0]}" if unpaired else ""
        raise ResultsError(f"no two points of different {by} share ε, data and two seeds{why}")
    compared = named_rows[named_rows["side"].isin(sides)]
    diverged = int(compared["diverged"].fillna(False).sum()) if "diverged" in compared else 0
    counted = list(count_sentences(rows_counted(compared)).values())
    said = [f"{label(name)} ({'; '.join(each)})" for name, each in unequal.items() if name != by]
    return Comparison(metric, confidence, judged(raw, metric, 1 - confidence), unpaired, diverged, counted, said, best)


def _what_differs(frame: Any) -> str:
    """Which columns can be compared: those with two values, which are not what points must share."""
    names = settings_in(frame, IDENTITY, but=CONTEXT)
    names = [name for name in names if frame[name].nunique() > 1]
    return f"choose one of {', '.join(names)}" if names else "no setting has two values here, so give a second folder"


def _all_have(rows: Any, sides: Sequence[str], metric: str) -> bool:
    return all(bool(rows.loc[rows["side"] == side, metric].notna().any()) for side in sides)


def _apart(rows: Any, sides: Sequence[str]) -> dict[str, list[str]]:
    """Settings of which each side has one value, and not all the same: what makes them two sweeps."""
    found = {}
    told = rows[["side", *[name for name in IDENTITY if name in rows.columns]]]
    tables = [Table(told[told["side"] == side]) for side in sides]
    for name in IDENTITY:
        if name not in (*CONTEXT, *_NAMES, *_VERSIONS):
            of_side = [list(dict.fromkeys(map(_cell, table[name].cells))) for table in tables]
            if all(len(values) == 1 for values in of_side) and len({values[0] for values in of_side}) > 1:
                found[name] = [str(values[0]) for values in of_side]
    return found


def as_rows(comparison: Comparison) -> tuple[list[str], list[list[str]]]:
    """The comparison as headers and cells.

    Args:
      comparison: what ``compare`` gave.
    """
    shown = ("experiment", *CONTEXT)
    varied = [n for n in shown if n == "epsilon" or len({str(d.where.get(n)) for d in comparison.differences}) > 1]
    varied += _telling(comparison.differences, shown)
    headers = [*[label(name) for name in varied], "A", "B", "seeds", "A mean", "B mean", "A − B"]
    headers += ["interval", "p (Holm)", "verdict"]
    rows = []
    for d in comparison.differences:
        verdict = {"first": f"{d.first} is better", "second": f"{d.second} is better"}.get(d.verdict)
        row = [
            cell_text(d.where, name) if name == "epsilon" and name in d.where else _cell(d.where.get(name))
            for name in varied
        ]
        row += [d.first, d.second, str(d.seeds), f"{d.first_mean:.4f}", f"{d.second_mean:.4f}", _signed(d.mean)]
        row += [f"{_signed(d.low)} to {_signed(d.high)}", _p(d.adjusted_p), verdict or "no difference shown"]
        rows.append(row)
    return headers, rows


def _telling(differences: Sequence[Difference], shown: Sequence[str]) -> list[str]:
    """Settings that tell apart pairs which all else that is shown does not."""
    alike: dict[str, list[dict[str, Any]]] = {}
    for d in differences:
        alike.setdefault(str([d.first, d.second, *[d.where.get(name) for name in shown]]), []).append(d.where)
    names = dict.fromkeys(name for d in differences for name in d.where if name not in shown)
    return [n for n in names if any(len({str(where.get(n)) for where in group}) > 1 for group in alike.values())]


def notes(comparison: Comparison) -> list[str]:
    """What the table rests on, one sentence each.

    Args:
      comparison: what ``compare`` gave.
    """
    number = len(comparison.differences)
    better = "lower" if lower_is_better(comparison.metric) else "higher"
    seeds = min(d.seeds for d in comparison.differences)
    lines = [
        f"{label(comparison.metric)}, {better} is better; paired over seeds; {number} "
        f"{'pair' if number == 1 else 'pairs, corrected by Holm'}; {comparison.confidence:.0%} confidence over all "
        f"{'verdicts together, had nobody chosen' if comparison.best else 'verdicts together'}."
    ]
    if comparison.best:
        lines.append(
            "Each side's best was chosen by the very numbers that are compared, which favours the side with more to "
            "choose from: only other seeds of both can tell."
        )
    if number > 1 and any(d.verdict for d in comparison.differences):
        lines.append(
            "Each interval is at the step of Holm's at which its pair was tested, and leaves out 0 exactly where there "
            "is a verdict; all intervals together hold less often."
        )
    if comparison.diverged:
        runs = "1 run" if comparison.diverged == 1 else f"{comparison.diverged} runs"
        lines.append(
            f"{runs} of those compared diverged: their answers count as wrong, and where they have no number there is "
            "no test, as what is left would flatter."
        )
    lines += comparison.counted
    if comparison.apart:
        lines.append(f"The sides differ in {'; '.join(comparison.apart)}: that is compared with them.")
    equal = sum(d.std == 0 for d in comparison.differences)
    if equal:
        pairs = "1 pair has" if equal == 1 else f"{equal} pairs have"
        lines.append(
            f"{pairs} the same difference at every seed, of which there is no t-test: a sign-flip test stands in, and "
            "where it shows nothing its interval holds every number."
        )
    unfinished = sum(math.isnan(d.std) for d in comparison.differences)
    if unfinished:
        pairs = "1 pair has" if unfinished == 1 else f"{unfinished} pairs have"
        lines.append(f"{pairs} values that are not finite: no test was possible there.")
    if any(not d.verdict for d in comparison.differences):
        lines.append("'No difference shown' is no proof of equality: the interval says what was not excluded.")
    if seeds < 6:
        lines.append(
            f"With {seeds} seeds a test without the assumption of normal differences cannot go below "
            f"p = {small(2 / 2**seeds)}."
        )
    return lines


def _pairs(
    rows: Any, sides: Sequence[str], by: str, metric: str, best: bool, apart: Collection[str]
) -> tuple[list[Raw], list[str], dict[str, list[str]]]:
    paired: list[Raw] = []
    lost: list[tuple[str, int, Candidate]] = []
    there: list[Candidate] = []
    unequal: dict[str, list[str]] = {}
    watched = [name for name in (*_WATCHED, *_SILENT) if name in rows.columns]
    told = _first_of_each(rows, watched)
    context = [name for name in ("experiment", *CONTEXT) if name != by and not (name == "experiment" and by == FOLDER)]
    knobs = _knobs(by, apart)
    needed = {*context, *knobs, "side", "seed", "timestamp", "config_hash", "diverged", metric}
    rows = rows[[name for name in rows.columns if name in needed]]  # the others are copied for each group
    for values, group in rows.groupby(context, dropna=False, sort=True):
        where = dict(zip(context, values, strict=True))
        points = {side: _points(group[group["side"] == side], by, metric, best, apart) for side in sides}
        met: set[tuple[str, Any]] = set()
        for first, second in itertools.combinations(sides, 2):
            shared = _matches(points[first], points[second])
            for one, other in shared:
                of_one, of_other = points[first][one], points[second][other]
                common = sorted(of_one.keys() & of_other.keys())
                if len(common) < 2:
                    continue
                met |= {(first, one), (second, other)}
                a, b = (np.array([of_side[seed] for seed in common], float) for of_side in (of_one, of_other))
                alike = {n: x for n, x, y in zip(knobs, one[0], other[0], strict=True) if x == y}
                paired.append((where | alike, first, second, a, b))
                x, y = told.get(one[1], ()), told.get(other[1], ())
                if x == y:
                    continue
                for name, told_one, told_other in zip(watched, x, y, strict=True) if x and y else ():
                    if told_one == told_other:
                        continue
                    both = f"{_short(told_one)}, {_short(told_other)}"
                    if both not in (known := unequal.setdefault(name, [])):
                        known.append(both if len(known) < 3 else "…")
        at = ", ".join(f"{label(name)} {_cell(value)}" for name, value in where.items() if _cell(value) != "–")
        shared_words = {name: _cell(value) for name, value in where.items()}
        for side, of_side in points.items():
            settings = {point: shared_words | dict(zip(knobs, point[0], strict=True)) for point in of_side}
            found = {p: Candidate(side, settings[p], frozenset(runs)) for p, runs in of_side.items()}
            there += found.values()
            alone = [found[point] for point in of_side if (side, point) not in met]
            lost += [(at, len(alone), alone[0])] if alone else []
    return paired, [_lost_sentence(*each, there) for each in lost], unequal


def _first_of_each(rows: Any, names: list[str]) -> dict[Any, tuple[str, ...]]:
    """Hash of a config → cells of some columns, as one row has them: those of the first that has any."""
    firsts: Any = rows[["config_hash", *names]].groupby("config_hash", dropna=False)[names].first()
    table = Table(firsts)
    return dict(zip(firsts.index, zip(*[table[name].each(_cell).told() for name in names], strict=True), strict=True))


def _lost_sentence(at: str, count: int, first: Candidate, there: Sequence[Candidate]) -> str:
    near = nearest_sentence(first, there)
    of_first = "" if count == 1 else "of the first, "
    return (
        f"{first.side}: {count} {'point' if count == 1 else 'points'} at {at} met no other with the same settings and "
        f"two of its seeds{f'; {of_first}{near}' if near else ''}"
    )


def _short(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:59]}…"


def _points(rows: Any, by: str, metric: str, best: bool, apart: Collection[str]) -> dict[Any, dict[Any, float]]:
    """Settings → the metric by seed, of one side in one context."""
    keys = ["config_hash", *_knobs(by, apart)]
    # A seed that diverged is no seed that is missing: without it the others would flatter.
    measured = rows[metric].notna() | (rows["diverged"].fillna(False).astype(bool) if "diverged" in rows else False)
    rows = rows[measured].sort_values("timestamp", kind="stable", na_position="first")
    rows = rows.assign(seed=same_runs(rows["seed"])).drop_duplicates([*keys, "seed"], keep="last")
    table = Table(rows)
    kinds = table.same(keys)
    told = [table[name].some(np.array(kinds.cells, int)) for name in keys]
    runs: list[dict[Any, float]] = [{} for _ in kinds.cells]
    values = rows[metric].astype(float).tolist()  # nan where there is none
    for kind, seed, value in zip(kinds.codes.tolist(), rows["seed"].tolist(), values, strict=True):
        runs[kind][seed] = value
    found = {
        (tuple(map(_cell, own[1:])), own[0]): each for own, each in zip(zip(*told, strict=True), runs, strict=True)
    }
    if best and found:
        sign = 1.0 if lower_is_better(metric) else -1.0
        means = {point: sign * float(np.mean(list(runs.values()))) for point, runs in found.items()}
        best_point = min(found, key=lambda point: math.inf if math.isnan(means[point]) else means[point])
        return {best_point: found[best_point]}
    return found


def _knobs(by: str, apart: Collection[str]) -> list[str]:
    """The settings in which two points must agree to be a pair."""
    tied = {*_VERSIONS, *apart}
    tied |= {"noise"} if by in ("algorithm", "tuning") else set()
    tied |= {"optimizer", "momentum", "plugin", "clipping"} if by in ("optimizer", "momentum", "plugin") else set()
    return [name for name in IDENTITY if name not in (*CONTEXT, *_NAMES, by) and name not in tied]


def _matches(first: dict[Any, Any], second: dict[Any, Any]) -> list[tuple[Any, Any]]:
    """Points that agree in all other settings; the only two there are, whatever their settings."""
    if len(first) == 1 and len(second) == 1:
        return [(next(iter(first)), next(iter(second)))]
    alike: dict[Any, list[Any]] = {}
    for other in second:
        alike.setdefault(other[0], []).append(other)
    return [(one, other) for one in first for other in alike.get(one[0], [])]


def _cell(value: Any) -> str:
    if value is None or value is pd.NA or (isinstance(value, float) and math.isnan(value)):
        return "–"
    return small(value) if isinstance(value, float | int) and not isinstance(value, bool) else str(value)


def _signed(value: float) -> str:
    if math.isnan(value):
        return "–"
    return f"{value:+.4f}" if math.isfinite(value) else small(value)


def _p(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"{value:.3f}"
