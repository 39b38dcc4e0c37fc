"""A folder of images of one's own as a data set: of one size, of classes that folders or a table beside them name."""

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from dpjax.datasets import tables
from dpjax.datasets.entries import Dataset
from dpjax.datasets.own_tables.kinds import Column, read_column
from dpjax.datasets.own_tables.sides import as_dataset, take_sides
from dpjax.datasets.own_tables.source import TableSource
from dpjax.datasets.own_tables.testing import TESTS, TRAINS
from dpjax.datasets.row_files import ending_of
from dpjax.datasets.sealed_rows import content_of, readable, refuse_both, without_sealed
from dpjax.encryption.errors import EncryptionError
from dpjax.fetching.sources import DatasetError

ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".pgm", ".ppm", ".gif")
_FILE = "file_name"  # the column of the table beside them, as the hub's folders of images call it
_MODES = {1: "L", 3: "RGB"}
_MOST = 2**31  # bytes of all inputs together


def is_images(path: str) -> bool:
    """Whether a path is a folder with images in it, and no table of rows.

    Args:
      path: as the config says it.

    Example:
      >>> is_images("patients.csv")
      False
    """
    folder = Path(path).expanduser()
    if not folder.is_dir():
        return False
    tables_beside = [each for each in folder.iterdir() if ending_of(each.name)]
    return len(tables_beside) < 2 and bool(image_files(folder))


def image_files(folder: Path) -> list[Path]:
    """The images below a folder, in the order of their names; hidden ones are left out.

    Args:
      folder: to look in.
    """
    found = []
    for root, folders, files in os.walk(folder):
        folders[:] = sorted(each for each in folders if not each.startswith("."))
        found += [Path(root, each) for each in sorted(files) if is_image(each) and each[0] != "."]
    return found


def is_image(name: str) -> bool:
    """Whether a file's name is that of an image, sealed or not.

    Args:
      name: of the file.

    Example:
      >>> is_image("a.PNG"), is_image("a.png.sealed"), is_image("a.txt")
      (True, True, False)
    """
    return without_sealed(name).lower().endswith(ENDINGS)


def load_images(source: TableSource, *, size: Sequence[int] = (), channels: int | None = None) -> Dataset:
    """Loads a folder of images into memory. It never touches the network.

    Formal guarantees: an input depends on its own file, ``size`` and ``channels`` alone.

    Args:
      source: the folder. Its images lie in ``CLASS/`` or ``SPLIT/CLASS/``, or a table beside them (``metadata.csv``, or
        any other one file) has a column ``file_name``, and those that ``label``, ``unit`` and ``split_column`` name.
      size: height and width, in pixels, that all are scaled to; empty: they must be of one size.
      channels: 1 (grey) or 3 (red, green, blue), that all become; None: they must be all grey or all coloured.

    Returns:
      Inputs ``[rows, height, width, channels]`` float32 in [0, 1], labels int32; the arrays are read-only.

    Raises:
      DatasetError: a file that can't be read or is of another size; folders of other depths; a table that does not
        name all images.

    Example:
      >>> import tempfile
      >>> from PIL import Image
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     for i in range(20):
      ...         path = Path(folder, "ab"[i % 2], f"{i}.png")
      ...         path.parent.mkdir(exist_ok=True)
      ...         Image.new("L", (4, 3), i).save(path)
      ...     data = load_images(TableSource(folder))
      >>> data.input_shape, data.class_names
      ((3, 4, 1), ('a', 'b'))
    """
    where = f"data.path={source.path!r}:"
    folder = Path(source.path).expanduser()
    files = image_files(folder)
    if len(size) not in (0, 2) or any(side < 1 for side in size):
        raise DatasetError(f"data.size={list(size)} must be height and width in pixels, as [28, 28]")
    if channels not in (None, 1, 3):
        raise DatasetError(f"data.channels={channels} must be 1 (grey) or 3 (red, green, blue)")
    refuse_both(files, where)
    label, owner, when, of_file = _roles(source, folder, files, where)
    try:
        contents = [hashlib.sha256(content_of(file)).digest() for file in files]
    except EncryptionError as error:
        raise DatasetError(f"{where} {error}") from error
    sides = take_sides(source, label, owner, when, of_file, contents, where)
    kept = [file for file, keep in zip(files, sides.kept.tolist(), strict=True) if keep]
    pixels = _read(kept, folder, tuple(size), channels, where)
    inputs = pixels.astype(np.float32) / np.float32(255)
    found = source.classes or source.target == "number"
    classes = "" if found else f"classes of {source.label or 'its folders'}"
    learnt = "; ".join(part for part in (classes, sides.learnt) if part)
    return as_dataset(source, sides, inputs, task="image", learnt=learnt)


def _roles(
    source: TableSource, folder: Path, files: list[Path], where: str
) -> tuple[Column, Column | None, Column | None, np.ndarray | None]:
    """Label, owner, what the split goes by, and which images are in a folder of test images."""
    beside = [each for each in sorted(folder.iterdir()) if ending_of(each.name) and not each.name.startswith(".")]
    if beside:
        return _roles_of_table(source, folder, files, beside, where)
    if source.label or source.unit or source.split_column:
        raise DatasetError(
            f"{where} label, unit and split_column are columns of a table beside the images, as metadata.csv with a "
            f"column {_FILE}; there is none"
        )
    if source.target == "number":
        raise DatasetError(
            f"{where} data.target=number is a column of a table beside the images, as metadata.csv with a column "
            f"{_FILE}; there is none"
        )
    parts = [file.relative_to(folder).parts for file in files]
    depth = len(parts[0])
    other = next((i for i, each in enumerate(parts) if len(each) != depth), None)
    if other is not None or depth not in (2, 3):
        shown = files[other or 0].relative_to(folder)
        raise DatasetError(f"{where} {shown} is not CLASS/image or SPLIT/CLASS/image as the others; move it")
    words = [each[-2] for each in parts]
    if depth == 2 and {word.lower() for word in words} <= {*TRAINS, *TESTS}:
        raise DatasetError(f"{where} {files[0].relative_to(folder)} is in a folder of a split and of no class")
    label = _column("its folders", words)
    if depth == 2:
        return label, None, None, None
    strange = next((each for each in parts if each[0].lower() not in (*TRAINS, *TESTS)), None)
    if strange is not None:
        raise DatasetError(f"{where} folder {strange[0]!r} is no split; call it train or test")
    return label, None, None, np.array([each[0].lower() in TESTS for each in parts])


def _roles_of_table(
    source: TableSource, folder: Path, files: list[Path], beside: list[Path], where: str
) -> tuple[Column, Column | None, Column | None, None]:
    if len(beside) > 1:
        raise DatasetError(f"{where} {beside[0].name} and {beside[1].name} are both tables; keep one")
    (table,) = tables.read_tables(beside[0], source.encoding).values()
    if not source.label:
        raise DatasetError(f"{where} data.label is empty; name a column of {beside[0].name}")
    words = {each: each for each in (_FILE, source.label, source.unit, source.split_column) if each}
    number = source.label if source.target == "number" else None
    columns = {
        name: read_column(table, name, where, kind="number" if name == number else "category", missing=source.missing)
        for name in words
    }
    named = columns[_FILE].written()
    place = {without_sealed(str(file.relative_to(folder))): i for i, file in enumerate(files)}
    rows = {}
    for row, name in enumerate(named):
        if name is None or os.path.normpath(name) not in place:
            raise DatasetError(f"{where} {beside[0].name} row {row + 1} names {name!r}, which is no image here")
        if place[os.path.normpath(name)] in rows:
            raise DatasetError(f"{where} {beside[0].name} row {row + 1} names {name!r} again; keep one row")
        rows[place[os.path.normpath(name)]] = row
    missing = next((file for i, file in enumerate(files) if i not in rows), None)
    if missing is not None:
        raise DatasetError(
            f"{where} {beside[0].name} does not name {missing.relative_to(folder)}; add a row, or move it"
        )
    order = np.array([rows[i] for i in range(len(files))])
    when = read_column(table, source.split_column, where, missing=source.missing) if source.split_column else None
    return (
        columns[source.label].rows(order),
        columns[source.unit].rows(order) if source.unit else None,
        when.rows(order) if when else None,
        None,
    )


def _column(name: str, words: list[str]) -> Column:
    values = tuple(dict.fromkeys(words))
    return Column(name, "category", np.array([values.index(word) for word in words], np.int64), values)


def _read(
    files: list[Path], folder: Path, size: tuple[int, ...], channels: int | None, where: str
) -> UInt8[np.ndarray, "rows height width channels"]:
    from PIL import Image, ImageOps

    read: list[np.ndarray] = []
    for file in files:
        shown = file.relative_to(folder)
        try:
            with Image.open(readable(file)) as opened:
                if getattr(opened, "n_frames", 1) > 1:
                    raise DatasetError(f"{where} {shown} has {opened.n_frames} pictures; save one")  # pyright: ignore
                picture: Any = ImageOps.exif_transpose(opened)
                if channels is None and picture.mode not in ("L", "RGB"):
                    raise DatasetError(
                        f"{where} {shown} is of mode {picture.mode}, neither grey nor red, green, blue; say "
                        "data.channels=1 or 3"
                    )
                if channels is not None and picture.mode[0] in "IF":
                    raise DatasetError(f"{where} {shown} has more than 8 bits a pixel; save it with 8")
                picture = picture.convert(_MODES[channels]) if channels else picture
                picture = picture.resize((size[1], size[0]), Image.Resampling.BILINEAR) if size else picture
                pixels = np.asarray(picture, np.uint8)
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            if isinstance(error, DatasetError):
                raise
            raise DatasetError(f"{where} {shown} can't be read as an image ({error}); save it again") from error
        pixels = pixels[..., None] if pixels.ndim == 2 else pixels
        if read and pixels.shape != read[0].shape:
            raise DatasetError(
                f"{where} {shown} is {_size(pixels)} and {files[0].relative_to(folder)} is {_size(read[0])}; say "
                "data.size and data.channels, to which all are brought"
            )
        read.append(pixels)
        if not len(read) - 1 and 4 * pixels.size * len(files) > _MOST:
            raise DatasetError(
                f"{where} {len(files):,} images of {_size(pixels)} are more than 2 GiB of numbers; say a smaller "
                "data.size"
            )
    return np.stack(read)


def _size(pixels: np.ndarray) -> str:
    return f"{pixels.shape[0]}×{pixels.shape[1]} {'grey' if pixels.shape[2] == 1 else 'coloured'}"
