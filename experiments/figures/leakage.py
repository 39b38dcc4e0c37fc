"""How well models know secrets that were planted: exposure before training, without DP and with."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from dpjax.auditing.canaries import expected_of_chance
from dpjax.results import ResultsError
from dpjax.results.claims import small
from dpjax.results.summarize import latest_runs
from experiments.figures import style
from experiments.figures.legends import beside
from experiments.figures.look import Look
from experiments.figures.points import Panel, best_per, panels_of

NO_BOUND = "An attack's figure and NOT a bound: little exposure proves nothing; what holds for any attack is ε"
BEFORE = "before training"


def exposure_table(df: Any) -> pd.DataFrame:
    """The numbers of the figure: a row for each model and number of copies.

    Formal guarantees: means are over secrets and seeds together, and the standard error over secrets, each of which is
    first averaged over its seeds.

    Args:
      df: rows of one point for each ε.

    Returns:
      Columns ``model``, ``epsilon`` (missing before training), ``copies``, ``exposure``, ``error``, ``secrets``,
      ``seeds``.

    >>> row = {"epsilon": 1.0, "canary_copies": [1, 4, 1], "exposures": [1.0, 5.0, 3.0], "exposures_before": [1.0] * 3}
    >>> exposure_table(pd.DataFrame([row]))[["model", "copies", "exposure", "error"]].values.tolist()
    [['before training', 1, 1.0, 0.0], ['before training', 4, 1.0, nan], ['ε = 1', 1, 2.0, 1.0], ['ε = 1', 4, 5.0, nan]]
    """
    parts: list[tuple[str, float, Any, str]] = [(BEFORE, math.nan, df, "exposures_before")]
    for epsilon in sorted(set(df["epsilon"]), reverse=True):
        name = "without DP" if math.isinf(epsilon) else f"ε = {small(epsilon)}"
        parts.append((name, epsilon, df[df["epsilon"] == epsilon], "exposures"))
    rows = []
    for name, epsilon, runs, column in parts:
        copies = np.asarray(runs.iloc[0]["canary_copies"], int)
        values = np.array([np.asarray(cell, float) for cell in runs[column]]).mean(0)
        seeds = max(1, runs["seed"].nunique()) if "seed" in runs else len(runs)
        for count in sorted(set(copies.tolist())):
            of_count = values[copies == count]
            error = of_count.std(ddof=1) / math.sqrt(len(of_count)) if len(of_count) > 1 else math.nan
            rows.append((name, epsilon, count, of_count.mean(), error, len(of_count), seeds))
    return pd.DataFrame(rows, columns=["model", "epsilon", "copies", "exposure", "error", "secrets", "seeds"])


def exposure_of_secrets(df: pd.DataFrame, metric: str = "test_accuracy", look: Look = style.PLAIN) -> Figure:
    """Exposure against the number of copies, a line for each model: before training, without DP, and for each ε.

    Formal guarantees: the run of each ε is the best by ``metric``; bands are one standard error over secrets.

    Args:
      df: what ``dpjax.results.collect`` or ``load`` gave.
      metric: the column that the best run of each ε is chosen by.
      look: its size, font and notes.

    Raises:
      ResultsError: nothing was planted.

    >>> from dpjax.results.table import frame_of
    >>> secrets = {"canary_copies": [1, 4], "exposures": [1.0, 5.0], "exposures_before": [1.0, 1.0]}
    >>> row = {"epsilon": 1.0, "test_accuracy": 0.9, "canary_candidates": 64, **secrets}
    >>> exposure_of_secrets(frame_of([row])).axes[0].get_ylabel()
    'exposure (bits)'
    """
    drawn = _shown(df, metric, look)
    with style.styled(look):
        figure, grid = style.panels(len(drawn), (style.PANEL[0] + 0.9, style.PANEL[1]), look)
        for axes, (panel, runs) in zip(grid, drawn, strict=True):
            _draw(axes, panel, runs, look)
    return figure


def write_numbers(directory: Path) -> Path | None:
    """Writes the numbers of the figure below a sweep's folder, as ``figures/exposure_of_secrets.csv``.

    Args:
      directory: of the sweep.

    Returns:
      The file; None where nothing was planted.

    Raises:
      ResultsError: it could not be written.
    """
    from dpjax.results import write_atomically
    from dpjax.results.metric import metric_of
    from dpjax.results.several import load_all

    frame = load_all([directory])
    if "exposures" not in frame.columns or frame["exposures"].isna().to_numpy().all():
        return None
    tables = [
        exposure_table(runs).assign(of=panel.title) for panel, runs in _shown(frame, metric_of(frame), style.PLAIN)
    ]
    path = directory / "figures" / "exposure_of_secrets.csv"
    write_atomically(path, pd.concat(tables).to_csv(index=False).encode())
    return path


def _shown(df: pd.DataFrame, metric: str, look: Look) -> list[tuple[Panel, Any]]:
    """Each family, and the runs of the best point of each ε."""
    if "exposures" not in df.columns or df["exposures"].isna().to_numpy().all():
        raise ResultsError("needs planted secrets: set data.canaries=12 with model.task=causal")
    latest: Any = latest_runs(df[df["exposures"].notna()])
    shown = []
    for panel in panels_of(latest, metric, look=look):
        runs = [_runs_of(point, latest) for point in best_per(panel.points, ["epsilon"], metric).to_dict("records")]
        shown.append((panel, pd.concat(runs)))
    return shown


def _runs_of(point: Any, frame: Any) -> Any:
    """The seeds of a point."""
    same = frame[frame["epsilon"] == point["epsilon"]]
    for name in ("config_hash", "code", "inputs"):
        same = same[(same[name] == point[name]) | same[name].isna()]
    return same


def _draw(axes: Any, panel: Panel, runs: Any, look: Look) -> None:
    table: Any = exposure_table(runs)
    candidates = int(runs["canary_candidates"].iloc[0])
    most, chance = math.log2(candidates), expected_of_chance(candidates)
    handles = []
    for rank, (name, part) in enumerate(table.groupby("model", sort=False)):
        colour = style.MUTED if name == BEFORE else style.PALETTE[(rank - 1) % len(style.PALETTE)]
        dress = {"ls": style.LINES[rank % len(style.LINES)], "marker": style.MARKERS[rank % len(style.MARKERS)]}
        x, y = part["copies"].to_numpy(float), part["exposure"].to_numpy(float)
        error = part["error"].fillna(0.0).to_numpy(float)
        axes.fill_between(x, np.maximum(y - error, 0), np.minimum(y + error, most), color=colour, alpha=0.16, lw=0)
        handles += axes.plot(x, y, color=colour, mec="white", mew=0.6, label=str(name), **dress)
    axes.axhline(most, zorder=0.9, **style.LEVEL)
    axes.axhline(chance, zorder=0.9, color=style.INK, ls=style.DOTTED, lw=1.0)
    copies = sorted(set(table["copies"]))
    axes.set_xscale("log", base=2)
    axes.set_xticks(copies, [str(each) for each in copies])
    axes.minorticks_off()
    axes.set_ylim(0, most * 1.08)
    axes.set_xlabel("copies of a secret, all of one planted person")
    axes.set_ylabel("exposure (bits)")
    levels = [
        Line2D([], [], label=f"likeliest of all: {most:.3g}", **style.LEVEL),
        Line2D([], [], label=f"chance: {chance:.3g}", color=style.INK, ls=style.DOTTED, lw=1.0),
    ]
    beside(axes, [*handles, *levels], look, handlelength=3)
    secrets = int(table.groupby("model")["secrets"].sum().iloc[0])
    seeds = int(table["seeds"].max())
    band = f"bands: one standard error over secrets, {secrets} in all; {seeds} seed{'s' if seeds > 1 else ''} each"
    style.head(axes, panel.title, [NO_BOUND, band, *panel.lines[:1]], look, apart=panel.title)
