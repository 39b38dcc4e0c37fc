"""The dataset hub: a short probe first, then the ``datasets`` library, then the same arrays as any other source."""

import importlib
import importlib.util
import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Shaped

from dpjax.datasets import tables
from dpjax.datasets.entries import HubSource, RawArrays
from dpjax.fetching.newest import PROBE_SECONDS, newest_revision
from dpjax.fetching.sources import DatasetError, Progress

PARQUET_COPY = "refs/convert/parquet"  # the hub's own copy of a repository that is a program


def check_reachable(source: HubSource, revision: str | None = None) -> str:
    """The newest revision of a data set, or the one that is asked for, by its hash.

    Raises:
      DatasetError: the library is missing, offline mode is on, or no answer came.
    """
    if importlib.util.find_spec("datasets") is None:
        raise DatasetError("the hub needs the `datasets` library (`pip install 'dpjax[hub]'`)")
    return newest_revision(source.repo, "dataset", revision)


def read_hub(source: HubSource, shape: tuple[int, ...], progress: Progress) -> tuple[RawArrays, str]:
    """Reads a data set of grey images or of whole texts from the hub into the layout of its other sources.

    Args:
      source: the repository, or in ``repo`` the path of a local folder in the same form.
      shape: of one stored image, ``(height, width)``.
      progress: told what happens.

    Returns:
      The arrays, uint8 or texts, in the hub's order; and the revision they are of (``"local"`` for a folder).

    Raises:
      DatasetError: not reachable, or not of the form that the registry expects.
    """
    if source.text_columns:
        splits, revision, _ = read_hub_tables(source, progress)
        return read_document_splits(splits, source), revision
    local = Path(source.repo).is_dir()
    progress(f"asking for {source.repo}" if not local else f"reading {source.repo}", None)
    revision = "local" if local else check_reachable(source)
    datasets = importlib.import_module("datasets")
    with _errors_of(source):
        if local:
            import tempfile

            with tempfile.TemporaryDirectory() as cache:  # a copy of a local folder is worth no cache
                splits = datasets.load_dataset(source.repo, cache_dir=cache)  # nosec B615 # a folder of this machine
                arrays = read_splits(splits, source, shape)
                del splits
        else:
            arrays = read_splits(datasets.load_dataset(source.repo, revision=revision), source, shape)
    return arrays, revision


def read_hub_tables(
    source: HubSource, progress: Progress, *, revision: str | None = None
) -> tuple[dict[str, Any], str, str]:
    """Reads every split of a repository as a table.

    Args:
      source: the repository, or in ``repo`` the path of a local folder in the same form; a folder named after its
        ``config`` holds that one's files.
      progress: told what happens.
      revision: that is read; None: the newest.

    Returns:
      Split → ``pyarrow.Table``; the revision (``"local"`` for a folder); the licence that the hub states, or empty.

    Raises:
      DatasetError: not reachable, or not to be read.
    """
    folder = Path(source.repo)
    if folder.is_dir():
        progress(f"reading {source.repo}", None)
        config_folder = folder / source.config if source.config else folder
        return tables.read_tables(config_folder if config_folder.is_dir() else folder), "local", ""
    progress(f"asking for {source.repo}", None)
    asked = revision is not None
    revision = check_reachable(source, revision) if asked else check_reachable(source)
    datasets = importlib.import_module("datasets")
    with _errors_of(source):
        try:
            splits = datasets.load_dataset(source.repo, source.config, revision=revision)
        except RuntimeError as error:
            if asked or "scripts are no longer supported" not in str(error):
                raise
            splits = datasets.load_dataset(source.repo, source.config, revision=PARQUET_COPY)
        read = {split: rows.with_format("arrow")[:] for split, rows in splits.items()}
        licences = {rows.info.license for rows in splits.values() if rows.info.license}
    return read, revision, ", ".join(sorted(map(str, licences))) or card_licence(source.repo)


def card_licence(repo: str) -> str:
    """The licence that a repository's card states, which the library leaves out of what it loads; empty if unknown.

    Args:
      repo: ``owner/name``, which was reached a moment ago.
    """
    try:
        api = importlib.import_module("huggingface_hub").HfApi()
        tags = api.dataset_info(repo, timeout=PROBE_SECONDS).tags or []
    except Exception:  # whichever client: no licence is known then, which is said
        return ""
    return ", ".join(sorted(tag.removeprefix("license:") for tag in tags if tag.startswith("license:")))


def read_document_splits(splits: dict[str, Any], source: HubSource) -> RawArrays:
    """Turns the two splits of texts that a source names into arrays.

    Args:
      splits: split → ``pyarrow.Table``.
      source: names the splits and the columns.

    Returns:
      Texts ``[rows]`` or ``[rows, columns]``, labels int32.

    Raises:
      DatasetError: a split, a column or a label is missing, or a text is empty.
    """
    for split in (source.train_split, source.test_split):
        if split not in splits:
            raise DatasetError(f"{source.repo} has no split {split!r} (it has {', '.join(splits)})")
    wanted = {split: splits[split] for split in (source.train_split, source.test_split)}
    texts = {
        split: tables.read_texts(table, source.text_columns, f"{source.repo}: {split}")
        for split, table in wanted.items()
    }
    if source.label_column is None:
        labels = {split: np.zeros(len(array), np.int32) for split, array in texts.items()}
    else:
        labels = tables.read_numbers(wanted, source.label_column, f"{source.repo}:")
    train, test = wanted
    return RawArrays(texts[train], labels[train], texts[test], labels[test])


@contextmanager
def _errors_of(source: HubSource) -> Iterator[None]:
    try:
        yield
    except DatasetError:
        raise
    except Exception as error:  # parsing, network and disk errors of three libraries
        if isinstance(error, OSError) and error.errno:
            raise
        raise DatasetError(f"{source.repo} could not be read: {str(error).splitlines()[0]}") from error


def read_splits(splits: Any, source: HubSource, shape: tuple[int, ...]) -> RawArrays:
    """Turns the two splits of a ``datasets.DatasetDict`` into arrays.

    Args:
      splits: split name → ``datasets.Dataset``.
      source: names the splits and the columns.
      shape: of one stored input.

    Returns:
      Inputs uint8 ``[rows, *shape]``, labels int32.

    Raises:
      DatasetError: a split or a column is missing, or an image has another shape.
    """
    arrays = []
    for split in (source.train_split, source.test_split):
        if split not in splits:
            raise DatasetError(f"{source.repo} has no split {split!r} (it has {', '.join(splits)})")
        table = splits[split].with_format("arrow")[:]
        label_column = source.label_column or "label"  # images always have one
        tables.check_columns(table, (source.input_column, label_column), source.repo)
        arrays.append(column_to_array(table.column(source.input_column), shape))
        arrays.append(table.column(label_column).to_numpy().astype(np.int32))
    return RawArrays(*arrays)


def column_to_array(column: Any, shape: tuple[int, ...]) -> Shaped[np.ndarray, "rows *shape"]:
    """Turns one Arrow column of encoded images or of nested numbers into one uint8 array.

    Nested numbers are flattened in Arrow's own buffer: the library's NumPy format goes row by row and widens uint8
    to int64, fifty times slower.

    Args:
      column: ``pyarrow.ChunkedArray``.
      shape: of one row.

    Returns:
      ``[rows, *shape]`` uint8.

    Raises:
      DatasetError: where a row has another shape.
    """
    import pyarrow

    rows, parts = len(column), []
    for chunk in column.chunks:
        values = chunk.storage if hasattr(chunk, "storage") else chunk
        if pyarrow.types.is_struct(values.type):
            parts.append(_decode_images(values))
            continue
        while hasattr(values.type, "value_type"):
            values = values.flatten()
        parts.append(values.to_numpy(zero_copy_only=False).astype(np.uint8, copy=False))
    pixels = np.concatenate([part.reshape(-1) for part in parts]) if parts else np.zeros(0, np.uint8)
    if pixels.size != rows * int(np.prod(shape)):
        raise DatasetError(f"the hub's rows hold {pixels.size / max(rows, 1):g} values each where {shape} is expected")
    return pixels.reshape(rows, *shape)


def _decode_images(values: Any) -> np.ndarray:
    from PIL import Image

    contents, paths = values.field("bytes").to_pylist(), values.field("path").to_pylist()
    images = []
    for content, path in zip(contents, paths, strict=True):
        with Image.open(io.BytesIO(content) if content is not None else path) as image:
            images.append(np.asarray(image.convert("L")))
    if len({image.shape for image in images}) > 1:
        raise DatasetError("the hub's images are not all of one shape")
    return np.stack(images) if images else np.zeros(0, np.uint8)
