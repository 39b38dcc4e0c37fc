"""A results table laid out for a paper: a row per method and a column per ε, or a line per point."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd

from dpjax.results.choices import best_per, hidden_columns
from dpjax.results.errors import ResultsError
from dpjax.results.intervals import half_width
from dpjax.results.metric import metric_of
from dpjax.results.paper.bold import bold_points
from dpjax.results.paper.captions import Facts, sentences, title
from dpjax.results.paper.cells import Block, Cell, written
from dpjax.results.paper.columns import Layout, layout_of
from dpjax.results.paper.latex import to_latex, wide_sentences
from dpjax.results.paper.naming import column_name, is_fraction, refuse_unknown_names, value_name
from dpjax.results.paper.spec import TableSpec
from dpjax.results.paper.text import to_csv, to_markdown, to_text
from dpjax.results.rivals import FAMILY, rivals_share
from dpjax.results.schema import SCHEMA, lower_is_better
from dpjax.results.selecting import select
from dpjax.results.several import SWEEP
from dpjax.results.sheet import one_reference
from dpjax.results.summarize import IDENTITY, is_federated, own_columns, references_as_one, with_runs
from dpjax.results.wording import with_told_epsilon


class PaperTable(NamedTuple):
    """A table, or several where points must not be compared.

    Attributes:
      blocks: one for each family of points.
      spec: what it was asked to look like.
      apart: columns in which the blocks differ.
    """

    blocks: list[Block]
    spec: TableSpec
    apart: tuple[str, ...] = ()

    def hints(self) -> list[str]:
        """What may be asked for instead, one sentence each: one table for several, and one that fits its page."""
        lines = []
        if self.apart:
            option = "--rows" if self.spec.rows else "--show"
            lines.append(
                f"these are {len(self.blocks)} tables, for {' and '.join(self.apart)} differ"
                f"{'s' * (len(self.apart) == 1)}: add {','.join(self.apart)} to {option} to have them in one"
            )
        return lines + (wide_sentences(self.blocks) if self.spec.format == "latex" else [])

    def render(self) -> str:
        """The table in the format of its specification."""
        match self.spec.format:
            case "markdown":
                return to_markdown(self.blocks)
            case "latex":
                return to_latex(self.blocks, self.spec.latex or "booktabs")
            case "csv":
                return to_csv(self.blocks)
            case _:
                return to_text(self.blocks)


def paper_table(frame: pd.DataFrame, spec: TableSpec = TableSpec()) -> PaperTable:  # noqa: B008 - it is frozen
    """A results table laid out for a paper.

    Formal guarantees: points that differ in data set, split, model, unit, partition, adjacency, sampling, δ or ε never
    share a cell; where they differ in anything else that is not shown, the best of them is, by the first metric, and
    the caption says over what. All metrics of a cell are of one point. The same rows and specification give the same
    text.

    Args:
      frame: what ``collect``, ``load`` or ``load_all`` gave.
      spec: what the table is to look like.

    Returns:
      The table; ``render`` is its text.

    Raises:
      ResultsError: a column that is not there or has no values, a name of nothing, or points that share a cell where
        ``over="each"``.

    Example:
      >>> from dpjax.results.table import frame_of
      >>> rows = [{"method": m, "epsilon": e, "seed": s, "test_accuracy": a + s / 50}
      ...         for m, a in (("dpsgd", 0.8), ("dpftrl", 0.5)) for e in (1.0, 8.0) for s in range(3)]
      >>> asked = TableSpec(rows=("method",), columns="epsilon", name={"dpsgd": "DP-SGD"}, digits=2, bold="mean")
      >>> block, = paper_table(frame_of(rows), asked).blocks
      >>> [(column.header, [cell.text for cell in column.cells]) for column in block.columns]
      [('method', ['DP-SGD', 'dpftrl']), ('ε = 1', ['0.82', '0.52']), ('ε = 8', ['0.82', '0.52'])]
    """
    chosen = with_told_epsilon(select(frame, spec.select))
    layout = layout_of(chosen, spec)
    _refuse_percent_of_nothing(spec, layout.metrics)
    refuse_unknown_names(spec, frame, [*dict.fromkeys([*layout.keys, *FAMILY])])
    chosen = chosen.assign(**{name: _of_one_kind(chosen[name]) for name in layout.own})
    own = list(dict.fromkeys([*layout.own, *own_columns(chosen)]))
    # What a table shows tells runs without privacy apart too, though their numbers are the same.
    points, runs = with_runs(references_as_one(chosen), layout.metrics, layout.apart)
    points = layout.asked(one_reference(points.assign(point=points.index), [*own, *layout.apart]))
    apart = [name for name in rivals_share() if name not in layout.keys]
    at = [*apart, *layout.keys]
    free = (*_FREE, *own)
    _refuse_hidden(points, at, free, layout.metrics[0], spec, metric_of(chosen))
    best: Any = best_per(points, at, layout.metrics[0], finished_first=True)
    best = best.assign(_federated=is_federated(best)).sort_values("_federated", kind="stable")
    blocks = []
    differing = [name for name in apart if best[name].nunique(dropna=False) > 1]
    for values, group in best.groupby(apart, dropna=False, sort=False):
        of_block = points.merge(group[at].drop_duplicates(), on=at)
        keys = {column_name(spec, n): value_name(spec, dict(zip(apart, values, strict=True)), n) for n in apart}
        blocks.append(_block(spec, layout, layout.ordered(group), of_block, runs, at, free, keys, differing))
    return PaperTable(_told_apart(blocks), spec, tuple(differing))


_FREE = ("experiment", SWEEP, *[name for name in IDENTITY if name not in FAMILY and name != "config_hash"])
"""What points of a cell may differ in: all that makes them points of their own."""


def _block(
    spec: TableSpec,
    layout: Layout,
    shown: list[dict[str, Any]],
    points: Any,
    runs: Any,
    at: Sequence[str],
    free: Sequence[str],
    keys: Any,
    differing: Sequence[str],
) -> Block:
    compared: dict[Any, list[dict[str, Any]]] = {}
    shared = rivals_share(layout.keys)
    for point in shown:
        compared.setdefault(tuple(str(point[name]) for name in shared), []).append(point)
    how = {name: spec.bold if _has_a_better(name) else "none" for name in layout.metrics}
    bold = {
        name: bold_points(list(compared.values()), runs, name, how[name], spec.confidence) for name in layout.metrics
    }
    hidden, other = _hidden(points, at, free)
    facts = Facts(shown, layout.metrics, layout.keys, hidden, other, bold)

    def cell(point: dict[str, Any] | None, metric: str) -> Cell:
        if point is None:
            return Cell("–")
        scale = 100.0 if spec.percent and is_fraction(metric) else 1.0
        how = {"bold": point["point"] in bold[metric].points, "crossed": bool(point["diverged"])}
        width = _width(spec, point, metric)
        return written(point[f"{metric}_mean"] * scale, width * scale, _digits(spec, metric), **how)

    columns = layout.columns(spec, shown, cell)
    return Block(title(spec, facts, differing), sentences(spec, facts), columns, keys)


def _width(spec: TableSpec, point: dict[str, Any], metric: str) -> float:
    std, n = point[f"{metric}_std"], point["n"]
    match spec.spread:
        case "ci":
            return float(half_width(std, n, spec.confidence))
        case "sem":
            return std / math.sqrt(n)
        case "std":
            return std
        case _:
            return math.nan


def _digits(spec: TableSpec, metric: str) -> int:
    usual = 1 if spec.percent and is_fraction(metric) else 3
    given = spec.digits.get(metric) if isinstance(spec.digits, Mapping) else spec.digits
    return usual if given is None else given


def _has_a_better(metric: str) -> bool:
    return metric not in SCHEMA or SCHEMA[metric].better is not None or lower_is_better(metric)


def _of_one_kind(column: Any) -> Any:
    """A column of one's own that can be sorted: as texts, where it holds several kinds of cells."""
    mixed = column.dropna().map(lambda cell: isinstance(cell, str)).nunique() > 1
    return column.map(str, na_action="ignore") if mixed else column


def _hidden(points: Any, at: Sequence[str], free: Sequence[str]) -> tuple[list[str], bool]:
    hidden = hidden_columns(points, at, free)
    return hidden, bool(hidden_columns(points, [*at, *hidden], ["config_hash"]))


def _refuse_hidden(
    points: Any, at: Sequence[str], free: Sequence[str], metric: str, spec: TableSpec, usual: str
) -> None:
    hidden, other = _hidden(points, at, free)
    if not hidden and not other:
        return
    named = ", ".join([*hidden, *(["settings outside the columns"] if other else [])])
    if spec.over == "each":
        raise ResultsError(
            f"over=each, but points that share a cell differ in {named}: give what differs to rows or show, or take "
            "one value by select"
        )
    if not _has_a_better(metric):
        raise ResultsError(
            f"points that share a cell differ in {named}, and of {metric} neither more nor less is better: give what "
            f"differs to rows or show, or name a metric such as {usual} first"
        )


def _refuse_percent_of_nothing(spec: TableSpec, metrics: Sequence[str]) -> None:
    if spec.percent and not any(map(is_fraction, metrics)):
        raise ResultsError(f"percent is of fractions, which {' and '.join(metrics)} is not: leave it out")
    for name in spec.digits if isinstance(spec.digits, Mapping) else ():
        if name not in metrics:
            raise ResultsError(
                f"digits are given for {name}, which the table does not show: it has {', '.join(metrics)}"
            )


def _told_apart(blocks: list[Block]) -> list[Block]:
    """Blocks whose keys are those alone that they differ in."""
    differing = [name for name in (blocks[0].keys if blocks else {}) if len({block.keys[name] for block in blocks}) > 1]
    return [block._replace(keys={name: block.keys[name] for name in differing}) for block in blocks]
