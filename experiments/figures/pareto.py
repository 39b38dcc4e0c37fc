"""Accuracy, ε and seconds at once: which runs no other beats in all three."""

import math
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter

from dpjax.results import ResultsError
from dpjax.results.claims import small
from dpjax.results.schema import lower_is_better
from dpjax.results.sheet import label
from dpjax.results.summarize import require
from experiments.figures import style
from experiments.figures.points import Panel, cross_out, panels_of, values_of


def pareto_front(df: pd.DataFrame, metric: str = "test_accuracy") -> Figure:
    """A metric against seconds, a colour per ε; ringed is what no other run beats in metric, ε and seconds.

    Formal guarantees: points are means over seeds. A point is faint if another is at least as good in all three and
    better in one.

    Args:
      df: what ``dpjax.results.collect`` or ``load`` gave.
      metric: the column on the y axis.

    Raises:
      ResultsError: a column is missing, or there are fewer than three points.

    >>> from dpjax.results.table import frame_of
    >>> rows = [{"epsilon": e, "clip_norm": c, "test_accuracy": 0.9, "wall_seconds": 1.0 + c} for e in (1.0, 2.0)
    ...         for c in (0.1, 1.0)]
    >>> pareto_front(frame_of(rows)).axes[0].get_xlabel()
    'seconds of a run'
    """
    require(df, "epsilon", "wall_seconds", metric)
    drawn = [panel for panel in panels_of(df, metric) if len(panel.points) > 2]
    if not drawn:
        raise ResultsError("needs three points of one family: sweep privacy.epsilon or optimizer.num_steps")
    with style.styled():
        figure, grid = style.panels(len(drawn), (style.PANEL[0] + 1.0, style.PANEL[1]))
        for axes, panel in zip(grid, drawn, strict=True):
            _draw(axes, panel, metric)
    return figure


def undominated(points: np.ndarray) -> np.ndarray:
    """Which rows no other row beats: at most as large in every column, and smaller in one.

    Args:
      points: ``[rows, criteria]``, all to be small.

    >>> undominated(np.array([[1.0, 2.0], [2.0, 1.0], [2.0, 2.0]])).tolist()
    [True, True, False]
    """
    no_worse = (points[None] <= points[:, None]).all(-1)
    better = (points[None] < points[:, None]).any(-1)
    return ~(no_worse & better).any(1)


def _draw(axes: Axes, panel: Panel, metric: str) -> None:
    points: Any = panel.points
    points = points[points["wall_seconds_mean"].notna()]
    sign = 1.0 if lower_is_better(metric) else -1.0
    criteria = np.stack(
        [sign * points[f"{metric}_mean"], points["epsilon"], points["wall_seconds_mean"]], axis=1
    ).astype(float)
    front = undominated(criteria)
    handles = []
    for rank, epsilon in enumerate(values_of(points, "epsilon")):
        chosen = (points["epsilon"] == epsilon).to_numpy()
        private = epsilon < math.inf
        colour = style.PALETTE[rank % len(style.PALETTE)] if private else style.INK
        marker = style.MARKERS[rank % len(style.MARKERS)] if private else style.REFERENCE
        name = f"ε = {small(epsilon)}" if private else "non-private"
        of_epsilon = points[chosen]
        x, y = of_epsilon["wall_seconds_mean"], of_epsilon[f"{metric}_mean"]
        ringed = front[chosen]
        axes.scatter(x[~ringed], y[~ringed], color=colour, marker=marker, s=26, alpha=0.3, lw=0)
        axes.scatter(x[ringed], y[ringed], color=colour, marker=marker, s=52, edgecolors=style.INK, lw=1.0, zorder=3)
        cross_out(axes, x, y, of_epsilon)
        handles.append(Line2D([], [], color=colour, marker=marker, ls="", label=name))
    handles.append(Line2D([], [], color="white", mec=style.INK, marker="o", ls="", label="beaten by none"))
    axes.set_xscale("log")
    for axis in (axes.xaxis.set_major_formatter, axes.xaxis.set_minor_formatter):
        axis(FuncFormatter(lambda seconds, _: small(seconds)))
    axes.set_xlabel("seconds of a run")
    axes.set_ylabel(label(metric))
    axes.margins(0.08)
    axes.legend(handles=handles, loc="center left", bbox_to_anchor=(1.0, 0.5))
    style.head(axes, panel.title, [*panel.lines, f"{front.sum()} of {len(points)} points are beaten by none"])
