"""Files of arrays, in NumPy's own format: one, those that a pattern names, or a folder with one for each split."""

import re
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool

from dpjax.datasets.own_tables.testing import TESTS, TRAINS
from dpjax.datasets.patterns import files_of, is_pattern
from dpjax.datasets.row_files import ending_of
from dpjax.datasets.sealed_rows import readable, refuse_both, refuse_unnamed, without_sealed
from dpjax.encryption.errors import EncryptionError
from dpjax.fetching.sources import DatasetError

ENDINGS = (".npz", ".npy")
_KINDS = "biufUSM"
_UNREADABLE = (OSError, EOFError, MemoryError, ValueError, TypeError, SyntaxError, zipfile.BadZipFile, zlib.error)
_PART = re.compile(r"[-_.]?\d+(-of-\d+)?$")


def is_arrays(path: str | Path) -> bool:
    """Whether a path is a file of arrays, a pattern of such, or a folder that has them, or is one, and no tables.

    Args:
      path: as the config says it.

    Example:
      >>> is_arrays("features.npz"), is_arrays("patients.csv")
      (True, False)
    """
    if not path:
        return False
    place = Path(path).expanduser()
    if array_ending(place.name):
        return True
    try:
        names = [each.name for each in place.iterdir()] if place.is_dir() else []
    except OSError:  # a folder that may not be entered, of which whoever opens it says so
        return False
    return any(map(array_ending, names)) and not any(map(ending_of, names))


def array_ending(name: str) -> str:
    """Which of ``ENDINGS`` a file's name has, sealed or not; empty if none.

    Args:
      name: of the file.

    Example:
      >>> array_ending("x.npy"), array_ending("Rows.NPZ.sealed"), array_ending("x.csv")
      ('.npy', '.npz', '')
    """
    name = without_sealed(name).lower()
    return next((each for each in ENDINGS if name.endswith(each)), "")


def stem_of(path: Path) -> str:
    """The name of a file of arrays without its endings.

    Args:
      path: of the file.

    Example:
      >>> stem_of(Path("train.npz")), stem_of(Path("train.npz.sealed"))
      ('train', 'train')
    """
    return Path(without_sealed(path.name)).stem


def _files(path: Path, where: str) -> list[tuple[str, Path]]:
    """Split and path of each file, those that train first; the split is empty where files are of none."""
    if is_pattern(path):
        found = files_of(path)
        if not found:
            raise DatasetError(f"{where} no file is called so; look at the pattern")
        return [("", each) for each in found]
    if not path.is_dir():
        return [("", path)]
    found = _inside(path, ".npz")
    if not found:
        return [("", path)]  # of arrays that lie in it one by one
    refuse_both(found, where)
    splits = [_PART.sub("", stem_of(each)) or stem_of(each) for each in found]
    if len(set(splits)) == 1:
        return [("", each) for each in found]
    train = next((name for name in splits if name in TRAINS), None)
    test = next((name for name in splits if name in TESTS), None)
    if train is None or test is None or len(set(splits)) > 2:
        raise DatasetError(
            f"{where} has the files {', '.join(each.name for each in found)}; call one train and one test and keep no "
            "others, or name one file"
        )
    named = list(zip(splits, found, strict=True))
    return [each for each in named if each[0] == train] + [each for each in named if each[0] == test]


def _inside(folder: Path, ending: str) -> list[Path]:
    return sorted(each for each in folder.iterdir() if array_ending(each.name) == ending and each.name[0] != ".")


def read_splits(
    path: Path, where: str, *, alone: str = ""
) -> tuple[dict[str, np.ndarray], Bool[np.ndarray, "rows"] | None]:
    """The arrays of all files of a path, one below the other, and which rows are of a file that tests.

    Args:
      path: of a file, or of several with the same arrays: a pattern, or a folder with ``train.npz`` and ``test.npz``;
        or a folder of ``x.npy``, ``y.npy`` and the like, which is read as a file of the arrays x and y.
      where: names it in messages.
      alone: see ``read_arrays``.

    Returns:
      Name → ``[rows, ...]``; ``[rows]``, or None where no file is of a split.

    Raises:
      DatasetError: see ``read_arrays``; files that do not belong together.
    """
    files = _files(path, where)
    read = [_read(file, f"{where} {file.name}" if files[1:] else where, alone) for _, file in files]
    first, (_, named) = read[0], files[0]
    for (_, file), arrays in zip(files[1:], read[1:], strict=True):
        if odd := sorted(set(arrays) ^ set(first)):
            raise DatasetError(
                f"{where} {named.name} and {file.name} do not have the same arrays: only one has {odd[0]!r}"
            )
        for name, array in arrays.items():
            if (array.shape[1:], array.dtype.kind) != (first[name].shape[1:], first[name].dtype.kind):
                raise DatasetError(
                    f"{where} {name} is {_form(first[name])} in {named.name} and {_form(array)} in {file.name}; save "
                    "them alike"
                )
    joined = {name: np.concatenate([arrays[name] for arrays in read]) if read[1:] else first[name] for name in first}
    sizes = [len(next(iter(arrays.values()))) for arrays in read]
    tests = np.repeat([split in TESTS for split, _ in files], sizes)
    return joined, tests if files[0][0] else None


def _form(array: np.ndarray) -> str:
    return f"{array.dtype} [{', '.join(['rows', *map(str, array.shape[1:])])}]"


def read_arrays(path: Path, where: str, *, alone: str = "") -> dict[str, np.ndarray]:
    """The arrays of a file, each with a row for each example. Nothing of it is ever unpickled.

    Args:
      path: of an .npz file, as ``numpy.savez`` writes it; or of several, see ``read_splits``.
      where: names it in messages.
      alone: what the one array of an .npy file is called; empty: such a file is refused, as it has no labels.

    Returns:
      Name → ``[rows, ...]`` of truth values, whole numbers, finite floats, words or dates.

    Raises:
      DatasetError: no such file, or an array that is none of these or has other rows; it names array and row.
    """
    return read_splits(path, where, alone=alone)[0]


def _read(path: Path, where: str, alone: str) -> dict[str, np.ndarray]:
    refuse_unnamed(path)
    single = not path.is_dir() and array_ending(path.name) == ".npy"
    if single and not alone:
        raise DatasetError(
            f"{where} is one array without its labels; save both in one file, as numpy.savez('data.npz', x=x, y=y), or "
            "put x.npy and y.npy in a folder of their own and name that"
        )
    found: dict[str, np.ndarray] = {}
    try:
        if path.is_dir():
            refuse_both(members := _inside(path, ".npy"), where)
            for each in members:
                name = stem_of(each)
                found[name] = _one(name, lambda name, file=each: np.load(readable(file), allow_pickle=False), where)
        elif not path.is_file():
            raise DatasetError(f"{where} is no file; paths begin in the folder of the command, {Path.cwd()}")
        elif single:
            found[alone] = _one(alone, lambda name: np.load(readable(path), allow_pickle=False), where)
        else:
            with np.load(readable(path), allow_pickle=False) as file:
                for name in file.files:
                    found[name] = _one(name, file.__getitem__, where)
    except _UNREADABLE as error:
        if isinstance(error, DatasetError):
            raise
        if isinstance(error, EncryptionError):
            raise DatasetError(f"{where} {error}") from error
        raise DatasetError(f"{where} is damaged or no .npz file; save it again with numpy.savez") from error
    if not found:
        raise DatasetError(f"{where} holds no arrays; save inputs and labels, as numpy.savez('data.npz', x=x, y=y)")
    lengths = {name: len(array) for name, array in found.items()}
    first = next(iter(lengths))
    other = next((name for name, rows in lengths.items() if rows != lengths[first]), None)
    if other is not None:
        raise DatasetError(
            f"{where} {first} has {lengths[first]:,} rows and {other} {lengths[other]:,}; each must have a row for "
            "each example"
        )
    if not lengths[first]:
        raise DatasetError(f"{where} its arrays are empty; save rows")
    return found


def _one(name: str, taken: Callable[[str], Any], where: str) -> np.ndarray:
    try:
        array = taken(name)
    except ValueError as error:
        if "pickle" not in str(error):
            raise
        raise DatasetError(
            f"{where} {name} holds Python objects, which could run anything when they are read; save it with a plain "
            "dtype, as x.astype('float32') or names.astype('U')"
        ) from error
    if not isinstance(array, np.ndarray):
        raise DatasetError(f"{where} {name} is no array; save arrays alone with numpy.savez")
    if array.dtype.names:
        raise DatasetError(
            f"{where} {name} has fields ({', '.join(array.dtype.names)}); save each as an array of its own"
        )
    if array.dtype.kind not in _KINDS:
        fix = "save its real and imaginary part" if array.dtype.kind == "c" else "save numbers, words or dates"
        raise DatasetError(f"{where} {name} is of {array.dtype}, which no model reads; {fix}")
    if not array.ndim or array.ndim > 4:
        size = "one number" if not array.ndim else f"of {array.ndim} dimensions"
        raise DatasetError(f"{where} {name} is {size}; give [rows], [rows, features] or [rows, height, width, colours]")
    if array.dtype.kind == "f":
        wrong = ~np.isfinite(array.reshape(len(array), -1)).all(axis=1) if array.size else np.zeros(0, bool)
        if wrong.any():
            raise DatasetError(
                f"{where} {name} holds NaN or an infinite number in row {int(np.flatnonzero(wrong)[0]) + 1}; put a "
                "number there, or leave the row out"
            )
    if array.dtype.kind == "S":
        try:
            return np.char.decode(array, "utf-8")
        except UnicodeDecodeError as error:
            raise DatasetError(
                f"{where} {name} holds bytes that are not UTF-8; save it as words, of dtype U"
            ) from error
    return array.astype(array.dtype.newbyteorder("="))  # Arrow knows this machine's order of bytes alone
