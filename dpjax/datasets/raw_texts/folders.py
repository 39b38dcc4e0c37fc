"""A folder of documents as a table: one row a file, whose it is by its folder, its name or a list beside it."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from dpjax.checks import nearest
from dpjax.datasets import tables
from dpjax.datasets.raw_texts.document_files import ENDINGS, read_document, refuse_pickle
from dpjax.datasets.row_files import ending_of, read_file
from dpjax.fetching.sources import DatasetError

BY_FOLDER = "{owner}/*"
_FIELD = re.compile(r"\{(\w*)\}|(\*+)")


class Texts(NamedTuple):
    """Texts and whose they are.

    Attributes:
      texts: not empty.
      owners: one a text.
      labels: one a text; None: there are none.
      remarks: what was left out and what else to know, in words.
    """

    texts: list[str]
    owners: list[str]
    labels: list[str] | None
    remarks: list[str]


def read_folder(path: Path, where: str, owners: str = "", encoding: str | None = None) -> Texts:
    """Reads a folder of .txt, .docx and .pdf files, one text each.

    Formal guarantees: all or nothing. What is not read is counted in ``remarks``: hidden files, other endings, and
    links that lead out of the folder. A document and its owner depend on that file, its name and its line of the list
    alone.

    Args:
      path: the folder.
      where: names it in messages.
      owners: a pattern of a file's path below the folder, as ``"{owner}/*"`` (which is what empty means),
        ``"{owner}_*.txt"`` or ``"{label}/{owner}-*"``, in which ``*`` is anything; or a table with the columns ``file``
        and ``owner``, and ``label`` if there are any.
      encoding: of .txt files; None: UTF-8, or UTF-16 with its mark.

    Raises:
      DatasetError: no document is there, one can't be read, or it is nobody's; it names the first.

    Example:
      >>> import tempfile
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     for name in ("p1/a.txt", "p1/b.txt", "p2/a.txt", "p2/scan.tiff"):
      ...         file = Path(folder, name)
      ...         file.parent.mkdir(exist_ok=True)
      ...         _ = file.write_text(f"note {name}")
      ...     read_folder(Path(folder), "notes:")
      Texts(texts=['note p1/a.txt', 'note p1/b.txt', 'note p2/a.txt'], owners=['p1', 'p1', 'p2'], labels=None, \
remarks=['1 file is no .txt, .docx or .pdf and was not read (1 .tiff)'])
    """
    whole = path.resolve()
    listed = _list_at(owners, path)
    files, hidden, out, others = [], 0, 0, []
    for file in _files(path):
        name = file.relative_to(path)
        if any(part.startswith(".") for part in name.parts):
            hidden += 1
        elif not file.resolve().is_relative_to(whole):
            out += 1
        elif file.suffix.lower() in ENDINGS:
            files.append(file)
        elif listed is None or file.resolve() != listed.resolve():
            refuse_pickle(file, where)
            others.append(file.suffix.lower() or "without an ending")
    if not files:
        raise DatasetError(
            f"{where} no {', '.join(ENDINGS[:-1])} or {ENDINGS[-1]} is there; name the folder of the texts"
        )
    names = [file.relative_to(path).as_posix() for file in files]
    said, unused = _said(listed, names, where, encoding) if listed else (_by_pattern(owners, names, where), 0)
    read = [read_document(file, name, where, encoding) for file, name in zip(files, names, strict=True)]
    blank = sum(each.blank_pages for each in read)
    kinds = ", ".join(f"{count:,} {kind}" for kind, count in sorted(Counter(others).items()))
    remarks = [
        _count(len(others), f"is no {', '.join(ENDINGS[:-1])} or {ENDINGS[-1]} and was not read ({kinds})"),
        _count(hidden, "is hidden and was not read"),
        _count(out, "is a link out of the folder and was not read"),
        _count(unused, f"of {owners} is not there", "are not there"),
        f"{blank:,} pages of PDFs hold no text, as they are pictures" if blank else "",
    ]
    labels = [said[name].get("label", "") for name in names]
    if any(labels) and not all(labels):
        raise DatasetError(f"{where} {names[labels.index('')]} has no label in {owners}, and others have; fill it in")
    return Texts(
        [each.text for each in read],
        [said[name]["owner"] for name in names],
        labels if any(labels) else None,
        [each for each in remarks if each],
    )


def _files(path: Path) -> Iterator[Path]:
    """Files below a folder, in the order of their names; a link to a folder is one thing, and is not entered."""
    try:
        entries = sorted(path.iterdir())
    except OSError as error:
        raise DatasetError(f"data.path: {path.name} cannot be looked at ({error.strerror}); see who may") from error
    for entry in entries:
        if entry.is_dir() and not entry.is_symlink():
            yield from _files(entry)
        elif entry.is_file() or entry.is_symlink():
            yield entry


def _count(number: int, is_so: str, are_so: str = "") -> str:
    if not number:
        return ""
    many = re.sub(r"\bwas\b", "were", re.sub(r"\bis\b", "are", is_so)).replace("a link", "links")
    return f"1 file {is_so}" if number == 1 else f"{number:,} files {many}"


def _list_at(owners: str, path: Path) -> Path | None:
    """The list of files and owners, beside the command or in the folder; None: a pattern says it."""
    if not ending_of(owners) or "{" in owners:
        return None
    given = Path(owners).expanduser()
    return given if given.exists() else path / owners


def _by_pattern(owners: str, names: list[str], where: str) -> dict[str, Mapping[str, str]]:
    pattern = _pattern(owners or BY_FOLDER, where)
    said = {}
    for name in names:
        found = pattern.fullmatch(name)
        if found is None:
            fix = (
                f"data.owners={owners!r} does not fit it"
                if owners
                else "put it into its owner's folder, or say data.owners, as '{owner}_*.txt'"
            )
            raise DatasetError(
                f"{where} whose is {name}? {fix[0].upper()}{fix[1:]}" if owners else f"{where} whose is {name}? {fix}"
            )
        said[name] = found.groupdict()
    return said


def _pattern(owners: str, where: str) -> re.Pattern[str]:
    """``{owner}_*.txt`` as an expression: a field holds no slash, an asterisk whatever there is."""
    fields = [name for name, _ in _FIELD.findall(owners) if name]
    if sorted(fields) not in (["owner"], ["label", "owner"]):
        raise DatasetError(
            f"{where} data.owners={owners!r} must hold {{owner}} once, and may hold {{label}}; write it as "
            "'{owner}/*' or '{owner}_*.txt', or name a table with the columns file and owner"
        )
    written, place = "", 0
    for each in _FIELD.finditer(owners):
        written += re.escape(owners[place : each.start()])
        written += f"(?P<{each[1]}>[^/]+?)" if each[1] else ".*?"
        place = each.end()
    return re.compile(written + re.escape(owners[place:]), re.DOTALL)


def _said(listed: Path, names: list[str], where: str, encoding: str | None) -> tuple[dict[str, Mapping[str, str]], int]:
    """Owners and labels by a list, and how many of its files are not there."""
    if not listed.is_file():
        raise DatasetError(f"{where} data.owners={listed.name!r} is not there; name the table of files and owners")
    try:
        table = read_file(listed, encoding)
    except (ValueError, OSError) as error:
        said = (str(error).splitlines() or ["it is damaged"])[0].rstrip(".")
        raise DatasetError(f"{where} data.owners={listed.name!r} cannot be read: {said}") from error
    columns = {}
    for column in ("file", "owner", *(["label"] if "label" in table.column_names else [])):
        columns[column] = tables.read_written(table, column, f"{where} data.owners={listed.name!r}")
    found: dict[str, Mapping[str, str]] = {}
    for row, file in enumerate(columns["file"]):
        if not file or not columns["owner"][row]:
            lacks = "owner" if file else "file"
            raise DatasetError(f"{where} data.owners={listed.name!r} row {row} has no {lacks}; fill it in")
        if file in found:
            raise DatasetError(f"{where} data.owners={listed.name!r} names {file} twice; keep one")
        found[file] = {name: values[row] or "" for name, values in columns.items()}
    for name in names:
        if name not in found:
            near = nearest(name, list(found))
            meant = f"did you mean its {near}?" if near else "add it, or take the file away"
            raise DatasetError(f"{where} data.owners={listed.name!r} does not name {name}; {meant}")
    return found, len(found.keys() - set(names))
