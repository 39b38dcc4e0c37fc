"""What a paper's table is to look like, all of it in one record that a file keeps."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dpjax.checks import brief, nearest, one_of
from dpjax.results.errors import ResultsError
from dpjax.results.result_files import write_atomically

_CHOICES = {
    "spread": ("std", "ci", "sem", "none"),
    "bold": ("best", "mean", "none"),
    "over": ("best", "each"),
    "format": ("text", "markdown", "latex", "csv"),
    "latex": ("booktabs", "siunitx"),
}
_LISTS = ("rows", "show", "metric")
_MOST_DIGITS = 12
_KINDS = {str: "a text", bool: "true or false", float: "a number"}
_SUCH_AS = {
    "rows": "[clip_norm]",
    "columns": "epsilon",
    "show": "[epsilon, test_accuracy]",
    "metric": "[test_accuracy]",
    "name": "{dpsgd: DP-SGD}",
    "digits": "1, or {test_accuracy: 1}",
    "percent": "true or false",
    "select": "epsilon<=8",
    "latex": "booktabs or siunitx",
}


@dataclasses.dataclass(frozen=True)
class TableSpec:
    """What a paper's table is to look like.

    Attributes:
      rows: columns of the results whose values get a row each, such as ``method``; ``method=b|a`` takes these values,
        in this order.
      columns: one whose values get a column each, such as ``epsilon``; empty: a line per point.
      show: columns of the results in the order of the table's, metrics among them; instead of ``rows``.
      metric: what the cells hold; the first chooses where points share a cell. Empty: what ``metric_of`` says.
      name: column, or value in a cell, → what the table calls it.
      digits: after the point, of all metrics or of each by name; 3 if not said, 1 of percentages.
      percent: fractions times 100.
      spread: what stands after ±: ``std``, ``ci``, ``sem`` or ``none``.
      confidence: of the interval, and of all that bold type says of one metric.
      bold: ``best`` and what is not shown to be worse, the best ``mean`` alone, or ``none``.
      over: where points share a cell, the ``best``, or a refusal: ``each`` must have a cell.
      select: which rows are taken, as ``epsilon<=8 method=dpsgd``.
      format: ``text``, ``markdown``, ``latex`` or ``csv``.
      latex: ``booktabs`` or ``siunitx``; empty: ``booktabs``.
    """

    rows: tuple[str, ...] = ()
    columns: str = ""
    show: tuple[str, ...] = ()
    metric: tuple[str, ...] = ()
    name: Mapping[str, str] = dataclasses.field(default_factory=dict)
    digits: int | Mapping[str, int] | None = None
    percent: bool = False
    spread: str = "std"
    confidence: float = 0.95
    bold: str = "best"
    over: str = "best"
    select: str = ""
    format: str = "text"
    latex: str = ""

    def __post_init__(self) -> None:
        """Refuses what is no table, before any file is read."""
        _refuse_wrong_types({field.name: getattr(self, field.name) for field in dataclasses.fields(self)})
        for name, choices in _CHOICES.items():
            if getattr(self, name) or name != "latex":
                one_of(name, getattr(self, name), choices)
        if not 0 < self.confidence < 1:
            raise ResultsError(f"confidence is {self.confidence}: give a number between 0 and 1, such as 0.95")
        for given in self.digits.values() if isinstance(self.digits, Mapping) else (self.digits,):
            if given is not None and not 0 <= given <= _MOST_DIGITS:
                raise ResultsError(f"digits is {given}: give a number from 0 to {_MOST_DIGITS}")
        _refuse_conflicts(self)

    @property
    def axes(self) -> list[str]:
        """The columns of the results that rows and columns are made of."""
        return [each.partition("=")[0] for each in (*self.rows, self.columns) if each]


def read_spec(path: Path | str) -> TableSpec:
    """The specification that ``write_spec`` wrote, or that was written by hand.

    Args:
      path: of a YAML file.

    Raises:
      ResultsError: it cannot be read, or has a key that is none; the nearest is named.
      ValueError: a value that is none of the choices.

    Example:
      >>> import tempfile
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     path = write_spec(TableSpec(rows=("method",), columns="epsilon"), f"{folder}/table.yaml")
      ...     read_spec(path).columns
      'epsilon'
    """
    import yaml  # Hydra reads its configs with it

    try:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise ResultsError(f"spec {path} cannot be read ({error.strerror}): give a file that --save wrote") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        words = " ".join(str(error).split())
        raise ResultsError(f"spec {path} is no YAML ({words}): give a file that --save wrote") from error
    if not isinstance(content, dict):
        raise ResultsError(f"spec {path} holds {brief(content)}: write keys and values, such as rows: [clip_norm]")
    known = [field.name for field in dataclasses.fields(TableSpec)]
    for key in content:
        if key not in known:
            near = nearest(str(key), known)
            hint = f"did you mean {near}?" if near else f"there are {', '.join(known)}"
            raise ResultsError(f"spec {path} has a key {key!r} that is none: {hint}")
    values = {key: _as_field(key, value) for key, value in content.items()}
    _refuse_wrong_types(values)
    return TableSpec(**values)


def write_spec(spec: TableSpec, path: Path | str) -> Path:
    """Writes a specification whole, defaults included, so that a later version's defaults change nothing of it.

    Args:
      spec: what a table is to look like.
      path: of the file.

    Raises:
      ResultsError: it could not be written.

    Example:
      >>> import tempfile
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     write_spec(TableSpec(), f"{folder}/table.yaml").read_text().split("\\n")[0]
      'rows: []'
    """
    import yaml

    plain = {key: _plain(value) for key, value in dataclasses.asdict(spec).items()}
    text = yaml.safe_dump(plain, sort_keys=False, allow_unicode=True, width=120)
    return write_atomically(Path(path), text.encode())


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    return list(value) if isinstance(value, tuple) else value


def _as_field(key: str, value: Any) -> Any:
    if key in _LISTS and isinstance(value, list):
        return tuple(value)
    if key == "name" and isinstance(value, dict):  # YAML takes 8 and true for what they are elsewhere
        return {str(each): str(called) for each, called in value.items()}
    if key == "confidence" and isinstance(value, int):
        return float(value)
    return "" if value is None and key in ("columns", "select", "latex") else value


def _refuse_wrong_types(values: Mapping[str, Any]) -> None:
    for field in dataclasses.fields(TableSpec):
        if field.name not in values:
            continue
        value = values[field.name]
        if field.name in _LISTS:
            right, wanted = isinstance(value, tuple) and all(isinstance(each, str) for each in value), "a list of names"
        elif field.name == "name":
            right, wanted = isinstance(value, Mapping), "a list of names by what they name"
        elif field.name == "digits":
            numbers = list(value.values()) if isinstance(value, Mapping) else [value]
            right = all(each is None or (isinstance(each, int) and not isinstance(each, bool)) for each in numbers)
            wanted = "a whole number, or one by metric"
        else:
            right, wanted = isinstance(value, type(field.default)), _KINDS[type(field.default)]
        if not right:
            raise ResultsError(
                f"{field.name}={brief(value)} is not {wanted}: write {_SUCH_AS.get(field.name, field.default)}"
            )


def _refuse_conflicts(spec: TableSpec) -> None:
    if spec.show and (spec.rows or spec.columns):
        other = "rows" if spec.rows else "columns"
        raise ResultsError(
            f"show ({', '.join(spec.show)}) and {other} exclude each other: show lays out a line per point, rows and "
            "columns a cell per pair of values"
        )
    if "," in spec.columns:
        raise ResultsError(f"columns={spec.columns} names several: give one, and the others to rows")
    for field, names in (("rows and columns", spec.axes), ("show", spec.show), ("metric", spec.metric)):
        twice = next((name for name in names if list(names).count(name) > 1), None)
        if twice:
            raise ResultsError(f"{field} name {twice} twice: name it once")
    if spec.latex and spec.format != "latex":
        raise ResultsError(
            f"latex={spec.latex} is nothing to format={spec.format}: ask for format=latex, or leave it out"
        )
