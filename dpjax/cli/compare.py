"""``dpjax compare``: is one better than the other, by more than seeds explain?"""

from pathlib import Path
from typing import Annotated, Any

import typer


def compare_command(
    first: Annotated[
        Path, typer.Argument(metavar="A", help="Folder of a sweep, or a results.parquet or results.json.")
    ],
    second: Annotated[Path | None, typer.Argument(metavar="[B]", help="Another, to compare with A.")] = None,
    by: Annotated[
        str | None, typer.Option("--by", help="Column whose values are compared: algorithm, or clipping=flat,adaptive.")
    ] = None,
    metric: Annotated[
        str, typer.Option("--metric", help="Column that is compared. Default: test_accuracy, or test_r2.")
    ] = "",
    confidence: Annotated[float, typer.Option("--confidence", help="Of all verdicts together.")] = 0.95,
    best: Annotated[
        bool, typer.Option("--best", help="Compare each side's best point, instead of points with equal settings.")
    ] = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="As Markdown.")] = False,
    latex: Annotated[bool, typer.Option("--latex", help="As LaTeX (booktabs).")] = False,
    csv: Annotated[bool, typer.Option("--csv", help="As CSV, with every digit.")] = False,
) -> None:
    """Compare two sweeps, or two values of a column, by paired differences over seeds.

    [bold]Examples[/bold]

      dpjax compare results/quickstart --by clip_norm=0.1,1

      dpjax compare results/mine results/theirs --best

    'Better' is said only where the interval of the difference, corrected for the number of pairs, leaves out 0. Runs
    are pairs only at the same ε, δ, unit, data set and partition, and only over seeds that both sides have.
    """
    if markdown + latex + csv > 1:
        raise ValueError("--markdown, --latex and --csv exclude each other: give one of them")
    from dpjax.results import ResultsError
    from dpjax.results.compare import FOLDER, as_rows, compare, notes

    if (second is None) == (by is None):
        raise ResultsError("give two folders, or one and --by COLUMN, such as --by algorithm")
    frame, unreadable, twice = _read(first, second)
    column, _, named = (by or FOLDER).partition("=")
    values = [value for value in named.split(",") if value]
    comparison = compare(frame, column, values=values, metric=metric, confidence=confidence, best=best)
    headers, rows = as_rows(comparison)
    if csv:
        import pandas as pd

        table = pd.DataFrame([{**d.where, **d._asdict()} for d in comparison.differences]).drop(columns="where")
        typer.echo(table.to_csv(index=False), nl=False)
    elif markdown or latex:
        typer.echo(_markdown(headers, rows) if markdown else _latex(headers, rows))
    else:
        _print(headers, rows)
    if not csv:
        for line in notes(comparison):
            typer.echo(line if not latex else f"% {line}")
    for line in twice:
        typer.echo(f"note: {line}.", err=True)
    for line in [*comparison.unpaired, *unreadable]:
        typer.echo(f"left out: {line}", err=True)
    if unreadable:
        raise SystemExit(1)


def _read(first: Path, second: Path | None) -> tuple[Any, list[str], list[str]]:
    import pandas as pd

    from dpjax.results import load
    from dpjax.results.compare import FOLDER
    from dpjax.results.summarize import run_twice

    frames = [load(path, curves=False, configs=False) for path in (first, second) if path is not None]
    unreadable = [line for frame in frames for line in frame.attrs.get("unreadable", [])]
    # Of each by itself: the same seed in both is what makes them pairs.
    twice = list(dict.fromkeys(line for frame in frames for line in run_twice(frame)))
    if second is None:
        return frames[0], unreadable, twice
    names = [first.name, second.name]
    if names[0] == names[1]:
        names = [str(first), str(second)]
    return pd.concat([f.assign(**{FOLDER: name}) for f, name in zip(frames, names, strict=True)]), unreadable, twice


def _print(headers: list[str], rows: list[list[str]]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    from dpjax.results.show import MOST

    # Of more pairs than anybody reads, those with a verdict.
    ranked = sorted(range(len(rows)), key=lambda row: not rows[row][-1].endswith("better"))
    read = [rows[row] for row in sorted(ranked[:MOST])]
    table = Table(*headers, box=box.SIMPLE_HEAD, show_edge=False)
    for row in read:
        table.add_row(*row, style="bold" if row[-1].endswith("better") else "")
    console = Console()
    if not console.is_terminal:
        console = Console(width=200)
    console.print(table)
    if len(read) < len(rows):
        typer.echo(f"{len(rows) - len(read):,} of {len(rows):,} pairs left out: --csv and --markdown show all.")


def _markdown(headers: list[str], rows: list[list[str]]) -> str:
    from dpjax.results.show import markdown_text

    first, *others = [f"| {' | '.join(map(markdown_text, row))} |" for row in [headers, *rows]]
    return "\n".join([first, "|" + "---|" * len(headers), *others]) + "\n"


def _latex(headers: list[str], rows: list[list[str]]) -> str:
    from dpjax.results.show import tex

    body = [" & ".join(tex(cell) for cell in row) + r" \\" for row in [headers, *rows]]
    lines = [rf"\begin{{tabular}}{{{'l' * len(headers)}}}", r"\toprule", body[0], r"\midrule", *body[1:]]
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"])
