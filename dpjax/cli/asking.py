"""Whether a person may look at rows, or seal them: asked of the ledger, if there is one, which knows them again."""

import os
from pathlib import Path
from typing import Literal

_LARGEST_LOOK = 1 << 30
"""Bytes of a file up to which it is read whole only to say whether it could be."""


_UNREADABLE = (ValueError, TypeError, LookupError, ArithmeticError)
"""What damaged rows raise, a ``DatasetError`` above all; Parquet may hold words that are no Unicode."""


def ask_ledger(
    action: str,
    name: str,
    place: str | None,
    encoding: str | None = None,
    *,
    unread: Literal["refused", "as all"] = "refused",
) -> None:
    """Ask the ledger, if there is one, whether this person may do that with these rows; sensitive ones are noted.

    Formal guarantees: of rows that the ledger can't know again, nothing is given that a grant on all its sensitive data
    would not give.

    Args:
      action: of ``governance.policy.ACTIONS``.
      name: path of the rows, or a name of the registry.
      place: of the ledger; None: the user's, if there is one.
      encoding: of the characters; None: as they say themselves.
      unread: what is done of rows that can't be read, or are a part of what the ledger knows: ``refused``; or ``as
        all``, since they may be any of the ledger's, which is written down.

    Raises:
      DatasetError: they can't be read.
      Denied: the rows are sensitive, and no grant lets this person do that.
      LedgerError: they are a part of what the ledger knows.
    """
    from dpjax.governance.database import ledger_url

    url = ledger_url(place)
    is_there = url.get_backend_name() != "sqlite" or Path(str(url.database)).is_file()
    named = place is not None or "DPJAX_LEDGER" in os.environ
    if not is_there and (action == "protect" or not named):
        return
    from dpjax.datasets.own_tables.images import is_image
    from dpjax.datasets.raw_columns import columns_at, columns_named
    from dpjax.fingerprints import fingerprint_of
    from dpjax.governance.errors import LedgerError
    from dpjax.governance.ledger import Ledger
    from dpjax.governance.policy import ALL

    book, parts, wrong, is_read = Ledger(place), [], [], False
    for whole in (name, *_folders_of(name)):
        try:
            rows = fingerprint_of(columns_at(whole, encoding) if encoding else columns_named(whole))
        except _UNREADABLE as error:
            wrong.append(error)
            continue
        try:
            data_set = book.find(rows)
        except LedgerError as error:  # a class of images is a part of what the ledger knows
            if whole == name or is_image(Path(name).name):  # arrays that lie beside others are no part of these
                parts.append(error)
            continue
        is_read = True
        if data_set is not None:
            if data_set.sensitive:
                book.note_access(action, data_set.name, {"file": Path(name).name})
            return
    why = (parts or ([] if is_read else wrong))[:1]
    if not why or action == "protect":  # what is locked is safe, whatever it is
        return
    if unread == "refused":
        raise why[0]
    book.note_access(action, ALL, {"file": Path(name).name, "unread": "a part" if parts else "not read"})


def why_unread(file: Path) -> str:
    """Why a ledger could not know the rows of a file again; empty: it could, or the file is too large to try.

    Args:
      file: of rows, open.

    Example:
      >>> import tempfile
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     _ = Path(folder, "a.csv").write_text("age,ill\\n40,no,1\\n")
      ...     "line 2 has 3 fields" in why_unread(Path(folder, "a.csv"))
      True
    """
    from dpjax.datasets.own_tables.array_files import array_ending, read_arrays
    from dpjax.datasets.own_tables.images import is_image
    from dpjax.datasets.raw_columns import columns_at

    if is_image(file.name) or file.stat().st_size > _LARGEST_LOOK:  # images are known by their bytes
        return ""
    where = f"data.path={str(file)!r}:"
    try:
        if array_ending(file.name) == ".npy":  # others lie beside it
            read_arrays(file, where, alone=file.stem)
        else:
            columns_at(str(file))
    except _UNREADABLE as error:
        return str(error).removeprefix(f"{where} ").rstrip(".")
    return ""


def _folders_of(name: str) -> list[str]:
    """The folders that a ledger may know an array or an image by: its own, and those of its class and its split."""
    from dpjax.datasets.own_tables.array_files import array_ending, is_arrays
    from dpjax.datasets.own_tables.images import is_image, is_images

    file = Path(name).expanduser().absolute()
    above = [each for each in file.parents[:3] if each not in (Path.home(), Path(each.anchor))]
    if is_image(file.name):
        return [str(each) for each in above if is_images(str(each))]
    return [str(each) for each in above[:1] if array_ending(file.name) and is_arrays(str(each))]
