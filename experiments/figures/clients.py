"""Accuracy against clients per round: what a larger cohort buys at the same ε."""

import math
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dpjax.results import ResultsError
from dpjax.results.claims import small
from dpjax.results.majority import majorities
from dpjax.results.remarks import marked
from dpjax.results.schema import lower_is_better
from dpjax.results.summarize import is_federated, require
from dpjax.results.wording import label
from experiments.figures import style, ticks
from experiments.figures.extent import extend, marks_of
from experiments.figures.legends import beside
from experiments.figures.look import Look
from experiments.figures.points import Panel, best_per, cross_out, hidden_choices, one_algorithm, panels_of, values_of

_SIZE = (style.PANEL[0] + 1.0, style.PANEL[1])  # the legend stands beside the lines, which leave no corner free


def accuracy_by_clients(df: pd.DataFrame, metric: str = "test_accuracy", look: Look = style.PLAIN) -> Figure:
    """A metric against clients per round, a line per ε, the non-private one dotted.

    Formal guarantees: only federated rows are drawn; error bars are one standard deviation over seeds either side, or
    what ``look`` asks for, and lines stand a little apart so that bars do not hide each other. Federations of other
    sizes get panels of their own.

    Args:
      df: what ``dpjax.results.collect`` or ``load`` gave.
      metric: the column on the y axis.
      look: its size, font and notes, and what spread is shown.

    Raises:
      ResultsError: a column is missing, or there are fewer than two client counts.

    >>> from dpjax.results.table import frame_of
    >>> rows = [{"epsilon": 1.0, "clients_per_round": c, "test_accuracy": 0.9} for c in (10, 50)]
    >>> accuracy_by_clients(frame_of(rows)).axes[0].get_xlabel()
    'expected clients per round'
    """
    require(df, "clients_per_round", "epsilon", metric)
    federated: Any = df[is_federated(df)]
    panels = panels_of(federated, metric, ["num_clients", *one_algorithm(federated)], look)
    drawn = [panel for panel in panels if len(values_of(panel.points, "clients_per_round")) > 1]
    if not drawn:
        raise ResultsError("needs two values in column 'clients_per_round': sweep federated.clients_per_round")
    with style.styled(look):
        figure, grid = style.panels(len(drawn), _SIZE, look)
        for axes, panel in zip(grid, drawn, strict=True):
            _draw(axes, panel, metric, look)
    return figure


def _draw(axes: Axes, panel: Panel, metric: str, look: Look) -> None:
    points: Any = best_per(panel.points, ["epsilon", "clients_per_round"], metric)
    epsilons = values_of(points, "epsilon")
    counts = values_of(points, "clients_per_round")
    ticks.log_axis(axes, counts)
    # Lines stand apart by a share of the axis, which on a logarithmic axis is a factor.
    step = math.exp(0.012 * math.log(counts[-1] / counts[0]))
    lines: list[Any] = []
    marks = []
    for rank, epsilon in enumerate(epsilons):
        line = points[points["epsilon"] == epsilon]
        shift = step ** (rank - (len(epsilons) - 1) / 2)
        private = epsilon < math.inf
        dress: dict[str, Any] = {"color": style.INK, "ls": style.DOTTED, "marker": "*", "ms": 8, "lw": 1.2}
        if private:
            colour = style.PALETTE[rank % len(style.PALETTE)]
            dress = {"color": colour, "ls": style.LINES[rank % len(style.LINES)], "marker": style.MARKERS[rank % 9]}
        name = f"ε = {small(epsilon)}" if private else "non-private"
        x, mean, std = line["clients_per_round"] * shift, line[f"{metric}_mean"], line["spread"].fillna(0.0)
        marks.append(marks_of(x, line, metric, dress["color"]))
        axes.errorbar(x, mean, std, fmt="none", ecolor=dress["color"], capsize=2.5, elinewidth=1.0)
        lines += axes.plot(x, mean, mec="white", mew=0.6, zorder=3, label=name, **dress)
        cross_out(axes, x, mean, line)
    # In the order in which the lines lie, top to bottom.
    best_first = lines if lower_is_better(metric) else lines[::-1]
    chosen = hidden_choices(panel.points, ["epsilon", "clients_per_round"])
    chosen = [name for name in chosen if name != label("sampling_rate")]
    notes = [*panel.lines, *([f"each point: best over {', '.join(chosen)}"] if chosen else [])]
    levels = majorities(points, metric)
    best_first += [style.level(axes, level, "commonest class") for level in levels]
    notes += extend(axes, metric, marks, look, levels)
    style.head(axes, panel.title, notes, look, apart=panel.title)
    axes.set_xlabel("expected clients per round")
    beside(axes, best_first, look, handlelength=3)
    axes.set_ylabel(marked(metric))
