"""The resolved configs of runs, leaf by leaf: most leaves are the same in all of them, and so are most groups."""

import json
from typing import Any, NamedTuple

import numpy as np

from dpjax.report.cells import column
from dpjax.results.distinct import Distinct

_DECODER = json.JSONDecoder()


def config_leaves(configs: Distinct, texts: dict[str, int]) -> dict[str, Any]:
    """A column for each leaf of configs.

    Args:
      configs: of all rows, as JSON.
      texts: text → its place; new ones are added.

    Example:
      >>> configs = Distinct(np.array([0, 1, 0]), ['{"a": {"b": 1, "c": 2}}', '{"a": {"b": 1, "c": 3}}'])
      >>> config_leaves(configs, {})
      {'a.b': {'all': 1}, 'a.c': {'v': [2, 3, 2]}}
    """
    groups, values = _groups(configs.cells)
    found: dict[str, Any] = {}
    for name, places in groups.items():
        used, codes = np.unique(places, return_inverse=True)
        flat = [{} if place < 0 else _leaves(name, values[place]) for place in used.tolist()]
        of_rows = codes[configs.codes]
        for leaf in dict.fromkeys(leaf for leaves in flat for leaf in leaves):
            found[leaf] = column(Distinct(of_rows, [leaves.get(leaf) for leaves in flat]), texts)
    return found


class _Group(NamedTuple):
    """A top-level field as a config spells it, its name with it, and the place of its value."""

    spelt: str
    name: str
    place: int


def _groups(configs: Any) -> tuple[dict[str, np.ndarray], list[Any]]:
    """Group → the place of its value in each config, -1 where it has none; and the values."""
    known: dict[str, _Group] = {}
    values: list[Any] = []
    groups: dict[str, np.ndarray] = {}

    def of_value(spelt: str, name: str, value: Any) -> _Group:
        if spelt not in known:
            known[spelt] = _Group(spelt, name, len(values))
            values.append(value)
        return known[spelt]

    def spelt_in(text: str, before: list[_Group]) -> list[_Group]:
        """The groups of a config, of which those that are spelt as in the one before are not read again."""
        read: list[_Group] = []
        at = 1
        while True:
            same = before[len(read)] if len(read) < len(before) else None
            if same is None or not text.startswith(same.spelt, at) or text[at + len(same.spelt)] not in ",}":
                name, end = _DECODER.raw_decode(text, at)
                value, end = _DECODER.raw_decode(text, _past(": ", text, end))
                same = of_value(text[at:end], name, value)
            read.append(same)
            at += len(same.spelt)
            if text[at] == "}" and at + 1 == len(text):
                return read
            at = _past(", ", text, at)

    before: list[_Group] = []
    for number, config in enumerate(configs):
        try:
            before = spelt_in(config, before) if isinstance(config, str) and config[:2] == '{"' else []
            plain = bool(before)
        except (ValueError, IndexError, TypeError):
            before, plain = [], False
        if not plain:  # spelt otherwise than we do
            before = [of_value(json.dumps([name, value]), name, value) for name, value in _document(config).items()]
        for group in before:
            if group.name not in groups:
                groups[group.name] = np.full(len(configs), -1)
            groups[group.name][number] = group.place
    return groups, values


def _past(mark: str, text: str, at: int) -> int:
    if not text.startswith(mark, at):
        raise ValueError(f"{mark!r} is not there")
    return at + len(mark)


def _document(config: Any) -> dict[str, Any]:
    try:
        document = json.loads(config) if isinstance(config, str) else config
    except ValueError:
        return {"config": str(config)}
    return document if isinstance(document, dict) else {}


def _leaves(path: str, node: Any) -> dict[str, Any]:
    if not (isinstance(node, dict) and node):
        return {path: node}
    return {place: leaf for name, value in node.items() for place, leaf in _leaves(f"{path}.{name}", value).items()}
