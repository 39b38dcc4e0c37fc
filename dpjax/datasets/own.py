"""Texts that the registry does not know: of any repository on the hub, or in files and folders of one's own."""

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote

import numpy as np

from dpjax.datasets import cache, hub, tables
from dpjax.datasets.schema import DatasetError, Entry, HubSource, PathSource, Progress, RawArrays
from dpjax.datasets.splits import stratified_split
from dpjax.datasets.texts import first_of_each, keep_texts, text_array

PAIRS = (
    ("premise", "hypothesis"),
    ("question", "sentence"),
    ("sentence1", "sentence2"),
    ("question1", "question2"),
    ("text1", "text2"),
)
TEXTS = ("text", "sentence", "content", "document", "review", "body", "message", "article")
LABELS = ("label", "labels", "class", "category", "target", "rating")
TESTS = ("test", "validation", "valid", "dev", "val", "validation_matched")
"""Usual names of columns and of splits to test on, likeliest first."""

_UNKNOWN = "unknown to dpjax; look where it comes from before you pass it on"


class Location(NamedTuple):
    """What a name says of where texts are, and of the columns to read.

    Attributes:
      place: repository on the hub, or path.
      on_hub: which of the two.
      text_columns: of texts; None: guess.
      label_column: of labels; empty: there are none, all rows are of one class; None: guess.
      test_split: to test on; None: guess.
      config: which of a repository's data sets, or which folder of the path; None: it holds one.
    """

    place: str
    on_hub: bool
    text_columns: tuple[str, ...] | None = None
    label_column: str | None = None
    test_split: str | None = None
    config: str | None = None


def is_own(name: str) -> bool:
    """Returns whether a name is one of the hub or a path, and not one of the registry.

    Example:
      >>> [is_own(name) for name in ("digits", "hub:owner/name", "./digits", "mails.csv?label=kind")]
      [False, True, True, True]
    """
    place = name.partition("?")[0]
    return name.startswith("hub:") or "/" in place or os.sep in place or place.endswith(tables.SUFFIXES)


def parse_name(name: str) -> Location:
    """Reads ``hub:owner/name`` or a path, and after a question mark what it says of the columns.

    Args:
      name: with ``?text=``, ``label=``, ``test=`` and ``config=``, joined by ``&``; ``text`` may name two columns,
        joined by a comma.

    Raises:
      DatasetError: it says something else.

    Example:
      >>> parse_name("hub:owner/nli?text=premise,claim&label=kind").text_columns
      ('premise', 'claim')
    """
    place, _, query = name.partition("?")
    said = {}
    for part in filter(None, query.split("&")):
        key, equals, value = part.partition("=")
        if not equals or key not in ("text", "label", "test", "config"):
            raise DatasetError(f"data.name={name!r} says {key!r}; after '?' come text=, label=, test= and config=")
        said[key] = unquote(value)
    columns = tuple(said["text"].split(",")) if said.get("text") else None
    on_hub = place.startswith("hub:")
    if on_hub and place.count("/") != 1:
        raise DatasetError(f"data.name={name!r} names no repository; write hub:owner/name")
    place = place.removeprefix("hub:")
    return Location(place, on_hub, columns, said.get("label"), said.get("test"), said.get("config"))


def read_own(name: str, progress: Progress, folder: Path | None = None) -> tuple[Entry, RawArrays, str]:
    """Reads the texts that a name stands for. Of a repository of the hub this needs the network.

    Args:
      name: see ``parse_name``.
      progress: told what happens.
      folder: a copy of the repository; None: ask the hub.

    Returns:
      What was found out about it, the arrays, and what served them.

    Raises:
      DatasetError: it cannot be had or read, or a column cannot be guessed; it lists those that there are.
    """
    location = parse_name(name)
    if location.on_hub:
        source = HubSource(location.place if folder is None else str(folder), config=location.config)
        splits, revision, licence = hub.read_hub_tables(source, progress)
        served_by, own = f"{source}@{revision[:12]}", HubSource(location.place, config=location.config)
    else:
        path = Path(location.place).expanduser()
        splits = tables.read_tables(path / location.config if location.config else path)
        served_by, licence, own = location.place, "", PathSource(location.place)
    raw, names, told = document_arrays(splits, location, f"data.name={name!r}:")
    entry = describe_own(name, own, raw, names, licence=licence, told=told)
    return entry, raw, served_by


def describe_own(
    name: str, source: HubSource | PathSource, raw: RawArrays, names: tuple[str, ...], *, licence: str, told: str
) -> Entry:
    """Returns the row that the registry would have of texts that it does not know."""
    return Entry(
        name=name,
        title=str(source),
        summary=f"One row is {'a text' if raw.train_inputs.ndim == 1 else 'a pair of texts'}; predict its class.",
        task="document",
        input_shape=raw.train_inputs.shape[1:],
        num_train=len(raw.train_labels),
        num_test=len(raw.test_labels),
        class_names=names,
        licence=licence or _UNKNOWN,
        citation="",
        encoding=told,
        sources=(source,),
        content_sha256=None,
        encode=keep_texts,
        note="Not in dpjax's table: its content is not pinned by a hash.",
    )


_STORED = ("summary", "input_shape", "num_train", "num_test", "class_names", "licence", "encoding")


def find(name: str) -> Entry:
    """Returns the little that is known of a repository of the hub before it is fetched.

    Example:
      >>> find("hub:owner/name").num_train
      0
    """
    location = parse_name(name)
    nothing = np.zeros(0, np.int32)
    raw = RawArrays(text_array([]), nothing, text_array([]), nothing)
    return describe_own(name, HubSource(location.place, config=location.config), raw, (), licence="", told="")


def as_stored(entry: Entry, manifest: Mapping[str, Any] | None) -> Entry:
    """Returns an entry with what its copy in the cache says of itself, which is nothing for one of the registry."""
    known = (manifest or {}).get("entry", {})
    return dataclasses.replace(entry, **{key: tuple(v) if isinstance(v, list) else v for key, v in known.items()})


def fetch_own(name: str, given: Path | None, folder: Path, progress: Progress) -> Path:
    """Reads a repository of the hub into the cache, together with what the registry would know of it.

    Args:
      name: see ``parse_name``.
      given: a copy of the repository; None: ask the hub.
      folder: the cache.
      progress: told what happens.

    Returns:
      The path of the cached file.

    Raises:
      DatasetError: see ``read_own``.
    """
    with cache.workspace_in(folder, "own") as workspace:
        entry, raw, served_by = read_own(name, progress, given)
        progress(f"licence of {entry.title}: {entry.licence}", None)
        progress(f"storing {entry.title}", None)
        known = {field: getattr(entry, field) for field in _STORED}
        return cache.write_copy(entry, raw, {"kind": "hub", "source": served_by, "entry": known}, workspace, folder)


def document_arrays(
    splits: Mapping[str, Any], location: Location, where: str
) -> tuple[RawArrays, tuple[str, ...], str]:
    """Turns tables of texts into arrays.

    Args:
      splits: split → ``pyarrow.Table``.
      location: names the columns, as far as they are not to be guessed.
      where: names the data set in messages.

    Returns:
      The arrays; a name per class; how they were made, in words. Where only one split can be used it is split 80/20
      by class, each text once; splits that are there are taken as they are.

    Raises:
      DatasetError: a column or a split is missing or cannot be guessed, or a row lacks text or label.
    """
    first = next(iter(splits.values()))
    columns = location.text_columns or _guess_texts(first.column_names, where)
    label = _guess_label(first.column_names, where) if location.label_column is None else location.label_column
    train, test = _choose_splits(splits, label, location.test_split, where)
    used = {split: splits[split] for split in (train, test) if split}
    texts = {split: tables.read_texts(table, columns, f"{where} {split}") for split, table in used.items()}
    labels, names = {split: np.zeros(len(array), np.int32) for split, array in texts.items()}, ("text",)
    if label:
        labels, names = tables.read_labels(used, label, where)
    read = f"texts of {' and '.join(columns)}, classes of {label or 'none'}"
    if test:
        raw = RawArrays(texts[train], labels[train], texts[test], labels[test])
        return raw, names, f"{read}; splits {train} and {test} as they are"
    rows = texts[train].reshape(len(texts[train]), -1).tolist()
    kept = first_of_each(["\n\0\n".join(row) for row in rows])
    raw = stratified_split(texts[train][kept], labels[train][kept])
    copies = f"; {len(rows) - len(kept):,} copies left out" if len(kept) < len(rows) else ""
    return raw, names, f"{read}; {train} split 80/20 by class with a fixed seed{copies}"


def _choose_splits(splits: Mapping[str, Any], label: str, wanted: str | None, where: str) -> tuple[str, str | None]:
    train = "train" if "train" in splits else next(iter(splits))
    if train != "train" and len(splits) > 1:
        raise DatasetError(f"{where} no split is called 'train' (it has {', '.join(splits)}); rename the file")
    if wanted is not None and wanted not in splits:
        raise DatasetError(f"{where} no split is called {wanted!r} (it has {', '.join(splits)})")
    # Benchmarks hide the labels of their test set behind -1.
    open_ones = (each for each in TESTS if each in splits and each != train and not _is_hidden(splits[each], label))
    return train, wanted or next(open_ones, None)


def _is_hidden(table: Any, label: str) -> bool:
    if not label or label not in table.column_names:
        return bool(label)
    return all(each is None or each == -1 for each in table.column(label).to_pylist())


def _guess_texts(columns: list[str], where: str) -> tuple[str, ...]:
    lower = {column.lower(): column for column in columns}
    for names in (*PAIRS, *((name,) for name in TEXTS)):
        if all(name in lower for name in names):
            return tuple(lower[name] for name in names)
    raise DatasetError(f"{where} which column holds texts? (it has {', '.join(columns)}); append ?text=COLUMN")


def _guess_label(columns: list[str], where: str) -> str:
    lower = {column.lower(): column for column in columns}
    for name in LABELS:
        if name in lower:
            return lower[name]
    fix = "append ?label=COLUMN, or ?label= if none does"
    raise DatasetError(f"{where} which column holds labels? (it has {', '.join(columns)}); {fix}")
