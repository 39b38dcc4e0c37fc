"""A results table for a terminal, a README and a paper."""

import re

from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text

from dpjax.results.sheet import Field, Sheet

_STAR = "★"
_NUMBERS = re.compile(r"-?[\d.e-]+ ± [\d.e-]+")


MOST = 400
"""Rows of a table in a terminal."""


def to_rich(sheets: list[Sheet], width: int) -> Group:
    """Sheets as tables for a terminal of so many signs.

    Formal guarantees: the best of each ε carries a star and is bold, non-private rows are named as such, and columns
    that a narrow terminal has no room for are left out and named below. Of more rows than anybody reads, the best of
    each ε and those without privacy stay, and how many are left out is said.

    Args:
      sheets: what ``dpjax.results.sheet.sheets`` gave.
      width: signs in a line.

    Example:
      >>> from rich.console import Console
      >>> sheet = Sheet("digits", ["δ=1e-5."], [Field("ε", ["1", "∞"], 0)], [True, True], [True, False])
      >>> with (console := Console(width=70)).capture() as capture:
      ...     console.print(to_rich([sheet], 70))
      >>> print(capture.get().split("\\n")[3].strip())
      1
    """
    parts: list[Table | Text] = []
    for sheet in sheets:
        visible = _fitting(_flagged(sheet, width), width)
        table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)
        for field in visible:
            table.add_column(field.header, justify="right", no_wrap=True)
        rows = list(enumerate(zip(sheet.best, sheet.private, strict=True)))
        read = rows if len(rows) <= MOST else [(row, kind) for row, kind in rows if kind[0] or not kind[1]][:MOST]
        for row, (best, private) in read:
            style = "bold" if best else ("" if private else "dim")
            table.add_row(*[Text(field.cells[row]) for field in visible], style=style)
        shown = {field.header for field in visible}
        hidden = [field.header for field in sheet.fields if field.header not in shown]
        unread = f"{len(rows) - len(read):,} of {len(rows):,} points left out, which are not the best of their ε: "
        unread += "--select 'epsilon<=1' shows some, --csv and --markdown all."
        notes = [
            *([unread] if len(read) < len(rows) else []),
            *sheet.notes,
            *([f"Left out for width: {', '.join(hidden)}."] if hidden else []),
        ]
        parts += [Text(sheet.title, style="bold"), table, *[Text(note, style="dim") for note in notes], Text("")]
    return Group(*parts[:-1])


def to_markdown(sheets: list[Sheet]) -> str:
    """Sheets as Markdown tables.

    Args:
      sheets: what ``dpjax.results.sheet.sheets`` gave.

    Example:
      >>> print(to_markdown([Sheet("digits", ["δ=1e-5."], [Field("ε", ["1"], 0)], [True], [True])]))
      **digits**
      <BLANKLINE>
      | ε |
      |--:|
      | 1 |
      <BLANKLINE>
      δ=1e-5.
    """
    blocks = []
    for sheet in sheets:
        header = "| " + " | ".join(markdown_text(field.header) for field in sheet.fields) + " |"
        rule = "|" + "|".join("--:" for _ in sheet.fields) + "|"
        rows = [
            "| " + " | ".join(_bold(field, row, sheet, "**{}**") for field in sheet.fields) + " |"
            for row in range(len(sheet.best))
        ]
        notes = markdown_text(" ".join(sheet.notes).replace(" (★)", " (bold)"))
        blocks.append("\n".join([f"**{markdown_text(sheet.title)}**", "", header, rule, *rows, "", notes]))
    return "\n\n".join(blocks)


def to_latex(sheets: list[Sheet]) -> str:
    r"""Sheets as LaTeX tables in the manner of booktabs, for ``\input`` into a paper.

    Formal guarantees: needs ``\usepackage{booktabs}`` and no other package; names are escaped.

    Args:
      sheets: what ``dpjax.results.sheet.sheets`` gave.

    Example:
      >>> print(to_latex([Sheet("digits", ["δ=1e-5."], [Field("ε", ["1"], 0)], [True], [True])]))
      \begin{table}
        \centering
        \caption{digits. $\delta$=1e-5.}
        \begin{tabular}{r}
          \toprule
          $\varepsilon$ \\
          \midrule
          1 \\
          \bottomrule
        \end{tabular}
      \end{table}
    """
    blocks = []
    for sheet in sheets:
        notes = " ".join(sheet.notes).replace(" (★)", " (bold)")
        rows = []
        for row in range(len(sheet.best)):
            if row and not sheet.private[row] and sheet.private[row - 1]:
                rows.append(r"    \midrule")
            cells = [_tex_cell(field, row, sheet) for field in sheet.fields]
            rows.append("    " + " & ".join(cells) + r" \\")
        blocks.append(
            "\n".join(
                [
                    r"\begin{table}",
                    r"  \centering",
                    rf"  \caption{{{tex(sheet.title)}. {tex(notes)}}}",
                    rf"  \begin{{tabular}}{{{'r' * len(sheet.fields)}}}",
                    r"    \toprule",
                    "    " + " & ".join(tex(field.header) for field in sheet.fields) + r" \\",
                    r"    \midrule",
                    *rows,
                    r"    \bottomrule",
                    r"  \end{tabular}",
                    r"\end{table}",
                ]
            )
        )
    return "\n\n".join(blocks)


def _flagged(sheet: Sheet, width: int) -> list[Field]:
    # A narrow terminal needs the room: there ∞ must say by itself that a row is not private.
    name = "∞ (non-private)" if width >= 60 else "∞"
    first, *rest = sheet.fields
    first = first._replace(cells=[c if p else name for c, p in zip(first.cells, sheet.private, strict=True)])
    return [first] + [
        f._replace(cells=[f"{_STAR} {c}" if b else c for c, b in zip(f.cells, sheet.best, strict=True)])
        if f.is_metric and len(sheet.best) > 1
        else f
        for f in rest
    ]


def _fitting(fields: list[Field], width: int) -> list[Field]:
    shown = list(fields)
    while sum(max(map(len, [f.header, *f.cells])) + 2 for f in shown) > width and any(f.priority for f in shown):
        shown.remove(max(shown, key=lambda field: field.priority))
    return shown


def _bold(field: Field, row: int, sheet: Sheet, mark: str) -> str:
    cell = markdown_text(field.cells[row])
    return mark.format(cell) if field.is_metric and sheet.best[row] and len(sheet.best) > 1 else cell


def _tex_cell(field: Field, row: int, sheet: Sheet) -> str:
    mean, plus, std = field.cells[row].partition(" ± ")
    if not plus or not _NUMBERS.fullmatch(field.cells[row]):  # a name may have the sign in it
        mean = field.cells[row]
        bold = field.is_metric and sheet.best[row] and len(sheet.best) > 1
        return rf"\textbf{{{tex(mean)}}}" if bold else tex(mean)
    bold = field.is_metric and sheet.best[row] and len(sheet.best) > 1
    mean, std = tex_number(mean), tex_number(std)
    return rf"$\mathbf{{{mean}}} \pm {std}$" if bold else rf"${mean} \pm {std}$"


_TEX = {
    "ε": r"$\varepsilon$",
    "δ": r"$\delta$",
    "±": r"$\pm$",
    "∞": r"$\infty$",
    "–": "--",
    "★": r"$\star$",
    "×": r"$\times$",
    "†": r"$^\dagger$",
}
_TEX |= {sign: rf"\{sign}" for sign in "_%&#{}$"} | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}"}
_TEX |= {"^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}"}
_MARKDOWN = {sign: rf"\{sign}" for sign in "\\`*|$"} | {"&": "&amp;", "<": "&lt;", ">": "&gt;", "\n": " "}


def tex(words: str) -> str:
    r"""Text with the signs of the field as LaTeX writes them.

    Args:
      words: any text.

    Example:
      >>> tex("ε=3 & 5 %")
      '$\\varepsilon$=3 \\& 5 \\%'
    """
    return "".join(_TEX.get(sign, sign) for sign in words)


def markdown_text(words: str) -> str:
    r"""Text that Markdown shows as it is, in a table too: no tag, no formula, no column of it.

    Args:
      words: any text.

    Example:
      >>> markdown_text("<b> & $x|y$")
      '&lt;b&gt; &amp; \\$x\\|y\\$'
    """
    return "".join(_MARKDOWN.get(sign, sign) for sign in words)


def tex_number(number: str) -> str:
    r"""A number in the signs of a table, as LaTeX writes it between ``$``.

    Args:
      number: such as ``0.9``, ``2e9`` or ``∞``.

    Example:
      >>> tex_number("0.9"), tex_number("2e-9"), tex_number("∞")
      ('0.9', '2 \\cdot 10^{-9}', '\\infty')
    """
    mantissa, sign, exponent = number.replace("∞", r"\infty").partition("e")
    return rf"{mantissa} \cdot 10^{{{exponent}}}" if sign else mantissa
