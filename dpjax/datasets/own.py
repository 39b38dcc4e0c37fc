"""Texts that the registry does not know: of any repository on the hub, or in files and folders of one's own."""

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np

from dpjax.datasets import fetched_copies, hub, tables
from dpjax.datasets.entries import Entry, HubSource, PathSource, RawArrays
from dpjax.datasets.own_rows import Location, Read, document_arrays
from dpjax.datasets.row_files import ENDINGS
from dpjax.datasets.texts import keep_texts, text_array
from dpjax.fetching.folders import workspace_in
from dpjax.fetching.sources import DatasetError, Progress

_KEYS = ("text", "label", "owner", "test", "config", "encoding")
_UNKNOWN = "unknown to dpjax; look where it comes from before you pass it on"


def is_own(name: str) -> bool:
    """Returns whether a name is one of the hub or a path, and not one of the registry.

    Example:
      >>> [is_own(name) for name in ("digits", "hub:owner/name", "./digits", "mails.csv?label=kind")]
      [False, True, True, True]
    """
    place = name.partition("?")[0]
    return name.startswith("hub:") or "/" in place or os.sep in place or place.lower().endswith(ENDINGS)


def parse_name(name: str) -> Location:
    """Reads ``hub:owner/name`` or a path, and after a question mark what it says of the columns.

    Args:
      name: with ``?text=``, ``label=``, ``owner=``, ``test=``, ``config=`` and ``encoding=``, joined by ``&``; ``text``
        may name two columns, joined by a comma.

    Raises:
      DatasetError: it says something else.

    Example:
      >>> parse_name("hub:owner/nli?text=premise,claim&label=kind").text_columns
      ('premise', 'claim')
    """
    place, _, query = name.partition("?")
    on_hub = place.startswith("hub:")
    options: dict[str, str] = {}
    for part in filter(None, query.split("&")):
        key, equals, value = part.partition("=")
        if not equals or key not in _KEYS:
            keys = " and ".join((", ".join(f"{each}=" for each in _KEYS[:-1]), f"{_KEYS[-1]}="))
            raise DatasetError(f"data.name={name!r} says {key!r}; after '?' come {keys}")
        if key in options:
            raise DatasetError(f"data.name={name!r} says {key}= twice; keep one")
        if not value and key != "label":
            raise DatasetError(f"data.name={name!r} says {key}= and nothing after it; name one, or leave it out")
        options[key] = value
    # A comma inside a column's name is written %2C.
    columns = tuple(unquote(each) for each in options.pop("text").split(",")) if "text" in options else None
    options = {key: unquote(value) for key, value in options.items()}
    if on_hub and place.count("/") != 1:
        raise DatasetError(f"data.name={name!r} names no repository; write hub:owner/name")
    if on_hub and "encoding" in options:
        raise DatasetError(f"data.name={name!r} says encoding=, which the hub decides; leave it out")
    return Location(
        place.removeprefix("hub:"),
        on_hub,
        columns,
        options.get("label"),
        options.get("test"),
        options.get("config"),
        options.get("owner"),
        options.get("encoding"),
    )


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
        served_by, source_read = f"{source}@{revision[:12]}", HubSource(location.place, config=location.config)
    else:
        try:
            path = Path(location.place).expanduser()
        except RuntimeError as error:
            raise DatasetError(f"data.name={name!r}: {error}; write the path in full") from error
        splits = tables.read_tables(path / location.config if location.config else path, location.encoding)
        served_by, licence, source_read = location.place, "", PathSource(location.place)
    read = document_arrays(splits, location, f"data.name={name!r}:")
    return describe_own(name, source_read, read, licence=licence), read.raw, served_by


def describe_own(name: str, source: HubSource | PathSource, read: Read, *, licence: str) -> Entry:
    """Returns the row that the registry would have of texts that it does not know."""
    raw = read.raw
    return Entry(
        name=name,
        title=str(source),
        summary=f"One row is {'a text' if raw.train_inputs.ndim == 1 else 'a pair of texts'}; predict its class.",
        task="document",
        input_shape=raw.train_inputs.shape[1:],
        num_train=len(raw.train_labels),
        num_test=len(raw.test_labels),
        class_names=read.class_names,
        licence=licence or _UNKNOWN,
        citation="",
        encoding=read.how_made,
        sources=(source,),
        content_sha256=None,
        encode=keep_texts,
        unit="owner" if raw.num_units else "example",
        num_units=raw.num_units,
        num_train_units=raw.num_train_units,
        note="Not in dpjax's table: its content is not pinned by a hash.",
        remarks=read.remarks,
    )


_STORED = (
    "summary",
    "input_shape",
    "num_train",
    "num_test",
    "class_names",
    "licence",
    "encoding",
    "unit",
    "num_units",
    "num_train_units",
    "remarks",
)


def find(name: str) -> Entry:
    """Returns the little that is known of a repository of the hub before it is fetched.

    Example:
      >>> find("hub:owner/name").num_train
      0
    """
    location = parse_name(name)
    nothing = np.zeros(0, np.int32)
    raw = RawArrays(text_array([]), nothing, text_array([]), nothing)
    return describe_own(name, HubSource(location.place, config=location.config), Read(raw, (), "", ""), licence="")


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
    with workspace_in(folder, "own") as workspace:
        entry, raw, served_by = read_own(name, progress, given)
        progress(f"licence of {entry.title}: {entry.licence}", None)
        if entry.remarks:
            progress(f"{entry.title}: {entry.remarks}", None)
        progress(f"storing {entry.title}", None)
        known = {field: getattr(entry, field) for field in _STORED}
        return fetched_copies.write_copy(
            entry, raw, {"kind": "hub", "source": served_by, "entry": known}, workspace, folder
        )
