"""What each way to add messages up costs: seconds of a round, bytes that a client sends, error of the sum."""

import math
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from dpjax.results import ResultsError
from dpjax.results.summarize import is_federated, require
from dpjax.results.wording import label
from experiments.figures import style
from experiments.figures.look import Look
from experiments.figures.points import Panel, mean_label, panels_of

ORDER = ("plain", "secure", "homomorphic")
_PARTS = {"encrypt_seconds": "encrypt", "add_seconds": "add", "decrypt_seconds": "decrypt"}
_REST = "train, mask, add in the clear"


def aggregation_costs(df: pd.DataFrame, metric: str = "test_accuracy", look: Look = style.PLAIN) -> Figure:
    """What plain, secure and homomorphic sums cost, a row of three panels per family and number of clients.

    Formal guarantees: a cost is the mean over the points of its aggregation, whatever their ε, which costs depend
    little on; one that an aggregation does not report is named as such.

    Args:
      df: what ``dpjax.results.collect`` or ``load`` gave.
      metric: the column printed beside each aggregation's name, to show what the sum's error does to it.
      look: its size, font and notes, and what spread is shown.

    Raises:
      ResultsError: a column is missing, or there are fewer than two aggregations.

    >>> from dpjax.results.table import frame_of
    >>> run = {"clients_per_round": 9, "epsilon": 8.0, "num_steps": 2, "test_accuracy": 0.9, "wall_seconds": 1.0}
    >>> figure = aggregation_costs(frame_of([run | {"aggregation": name} for name in ("plain", "secure")]))
    >>> [axes.get_xlabel() for axes in figure.axes]
    ['seconds a round, all clients', 'kB sent by a client, a round', 'largest error of the sum, clip norms']
    """
    require(df, "clients_per_round", "wall_seconds", "num_steps", metric)
    federated: Any = df[is_federated(df)]
    panels = panels_of(federated, metric, ["clients_per_round"], look)
    drawn = [panel for panel in panels if len(set(panel.points["aggregation"].dropna())) > 1]
    if not drawn:
        raise ResultsError("needs two values in column 'aggregation': sweep federated.aggregation")
    with style.styled(look):
        figure, grid = style.panels(3 * len(drawn), (4.3, 2.5), look)
        for row, panel in enumerate(drawn):
            _row(grid[3 * row : 3 * row + 3], panel, metric, look)
        entries: dict[str, Any] = {}
        for axes in grid[::3]:
            entries |= {word: bar for bar, word in zip(*axes.get_legend_handles_labels(), strict=True)}
        # One for all rows, below them: no corner is free in each.
        figure.legend(entries.values(), entries.keys(), loc="outside lower left", ncols=4, handlelength=1.6)
    return figure


def _row(grid: list[Axes], panel: Panel, metric: str, look: Look) -> None:
    seconds, sent, error = grid
    best: Any = panel.points.sort_values(f"{metric}_mean", kind="stable").groupby("aggregation").last()
    means: Any = panel.points.assign(round_seconds=panel.points["wall_seconds_mean"] / panel.points["num_steps"])
    means = means.groupby("aggregation").mean(numeric_only=True)
    shown = [name for name in ORDER if name in means.index]
    texts = [f"{name}\n{label(metric)} {mean_label(best.loc[name], metric)}" for name in shown]
    style.head(seconds, panel.title, panel.lines, look, apart=panel.title)
    _times(seconds, means.loc[shown])
    seconds.set_yticks(range(len(shown)), texts)
    _dots(sent, [means.loc[name, "uplink_bytes_mean"] / 1000 for name in shown], "kB sent by a client, a round")
    errors = [means.loc[name, "aggregation_error_mean"] for name in shown]
    _dots(error, errors, "largest error of the sum, clip norms")
    for axes in (sent, error):
        axes.set_yticks(range(len(shown)), shown)
    for axes in grid:
        axes.set_ylim(len(shown) - 0.5, -0.5)
        axes.grid(False, axis="y")
        axes.grid(True, axis="x")
        axes.tick_params(axis="y", length=0)


def _times(axes: Axes, means: Any) -> None:
    left = [0.0] * len(means)
    parts = {word: means[f"{name}_mean"].fillna(0.0).tolist() for name, word in _PARTS.items()}
    whole = means["round_seconds"].tolist()
    rest = [
        max(0.0, total - sum(values)) for total, values in zip(whole, zip(*parts.values(), strict=True), strict=True)
    ]
    colours = [style.MUTED, *style.PALETTE]
    hatches = ["", "////", "....", "xxxx"]
    for (word, values), colour, hatch in zip({_REST: rest, **parts}.items(), colours, hatches, strict=False):
        if any(values):
            axes.barh(
                range(len(values)),
                values,
                left=left,
                height=0.55,
                color=colour,
                hatch=hatch,
                ec="white",
                lw=0,
                label=word,
            )
            left = [a + b for a, b in zip(left, values, strict=True)]
    for place, total in enumerate(whole):
        _say(axes, max(left[place], total), place, f"{total:.2g} s")
    axes.set_xlim(0, 1.25 * max(whole))
    axes.set_xlabel("seconds a round, all clients")


def _dots(axes: Axes, values: list[float], xlabel: str) -> None:
    known = [value for value in values if not math.isnan(value) and value > 0]
    axes.set_xscale("log")
    if known:
        axes.set_xlim(min(known) / 4, max(known) * 20)
    for place, value in enumerate(values):
        if value > 0:
            axes.hlines(place, axes.get_xlim()[0], value, color=style.PALETTE[0], lw=1.2)
            axes.plot(value, place, "o", ms=7, mec="white", mew=0.6, color=style.PALETTE[0])
            _say(axes, value, place, _words(value))
        else:
            axes.annotate(
                "not reported", (0, place), xycoords=("axes fraction", "data"), xytext=(5, 0),
                textcoords="offset points", va="center", size=8.5, color=style.MUTED,
            )  # fmt: skip
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel(xlabel)


def _words(value: float) -> str:
    """Two digits or all before the point, without the power's leading zero."""
    if value >= 0.01:
        return f"{value:.0f}" if value >= 10 else f"{value:.2g}"
    power = math.floor(math.log10(value))
    return f"{value / 10**power:.1f}e{power}"


def _say(axes: Axes, x: float, y: float, words: str) -> None:
    axes.annotate(words, (x, y), xytext=(6, 0), textcoords="offset points", va="center", size=8.5, color=style.INK)
