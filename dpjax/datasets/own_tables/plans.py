"""How columns become inputs: by what the config says of them, and where it says nothing by the rows themselves."""

import datetime
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, cast

import numpy as np
from jaxtyping import Bool, Float32

from dpjax.checks import as_listed, nearest
from dpjax.datasets.own_tables.kinds import KINDS, READ, Column, Kind, days_of
from dpjax.fetching.sources import DatasetError

SKIP = "skip"
_KEYS = ("kind", "range", "values", "form", "missing")
_TAILS = 0.01  # of the rows, cut off on both sides of a range that is read off them


class Said(NamedTuple):
    """What a config says of a column; what it does not say is found out from the rows.

    Attributes:
      kind: what it holds; None: not said.
      range: least and largest value, of dates in words.
      values: of a category.
      form: of dates, as ``strptime`` reads it.
      missing: whether inputs say that a value is missing; None: not said.
      skip: it is no input.
      beyond: of a range that was released: least and largest share of units that may lie beyond it, by the same noisy
        counts; None: it was not.
    """

    kind: Kind | None = None
    range: tuple[Any, Any] | None = None
    values: tuple[str, ...] = ()
    form: str = ""
    missing: bool | None = None
    skip: bool = False
    beyond: tuple[float, float] | None = None


class Plan(NamedTuple):
    """How one column becomes inputs.

    Attributes:
      name: of the column.
      kind: number, date or category.
      low, high: what becomes -1 and 1; values beyond are cut off.
      values: of a category: each is an input of its own, 1 where the row has it.
      missing: whether one more input says that the value is missing; a missing value is 0 in all others.
      learnt: what of this was read off the rows, in words, and so is not private; empty if all was said.
    """

    name: str
    kind: Kind
    low: float = -1.0
    high: float = 1.0
    values: tuple[str, ...] = ()
    missing: bool = False
    learnt: tuple[str, ...] = ()

    @property
    def feature_names(self) -> tuple[str, ...]:
        """One name per input."""
        own = (self.name,) if self.kind != "category" else tuple(f"{self.name}={value}" for value in self.values)
        return (*own, f"{self.name}=missing") if self.missing else own


def read_said(columns: Mapping[str, Any], where: str) -> dict[str, Said]:
    """Reads what a config says of columns.

    Args:
      columns: name → ``[0, 120]`` (a number from 0 to 120), ``[never, former, current]`` (a category), a kind,
        ``skip``, or a mapping with some of ``kind``, ``range``, ``values``, ``form`` and ``missing``.
      where: names the table in messages.

    Raises:
      DatasetError: it says something else, or what does not go together.

    Example:
      >>> said = read_said({"age": [0, 120], "smoker": ["never", "former", "current"], "note": "skip"}, "it:")
      >>> said["age"].range, said["smoker"].values, said["note"].skip
      ((0, 120), ('never', 'former', 'current'), True)
    """
    return {str(name): _read_one(value, f"{where} data.columns.{name}") for name, value in columns.items()}


def _read_one(value: Any, where: str) -> Said:
    if isinstance(value, str):
        value = {"kind": value}
    if isinstance(value, Sequence):
        texts = [each for each in value if isinstance(each, str)]
        if len(value) == 2 and len(texts) == 1 and _is_spelt_number(texts[0]):
            raise DatasetError(
                f"{where}={list(value)} has the text {texts[0]!r} beside a number; write it without quotes and as "
                "1.0e+3, or both as texts where they are two words"
            )
        is_range = len(value) == 2 and (all(map(_is_number, value)) or all(map(_is_date, value)))
        value = {"range": value} if is_range else {"values": value}
    if not isinstance(value, Mapping):
        raise DatasetError(f"{where}={value} must be a range as [0, 120], a list of values, a kind, or {SKIP}")
    for key in value:
        if key not in _KEYS:
            near = nearest(str(key), _KEYS)
            fix = f"did you mean {near}?" if near else f"it knows {', '.join(_KEYS)}"
            raise DatasetError(f"{where} says {key!r}; {fix}")
    kind, missing = value.get("kind"), value.get("missing")
    if kind == SKIP:
        return Said(skip=True)
    if kind is not None and kind not in READ:
        near = nearest(str(kind), (*READ, SKIP))
        fix = f"did you mean {near}?" if near else f"say {', '.join(READ)} or {SKIP}"
        raise DatasetError(f"{where}: {kind!r} is no kind that a model reads; {fix}")
    if missing is not None and not isinstance(missing, bool):
        raise DatasetError(f"{where}.missing={missing} must be true or false")
    said = Said(kind, None, (), str(value.get("form") or ""), missing)
    if said.form and kind not in (None, "date"):
        raise DatasetError(f"{where}.form is of dates; say kind: date, or leave it out")
    if (ends := value.get("range")) is not None:
        pair = isinstance(ends, Sequence) and not isinstance(ends, str) and len(ends) == 2
        is_date = bool(said.form) or (pair and isinstance(ends[0], str | datetime.date))
        said = said._replace(kind=kind or ("date" if is_date else "number"))
        if said.kind == "date" and not said.form:
            said = said._replace(form="%Y-%m-%d")  # what is said is public: the rows don't decide how to read them
        said = said._replace(range=_ends(ends, said, where))
    if (values := value.get("values")) is not None:
        if said.kind not in (None, "category"):
            raise DatasetError(f"{where}.values is of a category; leave it out for a {said.kind}, which has a range")
        said = said._replace(kind="category", values=_values(values, where))
    return said


def _ends(ends: Any, said: Said, where: str) -> tuple[Any, Any]:
    if said.kind == "category":
        raise DatasetError(f"{where}.range is of a number or date; a category has values")
    if not isinstance(ends, Sequence) or isinstance(ends, str) or len(ends) != 2:
        raise DatasetError(f"{where}.range={ends} must be two ends, as [0, 120]")
    low, high = ends
    if said.kind == "number" and not all(_is_number(end) and abs(end) < _LARGEST for end in ends):
        raise DatasetError(f"{where}.range=[{low}, {high}] must be two finite numbers, as [0, 120]")
    if said.kind == "date" and any(_day(end, said.form) is None for end in ends):
        raise DatasetError(f"{where}.range=[{low}, {high}] must be two dates, as [2000-01-01, 2030-01-01]")
    first, last = (low, high) if said.kind == "number" else (_day(end, said.form) for end in ends)
    if not first < last:  # pyright: ignore[reportOperatorIssue]
        raise DatasetError(f"{where}.range=[{low}, {high}] must rise; write the smaller end first")
    return first, last


def _day(end: Any, form: str) -> float | None:
    """An end of a range of dates, in the column's own form or as year, month, day."""
    own = days_of(str(end), form)
    return days_of(str(end)) if own is None else own


def _values(values: Any, where: str) -> tuple[str, ...]:
    if not isinstance(values, Sequence) or isinstance(values, str) or not values:
        raise DatasetError(f"{where}.values={values} must be a list of words, as [never, former, current]")
    if any(value is None or isinstance(value, Mapping | list) for value in values):
        raise DatasetError(f"{where}.values={list(values)} must be words; put quotes around null and the like")
    words = tuple(str(value).lower() if isinstance(value, bool) else str(value).strip() for value in values)
    if len(set(words)) < len(words):
        twice = next(word for i, word in enumerate(words) if word in words[:i])
        raise DatasetError(f"{where}.values has {twice!r} twice; keep one")
    return words


_LARGEST = 1e300  # of which a range has an end


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_spelt_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _is_date(value: Any) -> bool:
    return isinstance(value, datetime.date) or (isinstance(value, str) and days_of(value) is not None)


def plan_of(column: Column, said: Said | None, train: Bool[np.ndarray, "rows"]) -> Plan | None:
    """How a column becomes inputs; None if it becomes none.

    Formal guarantees: what the config does not say is found out from the training rows alone, and ``learnt`` names it.

    Args:
      column: as it was read.
      said: of it in the config; None: nothing.
      train: ``[rows]`` which of them train.

    Example:
      >>> age = Column("age", "number", np.array([0, 1, -1]), ("34", "51"), np.array([34.0, 51.0]))
      >>> plan_of(age, Said("number", (0, 120)), np.ones(3, bool)).learnt
      ()
      >>> plan = plan_of(age, None, np.ones(3, bool))
      >>> plan.feature_names, plan.learnt
      (('age', 'age=missing'), ('kind', 'range', 'missing'))
    """
    if (said and said.skip) or column.kind not in READ:
        return None
    learnt = [] if said and said.kind else ["kind"]
    plan = Plan(column.name, column.kind)
    if column.kind == "category":
        if said and said.values:
            plan = plan._replace(values=said.values)
        else:
            seen = np.unique(column.codes[train & (column.codes >= 0)])
            plan = plan._replace(values=tuple(sorted(column.values[code] for code in seen)))
            learnt.append("values")
    elif said and said.range:
        plan = plan._replace(low=float(said.range[0]), high=float(said.range[1]))
    else:
        low, high = _range_of(column.floats()[train])
        plan = plan._replace(low=low, high=high)
        learnt.append("range")
    if column.kind == "date" and not (said and said.form):
        learnt.append("form")
    if said and (said.missing is not None or not learnt):
        return plan._replace(missing=bool(said.missing), learnt=tuple(learnt))
    return plan._replace(missing=bool((column.codes[train] < 0).any()), learnt=(*learnt, "missing"))


def refuse_strangers(column: Column, said: Said) -> None:
    """Refuse what is said of another column, or written so that YAML reads something else.

    Args:
      column: as it was read.
      said: of it in the config.

    Raises:
      DatasetError: no value is one that is named, or all lie on one side of the range.
    """
    if not column.values:
        return
    if said.values and not set(said.values) & set(column.values):
        shown = ", ".join(map(as_listed, said.values[:3]))
        words = {"true", "false"} & set(said.values)
        fix = "YAML reads yes and no as truth values, so put quotes around them" if words else "look at its values"
        raise DatasetError(
            f"data.columns.{column.name}: no row has one of the values that it names ({shown}; rows have "
            f"{column.values[0]!r}); {fix}"
        )
    if said.range and column.numbers is not None:
        numbers = column.numbers
        if (numbers < said.range[0]).all() or (numbers > said.range[1]).all():
            raise DatasetError(
                f"data.columns.{column.name}: all values lie on one side of its range, as {column.values[0]!r}; give "
                "least and largest value"
            )


def _range_of(numbers: np.ndarray) -> tuple[float, float]:
    numbers = numbers[np.isfinite(numbers)]
    if not len(numbers):
        return -1.0, 1.0
    low, high = np.quantile(numbers, [_TAILS, 1 - _TAILS], method="closest_observation")
    if low == high:
        low, high = numbers.min(), numbers.max()
    return (float(low), float(high)) if low < high else (float(low) - 1, float(low) + 1)


def encode(columns: Sequence[Column], plans: Sequence[Plan]) -> Float32[np.ndarray, "rows features"]:
    """Rows as inputs. Row-wise: what a row becomes depends on itself and the plans alone.

    Args:
      columns: as they were read.
      plans: one for each of the columns that become inputs.

    Returns:
      ``[rows, features]`` float32 in [-1, 1], without a unit; the plans' ``feature_names`` name the columns.

    Example:
      >>> age = Column("age", "number", np.array([0, 1, -1]), ("30", "150"), np.array([30.0, 150.0]))
      >>> encode([age], [Plan("age", "number", 0, 120, missing=True)]).tolist()
      [[-0.5, 0.0], [1.0, 0.0], [0.0, 1.0]]
    """
    by_name = {column.name: column for column in columns}
    inputs: list[np.ndarray] = []
    for plan in plans:
        column = by_name[plan.name]
        if plan.kind == "category":
            place = {value: i for i, value in enumerate(plan.values)}
            hot = np.zeros((len(column.values) + 1, len(plan.values)), np.float32)
            for code, value in enumerate(column.values):
                if value in place:
                    hot[code, place[value]] = 1
            inputs.extend(hot[column.codes].T)
        else:
            scaled = 2 * (column.floats() - plan.low) / (plan.high - plan.low) - 1
            inputs.append(np.nan_to_num(np.clip(scaled, -1, 1), nan=0.0).astype(np.float32))
        if plan.missing:
            inputs.append((column.codes < 0).astype(np.float32))
    rows = len(columns[0].codes) if columns else 0
    return np.stack(inputs, axis=1) if inputs else np.zeros((rows, 0), np.float32)


def learnt_of(plans: Sequence[Plan]) -> str:
    """What was read off the training rows, in words; empty if nothing was.

    Args:
      plans: of the columns.

    Example:
      >>> learnt_of([Plan("age", "number", learnt=("kind", "range")), Plan("bmi", "number", learnt=("range",))])
      'range of age and bmi; kind of age'
    """
    parts = []
    for what in ("range", "values", "missing", "form", "kind"):
        names = [plan.name for plan in plans if what in plan.learnt]
        if names:
            parts.append(f"{_WORDS[what]} of {listed(names)}")
    return "; ".join(parts)


def listed(names: Sequence[str]) -> str:
    """Names in a sentence; of many the first.

    Args:
      names: one or more.

    Example:
      >>> listed(["age"]), listed(["age", "bmi"]), listed([*"abcdef"]), listed(["Ward 3, East", "bmi"])
      ('age', 'age and bmi', 'a, b, c and 3 more', '"Ward 3, East" and bmi')
    """
    shown = list(map(as_listed, names if len(names) <= 4 else names[:3]))
    shown += [f"{len(names) - 3} more"] if len(names) > 4 else []
    head = ", ".join(shown[:-1])
    return f"{head} and {shown[-1]}" if head else shown[-1]


def told_range(low: float, high: float) -> str:
    """Ends of a range to at most four digits, where that leaves two ends: a run uses them as they are.

    Args:
      low, high: the ends.

    Example:
      >>> told_range(30.0312, 52.0469), told_range(0, 123456), told_range(1999.71, 1999.74)
      ('30.03 to 52.05', '0 to 123456', '1999.71 to 1999.74')
    """
    if not high - low > 0.01 * max(abs(low), abs(high)):
        return f"{low:g} to {high:g}"
    low, high = (end if abs(end) >= 1e4 else float(f"{end:.4g}") for end in (low, high))
    return f"{low:g} to {high:g}"


_WORDS = {
    "range": "range",
    "values": "values",
    "missing": "which values are missing",
    "kind": "kind",
    "form": "how dates are written",
}


def kinds_said(said: Mapping[str, Said]) -> dict[str, Kind]:
    """The kinds that a config says, by column."""
    return {name: cast(Kind, each.kind) for name, each in said.items() if each.kind in KINDS}
