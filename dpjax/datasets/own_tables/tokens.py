"""Token ids of one's own as a data set: whole numbers, as many as a text has, split as rows of a table are."""

from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Int32

from dpjax.datasets.entries import Dataset
from dpjax.datasets.own_tables.array_files import array_ending, is_arrays, read_splits
from dpjax.datasets.own_tables.arrays import arrow_column, resolved
from dpjax.datasets.own_tables.contents import contents_of
from dpjax.datasets.own_tables.kinds import Column, read_column
from dpjax.datasets.own_tables.reading import check_names, open_tables
from dpjax.datasets.own_tables.sides import as_dataset, take_sides
from dpjax.datasets.own_tables.source import TableSource
from dpjax.datasets.row_files import kind_of
from dpjax.fetching.sources import DatasetError

_MOST = 2**31 - 1  # ids are int32 to a model
UNKNOWN = "whether the checkpoint's own tokenizer made the ids is not known"
"""What a data set of ids, and a row of results of it, has to say of them."""

_ALL = "text"  # the class of rows without a label, as of texts


class _Read(NamedTuple):
    """A file of token ids as it was read: roles as a table, and the rows of two columns."""

    table: Any
    ids: list[np.ndarray]
    mask: list[np.ndarray] | np.ndarray | None
    of_file: Bool[np.ndarray, "rows"] | None


def load_tokens(source: TableSource, column: str, *, padding: int | None = None, mask: str = "") -> Dataset:
    """Loads token ids into memory. It never touches the network.

    Formal guarantees: a row's ids depend on itself, ``padding`` and ``mask`` alone, and so does the side it is on but
    for what ``Dataset.learnt`` says, as for tables; padding does not move it.

    Args:
      source: where they lie, and what the other columns are for; its ``columns`` are empty. Without a label all rows
        are of one class, for a model that learns which token comes where.
      column: of ids: lists of whole numbers, or in an .npz an array ``[rows, length]``.
      padding: id that stands for nothing at a row's ends; None: none does.
      mask: column of lists of 1 (an id) and 0 (none), or of the number of ids from the left; empty: all are ids.

    Returns:
      Inputs ``[rows]`` of ``object``, each int32 ``[its length]`` and none empty, labels int32; read-only.

    Raises:
      DatasetError: a column that is not there or holds something else, a row without ids, or an id below 0 or past 32
        bits; it names the row.

    Example:
      >>> import json, tempfile
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     file = Path(folder, "mails.jsonl")
      ...     rows = [{"input_ids": [5, i, 0], "kind": "hs"[i % 2]} for i in range(1, 41)]
      ...     _ = file.write_text("\\n".join(map(json.dumps, rows)))
      ...     data = load_tokens(TableSource(str(file), label="kind", classes=("h", "s")), "input_ids", padding=0)
      >>> data.train_inputs[0].tolist(), data.class_names
      ([5, 1], ('h', 's'))
    """
    where = f"data.path={source.path!r}:"
    arrays = is_arrays(source.path)
    source, read = _of_arrays(source, column, mask, where) if arrays else _of_table(source, column, mask, where)
    ids = _rows_of(read.ids, read.mask, column, mask, padding, where)

    def role(name: str, kind: Any = "category", words: tuple[str, ...] = ()) -> Column:
        return read_column(read.table, name, where, kind=kind, missing=source.missing, words=words)

    label = Column("", "category", np.zeros(len(ids), np.int64), (_ALL,))
    if source.label:
        label = role(source.label, words=source.classes)
    elif source.classes:
        raise DatasetError(f"{where} data.classes={list(source.classes)} names classes; say data.label=COLUMN too")
    owner = role(source.unit) if source.unit else None
    when = role(source.split_column, None) if source.split_column else None
    if when is not None and when.kind not in ("date", "number") and (source.split == "time" or source.split_at):
        when = role(source.split_column, "number")
    beside = contents_of(read.table) if read.table.num_columns else [b""] * len(ids)
    contents = [row.tobytes() + rest for row, rest in zip(ids, beside, strict=True)]
    asked = source if source.label else replace(source, classes=(_ALL,))
    sides = take_sides(asked, label, owner, when, read.of_file, contents, where)
    learnt = "; ".join(filter(None, ["" if asked.classes else f"classes of {source.label}", sides.learnt]))
    inputs = np.empty(len(ids), object)
    inputs[:] = ids
    sides = sides._replace(remarks="; ".join(filter(None, [sides.remarks, UNKNOWN])))
    return as_dataset(asked, sides, inputs[sides.kept], task="tokens", learnt=learnt)


def _of_table(source: TableSource, column: str, mask: str, where: str) -> tuple[TableSource, _Read]:
    table, of_file = open_tables(source, where)
    # Without a label the column of ids stands in for it, so that the other names are looked at.
    check_names(
        table.column_names,
        source if source.label else replace(source, label=column),
        dict.fromkeys([*([column] if source.label else []), *([mask] if mask else [])], ()),
        where,
    )
    of_mask = None
    if mask:
        of_mask = _lists(table, mask, where, lengths=True)
    return source, _Read(
        table.drop_columns([column, *([mask] if mask else [])]), _lists(table, column, where), of_mask, of_file
    )


def _first_odd(column: Any) -> str:
    """The first row of lists in which something is no whole number, and what."""
    for row, values in enumerate(column.to_pylist()):
        odd = [value for value in values or () if not isinstance(value, int)]
        if odd:
            return f", in row {row + 1} {odd[0]!r},"
    return ""


def _lists(table: Any, name: str, where: str, *, lengths: bool = False) -> Any:
    """Rows of whole numbers, each by itself; or with ``lengths`` one number a row."""
    from pyarrow import compute, types

    taken = table.column(name)
    if lengths and types.is_integer(taken.type):
        if taken.null_count:
            raise DatasetError(f"{where} {name} is missing in row {_first_null(taken)}; fill it in")
        return taken.to_numpy()
    listed = types.is_list(taken.type) or types.is_large_list(taken.type) or types.is_fixed_size_list(taken.type)
    fit = listed and (types.is_integer(taken.type.value_type) or (lengths and types.is_boolean(taken.type.value_type)))
    if not fit:
        what = "lists of whole numbers" + (", or one number a row" if lengths else "")
        fix = (
            "; texts are named by data.text" if types.is_string(taken.type) or types.is_large_string(taken.type) else ""
        )
        odd = _first_odd(taken) if listed else ""
        raise DatasetError(
            f"{where} column {name!r} holds {kind_of(taken.type)}{odd} and must hold {what}, as Parquet, Arrow and "
            f"JSON lines keep them{fix}"
        )
    if taken.null_count:
        raise DatasetError(f"{where} {name} is missing in row {_first_null(taken)}; leave the row out")
    rows: list[np.ndarray] = []
    for chunk in taken.chunks:
        sizes = compute.list_value_length(chunk).to_numpy(zero_copy_only=False)  # pyright: ignore[reportAttributeAccessIssue]
        flat = chunk.flatten()
        ends = np.cumsum(sizes, dtype=np.int64)
        if flat.null_count:
            place = int(np.flatnonzero(flat.is_null().to_numpy(zero_copy_only=False))[0])
            row = len(rows) + int(np.searchsorted(ends, place, side="right")) + 1
            raise DatasetError(f"{where} {name} holds nothing in the middle of row {row}; put an id there")
        rows += np.split(flat.to_numpy(zero_copy_only=False), ends[:-1]) if len(ends) else []
    return rows


def _first_null(taken: Any) -> int:
    return int(np.flatnonzero(taken.is_null().to_numpy())[0]) + 1


def _of_arrays(source: TableSource, column: str, mask: str, where: str) -> tuple[TableSource, _Read]:
    import pyarrow

    path = Path(source.path).expanduser()
    alone = array_ending(path.name) == ".npy"
    source = source if alone else resolved(source)
    arrays, of_file = read_splits(path, where, alone=column if alone else "")
    roles = [each for each in (source.label, source.unit, source.split_column) if each]
    for name in (column, *([mask] if mask else [])):
        if name not in arrays:
            raise DatasetError(f"{where} no array {name!r} is there; it has {', '.join(arrays)}")
        fit = (1, 2) if name == mask else (2,)
        if arrays[name].ndim not in fit or arrays[name].dtype.kind not in "iu" + ("b" if name == mask else ""):
            shape = list(arrays[name].shape)
            raise DatasetError(
                f"{where} {name} is of {arrays[name].dtype} and shape {shape}; give whole numbers [rows, length]"
            )
    for name in roles:
        if alone:
            raise DatasetError(f"{where} is one array without {name}; save both in one .npz with numpy.savez")
        if name not in arrays or name in (column, mask) or arrays[name].ndim > 1:
            raise DatasetError(f"{where} no array {name!r} of [rows] is there; it has {', '.join(arrays)}")
    table = pyarrow.table({name: arrow_column(arrays[name]) for name in dict.fromkeys(roles)})
    of_mask = arrays[mask] if mask else None
    return source, _Read(table, list(arrays[column]), of_mask if of_mask is None else np.asarray(of_mask), of_file)


def _rows_of(
    rows: list[np.ndarray],
    masks: list[np.ndarray] | np.ndarray | None,
    column: str,
    mask: str,
    padding: int | None,
    where: str,
) -> list[Int32[np.ndarray, "_"]]:
    kept = []
    for number, row in enumerate(rows, 1):
        if masks is not None:
            row = _masked(row, np.asarray(masks[number - 1]), f"{where} row {number}", column, mask)
        if padding is not None and (row == padding).any():
            real = np.flatnonzero(row != padding)
            row = row[real[0] : real[-1] + 1] if len(real) else row[:0]
            if (row == padding).any():
                raise DatasetError(
                    f"{where} row {number} of {column} holds the padding {padding} between other ids; say with "
                    "data.mask which are ids"
                )
        if not len(row):
            raise DatasetError(f"{where} row {number} of {column} holds no ids; leave it out")
        if (least := int(row.min())) < 0:
            raise DatasetError(
                f"{where} row {number} of {column} holds {least}, which is no token; if it pads say "
                f"data.padding={least}"
            )
        if (most := int(row.max())) > _MOST:
            raise DatasetError(
                f"{where} row {number} of {column} holds {most}, past 32 bits, which is no token; mend it"
            )
        kept.append(row.astype(np.int32))
        kept[-1].setflags(write=False)
    return kept


def _masked(row: np.ndarray, given: np.ndarray, where: str, column: str, mask: str) -> np.ndarray:
    if not given.ndim:
        if not 0 <= int(given) <= len(row):
            raise DatasetError(f"{where} {mask} says {int(given)} ids, and {column} holds {len(row)}; make them agree")
        return row[: int(given)]
    if len(given) != len(row):
        raise DatasetError(f"{where} {mask} is of {len(given)} and {column} of {len(row)} numbers; make them agree")
    if strange := sorted(set(given.tolist()) - {0, 1}):
        raise DatasetError(f"{where} {mask} holds {strange[0]}; it must hold 1 for an id and 0 for none")
    places = np.flatnonzero(given)
    if len(places) and len(places) != places[-1] - places[0] + 1:
        raise DatasetError(f"{where} {mask} leaves out ids in the middle; take those out of {column}")
    return row[places]
