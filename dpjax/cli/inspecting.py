"""``dpjax data inspect``: a table of one's own before a run."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dpjax.cli import drawn
from dpjax.cli.asking import ask_ledger
from dpjax.cli.errors import errors_in_one_line

if TYPE_CHECKING:
    from dpjax.datasets.entries import Dataset


def inspect_command(
    path: Annotated[
        str,
        typer.Argument(
            metavar="FILE",
            help="A table (CSV, TSV, JSON, Parquet, Arrow), arrays (.npz), or a folder of tables, images or .npy.",
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
    tokens: Annotated[str, typer.Option(help="Column of token ids, lists of whole numbers.")] = "",
    messages: Annotated[
        str,
        typer.Option(help="Column of conversations; two of prompt, answer or three of prompt, chosen, rejected."),
    ] = "",
    padding: Annotated[int | None, typer.Option(help="Token id that stands for nothing at the ends of rows.")] = None,
    mask: Annotated[str, typer.Option(help="Column of 1 and 0 that says which are ids, or of how many.")] = "",
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

      dpjax data inspect mails.parquet --tokens input_ids --padding 0 --label kind

      dpjax data inspect chats.jsonl --messages messages --unit user_id

    It shows values as they stand in the file: do not pass its output on. Of data that are sensitive in a ledger, their
    owners alone see them.
    """
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from dpjax.datasets.own_tables.arrays import are_images, is_arrays, load_array_images, resolved
    from dpjax.datasets.own_tables.conversations import load_conversations
    from dpjax.datasets.own_tables.drafts import conversations_draft, images_draft, tokens_draft
    from dpjax.datasets.own_tables.images import is_images, load_images
    from dpjax.datasets.own_tables.inspecting import inspect
    from dpjax.datasets.own_tables.source import TableSource
    from dpjax.datasets.own_tables.tokens import load_tokens

    words = tuple(word.strip() for word in missing.split(",") if word.strip())
    asked: Any = {"split": split, "split_column": split_column, "split_at": split_at, "target": target}
    source = TableSource(path, label, unit, **asked, missing=words, encoding=encoding, decimal=decimal)
    if not tokens and (mask or padding is not None):
        raise ValueError(f"--{'mask' if mask else 'padding'} is of token ids; say --tokens COLUMN too")
    with errors_in_one_line():
        ask_ledger("raw", path, None, encoding)
        if messages:
            columns = [name.strip() for name in messages.split(",") if name.strip()]
            data = load_conversations(source, columns)
            _inspect_conversations(data, labelled=bool(source.label))
            return _propose(conversations_draft(source, columns, by_owner=bool(data.num_units)), save)
        if tokens:
            data = load_tokens(source, tokens, padding=padding, mask=mask)
            _inspect_tokens(data, labelled=bool(resolved(source).label))
            lines = tokens_draft(resolved(source), tokens, padding, mask, by_owner=bool(data.num_units))
            return _propose(lines, save)
        if is_images(path) or (is_arrays(path) and are_images(source)):
            data = load_images(source) if is_images(path) else load_array_images(source)
            _inspect_images(data)
            return _propose(images_draft(resolved(source), by_owner=bool(data.num_units)), save)
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
        _propose(found.config, save)
    if not found.facts:
        console.print(
            "\nSay --label COLUMN, and --unit COLUMN if rows belong to people, to see what a run makes of it."
        )


def _propose(config: list[str], save: str) -> None:
    from rich.console import Console

    text = "\n".join(config) + "\n"
    if save:
        _write(save, text)
    place = f" It is in {save}." if save else " --save FILE.yaml keeps it."
    taken_away = ""
    if "  columns:" in config:
        taken_away = (
            "A line that you take away is learnt from the rows; data.release=[COLUMN] counts a column with noise, "
        )
        taken_away += "which ε pays for."
    elif any(line.startswith("  classes: ???") for line in config):
        taken_away = "Without classes they are learnt from the rows."
    Console(highlight=False).print(
        "\nA config, in which ??? stands for what you know WITHOUT these rows: what you read off above is not "
        f"public. {taken_away}{place}\n" + ("" if save else text),
        markup=False,
        soft_wrap=True,
    )


def _inspect_tokens(data: "Dataset", *, labelled: bool) -> None:
    import numpy as np
    from rich.console import Console

    console = Console(highlight=False)
    rows = [*data.train_inputs, *data.test_inputs]
    least, middle, most = np.quantile([len(row) for row in rows], [0, 0.5, 1])
    ids = f"ids {min(map(np.min, rows)):,} to {max(map(np.max, rows)):,}"
    console.print(f"{data.source}: {len(rows):,} rows of token ids, {ids}", markup=False, soft_wrap=True)
    console.print(f"ids of a row: least, median, most {least:,.0f}, {middle:,.0f}, {most:,.0f}", markup=False)
    _tell(data, classes=labelled)


def _inspect_conversations(data: "Dataset", *, labelled: bool) -> None:
    import numpy as np
    from rich.console import Console

    from dpjax.datasets.own_tables.conversations import read_turns

    console = Console(highlight=False)
    rows = [*data.train_inputs.ravel().tolist(), *data.test_inputs.ravel().tolist()]
    turns = [read_turns(row) for row in rows]
    least, middle, most = np.quantile([len(each) for each in turns], [0, 0.5, 1])
    roles = ", ".join(sorted({turn["role"] for each in turns for turn in each}))
    number, what = (len(rows) // 3, "pairs of answers") if data.input_shape else (len(rows), "conversations")
    console.print(f"{data.source}: {number:,} {what}, of the roles {roles}", markup=False, soft_wrap=True)
    console.print(f"turns of one: least, median, most {least:,.0f}, {middle:,.0f}, {most:,.0f}", markup=False)
    _tell(data, classes=labelled)


def _inspect_images(data: "Dataset") -> None:
    from rich.console import Console

    console = Console(highlight=False)
    height, width, channels = data.input_shape
    rows = len(data.train_labels) + len(data.test_labels)
    colours = "grey" if channels == 1 else "of three colours"
    console.print(f"{data.source}: {rows:,} images of {height}×{width}, {colours}", markup=False, soft_wrap=True)
    _tell(data, classes=data.target is None)


def _tell(data: "Dataset", *, classes: bool) -> None:
    from rich.console import Console

    console = Console(highlight=False)
    if data.num_units:
        console.print(f"{data.num_units:,} owners ({data.unit})", markup=False)
    if classes:
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
