"""Tables of texts in files and folders, one table a split, as hub repositories lay them out."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int32, Shaped

from dpjax.checks import as_listed
from dpjax.datasets.patterns import files_of, is_pattern
from dpjax.datasets.row_files import SUFFIXES, decode, ending_of, kind_of, read_file
from dpjax.datasets.sealed_rows import SEALED, content_of, refuse_both, refuse_unnamed
from dpjax.datasets.texts import check_texts, text_array
from dpjax.encryption.errors import EncryptionError
from dpjax.fetching.sources import DatasetError

TESTS = ("test", "validation", "valid", "dev", "val", "validation_matched")
"""Usual names of splits to test on, likeliest first."""

_PART = re.compile(r"[-_.]?\d+(-of-(\d+))?$")  # "train-00000-of-00003"


def read_tables(path: Path, encoding: str | None = None) -> dict[str, Any]:
    """Reads the splits of a data set.

    Args:
      path: a file, which is one split; or a folder, where a file's name up to the numbers at its end names its split
        and files of one name are parts of one; or a folder of .txt files (see ``read_folder_of_texts``).
      encoding: of all files, as Python calls it; None: UTF-8, or UTF-16 where a mark says so.

    Returns:
      Name of the split → ``pyarrow.Table``, in the order of the names.

    Raises:
      DatasetError: there is no such file, it is not of its form, a part is missing or two do not belong together.
    """
    import pyarrow

    where = f"data.name={str(path)!r}:"
    try:
        is_folder, is_there = path.is_dir(), path.exists()
    except OSError as error:  # a name too long, a folder that may not be entered
        raise DatasetError(f"{where} cannot be looked at ({error.strerror}); name another path") from error
    if not is_there and is_pattern(path):
        return {"train": _joined_parts(files_of(path), encoding, where)}
    if is_folder and (said := _beside(path, "dataset_dict.json")):
        return _read_dataset_dict(said, encoding, where)
    if is_folder:
        files = sorted(each for each in path.rglob("*") if ending_of(each.name) and not each.name.startswith("."))
        # A file about the data set, as ``dataset_infos.json``, is none of its splits.
        about = ("dataset_info", "state.json") if _beside(path, "dataset_info.json") else ("dataset_info",)
        files = [each for each in files if not each.name.startswith(about)]
        if not files and next(path.rglob("*.txt"), None):
            return read_folder_of_texts(path, encoding)
    else:
        files = [path]
        try:
            refuse_unnamed(path)
        except ValueError as error:
            raise DatasetError(f"{where} {error}") from error
    if not files or not is_there or not ending_of(files[0].name):
        forms = " or ".join(f"*{each}" for each in SUFFIXES)
        raise DatasetError(f"{where} no file {forms} is there; those of text may be .gz, .bz2, .xz or .zst")
    parts: dict[str, list[Any]] = {}
    for split, members in by_split(files, path, where).items():
        for file in members:
            try:
                table = read_file(file, encoding)
            except (pyarrow.ArrowException, ValueError, OSError) as error:
                raise DatasetError(f"{where} {_shown(file.name)} cannot be read: {_one_line(error)}") from error
            if not table.num_rows:
                raise DatasetError(f"{where} {_shown(file.name)} holds no rows; fill it or take it away")
            parts.setdefault(split, []).append(table)
    joined = {}
    for split, several in parts.items():
        try:
            if any(sorted(each.column_names) != sorted(several[0].column_names) for each in several):
                raise ValueError("their columns are not the same")
            joined[split] = pyarrow.concat_tables(several, promote_options="default") if several[1:] else several[0]
        except (pyarrow.ArrowException, ValueError) as error:
            raise DatasetError(f"{where} the parts of {split!r} cannot be joined: {_one_line(error)}") from error
    return joined


def _joined_parts(files: list[Path], encoding: str | None, where: str) -> Any:
    """Files that a pattern names, one below the other."""
    import pyarrow

    if not files:
        raise DatasetError(f"{where} no file is called so; look at the pattern")
    several = []
    for file in files:
        (table,) = read_tables(file, encoding).values()
        if several and table.column_names != several[0].column_names:
            raise DatasetError(f"{where} {_shown(files[0])} and {_shown(file)} do not have the same columns")
        several.append(table)
    try:
        return pyarrow.concat_tables(several, promote_options="default")
    except pyarrow.ArrowException as error:
        raise DatasetError(f"{where} the files cannot be joined: {_one_line(error)}") from error


def _beside(folder: Path, name: str) -> Path | None:
    """A file about the data of a folder, open or sealed; None: there is none."""
    return next((each for each in (folder / name, folder / (name + SEALED)) if each.is_file()), None)


def _read_dataset_dict(said: Path, encoding: str | None, where: str) -> dict[str, Any]:
    """What the hub's library saved to disk: a folder per split."""
    try:
        splits = json.loads(content_of(said))["splits"]
        found = {str(split): read_tables(said.parent / str(split), encoding) for split in splits}
    except (OSError, ValueError, KeyError, TypeError) as error:
        if isinstance(error, DatasetError):
            raise
        if isinstance(error, EncryptionError):
            raise DatasetError(f"{where} {error}") from error
        raise DatasetError(f"{where} dataset_dict.json names no splits ({_one_line(error)}); save it again") from error
    return {split: next(iter(tables.values())) for split, tables in found.items()}


def by_split(files: list[Path], path: Path, where: str) -> dict[str, list[Path]]:
    """Files by the split that their names say; refused where they are copies, parts of others, or too few.

    Args:
      files: each with one of the usual endings.
      path: that was named: their folder, or the one file.
      where: names them in messages.

    Raises:
      DatasetError: two of one name, or of one content by a link or sealed, or parts that are missing.
    """
    refuse_both(files, where)
    splits: dict[str, list[Path]] = {}
    totals: dict[str, set[int]] = {}
    for file in files:
        stem = file.name[: -len(ending_of(file.name))]
        split = _PART.sub("", stem) or stem
        splits.setdefault(split, []).append(file)
        part = _PART.search(stem)
        totals.setdefault(split, set()).add(int(part[2]) if part and part[2] else 0)
    for split, members in splits.items():
        first = members[0]
        for other in members[1:]:
            if (other.parent, ending_of(other.name)) != (first.parent, ending_of(first.name)):
                raise DatasetError(
                    f"{where} {first.relative_to(path)} and {other.relative_to(path)} are both called {split!r}; keep "
                    "one, or name the folder to read"
                )
        num_parts = max(totals[split])
        if path.is_dir() and num_parts and (len(totals[split]) > 1 or len(members) != num_parts):
            raise DatasetError(f"{where} {split!r} has {len(members)} of its {num_parts} parts; fetch the others too")
    return splits


def read_folder_of_texts(path: Path, encoding: str | None = None) -> dict[str, Any]:
    """Reads .txt files, one text each: ``CLASS/name.txt``, or ``SPLIT/CLASS/name.txt``, or all in one folder.

    Args:
      path: the folder.
      encoding: of the files; None: see ``read_tables``.

    Returns:
      Split → ``pyarrow.Table`` with columns ``text`` and, of folders of classes, ``label``.

    Raises:
      DatasetError: files at different depths, an empty one, or one that is not of the encoding; it names the first.
    """
    import pyarrow

    where = f"data.name={str(path)!r}:"
    files = sorted(each.relative_to(path) for each in path.rglob("*.txt"))
    files = [each for each in files if not any(part.startswith(".") for part in each.parts)]
    depth = len(files[0].parts) if files else 0
    form = "CLASS/name.txt or SPLIT/CLASS/name.txt"
    rows: dict[str, tuple[list[str], list[str]]] = {}
    for file in files:
        if len(file.parts) != depth or depth > 3:
            raise DatasetError(f"{where} {file} and {files[0]} are not both {form}; move those that are no texts away")
        try:
            text = decode(content_of(path / file), encoding).strip()
        except (ValueError, OSError) as error:
            raise DatasetError(f"{where} {_shown(file)} cannot be read: {_one_line(error)}") from error
        if not text:
            raise DatasetError(f"{where} {_shown(file)} is an empty text; leave it out")
        texts, labels = rows.setdefault(file.parts[0] if depth == 3 else "train", ([], []))
        texts.append(text)
        labels.append(file.parts[-2] if depth > 1 else "")
    if not rows:
        raise DatasetError(f"{where} its .txt files are hidden; put them into folders as {form}")
    if depth == 2 and {file.parts[0] for file in files} <= {"train", *TESTS}:
        raise DatasetError(f"{where} {files[0]} is in a folder of a split, not of a class; lay it out as {form}")
    columns = ("text", "label") if depth > 1 else ("text",)
    text_type = pyarrow.large_string()
    return {
        split: pyarrow.table({name: pyarrow.array(each, text_type) for name, each in zip(columns, both, strict=False)})
        for split, both in rows.items()
    }


def _shown(name: object) -> str:
    return str(name) if str(name).isprintable() else repr(str(name))


def _one_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")


def read_texts(table: Any, columns: tuple[str, ...], where: str) -> Shaped[np.ndarray, "rows ..."]:
    """Turns one or more columns of a table into an array of texts.

    Args:
      table: ``pyarrow.Table``.
      columns: of texts.
      where: names the table in messages.

    Returns:
      ``[rows]`` for one column, ``[rows, columns]`` for several, without white space at the ends.

    Raises:
      DatasetError: a column is missing or holds something else, or a text is empty; it names the first such row.
    """
    values = []
    for column in columns:
        taken = take_column(table, column, where)
        if not _is_words(taken.type):
            raise DatasetError(f"{where} column {column!r} holds {kind_of(taken.type)}; it must hold texts")
        values.append([(text or "").strip() for text in taken.to_pylist()])
    texts = (
        text_array(values[0])
        if len(columns) == 1
        else text_array(list(zip(*values, strict=True)), columns=len(columns))
    )
    check_texts(texts, where)
    return texts


def take_column(table: Any, column: str, where: str) -> Any:
    """Returns one column of a table, of a dictionary (pandas' category) the values.

    Raises:
      DatasetError: see ``check_columns``.
    """
    import pyarrow

    check_columns(table, (column,), where)
    taken = table.column(column)
    return taken.cast(taken.type.value_type) if pyarrow.types.is_dictionary(taken.type) else taken


def check_columns(table: Any, columns: tuple[str, ...], where: str) -> None:
    """Checks that a table has the columns, and each once.

    Raises:
      DatasetError: where one is missing; it lists those that there are.
    """
    for column in columns:
        number = table.column_names.count(column)
        if not number:
            raise DatasetError(
                f"{where} has no column {column!r} (it has {', '.join(map(as_listed, table.column_names))})"
            )
        if number > 1:
            raise DatasetError(f"{where} has {number} columns {column!r}; rename or remove all but one")


def _is_words(kind: Any) -> bool:
    from pyarrow import types

    return any(is_it(kind) for is_it in (types.is_string, types.is_large_string, types.is_string_view))


def read_written(table: Any, column: str, where: str) -> list[str | None]:
    """Returns the values of a column of labels or owners in words, as they are written; None where there is none.

    Words lose white space at their ends and nothing else: 7, 07 and 007 stay three. A number is written as short as
    can be, so that 1 and 1.0, where the file says that they are numbers, are one.

    Args:
      table: ``pyarrow.Table``.
      column: of words, truth values or numbers; where the hub's library left names for its numbers, -1 stands for none.
      where: names the table in messages.

    Raises:
      DatasetError: a column is missing or holds something else, or a number has no name.
    """
    from pyarrow import types

    taken = take_column(table, column, where)
    fit = types.is_boolean, types.is_integer, types.is_floating, types.is_null
    if not _is_words(taken.type) and not any(is_it(taken.type) for is_it in fit):
        raise DatasetError(f"{where} column {column!r} holds {kind_of(taken.type)}; it must hold words or numbers")
    values, names = taken.to_pylist(), label_names(table, column)
    if names and types.is_integer(taken.type):
        for row, value in enumerate(values):
            if value is not None and not -1 <= value < len(names):
                raise DatasetError(f"{where} row {row} column {column!r} is {value}, for which there is no name")
        return [None if value is None or value < 0 else names[value] for value in values]
    if types.is_floating(taken.type):  # of millions nearly all are neither whole nor missing
        return [str(value) if value is not None and value % 1 > 0 else _write(value) for value in values]
    return [_write(value) for value in values]


def _write(value: Any) -> str | None:
    if isinstance(value, str):
        return value.strip() or None
    if isinstance(value, float):
        if value != value:
            return None
        return str(int(value)) if value.is_integer() and abs(value) < 2**53 else str(value)
    return None if value is None else str(value)


def in_order(names: set[str]) -> tuple[str, ...]:
    """Returns names in their order, which is that of numbers where all are whole numbers.

    Example:
      >>> in_order({"10", "9", "-1"}), in_order({"10", "9", "09"})
      (('-1', '9', '10'), ('09', '10', '9'))
    """
    numbered = all(re.fullmatch(r"0|-?[1-9]\d{0,17}", name) for name in names)
    return tuple(sorted(names, key=int) if numbered else sorted(names))


def quoted(word: str) -> str:
    """Returns a word as YAML writes it: in quotes where it would be read as something else.

    Example:
      >>> [quoted(word) for word in ("former", "no", "007", "a: b")]
      ['former', "'no'", "'007'", "'a: b'"]
    """
    plain = re.fullmatch(r"[A-Za-z_][A-Za-z0-9_ ./+-]*", word) and word == word.strip()
    spoken = word.lower() in ("y", "n", "yes", "no", "true", "false", "on", "off", "null", "nan", "inf", "skip")
    return word if plain and not spoken else "'" + word.replace("'", "''") + "'"


def read_numbers(tables: Mapping[str, Any], column: str, where: str) -> dict[str, Int32[np.ndarray, "rows"]]:
    """Reads the class numbers of a data set whose classes are known.

    Args:
      tables: split → ``pyarrow.Table``.
      column: of whole numbers from 0.
      where: names the tables in messages.

    Raises:
      DatasetError: a label is missing, hidden (negative), or of another kind; it names the first such row.
    """
    from pyarrow import types

    read = {}
    for split, table in tables.items():
        taken = take_column(table, column, f"{where} {split}")
        if not types.is_integer(taken.type):
            kind = kind_of(taken.type)
            raise DatasetError(f"{where} {split} column {column!r} holds {kind}; it must hold whole numbers")
        for row, label in enumerate(values := taken.to_pylist()):
            if label is None or label < 0:
                raise DatasetError(
                    f"{where} {split} row {row} has no label in column {column!r} ({label}); leave it out"
                )
        read[split] = np.array(values, np.int32)
    return read


def label_names(table: Any, column: str) -> tuple[str, ...]:
    """Returns the names that the hub's library left in a table for the numbers of a column; empty if there are none."""
    try:
        metadata = json.loads((table.schema.metadata or {})[b"huggingface"])
        return tuple(metadata["info"]["features"][column]["names"])
    except (KeyError, TypeError, ValueError):
        return ()
