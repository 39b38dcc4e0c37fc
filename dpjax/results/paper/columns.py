"""Which columns a paper's table has, and in which order its rows and columns stand."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import pandas as pd

from dpjax.results.choices import hidden_columns
from dpjax.results.errors import ResultsError
from dpjax.results.having import settings_in
from dpjax.results.metric import metric_of
from dpjax.results.mishaps import COUNTED
from dpjax.results.paper.cells import Cell, Column
from dpjax.results.paper.naming import column_name, value_name
from dpjax.results.paper.spec import TableSpec
from dpjax.results.rivals import FAMILY
from dpjax.results.schema import SCHEMA
from dpjax.results.selecting import column_of
from dpjax.results.several import SWEEP
from dpjax.results.summarize import IDENTITY, POINT, is_scalar, own_columns, require
from dpjax.results.wording import cell_text

_LATE = (
    "sampling_rate",
    "num_steps",
    "population",
    "records_per_unit",
    "accountant",
    "tuning_accounted",
    "code",
    "inputs",
)
"""Settings that often follow from others, which then tell points apart better."""


class Layout(NamedTuple):
    """Which columns of the results a table shows.

    Attributes:
      order: names of the columns from left to right, metrics among them.
      metrics: what cells hold, the first of them chooses.
      axis: whose values get a column each; empty in a line per point.
      wanted: column → values that were asked for by name, in their order.
      places: column → text of a value → its place, smallest number or first come first.
    """

    order: list[str]
    metrics: list[str]
    axis: str
    wanted: dict[str, list[str]]
    places: dict[str, dict[str, int]]

    @property
    def keys(self) -> list[str]:
        """Columns of the results that tell the cells apart."""
        return [name for name in self.order if name not in self.metrics] + ([self.axis] if self.axis else [])

    @property
    def own(self) -> list[str]:
        """Those of them that are none of the schema's."""
        return [name for name in self.keys if name not in POINT]

    @property
    def apart(self) -> list[str]:
        """Those of them that tell points apart here, and do not elsewhere."""
        return [name for name in self.keys if name not in (*IDENTITY, SWEEP, "epsilon_pld", "epsilon_rdp", *COUNTED)]

    def asked(self, points: Any) -> Any:
        """The points of the values that were asked for; all, where none was."""
        for name, values in self.wanted.items():
            points = points[[cell_text({name: value}, name) in values for value in points[name]]]
        return points

    def ordered(self, points: Any) -> list[dict[str, Any]]:
        """The points in the order of the rows."""
        rows = [name for name in self.keys if name != self.axis]
        return sorted(points.to_dict("records"), key=lambda point: [self._place(point, name) for name in rows])

    def columns(
        self, spec: TableSpec, points: Sequence[dict[str, Any]], cell: Callable[[dict[str, Any] | None, str], Cell]
    ) -> list[Column]:
        """The columns of a block.

        Args:
          spec: of the table.
          points: in the order of the rows.
          cell: makes one of a point, or of none, and a metric.
        """
        rows: dict[tuple[str, ...], list[dict[str, Any]]] = {}
        stubs = [name for name in self.order if name not in self.metrics]
        for point in points:
            rows.setdefault(tuple(cell_text(point, name) for name in stubs), []).append(point)
        columns = []
        for name in self.order:
            if name not in self.metrics:
                cells = [Cell(value_name(spec, of_row[0], name)) for of_row in rows.values()]
                columns += [Column(column_name(spec, name), cells)] if {c.text for c in cells} != {"–"} else []
            elif not self.axis:
                cells = [cell(of_row[0], name) for of_row in rows.values()]
                columns.append(Column(column_name(spec, name), cells, is_metric=True))
            else:
                columns += self._by_value(spec, name, list(rows.values()), cell)
        return columns

    def _by_value(self, spec: TableSpec, metric: str, rows: list[list[dict[str, Any]]], cell: Any) -> list[Column]:
        found = {cell_text(point, self.axis): point for of_row in rows for point in of_row}
        columns = []
        for value in sorted(found, key=lambda value: self._place(found[value], self.axis)):
            at = [next((p for p in of_row if cell_text(p, self.axis) == value), None) for of_row in rows]
            header = value_name(spec, found[value], self.axis)
            if header == value and not isinstance(found[value][self.axis], str):  # a number says not what it is of
                header = f"{column_name(spec, self.axis)} = {value}"
            columns.append(Column(header, [cell(p, metric) for p in at], column_name(spec, metric), True))
        return columns

    def _place(self, point: dict[str, Any], name: str) -> int:
        return self.places[name][cell_text(point, name)]


def layout_of(frame: pd.DataFrame, spec: TableSpec) -> Layout:
    """The columns that a table of these rows shows, with the order of their values.

    Args:
      frame: the rows.
      spec: of the table.

    Raises:
      ResultsError: a column that is not there, has no values, or is no metric or no setting where one is needed.
    """
    hint = next(iter(settings_in(frame, IDENTITY, but=("epsilon", *spec.axes, *spec.show))), "epsilon")
    for name in (*spec.axes, *spec.show, *spec.metric):
        if name == SWEEP and SWEEP not in frame.columns:
            alone = name in spec.axes and spec.axes[: len(spec.rows)] == [SWEEP]
            instead = f"say {hint} in its place" if alone else "leave it out"
            raise ResultsError(f"there is no column sweep in rows of one folder: give several, or {instead}")
        column_of(frame, name)
    if spec.columns and not spec.rows:
        raise ResultsError(f"columns={spec.columns} has no rows beside it: say which, such as rows={hint}")
    for name in spec.axes:
        if _is_measured(frame, name, on_axis=True):
            raise ResultsError(f"rows and columns name {name}, which is measured: give it to metric, or to show")
    metrics = list(dict.fromkeys([*spec.metric, *[name for name in spec.show if _is_measured(frame, name)]]))
    metrics = metrics or [metric_of(frame)]
    require(frame, *metrics)
    for name in metrics:
        if name in POINT or name == "seed":
            raise ResultsError(
                f"metric {name} tells points apart and is no result: choose one such as {metric_of(frame)}"
            )
    rows = [name for name in spec.axes if name != spec.columns.partition("=")[0]]
    order = list(spec.show) or rows or _telling(frame)
    order += [name for name in metrics if name not in order]
    axis = spec.columns.partition("=")[0]
    settings = [name for name in (*order, axis) if name and name not in metrics]
    for name in settings:
        if (
            name not in POINT
            and name not in SCHEMA
            and not is_scalar(frame[name].dropna())
            and len(frame[name].dropna())
        ):
            raise ResultsError(
                f"{name} holds more than one number or word a run, which is nothing for a cell: name another column"
            )
        if name not in POINT and name in SCHEMA:
            raise ResultsError(
                f"{name} is neither a setting nor a result of a point: show such as epsilon, {hint}, {metrics[0]}"
            )
        if bool(column_of(frame, name).isna().all()):
            raise ResultsError(f"the results have no values in column {name!r}: name one that has, such as {hint}")
    wanted = {}
    for given in (*spec.rows, spec.columns):
        name, sign, values = given.partition("=")
        if sign:
            wanted[name] = values.split("|")
    return Layout(order, metrics, axis, wanted, {name: _places(frame, name, wanted.get(name)) for name in settings})


def _is_measured(frame: Any, name: str, *, on_axis: bool = False) -> bool:
    if name in POINT or name == "seed" or not pd.api.types.is_numeric_dtype(frame[name]):
        return False
    if name in SCHEMA:
        return True
    # A number of one's own is a setting where all seeds of a point share it; of one seed each, only who asks knows.
    shared = pd.api.types.is_bool_dtype(frame[name]) or name in own_columns(frame)
    return not (shared and (on_axis or frame["seed"].nunique() > 1))


def _telling(frame: Any) -> list[str]:
    """ε, and the settings that points of one family and ε differ in, as few as tell them apart."""
    settings = [name for name in IDENTITY if name not in (*FAMILY, *_LATE, "config_hash", "epsilon", "method")]
    telling = ["epsilon"] if bool(frame["epsilon"].notna().any()) else []
    for name in (SWEEP, "method", *settings, *_LATE, *own_columns(frame), "experiment"):
        telling += hidden_columns(frame, [*FAMILY[1:], *telling], [name])
    return telling


def _places(frame: Any, name: str, wanted: list[str] | None) -> dict[str, int]:
    found = {cell_text({name: value}, name): value for value in frame[name].unique()}
    for value in wanted or ():
        if value not in found:
            raise ResultsError(f"no row has {name}={value}: choose of {', '.join(found)}")
    if wanted:
        return {value: place for place, value in enumerate(wanted)}
    numeric = pd.api.types.is_numeric_dtype(frame[name]) and not pd.api.types.is_bool_dtype(frame[name])
    missing = [text for text in found if text == "–"]
    told = [text for text in found if text != "–"]
    told = sorted(told, key=lambda text: float(found[text])) if numeric else told
    return {text: place for place, text in enumerate([*told, *missing])}
