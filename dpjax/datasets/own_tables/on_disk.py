"""A table of one's own that is larger than memory: stored once as an Arrow file of inputs, whose rows a run reads."""

import errno
import hashlib
import json
import os
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from dpjax.datasets.entries import Dataset, StoredRows
from dpjax.datasets.fetched_copies import cache_folder
from dpjax.datasets.hub_copies import is_hub
from dpjax.datasets.own_tables.batches import Batch, batches_of, names_of, reader_of
from dpjax.datasets.own_tables.numbers import refuse_no_range
from dpjax.datasets.own_tables.plans import Said, read_said
from dpjax.datasets.own_tables.seen_rows import MOST_HELD, Seen
from dpjax.datasets.own_tables.source import TableSource
from dpjax.datasets.own_tables.testing import TESTS, TRAINS
from dpjax.datasets.patterns import files_of, is_pattern
from dpjax.datasets.row_files import TYPED, ending_of
from dpjax.datasets.sealed_rows import SEALED, refuse_unnamed
from dpjax.datasets.tables import by_split
from dpjax.fetching.sources import DatasetError
from dpjax.keeping import discard_leftovers, whole_file

EVALUATED = 10_000
"""Training rows that are evaluated where nobody says how many: at even distances, as tables may be sorted."""

_LAYOUT = 2  # of what is stored; another one is stored anew
_PAGE = 65_536  # bytes at a file's ends that tell it from another of its size and time


def load_on_disk(source: TableSource, evaluated: int | None = None) -> Dataset:
    """A table whose training rows stay on disk.

    Formal guarantees: its rows are those of ``load_table`` with the same source, in their order and to the last bit;
    nothing is learnt from them. At first the whole table is read once, some rows at a time, and what a run reads is
    stored in the folder of data sets; a later call finds it there as long as files and config are the same. It is there
    whole or not at all. The stored copy is as private as the table.

    Args:
      source: where it lies and what its columns are for, all of it said.
      evaluated: training rows to hold, the first ones; None: ``EVALUATED``, at even distances.

    Returns:
      ``stored`` names the file of the training rows; ``train_inputs`` and ``train_labels`` are some of them.

    Raises:
      DatasetError: something is not said, a file can't be read or is none of Parquet and Arrow, too many rows test, or
        what was stored is damaged; else as ``load_table``.
    """
    where = f"data.path={source.path!r}:"
    refuse_no_range(source, where)
    if (evaluated or 0) > MOST_HELD:
        raise DatasetError(
            f"data.num_evaluated={evaluated} rows would be held in memory, of data.on_disk=true at most {MOST_HELD:,}; "
            f"lower it, or leave it null for {EVALUATED:,}"
        )
    files = _files_of(source, where)
    said = read_said(source.columns, where)
    before = _stamps(files, where)
    folder = cache_folder() / "on_disk"
    stem = f"{Path(source.path).stem.replace('*', '')[:40]}-{_key(source, before)}"
    stored, tested = folder / f"{stem}.arrow", folder / f"{stem}.npz"
    if not tested.is_file():
        try:
            folder.mkdir(parents=True, exist_ok=True)
            discard_leftovers(folder)
            _store(source, said, batches_of(files, where), (stored, tested), where)
        except OSError as error:
            fix = "free space there, or " if error.errno in (errno.ENOSPC, errno.EDQUOT) else ""
            raise DatasetError(
                f"{where} data.on_disk=true could not store it in {folder} ({error.strerror or error}); {fix}set "
                "DPJAX_DATA_DIR to another folder"
            ) from error
        if _stamps(files, where) != before:
            tested.unlink(missing_ok=True)
            raise DatasetError(f"{where} it changed while it was stored; run the same command again")
    about, inputs, labels = _read_tested(tested, where)
    if about.get("of") != stem or not stored.is_file() or _digest(stored, where) != about["sha256"]:
        raise DatasetError(
            f"{where} what was stored of it, {stored}, was cut short, changed or put there from elsewhere; remove it "
            f"and {tested} and run the same command again, which stores it anew"
        )
    number = about["number"]
    some = np.arange(min(evaluated, number)) if evaluated is not None else _evenly(number, EVALUATED)
    some_inputs, some_labels = _rows_of(stored, some, inputs.shape[1])
    dataset = Dataset(
        name=Path(source.path).name,
        train_inputs=some_inputs,
        train_labels=some_labels,
        test_inputs=inputs,
        test_labels=labels,
        num_classes=len(source.classes) or 1,
        input_shape=inputs.shape[1:],
        task="table",
        unit="example",
        licence="your own",
        source=source.path,
        class_names=source.classes,
        feature_names=tuple(about["features"]),
        remarks=about["remarks"],
        own=True,
        split=about["how"],
        target=reader_of(source, said, about["names"], where).target,
        stored=StoredRows(str(stored), number, tuple(about["counts"])),
    )
    for array in (dataset.train_inputs, dataset.train_labels, dataset.test_inputs, dataset.test_labels):
        array.setflags(write=False)
    return dataset


def _files_of(source: TableSource, where: str) -> list[tuple[Path, bool | None]]:
    """The table's files, and which side each is on; None where its rows say so."""
    if not source.path:
        raise DatasetError("data.path is empty; name the file of your table, as data.path=visits.parquet")
    path = Path(source.path).expanduser()
    if is_hub(source.path):
        raise DatasetError(
            f"{where} data.on_disk=true reads files, and none of the hub; download it and name its files"
        )
    if not is_pattern(path) and not path.exists():
        raise DatasetError(f"{where} is not there; paths begin in the folder of the command, {Path.cwd()}")
    if path.is_dir():
        found = sorted(each for each in path.rglob("*") if ending_of(each.name) and not each.name.startswith("."))
    else:
        found = files_of(path) if is_pattern(path) else [path]
    files = [each for each in found if each.is_file()]
    odd = next((each for each in files if ending_of(each.name) not in TYPED), None)
    if odd is not None or not files:
        if odd is None:
            raise DatasetError(f"{where} no file {' or '.join(f'*{each}' for each in TYPED)} is there; name others")
        if odd.name.lower().endswith(SEALED):
            raise DatasetError(
                f"{where} data.on_disk=true reads files as they lie, and {odd.name} is sealed; leave data.on_disk false"
            )
        raise DatasetError(
            f"{where} data.on_disk=true reads {', '.join(TYPED)}, and {odd.name} is none; write it as Parquet before, "
            "or leave data.on_disk false"
        )
    for file in files:
        try:
            refuse_unnamed(file)
        except ValueError as error:
            raise DatasetError(f"{where} {error}") from error
    splits = {"": files} if not path.is_dir() else by_split(files, path, where)
    if source.split not in (None, "files") or len(splits) == 1:
        if source.split == "files":
            raise DatasetError(f"{where} data.split=files needs a file train and a file test in a folder; there is one")
        return [(file, None) for members in splits.values() for file in members]
    train = next((name for name in splits if name in TRAINS), None)
    test = next((name for name in TESTS if name in splits), None)
    if train is None or test is None or len(splits) > 2:
        raise DatasetError(
            f"{where} has the files {', '.join(splits)}; call one train and one test and keep no others, or name one "
            "file"
        )
    return [(file, side == test) for side in (train, test) for file in splits[side]]


def _stamps(files: Sequence[tuple[Path, bool | None]], where: str) -> list[Any]:
    """What tells files from what they were: their sizes, their times, and the bytes at their ends."""
    stamps = []
    for file, tests in files:
        try:
            found = file.stat()
            with file.open("rb") as stream:
                digest = hashlib.sha256(stream.read(_PAGE))
                stream.seek(max(0, found.st_size - _PAGE))
                digest.update(stream.read())
        except OSError as error:
            raise DatasetError(f"{where} {file.name} cannot be read ({error.strerror}); look at it") from error
        stamps.append([os.path.abspath(file), tests, found.st_size, found.st_mtime_ns, digest.hexdigest()])
    return stamps


def _digest(file: Path, where: str) -> str:
    """Of all that a file holds: what trains is what was stored."""
    try:
        with file.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise DatasetError(f"{where} {file} cannot be read ({error.strerror}); look at it") from error


def _key(source: TableSource, stamps: Sequence[Any]) -> str:
    content = json.dumps([_LAYOUT, asdict(source), stamps], default=str)
    return hashlib.sha256(content.encode()).hexdigest()[:16]


def _store(
    source: TableSource, said: Mapping[str, Said], batches: Iterator[Batch], places: tuple[Path, Path], where: str
) -> None:
    """Write the training rows, and then those that test with all that is known of both: where these are, all is."""
    import pyarrow

    stored, tested = places
    first = next(batches)
    names = names_of(first.table, source, said, where)
    reader = reader_of(source, said, names, where)
    features = [name for plan in reader.plans for name in plan.feature_names]
    numbers = pyarrow.int32() if reader.target is None else pyarrow.float32()
    schema = pyarrow.schema({"x": pyarrow.list_(pyarrow.float32(), len(features)), "y": numbers})
    seen = Seen(reader)
    with whole_file(stored) as part:
        with pyarrow.OSFile(str(part), "wb") as stream, pyarrow.ipc.new_file(stream, schema) as file:
            part.chmod(0o600)
            for batch in chain([first], batches):
                rows = reader.rows(batch, names)
                seen.add(rows, batch.table.num_rows, batch.start)
                x, y = rows.inputs[~rows.tests], rows.labels[~rows.tests]
                if len(y):
                    lists = pyarrow.FixedSizeListArray.from_arrays(pyarrow.array(x.ravel()), len(features))
                    file.write_batch(pyarrow.record_batch([lists, pyarrow.array(y)], schema=schema))
        about = seen.about() | {"sha256": _digest(part, where), "of": stored.stem, "features": features, "names": names}
    with whole_file(tested) as part, part.open("wb") as stream:
        part.chmod(0o600)
        inputs, labels = (np.concatenate(each) for each in (seen.inputs, seen.labels))
        np.savez(stream, inputs=inputs, labels=labels, about=np.array(json.dumps(about)))


def _read_tested(path: Path, where: str) -> tuple[dict[str, Any], np.ndarray, np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as found:
            return json.loads(str(found["about"])), found["inputs"], found["labels"]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise DatasetError(
            f"{where} what was stored of it, {path}, is damaged ({error}); remove it and run the same command again"
        ) from error


def _evenly(number: int, most: int) -> np.ndarray:
    return np.arange(number) if number <= most else np.arange(most) * (number - 1) // (most - 1)


def _rows_of(path: Path, some: np.ndarray, features: int) -> tuple[np.ndarray, np.ndarray]:
    """Some rows of what is stored, their numbers ascending."""
    import pyarrow

    inputs, labels, start = [], [], 0
    with pyarrow.memory_map(str(path)) as mapped:
        file = pyarrow.ipc.open_file(mapped)
        for number in range(file.num_record_batches):
            batch = file.get_batch(number)
            begin, end = np.searchsorted(some, [start, start + batch.num_rows])
            here, start = some[begin:end] - start, start + batch.num_rows
            inputs.append(batch.column(0).flatten().to_numpy().reshape(-1, features)[here])
            labels.append(batch.column(1).to_numpy()[here])
    return np.concatenate(inputs), np.concatenate(labels)
