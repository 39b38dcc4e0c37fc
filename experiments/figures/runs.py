"""Figures of what happened inside runs: norms against the clip norm, signal to noise, privacy spent over the steps."""

import math
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dpjax.norm_bins import NORM_BIN_EDGES
from dpjax.results import ResultsError
from dpjax.results.claims import number, small
from dpjax.results.summarize import latest_runs
from experiments.figures import style
from experiments.figures.extent import Marks, extend
from experiments.figures.legends import beside
from experiments.figures.look import Look
from experiments.figures.points import Panel, best_per, panels_of

_NOT_PRIVATE = "NOT private: of contributions before noise, of runs with"
"""Above what such runs are: their ε is of the model, and of nothing that is drawn here."""

_FIRST, _LAST = "norm_counts_first", "norm_counts_last"


def norm_histograms(df: pd.DataFrame, metric: str = "test_accuracy", look: Look = style.PLAIN) -> Figure:
    """Norms of contributions against the clip norm, in the first and the last tenth of the steps; a panel per ε.

    Formal guarantees: the run shown is the best of its ε; counts are summed over its seeds. Bins are half-octaves of
    the clip norm; what lies beyond the last is counted in it.

    Args:
      df: what ``dpjax.results.collect`` or ``load`` gave.
      metric: the column that the best run of each ε is chosen by.
      look: its size, font and notes, and what spread is shown.

    Raises:
      ResultsError: the rows hold no norms.

    >>> from dpjax.results.table import frame_of
    >>> counts = {"norm_counts_first": [0] * 20 + [9] + [0] * 13, "norm_counts_last": [0] * 10 + [9] + [0] * 23}
    >>> row = {"epsilon": 1.0, "clip_norm": 0.5, "test_accuracy": 0.9, **counts}
    >>> norm_histograms(frame_of([row])).axes[0].get_xlabel()
    'norm / clip norm'
    """
    drawn = _shown(df, metric, look, _FIRST, _LAST)
    several = len({panel.title for panel, _, _ in drawn}) > 1
    with style.styled(look):
        figure, grid = style.panels(len(drawn), (style.PANEL[0], style.PANEL[1] * 0.85), look)
        for axes, (panel, point, rows) in zip(grid, drawn, strict=True):
            counts = [np.sum([np.asarray(cell, float) for cell in rows[name]], axis=0) for name in (_FIRST, _LAST)]
            _histogram(axes, counts)
            over = [count[17:].sum() / max(count.sum(), 1) for count in counts]
            # Bin 17 begins at the clip norm itself.
            title = _title(panel, point, whole=several)
            shares = f"above the clip norm: {over[0]:.0%} at first, {over[1]:.0%} at last"
            style.head(axes, title, [_NOT_PRIVATE, panel.lines[0], shares], look, apart=title)
        # Beside the last panel: a run whose norms lie in one bin has a bar as high as the panel.
        beside(grid[-1], grid[-1].get_legend_handles_labels()[0], look)
    return figure


def signal_to_noise(df: pd.DataFrame, metric: str = "test_accuracy", look: Look = style.PLAIN) -> Figure:
    """Norm of the clipped sum over that of its noise, over training: a line per ε, of the best run of each.

    Formal guarantees: lines are means over seeds, bands one standard deviation either side, or what ``look`` asks for.

    Args:
      df: what ``dpjax.results.collect`` or ``load`` gave.
      metric: the column that the best run of each ε is chosen by.
      look: its size, font and notes, and what spread is shown.

    Raises:
      ResultsError: the rows do not hold the ratio.

    >>> from dpjax.results.table import frame_of
    >>> row = {"epsilon": 1.0, "test_accuracy": 0.9, "eval_steps": [10, 20], "eval_signal_to_noise": [0.4, 0.1]}
    >>> signal_to_noise(frame_of([row])).axes[0].get_xlabel()
    'step'
    """
    drawn = _shown(df, metric, look, "eval_signal_to_noise")
    titles = list(dict.fromkeys(panel.title for panel, _, _ in drawn))
    with style.styled(look):
        figure, grid = style.panels(len(titles), (style.PANEL[0] + 0.9, style.PANEL[1]), look)
        for axes, title in zip(grid, titles, strict=True):
            members = [item for item in drawn if item[0].title == title]
            handles, marks = [], []
            for rank, (_, point, rows) in enumerate(members):
                steps = np.asarray(rows.iloc[0]["eval_steps"], float)
                curves = np.array([np.asarray(cell, float) for cell in rows["eval_signal_to_noise"]])
                mean, std = curves.mean(0), curves.std(0, ddof=1) if len(curves) > 1 else 0 * steps
                seeds = pd.DataFrame({"ratio_std": std, "n": len(curves)})
                spread = np.nan_to_num(look.half_widths(seeds, "ratio"))
                colour = style.PALETTE[rank % len(style.PALETTE)]
                marks.append(Marks(steps, mean, spread, std, seeds["n"].to_numpy(float), colour))
                axes.fill_between(steps, mean - spread, mean + spread, color=colour, alpha=0.14, lw=0)
                dress = {"ls": style.LINES[rank % len(style.LINES)], "marker": style.MARKERS[rank % 9]}
                handles += axes.plot(
                    steps, mean, color=colour, mec="white", mew=0.6, label=f"ε = {small(point['epsilon'])}", **dress
                )
            axes.set_yscale("log")
            axes.axhline(1.0, color=style.INK, ls=style.DOTTED, lw=1.0, zorder=1)
            axes.set_xlabel("step")
            axes.set_ylabel("‖clipped sum‖ / ‖noise‖")
            beside(axes, handles[::-1], look, handlelength=3)
            notes = [_NOT_PRIVATE, *members[0][0].lines, "dotted: as much signal as noise"]
            notes += extend(axes, "eval_signal_to_noise", marks, look, [1.0])
            style.head(axes, title, notes, look, apart=title)
    return figure


def privacy_spent(df: pd.DataFrame, metric: str = "test_accuracy", look: Look = style.PLAIN) -> Figure:
    """ε over the steps of the most accurate private run, by three accountants.

    Formal guarantees: PLD and RDP are upper bounds at every step; the central limit (GDP) is an approximation, drawn
    thin and named so.

    Args:
      df: what ``dpjax.results.collect`` or ``load`` gave.
      metric: the column that the run is chosen by.
      look: its size, font and notes, and what spread is shown.

    Raises:
      ResultsError: no private run has independent noise on the sum.

    >>> from dpjax.results.table import frame_of
    >>> run = {"unit": "example", "adjacency": "zero_out", "sampling": "poisson", "sampling_rate": 0.1}
    >>> run |= {"noise_multiplier": 2.0, "num_steps": 8, "noise": "gaussian", "delta": 1e-5, "test_accuracy": 0.9}
    >>> privacy_spent(frame_of([run | {"epsilon": 1.0}])).axes[0].get_ylabel()
    'ε spent'
    """
    from dpjax.accounting import Mechanism, spent
    from dpjax.results.mechanisms import mechanism_of

    runs: Any = df[(df["noise"] == "gaussian") & (df["epsilon"] < math.inf) & df["records_per_unit"].isna()]
    if not len(runs):
        raise ResultsError(
            "needs a private run with independent noise on the sum (privacy.noise=gaussian) of units drawn whole "
            "(without privacy.records_per_unit)"
        )
    panel = next(panel for panel in panels_of(runs, metric, look=look) if len(panel.private))
    point: Any = best_per(panel.private, ["dataset"], metric).iloc[0]
    row: Any = runs[(runs["config_hash"] == point["config_hash"]) | runs["config_hash"].isna()].iloc[0]
    population = number(row, "population")
    mechanism = mechanism_of(row.to_dict()) or Mechanism(
        unit=row["unit"],
        adjacency=row["adjacency"],
        sampling=row["sampling"],
        sampling_rate=row["sampling_rate"],
        noise_multiplier=row["noise_multiplier"],
        num_steps=int(row["num_steps"]),
        population=None if population is None else int(population),
    )
    steps = sorted({max(1, round(mechanism.num_steps * share)) for share in (0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 1.0)})
    looks = {"rdp": ("RDP, an upper bound", 1.6), "pld": ("PLD, an upper bound", 2.2), "gdp": ("GDP, approximate", 1.1)}
    with style.styled(look):
        figure, (axes,) = style.panels(1, (style.PANEL[0] + 1.4, style.PANEL[1]), look)
        for rank, (accountant, (name, width)) in enumerate(looks.items()):
            try:
                values = spent(mechanism, steps, float(row["delta"]), accountant)
            except ValueError:  # no such accountant for this sampling
                continue
            dress = {"ls": style.LINES[rank], "marker": style.MARKERS[rank], "color": style.PALETTE[rank]}
            axes.plot(steps, values, lw=width, mec="white", mew=0.6, label=f"{name}: {values[-1]:.2f}", **dress)
        axes.set_xlabel("step")
        axes.set_ylabel("ε spent")
        axes.set_ylim(bottom=0)
        beside(axes, axes.get_legend_handles_labels()[0], look, handlelength=3)
        line = f"noise multiplier {small(float(f'{mechanism.noise_multiplier:.3g}'))}; at the end as the legend says"
        style.head(axes, panel.title, [panel.lines[0], line], look)
    return figure


Shown = tuple[Panel, Any, Any]
"""A family, its best point at one ε, and that point's rows."""


def _shown(df: pd.DataFrame, metric: str, look: Look, *columns: str) -> list[Shown]:
    for name in columns:
        if name not in df.columns or df[name].isna().to_numpy().all():
            raise ResultsError(f"the results have no values in column {name!r}: sweep or record it first")
    shown = []
    private: Any = latest_runs(df[df["epsilon"] < math.inf])
    for panel in panels_of(private, metric, look=look):
        for point in best_per(panel.private, ["epsilon"], metric).to_dict("records"):
            same = private
            for name in ("config_hash", "code", "inputs"):
                same = same[(same[name] == point[name]) | same[name].isna()]
            rows = same[same["epsilon"] == point["epsilon"]].dropna(subset=list(columns))
            if len(rows):
                shown.append((panel, point, rows))
    if not shown:
        raise ResultsError(f"no private run has values in column {columns[0]!r}: sweep privacy.epsilon")
    return shown


def _title(panel: Panel, point: Any, *, whole: bool) -> str:
    clip_norm = number(point, "clip_norm")
    bound = f", clip norm {small(clip_norm)}" if clip_norm is not None else ""
    return f"{panel.title + ', ' if whole else ''}ε = {small(point['epsilon'])}{bound}"


def _histogram(axes: Axes, counts: list[np.ndarray]) -> None:
    edges = np.array([NORM_BIN_EDGES[0] / 2**0.5, *NORM_BIN_EDGES, NORM_BIN_EDGES[-1] * 2**0.5])
    used = np.flatnonzero(counts[0] + counts[1])
    looks = (
        ("first tenth of the steps", style.PALETTE[0], 0.30, "-"),
        ("last tenth", style.PALETTE[1], 0.30, (0, (4, 1.5))),
    )
    for count, (name, colour, alpha, line) in zip(counts, looks, strict=True):
        share = count / max(count.sum(), 1)
        axes.stairs(share, edges, fill=True, color=colour, alpha=alpha)
        axes.stairs(share, edges, color=colour, ls=line, lw=1.6, label=name)
    axes.axvline(1.0, color=style.INK, lw=1.2, ls=style.DOTTED)
    axes.set_xscale("log", base=2)
    if len(used):
        axes.set_xlim(min(float(edges[used[0]]), 0.5), max(float(edges[used[-1] + 1]), 2.0))
    axes.set_ylim(bottom=0)
    axes.set_xlabel("norm / clip norm")
    axes.set_ylabel("share of contributions")
