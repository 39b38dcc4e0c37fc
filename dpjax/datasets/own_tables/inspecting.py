"""What a table of one's own would become, for people to look at before anything is trained on it."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from dpjax.checks import as_listed
from dpjax.datasets.own_tables.arrays import columns_of, resolved
from dpjax.datasets.own_tables.drafts import table_draft
from dpjax.datasets.own_tables.kinds import Column, read_column
from dpjax.datasets.own_tables.plans import Plan, Said, read_said, told_range
from dpjax.datasets.own_tables.reading import learnt, open_tables, read
from dpjax.datasets.own_tables.sides import Sides
from dpjax.datasets.own_tables.source import TableSource

_SHOWN = 4  # values of a column


class Look(NamedTuple):
    """One column, in words.

    Attributes:
      name: of the column.
      kind: what it holds, or its role.
      missing: rows without a value.
      distinct: different values.
      values: some of them, or from where to where they go.
      becomes: what a model reads of it.
    """

    name: str
    kind: str
    missing: int
    distinct: int
    values: str
    becomes: str


class Inspection(NamedTuple):
    """What is to be known of a table before a run.

    Attributes:
      rows: of all files.
      columns: in the file's order.
      facts: (what, in words), such as classes with their counts, owners with their rows, and who is tested.
      learnt: what would be read off the rows and not be private; empty if nothing, or if no label was said.
      config: lines of a config whose ??? are to be replaced by what is known without the rows. Of these it holds but
        the names of the columns and what they seem to be.
    """

    rows: int
    columns: list[Look]
    facts: list[tuple[str, str]]
    learnt: str
    config: list[str]


def inspect(source: TableSource) -> Inspection:
    """Looks at a table of one's own.

    It shows values of rows as they are: it is for who may see them, and nothing of it is private.

    Args:
      source: where it lies; without a label, columns alone are told.

    Raises:
      DatasetError: see ``reading.read``.

    Example:
      >>> import pathlib, tempfile
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     file = pathlib.Path(folder, "patients.csv")
      ...     _ = file.write_text("age,ill\\n" + "".join(f"{20 + i},{'ny'[i % 2]}\\n" for i in range(40)))
      ...     found = inspect(TableSource(str(file), label="ill"))
      >>> found.rows, found.columns[0].kind, found.learnt
      (40, 'number', 'range of age; which values are missing of age; kind of age; classes of ill')
      >>> print("\\n".join(found.config[4:]))
        classes: ???  # their names, as [no, yes]
        columns:
          age: ???  # least and largest, as [0, 120]
    """
    source = resolved(source)
    where = f"data.path={source.path!r}:"
    table = open_tables(source, where)[0]
    said = read_said(source.columns, where)
    whole = read(source) if source.label else None
    plans = {plan.name: plan for plan in (whole.plans if whole else ())}
    columns, inputs = [], []
    strays: list[tuple[str, str]] = []
    for name in table.column_names:
        role = next((r for r, n in zip(("label", "owner", "split"), _roles(source), strict=True) if n == name), "")
        kind = "category" if role in ("label", "owner") else said[name].kind if name in said else None
        kind = "number" if role == "label" and source.target == "number" else kind
        form = said[name].form if name in said else ""
        if name in said and said[name].skip:
            columns.append(Look(_plain(name), role or "skipped", 0, 0, "", "nothing: skipped"))
            inputs.append((name, None))
            continue
        words = said[name].values if name in said else source.classes if role == "label" else ()
        column = read_column(
            table, name, where, kind=kind, form=form, missing=source.missing, decimal=source.decimal, words=words
        )
        columns.append(_look(column, role, plans.get(name), said.get(name), known=bool(whole)))
        inputs += [] if role else [(name, column)]
        strays += _strays(column)
    if whole is None:
        return Inspection(table.num_rows, columns, strays, "", [])
    config = table_draft(source, inputs, columns_of(source), by_owner=whole.sides.owner is not None)
    return Inspection(table.num_rows, columns, [*_facts(whole.sides), *strays], learnt(whole, source), config)


def _roles(source: TableSource) -> tuple[str, str, str]:
    return source.label, source.unit, source.split_column


def _look(column: Column, role: str, plan: Plan | None, said: Said | None, *, known: bool) -> Look:
    becomes = "" if not known or role else "nothing"
    if plan is not None:
        inputs = len(plan.feature_names)
        becomes = f"{inputs} input{'s' * (inputs != 1)}"
        if plan.kind != "category":
            becomes += f", -1 to 1 for {_ends(plan, column)}"
        if plan.missing:
            becomes += ", one for missing"
    elif said is not None and said.skip:
        becomes = "nothing: skipped"
    return Look(
        _plain(column.name), role or column.kind, column.num_missing, len(column.values), _values(column), becomes
    )


def _values(column: Column) -> str:
    if column.kind in ("number", "date") and column.numbers is not None:
        order = np.argsort(column.numbers, kind="stable")
        return f"{_plain(column.values[order[0]])} to {_plain(column.values[order[-1]])}"
    counts = np.bincount(column.codes[column.codes >= 0], minlength=len(column.values))
    order = np.argsort(-counts, kind="stable")
    shown = [_short(column.values[i]) for i in order[:_SHOWN]]
    return ", ".join(shown) + (", …" if len(column.values) > _SHOWN else "")


def _strays(column: Column) -> Iterator[tuple[str, str]]:
    """Numbers of nines alone, farther from all others than these are apart: often written for what is not known."""
    if column.kind != "number" or column.numbers is None or len(column.numbers) < 3:
        return
    order = np.argsort(column.numbers, kind="stable")
    for stray, rest in ((order[0], order[1:]), (order[-1], order[:-1])):
        number, others = column.numbers[stray], column.numbers[rest]
        nines = number == np.floor(number) and set(f"{abs(number):.0f}") == {"9"}
        if nines and np.abs(others - number).min() > others.max() - others.min():
            rows, value = int((column.codes == stray).sum()), _plain(column.values[stray])
            yield (
                "code?",
                f"{_plain(column.name)} has {value} in {rows:,} row{'s' * (rows != 1)}, far from all others "
                f"({others.min():g} to {others.max():g}): if that stands for a missing value, say "
                f"data.missing=[{value}]",
            )


def _plain(value: str) -> str:
    """Without what a terminal would obey."""
    return value if value.isprintable() else repr(value)[1:-1]


def _short(value: str, width: int = 24) -> str:
    value = _plain(value)
    return as_listed(value if len(value) <= width else value[: width - 1] + "…")


def _ends(plan: Plan, column: Column) -> str:
    if plan.kind == "number":
        return told_range(plan.low, plan.high)
    return " to ".join(str(np.datetime64(int(day), "D")) for day in (plan.low, plan.high))


def _facts(sides: Sides) -> Iterator[tuple[str, str]]:
    yield _label_facts(sides) if sides.target else _class_facts(sides)
    if sides.owner is not None:
        each = np.unique(sides.owner.codes, return_counts=True)[1]
        spread = f"{each.min():,}, {np.median(each):,.0f}, {each.max():,}"
        yield f"{len(each):,} owners", f"rows of one ({sides.owner.name}): least, median, most {spread}"
    else:
        yield "owners", "none said: ε would be for one row; if rows belong to people, say data.unit=COLUMN"
    yield "test", f"{int(sides.tests.sum()):,} of {len(sides.tests):,} rows, {sides.how}"
    if sides.remarks:
        yield "read", sides.remarks


def _label_facts(sides: Sides) -> tuple[str, str]:
    assert sides.target is not None
    least, middle, most = np.quantile(sides.label.floats(), [0, 0.5, 1])
    ends = f"-1 to 1 for {told_range(sides.target.low, sides.target.high)}"
    return "number", f"{sides.label.name}: least, median, most {least:g}, {middle:g}, {most:g}; {ends}"


def _class_facts(sides: Sides) -> tuple[str, str]:
    counts = np.bincount(sides.label.codes, minlength=len(sides.label.values))
    rows = dict(zip(sides.label.values, counts.tolist(), strict=True))
    shown = [
        f"{as_listed(name)} {rows.get(name, 0):,} ({rows.get(name, 0) / counts.sum():.0%})"
        for name in sides.classes[:10]
    ]
    more = f", … {len(sides.classes) - 10} more" if len(sides.classes) > 10 else ""
    return f"{len(sides.classes)} classes", ", ".join(shown) + more
