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

MOST_EXACT = 2.0**53  # above it whole numbers are no longer told apart
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
    table: Any,
    name: str,
    where: str,
    *,
    kind: Kind | None = None,
    form: str = "",
    missing: Sequence[str] = (),
    decimal: str = ".",
    words: Sequence[str] = (),
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
      decimal: "." or ",", what stands before the decimals of numbers.
      words: that stand for themselves, though they are among ``MISSING``.

    Raises:
      DatasetError: no such column, values of several kinds, or others than those of the kind that was said.

    Example:
      >>> import pyarrow
      >>> table = pyarrow.table({"age": ["34", "NA", "51"], "sex": ["f", "m", "f"], "ward": ["07", "7", "07"]})
      >>> [read_column(table, name, "it:").kind for name in table.column_names]
      ['number', 'category', 'category']
    """
    taken = _taken(table, name, where)
    gone = {*MISSING, *missing} - set(words)
    codes, values = _coded(taken, table, name, where, gone)
    column = Column(name, "empty", codes, values)
    if not values:
        return (
            column if kind is None else column._replace(kind=kind, numbers=None if kind == "category" else np.zeros(0))
        )
    place = _Place(f"{where} column {name!r}", codes, values, _is_typed(taken))
    if kind in (None, "number", "date", "category") and kind != "category":
        found = (
            None if kind == "number" or (kind is None and _is_broken(taken)) else _dates(place, form, needed=bool(kind))
        )
        if found is not None:
            return column._replace(kind="date", numbers=found[0], form=found[1])
        numbers = _numbers(place, needed=kind == "number", decimal=decimal)
        if numbers is not None and (kind or not _names_rows(name, values, len(codes))):
            return column._replace(kind="number" if kind or len(values) > 1 else "constant", numbers=numbers)
    column = column._replace(kind=kind or _words_kind(name, values, codes))
    if column.kind == "category":
        _refuse_quoted_twins(place)
    return column


class _Place(NamedTuple):
    """Where a message says that something stands."""

    name: str
    codes: Int64[np.ndarray, "rows"]
    values: tuple[str, ...]
    typed: str = ""  # integer or float where the file says so, and so nothing else can be among them

    def row_of(self, value: str) -> str:
        """Of the first row with that value, counted as a person does who looks at the file without its header."""
        return f"row {int(np.flatnonzero(self.codes == self.values.index(value))[0]) + 1}"


def _refuse_quoted_twins(place: _Place) -> None:
    """A stray quote in a TSV makes characters of all others, and two values, or owners, of one that is quoted here and
    not there.
    """
    known = set(place.values)
    for value in place.values:
        if len(value) > 2 and value[0] == value[-1] == '"' and value[1:-1] in known:
            bare = value[1:-1]
            raise DatasetError(
                f"{place.name} holds {bare!r} in {place.row_of(bare)} and {value!r} in {place.row_of(value)}: in a TSV "
                "one quote that encloses no field makes characters of all; take it away, or the quotes around values"
            )


def _taken(table: Any, name: str, where: str) -> Any:
    import pyarrow

    place = table.schema.get_field_index(name)
    if place < 0:
        return tables.take_column(table, name, where)  # which says what is wrong
    taken = table.column(place)
    return taken.cast(taken.type.value_type) if pyarrow.types.is_dictionary(taken.type) else taken


def _is_broken(taken: Any) -> bool:
    """Whether a column is typed as floats, one of which at least is not whole: no date is written so."""
    import pyarrow

    if not pyarrow.types.is_floating(taken.type):
        return False
    numbers = taken.to_numpy()
    return bool((np.isfinite(numbers) & (numbers % 1 != 0)).any())


def _as_written(taken: Any, table: Any, name: str, where: str) -> list[str | None]:
    import pyarrow

    if pyarrow.types.is_temporal(taken.type) or pyarrow.types.is_decimal(taken.type):
        try:
            return [None if value is None else str(value) for value in taken.to_pylist()]
        except (ValueError, OverflowError, pyarrow.ArrowException) as error:
            raise DatasetError(f"{where} column {name!r} holds a time that no calendar has ({error})") from error
    if pyarrow.types.is_boolean(taken.type):
        return [None if value is None else str(value).lower() for value in taken.to_pylist()]
    if any(is_it(taken.type) for is_it in (pyarrow.types.is_list, pyarrow.types.is_large_list)):
        talks = pyarrow.types.is_struct(taken.type.value_type)
        other = f"data.messages=[{name}] where they are conversations (dpjax data inspect FILE --messages {name})"
        other = other if talks else f"data.tokens={name} where they are token ids"
        raise DatasetError(
            f"{where} column {name!r} holds lists, which no model of tables reads; leave it out with data.columns="
            f"{{{name}: skip}}, or say {other}"
        )
    return tables.read_written(table.select([name]), name, where)


def _is_typed(taken: Any) -> str:
    import pyarrow

    if pyarrow.types.is_integer(taken.type):
        return "integer"
    return "float" if pyarrow.types.is_floating(taken.type) else ""


def _coded(
    taken: Any, table: Any, name: str, where: str, gone: set[str]
) -> tuple[Int64[np.ndarray, "rows"], tuple[str, ...]]:
    """Rows as places of the distinct words among them; of millions of numbers each distinct one is written once."""
    if not _is_typed(taken) or tables.label_names(table, name):
        cells = _as_written(taken, table, name, where)
        return _distinct([None if cell is None or (word := cell.strip()) in gone else word for cell in cells])
    import pyarrow

    encoded = taken.combine_chunks().dictionary_encode()
    whole = encoded.combine_chunks() if isinstance(encoded, pyarrow.ChunkedArray) else encoded
    words = tables.read_written(pyarrow.table({name: whole.dictionary}), name, where)
    there = np.array([bool(word) and word not in gone for word in words], bool)
    kept = [word for word, is_there in zip(words, there.tolist(), strict=True) if word and is_there]
    of_kept, values = np.arange(len(kept)), tuple(kept)
    if len(set(kept)) < len(kept):  # 0 and -0 are written alike
        of_kept, values = _distinct(kept)
    of_word = np.full(len(words) + 1, -1)
    of_word[:-1][there] = of_kept
    return of_word[whole.indices.fill_null(-1).to_numpy()], values


def _distinct(words: Sequence[str | None]) -> tuple[Int64[np.ndarray, "rows"], tuple[str, ...]]:
    number: dict[str, int] = {}
    codes = [-1 if word is None else number.setdefault(word, len(number)) for word in words]
    return np.array(codes, np.int64), tuple(number)


def _numbers(place: _Place, *, needed: bool, decimal: str) -> Float64[np.ndarray, "values"] | None:
    """The values as numbers; None if they are not. Some of them numbers and some not is an error."""
    values = place.values
    if decimal == "," and not any("." in value for value in values):
        values = tuple(value.replace(",", ".") for value in values)
        place = place._replace(values=values)
    numbers = np.fromiter(map(float, values), np.float64, len(values)) if place.typed else None
    if numbers is not None and np.isfinite(numbers).all():
        fitting = [True]
    else:
        fitting = [bool(_NUMBER.fullmatch(value)) and not _PADDED.fullmatch(value) for value in values]
        numbers = np.array([float(value) for value in values]) if all(fitting) else None
    if numbers is not None:
        if np.isfinite(numbers).all() and np.abs(numbers).max(initial=0) > MOST_EXACT and not needed:
            return None  # names, which no float tells apart
        if not np.isfinite(numbers).all() or np.abs(numbers).max(initial=0) > MOST_EXACT:
            value = values[int(np.flatnonzero(~(np.abs(numbers) <= MOST_EXACT))[0])]
            raise DatasetError(f"{place.name} holds {value} in {place.row_of(value)}, past what a float tells apart")
        return numbers
    if any(_PADDED.fullmatch(value) for value in values) and not needed:
        return None  # codes such as 007: their zeros mean something
    commas = [bool(_COMMA.fullmatch(value)) for value in values]
    if any(commas) and all(fits or comma for fits, comma in zip(fitting, commas, strict=True)):
        value = values[commas.index(True)]
        raise DatasetError(
            f"{place.name} holds {value!r} in {place.row_of(value)}: is its comma a decimal point or between "
            "thousands? Say data.decimal=',' for the former; thousands are written without"
        )
    rows = np.bincount(place.codes[place.codes >= 0], minlength=len(values))
    if needed or sum(rows[i] for i, fits in enumerate(fitting) if fits) * 2 >= rows.sum():
        value = values[fitting.index(False)]
        if not any(fitting):
            raise DatasetError(f"{place.name} holds no numbers, as {value!r} in {place.row_of(value)}; name another")
        fix = "mend it" if needed else "say what the column is with data.columns"
        raise DatasetError(
            f"{place.name} holds numbers and, in {place.row_of(value)}, {value!r}; if that stands for a missing "
            f"value say data.missing=[{value}], or {fix}"
        )
    return None


def _dates(place: _Place, form: str, *, needed: bool) -> tuple[Float64[np.ndarray, "values"], str] | None:
    """The values as days since 1970 and how they are written; None if they are no dates."""
    forms = (form,) if form else (_PACKED,) if place.typed == "integer" else _FORMATS
    tried = {each: [_moment(value, each) for value in place.values] for each in forms}
    days = {each: np.array(found, np.float64) for each, found in tried.items() if all(day is not None for day in found)}
    if len(days) > 1 and len({tuple(each) for each in days.values()}) > 1:
        first, second = list(days)[:2]
        raise DatasetError(
            f"{place.name} holds dates as {place.values[0]!r}, which {first} and {second} both read; say which with "
            "data.columns: {kind: date, form: ...}"
        )
    if days:
        return next((each, name) for name, each in days.items())
    likeliest = max(tried, key=lambda each: sum(day is not None for day in tried[each]))
    number = sum(day is not None for day in tried[likeliest])
    if needed or (likeliest != _PACKED and number * 2 >= len(place.values)):
        wrong = place.values[[day is None for day in tried[likeliest]].index(True)]
        raise DatasetError(
            f"{place.name} holds dates and, in {place.row_of(wrong)}, {wrong!r}; write all as 2024-01-31, or say "
            "how they are written with data.columns: {kind: date, form: ...}"
        )
    return None


def _moment(value: str, form: str) -> float | None:
    """Days since 1970 with the time of day, in UTC where a zone is written; None if it is no date of that form."""
    if (whole := days_of(value, form)) is not None:
        return whole
    time = _TIME_OF_DAY.search(value)
    if time is None or (day := days_of(value[: time.start()], form)) is None:
        return None
    try:
        moment = datetime.datetime.fromisoformat(f"1970-01-01T{time[0].strip('T ').replace('Z', '+00:00')}")
    except ValueError:
        return None
    zoned = moment if moment.tzinfo else moment.replace(tzinfo=datetime.UTC)
    return day + zoned.timestamp() / 86400


def days_of(value: str, form: str = "") -> float | None:
    """Days from 1970-01-01 to a date, with its time of day where the form has one; None if it is none.

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
        moment = datetime.datetime.strptime(value, form or _FORMATS[0])
    except (ValueError, re.error):
        return None
    return moment.replace(tzinfo=moment.tzinfo or datetime.UTC).timestamp() / 86400


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
