"""Any column against any other: lines or places, told apart by colour, dash and panel."""

import math
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.transforms import ScaledTranslation

from dpjax.results import ResultsError
from dpjax.results.claims import small
from dpjax.results.majority import majorities
from dpjax.results.remarks import marked
from experiments.figures import style, ticks
from experiments.figures.extent import extend, marks_of, within
from experiments.figures.legends import for_all
from experiments.figures.look import Look
from experiments.figures.marks import Line, PanelOf, panels_of_spec
from experiments.figures.points import cross_out
from experiments.figures.spec import Spec

SEEDS = "seed"
"""What dots of seeds are marked by."""
_BESIDE, _FARTHER = 5.0, 3.0  # points
_FEW = 12
"""Values of x that each get a tick."""


def lines(frame: pd.DataFrame, spec: Spec) -> Figure:
    """A figure of one's own.

    Formal guarantees: a mark is the mean over the seeds of one point, never over points: of several that the figure
    does not tell apart it is the best, and the notes say over what. What may not be compared (another data set, model,
    unit, δ, adjacency or sampling) gets panels of its own, unless the lines are told apart by it or by what decides it;
    the legend then says it. So does ε where it is on no axis. Points without privacy are a dotted line, or stars.

    Args:
      frame: what ``dpjax.results.collect`` or ``load`` gave.
      spec: what it shows, and how.

    Raises:
      ResultsError: a column is not there or holds no numbers, or no row is left.

    >>> from dpjax.results.table import frame_of
    >>> rows = [{"epsilon": e, "method": m, "test_accuracy": 0.9} for e in (1.0, 2.0) for m in ("a", "b")]
    >>> figure = lines(frame_of(rows), Spec(hue="method"))
    >>> [text.get_text() for text in figure.legends[0].get_texts()]
    ['a', 'b']
    """
    look = spec.look
    drawn = panels_of_spec(frame, spec, look)
    with style.styled(look):
        figure, grid = style.panels(len(drawn), look=look, per_row=_per_row(drawn, spec))
        handles: list[Any] = []
        levels: list[Any] = []
        for axes, panel in zip(grid, drawn, strict=True):
            of_lines, of_levels = _draw(axes, panel, spec, look)
            handles, levels = handles + of_lines, levels + of_levels
        if spec.hue or spec.style or len({handle.get_label() for handle in [*handles, *levels]}) > 1:
            by = " × ".join(_name(name, spec) for name in dict.fromkeys([spec.hue, spec.style]) if name)
            for_all(figure, [*_in_order(handles, drawn), *levels], look, style.plain(by) or None)
    style.fit(figure, look)
    return figure


def _in_order(handles: list[Any], drawn: list[PanelOf]) -> list[Any]:
    """Lines in the order of their colours and dashes, whichever panel has them; those without privacy last."""
    lines = [line for panel in drawn for line in (*panel.lines, *panel.references)]
    last = [line in panel.references for panel in drawn for line in (*panel.lines, *panel.references)]
    ranks = [(late, line.colour, line.dash) for line, late in zip(lines, last, strict=True)]
    return [handles[place] for place in sorted(range(len(handles)), key=ranks.__getitem__)]


def _per_row(drawn: list[PanelOf], spec: Spec) -> int:
    """A row for each column on the y axis, where there are several panels of it."""
    of_one = len(drawn) // len(spec.y)
    return of_one if len(spec.y) > 1 and 1 < of_one <= 3 else 3


def _draw(axes: Axes, panel: PanelOf, spec: Spec, look: Look) -> tuple[list[Any], list[Any]]:
    """A panel's lines and levels, of which a legend says what they are."""
    if panel.places is None:
        _axis(axes, panel, spec)
    else:
        axes.set_xticks(range(len(panel.places)), [style.plain(spec.names.get(word, word)) for word in panel.places])
        axes.set_xlim(-0.5, len(panel.places) - 0.5)
    count = len(panel.lines)
    handles = [_line(axes, line, rank, count, panel, spec) for rank, line in enumerate(panel.lines)]
    handles += [_reference(axes, line, panel) for line in panel.references]
    levels = majorities(pd.concat([line.points for line in panel.lines]), panel.y)
    of_levels = [style.level(axes, level, "commonest class") for level in levels]
    axes.set_xlabel(style.plain(_name(spec.x, spec)))
    axes.set_ylabel(style.plain(_name(panel.y, spec)))
    marks = [
        marks_of(
            _placed(line, rank, count, panel), line.points, panel.y, _colour(line), line.seeds if spec.seeds else ()
        )
        for rank, line in enumerate(panel.lines)
    ]
    marks += [
        marks_of(line.x if len(line.x) else None, line.points, panel.y, _colour(line)) for line in panel.references
    ]
    told = extend(axes, panel.y, marks, look, levels)
    style.head(axes, panel.title, [*panel.notes, *told], look, apart=panel.apart)
    return handles, of_levels


def _axis(axes: Axes, panel: PanelOf, spec: Spec) -> None:
    places = panel.xs
    spans = places[0] > 0 and places[-1] / places[0] >= 8
    log = spans if spec.log is None else spec.log
    if log and places[0] <= 0:
        raise ResultsError(
            f"--log asks for a logarithmic axis, but {spec.x} is {small(places[0])} somewhere: leave it out"
        )
    if log and len(places) > 1:
        ticks.log_axis(axes, places) if len(places) <= _FEW else ticks.plain_log(axes, places)
    elif len(places) <= _FEW and not panel.measured:
        room = 0.05 * (places[-1] - places[0]) or 0.5
        axes.set_xlim(places[0] - room, places[-1] + room)
        axes.set_xticks(places, ticks.spaced([(place - places[0]) / (20 * room) for place in places], places))


def _line(axes: Axes, line: Line, rank: int, count: int, panel: PanelOf, spec: Spec) -> Any:
    dress = {
        "color": _colour(line),
        "ls": style.LINES[line.dash % len(style.LINES)],
        "marker": style.MARKERS[line.dash % len(style.MARKERS)],
    }
    x, y, spread = _placed(line, rank, count, panel), line.y, line.spread
    joined = panel.places is None and not panel.measured
    if not joined:
        dress["ls"] = ""
    if spec.seeds:
        _seeds(axes, x, line, rank)
    known = np.isfinite(spread)
    # A band spans neighbours whose spread is known; to one of a single seed it does not run.
    near = known & (np.r_[known[1:], False] | np.r_[False, known[:-1]]) if joined else np.zeros(len(x), bool)
    if near.any():
        low, high = (within(panel.y, y + side * np.where(known, spread, 0)) for side in (-1, 1))
        axes.fill_between(x, low, high, where=near, color=dress["color"], alpha=0.15, lw=0, zorder=2)
    known &= ~near
    if known.any():
        axes.errorbar(
            x[known], y[known], spread[known], fmt="none", ecolor=dress["color"], capsize=2.5, elinewidth=1.0, zorder=2
        )
    (drawn,) = axes.plot(x, y, mec="white", mew=0.6, zorder=3, label=style.plain(line.name), **dress)
    cross_out(axes, x, y, line.points)
    return drawn


def _placed(line: Line, rank: int, count: int, panel: PanelOf) -> np.ndarray:
    """Where a line's points are drawn: at words beside those of other lines, as bars would stand."""
    return line.x if panel.places is None else line.x + 0.6 * (rank - (count - 1) / 2) / max(count, 2)


def _colour(line: Line) -> str:
    return style.INK if line.colour < 0 else style.PALETTE[line.colour % len(style.PALETTE)]


def _seeds(axes: Axes, x: np.ndarray, line: Line, rank: int) -> None:
    """Every seed as a hollow dot beside its mean, of each line a little farther, so that none hides another."""
    figure = axes.get_figure(root=True)
    assert figure is not None
    side = (1 if rank % 2 == 0 else -1) * (_BESIDE + _FARTHER * (rank // 2))
    aside = axes.transData + ScaledTranslation(side / 72, 0, figure.dpi_scale_trans)
    for place, values in zip(x, line.seeds, strict=True):
        axes.plot(
            [place] * len(values), values, ls="", marker="o", ms=2.8, mfc="none", mec=_colour(line), mew=0.8, zorder=4,
            transform=aside, gid=SEEDS,
        )  # fmt: skip


def _reference(axes: Axes, line: Line, panel: PanelOf) -> Any:
    """Points without privacy: stars where x says something of them, and where not a line from side to side."""
    colour = _colour(line)
    if len(line.x):
        dress: dict[str, Any] = {"color": colour, "ls": style.DOTTED, "lw": 1.1, "marker": style.REFERENCE, "ms": 8}
        if panel.places is not None or panel.measured:
            dress["ls"] = ""
        known = np.isfinite(line.spread)
        if known.any():
            axes.errorbar(
                line.x[known], line.y[known], line.spread[known], fmt="none", ecolor=colour, capsize=2.5, elinewidth=1.0
            )
        (drawn,) = axes.plot(line.x, line.y, mec="white", mew=0.6, zorder=3, label=style.plain(line.name), **dress)
        return drawn
    (mean,), (spread,) = line.y, line.spread
    if math.isfinite(spread):
        axes.axhspan(
            within(panel.y, mean - spread), within(panel.y, mean + spread), color=colour, alpha=0.1, lw=0, zorder=0
        )
    axes.axhline(mean, color=colour, ls=style.DOTTED, lw=1.2, zorder=1)
    return Line2D([], [], color=colour, ls=style.DOTTED, lw=1.2, label=style.plain(line.name))


def _name(column: str, spec: Spec) -> str:
    if column in spec.names:
        return spec.names[column]
    return {"epsilon": "privacy budget ε", "clients_per_round": "clients per round"}.get(column, marked(column))
