"""Letters that a figure's font lacks: taken from a font of this machine that has them, or told in a sentence."""

import functools
import sys
from collections.abc import Iterable
from typing import Any

from matplotlib import font_manager
from matplotlib.figure import Figure
from matplotlib.ft2font import FT2Font
from matplotlib.text import Text

MISSING = r"Glyph .* missing from (current )?font"
"""How matplotlib warns of each, at every drawing."""


def complete(figure: Figure) -> None:
    """Has texts take what their font lacks from one that has it; what none has is told once on stderr.

    Args:
      figure: of which all is drawn.

    >>> figure = Figure()
    >>> title = figure.suptitle("Ā", family="DejaVu Sans")
    >>> complete(figure)
    >>> title.get_fontfamily()
    ['DejaVu Sans']
    """
    lacking = ""
    for text in figure.findobj(Text):
        assert isinstance(text, Text)
        families = list(text.get_fontfamily())
        missing = _missing(families[0], text.get_text())
        if not missing or len(families) > 1:
            continue
        # One that has the most of them, of equals the first by name: the same on every run.
        best = max(_families(), key=lambda family: len(missing) - len(_missing(family, missing)), default="")
        rest = _missing(best, missing) if best else missing
        lacking += rest
        if rest != missing:
            text.set_fontfamily([families[0], best])
            _of_ticks(figure, text, [families[0], best])
    if lacking:
        _tell("".join(dict.fromkeys(lacking)))


def _of_ticks(figure: Figure, text: Any, families: list[str]) -> None:
    for axes in figure.axes:
        for name, axis in (("x", axes.xaxis), ("y", axes.yaxis)):
            if text in axis.get_ticklabels(which="both"):
                axes.tick_params(axis=name, labelfontfamily=families)  # pyright: ignore[reportArgumentType]


@functools.cache
def _families() -> list[str]:
    return sorted({font.name for font in font_manager.fontManager.ttflist if font.name != "Last Resort"})


@functools.cache
def _font(family: str) -> FT2Font:
    return FT2Font(font_manager.findfont(font_manager.FontProperties(family=[family])))


def _missing(family: str, words: Iterable[str]) -> str:
    font = _font(family)
    return "".join(dict.fromkeys(sign for sign in words if sign >= " " and not font.get_char_index(ord(sign))))


@functools.cache
def _tell(signs: str) -> None:
    shown = signs if len(signs) <= 12 else f"{signs[:12]} …"
    print(
        f"note: no font of this machine has {shown}: boxes stand for them; install one that does, such as Noto Sans "
        "CJK, give it by --font, or write other words by --name.",
        file=sys.stderr,
    )
