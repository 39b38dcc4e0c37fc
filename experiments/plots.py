"""Figures of results: one of one's own, each kind by its name, and all that a folder has the data for."""

import importlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from dpjax.results import ResultsError, write_atomically
from experiments.figures.asked import folder_of, known

if TYPE_CHECKING:
    import pandas as pd

    from experiments.figures.drawn import OnDisk
    from experiments.figures.look import Look

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
    "exposure_of_secrets",
)
FORMATS = ("png", "pdf", "svg")


class Drawn(NamedTuple):
    """What ``plot_all`` did.

    Attributes:
      paths: the files, drawn now or there already.
      skipped: for each figure that the results have no data for, one sentence that says what is missing.
      left_out: files that cannot be read and jobs that failed, which no figure shows.
      refused: how many points a ledger refused, a sentence for each reason.
      new: those of the files that were drawn now.
      removed: files that were drawn here of other rows, and that these rows have nothing for.
      captions: what each of the paths' figures rests on, by the figure's name.
    """

    paths: list[Path]
    skipped: list[str]
    left_out: list[str]
    refused: list[str]
    new: list[Path]
    removed: list[Path]
    captions: dict[str, str]


def curve(
    df: "pd.DataFrame",
    x: str = "epsilon",
    y: str | Sequence[str] = "test_accuracy",
    hue: str = "",
    style: str = "",
    col: str = "",
    *,
    select: str = "",
    names: Mapping[str, str] | None = None,
    seeds: bool = False,
    log: bool | None = None,
    width: str = "",
    height: str = "",
    font: str = "",
    font_size: float | None = None,
    title: bool = True,
    spread: str = "ci",
    confidence: float = 0.95,
) -> Any:
    """Any column against any other, lines told apart by ``hue`` and ``style``, panels by ``col``.

    Formal guarantees: those of ``experiments.figures.lines.lines``: no mean is ever over several points, and what may
    not be compared is told apart.

    Args:
      df: what ``dpjax.results.load`` gave.
      x: column on the x axis; numbers give lines, words give places.
      y: column on the y axis, or several, each in panels of its own.
      hue: column that colours tell apart.
      style: column that dashes and markers tell apart.
      col: column with a panel for each value.
      select: which rows, such as ``"epsilon<=8 method=dpsgd|dpftrl"``.
      names: what columns and their values are called.
      seeds: whether every seed is a dot.
      log: whether the x axis is logarithmic; where values span a factor of eight if None.
      width: ``"column"``, ``"text"`` or a length such as ``"9cm"``.
      height: a length.
      font: ``"sans"``, ``"serif"``, ``"mono"`` or a family that is installed.
      font_size: in points.
      title: whether title and notes are drawn; ``experiments.figures.style.caption_of`` has them otherwise.
      spread: what bands and bars are: ``"ci"``, ``"std"``, ``"sem"`` or ``"none"``.
      confidence: of the interval.

    Returns:
      A ``matplotlib.figure.Figure``.

    Raises:
      ResultsError: a column is not there or empty, no row is selected, or a length or a font cannot be.

    >>> from dpjax.results.table import frame_of
    >>> rows = [{"epsilon": e, "method": m, "test_loss": 1 / e} for e in (1.0, 8.0) for m in ("a", "b")]
    >>> float(curve(frame_of(rows), y="test_loss", hue="method", width="column").get_figwidth() * 2.54)
    8.4
    """
    from experiments.figures.lines import lines
    from experiments.figures.spec import Spec

    columns = tuple(y.split(",")) if isinstance(y, str) else tuple(y)
    spec = Spec(
        x=x, y=columns, hue=hue, style=style, col=col, select=select, names=names or {}, seeds=seeds, log=log,
        width=width, height=height, font=font, font_size=font_size, title=title, spread=spread, confidence=confidence,
    )  # fmt: skip
    return lines(df, spec)


def plot_all(
    directory: Path | str | Sequence[Path | str],
    out: Path | str | None = None,
    *,
    figures: Sequence[str] = (),
    formats: Sequence[str] = ("png", "pdf"),
    metric: str = "",
    look: "Look | None" = None,
    select: str = "",
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
      directory: a sweep's folder, or a ``results.parquet`` or ``results.json``; or several of these.
      out: folder for the files; ``figures`` below the results if None.
      figures: names in ``FIGURES``; all if empty.
      formats: some of ``FORMATS``.
      metric: the column to draw; empty: what ``dpjax.results.metric`` says.
      look: width, height, font and spread of all of them; as they are by themselves if None.
      select: which rows; see ``dpjax.results.selecting.select``.
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
    known("figure", figures, FIGURES)
    known("format", formats, FORMATS)
    from dpjax.results.metric import all_diverged, metric_of
    from dpjax.results.selecting import select as chosen
    from dpjax.results.several import load_all
    from dpjax.results.summarize import require
    from experiments.figures.as_algorithms import named_as_algorithms
    from experiments.figures.drawn import read_drawn, remove_outdated, write_drawn
    from experiments.figures.processes import side_by_side

    directories = [directory] if isinstance(directory, str | Path) else list(directory)
    loaded = load_all(directories)
    frame = named_as_algorithms(chosen(loaded, select))
    metric = metric or metric_of(frame)
    if not all_diverged(frame):  # whose figures say one by one what they lack
        require(frame, metric)
    folder = folder_of(directories, out)
    names = figures or [name for name in FIGURES if _compares(name, frame)]
    parts = {name: _parts(name, frame) for name in names}
    before = read_drawn(folder)
    charts = {
        each: _chart(name, rows, metric, look, [folder / f"{each}.{ending}" for ending in formats], before.get(each))
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
            write_drawn(folder, before, before | fresh)
        raise
    now |= fresh
    # Figures that were not asked for are as they were.
    others = {each: there for each, there in before.items() if figures and each not in now}
    removed = remove_outdated(folder, before, now | others)
    if now | others != before and folder.is_dir():
        write_drawn(folder, before, now | others)
    drawn = Drawn([], [], list(loaded.attrs.get("unreadable", [])), loaded.attrs.get("refused", []), [], removed, {})
    for name in names:
        reasons = [f"{each}: {now[each].missing}" for each in parts[name] if now[each].missing]
        if len(reasons) == len(parts[name]) and figures:
            raise ResultsError(reasons[0])
        drawn.skipped.extend(reasons)
        there = [each for each in parts[name] if not now[each].missing]
        shown = [charts[each] for each in there]
        drawn.paths.extend(path for chart in shown for path in chart.paths)
        drawn.captions.update({each: now[each].caption for each in there})
        drawn.new.extend(path for chart in shown for path in chart.wanted)
    return drawn


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
    look: "Look"
    paths: list[Path]
    there: "OnDisk"
    wanted: list[Path]


def _chart(
    name: str, rows: Any, metric: str, look: "Look | None", paths: list[Path], before: "OnDisk | None"
) -> _Chart:
    from experiments.figures.drawn import OnDisk, inputs_of
    from experiments.figures.look import Look

    look = look or Look()
    inputs = inputs_of(name, rows, metric, look)
    if before is None:
        before = OnDisk(inputs, {})
    there = before if before.inputs == inputs else OnDisk(inputs, {})
    asked = [path for path in paths if not there.has(path)]
    # Files of other formats that were drawn here of other rows: beside new ones they would tell another story.
    also = [paths[0].with_suffix(ending) for ending in before.files] if there is not before else []
    also = [path for path in also if path not in paths and before.has(path)]
    return _Chart(name, rows, metric, look, paths, there, [] if there.missing else [*asked, *also])


def _draw_files(chart: _Chart) -> "OnDisk":
    """The files of a figure that are not there, or why it can't be drawn."""
    from experiments.figures.processes import uncollected

    with uncollected():
        return _draw(chart)


def _draw(chart: _Chart) -> "OnDisk":
    from experiments.figures.drawn import OnDisk

    try:
        figure = draw(chart.name, chart.rows, chart.metric, chart.look)
    except ResultsError as error:
        return OnDisk(chart.there.inputs, {}, str(error))
    from experiments.figures.style import caption_of

    files = chart.there.files | save(figure, chart.wanted, chart.look)
    return chart.there._replace(files=files, caption=caption_of(figure))


def draw(name: str, df: "pd.DataFrame", metric: str = "test_accuracy", look: "Look | None" = None) -> Any:
    """One figure by its name.

    Args:
      name: one of ``FIGURES``.
      df: what ``dpjax.results.collect`` or ``load`` gave.
      metric: the column on the y axis; ``client_fairness`` has columns of its own.
      look: width, height, font and spread; as the figure is by itself if None.

    Raises:
      ResultsError: the table lacks what the figure shows.

    >>> from dpjax.results.table import frame_of
    >>> run = {"clients_per_round": 10, "test_accuracy": 0.9}
    >>> rows = [run | {"epsilon": e, "algorithm": a} for e in (1.0, 8.0) for a in ("fedavg", "scaffold")]
    >>> len(draw("algorithms_by_epsilon", frame_of(rows)).axes)
    1
    """
    function = getattr(importlib.import_module(_MODULES[name]), name)
    from experiments.figures.style import PLAIN, fit

    look = look or PLAIN
    figure = function(df, look=look) if name in _OWN_METRIC else function(df, metric, look)
    fit(figure, look)
    return figure


def _compares(name: str, frame: Any) -> bool:
    column, label = _COMPARED.get(name), _TOLD.get(name)
    return (column is None or frame[column].nunique() > 1) and (label is None or frame[label].notna().any())


def save(figure: Any, paths: Sequence[Path], look: "Look | None" = None) -> dict[str, str]:
    """Writes a figure in the formats that the paths' endings name.

    Args:
      figure: what a chart's function returned.
      paths: in one folder, which is made if it is not there.
      look: in which it was drawn.

    Returns:
      The digest of what was written, by the files' endings: another process may have put its own there since.

    Raises:
      ResultsError: a file could not be written.
    """
    from experiments.figures import style
    from experiments.figures.drawn import digest_of

    folder = paths[0].parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ResultsError(f"could not create the folder {folder}: {error.strerror}; choose another --out") from error
    contents = style.rendered(figure, [path.suffix[1:] for path in paths], look or style.PLAIN)
    for path, content in zip(paths, contents.values(), strict=True):
        write_atomically(path, content)
    return {path.suffix: digest_of(content) for path, content in zip(paths, contents.values(), strict=True)}


_MODULES = {
    "privacy_utility_curve": "experiments.figures.curve",
    "epsilon_clip_heatmap": "experiments.figures.heatmap",
    "accuracy_by_clients": "experiments.figures.clients",
    "algorithms_by_epsilon": "experiments.figures.algorithms",
    "algorithms_by_clients": "experiments.figures.algorithms",
    "client_fairness": "experiments.figures.algorithms",
    "aggregation_costs": "experiments.figures.costs",
    "pareto_front": "experiments.figures.pareto",
    "norm_histograms": "experiments.figures.runs",
    "signal_to_noise": "experiments.figures.runs",
    "privacy_spent": "experiments.figures.runs",
    "exposure_of_secrets": "experiments.figures.leakage",
}
"""Where each is drawn."""

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
    "exposure_of_secrets": "exposures",
}
"""Columns that older rows lack: where all of them do, the figure is not spoken of."""

_OF_FEDERATED = ("accuracy_by_clients", "exposure_of_secrets", *_COMPARED)
_OWN_METRIC = ("client_fairness",)


def __getattr__(name: str) -> Any:
    """Each kind of figure is a function by its name, imported with matplotlib when it is asked for."""
    if name in _MODULES:
        return getattr(importlib.import_module(_MODULES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
