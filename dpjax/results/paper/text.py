"""A paper's table as plain text, as Markdown and as CSV."""

import csv
import io
from collections.abc import Sequence

from dpjax.results.paper.captions import BOLD
from dpjax.results.paper.cells import Block, Cell, Column
from dpjax.results.remarks import MARK
from dpjax.results.show import markdown_text

_STAR = "★"


def to_text(blocks: Sequence[Block]) -> str:
    """Tables in plain signs: a star stands before what is bold.

    Args:
      blocks: of a table.
    """
    return "\n\n".join(_text(block) for block in blocks)


def to_markdown(blocks: Sequence[Block]) -> str:
    """Tables as Markdown; headings over several columns stand in each of them.

    Args:
      blocks: of a table.
    """
    parts = []
    for block in blocks:
        headers = [markdown_text(header) for header in _headers(block.columns)]
        rows = [headers, *[[_markdown(c.cells[i]) for c in block.columns] for i in _rows(block)]]
        rule = "|" + "|".join("--:" if column.is_metric else ":--" for column in block.columns) + "|"
        lines = ["| " + " | ".join(row) + " |" for row in rows]
        lines = [lines[0], rule, *lines[1:]]
        heading = [f"**{markdown_text(block.title)}**", ""] if block.title else []
        parts.append("\n".join([*heading, *lines, "", markdown_text(" ".join(block.notes))]))
    return "\n\n".join(parts)


def to_csv(blocks: Sequence[Block]) -> str:
    """All tables as one of comma-separated values, each mean and each spread in a column of its own.

    Args:
      blocks: of a table.
    """
    header: dict[str, None] = {}
    lines: list[dict[str, str]] = []
    for block in blocks:
        names = _headers(block.columns)
        for i in _rows(block):
            line = dict(block.keys)
            for name, column in zip(names, block.columns, strict=True):
                cell = column.cells[i]
                name = name.replace(MARK, "")  # which stands for a note that a file of numbers has not
                line[name] = (
                    "" if cell.text == "–" else cell.text.replace("∞", "inf") if column.is_metric else cell.text
                )
                if any(each.spread for each in column.cells):
                    line[f"{name} ±"] = cell.spread
            header |= dict.fromkeys(line)
            lines.append(line)
    out = io.StringIO()
    writer = csv.DictWriter(out, list(header), restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return out.getvalue()


def _rows(block: Block) -> range:
    return range(len(block.columns[0].cells))


def _headers(columns: Sequence[Column]) -> list[str]:
    """One heading a column: the group's with it, where there are several."""
    several = len({column.group for column in columns if column.group}) > 1
    return [f"{c.group}, {c.header}" if several and c.group else c.header for c in columns]


def _plain(cell: Cell) -> str:
    return f"{cell.text} ± {cell.spread}" if cell.spread else cell.text


def _markdown(cell: Cell) -> str:
    text = markdown_text(_plain(cell))
    text = f"**{text}**" if cell.bold else text
    return f"{text} ×" if cell.crossed else text


def _text(block: Block) -> str:
    cells = [[f"{_STAR} " * c.bold + _plain(c) + " ×" * c.crossed for c in column.cells] for column in block.columns]
    widths = [max(map(len, [column.header, *each])) for column, each in zip(block.columns, cells, strict=True)]
    lines = [_group_line(block.columns, widths)]
    aligned = zip([column.header for column in block.columns], widths, block.columns, strict=True)
    lines.append("  ".join(_aligned(header, width, column) for header, width, column in aligned))
    lines.append("─" * (sum(widths) + 2 * len(widths) - 2))
    for i in _rows(block):
        row = zip([each[i] for each in cells], widths, block.columns, strict=True)
        lines.append("  ".join(_aligned(text, width, column) for text, width, column in row))
    notes = [note.replace(BOLD, _STAR, 1) if note.startswith(BOLD) else note for note in block.notes]
    return "\n".join(line.rstrip() for line in [block.title, *lines, *notes] if line)


def _aligned(text: str, width: int, column: Column) -> str:
    return text.rjust(width) if column.is_metric else text.ljust(width)


def _group_line(columns: Sequence[Column], widths: list[int]) -> str:
    if not any(column.group for column in columns):
        return ""
    line, i = "", 0
    while i < len(columns):
        span = i + 1
        while span < len(columns) and columns[i].group and columns[span].group == columns[i].group:
            span += 1
        width = sum(widths[i:span]) + 2 * (span - i - 1)
        line += columns[i].group.center(width) + "  "
        i = span
    return line.rstrip()
