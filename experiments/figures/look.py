"""How a figure is to look: its size in the page, its font, what it says of itself, and what spread it shows."""

import math
import re
from typing import Literal, NamedTuple, get_args

import numpy as np
import pandas as pd

from dpjax.checks import nearest
from dpjax.results import ResultsError
from dpjax.results.claims import small
from dpjax.results.intervals import half_width

Spread = Literal["std", "ci", "sem", "none"]
WIDTHS = {"column": 8.4, "text": 17.4}
"""Centimetres: a column of a page of two, and both; what IEEE, ACM and ICML print differs from it by millimetres."""
FONTS = {"sans": "DejaVu Sans", "serif": "STIXGeneral", "mono": "DejaVu Sans Mono"}
"""Families that come with matplotlib, by the words that they are asked for; STIX goes with Times."""
_UNITS = {"cm": 1 / 2.54, "mm": 1 / 25.4, "in": 1.0, "pt": 1 / 72.27}
_SMALLEST, _LARGEST = 1.0, 60.0
_WIDE = 4.5
"""Inches from which on a single panel is as it is without a width asked for."""


class Look(NamedTuple):
    """What a reader of the figure sees, whatever it is of.

    Attributes:
      width: of the whole figure, in inches; as wide as its panels ask for if None.
      height: of the whole figure, in inches; in proportion to the width if None.
      font: a family that matplotlib has.
      size: of its text, in points; 9, or 8 where a width is asked for and is narrow, if None.
      title: whether title and notes stand in the picture; where not, they are its caption.
      spread: what bands and bars are, either side of the mean over seeds.
      confidence: of the interval, for ``spread="ci"``.
    """

    width: float | None = None
    height: float | None = None
    font: str = FONTS["sans"]
    size: float | None = None
    title: bool = True
    spread: Spread = "std"
    confidence: float = 0.95

    @property
    def points(self) -> float:
        """Size of the text."""
        return self.size or (8.0 if self.is_narrow else 9.0)

    @property
    def is_narrow(self) -> bool:
        """Whether the figure has no room beside its panels."""
        return self.width is not None and self.width < _WIDE

    def half_widths(self, points: pd.DataFrame, metric: str) -> np.ndarray:
        """What is drawn either side of each point's mean; missing where no spread is known.

        Args:
          points: rows of ``dpjax.results.summary``.
          metric: the column.

        Example:
          >>> points = pd.DataFrame({"loss_std": [0.1], "n": [4]})
          >>> Look(spread="sem").half_widths(points, "loss").tolist()
          [0.05]
        """
        std, n = points[f"{metric}_std"].to_numpy(float), points["n"].to_numpy(float)
        if self.spread == "ci":
            return half_width(std, n, self.confidence)
        return {"std": std, "sem": std / np.sqrt(n)}.get(self.spread, np.full(len(std), np.nan))

    @property
    def spread_words(self) -> str:
        """What a figure says that its bands are.

        Example:
          >>> Look(spread="ci").spread_words
          'mean ± 95 % interval'
        """
        interval = f"{small(round(100 * self.confidence, 6))} % interval"
        words = {"std": "std", "ci": interval, "sem": "std error"}
        return f"mean ± {words[self.spread]}" if self.spread in words else "mean"


def look_of(
    width: str = "",
    height: str = "",
    font: str = "",
    font_size: float | None = None,
    title: bool = True,
    spread: str = "std",
    confidence: float = 0.95,
) -> Look:
    """A look in the words of the command line and of a saved figure.

    Args:
      width: ``column``, ``text``, or a length such as ``9cm``, ``85mm``, ``3.3in``, ``240pt``; empty for none.
      height: a length; empty for none.
      font: ``sans``, ``serif``, ``mono`` or a family that is installed; empty for sans.
      font_size: in points.
      title: see ``Look``.
      spread: see ``Look``.
      confidence: see ``Look``.

    Raises:
      ResultsError: a length, a font, a spread or a number that cannot be.

    Example:
      >>> round(look_of("column").width, 3), look_of("9cm", font="serif").font
      (3.307, 'STIXGeneral')
      >>> look_of("9")
      Traceback (most recent call last):
          ...
      dpjax.results.errors.ResultsError: width 9 has no unit: write 9cm, or one of mm, in, pt
    """
    if spread not in get_args(Spread):
        near = nearest(spread, get_args(Spread))
        raise ResultsError(
            f"spread {spread} is not known: choose one of {', '.join(get_args(Spread))}"
            + (f", perhaps {near}" if near else "")
        )
    if not 0 < confidence < 1:
        raise ResultsError(f"confidence is {confidence}: give a number between 0 and 1, such as 0.95")
    if font_size is not None and not 3 <= font_size <= 40:
        raise ResultsError(f"font_size is {font_size}: give 3 to 40 points, such as 8")
    return Look(_inches("width", width), _inches("height", height), _family(font), font_size, title, spread, confidence)  # pyright: ignore[reportArgumentType]


def _inches(name: str, words: str) -> float | None:
    words = str(words).strip()
    if not words:
        return None
    if words in WIDTHS and name == "width":
        return WIDTHS[words] / 2.54
    match = re.fullmatch(r"(\d+\.?\d*|\.\d+)\s*([a-zA-Z]*)", words)
    if match is None:
        also = "column, text, or " if name == "width" else ""
        raise ResultsError(f"{name} {words!r} is no length: give {also}one such as 9cm, 85mm, 3.3in or 240pt")
    number, unit = float(match[1]), match[2].lower()
    if not unit:
        raise ResultsError(f"{name} {words} has no unit: write {words}cm, or one of mm, in, pt")
    if unit not in _UNITS:
        raise ResultsError(f"{name} {words} is in {unit}, which is not known: use one of {', '.join(_UNITS)}")
    inches = number * _UNITS[unit]
    if not _SMALLEST <= inches <= _LARGEST or not math.isfinite(inches):
        raise ResultsError(f"{name} {words} is {inches:.3g} inches: give one between 1 and 60 inches, such as 9cm")
    return inches


def _family(font: str) -> str:
    if not font or font in FONTS:
        return FONTS[font or "sans"]
    from matplotlib import font_manager

    families = sorted(set(font_manager.get_font_names()))
    if font in families:
        return font
    near = nearest(font, families)
    raise ResultsError(
        f"font {font!r} is not installed: choose sans, serif, mono or a family that is"
        + (f", perhaps {near!r}" if near else "")
    )
