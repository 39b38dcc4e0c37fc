"""``dpjax data inspect``: a table of one's own before a run."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dpjax.cli import drawn
from dpjax.cli.errors import errors_in_one_line

if TYPE_CHECKING:
    from dpjax.datasets.entries import Dataset


def inspect_command(
    path: Annotated[
        str,
        typer.Argument(
            metavar="FILE",
            help="A table (CSV, TSV, JSON, Parquet, Arrow), arrays (.npz), or a folder of tables or images.",
        ),
    ],
    label: Annotated[str, typer.Option(help="Column that is predicted.")] = "",
    unit: Annotated[str, typer.Option(help="Column that says whose a row is, as patient_id.")] = "",
    split: Annotated[str | None, typer.Option(help="Who is tested: owner, rows, time, column or files.")] = None,
    split_column: Annotated[str, typer.Option(help="Dates of --split time, or train and test of --split column.")] = "",
    split_at: Annotated[str, typer.Option(help="First date or number of --split-column that tests.")] = "",
    encoding: Annotated[str | None, typer.Option(help="Of the file's characters, as cp1252; else UTF-8.")] = None,
    decimal: Annotated[str, typer.Option(help="'.' or ',' before the decimals of numbers.")] = ".",
    target: Annotated[str, typer.Option(help="What the label is: a class, or a number.")] = "class",
    save: Annotated[str, typer.Option(metavar="FILE.yaml", help="Write the config that it proposes.")] = "",
    missing: Annotated[
        str, typer.Option(help="What stands for a missing value, besides NA and the like; several with commas.")
    ] = "",
) -> None:
    """Look at a table of your own before a run: what each column holds and becomes, classes, owners, who is tested,
    and what would be learnt from the rows without privacy.

    [bold]Examples[/bold]

      dpjax data inspect patients.csv

      dpjax data inspect patients.csv --label diagnosis --unit patient_id

    It shows values as they stand in the file: do not pass its output on.
    """
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from dpjax.datasets.own_tables.arrays import are_images, is_arrays, load_array_images
    from dpjax.datasets.own_tables.images import is_images, load_images
    from dpjax.datasets.own_tables.inspecting import inspect
    from dpjax.datasets.own_tables.source import TableSource

    words = tuple(word.strip() for word in missing.split(",") if word.strip())
    asked: Any = {"split": split, "split_column": split_column, "split_at": split_at, "target": target}
    source = TableSource(path, label, unit, **asked, missing=words, encoding=encoding, decimal=decimal)
    with errors_in_one_line():
        if is_images(path):
            return _inspect_images(load_images(source))
        if is_arrays(path) and are_images(source):
            return _inspect_images(load_array_images(source))
    with errors_in_one_line():
        found = inspect(source)
    console = Console(highlight=False)
    table = Table(box=None, padding=(0, 2, 0, 0), title=f"{path}: {found.rows:,} rows", title_justify="left")
    for heading in ("column", "kind", "missing", "distinct", "values", "becomes"):
        table.add_column(heading, justify="right" if heading in ("missing", "distinct") else "left")
    for each in found.columns:
        numbers = f"{each.missing:,}" if each.missing else "", f"{each.distinct:,}"
        table.add_row(escape(each.name), each.kind, *numbers, escape(each.values), each.becomes)
    console.print(table)
    for what, words_ in found.facts:
        console.print(f"{what}: {words_}", markup=False, soft_wrap=True)
    if found.learnt:
        console.print(f"\nNOT private, learnt from the rows: {found.learnt}.", markup=False, soft_wrap=True)
    if found.config:
        text = "\n".join(found.config) + "\n"
        if save:
            _write(save, text)
        place = f" It is in {save}." if save else " --save FILE.yaml keeps it."
        console.print(
            "\nA config, in which ??? stands for what you know WITHOUT these rows: what you read off above is not "
            "public. A line that you take away is learnt from the rows; data.release=[COLUMN] counts a column with "
            f"noise, which ε pays for.{place}\n" + ("" if save else text),
            markup=False,
            soft_wrap=True,
        )
    if not found.facts:
        console.print(
            "\nSay --label COLUMN, and --unit COLUMN if rows belong to people, to see what a run makes of it."
        )


def _inspect_images(data: "Dataset") -> None:
    from rich.console import Console

    console = Console(highlight=False)
    height, width, channels = data.input_shape
    rows = len(data.train_labels) + len(data.test_labels)
    colours = "grey" if channels == 1 else "of three colours"
    console.print(f"{data.source}: {rows:,} images of {height}×{width}, {colours}", markup=False, soft_wrap=True)
    if data.num_units:
        console.print(f"{data.num_units:,} owners ({data.unit})", markup=False)
    if data.target is None:
        console.print(drawn.balance(data))
    if data.remarks:
        console.print(f"read: {data.remarks}", markup=False, soft_wrap=True)
    if data.learnt:
        console.print(f"NOT private, learnt from the rows: {data.learnt}.", markup=False, soft_wrap=True)


def _write(path: str, text: str) -> None:
    try:
        with Path(path).expanduser().open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        typer.echo(f"error: --save={path} is there already; name another file, or take it away", err=True)
        raise typer.Exit(1) from None
    except OSError as error:
        typer.echo(f"error: --save={path} can't be written ({error.strerror})", err=True)
        raise typer.Exit(1) from None
