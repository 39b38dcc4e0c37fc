"""What a figure of one's own draws, before it is drawn: panels, their lines, and what each of them rests on."""

import math
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from dpjax.results import ResultsError
from dpjax.results.claims import small
from dpjax.results.rivals import rivals_share
from dpjax.results.selecting import column_of, select
from dpjax.results.several import SWEEP
from dpjax.results.summarize import IDENTITY, references_as_one, require, with_runs
from dpjax.results.wording import label
from experiments.figures.look import Look
from experiments.figures.points import best_per, hidden_choices, notes_of
from experiments.figures.spec import Spec

_MOST = 30
"""Lines and places that a reader can tell apart, and panels that a page holds."""
_SUBJECT = ("dataset", "split", "model", "partition")
"""What a point without privacy shares with those that it is a reference of."""
_BARE = (*_SUBJECT, "adjacency", "sampling", "method", SWEEP, "experiment", "algorithm", "aggregation", "optimizer")
"""Columns whose values say by themselves what they are."""


class Line(NamedTuple):
    """Points that are drawn alike.

    Attributes:
      name: in the legend.
      colour, dash: their numbers; a colour below 0 is the ink of what has no hue.
      x, y, spread: a number per point: its place, mean over seeds, and what is drawn either side of it.
      seeds: the values of each point's seeds.
      points: rows of ``summary``.
      over: what they are the best over, if they are a reference.
    """

    name: str
    colour: int
    dash: int
    x: np.ndarray
    y: np.ndarray
    spread: np.ndarray
    seeds: list[np.ndarray]
    points: pd.DataFrame
    over: Sequence[str] = ()


class PanelOf(NamedTuple):
    """Lines that may be compared.

    Attributes:
      y: the column of its y axis.
      title: what it is of.
      apart: what tells it from the other panels; empty of one alone.
      notes: what it rests on, a sentence each.
      lines: those with privacy, or all where none has any.
      references: those without; of no place in x if that says nothing of them.
      xs: the places that occur, ascending; their numbers where ``places`` has the words.
      places: the words on the x axis; None if it has numbers.
      measured: whether x is a mean over seeds, so that no line joins its points.
    """

    y: str
    title: str
    apart: str
    notes: list[str]
    lines: list[Line]
    references: list[Line]
    xs: list[float]
    places: list[str] | None
    measured: bool


def panels_of_spec(frame: pd.DataFrame, spec: Spec, look: Look) -> list[PanelOf]:
    """The panels of a figure of one's own; see ``experiments.figures.lines.lines`` for what they promise.

    Args:
      frame: what ``dpjax.results.collect`` or ``load`` gave.
      spec: the figure.
      look: what spread is shown.

    Raises:
      ResultsError: a column is not there or empty, or tells too many apart.

    >>> from dpjax.results.table import frame_of
    >>> rows = frame_of([{"epsilon": e, "model": m, "test_accuracy": 0.9} for e in (1.0, 2.0) for m in ("cnn", "mlp")])
    >>> [panel.apart for panel in panels_of_spec(rows, Spec(), Look())]
    ['cnn', 'mlp']
    """
    rows: Any = references_as_one(select(frame, spec.select))
    for name in spec.axes:
        if any(isinstance(cell, list | dict | np.ndarray) for cell in column_of(rows, name)):
            raise ResultsError(f"column {name!r} holds lists: choose one with a word or a number for each run")
        if column_of(rows, name).isna().all():
            raise ResultsError(f"the results have no values in column {name!r}: sweep or record it first")
    for name in spec.y:
        column_of(rows, name)
        require(rows, name)
    measured = _is_measured(rows, spec.x)
    # Columns that are no part of a point's identity tell its runs apart all the same, where a figure shows them.
    own = [name for name in spec.axes if name not in (*IDENTITY, SWEEP) and not (measured and name == spec.x)]
    drawn = []
    for y in spec.y:
        points = _points(rows, y, spec.x if measured else None, own, look)
        points, silent = _with_numbers(points, y, spec.x if measured else "")
        if len(points):
            drawn += _panels(points, y, spec, look, measured, silent)
    if not drawn:
        raise ResultsError(f"no row has both {spec.x} and {' or '.join(spec.y)}: choose columns that one run has")
    if len(drawn) > _MOST:
        raise ResultsError(f"the figure has {len(drawn)} panels: narrow it down by --select, or choose another --col")
    titles = {panel.apart for panel in drawn}
    return drawn if len(titles) > 1 else [panel._replace(apart="") for panel in drawn]


def _is_measured(rows: Any, name: str) -> bool:
    """Whether a column's numbers differ from seed to seed."""
    column = rows[name]
    if name in IDENTITY or not pd.api.types.is_numeric_dtype(column) or pd.api.types.is_bool_dtype(column):
        return False
    return bool((rows.groupby(list(IDENTITY), dropna=False)[name].nunique() > 1).any()) and name != "seed"


def _points(rows: Any, y: str, measured: str | None, own: Sequence[str], look: Look) -> Any:
    groups = rows.groupby(list(own), dropna=False, sort=False) if own else [((), rows)]
    parts = []
    for values_of_own, part in groups:
        if part[y].isna().all() or (measured and part[measured].isna().all()):
            continue
        found, runs = with_runs(part, [y, measured] if measured else [y])
        values: Any = runs.groupby("point")[y]
        points: Any = found.assign(
            spread=look.half_widths(found, y), of_seeds=[each.to_numpy(float) for _, each in values]
        )
        points = points.assign(**{name: [value] * len(points) for name, value in zip(own, values_of_own, strict=True)})
        parts.append(points.assign(place=points[f"{measured}_mean"]) if measured else points)
    return pd.concat(parts, ignore_index=True)


def _with_numbers(points: Any, y: str, measured: str) -> tuple[Any, list[str]]:
    """The points that can be drawn, and a sentence on those that can't: a mean is of all seeds, or is none."""
    there = np.isfinite(points[f"{y}_mean"].to_numpy(float))
    there &= np.isfinite(points["place"].to_numpy(float)) if measured else True
    gone = int((~there).sum())
    what = " and ".join(label(name) for name in (y, measured) if name)
    points_are = "1 point has" if gone == 1 else f"{gone} points have"
    return points[there], [
        f"{points_are} no finite {what} in every seed, and {'is' if gone == 1 else 'are'} not drawn"
    ] if gone else []


def _panels(points: Any, y: str, spec: Spec, look: Look, measured: bool, silent: list[str]) -> list[PanelOf]:
    plain = points["epsilon"] == math.inf
    private, references = (points[~plain], points[plain]) if (~plain).any() else (points, points[plain][:0])
    if spec.x == "epsilon":
        private = private[private["epsilon"].notna()]
        if plain.all():
            raise ResultsError("every row has ε = ∞: choose another --x, such as learning_rate")
    private, lacking = _with_values(private, spec)
    keys, told = _apart_by(private, spec)
    levels = {name: _levels(private, name) for name in dict.fromkeys([spec.hue, spec.style]) if name}
    for name, known in levels.items():
        if len(known) > _MOST:
            raise ResultsError(
                f"{name} has {len(known)} values: choose a column with at most {_MOST} for --hue or --style"
            )
    panels = []
    for values, group in private.groupby(keys, dropna=False, sort=False) if keys else [((), private)]:
        where = dict(zip(keys, values, strict=True))
        place = _Places(spec.x, group, measured, spec)
        lines = _lines(group, y, spec, look, levels, told, place)
        beside = _beside(references, where, y, spec, look, levels, place)
        of = pd.concat([line.points for line in lines])
        shown = [spec.x, spec.hue, spec.style, *keys]
        panels.append(
            PanelOf(
                y=y,
                title=_title(group, where, spec),
                apart=", ".join(filter(None, (_words(name, value, spec) for name, value in where.items()))),
                notes=[
                    *_notes(group, of, [name for name in shown if name], told, look, measured, y),
                    *_over(beside),
                    *lacking,
                    *silent,
                ],
                lines=lines,
                references=beside,
                xs=place.xs,
                places=place.words,
                measured=measured,
            )
        )
    return panels


def _with_values(points: Any, spec: Spec) -> tuple[Any, list[str]]:
    """The points that have a value in every column shown, and a sentence for each column that others lack."""
    sentences = []
    for name in dict.fromkeys([spec.hue, spec.style, spec.col]):
        if name and points[name].isna().any():
            sentences.append(f"{points[name].isna().sum()} points without {label(name)} left out")
            points = points[points[name].notna()]
    # Central before federated.
    return points.assign(of_clients=points["clients_per_round"].notna()).sort_values(
        "of_clients", kind="stable"
    ), sentences


def _apart_by(private: Any, spec: Spec) -> tuple[list[str], list[str]]:
    """Columns with a panel for each value, and those that the lines' names tell instead."""
    keys = [spec.col] if spec.col else []
    told = []
    for name in rivals_share():
        if name in spec.axes:
            continue
        by_panel = private.groupby(keys, dropna=False)[name] if keys else None
        varied = (
            by_panel.nunique(dropna=False) if by_panel is not None else pd.Series([private[name].nunique(dropna=False)])
        ) > 1
        if not varied.any():
            continue
        lines = [each for each in dict.fromkeys([*keys, spec.hue, spec.style]) if each]
        decided = bool(spec.hue or spec.style) and name != "epsilon"
        decided = decided and (private.groupby(lines, dropna=False)[name].nunique(dropna=False) == 1).all()
        (told if decided else keys).append(name)
    return keys, told


def _levels(points: Any, name: str) -> list[Any]:
    values = list(points[name].dropna().unique())
    return sorted(values, key=_in_order)


def _in_order(value: Any) -> tuple[Any, ...]:
    """Numbers by size, in words too: 2 before 10."""
    if not isinstance(value, str):
        return (0, value)
    return (
        1,
        [
            (1, 0, part) if place % 2 == 0 else (0, int(part), "")
            for place, part in enumerate(re.split(r"(\d+)", value))
        ],
    )


class _Places:
    """Where a panel's points lie on the x axis."""

    def __init__(self, x: str, group: Any, measured: bool, spec: Spec) -> None:
        self.x, self.measured = x, measured
        column = group["place"] if measured else group[x]
        numeric = pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column)
        values = _levels(group, "place" if measured else x)
        self.words = None if numeric else [str(value) for value in values]
        self.xs = [float(value) for value in values] if numeric else [float(rank) for rank in range(len(values))]
        if len(values) > _MOST and not numeric:
            raise ResultsError(f"{x} has {len(values)} values: choose a column with at most {_MOST} for --x")

    def of(self, points: Any) -> np.ndarray:
        if self.measured:
            return points["place"].to_numpy(float)
        if self.words is None:
            return points[self.x].to_numpy(float)
        ranks = {word: float(rank) for rank, word in enumerate(self.words)}
        return np.array([ranks.get(str(value), np.nan) for value in points[self.x]])

    def best(self, points: Any, y: str) -> Any:
        """One point a place, the best; all where places are measured."""
        return points.sort_values("place", kind="stable") if self.measured else best_per(points, [self.x], y)


def _lines(
    group: Any, y: str, spec: Spec, look: Look, levels: dict[str, list[Any]], told: list[str], place: _Places
) -> list[Line]:
    by = [name for name in dict.fromkeys([spec.hue, spec.style]) if name]
    lines = []
    for values, part in group.groupby(by, dropna=False, sort=True) if by else [((), group)]:
        which = dict(zip(by, values, strict=True))
        name = ", ".join(_words(column, value, spec, within=look.width is not None) for column, value in which.items())
        also = [_words(column, part[column].iloc[0], spec) for column in told]
        also = [word for word in also if word and word not in name]
        dash = which.get(spec.style or spec.hue)
        lines.append(
            _line(
                f"{name or 'DP'}{f' ({", ".join(also)})' if also else ''}",
                _rank(levels.get(spec.hue, []), which.get(spec.hue)) if spec.hue else 0,
                _rank(levels.get(spec.style or spec.hue, []), dash),
                place.best(part, y),
                y,
                place,
            )
        )
    return lines


def _rank(known: list[Any], value: Any) -> int:
    return known.index(value) if value in known else len(known)


def _line(name: str, colour: int, dash: int, points: Any, y: str, place: _Places | None) -> Line:
    x = place.of(points) if place is not None else np.zeros(0)
    mean, spread = points[f"{y}_mean"].to_numpy(float), points["spread"].to_numpy(float)
    return Line(name, colour, dash, x, mean, spread, list(points["of_seeds"]), points)


def _beside(
    references: Any, where: dict[str, Any], y: str, spec: Spec, look: Look, levels: dict[str, list[Any]], place: _Places
) -> list[Line]:
    """Points without privacy, which have neither δ nor neighbours, and no clip norm."""
    for name, value in where.items():
        if name in _SUBJECT or name == spec.col:
            same = references[name].isna() if pd.isna(value) else references[name] == value
            references = references[same]
    if not len(references):
        return []
    # Of numbers one is enough: they are settings that a run without privacy may be tuned over.
    words = bool(spec.hue) and not pd.api.types.is_numeric_dtype(references[spec.hue])
    hues = [level for level in levels.get(spec.hue, []) if (references[spec.hue] == level).any()] if words else []
    groups = (
        [(level, references[references[spec.hue] == level]) for level in hues]
        if len(hues) > 1
        else [(None, references)]
    )
    lines = []
    for level, part in groups:
        colour = -1 if level is None else levels[spec.hue].index(level)
        name = (
            "non-private"
            if level is None
            else f"non-private, {_words(spec.hue, level, spec, within=look.width is not None)}"
        )
        at = place.of(part) if spec.x != "epsilon" and place.words is None else np.full(len(part), np.nan)
        placed = part[np.isfinite(at)]
        if len(set(at[np.isfinite(at)])) > 1 or (place.measured and len(placed)):
            lines.append(_line(name, colour, 0, place.best(placed, y), y, place))
        else:
            one = _line(name, colour, 0, best_per(part, ["dataset"], y)[:1], y, None)
            lines.append(one._replace(over=hidden_choices(part.assign(one=0), ["one"]) if len(part) > 1 else ()))
    return lines


def _title(group: Any, where: dict[str, Any], spec: Spec) -> str:
    first = group.iloc[0]
    constant = [
        name for name in ("dataset", "model", "unit", "partition", "split") if group[name].nunique(dropna=False) == 1
    ]
    names = list(dict.fromkeys([*constant, *where]))
    words = [_words(name, where.get(name, first[name]), spec) for name in names]
    if "epsilon" not in [*spec.axes, *where] and group["epsilon"].nunique() == 1:
        words.append(_words("epsilon", first["epsilon"], spec))
    return ", ".join(dict.fromkeys(filter(None, words)))


def _over(references: list[Line]) -> list[str]:
    """What a run without privacy is the best over, where there were several."""
    chosen = dict.fromkeys(word for line in references for word in line.over)
    return [f"non-private: best over {', '.join(chosen)}"] if chosen else []


def _notes(group: Any, drawn: Any, shown: list[str], told: list[str], look: Look, measured: bool, y: str) -> list[str]:
    # What differs from line to line stands in the legend.
    notes = notes_of(drawn.assign(**dict.fromkeys(told)), look, y)
    chosen = [] if measured else hidden_choices(group, shown)
    return [*notes, *([f"each point: best over {', '.join(chosen)}"] if chosen else [])]


def _words(name: str, value: Any, spec: Spec, *, within: bool = True) -> str:
    """A value in words; with its column's where it says nothing by itself, or a legend's title does not say it."""
    if value is None or pd.isna(value):
        return ""
    if str(value) in spec.names:
        return spec.names[str(value)]
    if name == "epsilon":
        return "non-private" if math.isinf(value) else f"ε = {small(float(value))}"
    if name == "unit":
        return f"per {value}"
    if isinstance(value, str) and name in _BARE:
        return value
    word = (
        small(float(value))
        if isinstance(value, int | float | np.number) and not isinstance(value, bool)
        else str(value)
    )
    return f"{spec.names.get(name, label(name))} {word}" if within else word
