"""Words of a figure that has a width are kept within it: folded by what they measure, not by their number of signs."""

import textwrap
import warnings
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.ticker import FixedLocator

NOTE = "note"
"""What a panel's notes are marked by, a line each, from the lowest up."""
_ROUNDS = 9
_FEWEST = 6  # letters of a line: below, words are unreadable anyway


def keep_inside(figure: Figure, points: float, *, may_grow: bool = False) -> None:
    """Folds every title, note, name of an axis, tick and entry of a legend that would leave the picture.

    Args:
      figure: drawn, with its width.
      points: size of its text.
      may_grow: whether it may be higher, where what was folded leaves its panels no room.

    >>> figure = Figure(figsize=(3, 2), layout="constrained")
    >>> title = figure.subplots().set_title("a title that is by far too long (for so narrow a picture)", loc="left")
    >>> keep_inside(figure, 9.0)
    >>> title.get_text().count("\\n") > 0
    True
    """
    names: dict[Any, list[str]] = {}
    for _ in range(_ROUNDS):
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            figure.draw_without_rendering()
        folded = [_fold(text, figure) for text in figure.findobj(_is_free)]
        folded += [_fold_ticks(axes, figure, names) for axes in figure.axes if axes.axison]
        if not any(folded):
            if not (may_grow and any("collapsed" in str(each.message) for each in said)):
                return
            figure.set_figheight(1.4 * figure.get_figheight())
        for axes in figure.axes:
            stack(axes, points)


def stack(axes: Axes, points: float) -> None:
    """Puts the lines of a panel's notes above each other, and its title above them.

    Args:
      axes: the panel.
      points: size of the figure's text.
    """
    notes: list[Any] = [text for text in axes.texts if text.get_gid() == NOTE]
    if not notes:
        return
    step = 11 * points / 9
    lines = 0
    for note in notes:
        note.xyann = (0, 6 + step * lines)
        lines += note.get_text().count("\n") + 1
    axes.set_title(axes.get_title(loc="left"), loc="left", fontweight="bold", pad=8 + step * lines)


def remember(text: Text, words: str) -> None:
    """Has a text know its words whole, to be folded anew; by ``_`` legends take it for no entry of theirs.

    Args:
      text: of a figure.
      words: before any folding.
    """
    text.set_label(f"_{words}")


def _is_free(artist: Any) -> bool:
    return isinstance(artist, Text) and bool(artist.get_visible() and artist.get_text().strip())


def _fold(text: Any, figure: Figure) -> bool:
    if any(text in axis.get_ticklabels(which="both") for axes in figure.axes for axis in (axes.xaxis, axes.yaxis)):
        return False  # which their axis writes anew: see `_fold_ticks`
    box, whole = text.get_window_extent(), figure.bbox
    upright = text.get_rotation() in (90.0, 270.0)
    low, high, end = (box.y0, box.y1, whole.height) if upright else (box.x0, box.x1, whole.width)
    if low >= -1 and high <= end + 1:
        return False
    align = text.get_ha() if not upright else {"bottom": "left", "top": "right"}.get(text.get_va(), "center")
    if text.get_rotation_mode() == "anchor" and upright:
        align = text.get_ha()
    middle = (low + high) / 2
    room = {"left": end - low, "right": high}.get(align, 2 * min(middle, end - middle))
    if room <= 0 or high - low > end:
        room = min(end, max(room, end / 2))
    return _into(text, room / (high - low))


def _into(text: Any, share: float) -> bool:
    words = text.get_text()
    lines = words.split("\n")
    if not text.get_label():
        remember(text, " ".join(lines))
    longest = max(map(len, lines))
    width = max(_FEWEST, min(longest - 1, int(longest * share * 0.95)))
    folded = fold(str(text.get_label())[1:], width)
    if folded == words:
        return False
    text.set_text(folded)
    return True


def _fold_ticks(axes: Axes, figure: Figure, names: dict[Any, list[str]]) -> bool:
    changed = False
    for axis, end in ((axes.xaxis, figure.bbox.width), (axes.yaxis, figure.bbox.width / 3)):
        if not isinstance(axis.get_major_locator(), FixedLocator):
            continue  # numbers, which matplotlib chose
        labels = [label for label in axis.get_ticklabels() if label.get_text()]
        boxes = [label.get_window_extent() for label in labels]
        room = end if axis is axes.yaxis else axes.bbox.width / max(1, len(labels))
        widest = max((box.width for box in boxes), default=0.0)
        # Beside its axis a name finds its place once it is short enough.
        outside = axis is axes.xaxis and any(box.x0 < -1 or box.x1 > end + 1 for box in boxes)
        if widest <= room and not outside:
            continue
        longest = max(len(line) for label in labels for line in label.get_text().split("\n"))
        share = min(room / widest, 0.8) if outside else room / widest
        width = max(_FEWEST, min(longest - 1, int(longest * share)))
        before = [label.get_text() for label in axis.get_ticklabels()]
        whole = names.setdefault(axis, [words.replace("\n", " ") for words in before])
        folded = [fold(words, width) for words in whole]
        if folded != before:
            axis.set_ticks(list(axis.get_majorticklocs()), folded)
            changed = True
    return changed


def fold(words: str, width: int) -> str:
    r"""Words in lines of so many signs: after commas where that goes, at any space else, within a word at last.

    Args:
      words: without line breaks.
      width: signs of a line.

    >>> fold("digits, mlp (δ=1e-5)", 14)
    'digits,\nmlp (δ=1e-5)'
    """
    whole = words.replace(" ", "\N{NO-BREAK SPACE}")
    for sign in (",", ";", ":"):
        whole = whole.replace(f"{sign}\N{NO-BREAK SPACE}", f"{sign} ")
    parts = [part.replace("\N{NO-BREAK SPACE}", " ") for part in textwrap.wrap(whole, width, break_long_words=False)]
    return "\n".join(piece for part in parts for piece in textwrap.wrap(part, width))
