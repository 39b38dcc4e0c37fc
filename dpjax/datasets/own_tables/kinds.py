"""What a column of a table holds: numbers, categories, dates, texts or names, told by how its values are written."""

import datetime
import math
import re
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
from jaxtyping import Float64, Int64

from dpjax.datasets import tables
from dpjax.fetching.sources import DatasetError

Kind = Literal["number", "category", "date", "text", "identifier", "constant", "empty"]
"""Numbers, categories and dates are what a model can read; the others are left out of its inputs."""

KINDS: tuple[Kind, ...] = get_args(Kind)
READ: tuple[Kind, ...] = ("number", "category", "date")

MISSING = ("", "NA", "N/A", "n/a", "#N/A", "<NA>", "NaN", "nan", "NULL", "null", "?")
"""What is read as a missing value; more are said in ``data.missing``."""

MOST_CATEGORIES = 100
"""More distinct words than that are texts or names: as many columns would drown a private gradient in noise."""

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_COMMA = re.compile(r"[+-]?\d+,\d+")
_PADDED = re.compile(r"[+-]?0\d+")
_PACKED = "%Y%m%d"
_FORMATS = ("%Y-%m-%d", "%Y/%m/%d", "%d.%m.%Y", "%d/%m/%Y", "%m/%d/%Y", "%d-%m-%Y", "%m-%d-%Y", _PACKED)
_TIME_OF_DAY = re.compile(r"[T ]\d{2}:\d{2}(:\d{2}(\.\d+)?)?(Z|[+-]\d{2}:?\d{2})?$")
_IDENTIFIERS = re.compile(r"(^|[_\s.-])(id|ids|uid|uuid|guid|key|nr|no|number|index|mrn)$", re.IGNORECASE)


class Column(NamedTuple):
    """A column as it was read.

    Attributes:
      name: as the file has it.
      kind: what it holds.
      codes: ``[rows]`` place of each row's value in ``values``; -1 where it is missing.
      values: the distinct ones, as they are written, in the order in which they come.
      numbers: ``[values]`` of numbers, and of dates the days since 1970-01-01; None of other kinds.
      form: of dates, as ``strptime`` reads it; else empty.
      remark: what is odd about it, in words; empty if nothing is.
    """

    name: str
    kind: Kind
    codes: Int64[np.ndarray, "rows"]
    values: tuple[str, ...]
    numbers: Float64[np.ndarray, "values"] | None = None
    form: str = ""
    remark: str = ""

    @property
    def num_missing(self) -> int:
        """Rows without a value."""
        return int((self.codes < 0).sum())

    def rows(self, which: np.ndarray) -> "Column":
        """The column of some rows alone."""
        return self._replace(codes=self.codes[which])

    def written(self) -> list[str | None]:
        """The rows' values as they are written; None where one is missing."""
        return [None if code < 0 else self.values[code] for code in self.codes.tolist()]

    def floats(self) -> Float64[np.ndarray, "rows"]:
        """The rows' values as numbers; NaN where one is missing."""
        assert self.numbers is not None
        return np.append(self.numbers, np.nan)[self.codes]


def read_column(
    table: Any, name: str, where: str, *, kind: Kind | None = None, form: str = "", missing: Sequence[str] = ()
) -> Column:
    """Reads one column of a table and says what it holds.

    Formal guarantees: no value is changed: '007' and '7' stay two, and a column that holds both numbers and words is
    refused and not mended.

    Args:
      table: ``pyarrow.Table``; of CSV files all columns are of texts.
      name: of the column.
      where: names the table in messages.
      kind: what it holds, where that is known; None: infer it.
      form: of dates, as ``strptime`` reads it; empty: infer it.
      missing: what stands for a missing value besides ``MISSING``.

    Raises:
      DatasetError: no such column, values of several kinds, or others than those of the kind that was said.

    Example:
      >>> import pyarrow
      >>> table = pyarrow.table({"age": ["34", "NA", "51"], "sex": ["f", "m", "f"], "ward": ["07", "7", "07"]})
      >>> [read_column(table, name, "it:").kind for name in table.column_names]
      ['number', 'category', 'category']
    """
    taken = tables.take_column(table, name, where)
    words = _as_written(taken, table, name, where)
    gone = {*MISSING, *missing}
    codes, values = _distinct([None if word is None or word.strip() in gone else word.strip() for word in words])
    column = Column(name, "empty", codes, values)
    if not values:
        return (
            column if kind is None else column._replace(kind=kind, numbers=None if kind == "category" else np.zeros(0))
        )
    place = _Place(f"{where} column {name!r}", codes, values)
    if kind in (None, "number", "date", "category") and kind != "category":
        found = _dates(place, form, needed=kind == "date") if kind != "number" else None
        if found is not None:
            return column._replace(kind="date", numbers=found[0], form=found[1])
        numbers = _numbers(place, needed=kind == "number")
        if numbers is not None and (kind or not _names_rows(name, values, len(codes))):
            return column._replace(kind="number" if kind or len(values) > 1 else "constant", numbers=numbers)
    return column._replace(kind=kind or _words_kind(name, values, codes))


class _Place(NamedTuple):
    """Where a message says that something stands."""

    name: str
    codes: Int64[np.ndarray, "rows"]
    values: tuple[str, ...]

    def row_of(self, value: str) -> str:
        """Of the first row with that value, counted as a person does who looks at the file without its header."""
        return f"row {int(np.flatnonzero(self.codes == self.values.index(value))[0]) + 1}"


def _as_written(taken: Any, table: Any, name: str, where: str) -> list[str | None]:
    import pyarrow

    if pyarrow.types.is_temporal(taken.type) or pyarrow.types.is_decimal(taken.type):
        return [None if value is None else str(value) for value in taken.to_pylist()]
    return tables.read_written(table, name, where)


def _distinct(words: list[str | None]) -> tuple[Int64[np.ndarray, "rows"], tuple[str, ...]]:
    number: dict[str, int] = {}
    codes = [-1 if word is None else number.setdefault(word, len(number)) for word in words]
    return np.array(codes, np.int64), tuple(number)


def _numbers(place: _Place, *, needed: bool) -> Float64[np.ndarray, "values"] | None:
    """The values as numbers; None if they are not. Some of them numbers and some not is an error."""
    values = place.values
    fitting = [bool(_NUMBER.fullmatch(value)) and not _PADDED.fullmatch(value) for value in values]
    if all(fitting):
        numbers = np.array([float(value) for value in values])
        if not np.isfinite(numbers).all():
            value = values[int(np.flatnonzero(~np.isfinite(numbers))[0])]
            raise DatasetError(f"{place.name} holds {value} in {place.row_of(value)}, past what a float can be")
        return numbers
    if any(_PADDED.fullmatch(value) for value in values) and not needed:
        return None  # codes such as 007: their zeros mean something
    commas = [bool(_COMMA.fullmatch(value)) for value in values]
    if any(commas) and all(fits or comma for fits, comma in zip(fitting, commas, strict=True)):
        value = values[commas.index(True)]
        raise DatasetError(
            f"{place.name} holds {value!r} in {place.row_of(value)}: is its comma a decimal point or between "
            "thousands? Write numbers with a point and without commas"
        )
    rows = np.bincount(place.codes[place.codes >= 0], minlength=len(values))
    if needed or sum(rows[i] for i, fits in enumerate(fitting) if fits) * 2 >= rows.sum():
        value = values[fitting.index(False)]
        raise DatasetError(
            f"{place.name} holds numbers and, in {place.row_of(value)}, {value!r}; if that stands for a missing "
            f"value say data.missing=[{value}], or say what the column is with data.columns"
        )
    return None


def _dates(place: _Place, form: str, *, needed: bool) -> tuple[Float64[np.ndarray, "values"], str] | None:
    """The values as days since 1970 and how they are written; None if they are no dates."""
    bare = [_TIME_OF_DAY.sub("", value) for value in place.values]
    fitting = [each for each in ((form,) if form else _FORMATS) if days_of(bare[0], each) is not None]
    days = {}
    for each in fitting:
        parsed = [days_of(value, each) for value in bare]
        if all(day is not None for day in parsed):
            days[each] = np.array(parsed, np.float64)
    if len(days) > 1 and len({tuple(each) for each in days.values()}) > 1:
        first, second = list(days)[:2]
        raise DatasetError(
            f"{place.name} holds dates as {place.values[0]!r}, which {first} and {second} both read; say which with "
            "data.columns: {kind: date, form: ...}"
        )
    if days:
        return next((each, name) for name, each in days.items())
    if needed or (
        fitting
        and _PACKED not in fitting
        and len([1 for value in bare if days_of(value, fitting[0]) is not None]) * 2 >= len(bare)
    ):
        wrong = next(
            value
            for value, short in zip(place.values, bare, strict=True)
            if not fitting or days_of(short, fitting[0]) is None
        )
        raise DatasetError(
            f"{place.name} holds dates and, in {place.row_of(wrong)}, {wrong!r}; write all as 2024-01-31, or say "
            "how they are written with data.columns: {kind: date, form: ...}"
        )
    return None


def days_of(value: str, form: str = "") -> float | None:
    """Days from 1970-01-01 to a date; None if it is none.

    Args:
      value: as it is written.
      form: as ``strptime`` reads it; empty: year, month, day.

    Example:
      >>> days_of("1970-02-01"), days_of("01.02.1970", "%d.%m.%Y"), days_of("soon")
      (31.0, 31.0, None)
    """
    if form == _PACKED and not re.fullmatch(r"\d{8}", value):  # strptime would read shorter ones too
        return None
    try:
        date = datetime.datetime.strptime(value, form or _FORMATS[0]).date()
    except ValueError:
        return None
    return float((date - datetime.date(1970, 1, 1)).days)


def _names_rows(name: str, values: Sequence[str], rows: int) -> bool:
    """Whether whole numbers are names of rows or of their owners, and no quantity: they count the rows, or the column's
    name says so.
    """
    whole = all(re.fullmatch(r"\d{1,18}", value) for value in values)
    if whole and len(values) == rows > 20:
        numbers = [int(value) for value in values]
        if min(numbers) in (0, 1) and max(numbers) - min(numbers) == rows - 1:
            return True
    return whole and bool(_IDENTIFIERS.search(name)) and len(values) > min(20, math.isqrt(rows))


def _words_kind(name: str, values: Sequence[str], codes: Int64[np.ndarray, "rows"]) -> Kind:
    if len(values) == 1:
        return "constant"
    if len(values) <= MOST_CATEGORIES and len(values) * 2 <= max(int((codes >= 0).sum()), 4):
        return "category"
    spaced = sum(" " in value for value in values) * 2 >= len(values)
    return "text" if spaced and not _IDENTIFIERS.search(name) else "identifier"
