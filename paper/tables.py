"""Tables as Markdown and as LaTeX (booktabs), from the same cells; the same results give the same bytes."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from dpjax.results.claims import small
from dpjax.results.show import tex
from experiments.leaderboard.declare import SETTINGS, Method, Task
from paper.published import Comparison
from paper.references import cite


class Table(NamedTuple):
    """A table before it is written.

    Attributes:
      name: of its files.
      caption: one sentence or two.
      headers: of the columns.
      rows: texts; an empty row parts groups.
      align: ``l``, ``r``, ``w`` or ``m`` (left, in lines as wide as nearly half or a fifth of the page) per column.
      bold: (row, column) of what is set off.
      cited: column whose sources LaTeX cites; None for none.
    """

    name: str
    caption: str
    headers: Sequence[str]
    rows: Sequence[Sequence[str]]
    align: str
    bold: frozenset[tuple[int, int]] = frozenset()
    cited: int | None = None


_RAGGED = r">{\raggedright\arraybackslash}"
_WRAPPED = {"w": rf"{_RAGGED}p{{.45\linewidth}}", "m": rf"{_RAGGED}p{{.2\linewidth}}"}


def to_markdown(table: Table) -> str:
    """As Markdown.

    >>> print(to_markdown(Table("t", "", ["a", "b"], [["x", "1"]], "lr")))
    | a | b |
    |---|--:|
    | x | 1 |
    """
    rule = "|".join("--:" if side == "r" else "---" for side in table.align)
    lines = [f"| {' | '.join(table.headers)} |", f"|{rule}|"]
    for i, row in enumerate(table.rows):
        if row:
            cells = [f"**{cell}**" if (i, j) in table.bold else cell for j, cell in enumerate(row)]
            lines.append(f"| {' | '.join(cell.replace('|', '\\|') for cell in cells)} |")
    return "\n".join(lines)


def to_latex(table: Table) -> str:
    """As a LaTeX ``longtable``, which may run over pages.

    >>> print(to_latex(Table("t", "A table.", ["a", "b"], [["x", "1"]], "lr")).splitlines()[0])
    \\begin{longtable}{lr}
    """
    head = " & ".join(tex(header) for header in table.headers)
    align = "".join(_WRAPPED.get(side, side) for side in table.align)
    lines = [rf"\begin{{longtable}}{{{align}}}"]
    lines += [rf"  \caption{{{tex(table.caption)}}}\label{{tab:{table.name}}} \\", r"  \toprule", f"  {head} \\\\"]
    lines += [r"  \midrule", r"  \endfirsthead", r"  \toprule", f"  {head} \\\\", r"  \midrule", r"  \endhead"]
    lines += [r"  \bottomrule", r"  \endfoot"]
    for i, row in enumerate(table.rows):
        if not row:
            lines.append(r"  \midrule")
            continue
        cells = [rf"\textbf{{{tex(cell)}}}" if (i, j) in table.bold else tex(cell) for j, cell in enumerate(row)]
        if table.cited is not None:
            cells[table.cited] += cite(row[table.cited])
        lines.append("  " + " & ".join(cells) + r" \\")
    return "\n".join([*lines, r"\end{longtable}"])


def accounting_table(rows: Sequence[Comparison]) -> Table:
    """Computed values: published, ours, and how far ours may be off."""
    cells = [
        [str(r.row), r.source, r.quantity, f"{r.published:.9g}", _number(r), _tolerance(r), r.verdict]
        for r in sorted(rows, key=lambda row: row.row)
    ]
    caption = "Published values of accounting and auditing, and those computed here."
    headers = ["row", "source", "quantity", "published", "ours", "tolerance", "verdict"]
    return Table("accounting", caption, headers, cells, "rmwrrrl", cited=1)


def training_table(rows: Sequence[Comparison]) -> Table:
    """Trained values: published, ours, and how the data differ."""
    cells = []
    for r in rows:
        ours = "–" if r.ours is None else f"{r.ours:.1f}" + (f" ± {r.spread:.1f}" if r.spread is not None else "")
        off = "–" if r.off is None else f"{r.off:+.1f}"
        cells.append(
            [str(r.row), r.source, r.quantity, f"{r.published:g}", ours, off, r.verdict, r.difference or "same"]
        )
    caption = "Published test accuracies (%) and those of the same recipes here: mean and deviation over seeds."
    headers = ["row", "source", "what", "published", "ours", "off", "verdict", "data and model"]
    return Table("training", caption, headers, cells, "rmlrrrlm", cited=1)


def leaderboard_table(board: Any, tasks: Mapping[str, Task], methods: Mapping[str, Method]) -> Table:
    """Methods by rank over the tasks of each setting, and their accuracy at each."""
    rows: list[list[str]] = []
    bold = set()
    epsilons = sorted(e for e in board["epsilon"].unique() if e != float("inf"))
    for name, task in tasks.items():
        of_task = board[board["task"] == name]
        if not len(of_task):
            continue
        if rows:
            rows.append([])
        for method in [m for m in methods if m in set(of_task["method"])]:
            cells = []
            for epsilon in epsilons:
                row = of_task[(of_task["method"] == method) & (of_task["epsilon"] == epsilon)]
                if not len(row):
                    row = of_task[(of_task["method"] == method) & (of_task["epsilon"] == float("inf"))]
                    cells.append(_percent(row.iloc[0]) if len(row) else "–")
                    continue
                if row.iloc[0]["rank"] == 1:
                    bold.add((len(rows), 3 + len(cells)))
                cells.append(_percent(row.iloc[0]))
            gradients = of_task[of_task["method"] == method]["gradients"].max()
            rows.append([name, task.setting, methods[method].title, *cells, f"{gradients:,}"])
    caption = (
        "Test accuracy (%), mean and deviation over seeds; bold: the best private method of a task and ε. Settings: "
        + "; ".join(f"{name}, {meaning}" for name, meaning in SETTINGS.items())
        + ". Gradients: contributions computed in a run."
    )
    headers = ["task", "setting", "method", *[f"ε = {small(e)}" for e in epsilons], "gradients"]
    return Table("leaderboard", caption, headers, rows, "lll" + "r" * len(epsilons) + "r", frozenset(bold))


def rank_table(board: Any, methods: Mapping[str, Method]) -> Table:
    """Each method's mean rank over the tasks of a setting, with how many it won."""
    private = board[board["epsilon"] != float("inf")]
    rows: list[list[str]] = []
    for setting in SETTINGS:
        of_setting = private[private["setting"] == setting]
        if not len(of_setting):
            continue
        if rows:
            rows.append([])
        groups = of_setting.groupby("method")["rank"].agg(["mean", "count"])
        wins = of_setting[of_setting["rank"] == 1].groupby("method")["rank"].count()
        for method, row in groups.sort_values("mean", kind="stable").iterrows():
            title = methods[str(method)].title
            rows.append([setting, title, f"{row['mean']:.2f}", f"{wins.get(method, 0)} of {row['count']:.0f}"])
    caption = "Mean rank of each method over tasks and ε of a setting (1 is best), and how often it came first."
    return Table("ranks", caption, ["setting", "method", "mean rank", "first"], rows, "llrr")


def methods_table(methods: Mapping[str, Method]) -> Table:
    """What was compared, for whom, and after whom."""
    rows = [[method.title, ", ".join(method.settings), method.paper or "–"] for method in methods.values()]
    return Table("methods", "Methods of the benchmark.", ["method", "settings", "after"], rows, "llw", cited=2)


def costs_table(board: Any, methods: Mapping[str, Method]) -> Table:
    """Measured seconds: they differ from machine to machine and run to run."""
    rows = [
        [str(row["task"]), methods[str(row["method"])].title, small(row["epsilon"]), f"{row['seconds']:.2f}"]
        for _, row in board.iterrows()
    ]
    caption = "Median seconds of one run without compiling, as measured; the only table that no two runs share."
    return Table("costs", caption, ["task", "method", "ε", "seconds"], rows, "llrr")


def _number(row: Comparison) -> str:
    if row.ours is None:
        return "–"
    # Two digits past the tolerance: those beyond differ between processors.
    digits = 6 if row.tolerance is None else 2 - math.floor(math.log10(row.tolerance))
    return f"{round(row.ours, digits):.9g}"


def _tolerance(row: Comparison) -> str:
    return "–" if row.tolerance is None else small(float(f"{row.tolerance:.1g}"))


def _percent(row: Any) -> str:
    return f"{100 * row['mean']:.1f} ± {100 * row['std']:.1f}"
