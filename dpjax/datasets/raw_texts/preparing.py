"""What is done with raw texts before they are rows: read, pseudonymised, cut into pieces."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from dpjax.datasets import tables
from dpjax.datasets.raw_texts.document_files import refuse_pickle
from dpjax.datasets.raw_texts.folders import read_folder
from dpjax.datasets.raw_texts.mailboxes import read_mailbox
from dpjax.datasets.raw_texts.pieces import pieces_of
from dpjax.datasets.raw_texts.pseudonyms import PLAINLY, pseudonymise
from dpjax.fetching.sources import DatasetError

Raw = Literal["table", "documents", "mailbox"]


@dataclass(frozen=True)
class Preparation:
    """What raw texts are, and what becomes of them.

    Attributes:
      raw: ``documents`` (a folder of .txt, .docx and .pdf) or ``mailbox`` (mbox or maildir), or a ``table``.
      owners: of ``documents``: whose a file is; see ``read_folder``.
      quotes: of a ``mailbox``: whether quoted replies stay, which are other persons' words.
      pseudonymise: whether addresses, dates and long numbers become placeholders; no substitute for ε.
      piece_words: words at which longer texts are cut into rows of the same owner; None: they stay whole.
    """

    raw: Raw = "table"
    owners: str = ""
    quotes: bool = False
    pseudonymise: bool = False
    piece_words: int | None = None


class Prepared(NamedTuple):
    """Rows as a table has them.

    Attributes:
      tables: split → ``pyarrow.Table``; of raw texts one, with the columns text, owner and, if there are any, label.
      remarks: what was left out or replaced, in words; counts of the rows, which are NOT private.
    """

    tables: dict[str, Any]
    remarks: list[str]


def prepare(
    path: str, preparation: Preparation, *, text: str = "text", owner: str = "", encoding: str | None = None
) -> Prepared:
    """Reads raw texts, or a table with a column of texts, as rows.

    Formal guarantees: all or nothing; a row depends on the texts of its own owner alone.

    Args:
      path: of a folder, a mailbox or a table.
      preparation: what is there, and what becomes of it.
      text: the column of texts.
      owner: the column of owners; empty: rows stand alone.
      encoding: of .txt files and tables, as Python calls it; None: UTF-8, or UTF-16 with its mark.

    Raises:
      DatasetError: something can't be read; one sentence names it.

    Example:
      >>> import tempfile
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     Path(folder, "p1").mkdir()
      ...     _ = Path(folder, "p1", "a.txt").write_text("Seen on 2024-05-01. Came back on 2024-05-09.")
      ...     read = prepare(folder, Preparation("documents", pseudonymise=True, piece_words=3), owner="owner")
      >>> read.tables["train"].to_pylist()[0], read.tables["train"].num_rows
      ({'text': 'Seen on [DATE-1].', 'owner': 'p1'}, 3)
    """
    where = f"data.path={path!r}:"
    try:
        place = Path(path).expanduser()
        is_there = place.exists()
    except (RuntimeError, OSError, ValueError) as error:
        raise DatasetError(f"{where} it cannot be looked at ({error}); name another path") from error
    refuse_pickle(place, where)
    if preparation.raw == "table":
        return _from_table(place, preparation, text, owner, encoding, where)
    if not path or not is_there:
        raise DatasetError(f"{where} is not there; paths begin in the folder of the command, {Path.cwd()}")
    if preparation.raw == "mailbox":
        read = read_mailbox(place, where, quotes=preparation.quotes)
    elif not place.is_dir():
        raise DatasetError(f"{where} is no folder, which data.raw=documents reads; name the folder of the files")
    else:
        read = read_folder(place, where, preparation.owners, encoding)
    texts, rows, remarks = _prepared(read.texts, read.owners, preparation)
    columns = {"text": texts, "owner": [read.owners[row] for row in rows]}
    if read.labels is not None:
        columns["label"] = [read.labels[row] for row in rows]
    return Prepared({"train": _table(columns)}, [*read.remarks, *remarks])


def _from_table(
    place: Path, preparation: Preparation, text: str, owner: str, encoding: str | None, where: str
) -> Prepared:
    import pyarrow

    remarks: list[str] = []
    splits = {}
    try:
        read = tables.read_tables(place, encoding)
    except DatasetError as error:
        said = str(error).replace("data.name=", "data.path=").replace("append ?encoding=", "say data.encoding=")
        raise DatasetError(said) from error
    for split, table in read.items():
        texts = tables.read_texts(table, (text,), where).tolist()
        owners = None
        if owner:
            written = tables.read_written(table, owner, where)
            owners = [each or f"\0{row}" for row, each in enumerate(written)]  # whom nobody owns are left out later
        changed, rows, said = _prepared(texts, owners, preparation)
        whole = table.take(pyarrow.array(rows, pyarrow.int64()))
        column = pyarrow.array(changed, pyarrow.large_string())
        splits[split] = whole.set_column(whole.column_names.index(text), text, column)
        remarks += said
    return Prepared(splits, remarks)


def _prepared(
    texts: list[str], owners: list[str] | None, preparation: Preparation
) -> tuple[list[str], list[int], list[str]]:
    """Texts as rows, the text that each is of, and what to say of it."""
    remarks = []
    if preparation.pseudonymise:
        texts, counts = pseudonymise(texts, owners)
        shown = ", ".join(f"{count:,} {kind}" for kind, count in sorted(counts.items())) or "nothing"
        remarks.append(f"placeholders took the place of {shown}; {PLAINLY}")
    if preparation.piece_words is None:
        return texts, list(range(len(texts))), remarks
    pieces = [(piece, row) for row, text in enumerate(texts) for piece in pieces_of(text, preparation.piece_words)]
    if len(pieces) > len(texts):
        remarks.append(f"{len(texts):,} texts were cut into {len(pieces):,} pieces, each its owner's")
    return [piece for piece, _ in pieces], [row for _, row in pieces], remarks


def _table(columns: dict[str, list[str]]) -> Any:
    import pyarrow

    return pyarrow.table({name: pyarrow.array(each, pyarrow.large_string()) for name, each in columns.items()})
