"""Configs that are proposed for data of one's own, with ??? for what nobody can read off rows and call public."""

import json
from collections.abc import Mapping, Sequence

from dpjax.datasets import tables
from dpjax.datasets.own_tables.kinds import Column
from dpjax.datasets.own_tables.plans import SKIP
from dpjax.datasets.own_tables.source import TableSource

_MAY_MISS = "true or false: may it be missing?"
_BLANKS = {
    "number": "least and largest, as [0, 120]",
    "date": "first and last, as {range: [2000-01-01, 2030-01-01]}",
    "category": "its values, as [never, former, current]",
}


def table_draft(
    source: TableSource,
    columns: Sequence[tuple[str, Column | None]],
    arrays: Mapping[str, str],
    *,
    by_owner: bool,
) -> list[str]:
    """Lines of a config for a table, or for arrays that are read as one.

    Args:
      source: where it lies and what is said of it.
      columns: those that may become inputs, by their names; None: skipped.
      arrays: column → the array that it is of, which the config speaks of as one.
      by_owner: whether rows have owners.
    """
    lines = [*_head(source), *_label(source), "  columns:"]
    # Where another column is the unit one day, these are inputs of nothing either.
    lines += [f"    {_named(name)}: skip" for name in (source.unit, source.split_column) if name]
    told: set[str] = set()
    for name, column in columns:
        array = arrays.get(name, name)
        of_array = [(each, kind) for each, kind in columns if arrays.get(each, each) == array]
        known = {json.dumps(source.columns.get(each), default=str) for each, _ in of_array}
        if len(of_array) == 1 or len(known) > 1:
            lines += _of_column(name, column, source)
        elif array not in told:  # one line for all of its columns
            told.add(array)
            kinds = [each for _, each in of_array if each is not None and each.kind in _BLANKS]
            first = next((each for each in kinds if each.kind == "number"), kinds[0] if kinds else None)
            missing = next((each for each in kinds if each.num_missing), first)
            lines += _of_column(
                name, missing if first and missing and missing.kind == first.kind else first, source, array
            )
    return lines + _owners(by_owner)


def images_draft(source: TableSource, *, by_owner: bool) -> list[str]:
    """Lines of a config for images, in a folder or an array.

    Args:
      source: where they lie and what is said of them.
      by_owner: whether they have owners.
    """
    return [*_head(source), *_label(source), "model: cnn", *_owners(by_owner)]


def tokens_draft(source: TableSource, column: str, padding: int | None, mask: str, *, by_owner: bool) -> list[str]:
    """Lines of a config for token ids.

    Args:
      source: where they lie and what is said of them.
      column: of ids.
      padding: id that stands for nothing; None: none does.
      mask: column that says which are ids; empty: all are.
      by_owner: whether rows have owners.
    """
    lines = [*_head(source), f"  tokens: {tables.quoted(column)}"]
    lines += [f"  padding: {padding}"] if padding is not None else []
    lines += [f"  mask: {tables.quoted(mask)}"] if mask else []
    lines += _label(source) if source.label else []
    lines += ["model:", "  name: pretrained", "  checkpoint: ???  # whose tokenizer made the ids, as minilm"]
    return [*lines, *([] if source.label else ["  task: causal"]), *_owners(by_owner)]


def conversations_draft(source: TableSource, columns: Sequence[str], *, by_owner: bool) -> list[str]:
    """Lines of a config for conversations.

    Args:
      source: where they lie and what is said of them.
      columns: of conversations, of prompt and answer, or of prompt, chosen and rejected.
      by_owner: whether rows have owners.
    """
    lines = [*_head(source), f"  messages: [{', '.join(map(tables.quoted, columns))}]"]
    lines += _label(source) if source.label else []
    lines += ["model:", "  name: pretrained", "  checkpoint: ???  # that has a chat template, as smollm2"]
    task = "preference" if len(columns) == 3 else "completion"
    return [*lines, *([] if source.label else [f"  task: {task}"]), *_owners(by_owner)]


def _head(source: TableSource) -> list[str]:
    lines = ["data:", "  name: own", f"  path: {tables.quoted(source.path)}"]
    given = {name: getattr(source, name) for name in ("label", "unit", "split", "split_column", "split_at", "encoding")}
    lines += [f"  {name}: {tables.quoted(value)}" for name, value in given.items() if value]
    lines += ["  decimal: ','"] if source.decimal != "." else []
    return lines + ([f"  missing: [{', '.join(map(tables.quoted, source.missing))}]"] if source.missing else [])


def _label(source: TableSource) -> list[str]:
    if source.target == "number":
        ends = list(source.target_range) or "???  # least and largest, as [0, 500]"
        return ["  target: number", f"  target_range: {ends}"]
    named = f"[{', '.join(map(tables.quoted, source.classes))}]" if source.classes else ""
    return [f"  classes: {named or '???  # their names, as [no, yes]'}"]


def _owners(by_owner: bool) -> list[str]:
    return ["privacy:", "  records_per_unit: ???  # rows that are kept of one owner, as 4"] if by_owner else []


def _of_column(name: str, column: Column | None, source: TableSource, array: str = "") -> list[str]:
    known, shown = source.columns.get(name), _named(array or name)
    if known is not None:
        return [f"    {shown}: {known if known == SKIP else json.dumps(known, ensure_ascii=False, default=str)}"]
    if column is None or column.kind not in _BLANKS:
        return [f"    {shown}: skip"]
    blank = f"???  # {_BLANKS[column.kind]}" + (", of all its columns" if array else "")
    if not column.num_missing:
        return [f"    {shown}: {blank}"]
    key = "values" if column.kind == "category" else "range"
    blank = blank.replace("{range: ", "").replace("}", "")
    return [f"    {shown}:", f"      {key}: {blank}", f"      missing: ???  # {_MAY_MISS}"]


def _named(column: str) -> str:
    return tables.quoted(column) if column.isprintable() else json.dumps(column)
