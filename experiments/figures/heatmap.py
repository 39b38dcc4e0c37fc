"""ε × clip norm: where the best clip norm lies, and how flat the hill around it is."""

import math
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from dpjax.results import ResultsError
from dpjax.results.claims import small
from dpjax.results.remarks import marked
from dpjax.results.schema import lower_is_better
from dpjax.results.summarize import require
from dpjax.results.wording import label
from experiments.figures import style
from experiments.figures.extent import kept, spanned
from experiments.figures.look import Look
from experiments.figures.points import Panel, best_per, hidden_choices, mean_label, one_algorithm, panels_of, values_of
from experiments.figures.ticks import plain_ticks

_GAP = 0.18  # between the private columns and ∞, which is no point of their axis


def epsilon_clip_heatmap(df: pd.DataFrame, metric: str = "test_accuracy", look: Look = style.PLAIN) -> Figure:
    """A metric over ε × clip norm, each cell with its mean and standard deviation, the best of each ε set off.

    Formal guarantees: one colour scale for all panels, uniform to the eye (cividis); text is dark or light, whichever
    stands out from its cell. Non-private points stand apart, under ∞. A combination that was not run is left white.

    Args:
      df: what ``dpjax.results.collect`` or ``load`` gave.
      metric: the column that gives the colour.
      look: its size, font and notes, and what spread is shown.

    Raises:
      ResultsError: a column is missing, or there are fewer than two clip norms.

    >>> from dpjax.results.table import frame_of
    >>> rows = [{"epsilon": e, "clip_norm": c, "test_accuracy": 0.9 + c / 100} for e in (1.0, 2.0) for c in (0.1, 1.0)]
    >>> epsilon_clip_heatmap(frame_of(rows)).axes[0].get_ylabel()
    'clip norm'
    """
    require(df, "epsilon", "clip_norm", metric)
    panels = panels_of(df, metric, one_algorithm(df), look)
    drawn = [panel for panel in panels if len(values_of(panel.private, "clip_norm")) > 1]
    if not drawn:
        raise ResultsError("needs two values in column 'clip_norm': sweep privacy.clip_norm")
    shown = pd.concat([part for panel in drawn for part in (panel.private, _reference(panel))])
    means: Any = shown[f"{metric}_mean"]
    low, high = kept(means, metric)
    norm, beyond = Normalize(*spanned(low, high, metric)), (means < low) | (means > high)
    widest = max(_columns(panel) for panel in drawn)
    tallest = max(len(values_of(panel.private, "clip_norm")) for panel in drawn)
    with style.styled(look):
        size = (max(1.5 + 0.72 * widest, 4.4), max(1.5 + 0.5 * tallest, 2.9))
        figure, grid = style.panels(len(drawn), size, look)
        for axes, panel in zip(grid, drawn, strict=True):
            _draw(axes, panel, metric, norm, look)
        ends = "neither" if not beyond.any() else "min" if (means < low).any() else "max"
        scale = figure.colorbar(
            grid[0].collections[0], ax=grid, fraction=0.05, pad=0.02, label=marked(metric), extend=ends
        )
        plain_ticks(scale.ax)
        scale.outline.set_visible(False)  # pyright: ignore[reportCallIssue]
    return figure


def _columns(panel: Panel) -> int:
    return len(values_of(panel.private, "epsilon")) + bool(len(_reference(panel)))


def _reference(panel: Panel) -> pd.DataFrame:
    # A reference run at none of the clip norms has no cell here; the curve shows it.
    clips = values_of(panel.private, "clip_norm")
    at_same: Any = panel.reference[panel.reference["clip_norm"].isin(clips)]
    return at_same


def _draw(axes: Axes, panel: Panel, metric: str, norm: Normalize, look: Look) -> None:
    clips, epsilons = values_of(panel.private, "clip_norm"), values_of(panel.private, "epsilon")
    reference = _reference(panel)
    cells = best_per(pd.concat([panel.private, reference]), ["epsilon", "clip_norm"], metric)
    columns = [(epsilon, float(rank)) for rank, epsilon in enumerate(epsilons)]
    if len(reference):
        columns.append((math.inf, len(epsilons) + _GAP))
    descending = lower_is_better(metric)
    axes.set_xlim(-0.04, columns[-1][1] + 1.04)
    for epsilon, left in columns:
        column: Any = cells[cells["epsilon"] == epsilon].set_index("clip_norm")
        means = np.array([column[f"{metric}_mean"].get(clip, np.nan) for clip in clips])
        axes.pcolormesh(
            [left, left + 1], np.arange(len(clips) + 1), means[:, None], norm=norm, cmap="cividis", ec="white", lw=1.2
        )
        best = np.nan if np.isnan(means).all() else np.nanmin(means) if descending else np.nanmax(means)
        for row, clip in enumerate(clips):
            if not np.isnan(means[row]):
                std = float(column["spread"].get(clip, np.nan))
                broken = column["diverged"].get(clip, 0) > 0
                _cell(axes, left, row, float(means[row]), std, norm, look, best=means[row] == best, broken=broken)
    ticks = [left + 0.5 for _, left in columns]
    axes.set_xticks(ticks, [small(epsilon) for epsilon, _ in columns])
    axes.set_yticks([row + 0.5 for row in range(len(clips))], [small(clip) for clip in clips])
    axes.set_ylim(-0.04, len(clips) + 0.04)
    axes.tick_params(length=0)
    axes.grid(False)
    axes.spines[:].set_visible(False)
    chosen = hidden_choices(panel.private, ["epsilon", "clip_norm"])
    # Lines wider than the cells would squeeze them.
    lines = [*panel.lines, "boxed: best of each ε"]
    shown: Any = cells[f"{metric}_mean"]
    beyond = int(((shown < norm.vmin) | (shown > norm.vmax)).sum())
    cells_lie = "1 cell lies" if beyond == 1 else f"{beyond} cells lie"
    lines += [f"{cells_lie} beyond the colours, which are of the rest"] if beyond else []
    if len(panel.reference) and not len(reference):
        # It was not clipped, and so has no row of its own.
        lines.append(f"non-private: {mean_label(best_per(panel.reference, ['epsilon'], metric).iloc[0], metric)}")
    lines += [f"each cell: best over {', '.join(chosen)}"] if chosen else []
    style.head(axes, panel.title, lines, look, apart=panel.title)
    axes.set_xlabel("privacy budget ε" + ("  (∞: non-private)" if len(reference) else ""))
    axes.set_ylabel(label("clip_norm"))


def _cell(
    axes: Axes, left: float, row: int, mean: float, std: float, norm: Normalize, look: Look, *, best: bool, broken: bool
) -> None:
    red, green, blue, _ = colormaps["cividis"](norm(mean))
    # Relative luminance as in the web's contrast rule: 0.18 is where black and white stand out equally.
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in (red, green, blue)]
    dark = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2] > 0.18
    ink = "black" if dark else "white"
    digits = 3 if abs(mean) < 100 else 0
    has_std = not math.isnan(std)
    scale = _scale(axes)
    weight = "bold" if best else "normal"
    middle = row + (0.62 if has_std else 0.5)
    mean_text = f"{mean:.{digits}f}{' ×' if broken else ''}"
    axes.text(
        left + 0.5, middle, mean_text, color=ink, weight=weight, size=look.points * scale, ha="center", va="center"
    )
    if has_std:
        axes.text(
            left + 0.5,
            row + 0.3,
            f"± {std:.{digits}f}",
            color=ink,
            size=look.points * 0.76 * scale,
            ha="center",
            va="center",
        )
    if best:
        axes.add_patch(Rectangle((left + 0.075, row + 0.085), 0.85, 0.83, fill=False, ec=ink, lw=1.6))


def _scale(axes: Axes) -> float:
    """Of a cell's print: as large as a cell is wide enough for."""
    figure, spec = axes.get_figure(root=True), axes.get_subplotspec()
    assert figure is not None
    assert spec is not None
    left, right = axes.get_xlim()
    cell = (figure.get_figwidth() / spec.get_gridspec().ncols - 1.1) / (right - left)
    return min(1.0, cell / 0.52)
