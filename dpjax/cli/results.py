"""``dpjax results``: show a sweep's table, say what its columns mean, export it."""

from pathlib import Path
from typing import Annotated, Any

import typer

from dpjax.cli.left_out import name_what_is_left_out
from dpjax.cli.paper_table import table_command

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="rich",
    help="Show a sweep's table, say what its columns mean, export it.\n\n"
    "A sweep writes one row per point and seed. Tables show the mean ± standard deviation over seeds.\n\n"
    "[bold]Examples[/bold]\n\n"
    "  dpjax results show results/quickstart\n\n"
    "  dpjax results table results/quickstart --rows clip_norm --columns epsilon\n\n"
    "  dpjax results columns\n\n"
    "  dpjax results export results/quickstart --out paper/tables",
)

_Directories = Annotated[
    list[Path], typer.Argument(metavar="DIR...", help="Folders of sweeps, or results.parquet or results.json.")
]
_Select = Annotated[str, typer.Option("--select", help="Which rows, such as 'epsilon<=8 method=dpsgd|dpftrl'.")]
_Metric = Annotated[
    str,
    typer.Option(
        "--metric", help="Column that the best point of each ε is chosen by. Default: test_accuracy, or test_r2."
    ),
]


@app.command()
def show(
    directories: _Directories,
    metric: _Metric = "",
    select: _Select = "",
    markdown: Annotated[bool, typer.Option("--markdown", help="As Markdown, for a README or an issue.")] = False,
    latex: Annotated[bool, typer.Option("--latex", help="As LaTeX (booktabs), for a paper.")] = False,
    csv: Annotated[bool, typer.Option("--csv", help="As CSV with every column, one line per point.")] = False,
) -> None:
    """Show the table of a sweep: mean ± standard deviation over seeds, the best of each ε with a star.

    [bold]Examples[/bold]

      dpjax results show results/quickstart

      dpjax results show results/quickstart --latex > table.tex

      dpjax results show results/mine results/theirs --select 'epsilon<=8'

    Under each table stands what its ε means and whether tuning was paid for. Files that cannot be read and jobs that
    failed are named after it, and the exit status is then 1. So are rows that other code has made, or other data.
    """
    if markdown + latex + csv > 1:
        raise ValueError("--markdown, --latex and --csv exclude each other: give one of them")
    frame = _selected(directories, select)
    if csv:
        typer.echo(_summary_csv(frame, metric), nl=False)
        return name_what_is_left_out(frame)
    from dpjax.results.sheet import sheets
    from dpjax.results.show import to_latex, to_markdown, to_rich

    laid_out = sheets(frame, metric)
    if markdown or latex:
        typer.echo(to_markdown(laid_out) if markdown else to_latex(laid_out))
        return name_what_is_left_out(frame)
    from rich.console import Console

    console = Console()
    if not console.is_terminal:
        console = Console(width=200)  # a pipe has no width: nothing is left out for it
    console.print(to_rich(laid_out, console.width))
    name_what_is_left_out(frame)


@app.command()
def columns(
    markdown: Annotated[bool, typer.Option("--markdown", help="As a Markdown table.")] = False,
) -> None:
    """Say what every column of a results table holds: its type, its unit and its meaning.

    [bold]Example[/bold]

      dpjax results columns
    """
    from dpjax.results.columns import COLUMNS

    if markdown:
        typer.echo("| column | type | unit | meaning |\n|---|---|---|---|")
        for column in COLUMNS:
            typer.echo(f"| `{column.name}` | {column.dtype} | {column.unit} | {column.meaning} |")
        return
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table("column", "type", "unit", "meaning", box=box.SIMPLE_HEAD, show_edge=False)
    for column in COLUMNS:
        table.add_row(column.name, column.dtype, column.unit, column.meaning)
    Console().print(table)


@app.command()
def export(
    directories: _Directories,
    out: Annotated[Path | None, typer.Option("--out", help="Folder for the files. Default: DIR itself.")] = None,
    metric: _Metric = "",
    select: _Select = "",
    open_: Annotated[bool, typer.Option("--open", help="Write files open though the rows lie sealed.")] = False,
) -> None:
    """Write a sweep's rows as Parquet and JSON, and its summary as CSV, Markdown and LaTeX.

    Files that lie open of rows that lie sealed are yours alone (mode 600).

    [bold]Example[/bold]

      dpjax results export results/quickstart --out paper/tables
    """
    from dpjax.results import ResultsError, write_atomically
    from dpjax.results.open_copies import private_copies, refuse_open_copy
    from dpjax.results.sheet import sheets
    from dpjax.results.show import to_latex, to_markdown
    from dpjax.results.table import write_frame

    if out is None and (len(directories) > 1 or select):
        raise ResultsError(
            "--out is not given: rows of several folders, or some of one, need a folder, such as --out tables"
        )
    refuse_open_copy(directories, "what is exported", allowed=open_)
    frame = _selected(directories, select, curves=True)
    folder = out or (directories[0] if directories[0].is_dir() else directories[0].parent)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ResultsError(f"--out {folder} cannot be created ({error.strerror}): choose another folder") from error
    laid_out = sheets(frame, metric)
    texts = {
        "summary.csv": _summary_csv(frame, metric),
        "table.md": to_markdown(laid_out) + "\n",
        "table.tex": to_latex(laid_out) + "\n",
    }
    with private_copies(directories):
        paths = list(write_frame(frame, folder))
        paths += [write_atomically(folder / name, text.encode()) for name, text in texts.items()]
    for path in paths:
        typer.echo(path)
    name_what_is_left_out(frame)


app.command("table")(table_command)


def _selected(directories: list[Path], wanted: str, *, curves: bool = False) -> Any:
    from dpjax.results.selecting import select
    from dpjax.results.several import load_all

    frame = load_all(directories, curves=curves)
    chosen = select(frame, wanted)
    chosen.attrs = frame.attrs
    return chosen


def _summary_csv(frame: Any, metric: str) -> str:
    from dpjax.results.summarize import summary

    return summary(frame, metric).to_csv(index=False)
