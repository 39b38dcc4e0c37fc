"""Accuracy against ε: the privacy-utility curve."""

import math
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from dpjax.results import ResultsError
from dpjax.results.claims import small
from dpjax.results.majority import majorities
from dpjax.results.remarks import marked
from dpjax.results.schema import lower_is_better
from dpjax.results.summarize import require
from dpjax.results.wording import label
from experiments.figures import style, ticks
from experiments.figures.extent import Marks, extend, marks_of, within
from experiments.figures.legends import legend
from experiments.figures.look import Look
from experiments.figures.points import (
    Panel,
    best_per,
    cross_out,
    hidden_choices,
    mean_label,
    one_algorithm,
    panels_of,
    values_of,
)

_BY = ("clip_norm", "clients_per_round")


def privacy_utility_curve(df: pd.DataFrame, metric: str = "test_accuracy", look: Look = style.PLAIN) -> Figure:
    """The privacy-utility curve: a metric against ε, a line per clip norm, and what it costs against no privacy.

    Formal guarantees: families that may not be compared (another data set, model, unit, δ or mechanism) get panels
    of their own. A line is the mean over seeds, its band one standard deviation either side, or what ``look`` asks
    for. The dotted line is the best non-private point. The pale line under the others is the best clip norm of each
    ε, which is a choice made on the metric shown, and the panel says whether ε pays for it. Where clip norm does
    not vary, lines are clients per round.

    Args:
      df: what ``dpjax.results.collect`` or ``load`` gave.
      metric: the column on the y axis.
      look: its size, font and notes, and what spread is shown.

    Raises:
      ResultsError: a column is missing, or there are fewer than two finite ε.

    >>> from dpjax.results.table import frame_of
    >>> rows = [{"epsilon": e, "clip_norm": 1.0, "test_accuracy": 0.9} for e in (1.0, 2.0, float("inf"))]
    >>> privacy_utility_curve(frame_of(rows)).axes[0].get_xlabel()
    'privacy budget ε  (smaller is more private)'
    """
    require(df, "epsilon", metric)
    drawn = [panel for panel in _panels(df, metric, look) if len(values_of(panel.private, "epsilon")) > 1]
    if not drawn:
        raise ResultsError("needs two finite values in column 'epsilon': sweep privacy.epsilon")
    if one_algorithm(df):
        # Where algorithms are all that differs, algorithms_by_epsilon has them in one panel.
        drawn = [panel for panel in drawn if any(len(values_of(panel.private, name)) > 1 for name in _BY)]
        if not drawn:
            raise ResultsError("has one line per algorithm and panel: algorithms_by_epsilon draws them together")
    with style.styled(look):
        figure, grid = style.panels(len(drawn), look=look)
        for axes, panel in zip(grid, drawn, strict=True):
            _draw(axes, panel, metric, look)
    return figure


def _panels(df: pd.DataFrame, metric: str, look: Look) -> list[Panel]:
    apart = one_algorithm(df)
    panels = panels_of(df, metric, apart, look)
    # Two axes of lines in one panel cannot be read: where both vary, each number of clients gets a panel.
    if any(len(values_of(p.private, "clip_norm")) > 1 < len(values_of(p.private, "clients_per_round")) for p in panels):
        return panels_of(df, metric, [*apart, "clients_per_round"], look)
    return panels


def _draw(axes: Axes, panel: Panel, metric: str, look: Look) -> None:
    by = "clip_norm" if len(values_of(panel.private, "clip_norm")) > 1 else "clients_per_round"
    values: list[Any] = values_of(panel.private, by) if len(values_of(panel.private, by)) > 1 else [None]
    descending = lower_is_better(metric)
    ticks.log_axis(axes, values_of(panel.private, "epsilon"))
    handles: list[Any] = []
    marks: list[Marks] = []
    for rank, value in enumerate(values):
        of_line: Any = panel.private if value is None else panel.private[panel.private[by] == value]
        points = best_per(of_line, ["epsilon"], metric)
        colour = style.PALETTE[rank % len(style.PALETTE)]
        dress = {"color": colour, "ls": style.LINES[rank % len(style.LINES)], "marker": style.MARKERS[rank % 9]}
        marks.append(marks_of(points["epsilon"], points, metric, colour))
        _band(axes, points, metric, colour)
        name = "DP" if value is None else small(value)
        handles += axes.plot(
            points["epsilon"], points[f"{metric}_mean"], mec="white", mew=0.6, zorder=3, label=name, **dress
        )
        cross_out(axes, points["epsilon"], points[f"{metric}_mean"], points)
    if by == "clip_norm":
        best = best_per(panel.private, ["epsilon"], metric)
        axes.plot(best["epsilon"], best[f"{metric}_mean"], color=style.BEST, lw=8, solid_capstyle="round", zorder=1.5)
        handles.append(Line2D([], [], color=style.BEST, lw=7, label="best at each ε"))
    for handle, mark in _reference(axes, panel.reference, metric):
        handles.append(handle)
        marks.append(mark)
    levels = majorities(panel.points, metric)
    handles += [style.level(axes, level, "commonest class") for level in levels]
    title = _word(by) if len(values) > 1 else None
    shown = ["epsilon"] if values == [None] else ["epsilon", by]
    chosen = hidden_choices(panel.private, shown)
    lines = [*panel.lines, *([f"each point: best over {', '.join(chosen)}"] if chosen else [])]
    over = hidden_choices(panel.reference.assign(one=0), ["one"]) if len(panel.reference) > 1 else []
    lines += [f"non-private: best over {', '.join(over)}"] if over else []
    lines += extend(axes, metric, marks, look, levels)
    style.head(axes, panel.title, lines, look, apart=panel.title)
    axes.set_xlabel("privacy budget ε  (smaller is more private)")
    axes.set_ylabel(marked(metric))
    legend(axes, handles, "upper right" if descending else "lower right", look, title=title, alignment="left")


def _band(axes: Axes, points: Any, metric: str, colour: str) -> None:
    mean, std = points[f"{metric}_mean"], points["spread"].fillna(0.0)
    if (std > 0).any():
        low, high = within(metric, mean - std), within(metric, mean + std)
        axes.fill_between(points["epsilon"], low, high, color=colour, alpha=0.14, lw=0, zorder=2)


def _reference(axes: Axes, points: Any, metric: str) -> list[tuple[Any, Marks]]:
    """The best point without privacy from side to side; its entry in the legend, which hides no curve."""
    if not len(points):
        return []
    best: Any = best_per(points, ["epsilon"], metric)[:1]
    mean, std = best[f"{metric}_mean"].iloc[0], best["spread"].iloc[0]
    if not math.isnan(std):
        axes.axhspan(
            within(metric, mean - std), within(metric, mean + std), color=style.MUTED, alpha=0.14, lw=0, zorder=0
        )
    dress: dict[str, Any] = {"color": style.INK, "ls": style.DOTTED, "lw": 1.2}
    axes.axhline(mean, zorder=1, **dress)
    name = f"non-private: {mean_label(best.iloc[0], metric)}"
    return [(Line2D([], [], label=name, **dress), marks_of(None, best, metric, style.INK))]


def _word(column: str) -> str:
    return "clients per round" if column == "clients_per_round" else label(column)
