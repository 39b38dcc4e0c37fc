"""Every figure that a results folder has the data for, and ``dpjax plot``, which draws them."""

import importlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from dpjax.results import ResultsError, write_atomically

if TYPE_CHECKING:
    import pandas as pd

    from experiments.figures.drawn import OnDisk

FIGURES = (
    "privacy_utility_curve",
    "epsilon_clip_heatmap",
    "accuracy_by_clients",
    "algorithms_by_epsilon",
    "algorithms_by_clients",
    "client_fairness",
    "aggregation_costs",
    "pareto_front",
    "norm_histograms",
    "signal_to_noise",
    "privacy_spent",
)
FORMATS = ("png", "pdf", "svg")


class Drawn(NamedTuple):
    """What ``plot_all`` did.

    Attributes:
      paths: the files, drawn now or there already.
      skipped: for each figure that the results have no data for, one sentence that says what is missing.
      left_out: files that cannot be read and jobs that failed, which no figure shows.
      new: those of the files that were drawn now.
      removed: files that were drawn here of other rows, and that these rows have nothing for.
    """

    paths: list[Path]
    skipped: list[str]
    left_out: list[str]
    new: list[Path]
    removed: list[Path]


def privacy_utility_curve(df: "pd.DataFrame", metric: str = "test_accuracy") -> Any:
    """A metric against ε; see ``experiments.figures.curve``.

    Args:
      df: what ``dpjax.results.collect`` or ``load`` gave.
      metric: the column on the y axis.

    Raises:
      ResultsError: the table lacks what the figure shows.

    >>> from dpjax.results.table import frame_of
    >>> len(privacy_utility_curve(frame_of([{"epsilon": e, "test_accuracy": 0.9} for e in (1.0, 2.0)])).axes)
    1
    """
    from experiments.figures.curve import privacy_utility_curve as draw

    return draw(df, metric)


def epsilon_clip_heatmap(df: "pd.DataFrame", metric: str = "test_accuracy") -> Any:
    """A metric over ε × clip norm; see ``experiments.figures.heatmap``.

    Args:
      df: what ``dpjax.results.collect`` or ``load`` gave.
      metric: the column that gives the colour.

    Raises:
      ResultsError: the table lacks what the figure shows.

    >>> from dpjax.results.table import frame_of
    >>> epsilon_clip_heatmap(frame_of([{"epsilon": 1.0, "test_accuracy": 0.9}]))
    Traceback (most recent call last):
        ...
    dpjax.results.errors.ResultsError: the results have no values in column 'clip_norm': sweep or record it first
    """
    from experiments.figures.heatmap import epsilon_clip_heatmap as draw

    return draw(df, metric)


def accuracy_by_clients(df: "pd.DataFrame", metric: str = "test_accuracy") -> Any:
    """A metric against clients per round; see ``experiments.figures.clients``.

    Args:
      df: what ``dpjax.results.collect`` or ``load`` gave.
      metric: the column on the y axis.

    Raises:
      ResultsError: the table lacks what the figure shows.

    >>> from dpjax.results.table import frame_of
    >>> rows = [{"epsilon": 1.0, "clients_per_round": c, "test_accuracy": 0.9} for c in (10, 50)]
    >>> len(accuracy_by_clients(frame_of(rows)).axes)
    1
    """
    from experiments.figures.clients import accuracy_by_clients as draw

    return draw(df, metric)


def plot_all(
    directory: Path | str,
    out: Path | str | None = None,
    *,
    figures: Sequence[str] = (),
    formats: Sequence[str] = ("png", "pdf"),
    metric: str = "test_accuracy",
    processes: int = 1,
    tell: Callable[[int, int], None] = lambda done, total: None,
) -> Drawn:
    """Draws every figure that the results below a folder have the data for, and is not there already.

    Figures that compare algorithms or aggregations are not spoken of where there is only one, nor those of columns that
    are wholly empty.

    Formal guarantees: central and federated results are never in one file (``..._federated`` is the latter's). The same
    results give the same bytes. A figure asked for by name is drawn or raises; the others may be skipped. A file stays
    as it is only if it has the bytes that the same rows, metric, code and packages gave: ``drawn.json`` beside it says,
    of a drawing that was interrupted too. Of the figures asked for, a file that was drawn here of
    other rows is drawn anew, in any format, or removed if the rows have nothing for it; one that was edited stays.

    Args:
      directory: a sweep's folder, or a ``results.parquet`` or ``results.json``.
      out: folder for the files; ``figures`` below the results if None.
      figures: names in ``FIGURES``; all if empty.
      formats: some of ``FORMATS``.
      metric: the column to draw.
      processes: that may draw side by side; above 1 only where the main module can be imported again.
      tell: told how many of how many figures are drawn, before the first and after each.

    Returns:
      The files, and why figures were skipped.

    Raises:
      ResultsError: no results, an unknown name, a missing column, or a file that could not be written.

    >>> plot_all("/nowhere")
    Traceback (most recent call last):
        ...
    dpjax.results.errors.ResultsError: there is no /nowhere: give the folder of a sweep, such as results/quickstart
    """
    _known("figure", figures, FIGURES)
    _known("format", formats, FORMATS)
    from dpjax.results import load
    from dpjax.results.summarize import require
    from experiments.figures.as_algorithms import named_as_algorithms
    from experiments.figures.drawn import read_drawn, remove_outdated, write_drawn
    from experiments.figures.processes import side_by_side

    loaded = load(directory)
    frame = named_as_algorithms(loaded)
    require(frame, metric)
    folder = _folder(Path(directory), out)
    names = figures or [name for name in FIGURES if _compares(name, frame)]
    parts = {name: _parts(name, frame) for name in names}
    before = read_drawn(folder)
    charts = {
        each: _chart(name, rows, metric, [folder / f"{each}.{ending}" for ending in formats], before.get(each))
        for name in names
        for each, rows in parts[name].items()
    }
    wanted = {each: chart for each, chart in charts.items() if chart.wanted}
    now = {each: chart.there for each, chart in charts.items()}
    order, fresh = list(wanted), {}

    def add(number: int, there: "OnDisk") -> None:
        fresh[order[number]] = there
        tell(len(fresh), len(order))

    try:
        if order:
            tell(0, len(order))
        side_by_side(_draw_files, list(wanted.values()), processes, add)
    except BaseException:
        if fresh and folder.is_dir():
            write_drawn(folder, before | fresh)
        raise
    now |= fresh
    # Figures that were not asked for are as they were.
    others = {each: there for each, there in before.items() if figures and each not in now}
    removed = remove_outdated(folder, before, now | others)
    if now | others != before and folder.is_dir():
        write_drawn(folder, now | others)
    drawn = Drawn([], [], list(loaded.attrs.get("unreadable", [])), [], removed)
    for name in names:
        reasons = [f"{each}: {now[each].missing}" for each in parts[name] if now[each].missing]
        if len(reasons) == len(parts[name]) and figures:
            raise ResultsError(reasons[0])
        drawn.skipped.extend(reasons)
        shown = [charts[each] for each in parts[name] if not now[each].missing]
        drawn.paths.extend(path for chart in shown for path in chart.paths)
        drawn.new.extend(path for chart in shown for path in chart.wanted)
    return drawn


def plot_command(
    directory: Annotated[
        Path, typer.Argument(metavar="DIR", help="Folder of a sweep, or a results.parquet or results.json.")
    ],
    figure: Annotated[
        list[str] | None,
        typer.Option("--figure", help=f"Only this one; may be repeated. One of: {', '.join(FIGURES)}."),
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Folder for the files. Default: DIR/figures.")] = None,
    format: Annotated[str, typer.Option("--format", help="png, pdf, svg, or several with commas.")] = "png,pdf",
    metric: Annotated[str, typer.Option("--metric", help="Column to draw; `dpjax results columns` lists them.")] = (
        "test_accuracy"
    ),
) -> None:
    """Draw the figures of a results folder: privacy-utility curve, ε × clip norm heat map, accuracy by clients, what
    compares federated algorithms and aggregations, the Pareto front, and what happened inside the runs.

    [bold]Examples[/bold]

      dpjax plot results/quickstart

      dpjax plot results/quickstart --figure privacy_utility_curve --format pdf

    Lines and cells are means over seeds, with one standard deviation as band, bar or small print. The dashed line is
    the best non-private run. Figures that the results have no data for are skipped, and the reason is printed.
    """
    formats = [part.strip() for part in format.split(",") if part.strip()]
    from experiments.progress import counted

    processes = os.cpu_count() or 1
    with counted("figures") as tell:
        drawn = plot_all(
            directory, out, figures=figure or (), formats=formats, metric=metric, processes=processes, tell=tell
        )
    for path in drawn.paths:
        typer.echo(path)
    kept = len(drawn.paths) - len(drawn.new)
    if kept:
        typer.echo(f"kept {kept} of {len(drawn.paths)} files: they show these very results already", err=True)
    for path in drawn.removed:
        typer.echo(f"removed {path}, which showed other rows", err=True)
    for reason in drawn.skipped:
        typer.echo(f"skipped {reason}", err=True)
    for sentence in drawn.left_out:
        typer.echo(f"left out: {sentence}", err=True)
    if drawn.left_out:
        raise SystemExit(1)


def _parts(name: str, frame: Any) -> dict[str, Any]:
    """The files of a figure, without their endings, and the rows that each shows."""
    from dpjax.results.summarize import is_federated

    if name in _OF_FEDERATED:
        parts = {name: frame}
    else:
        federated = is_federated(frame)
        parts = {name: frame[~federated], f"{name}_federated": frame[federated]}
    return {file_name: rows for file_name, rows in parts.items() if len(rows)}


class _Chart(NamedTuple):
    """A figure's files, what they show, and which of them are there already."""

    name: str
    rows: Any
    metric: str
    paths: list[Path]
    there: "OnDisk"
    wanted: list[Path]


def _chart(name: str, rows: Any, metric: str, paths: list[Path], before: "OnDisk | None") -> _Chart:
    from experiments.figures.drawn import OnDisk, inputs_of

    inputs = inputs_of(name, rows, metric)
    if before is None:
        before = OnDisk(inputs, {})
    there = before if before.inputs == inputs else OnDisk(inputs, {})
    asked = [path for path in paths if not there.has(path)]
    # Files of other formats that were drawn here of other rows: beside new ones they would tell another story.
    also = [paths[0].with_suffix(ending) for ending in before.files] if there is not before else []
    also = [path for path in also if path not in paths and before.has(path)]
    return _Chart(name, rows, metric, paths, there, [] if there.missing else [*asked, *also])


def _draw_files(chart: _Chart) -> "OnDisk":
    """The files of a figure that are not there, or why it can't be drawn."""
    from experiments.figures.drawn import OnDisk

    try:
        figure = draw(chart.name, chart.rows, chart.metric)
    except ResultsError as error:
        return OnDisk(chart.there.inputs, {}, str(error))
    return chart.there._replace(files=chart.there.files | _save(figure, chart.wanted))


def draw(name: str, df: "pd.DataFrame", metric: str = "test_accuracy") -> Any:
    """One figure by its name.

    Args:
      name: one of ``FIGURES``.
      df: what ``dpjax.results.collect`` or ``load`` gave.
      metric: the column on the y axis; ``client_fairness`` has columns of its own.

    Raises:
      ResultsError: the table lacks what the figure shows.

    >>> from dpjax.results.table import frame_of
    >>> run = {"clients_per_round": 10, "test_accuracy": 0.9}
    >>> rows = [run | {"epsilon": e, "algorithm": a} for e in (1.0, 8.0) for a in ("fedavg", "scaffold")]
    >>> len(draw("algorithms_by_epsilon", frame_of(rows)).axes)
    1
    """
    function = _DRAW.get(name) or getattr(importlib.import_module(_MODULES[name]), name)
    return function(df) if name in _OWN_METRIC else function(df, metric)


def _compares(name: str, frame: Any) -> bool:
    column, label = _COMPARED.get(name), _TOLD.get(name)
    return (column is None or frame[column].nunique() > 1) and (label is None or frame[label].notna().any())


def _save(figure: Any, paths: Sequence[Path]) -> dict[str, str]:
    """The digest of what was written, by the files' endings: another process may have put its own there since."""
    from experiments.figures import style
    from experiments.figures.drawn import digest_of

    folder = paths[0].parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ResultsError(f"could not create the folder {folder}: {error.strerror}; choose another --out") from error
    contents = style.rendered(figure, [path.suffix[1:] for path in paths])
    for path, content in zip(paths, contents.values(), strict=True):
        write_atomically(path, content)
    return {path.suffix: digest_of(content) for path, content in zip(paths, contents.values(), strict=True)}


def _folder(directory: Path, out: Path | str | None) -> Path:
    if out is not None:
        return Path(out)
    return (directory if directory.is_dir() else directory.parent) / "figures"


def _known(what: str, given: Sequence[str], known: Sequence[str]) -> None:
    for name in given:
        if name not in known:
            raise ResultsError(f"--{what} {name} is not known: choose one of {', '.join(known)}")
    if what == "format" and not given:
        raise ResultsError(f"--format is empty: choose one or more of {', '.join(known)}")


_DRAW: dict[str, Callable[..., Any]] = {
    "privacy_utility_curve": privacy_utility_curve,
    "epsilon_clip_heatmap": epsilon_clip_heatmap,
    "accuracy_by_clients": accuracy_by_clients,
}
_MODULES = {
    "algorithms_by_epsilon": "experiments.figures.algorithms",
    "algorithms_by_clients": "experiments.figures.algorithms",
    "client_fairness": "experiments.figures.algorithms",
    "aggregation_costs": "experiments.figures.costs",
    "pareto_front": "experiments.figures.pareto",
    "norm_histograms": "experiments.figures.runs",
    "signal_to_noise": "experiments.figures.runs",
    "privacy_spent": "experiments.figures.runs",
}
"""Where the other figures are drawn."""

_COMPARED = {
    "algorithms_by_epsilon": "algorithm",
    "algorithms_by_clients": "algorithm",
    "client_fairness": "algorithm",
    "aggregation_costs": "aggregation",
}
_TOLD = {
    "pareto_front": "wall_seconds",
    "norm_histograms": "norm_counts_first",
    "signal_to_noise": "eval_signal_to_noise",
    "privacy_spent": "noise",
}
"""Columns that older rows lack: where all of them do, the figure is not spoken of."""

_OF_FEDERATED = ("accuracy_by_clients", *_COMPARED)
_OWN_METRIC = ("client_fairness",)
