"""The dataset hub: a short probe first, then the ``datasets`` library, then the same arrays as any other source."""

import importlib
import importlib.util
import io
import os
import threading
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Shaped

from dpjax.datasets.schema import DatasetError, HubSource, Progress, RawArrays

PROBE_SECONDS = 3.0


def check_reachable(source: HubSource) -> str:
    """Asks the hub for the newest revision of a repository, and gives up after a few seconds.

    The library alone would retry for more than 20 s where there is no network.

    Returns:
      The revision, which pins what is read next.

    Raises:
      DatasetError: the library is missing, offline mode is on, or no answer came.
    """
    if importlib.util.find_spec("datasets") is None:
        raise DatasetError("the hub needs the `datasets` library (`pip install 'dpjax[hub]'`)")
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}:
        raise DatasetError("HF_HUB_OFFLINE is set")
    answer: dict[str, Any] = {}

    def ask() -> None:
        try:
            hub = importlib.import_module("huggingface_hub")
            answer["revision"] = hub.HfApi().dataset_info(source.repo, timeout=PROBE_SECONDS).sha
        except Exception as error:  # the library's errors come from whichever HTTP client it uses
            answer["error"] = error

    # A thread, because resolving a name has no timeout of its own; a daemon, so that it never holds up the exit.
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(2 * PROBE_SECONDS)
    if answer.get("revision"):
        return answer["revision"]
    reason = str(answer.get("error", f"no answer within {2 * PROBE_SECONDS:g} s")).partition("\n")[0].strip("'")
    raise DatasetError(f"the hub cannot be reached ({reason})")


def read_hub(source: HubSource, shape: tuple[int, ...], progress: Progress) -> tuple[RawArrays, str]:
    """Reads a data set of grey images from the hub into the layout of its other sources.

    Args:
      source: the repository, or in ``repo`` the path of a local folder in the same form.
      shape: of one stored input, ``(height, width)``.
      progress: told what happens.

    Returns:
      The arrays, uint8, in the hub's order; and the revision they are of (``"local"`` for a folder).

    Raises:
      DatasetError: not reachable, or not of the form that the registry expects.
    """
    local = Path(source.repo).is_dir()
    progress(f"asking for {source.repo}" if not local else f"reading {source.repo}", None)
    revision = "local" if local else check_reachable(source)
    datasets = importlib.import_module("datasets")
    try:
        if local:
            import tempfile

            with tempfile.TemporaryDirectory() as cache:  # a copy of a local folder is worth no cache
                splits = datasets.load_dataset(source.repo, cache_dir=cache)
                arrays = read_splits(splits, source, shape)
                del splits
        else:
            arrays = read_splits(datasets.load_dataset(source.repo, revision=revision), source, shape)
    except DatasetError:
        raise
    except Exception as error:  # parsing, network and disk errors of three libraries
        if isinstance(error, OSError) and error.errno:
            raise
        raise DatasetError(f"{source.repo} could not be read: {str(error).splitlines()[0]}") from error
    return arrays, revision


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
        for column in (source.input_column, source.label_column):
            if column not in table.column_names:
                raise DatasetError(f"{source.repo} has no column {column!r} (it has {', '.join(table.column_names)})")
        arrays.append(column_to_array(table.column(source.input_column), shape))
        arrays.append(table.column(source.label_column).to_numpy().astype(np.int32))
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
