"""Accuracy, ε and seconds at once: which runs no other beats in all three."""

import math
from typing import Any

import numpy as np
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
from experiments.figures import style, ticks
from experiments.figures.extent import extend, marks_of
from experiments.figures.legends import beside
from experiments.figures.look import Look
from experiments.figures.points import Panel, cross_out, panels_of, values_of

_NOISE = 0.1
_APART = "seconds less than a tenth apart tie"


def pareto_front(df: pd.DataFrame, metric: str = "test_accuracy", look: Look = style.PLAIN) -> Figure:
    """A metric against seconds, a colour per ε; ringed is what no other run beats in metric, ε and seconds.

    Formal guarantees: points are means over seeds. A point is faint if another is at least as good in all three and
    better in one. Seconds count as equal where they differ by less than their deviations over seeds, and than a tenth:
    what else a machine does decides no rank.

    Args:
      df: what ``dpjax.results.collect`` or ``load`` gave.
      metric: the column on the y axis.
      look: its size, font and notes, and what spread is shown.

    Raises:
      ResultsError: a column is missing, or there are fewer than three points.

    >>> from dpjax.results.table import frame_of
    >>> rows = [{"epsilon": e, "clip_norm": c, "test_accuracy": 0.9, "wall_seconds": 1.0 + c} for e in (1.0, 2.0)
    ...         for c in (0.1, 1.0)]
    >>> pareto_front(frame_of(rows)).axes[0].get_xlabel()
    'seconds of a run'
    """
    require(df, "epsilon", "wall_seconds", metric)
    drawn = [panel for panel in panels_of(df, metric, look=look) if len(panel.points) > 2]
    if not drawn:
        raise ResultsError("needs three points of one family: sweep privacy.epsilon or optimizer.num_steps")
    with style.styled(look):
        figure, grid = style.panels(len(drawn), (style.PANEL[0] + 1.0, style.PANEL[1]), look)
        for axes, panel in zip(grid, drawn, strict=True):
            _draw(axes, panel, metric, look)
    return figure


def undominated(points: np.ndarray, doubt: np.ndarray | None = None) -> np.ndarray:
    """Which rows no other row beats: at most as large in every column, and smaller in one by more than doubt.

    Args:
      points: ``[rows, criteria]``, all to be small.
      doubt: ``[rows, criteria]``, how well each is known; a difference counts from the sum of both rows' on.

    >>> undominated(np.array([[1.0, 2.0], [2.0, 1.0], [2.0, 2.0]])).tolist()
    [True, True, False]
    >>> undominated(np.array([[1.0, 2.0], [1.01, 2.0]]), np.array([[0.02, 0.0], [0.02, 0.0]])).tolist()
    [True, True]
    """
    room = 0.0 if doubt is None else doubt[None] + doubt[:, None]
    no_worse = (points[None] <= points[:, None] + room).all(-1)
    better = (points[None] < points[:, None] - room).any(-1)
    return ~(no_worse & better).any(1)


def _draw(axes: Axes, panel: Panel, metric: str, look: Look) -> None:
    points: Any = panel.points
    points = points[points["wall_seconds_mean"].notna()]
    sign = 1.0 if lower_is_better(metric) else -1.0
    criteria = np.stack(
        [sign * points[f"{metric}_mean"], points["epsilon"], points["wall_seconds_mean"]], axis=1
    ).astype(float)
    front = undominated(criteria, _doubt(points, criteria))
    handles: list[Any] = []
    marks = []
    for rank, epsilon in enumerate(values_of(points, "epsilon")):
        chosen = (points["epsilon"] == epsilon).to_numpy()
        private = epsilon < math.inf
        colour = style.PALETTE[rank % len(style.PALETTE)] if private else style.INK
        marker = style.MARKERS[rank % len(style.MARKERS)] if private else style.REFERENCE
        name = f"ε = {small(epsilon)}" if private else "non-private"
        of_epsilon = points[chosen]
        x, y = of_epsilon["wall_seconds_mean"], of_epsilon[f"{metric}_mean"]
        ringed = front[chosen]
        marks.append(marks_of(x, of_epsilon.assign(spread=np.nan), metric, colour))
        size = 52 if private else 110  # a star is small for its area
        axes.scatter(x[~ringed], y[~ringed], color=colour, marker=marker, s=0.6 * size, alpha=0.4, lw=0)
        axes.scatter(x[ringed], y[ringed], color=colour, marker=marker, s=size, edgecolors=style.INK, lw=1.0, zorder=3)
        cross_out(axes, x, y, of_epsilon)
        handles.append(Line2D([], [], color=colour, marker=marker, ls="", label=name))
    handles.append(Line2D([], [], color="white", mec=style.INK, marker="o", ls="", label="beaten by none"))
    ticks.plain_log(axes, points["wall_seconds_mean"])
    axes.set_xlabel("seconds of a run")
    axes.set_ylabel(marked(metric))
    levels = majorities(points, metric)
    handles += [style.level(axes, level, "commonest class") for level in levels]
    told = extend(axes, metric, marks, look, levels)
    beside(axes, handles, look)
    style.head(
        axes,
        panel.title,
        [*panel.lines, f"{front.sum()} of {len(points)} points are beaten by none; {_APART}", *told],
        look,
        apart=panel.title,
    )


def _doubt(points: Any, criteria: np.ndarray) -> np.ndarray:
    """How well each criterion is known: of metric and ε the means as they are, of seconds what else the machine did."""
    doubt = np.zeros_like(criteria)
    seconds = points["wall_seconds_mean"].to_numpy(float)
    doubt[:, 2] = np.fmax(points["wall_seconds_std"].to_numpy(float), _NOISE / 2 * seconds)
    return doubt
