"""One file of rows as a table, with every value as it is written: CSV, TSV, JSON and Parquet, compressed or sealed."""

import bz2
import codecs
import csv
import gzip
import io
import json
import lzma
import re
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from dpjax.datasets.sealed_rows import SEALED, opened, refuse_unnamed


def _unpack_zstandard(content: bytes) -> bytes:
    import pyarrow

    with pyarrow.CompressedInputStream(pyarrow.BufferReader(content), "zstd") as stream:
        return stream.read()


SUFFIXES = (".csv", ".tsv", ".jsonl", ".json", ".parquet", ".arrow", ".feather")
TYPED = (".parquet", ".arrow", ".feather")
"""These say themselves how their values are written, and are compressed inside."""

PACKED: Mapping[str, Callable[[bytes], bytes]] = {
    ".gz": gzip.decompress,
    ".bz2": bz2.decompress,
    ".xz": lzma.decompress,
    ".zst": _unpack_zstandard,
}

_OPEN = (*SUFFIXES, *(suffix + packed for suffix in SUFFIXES if suffix not in TYPED for packed in PACKED))
ENDINGS = (*_OPEN, *(ending + SEALED for ending in _OPEN))

_SEPARATORS = (",", ";", "\t", "|")
_EXCEL = re.compile(r'"?sep=(.)"?\r?\n', re.IGNORECASE)


def ending_of(name: str) -> str:
    """Returns which of ``ENDINGS`` a file's name has; empty if none.

    Example:
      >>> ending_of("train.csv.gz"), ending_of("Mails.TSV"), ending_of("notes.txt")
      ('.csv.gz', '.tsv', '')
    """
    return max((each for each in ENDINGS if name.lower().endswith(each)), key=len, default="")


def read_file(file: Path, encoding: str | None = None) -> Any:
    """Reads one file as a table.

    Args:
      file: whose name ends in one of ``ENDINGS``.
      encoding: of its characters, as Python calls it; None: UTF-8, or UTF-16 where the file begins with its mark.

    Returns:
      ``pyarrow.Table``. Of CSV and TSV every column is of texts, exactly as they are written.

    Raises:
      ValueError: it is not of its form, or is sealed with a key that is not there; the message says where, and what
        to do.
    """
    if file.exists() and not file.is_file():  # a pipe would be waited for without end
        raise ValueError("it is no regular file; give one")
    refuse_unnamed(file)
    whole = ending_of(file.name)
    ending = whole.removesuffix(SEALED)
    if ending in TYPED:
        if encoding:
            raise ValueError(f"{ending} says itself how it is encoded; leave encoding= out")
        return _read_typed(file, ending, sealed=whole != ending)
    content = opened(file) if whole != ending else file.read_bytes()
    form, _, packed = ending.removeprefix(".").partition(".")
    if packed:
        try:
            content = PACKED[f".{packed}"](content)
        except (EOFError, OSError, lzma.LZMAError, zlib.error) as error:
            raise ValueError(f"its .{packed} compression is damaged or cut short ({error}); fetch it again") from error
    text = decode(content, encoding)
    if form in ("csv", "tsv"):
        return read_separated(text, tabs=form == "tsv")
    return read_json(text, as_list=form == "json")


def _read_typed(file: Path, ending: str, *, sealed: bool) -> Any:
    import pyarrow
    from pyarrow import parquet

    content = pyarrow.BufferReader(opened(file)) if sealed else None
    if ending == ".parquet":
        # Not ``read_table``, which reads columns out of the folder's name.
        return parquet.ParquetFile(content or file).read()
    with content or pyarrow.OSFile(str(file)) as source:
        try:
            try:
                table = pyarrow.ipc.open_file(source).read_all()
            except pyarrow.ArrowInvalid:  # as a stream, which is how the hub's library writes its files
                source.seek(0)
                table = pyarrow.ipc.open_stream(source).read_all()
            table.validate(full=True)  # it is mapped as it is, and nothing else looks at its offsets
        except (pyarrow.ArrowException, OSError) as error:
            raise ValueError("it is damaged, or neither an Arrow file nor a stream; save it again") from error
    return table


def decode(content: bytes, encoding: str | None = None) -> str:
    """Turns bytes into characters, or says where they are none.

    Args:
      content: of a file.
      encoding: as Python calls it; None: UTF-8, or UTF-16 or UTF-32 where a mark says so.

    Raises:
      ValueError: no such encoding, or other bytes; it names the line and what to append.

    Example:
      >>> decode("né".encode("utf-16")), decode(b"\\xef\\xbb\\xbfa")
      ('né', 'a')
    """
    known = encoding or "utf-8"
    if not encoding and content.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
        known = "utf-32"
    elif not encoding and content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        known = "utf-16"
    try:
        text = content.decode(known).removeprefix("\ufeff")
    except LookupError as error:
        raise ValueError(f"encoding={known!r} is none that Python reads; say cp1252, latin-1 or utf-16") from error
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        byte = f"byte 0x{content[error.start]:02x}" if error.start < len(content) else "its end"
        raise ValueError(
            f"line {line} is not {known.upper()} ({byte}); save it as UTF-8, or append ?encoding=cp1252 or whatever "
            "wrote it"
        ) from error
    if "\0" in text:
        line = text[: text.index("\0")].count("\n") + 1
        raise ValueError(f"line {line} holds a NUL character; if the file is UTF-16, append ?encoding=utf-16-le")
    return text


def read_separated(text: str, *, tabs: bool) -> Any:
    """Reads CSV or TSV, whose first line names the columns.

    Quotes are RFC 4180's: they enclose a whole field, and are doubled inside. A CSV in which one does anything else is
    refused, and one whose first line has no comma but semicolons, tabs or bars is separated by those. In a TSV quotes
    are characters like others, unless all of them are RFC 4180's; where both would fit and give other rows, the file is
    refused.

    Args:
      text: of the file.
      tabs: a TSV.

    Returns:
      ``pyarrow.Table`` of texts. White space around the names of columns is left out, and so are empty lines.

    Raises:
      ValueError: a stray quote, or a line with more or fewer fields than the first; it names the line.

    Example:
      >>> read_separated('a;b\\n007;"x;y"\\n', tabs=False).to_pylist()
      [{'a': '007', 'b': 'x;y'}]
      >>> read_separated('a\\tb\\n"so" it is\\t1\\n', tabs=True).to_pylist()
      [{'a': '"so" it is', 'b': '1'}]
    """
    import pyarrow

    separator = "\t"
    if not tabs:
        if header := _EXCEL.match(text):
            separator, text = header[1], text[header.end() :]
        else:
            first = text.lstrip("\r\n").partition("\n")[0].partition("\r")[0]
            others = [each for each in _SEPARATORS[1:] if each in first]
            separator = max(others, key=first.count) if others and "," not in first else ","
    rows = _read_tabs(text) if tabs else _read_rows(text, separator)
    if not rows:
        raise ValueError("it is empty")
    names = [name.strip() for name in rows[0]]
    columns = list(zip(*rows[1:], strict=True)) or [()] * len(names)
    return pyarrow.Table.from_arrays([pyarrow.array(each, pyarrow.large_string()) for each in columns], names=names)


def _read_tabs(text: str) -> list[list[str]]:
    try:
        quoted = _read_rows(text, "\t")
    except ValueError:
        return _read_rows(text, "\t", quotes=False)
    try:
        plain = _read_rows(text, "\t", quotes=False)
    except ValueError:
        return quoted
    if len(plain) != len(quoted):
        joined = next(row for row, fields in enumerate(quoted) if any("\n" in each or "\r" in each for each in fields))
        raise ValueError(
            f"row {joined - 1} has quotes that join lines, or that are characters of two rows; save it as CSV, or take "
            "those quotes away"
        )
    return quoted


def _read_rows(text: str, separator: str, *, quotes: bool = True) -> list[list[str]]:
    limit = csv.field_size_limit(2**31 - 1)  # a document is longer than the module's 131,072 characters
    rows, line = [], 1
    reader = csv.reader(
        io.StringIO(text, newline=""),
        delimiter=separator,
        strict=True,
        quoting=csv.QUOTE_MINIMAL if quotes else csv.QUOTE_NONE,
    )
    try:
        for row in reader:
            if row and rows and len(row) != len(rows[0]):
                raise ValueError(
                    f"line {line} has {len(row)} fields where the first names {len(rows[0])} columns; put quotes "
                    f"around a field that holds {separator!r}"
                )
            if row:
                rows.append(row)
            line = reader.line_num + 1
    except csv.Error as error:
        raise ValueError(
            f"a field of line {line} has a quote that does not enclose it ({error}); enclose the field and double the "
            "quotes inside"
        ) from error
    finally:
        csv.field_size_limit(limit)
    return rows


def read_json(text: str, *, as_list: bool) -> Any:
    """Reads JSON: one object a line, or one list of objects.

    Args:
      text: of the file.
      as_list: the file may be one list.

    Returns:
      ``pyarrow.Table`` with a column for every key, null where an object lacks it. A column whose values are of several
      kinds, as 1 and "1", has a type that says so and no values.

    Raises:
      ValueError: other JSON; it names the line or the row.

    Example:
      >>> read_json('{"a": 1}\\n{"a": 2, "b": "x"}', as_list=False).to_pylist()
      [{'a': 1, 'b': None}, {'a': 2, 'b': 'x'}]
    """
    import pyarrow

    if as_list and text.lstrip().startswith("["):
        rows = [(f"row {row}", each) for row, each in enumerate(_load(text, "it"))]
    else:
        lines = [(f"line {number}", each) for number, each in enumerate(text.split("\n"), 1) if each.strip()]
        rows = [(where, _load(each, where)) for where, each in lines]
    for where, row in rows:
        if not isinstance(row, dict):
            raise ValueError(f'{where} is no object; write one as {{"text": …, "label": …}}')
    if not rows:
        raise ValueError("it is empty")
    names = list(dict.fromkeys(name for _, row in rows for name in row))
    columns = [_column([row.get(name) for _, row in rows]) for name in names]
    return pyarrow.Table.from_arrays(columns, names=names)


def _load(text: str, where: str) -> Any:
    try:
        return json.loads(text, object_pairs_hook=_unique)
    except RecursionError as error:
        raise ValueError(f"{where} is nested too deep; keep the texts and labels alone") from error
    except ValueError as error:
        form = "one object a line, or in a .json one list of them"
        raise ValueError(f"{where} is no JSON ({error}); write {form}") from error


def _unique(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    row = dict(pairs)
    if len(row) < len(pairs):
        twice = next(name for i, (name, _) in enumerate(pairs) if name in dict(pairs[:i]))
        raise ValueError(f"key {twice!r} is there twice")
    return row


def _column(values: list[Any]) -> Any:
    import pyarrow

    if all(value is None or (isinstance(value, list) and all(type(x) is int for x in value)) for value in values):
        try:  # token ids, of which no list holds another
            return pyarrow.array(values, pyarrow.list_(pyarrow.int64()) if any(values) else None)
        except OverflowError:
            pass
    if any(map(_are_turns, values)) and all(value is None or _are_turns(value) for value in values):
        names = dict.fromkeys(name for value in values for turn in value or () for name in turn)
        try:
            turn = pyarrow.struct([(name, pyarrow.string()) for name in names])
            return pyarrow.array(values, pyarrow.list_(turn))
        except (pyarrow.ArrowException, ValueError):
            pass
    kinds = sorted({_JSON_KINDS.get(type(value), "words") for value in values if value is not None})
    try:
        # Objects and lists hold no text and no label, and Arrow would go down into them without a limit.
        if "lists" not in kinds and "objects" not in kinds:
            return pyarrow.array(values)
    except (pyarrow.ArrowException, ValueError, OverflowError):
        if len(kinds) == 1:
            kinds = [{"numbers": "numbers past 64 bits"}.get(kinds[0], f"{kinds[0]} with half a character (\\ud800)")]
    # A type of its own, since null would pass for missing values where parts are joined.
    return pyarrow.nulls(len(values), pyarrow.struct([(" and ".join(kinds), pyarrow.null())]))


def _are_turns(value: Any) -> bool:
    """Whether it is a conversation: a list of flat objects, whose values are words."""
    return (
        isinstance(value, list)
        and bool(value)
        and all(
            isinstance(turn, dict) and turn and all(x is None or isinstance(x, str) for x in turn.values())
            for turn in value
        )
    )


_JSON_KINDS = {bool: "truth values", int: "numbers", float: "numbers", list: "lists", dict: "objects"}


def kind_of(kind: Any) -> str:
    """Returns what a column holds, in a few words.

    Example:
      >>> kind_of(read_json('{"a": 1}\\n{"a": "1"}', as_list=False).schema.field("a").type)
      'numbers and words'
    """
    if names_kind(kind):
        return kind.field(0).name
    name = str(kind)
    return name if len(name) <= 60 else name[:59] + "…"


def names_kind(kind: Any) -> bool:
    """Returns whether a column's type says what it holds, and its values are not there.

    Example:
      >>> names_kind(read_json('{"a": 1}\\n{"a": "1"}', as_list=False).schema.field("a").type)
      True
    """
    import pyarrow

    return pyarrow.types.is_struct(kind) and kind.num_fields == 1 and pyarrow.types.is_null(kind.field(0).type)
