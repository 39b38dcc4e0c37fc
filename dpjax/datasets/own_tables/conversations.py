"""Conversations of one's own as a data set: turns of role and content, split as rows of a table are."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from dpjax.datasets import tables
from dpjax.datasets.entries import Dataset
from dpjax.datasets.own_tables.contents import contents_of
from dpjax.datasets.own_tables.kinds import Column, read_column
from dpjax.datasets.own_tables.reading import check_names, open_tables
from dpjax.datasets.own_tables.sides import as_dataset, take_sides
from dpjax.datasets.own_tables.source import TableSource
from dpjax.datasets.row_files import kind_of, names_kind
from dpjax.datasets.texts import text_array
from dpjax.fetching.sources import DatasetError

_ALL = "conversation"  # the class of rows without a label, as of texts


def load_conversations(source: TableSource, columns: Sequence[str]) -> Dataset:
    """Loads conversations into memory. It never touches the network.

    Formal guarantees: a row's turns depend on itself alone, and so does the side it is on but for what
    ``Dataset.learnt`` says, as for tables.

    Args:
      source: where they lie, and what the other columns are for; its ``columns`` are empty. Without a label all rows
        are of one class, for a model that learns what the assistant says.
      columns: one of conversations, lists of ``role`` and ``content``; two of a prompt and its answer; or three of a
        prompt and the answers that were chosen and rejected. Of two or three each is a text or a list of turns.

    Returns:
      Inputs ``[rows]``, or ``[rows, 3]`` of three columns, of dtype ``np.dtypes.StringDType()``: turns as JSON, as
      ``read_turns`` reads them; labels int32; read-only.

    Raises:
      DatasetError: a column that is not there or holds something else, a conversation without an answer, or an empty
        turn; it names the row.

    Example:
      >>> import pathlib, tempfile
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     file = pathlib.Path(folder, "chats.jsonl")
      ...     rows = [{"prompt": f"say {i}", "completion": str(i)} for i in range(40)]
      ...     _ = file.write_text("\\n".join(map(json.dumps, rows)))
      ...     data = load_conversations(TableSource(str(file)), ["prompt", "completion"])
      >>> len(data.train_inputs), [turn["role"] for turn in read_turns(data.train_inputs[0])]
      (31, ['user', 'assistant'])
    """
    where = f"data.path={source.path!r}:"
    if not 1 <= len(columns) <= 3 or len(set(columns)) < len(columns):
        raise DatasetError(
            f"{where} data.messages={list(columns)} must be one column of conversations, two of prompt and answer, or "
            "three of prompt, chosen and rejected"
        )
    table, of_file = open_tables(source, where)
    check_names(
        table.column_names,
        source if source.label else replace(source, label=columns[0]),
        dict.fromkeys(columns if source.label else columns[1:], ()),
        where,
    )
    if not source.label and source.classes:
        raise DatasetError(f"{where} data.classes={list(source.classes)} names classes; say data.label=COLUMN too")

    def role(name: str, kind: Any = "category", words: Sequence[str] = ()) -> Column:
        return read_column(table, name, where, kind=kind, missing=source.missing, words=tuple(words))

    owner = role(source.unit) if source.unit else None
    when = role(source.split_column, None) if source.split_column else None
    if when is not None and when.kind not in ("date", "number") and (source.split == "time" or source.split_at):
        when = role(source.split_column, "number")
    label = Column("", "category", np.zeros(table.num_rows, np.int64), (_ALL,))
    if source.label:
        label = role(source.label, words=source.classes)
    asked = source if source.label else replace(source, classes=(_ALL,))
    sides = take_sides(asked, label, owner, when, of_file, contents_of(table), where)
    numbers = np.flatnonzero(sides.kept)
    chosen = table.select(list(columns)).take(numbers)
    cells = [tables.take_column(chosen, name, where).to_pylist() for name in columns]
    for name in columns:
        if names_kind(table.schema.field(name).type):
            raise DatasetError(
                f"{where} column {name!r} holds {kind_of(table.schema.field(name).type)} and must hold lists of turns, "
                "whose role and content are texts; take off what is not"
            )
    rows = []
    for number, row in zip(numbers.tolist(), zip(*cells, strict=True), strict=True):
        said = [
            _turns(cell, f"{where} row {number + 1} column {name!r}", _speaker(i, columns))
            for i, (cell, name) in enumerate(zip(row, columns, strict=True))
        ]
        said = said if len(said) == 3 else [[turn for part in said for turn in part]]
        if not source.label:
            _check_answered(said, f"{where} row {number + 1}")
        rows.append([json.dumps(turns, ensure_ascii=False) for turns in said])
    three = len(columns) == 3
    inputs = text_array(rows, columns=3) if three else text_array([row[0] for row in rows])
    learnt = "; ".join(filter(None, ["" if asked.classes else f"classes of {source.label}", sides.learnt]))
    return as_dataset(asked, sides, inputs, task="chat", learnt=learnt)


def read_turns(kept: str) -> list[dict[str, str]]:
    """Turns of a conversation, as ``load_conversations`` keeps them.

    Example:
      >>> read_turns('[{"role": "user", "content": "hi"}]')
      [{'role': 'user', 'content': 'hi'}]
    """
    return json.loads(kept)


def _speaker(place: int, columns: Sequence[str]) -> str | None:
    """Who says what stands in a column as a plain text; None: it must be a list of turns."""
    return None if len(columns) == 1 else "user" if place == 0 else "assistant"


def _turns(cell: Any, where: str, speaker: str | None) -> list[dict[str, str]]:
    if isinstance(cell, str) and speaker is not None:
        cell = [{"role": speaker, "content": cell}]
    if not isinstance(cell, list) or not cell:
        kinds = "a list of turns with role and content" + (", or a text" if speaker else "")
        raise DatasetError(f"{where} holds {_shown(cell)} and must hold {kinds}; leave the row out or mend it")
    turns = []
    for place, turn in enumerate(cell, 1):
        if not isinstance(turn, Mapping) or not {"role", "content"} <= turn.keys():
            raise DatasetError(f"{where}: turn {place} is {_shown(turn)} and must have role and content; mend it")
        role, content = turn["role"], turn["content"]
        if not isinstance(role, str) or not role.strip():
            raise DatasetError(f"{where}: turn {place} has the role {_shown(role)}; say user or assistant")
        if not isinstance(content, str) or not content.strip():
            raise DatasetError(f"{where}: turn {place} has the content {_shown(content)}; it must be a text, not empty")
        if odd := sorted(key for key, value in turn.items() if key not in ("role", "content", "name") and value):
            raise DatasetError(
                f"{where}: turn {place} has {odd[0]}, which is not read; leave the row out or take it off"
            )
        turns.append({"role": role, "content": content})
    return turns


def _check_answered(said: list[list[dict[str, str]]], where: str) -> None:
    for turns in said[-2:] if len(said) == 3 else said:
        if not any(turn["role"] == "assistant" for turn in turns):
            roles = ", ".join(dict.fromkeys(turn["role"] for turn in turns))
            raise DatasetError(
                f"{where}: no turn is the assistant's (they are of {roles}), so there is nothing to learn; call the "
                "role assistant or leave the row out"
            )


def _shown(value: Any) -> str:
    text = "nothing" if value is None else repr(value)
    return text if len(text) <= 60 else text[:59] + "…"
