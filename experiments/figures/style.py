"""One style for every figure: legible in a paper's column, in grey print and to colour-blind readers.

Figures are made without pyplot, so drawing needs no display and leaves no global state behind.
"""

import io
import itertools
import math
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator

from dpjax.results import write_atomically
from dpjax.results.claims import small

# Okabe and Ito's palette, without its yellow, which white paper swallows; darkest first, for grey print.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")
MARKERS = ("o", "s", "^", "D", "v", "P", "p", "<", ">")  # no cross: that is a run that diverged
LINES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (1.2, 1.2)), (0, (6, 1.5, 1.2, 1.5)), (0, (3, 1, 1, 1, 1, 1)))
REFERENCE = "*"
"""Marker of what was run without privacy, in ink: no colour and no marker of a method."""
INK, MUTED, GRID = "#1a1a1a", "#5f5f5f", "#e3e3e3"
BEST = "#F6EE8E"  # the palette's yellow, paled to a highlighter

STYLE: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.labelsize": 9.5,
    "axes.titlesize": 10,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "legend.fontsize": 8.5,
    "legend.title_fontsize": 8.5,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "axes.linewidth": 0.8,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.7,
    "lines.linewidth": 1.6,
    "lines.markersize": 5.8,
    "savefig.dpi": 200,
    "pdf.fonttype": 42,
    "axes.unicode_minus": False,
}

_TITLE = 52  # characters of a title that fit over a panel

PANEL = (4.7, 3.5)
"""Width and height of one panel in inches; fonts keep their size however many there are."""


@contextmanager
def styled() -> Iterator[None]:
    """The style, for as long as a figure is drawn or saved; a user's own settings come back after.

    Formal guarantees: all that it does not name is as matplotlib ships it, whatever a user's own ``matplotlibrc`` says.

    >>> with styled():
    ...     matplotlib.rcParams["pdf.fonttype"]
    42
    """
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(STYLE)
        yield


def panels(count: int, size: tuple[float, float] = PANEL) -> tuple[Figure, list[Axes]]:
    """A figure of so many equal panels, at most three in a row.

    Args:
      count: number of panels, at least one.
      size: width and height of one, in inches.

    >>> figure, axes = panels(4)
    >>> len(axes), float(figure.get_figheight())
    (4, 7.0)
    """
    columns = min(count, 3)
    rows = math.ceil(count / columns)
    figure = Figure(figsize=(size[0] * columns, size[1] * rows), layout="constrained")
    engine: Any = figure.get_layout_engine()
    engine.set(w_pad=0.08, h_pad=0.06)
    grid = figure.subplots(rows, columns, squeeze=False)
    axes = list(grid.flat)
    for spare in axes[count:]:
        spare.set_axis_off()
    return figure, axes[:count]


def head(axes: Axes, title: str, lines: Sequence[str]) -> None:
    """A panel's title, and below it what the panel rests on in smaller print.

    Args:
      axes: the panel.
      title: in bold.
      lines: sentences, one a line.

    >>> figure, (axes,) = panels(1)
    >>> head(axes, "digits", ["δ=1e-5"])
    >>> axes.get_title(loc="left")
    'digits'
    """
    # Broken after a comma only.
    whole = title.replace(" ", "\N{NO-BREAK SPACE}").replace(",\N{NO-BREAK SPACE}", ", ")
    folded = textwrap.fill(whole, _TITLE).replace("\N{NO-BREAK SPACE}", " ")
    axes.set_title(folded, loc="left", fontweight="bold", pad=8 + 11 * len(lines))
    for row, line in enumerate(reversed(lines)):
        axes.annotate(
            line, (0, 1), xytext=(0, 6 + 11 * row), xycoords="axes fraction", textcoords="offset points", size=8,
            color=MUTED, annotation_clip=False,
        )  # fmt: skip


def log_axis(axes: Axes, values: Sequence[float]) -> None:
    """A logarithmic x axis with a tick at each value that was sampled, written plainly.

    Formal guarantees: ticks too close to be told apart lose their label, never their point.

    Args:
      axes: the panel.
      values: positive numbers.

    >>> figure, (axes,) = panels(1)
    >>> log_axis(axes, [0.5, 1, 8])
    >>> [tick.get_text() for tick in axes.get_xticklabels()]
    ['0.5', '1', '8']
    """
    places = sorted(set(values))
    low, high = math.log(places[0]), math.log(places[-1])
    span = (high - low) or 1.0
    axes.set_xscale("log")
    axes.set_xlim(math.exp(low - 0.05 * span), math.exp(high + 0.05 * span))
    axes.xaxis.set_major_locator(FixedLocator(places))
    axes.xaxis.set_minor_locator(NullLocator())
    labels, last = [], -math.inf
    for place in places:
        shown = (math.log(place) - last) / span > 0.055
        labels.append(small(place) if shown else "")
        last = math.log(place) if shown else last
    axes.set_xticks(places, labels)


def legend(axes: Axes, handles: Sequence[Any], corner: Any, **options: Any) -> None:
    """A legend in a corner of the panel, or beside the panel if a line runs through that corner.

    Args:
      axes: the panel; all lines drawn.
      handles: the entries, in order.
      corner: such as "lower right".
      options: passed on to ``Axes.legend``.

    >>> figure, (axes,) = panels(1)
    >>> lines = axes.plot([0, 1], [1, 0], label="a")
    >>> legend(axes, lines, "lower right")
    >>> bool(figure.get_figwidth() > PANEL[0])
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
            axes.legend(handles=handles, loc="center left", bbox_to_anchor=(1.0, 0.5), **options)
            figure.set_size_inches(
                figure.get_figwidth() + box.get_window_extent().width / figure.dpi, figure.get_figheight()
            )
            return


def save(figure: Figure, folder: Path, name: str, formats: Sequence[str] = ("png", "pdf")) -> list[Path]:
    """Writes a figure in each format, whole or not at all.

    Formal guarantees: the same results give the same bytes: no date and no program version goes into a file.

    Args:
      figure: what a chart's function returned.
      folder: existing folder.
      name: file name without its ending.
      formats: endings that matplotlib knows: png, pdf, svg.

    Returns:
      The paths, in the order of ``formats``.

    Raises:
      ResultsError: a file could not be written.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     [path.name for path in save(panels(1)[0], Path(folder), "empty", ["png"])]
    ['empty.png']
    """
    contents = rendered(figure, formats)
    return [write_atomically(folder / f"{name}.{ending}", content) for ending, content in contents.items()]


def rendered(figure: Figure, formats: Sequence[str]) -> dict[str, bytes]:
    """The bytes of a figure's file in each format; those that ``save`` writes.

    Args:
      figure: what a chart's function returned.
      formats: endings that matplotlib knows: png, pdf, svg.

    >>> rendered(panels(1)[0], ["pdf"])["pdf"][:5]
    b'%PDF-'
    """
    contents = {}
    with styled():  # laid out once, where each format would do so again
        figure.draw_without_rendering()
    figure.set_layout_engine("none")
    for ending in formats:
        buffer = io.BytesIO()
        undated: dict[str, Any] = {"png": {"Software": None}, "pdf": {"CreationDate": None}, "svg": {"Date": None}}
        # svg names its clip paths by a random salt unless given one.
        with styled(), matplotlib.rc_context({"svg.hashsalt": "dpjax"}):
            figure.savefig(buffer, format=ending, metadata=undated.get(ending))
        contents[ending] = buffer.getvalue()
    return contents
