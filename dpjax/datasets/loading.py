"""Fetch a data set once, explicitly and verified; load it from the cache as often as you like."""

import dataclasses
import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np

from dpjax.datasets import fetched_copies, hub, own, own_rows, registry, texts
from dpjax.datasets.entries import Dataset, EmbeddedSource, Entry, HubSource, PathSource, RawArrays, Source
from dpjax.datasets.readers.embedded import scikit_learn_file
from dpjax.fetching import archives, download
from dpjax.fetching.folders import workspace_in
from dpjax.fetching.sources import REGISTRIES, DatasetError, PackageSource, Progress


def load(name: str, *, source: str = "auto", cache_dir: str | os.PathLike[str] | None = None) -> Dataset:
    """Loads a data set into memory. It never touches the network.

    Formal guarantees: the same arrays whichever source served them, since their content is pinned; and scaling by
    constants only, so that one record's inputs never depend on another record.

    Args:
      name: of the registry, e.g. ``"digits"``; or of texts that it does not know, ``"hub:owner/name"`` once fetched
        or the path of a file or folder (see ``read_documents``).
      source: ``"auto"``, or the kind that the copy must have come from (``"hub"``, ``"pypi"``, ``"npm"``,
        ``"debian"``).
      cache_dir: folder of fetched data sets; None: ``DPJAX_DATA_DIR`` or the user's cache folder.

    Returns:
      Inputs float32 (of text int32, of documents whole texts), labels int32, natural clients int32; the arrays are
        read-only.

    Raises:
      DatasetError: unknown, not fetched yet, from another source, or damaged.

    Example:
      >>> digits = load("digits")
      >>> digits.train_inputs.shape, digits.num_classes
      ((1438, 8, 8, 1), 10)
    """
    if own.is_own(name) and not own.parse_name(name).on_hub:
        _check_path_source(name, source)
        return _told(_dataset(*own.read_own(name, _silent)))
    entry = own.find(name) if own.is_own(name) else registry.find(name)
    _check_kind(entry, source)
    first = entry.sources[0]
    if isinstance(first, EmbeddedSource):
        raw, served_by = first.read(), str(first)
    else:
        raw, manifest = fetched_copies.read_copy(entry, fetched_copies.cache_folder(cache_dir))
        entry, served_by = own.as_stored(entry, manifest), manifest["source"]
        if source not in ("auto", manifest["kind"]):
            raise DatasetError(
                f"data.source={source!r}: the copy of {name!r} on this machine is from {served_by}; replace it with "
                f"`dpjax data fetch {name} --source {source} --force`"
            )
    return _told(_dataset(entry, raw, served_by))


def read_documents(
    path: str | os.PathLike[str],
    *,
    text_columns: Sequence[str] | None = None,
    label_column: str | None = None,
    test_split: str | None = None,
    owner_column: str | None = None,
    encoding: str | None = None,
) -> Dataset:
    """Reads texts of one's own from CSV, TSV, JSON, Parquet or .txt files. It never touches the network.

    Formal guarantees: no text is empty; where it makes the split itself, no text is in both parts, and of rows with
    owners no owner. Rows without a label or an owner are left out, and so are copies; a warning and ``Dataset.remarks``
    count them.

    Args:
      path: a file; or a folder whose files are called after their splits, as ``train.csv`` and ``test.csv`` or
        ``train-00000-of-00001.parquet``, or which has a folder of .txt files for every class. All but Parquet may be
        compressed (.gz, .bz2, .xz). Without a test split, rows are split 80/20 by class with a fixed seed.
      text_columns: one column of texts, or two of pairs; None: those of a usual name, as ``text`` or ``sentence``.
      label_column: of words or numbers, each a class as it is written; empty: there is none and all rows are of one
        class; None: the one of a usual name, as ``label``.
      test_split: to test on; None: ``test``, or where its labels are hidden ``validation``.
      owner_column: of words or numbers that say whose a row is; None: rows stand alone.
      encoding: of the characters, as Python calls it; None: UTF-8, or UTF-16 where the file begins with its mark.

    Returns:
      Inputs ``[rows]`` or ``[rows, 2]`` of dtype ``np.dtypes.StringDType()``, labels int32; read-only.

    Raises:
      DatasetError: no such file; a column cannot be guessed or is not there; a row has no text; there is one class, or
        no row to test on.

    Example:
      >>> import pathlib, tempfile
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     file = pathlib.Path(folder, "mails.csv")
      ...     _ = file.write_text("text,label\\n" + "".join(f"mail {i},{'hs'[i % 2]}\\n" for i in range(10)))
      ...     data = read_documents(file)
      >>> data.train_inputs.shape, data.class_names
      ((8,), ('h', 's'))
    """
    options = {"label": label_column, "test": test_split, "owner": owner_column, "encoding": encoding}
    parts = [] if text_columns is None else ["text=" + ",".join(quote(each, safe="") for each in text_columns)]
    parts += [f"{key}={quote(value, safe='')}" for key, value in options.items() if value is not None]
    query = "&".join(parts)
    place = os.path.join(".", path) if not own.is_own(str(path)) else str(path)
    return load(f"{place}?{query}" if query else place)


def documents_of(
    read: Mapping[str, Any], path: str, *, text_columns: Sequence[str], owner_column: str | None = None
) -> Dataset:
    """Texts without labels that were read already, as ``read_documents`` gives those of a file.

    Args:
      read: split → ``pyarrow.Table``.
      path: where they came from.
      text_columns: one column of texts, or two of pairs.
      owner_column: of words or numbers that say whose a row is; None: rows stand alone.

    Raises:
      DatasetError: a column is not there, a row has no text, or there is no row to test on.
    """
    name = path if own.is_own(path) else os.path.join(".", path)
    location = own_rows.Location(path, False, tuple(text_columns), "", None, None, owner_column, None)
    found = own_rows.document_arrays(read, location, f"data.path={path!r}:")
    return _dataset(own.describe_own(name, PathSource(path), found, licence=""), found.raw, path)


def _told(dataset: Dataset) -> Dataset:
    if dataset.remarks:
        warnings.warn(f"data.name={dataset.name!r}: {dataset.remarks}", stacklevel=3)
    return dataset


def _dataset(entry: Entry, raw: RawArrays, served_by: str) -> Dataset:
    dataset = Dataset(
        name=entry.name,
        train_inputs=entry.encode(raw.train_inputs),
        train_labels=raw.train_labels,
        test_inputs=entry.encode(raw.test_inputs),
        test_labels=raw.test_labels,
        num_classes=entry.num_classes,
        input_shape=entry.input_shape,
        task=entry.task,
        unit=entry.unit,
        licence=entry.licence,
        source=served_by,
        class_names=entry.class_names,
        feature_names=entry.feature_names,
        train_units=raw.train_units,
        test_units=raw.test_units,
        num_units=entry.num_units,
        num_train_units=entry.num_train_units,
        unit_names=() if raw.unit_names is None else tuple(raw.unit_names.tolist()),
        remarks=entry.remarks,
        own=own.is_own(entry.name),
    )
    for field in RawArrays._fields:
        if isinstance(array := getattr(dataset, field), np.ndarray):
            array.setflags(write=False)
    return dataset


def fetch(
    name: str,
    *,
    source: str = "auto",
    cache_dir: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
    force: bool = False,
) -> Path:
    """Fetches a data set into the cache: from the hub first, then from the package registry.

    Formal guarantees: the file it returns is whole and verified, and a failure leaves nothing behind: all is written to
    a temporary folder and moved into place at the end. A copy that is there already is kept.

    Args:
      name: of the registry; or ``"hub:owner/name"``, any repository of texts. Paths are read where they lie.
      source: ``"auto"`` tries every source in turn; a kind (``"hub"``, ``"pypi"``, ``"npm"``, ``"debian"``) tries only
        that one; a path reads an archive downloaded elsewhere, or a folder that holds a copy of the hub's repository.
      cache_dir: folder of fetched data sets; None: ``DPJAX_DATA_DIR`` or the user's cache folder.
      progress: told each step and, of a download, the share that has arrived; None: silent.
      force: fetch again even if there is a copy.

    Returns:
      The path of the data: of the cached file, or of the installed one for an embedded data set.

    Raises:
      DatasetError: unknown name or source, no network, a wrong hash, a full disk.

    Example:
      >>> fetch("digits").name
      'digits.csv.gz'
    """
    if own.is_own(name) and not own.parse_name(name).on_hub:
        _check_path_source(name, source)
        return Path(own.parse_name(name).place)
    entry = own.find(name) if own.is_own(name) else registry.find(name)
    sources, given = _choose(entry, source)
    if isinstance(sources[0], EmbeddedSource):
        return scikit_learn_file(sources[0].file) or Path(sources[0].file)

    def tell(message: str, fraction: float | None) -> None:
        if progress is not None:
            progress(message, fraction)

    folder = fetched_copies.cache_folder(cache_dir)
    copy = fetched_copies.read_manifest(entry, folder)
    if copy and not force and not given and source in ("auto", copy["kind"]):
        return folder / fetched_copies.file_name(name)
    if own.is_own(name):
        return own.fetch_own(name, given, folder, tell)
    tell(f"licence of {entry.title}: {entry.licence}", None)
    failures = []
    for candidate in sources:
        try:
            with workspace_in(folder, name) as workspace:
                raw, origin = _read_source(entry, candidate, given, workspace, tell)
                _check_content(entry, raw, candidate)
                tell(f"storing {entry.title}", None)
                return fetched_copies.write_copy(entry, raw, {"kind": candidate.kind, **origin}, workspace, folder)
        except DatasetError as error:
            failures.append(f"{candidate.kind}: {error}")
            tell(f"{candidate}: {error}", None)
    raise DatasetError(f"data.name={name!r} could not be fetched; {'; '.join(failures)}")


def available(*, cache_dir: str | os.PathLike[str] | None = None) -> list[Entry]:
    """Returns every data set of the registry, with whether it is on this machine.

    Formal guarantees: it reads manifests alone, no rows; nothing of it depends on a record.

    Args:
      cache_dir: folder of fetched data sets; None: ``DPJAX_DATA_DIR`` or the user's cache folder.

    Returns:
      One ``Entry`` per data set, in the registry's order.

    Example:
      >>> [entry.name for entry in available() if entry.embedded]
      ['digits', 'breast_cancer']
    """
    return [describe(name, cache_dir=cache_dir) for name in registry.ENTRIES]


def describe(name: str, *, cache_dir: str | os.PathLike[str] | None = None) -> Entry:
    """Returns what the registry knows of one data set, with the source of the copy on this machine.

    Formal guarantees: it reads the manifest alone, no rows; nothing of it depends on a record.

    Args:
      name: of the registry; or of texts that it does not know, as in ``load``.
      cache_dir: folder of fetched data sets; None: ``DPJAX_DATA_DIR`` or the user's cache folder.

    Returns:
      The ``Entry``.

    Raises:
      DatasetError: no such name.

    Example:
      >>> describe("adult").num_test
      16281
    """
    if own.is_own(name) and not own.parse_name(name).on_hub:
        entry, _, served_by = own.read_own(name, _silent)
        return dataclasses.replace(entry, fetched_from=served_by)
    entry = own.find(name) if own.is_own(name) else registry.find(name)
    if entry.embedded:
        return dataclasses.replace(entry, fetched_from=str(entry.sources[0]))
    copy = fetched_copies.read_manifest(entry, fetched_copies.cache_folder(cache_dir))
    return dataclasses.replace(own.as_stored(entry, copy), fetched_from=copy["source"] if copy else None)


def _silent(message: str, fraction: float | None) -> None:
    pass


def _check_path_source(name: str, source: str) -> None:
    if source != "auto":
        raise DatasetError(
            f"data.source={source!r}: data.name={name!r} is read where it lies; leave the source at auto"
        )


def _check_kind(entry: Entry, source: str) -> None:
    kinds = ["auto", *(each.kind for each in entry.sources)]
    if source not in kinds:
        raise DatasetError(f"data.source={source!r} is not a source of {entry.name!r}; choose {' or '.join(kinds)}")


def _choose(entry: Entry, source: str) -> tuple[list[Source], Path | None]:
    """Returns the sources to try, and the archive or folder that the user handed over, if any."""
    path = Path(source)
    if source not in ("auto", "hub", "embedded", *REGISTRIES) and os.path.exists(path):
        wanted = HubSource if path.is_dir() else PackageSource
        for each in entry.sources:
            if isinstance(each, wanted):
                return [dataclasses.replace(each, repo=str(path)) if isinstance(each, HubSource) else each], path
        form = "a copy of a hub repository" if path.is_dir() else "a package's archive"
        raise DatasetError(f"data.source={source!r}: {entry.name!r} cannot be read from {form}; leave it at auto")
    _check_kind(entry, source)
    return [each for each in entry.sources if source in ("auto", each.kind)], None


def _read_source(
    entry: Entry, candidate: Source, given: Path | None, workspace: Path, tell: Progress
) -> tuple[RawArrays, dict[str, Any]]:
    if isinstance(candidate, HubSource):
        raw, revision = hub.read_hub(candidate, entry.input_shape[:2], tell)
        return raw, {"source": f"{candidate}@{revision[:12]}"}
    assert isinstance(candidate, PackageSource)
    archive = given or download.download_archive(candidate, workspace, tell)
    tell(f"verifying {archive.name}", None)
    files = archives.read_members(archive, candidate.members)
    origin = {"archive": archive.name, "archive_sha256": archives.sha256_of(archive), "members": candidate.members}
    return candidate.decode(files), {"source": str(candidate), **origin}


def _check_content(entry: Entry, raw: RawArrays, candidate: Source) -> None:
    sizes = len(raw.train_labels), len(raw.test_labels)
    if sizes != (entry.num_train, entry.num_test):
        raise DatasetError(
            f"{candidate} holds {sizes[0]} + {sizes[1]} rows where {entry.num_train} + {entry.num_test} are expected"
        )
    for part, labels in (("train", raw.train_labels), ("test", raw.test_labels)):
        wrong = np.flatnonzero((labels < 0) | (labels >= entry.num_classes))
        if len(wrong):
            raise DatasetError(
                f"{candidate}: {part} row {wrong[0]} is of class {labels[wrong[0]]} where {entry.num_classes} are known"
            )
    if entry.task == "document":
        for part, inputs in (("train", raw.train_inputs), ("test", raw.test_inputs)):
            texts.check_texts(inputs, f"{candidate}: {part}")
    if (raw.num_train_units, raw.num_units) != (entry.num_train_units, entry.num_units):
        raise DatasetError(
            f"{candidate} holds {raw.num_units} {entry.unit}s, {raw.num_train_units} of them to train on, where "
            f"{entry.num_units} and {entry.num_train_units} are expected"
        )
    if entry.content_sha256 not in (None, fetched_copies.content_sha256(raw)):
        raise DatasetError(f"{candidate} holds other values than the ones dpjax pins, so nothing of it was kept")
