"""One document as text: .txt, .docx or .pdf; what can't be read whole is refused by its name."""

import logging
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from dpjax.datasets.row_files import decode
from dpjax.fetching.sources import DatasetError

PICKLES = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".joblib")
"""Files that run code when they are opened."""

MOST_BYTES = 100_000_000
"""Of a document, and of a .docx unpacked: a zip of some kilobytes may hold a hundred times more than any contract."""


class Document(NamedTuple):
    """What a file says.

    Attributes:
      text: without white space at its ends; not empty.
      blank_pages: pages of a PDF on which there is no text, as they are pictures.
    """

    text: str
    blank_pages: int = 0


def refuse_pickle(path: Path, where: str) -> None:
    """Refuses a file that runs code when it is opened.

    Args:
      path: of the file.
      where: names the data in the message.

    Raises:
      DatasetError: its ending is one of ``PICKLES``.

    Example:
      >>> refuse_pickle(Path("notes.pt"), "data.path='notes.pt':")
      Traceback (most recent call last):
      dpjax.fetching.sources.DatasetError: data.path='notes.pt': notes.pt may be a pickle, which runs code when it is \
opened; write its texts to a .jsonl or .parquet table where it came from, and name that
    """
    if path.suffix.lower() in PICKLES:
        raise DatasetError(
            f"{where} {path.name} may be a pickle, which runs code when it is opened; write its texts to a .jsonl or "
            ".parquet table where it came from, and name that"
        )


def read_document(path: Path, shown: str, where: str, encoding: str | None = None) -> Document:
    """Reads the text of one file.

    Of a .docx paragraphs and tables are read, in their order; headers, footers, notes, comments and what stands in
    boxes is not. Of a PDF the text layer is read; no letters are recognised in pictures.

    Args:
      path: whose ending is one of ``ENDINGS``.
      shown: what messages call it.
      where: names the data in messages.
      encoding: of a .txt, as Python calls it; None: UTF-8, or UTF-16 with its mark.

    Raises:
      DatasetError: it is empty, too large, damaged, encrypted, without a text layer or of another encoding, or what
        reads it is not installed.
    """
    try:
        size = path.stat().st_size
        if size > MOST_BYTES:
            raise DatasetError(
                f"{where} {shown} has {size:,} bytes, more than {MOST_BYTES:,}; split it or leave it out"
            )
        read = READERS[path.suffix.lower()](path, f"{where} {shown}", encoding)
    except OSError as error:
        raise DatasetError(
            f"{where} {shown} cannot be read ({error.strerror or error}); see who may read it"
        ) from error
    if not read.text:
        raise DatasetError(f"{where} {shown} is an empty text; fill it or take it away")
    return read


def _txt(path: Path, file: str, encoding: str | None) -> Document:
    try:
        text = decode(path.read_bytes(), encoding)
    except (ValueError, LookupError) as error:
        said = (str(error).splitlines() or ["not of its encoding"])[0].rstrip(".")
        raise DatasetError(
            f"{file} cannot be read: {said.replace('append ?encoding=', 'say data.encoding=')}"
        ) from error
    return Document(text.strip())


def _docx(path: Path, file: str, encoding: str | None) -> Document:
    try:
        import docx
        from docx.table import Table
    except ImportError as error:
        raise _not_installed(file, "python-docx") from error
    _refuse_large_zip(path, file)
    try:
        parts = docx.Document(str(path)).iter_inner_content()
        lines: list[str] = []
        for part in parts:
            lines += _rows(part) if isinstance(part, Table) else [part.text]
    except Exception as error:  # of a foreign file and a foreign parser any is possible
        raise DatasetError(f"{file} is damaged ({type(error).__name__}); open it in Word and save it again") from error
    return Document("\n".join(lines).strip())


def _rows(table: Any) -> list[str]:
    lines = []
    for row in table.rows:
        seen: list[Any] = []  # a merged cell is given once for each column that it covers
        for cell in row.cells:
            if not any(cell._tc is other._tc for other in seen):
                seen.append(cell)
        lines.append(" | ".join(cell.text for cell in seen))
    return lines


def _refuse_large_zip(path: Path, file: str) -> None:
    """Before anything is unpacked."""
    try:
        with zipfile.ZipFile(path) as packed:
            size = sum(each.file_size for each in packed.infolist())
    except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        raise DatasetError(f"{file} is damaged: it is no .docx; open it in Word and save it again") from error
    if size > MOST_BYTES:
        raise DatasetError(f"{file} unpacks to {size:,} bytes, more than {MOST_BYTES:,}; leave it out")


def _pdf(path: Path, file: str, encoding: str | None) -> Document:
    try:
        import pypdf
    except ImportError as error:
        raise _not_installed(file, "pypdf") from error
    logger = logging.getLogger("pypdf")
    level = logger.level
    logger.setLevel(logging.CRITICAL)  # it tells of each odd byte; what matters is said below
    try:
        reader = pypdf.PdfReader(path)
        if reader.is_encrypted:
            raise DatasetError(f"{file} is encrypted; save a copy without a password, or leave it out")
        pages = [page.extract_text().strip() for page in reader.pages]
    except (DatasetError, OSError):
        raise
    except Exception as error:  # as above
        raise DatasetError(f"{file} is damaged ({type(error).__name__}); print it to a new PDF") from error
    finally:
        logger.setLevel(level)
    if not any(pages):
        raise DatasetError(
            f"{file} has no text on its {len(pages)} pages, which are pictures; let a program for text recognition "
            "(OCR) add it, or leave it out"
        )
    # Half a character of a pair, which some PDFs hold, is none that UTF-8 has.
    text = "\n".join(filter(None, pages)).encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return Document(text.replace("\0", "").strip(), sum(not page for page in pages))


def _not_installed(file: str, package: str) -> DatasetError:
    return DatasetError(f"{file} is read by {package}, which is not installed; pip install 'dpjax[documents]'")


READERS: Mapping[str, Callable[[Path, str, str | None], Document]] = {".txt": _txt, ".docx": _docx, ".pdf": _pdf}
ENDINGS = tuple(READERS)
