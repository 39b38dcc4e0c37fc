"""Fonts in PDF files: what a reader of the file draws with, and nothing that only a layout engine would read.

matplotlib places every glyph itself and names it by its number. Of a font with ligatures, kerning and formulas it would
still cut the tables of these down to the glyphs that are used, which took most of the time of a file.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from fontTools import subset

LAYOUT = ("GDEF", "GPOS", "GSUB", "MATH", "kern", "mort", "morx", "BASE", "JSTF")
"""Tables of layout, which ISO 32000 asks of no font that a PDF file embeds (9.9, table 126)."""


@contextmanager
def without_layout() -> Iterator[None]:
    """Within it embedded fonts have no tables of layout; where fontTools has another way to say it, nothing changes."""
    options: Any = subset.Options
    before = getattr(options, "_drop_tables_default", None)
    if before is None:
        yield
        return
    options._drop_tables_default = [*before, *LAYOUT]
    try:
        yield
    finally:
        options._drop_tables_default = before
