r"""A paper's table as LaTeX: ``booktabs`` alone, or with the ``S`` columns of ``siunitx``."""

import re
from collections.abc import Sequence

from dpjax.results.paper.cells import Block, Cell, Column
from dpjax.results.show import tex, tex_number

_NEEDS = {
    "booktabs": [r"% Needs \usepackage{booktabs}."],
    "siunitx": [
        r"% Needs \usepackage{booktabs,siunitx} (siunitx 3)",
        # Aligned uncertainties lose half of their bold type and the space around ± (siunitx 3.2).
        r"% and \sisetup{separate-uncertainty, detect-weight, retain-zero-uncertainty, table-align-uncertainty=false}.",
    ],
}
_COLUMN, _PAGE = 240, 345
"""Points that a column of a page in two, and a page of ``article``, have for a table."""
_LETTER, _GAP = 4.5, 12.0
"""Points of a letter in 10 pt, in the mean, and between columns."""
_FIXED = re.compile(r"-?\d+(\.\d+)?")
"""What an S column aligns; anything else stands in braces, as a text."""


def to_latex(blocks: Sequence[Block], style: str) -> str:
    r"""Tables as LaTeX, for ``\input`` into a paper.

    Formal guarantees: names are escaped. What a document needs for it is said in a comment at the top. Every line of a
    table has as many cells as it has columns.

    Args:
      blocks: of a table.
      style: ``booktabs``, or ``siunitx`` for numbers aligned at their points.

    Example:
      >>> block = Block("digits", ["δ=1e-5."], [Column("test", [Cell("0.9", "0.1", bold=True)], is_metric=True)], {})
      >>> print(to_latex([block], "siunitx"))
      % Needs \usepackage{booktabs,siunitx} (siunitx 3)
      % and \sisetup{separate-uncertainty, detect-weight, retain-zero-uncertainty, table-align-uncertainty=false}.
      \begin{table}
        \centering
        \caption{digits. $\delta$=1e-5.}
        \begin{tabular}{S[table-format=1.1(1)]}
          \toprule
          {test} \\
          \midrule
          \bfseries 0.9 \pm 0.1 \\
          \bottomrule
        \end{tabular}
      \end{table}
    """
    return "\n".join(_NEEDS[style]) + "\n" + "\n\n".join(_table(block, style) for block in blocks)


def wide_sentences(blocks: Sequence[Block]) -> list[str]:
    """What is to be said of tables that a column of a page will not hold, by a guess at their width in 10 pt.

    Args:
      blocks: of a table.

    Example:
      >>> cells = [Column("test accuracy", [Cell("0.912", "0.004")], is_metric=True)]
      >>> wide_sentences([Block("digits", [], cells, {})]), len(wide_sentences([Block("digits", [], cells * 4, {})]))
      ([], 1)
    """
    return list(dict.fromkeys(filter(None, map(_wide, blocks))))


def _wide(block: Block) -> str:
    width = round(sum(_LETTER * _letters(column) + _GAP for column in block.columns), -1)
    if width <= _COLUMN:
        return ""
    if width <= _PAGE:
        return (
            f"about {width:.0f} pt wide, where one of two columns has some {_COLUMN}: write table* in place of table, "
            r"or \small behind \centering"
        )
    return (
        f"about {width:.0f} pt wide, where a page has some {_PAGE}: make a table of each metric, or leave out columns "
        "or the spread (--spread none)"
    )


def _letters(column: Column) -> int:
    cells = (len(cell.text) + (len(cell.spread) + 3 if cell.spread else 0) for cell in column.cells)
    return max(len(column.header), *cells)


def _table(block: Block, style: str) -> str:
    aligned = style == "siunitx"
    columns = block.columns
    kinds = "".join(_kind(column, aligned) for column in columns)
    headers = [rf"{{{tex(c.header)}}}" if aligned and c.is_metric else tex(c.header) for c in columns]
    body = [" & ".join(_cell(c, c.cells[i], aligned) for c in columns) for i in range(len(columns[0].cells))]
    caption = f"{block.title}. " if block.title else ""
    return "\n".join(
        [
            *[f"% {wide[0].upper()}{wide[1:]}." for wide in [_wide(block)] if wide],
            r"\begin{table}",
            r"  \centering",
            rf"  \caption{{{tex(caption + ' '.join(block.notes))}}}",
            rf"  \begin{{tabular}}{{{kinds}}}",
            r"    \toprule",
            *[f"    {line}" for line in _groups(columns)],
            "    " + " & ".join(headers) + r" \\",
            r"    \midrule",
            *[f"    {line} \\\\" for line in body],
            r"    \bottomrule",
            r"  \end{tabular}",
            r"\end{table}",
        ]
    )


def _groups(columns: Sequence[Column]) -> list[str]:
    """Headings over several columns, and the rules below them."""
    if not any(column.group for column in columns):
        return []
    cells, rules, i = [], [], 0
    while i < len(columns):
        group, end = columns[i].group, i + 1
        while group and end < len(columns) and columns[end].group == group:
            end += 1
        cells.append(rf"\multicolumn{{{end - i}}}{{c}}{{{tex(group)}}}" if group else "")
        rules += [rf"\cmidrule(lr){{{i + 1}-{end}}}"] if group else []
        i = end
    return [" & ".join(cells) + r" \\", " ".join(rules)]


def _kind(column: Column, aligned: bool) -> str:
    if not column.is_metric:
        return "l"
    return f"S[table-format={_format(column.cells)}]" if aligned and any(map(_is_fixed, column.cells)) else "r"


def _format(cells: Sequence[Cell]) -> str:
    """The widest number of each part: digits before the point, after it, and of the uncertainty."""
    fixed = [cell for cell in cells if _is_fixed(cell)]
    whole = max(len(cell.text.lstrip("-").partition(".")[0]) for cell in fixed)
    places = max(len(cell.text.partition(".")[2]) for cell in fixed)
    sign = "-" if any(cell.text.startswith("-") for cell in fixed) else ""
    # 0.012 beside three places is an uncertainty of two digits, 1.250 one of four.
    unsure = max(len(cell.spread.replace(".", "").lstrip("0")) or 1 for cell in fixed)
    spread = f"({unsure})" if any(cell.spread for cell in fixed) else ""
    return f"{sign}{whole}.{places}{spread}" if places else f"{sign}{whole}{spread}"


def _is_fixed(cell: Cell) -> bool:
    numbers = [cell.text, *([cell.spread] if cell.spread else [])]
    return not cell.crossed and all(_FIXED.fullmatch(each) for each in numbers)


def _cell(column: Column, cell: Cell, aligned: bool) -> str:
    if not column.is_metric:
        return tex(cell.text)
    if aligned and _is_fixed(cell):
        bold = r"\bfseries " if cell.bold else ""
        return bold + (rf"{cell.text} \pm {cell.spread}" if cell.spread else cell.text)
    if cell.text == "–":
        text = "--"
    else:
        mean = rf"\mathbf{{{tex_number(cell.text)}}}" if cell.bold else tex_number(cell.text)
        text = rf"${mean} \pm {tex_number(cell.spread)}$" if cell.spread else f"${mean}$"
    text += r" $\times$" if cell.crossed else ""
    return f"{{{text}}}" if aligned else text
