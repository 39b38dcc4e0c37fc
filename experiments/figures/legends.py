"""Where a legend stands: in a corner that no line runs through, beside its panel, or below it."""

import itertools
import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.transforms import ScaledTranslation

from experiments.figures import style
from experiments.figures.look import Look

_ROOMY = 4.5
"""Inches of a panel that leave room for a legend beside its data."""


def legend(axes: Axes, handles: Sequence[Any], corner: Any, look: Look = style.PLAIN, **options: Any) -> None:
    """A legend in a corner of the panel, or beside the panel if a line runs through that corner.

    Args:
      axes: the panel; all lines drawn, its axes named.
      handles: the entries, in order.
      corner: such as "lower right".
      look: whether there is room beside it; below it if not.
      options: passed on to ``Axes.legend``.

    >>> figure, (axes,) = style.panels(1)
    >>> lines = axes.plot([0, 1], [1, 0], label="a")
    >>> legend(axes, lines, "lower right")
    >>> bool(figure.get_figwidth() > style.PANEL[0])
    True
    """
    box = axes.legend(handles=handles, loc=corner, **options)
    figure = box.get_figure(root=True)
    assert figure is not None
    figure.draw_without_rendering()
    frame = box.get_window_extent().padded(3)
    for line in axes.get_lines():
        points = line.get_transform().transform(np.asarray(line.get_xydata(), float))
        # Points along the segments: a line may cross the box between two of its markers.
        dense = np.concatenate([np.linspace(a, b, 40) for a, b in itertools.pairwise(points)] or [points])
        if any(frame.contains(x, y) for x, y in dense):
            beside(axes, handles, look, **options)
            if look.width is None:
                figure.set_size_inches(
                    figure.get_figwidth() + box.get_window_extent().width / figure.dpi, figure.get_figheight()
                )
            return


def beside(axes: Axes, handles: Sequence[Any], look: Look = style.PLAIN, **options: Any) -> None:
    """A legend beside the panel, or below it where the page has no room beside.

    Args:
      axes: the panel; its axes named.
      handles: the entries, in order.
      look: how wide the figure is.
      options: passed on to ``Axes.legend``.

    >>> figure, (axes,) = style.panels(1)
    >>> beside(axes, axes.plot([0, 1], [1, 0], label="a"))
    >>> axes.get_legend()._loc
    6
    """
    width = _width_of(axes)
    if look.width is None or width >= _ROOMY:
        axes.legend(handles=handles, loc="center left", bbox_to_anchor=(1.0, 0.5), **options)
        return
    figure = axes.get_figure(root=True)
    assert figure is not None
    # Below ticks and name, whose heights are those of the text.
    drop = 14 + look.points * (1.2 + 1.4 * (axes.get_xlabel().count("\n") + 1 if axes.get_xlabel() else 0))
    under = axes.transAxes + ScaledTranslation(0, -drop / 72, figure.dpi_scale_trans)
    axes.legend(
        handles=handles, labels=_labels(handles, width, look), loc="upper center",
        bbox_to_anchor=(0.5, 0.0), bbox_transform=under,
        ncols=_columns(handles, width, look), borderaxespad=0.0, columnspacing=1.2, **options,
    )  # fmt: skip


def for_all(figure: Figure, handles: Sequence[Any], look: Look, title: str | None = None) -> None:
    """One legend for all panels: beside them, or below where a width is asked for.

    Args:
      figure: with its panels drawn.
      handles: the entries; of those with one name the first stays.
      look: how wide the figure is.
      title: above the entries, where they stand beside.

    >>> figure, (axes,) = style.panels(1)
    >>> for_all(figure, axes.plot([0, 1], [1, 0], label="a") * 2, style.PLAIN)
    >>> [text.get_text() for text in figure.legends[0].get_texts()]
    ['a']
    """
    entries = list({str(handle.get_label()): handle for handle in reversed(handles)}.values())[::-1]
    if look.width is None:
        right: Any = "outside center right"
        box = figure.legend(handles=entries, loc=right, title=title, alignment="left", handlelength=2.6)
        figure.draw_without_rendering()
        width = box.get_window_extent().width / figure.dpi
        figure.set_size_inches(figure.get_figwidth() + width, figure.get_figheight())  # panels keep their room
        return
    columns, labels = _columns(entries, look.width, look), _labels(entries, look.width, look)
    below: Any = "outside lower center"
    figure.legend(
        handles=entries, labels=labels, loc=below, ncols=columns, columnspacing=1.2, handlelength=2.6
    )  # fmt: skip


def _width_of(axes: Axes) -> float:
    """Inches that a panel has, names and all."""
    figure, spec = axes.get_figure(root=True), axes.get_subplotspec()
    assert figure is not None
    return figure.get_figwidth() / (spec.get_gridspec().ncols if spec else 1)


def _columns(handles: Sequence[Any], width: float, look: Look) -> int:
    """How many entries stand beside each other in so many inches: a letter takes some half of its height."""
    letters = max(len(str(handle.get_label())) for handle in handles)
    return max(1, min(len(handles), int(72 * width / (look.points * (5.2 + 0.55 * letters)))))


def _labels(handles: Sequence[Any], width: float, look: Look) -> list[str]:
    """The entries' names, in lines that so many inches hold."""
    letters = max(8, int((72 * width / look.points - 5.2) / 0.62))
    return [textwrap.fill(str(handle.get_label()), letters) for handle in handles]
