"""``dpjax plot``: every figure of a results folder, or one of one's own, as wide as a page has room."""

import dataclasses
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dpjax.cli.left_out import name_refused
from dpjax.results import ResultsError
from dpjax.results.open_copies import private_copies, refuse_open_copy
from experiments.figures.asked import folder_of, known
from experiments.plots import FIGURES, FORMATS, plot_all, save

if TYPE_CHECKING:
    from experiments.figures.spec import Spec

_OWN = "A figure of one's own"
_SIZE = "Size and style"
_HELP_LENGTH = "such as 9cm, 85mm, 3.3in or 240pt"


def plot_command(
    directories: Annotated[
        list[Path] | None,
        typer.Argument(metavar="DIR...", help="Folder of a sweep, or a results.parquet or results.json; or several."),
    ] = None,
    figure: Annotated[
        list[str] | None,
        typer.Option("--figure", help=f"Only this one; may be repeated. One of: {', '.join(FIGURES)}."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            help="Folder for the files; of a figure of your own also a file, in each --format. Default: DIR/figures.",
        ),
    ] = None,
    format: Annotated[
        str, typer.Option("--format", help="png, pdf, svg, or several with commas. Default: png,pdf.")
    ] = "",
    metric: Annotated[
        str,
        typer.Option(
            "--metric", help="Column to draw; `dpjax results columns` lists them. Default: test_accuracy, or test_r2."
        ),
    ] = "",
    select: Annotated[
        str | None, typer.Option("--select", help="Which rows: 'epsilon<=8 method=dpsgd|dpftrl'.")
    ] = None,
    x: Annotated[str | None, typer.Option("--x", help="Column on the x axis.", rich_help_panel=_OWN)] = None,
    y: Annotated[
        str | None, typer.Option("--y", help="Column on the y axis, or several with commas.", rich_help_panel=_OWN)
    ] = None,
    hue: Annotated[
        str | None, typer.Option("--hue", help="Column that colours tell apart.", rich_help_panel=_OWN)
    ] = None,
    style: Annotated[
        str | None,
        typer.Option("--style", help="Column that dashes and markers tell apart.", rich_help_panel=_OWN),
    ] = None,
    col: Annotated[
        str | None, typer.Option("--col", help="Column with a panel for each value.", rich_help_panel=_OWN)
    ] = None,
    seeds: Annotated[
        bool | None, typer.Option("--seeds/--no-seeds", help="Every seed as a dot.", rich_help_panel=_OWN)
    ] = None,
    log: Annotated[
        bool | None, typer.Option("--log/--linear", help="A logarithmic x axis, or not.", rich_help_panel=_OWN)
    ] = None,
    name: Annotated[
        list[str] | None,
        typer.Option("--name", help="What a column or a value is called: dpsgd=DP-SGD.", rich_help_panel=_OWN),
    ] = None,
    spec: Annotated[
        Path | None,
        typer.Option("--spec", help="The figure that --save wrote; options go first.", rich_help_panel=_OWN),
    ] = None,
    save_to: Annotated[
        Path | None, typer.Option("--save", help="Write down the figure, for --spec.", rich_help_panel=_OWN)
    ] = None,
    width: Annotated[
        str | None,
        typer.Option("--width", help=f"column (8.4cm), text (17.4cm) or {_HELP_LENGTH}.", rich_help_panel=_SIZE),
    ] = None,
    height: Annotated[
        str | None, typer.Option("--height", help=f"A length {_HELP_LENGTH}.", rich_help_panel=_SIZE)
    ] = None,
    font: Annotated[
        str | None, typer.Option("--font", help="sans, serif, mono, or a family.", rich_help_panel=_SIZE)
    ] = None,
    font_size: Annotated[float | None, typer.Option("--font-size", help="In points.", rich_help_panel=_SIZE)] = None,
    title: Annotated[
        str | None,
        typer.Option("--title", help="on or off; off prints title and notes as a caption.", rich_help_panel=_SIZE),
    ] = None,
    spread: Annotated[
        str | None,
        typer.Option("--spread", help="Bands and bars: ci (of the mean), std, sem, none.", rich_help_panel=_SIZE),
    ] = None,
    confidence: Annotated[
        float | None, typer.Option("--confidence", help="Of the interval. Default: 0.95.", rich_help_panel=_SIZE)
    ] = None,
    open_: Annotated[bool, typer.Option("--open", help="Draw files that lie open of results that lie sealed.")] = False,
) -> None:
    """Draw the figures of a results folder, or one of your own: any column against any other.

    [bold]Examples[/bold]

      dpjax plot results/quickstart

      dpjax plot results/quickstart --figure privacy_utility_curve --width column --title off --format pdf

      dpjax plot results/quickstart --x epsilon --y test_auroc --hue clip_norm --width column --save figure.yaml

      dpjax plot --spec figure.yaml

      dpjax plot results/a results/b --x epsilon --hue sweep --out figures/both.pdf

    Without --x, --y, --hue, --style, --col or --spec all figures are drawn that the results have data for: the
    privacy-utility curve, ε × clip norm, what compares federated algorithms and aggregations, the Pareto front and what
    happened inside the runs; why others are skipped is printed. Lines and cells are means over seeds, with a band or
    bar of one standard deviation; of a figure of your own, the 95 % interval of the mean. The dotted line is the best
    non-private run, the thin grey one what always saying the commonest class would score.
    """
    if title is not None and title not in ("on", "off"):
        raise ResultsError(f"--title {title} is neither on nor off: give one of them")
    given: dict[str, Any] = {
        "x": x, "y": tuple(part.strip() for part in y.split(",")) if y else None, "hue": hue, "style": style,
        "col": col, "seeds": seeds, "log": log, "names": _names(name or []) or None, "select": select, "width": width,
        "height": height, "font": font, "font_size": font_size, "title": None if title is None else title == "on",
        "spread": spread, "confidence": confidence,
    }  # fmt: skip
    given = {field: value for field, value in given.items() if value is not None}
    formats, out = _formats(format, out)
    if spec is None and not given.keys() & {"x", "y", "hue", "style", "col", "seeds", "log", "names"}:
        if save_to is not None:
            raise ResultsError("--save goes with a figure of one's own: give --x, --y, --hue, --style or --col as well")
        refuse_open_copy(directories or [], "figures", allowed=open_)
        with private_copies(directories or []):
            return _standard(directories or [], figure or [], out, formats, metric, given)
    if figure:
        raise ResultsError(
            f"--figure {figure[0]} has its own axes: leave out --x, --y, --hue, --style, --col and --spec"
        )
    if metric and "y" in given:
        raise ResultsError(f"--metric {metric} and --y {y} are both what is drawn: give --y alone")
    given |= {"y": (metric,)} if metric else {}
    _own(directories or [], out, formats, given, spec, save_to, open_)


def _standard(
    directories: list[Path],
    figures: list[str],
    out: Path | None,
    formats: list[str],
    metric: str,
    given: dict[str, Any],
) -> None:
    from experiments.figures.look import look_of
    from experiments.progress import counted

    if not directories:
        raise ResultsError("there is no DIR: give the folder of a sweep, such as results/quickstart")
    if out is not None and out.suffix:
        raise ResultsError(f"--out {out} is one file, and these figures may be several: give a folder")
    select = given.pop("select", "")
    look = look_of(**given)
    processes = os.cpu_count() or 1
    with counted("figures") as tell:
        drawn = plot_all(
            directories, out, figures=figures, formats=formats, metric=metric, look=look,
            select=select, processes=processes, tell=tell,
        )  # fmt: skip
    for path in drawn.paths:
        typer.echo(path)
    if not look.title:
        for each, words in drawn.captions.items():
            typer.echo(f"caption of {each}: {words}")
    kept = len(drawn.paths) - len(drawn.new)
    if kept:
        typer.echo(f"kept {kept} of {len(drawn.paths)} files: they show these very results already", err=True)
    for path in drawn.removed:
        typer.echo(f"removed {path}, which showed other rows", err=True)
    for reason in drawn.skipped:
        typer.echo(f"skipped {reason}", err=True)
    _left_out(drawn.left_out, drawn.refused)


def _own(
    directories: list[Path],
    out: Path | None,
    formats: list[str],
    given: dict[str, Any],
    spec_file: Path | None,
    save_to: Path | None,
    open_: bool,
) -> None:
    from dpjax.results.columns import COLUMNS
    from dpjax.results.metric import metric_of
    from dpjax.results.several import load_all
    from experiments.figures.lines import lines
    from experiments.figures.spec import Spec, read_spec, write_spec
    from experiments.figures.style import caption_of

    if save_to is not None and save_to.exists() and save_to.suffix not in (".yaml", ".yml"):
        raise ResultsError(f"--save {save_to} is there and no YAML file: choose another name, such as figure.yaml")
    spec, folders = read_spec(spec_file) if spec_file is not None else (Spec(), [])
    if "names" in given:
        given["names"] = {**spec.names, **given["names"]}
    spec = dataclasses.replace(spec, **given)
    directories = directories or [Path(folder) for folder in folders]
    if not directories:
        raise ResultsError("there is no DIR: give the folder of a sweep, such as results/quickstart")
    refuse_open_copy(directories, "the figure", allowed=open_)
    asked = {*spec.y, *spec.axes}
    curves = bool(spec.select) or any(column.name in asked for column in COLUMNS if column.dtype in ("ints", "floats"))
    frame = load_all(directories, curves=curves)
    if "y" not in given and spec_file is None:
        spec = dataclasses.replace(spec, y=(metric_of(frame),))
    if len(directories) > 1 and out is None and spec_file is not None:
        out = spec_file.parent
    paths = _paths(directories, out, formats, spec, spec_file or save_to)
    figure = lines(frame, spec)
    with private_copies(directories):
        save(figure, paths, spec.look)
    for path in paths:
        typer.echo(path)
    if not spec.title:
        typer.echo(f"caption: {caption_of(figure)}")
    if save_to is not None:
        typer.echo(write_spec(spec, save_to, directories))
    _left_out(frame.attrs.get("unreadable", []), frame.attrs.get("refused", []))


def _paths(
    directories: list[Path], out: Path | None, formats: list[str], spec: "Spec", named: Path | None
) -> list[Path]:
    if out is not None and out.suffix:
        return [out.with_suffix(f".{ending}") for ending in formats]
    by = "".join(f"_{word}" for word in (spec.hue, spec.style, spec.col) if word)
    name = named.stem if named is not None else f"{'_'.join(spec.y)}_by_{spec.x}{by}"
    return [folder_of(directories, out) / f"{name}.{ending}" for ending in formats]


def _formats(words: str, out: Path | None) -> tuple[list[str], Path | None]:
    formats = [part.strip() for part in words.split(",") if part.strip()]
    if words:
        known("format", formats, FORMATS)
    if out is None or not out.suffix or out.is_dir():
        return formats or ["png", "pdf"], out
    ending = out.suffix[1:]
    if ending not in FORMATS:
        raise ResultsError(f"--out {out} ends in .{ending}: give a folder, or a file in one of {', '.join(FORMATS)}")
    if formats and ending not in formats:
        raise ResultsError(f"--out {out} and --format {words} differ: leave out --format, or give --out a folder")
    return formats or [ending], out


def _names(pairs: list[str]) -> dict[str, str]:
    names = {}
    for pair in pairs:
        what, sign, word = pair.partition("=")
        if not sign or not what.strip() or not word.strip():
            raise ResultsError(f"--name {pair} is no name: write --name dpsgd=DP-SGD, what it is called after the =")
        names[what.strip()] = word.strip()
    return names


def _left_out(sentences: list[str], refused: list[str]) -> None:
    name_refused(refused)
    for sentence in sentences:
        typer.echo(f"left out: {sentence}", err=True)
    if sentences:
        raise SystemExit(1)
