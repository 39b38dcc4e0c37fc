"""``dpjax results table``: a table as a paper has it, methods × ε with what is significant in bold."""

import dataclasses
from pathlib import Path
from typing import Annotated, Any

import typer

from dpjax.cli.left_out import name_what_is_left_out


def table_command(
    directories: Annotated[
        list[Path], typer.Argument(metavar="DIR...", help="Folders of sweeps, or results.parquet or results.json.")
    ],
    rows: Annotated[
        str | None, typer.Option("--rows", help="Columns whose values get a row each: clip_norm, or 'clip_norm=1|0.3'.")
    ] = None,
    columns: Annotated[
        str | None, typer.Option("--columns", help="One whose values get a column each, such as epsilon.")
    ] = None,
    show: Annotated[
        str | None, typer.Option("--show", help="Instead: a line per point, of these columns in this order.")
    ] = None,
    metric: Annotated[
        str | None, typer.Option("--metric", help="What cells hold, one or several; the first chooses.")
    ] = None,
    name: Annotated[
        list[str] | None, typer.Option("--name", help="COLUMN=WORDS or VALUE=WORDS: what the table calls it.")
    ] = None,
    digits: Annotated[
        str | None, typer.Option("--digits", help="After the point: 1, or test_accuracy=1,test_loss=3.")
    ] = None,
    percent: Annotated[bool | None, typer.Option("--percent/--no-percent", help="Fractions times 100.")] = None,
    spread: Annotated[str | None, typer.Option("--spread", help="After ±: std, ci, sem or none.")] = None,
    confidence: Annotated[
        float | None, typer.Option("--confidence", help="Of the interval, and of what bold type says.")
    ] = None,
    bold: Annotated[
        str | None, typer.Option("--bold", help="best and what is not shown to be worse; mean, the best alone; none.")
    ] = None,
    over: Annotated[
        str | None, typer.Option("--over", help="Where points share a cell: the best of them; each is refused.")
    ] = None,
    select: Annotated[str | None, typer.Option("--select", help="Which rows, such as 'epsilon<=8'.")] = None,
    format_: Annotated[str | None, typer.Option("--format", help="text, markdown, latex or csv.")] = None,
    latex: Annotated[str | None, typer.Option("--latex", help="LaTeX by booktabs or siunitx; alone, booktabs.")] = None,
    spec: Annotated[
        Path | None, typer.Option("--spec", help="A file that --save wrote; other options go before it.")
    ] = None,
    save: Annotated[Path | None, typer.Option("--save", help="Write all of these options to a YAML file.")] = None,
) -> None:
    """Lay a sweep out as a paper's table: a row per method and a column per ε, or a line per point.

    [bold]Examples[/bold]

      dpjax results table results/quickstart --rows clip_norm --columns epsilon

      dpjax results table results/quickstart --show epsilon,clip_norm,test_accuracy,test_auroc --spread ci

      dpjax results table results/quickstart --rows clip_norm --columns epsilon --percent --latex siunitx

    Where points share a cell, the best of them is shown and the caption says over what. Bold are the best of each ε and
    those that a paired t-test over common seeds, corrected by Holm, does not show to be worse.
    """
    from dpjax.results import ResultsError
    from dpjax.results.paper.spec import TableSpec, read_spec, write_spec

    given: dict[str, Any] = {
        "rows": _list("rows", rows),
        "columns": columns,
        "show": _list("show", show),
        "metric": _list("metric", metric),
        "name": _names(name) if name else None,
        "digits": _digits(digits) if digits else None,
        "percent": percent,
        "spread": spread,
        "confidence": confidence,
        "bold": bold,
        "over": over,
        "select": select,
        "format": format_ or ("latex" if latex else None),
        "latex": latex,
    }
    given = {key: value for key, value in given.items() if value is not None}
    asked = dataclasses.replace(read_spec(spec), **given) if spec else TableSpec(**given)
    if save is not None and save.exists():
        try:
            read_spec(save)
        except (ResultsError, ValueError) as error:
            raise ResultsError(f"--save {save} is there and is no specification: choose another file") from error
    from dpjax.results.paper.table import paper_table
    from dpjax.results.several import load_all

    frame = load_all(directories, curves=False)
    table = paper_table(frame, asked)
    if save is not None:
        try:
            save.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ResultsError(f"--save {save} cannot be written ({error.strerror}): choose another file") from error
        write_spec(asked, save)
    typer.echo(table.render().rstrip("\n"))
    if asked.format == "csv":  # which has no caption
        for block in table.blocks:
            typer.echo(f"note: {' '.join([f'{block.title}:', *block.notes])}", err=True)
    for hint in table.hints():
        typer.echo(f"note: {hint}.", err=True)
    name_what_is_left_out(frame)


def _list(option: str, given: str | None) -> tuple[str, ...] | None:
    if given is None:
        return None
    names = tuple(each.strip() for each in given.split(","))
    if not all(names):
        raise ValueError(f"--{option} {given!r} has an empty name: part names by single commas")
    return names


def _names(given: list[str]) -> dict[str, str]:
    names: dict[str, str] = {}
    for each in given:
        name, sign, called = each.partition("=")
        if not sign or not name or not called:
            raise ValueError(f"--name {each!r} is no name: write COLUMN=WORDS or VALUE=WORDS, such as dpsgd=DP-SGD")
        if names.get(name, called) != called:
            raise ValueError(f"--name gives {name} two names, {names[name]} and {called}: give it one")
        names[name] = called
    return names


def _digits(given: str) -> int | dict[str, int]:
    try:
        if "=" not in given:
            return int(given)
        pairs = [each.split("=") for each in given.split(",")]
        return {name.strip(): int(number) for name, number in pairs}
    except ValueError:
        raise ValueError(
            f"--digits {given!r} is no number of digits: write 1, or test_accuracy=1,test_loss=3"
        ) from None
