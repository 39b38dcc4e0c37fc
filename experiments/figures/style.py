"""One style for every figure: legible in a paper's column, in grey print and to colour-blind readers.

Figures are made without pyplot, so drawing needs no display and leaves no global state behind.
"""

import io
import math
import textwrap
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from dpjax.results import write_atomically
from experiments.figures.embedding import without_layout
from experiments.figures.glyphs import MISSING, complete
from experiments.figures.look import Look
from experiments.figures.room import NOTE, fold, keep_inside, remember, stack

# Okabe and Ito's palette, without its yellow, which white paper swallows; darkest first, for grey print.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")
MARKERS = ("o", "s", "^", "D", "v", "P", "p", "<", ">")  # no cross: that is a run that diverged
LINES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (6, 1.5, 1.2, 1.5)), (0, (3, 1, 1, 1, 1, 1)), (0, (9, 1.5, 3, 1.5)))
DOTTED: Any = (0, (1, 1.8))
"""Of what was run without privacy: no line of a method has it."""
LEVEL: Any = {"color": "#8a8a8a", "ls": "-", "lw": 0.7}
"""Of a level that no run reached: what the commonest class alone would score."""
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
    "figure.dpi": 200,  # that of the file: letters are as wide as where they were measured
    "savefig.dpi": 200,
    "pdf.fonttype": 42,
    "axes.unicode_minus": False,
    "axes.formatter.useoffset": False,  # a tick says its value, and not what it is beyond a number in a corner
}

PLAIN = Look()

_TITLE = 52  # characters of a title that fit over a panel of the usual width
_NARROWEST = 2.5
"""Inches: panels that would be narrower stand below each other."""
_LOWEST = 2.3
_AROUND = 0.75  # inches
_LINE = 68  # characters of the smaller print below it

PANEL = (4.7, 3.5)
"""Width and height of one panel in inches; fonts keep their size however many there are."""


@contextmanager
def styled(look: Look = PLAIN) -> Iterator[None]:
    """The style, for as long as a figure is drawn or saved; a user's own settings come back after.

    Formal guarantees: all that it does not name is as matplotlib ships it, whatever a user's own ``matplotlibrc`` says.

    Args:
      look: its font and size.

    >>> with styled():
    ...     matplotlib.rcParams["pdf.fonttype"]
    42
    """
    with matplotlib.rc_context(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", MISSING)  # `complete` tells them once
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(STYLE)
        scale = look.points / STYLE["font.size"]
        changed: Any = {name: STYLE[name] * scale for name in STYLE if name.endswith("size") and "marker" not in name}
        changed |= {"lines.linewidth": 1.3, "lines.markersize": 4.6} if look.is_narrow else {}
        changed |= {"font.family": look.font, "mathtext.fontset": "stix" if "STIX" in look.font else "dejavusans"}
        matplotlib.rcParams.update(changed)
        yield


def panels(
    count: int, size: tuple[float, float] = PANEL, look: Look = PLAIN, per_row: int = 3
) -> tuple[Figure, list[Axes]]:
    """A figure of so many equal panels, at most three in a row.

    Formal guarantees: where a width is asked for, the figure is exactly as wide, and so is its file.

    Args:
      count: number of panels, at least one.
      size: width and height of one, in inches, where the look asks for no other.
      look: width and height of the whole.
      per_row: panels in a row, where there is room for them.

    >>> figure, axes = panels(4)
    >>> len(axes), float(figure.get_figheight())
    (4, 7.0)
    """
    columns = min(count, per_row)
    if look.width is not None:
        columns = max(1, min(columns, int(look.width / _NARROWEST)))
    rows = math.ceil(count / columns)
    width = look.width or size[0] * columns
    # A narrow panel is not as low as it is narrow: its text keeps its size.
    height = look.height or rows * max(size[1] * (width / columns / size[0]), min(size[1], _LOWEST))
    figure = Figure(figsize=(width, height), layout="constrained")
    engine: Any = figure.get_layout_engine()
    pads = {"w_pad": 0.035, "h_pad": 0.02} if look.width is not None else {"w_pad": 0.08, "h_pad": 0.06}
    engine.set(**pads)
    grid = figure.subplots(rows, columns, squeeze=False)
    axes = list(grid.flat)
    for spare in axes[count:]:
        spare.set_axis_off()
    return figure, axes[:count]


def head(axes: Axes, title: str, lines: Sequence[str], look: Look = PLAIN, *, apart: str = "") -> None:
    """A panel's title, and below it what the panel rests on in smaller print.

    Formal guarantees: title and lines are the panel's ``get_label()`` too, which goes into the file as its caption,
    whether they are drawn or not.

    Args:
      axes: the panel.
      title: in bold.
      lines: sentences, one a line.
      look: whether there is a title at all, and how large.
      apart: what tells this panel from its neighbours, which is drawn where the rest is not.

    >>> figure, (axes,) = panels(1)
    >>> head(axes, "digits", ["δ=1e-5"])
    >>> axes.get_title(loc="left"), axes.get_label()
    ('digits', 'digits: δ=1e-5')
    """
    axes.set_label(": ".join(filter(None, [title, _in_sentences(lines)])))
    figure = axes.get_figure(root=True)
    spec = axes.get_subplotspec()
    columns = spec.get_gridspec().ncols if spec else 1
    assert figure is not None
    room = 1.0 if look.width is None else (figure.get_figwidth() / columns / PANEL[0]) * 9.0 / look.points
    title, apart = plain(title), plain(apart)
    if not look.title:
        if apart and spec and spec.get_gridspec().nrows * columns > 1:
            axes.set_title(textwrap.fill(apart, max(12, int(_TITLE * room))), loc="left", fontweight="bold", pad=5)
        return
    lines = [plain(line) for line in lines]
    width = max(16, int(_TITLE * room))
    remember(axes.set_title(fold(title, width), loc="left", fontweight="bold"), title)
    width = max(20, int(_LINE * room))
    for line in reversed(lines):
        note = axes.annotate(
            fold(line, width), (0, 1), xytext=(0, 6), xycoords="axes fraction", textcoords="offset points",
            size=look.points * 8 / 9, color=MUTED, annotation_clip=False, gid=NOTE,
        )  # fmt: skip
        remember(note, line)
        note.set_in_layout(look.width is None)  # a line that is too long is folded, and squeezes no panel
    stack(axes, look.points)


def level(axes: Axes, value: float, name: str) -> Any:
    """A thin line from side to side at a level that no run reached, and its entry in a legend.

    Args:
      axes: the panel.
      value: on the y axis.
      name: of the level.

    >>> figure, (axes,) = panels(1)
    >>> level(axes, 0.88, "commonest class").get_label()
    'commonest class: 0.880'
    """
    axes.axhline(value, zorder=0.9, **LEVEL)
    return Line2D([], [], label=f"{name}: {value:.3f}", **LEVEL)


def plain(words: str) -> str:
    """Words as they are written: to matplotlib what stands between two $ is a formula.

    Args:
      words: of the results.

    >>> plain("5 $ a run")
    '5 \\\\$ a run'
    """
    return words.replace("$", r"\$")


def fit(figure: Figure, look: Look) -> None:
    """Makes a figure of a given width as high as its notes and legends need, so that its panels stay open.

    Formal guarantees: no word of it runs beyond the picture, as far as folding helps.

    Args:
      figure: what a chart's function drew.
      look: in which; nothing changes where it has a height, or no width.

    >>> figure, (axes,) = panels(1, look=(look := Look(width=3.3)))
    >>> head(axes, "digits", ["a sentence"] * 6, look)
    >>> before = figure.get_figheight()
    >>> fit(figure, look)
    >>> bool(figure.get_figheight() > before)
    True
    """
    complete(figure)
    if look.width is None:
        return
    first, count = figure.get_figheight(), 1
    with styled(look):
        keep_inside(figure, look.points, may_grow=look.height is None)
    if look.height is not None:
        return
    rows: dict[int, float] = {}
    whole = figure.get_figheight()
    for axes in figure.axes:
        spec = axes.get_subplotspec()
        if spec is not None and axes.axison:
            count = spec.get_gridspec().nrows
            rows[spec.rowspan.start] = min(rows.get(spec.rowspan.start, whole), axes.get_position().height * whole)
    # Ticks, a name below them and one line above: the rest of what a panel is handed is for its data.
    wanted = first / count - _AROUND * look.points / 9
    missing = sum(wanted - height for height in rows.values())
    figure.set_size_inches(look.width, max(first, whole + missing))
    with styled(look):
        keep_inside(figure, look.points, may_grow=True)  # ticks change with the height


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


def _in_sentences(lines: Sequence[str]) -> str:
    """Lines as running text: a sentence ends before what begins with a capital, and nowhere else."""
    told = ""
    for line in lines:
        told += f"{'. ' if line[:1].isupper() else '; '}{line}" if told else line
    return told


def caption_of(figure: Figure) -> str:
    """What a figure rests on, panel by panel: what its notes say where they are drawn, and its caption where not.

    Args:
      figure: what a chart's function returned.

    >>> figure, (axes,) = panels(1)
    >>> head(axes, "digits", ["δ=1e-5"])
    >>> caption_of(figure)
    'digits: δ=1e-5.'
    """
    told = [str(axes.get_label()) for axes in figure.axes]
    return " ".join(f"{words}." for words in dict.fromkeys(told) if words and not words.startswith("<"))


def rendered(figure: Figure, formats: Sequence[str], look: Look = PLAIN) -> dict[str, bytes]:
    """The bytes of a figure's file in each format; those that ``save`` writes.

    Args:
      figure: what a chart's function returned.
      formats: endings that matplotlib knows: png, pdf, svg.
      look: in which it was drawn.

    >>> rendered(panels(1)[0], ["pdf"])["pdf"][:5]
    b'%PDF-'
    """
    contents = {}
    caption = caption_of(figure)
    complete(figure)
    with styled(look):  # laid out once, where each format would do so again
        figure.draw_without_rendering()
    figure.set_layout_engine("none")
    for ending in formats:
        buffer = io.BytesIO()
        undated: dict[str, Any] = {
            "png": {"Software": None, "Description": caption},
            "pdf": {"CreationDate": None, "Subject": caption},
            "svg": {"Date": None, "Description": caption},
        }
        # svg names its clip paths by a random salt unless given one.
        with styled(look), matplotlib.rc_context({"svg.hashsalt": "dpjax"}), without_layout():
            figure.savefig(buffer, format=ending, metadata=undated.get(ending))
        contents[ending] = buffer.getvalue()
    return contents
