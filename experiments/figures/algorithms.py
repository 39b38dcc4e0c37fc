"""Federated algorithms side by side: a metric against ε and clients per round, and how evenly clients are served."""

import math
from collections.abc import Sequence
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dpjax.results import ResultsError
from dpjax.results.claims import small
from dpjax.results.majority import majorities
from dpjax.results.remarks import marked
from dpjax.results.schema import lower_is_better
from dpjax.results.summarize import require
from dpjax.results.wording import label
from experiments.figures import style, ticks
from experiments.figures.extent import extend, marks_of
from experiments.figures.legends import beside
from experiments.figures.look import Look
from experiments.figures.points import Panel, best_per, cross_out, hidden_choices, panels_of, values_of

_SIZE = (style.PANEL[0] + 1.1, style.PANEL[1])  # the legend stands beside the lines


def algorithms_by_epsilon(df: pd.DataFrame, metric: str = "test_accuracy", look: Look = style.PLAIN) -> Figure:
    """A metric against ε, a line per federated algorithm, each one's non-private result apart under ∞.

    Formal guarantees: points are the best over all that is not shown, and the panel says over what; bars are one
    standard deviation over seeds either side, or what ``look`` asks for; each algorithm keeps its colour, marker and
    dash in every panel.

    Args:
      df: what ``dpjax.results.collect`` or ``load`` gave.
      metric: the column on the y axis.
      look: its size, font and notes, and what spread is shown.

    Raises:
      ResultsError: a column is missing, or there are fewer than two algorithms or finite ε.

    >>> from dpjax.results.table import frame_of
    >>> run = {"clients_per_round": 10, "test_accuracy": 0.9}
    >>> rows = [run | {"epsilon": e, "algorithm": a} for e in (1.0, 8.0) for a in ("fedavg", "scaffold")]
    >>> algorithms_by_epsilon(frame_of(rows)).axes[0].get_xlabel()
    'privacy budget ε  (smaller is more private)'
    """
    panels = _panels(df, metric, look)
    drawn = [panel for panel in panels if len(values_of(panel.private, "epsilon")) > 1]
    if not drawn:
        raise ResultsError("needs two finite values in column 'epsilon': sweep privacy.epsilon")
    return _figure(drawn, metric, look, "epsilon", "privacy budget ε  (smaller is more private)")


def algorithms_by_clients(df: pd.DataFrame, metric: str = "test_accuracy", look: Look = style.PLAIN) -> Figure:
    """A metric against clients per round, a line per federated algorithm, a panel per ε.

    Formal guarantees: as ``algorithms_by_epsilon``.

    Args:
      df: what ``dpjax.results.collect`` or ``load`` gave.
      metric: the column on the y axis.
      look: its size, font and notes, and what spread is shown.

    Raises:
      ResultsError: a column is missing, or there are fewer than two algorithms or client counts.

    >>> from dpjax.results.table import frame_of
    >>> run = {"epsilon": 8.0, "test_accuracy": 0.9}
    >>> rows = [run | {"clients_per_round": c, "algorithm": a} for c in (10, 50) for a in ("fedavg", "scaffold")]
    >>> algorithms_by_clients(frame_of(rows)).axes[0].get_xlabel()
    'expected clients per round'
    """
    several = len(values_of(df, "num_clients")) > 1
    panels = _panels(df, metric, look, ["num_clients", "epsilon"] if several else ["epsilon"])
    drawn = [panel for panel in panels if len(values_of(panel.points, "clients_per_round")) > 1]
    if not drawn:
        raise ResultsError("needs two values in column 'clients_per_round': sweep federated.clients_per_round")
    return _figure(drawn, metric, look, "clients_per_round", "expected clients per round")


def client_fairness(df: pd.DataFrame, metric: str = "client_accuracy_mean", look: Look = style.PLAIN) -> Figure:
    """How evenly each algorithm serves the clients: their mean accuracy, and the one that a tenth of them stays below.

    Formal guarantees: a row per algorithm and ε, its point the one with the best mean; clients are weighed alike, each
    on its own training rows.

    Args:
      df: what ``dpjax.results.collect`` or ``load`` gave.
      metric: the column that the best point is chosen by.
      look: its size, font and notes, and what spread is shown.

    Raises:
      ResultsError: a column is missing, or there are fewer than two algorithms.

    >>> from dpjax.results.table import frame_of
    >>> run = {"epsilon": 8.0, "clients_per_round": 9, "client_accuracy_mean": 0.9, "client_accuracy_p10": 0.7}
    >>> rows = [run | {"algorithm": name} for name in ("fedavg", "scaffold")]
    >>> [tick.get_text() for tick in client_fairness(frame_of(rows)).axes[0].get_yticklabels()]
    ['fedavg', 'scaffold']
    """
    require(df, "client_accuracy_p10", "client_accuracy_mean")
    drawn = _panels(df, metric, look)
    private = _private(drawn)
    rows = max(len(panel.points.drop_duplicates(["algorithm", "epsilon"])) for panel in drawn)
    with style.styled(look):
        figure, grid = style.panels(len(drawn), (style.PANEL[0] + 0.9, 1.8 + 0.26 * rows), look)
        for axes, panel in zip(grid, drawn, strict=True):
            _dumbbells(axes, panel, metric, look, private)
    return figure


def _panels(df: pd.DataFrame, metric: str, look: Look, by: Sequence[str] = ()) -> list[Panel]:
    require(df, "epsilon", metric)
    named: Any = df[df["algorithm"].notna()]
    panels = panels_of(named, metric, by, look)
    drawn = [panel for panel in panels if len(_names([panel])) > 1]
    if not drawn:
        raise ResultsError("needs two values in column 'algorithm': sweep federated.algorithm, privacy.noise or tuning")
    return drawn


def _names(panels: list[Panel]) -> list[str]:
    """All algorithms, in one order for every panel."""
    return sorted({name for panel in panels for name in panel.points["algorithm"].dropna()})


def _private(panels: list[Panel]) -> list[str]:
    """Those that were run with privacy, each with a look of its own; all of them where none was."""
    return sorted({name for panel in panels for name in panel.private["algorithm"].dropna()}) or _names(panels)


def _look(names: list[str], name: str) -> dict[str, Any]:
    """Colour, dash and marker of an algorithm; of one that is not among the private ones, the reference's."""
    if name not in names:
        return {"color": style.INK, "ls": "", "marker": style.REFERENCE, "ms": 10}
    rank = names.index(name)
    colour, dash = style.PALETTE[rank % len(style.PALETTE)], style.LINES[rank % len(style.LINES)]
    return {"color": colour, "ls": dash, "marker": style.MARKERS[rank % len(style.MARKERS)]}


def _figure(panels: list[Panel], metric: str, look: Look, axis: str, xlabel: str) -> Figure:
    names, private = _names(panels), _private(panels)
    with style.styled(look):
        figure, grid = style.panels(len(panels), _SIZE, look)
        for axes, panel in zip(grid, panels, strict=True):
            axes.set_xlabel(xlabel)
            _lines(axes, panel, metric, look, axis, names, private)
            axes.set_ylabel(marked(metric))
    return figure


def _lines(axes: Axes, panel: Panel, metric: str, look: Look, axis: str, names: list[str], private: list[str]) -> None:
    against_epsilon = axis == "epsilon"
    places = values_of(panel.private if against_epsilon else panel.points, axis)
    ticks.log_axis(axes, places)
    ratio = places[-1] / places[0]
    apart = places[-1] * ratio**0.2  # ∞ is no point of the axis
    shown = [name for name in names if name in set(panel.points["algorithm"])]
    handles: list[tuple[float, Any]] = []
    marks = []
    for rank, name in enumerate(shown):
        of_algorithm: Any = panel.points[panel.points["algorithm"] == name]
        points = best_per(of_algorithm, [axis], metric)
        # Lines stand a little apart, so that bars do not hide each other.
        shift = ratio ** (0.012 * (rank - (len(shown) - 1) / 2))
        dress = _look(private, name)
        x = points[axis].where(points[axis] < math.inf, apart) * shift
        mean, std = points[f"{metric}_mean"], points["spread"].fillna(0.0)
        marks.append(marks_of(x, points, metric, dress["color"]))
        axes.errorbar(x, mean, std, fmt="none", ecolor=dress["color"], capsize=2.5, elinewidth=1.0)
        joined = (points[axis] < math.inf).to_numpy()
        edge: dict[str, Any] = {"mec": "white", "mew": 0.6, "zorder": 3}
        (line,) = axes.plot(x[joined], mean[joined], label=name, **edge, **dress)
        axes.plot(x[~joined], mean[~joined], **edge, **dress)
        cross_out(axes, x, mean, points)
        handles.append((float(mean.iloc[-1]), line))
    if against_epsilon and len(panel.reference):
        axes.set_xlim(right=apart * ratio**0.07)
        axes.set_xticks([*places, apart], [*(small(place) for place in places), "∞"])
        axes.axvline(places[-1] * ratio**0.1, color=style.GRID, lw=1.0, zorder=0)
    # In the order in which the lines end, top to bottom.
    handles.sort(key=lambda handle: handle[0], reverse=not lower_is_better(metric))
    levels = majorities(panel.points, metric)
    entries = [line for _, line in handles] + [style.level(axes, level, "commonest class") for level in levels]
    told = extend(axes, metric, marks, look, levels)
    beside(axes, entries, look, handlelength=3)
    _head(axes, panel._replace(lines=[*panel.lines, *told]), look, [axis, "algorithm"])


def _dumbbells(axes: Axes, panel: Panel, metric: str, look: Look, private: list[str]) -> None:
    points = best_per(panel.points, ["epsilon", "algorithm"], metric)
    epsilons = values_of(points, "epsilon")
    places, texts, place = [], [], 0.0
    for epsilon in epsilons:
        word = "non-private" if math.isinf(epsilon) else f"ε = {small(epsilon)}"
        of_epsilon: Any = points[points["epsilon"] == epsilon]
        top = place
        for row in of_epsilon.to_dict("records"):
            dress = _look(private, row["algorithm"])
            low, mean = row["client_accuracy_p10_mean"], row["client_accuracy_mean_mean"]
            axes.plot([low, mean], [place, place], color=dress["color"], lw=2.2, solid_capstyle="round", zorder=2)
            axes.plot(low, place, marker="|", ms=9, mew=2, color=dress["color"], zorder=3)
            axes.plot(mean, place, marker=dress["marker"], ms=7, mec="white", mew=0.6, color=dress["color"], zorder=3)
            cross_out(axes, [mean], [place], pd.DataFrame([row]))
            places.append(place)
            texts.append(row["algorithm"])
            place += 1.0
        axes.annotate(
            word, (1.0, (top + place - 1) / 2), xycoords=("axes fraction", "data"), xytext=(4, 0),
            textcoords="offset points", va="center", color=style.INK,
        )  # fmt: skip
        if epsilon != epsilons[-1]:
            axes.axhline(place - 0.25, color=style.GRID, lw=0.8, zorder=0)
        place += 0.5
    axes.set_yticks(places, texts)
    axes.set_ylim(place - 0.9, -0.6)
    axes.grid(False, axis="y")
    axes.grid(True, axis="x")
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel("accuracy on a client's own training rows\n(tick: a tenth of the clients stay below; symbol: mean)")
    means = panel._replace(lines=[line.replace(look.spread_words, "mean") for line in panel.lines])
    _head(axes, means, look, ["epsilon", "algorithm"])


def _head(axes: Axes, panel: Panel, look: Look, shown: list[str]) -> None:
    chosen = [name for name in hidden_choices(panel.points, shown) if name != label("sampling_rate")]
    lines = [*panel.lines, *([f"each point: best over {', '.join(chosen)}"] if chosen else [])]
    style.head(axes, panel.title, lines, look, apart=panel.title)
