"""``dpjax data protect`` and ``dpjax data open``: rows that lie encrypted, and are opened in memory alone."""

import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import IOBase
from pathlib import Path
from typing import Annotated, Any

import typer

from dpjax.cli.asking import ask_ledger, why_unread
from dpjax.cli.errors import disk_in_one_line, errors_in_one_line

_PIECE = 1 << 22
_SHOWN = 5
"""Names of files that are told; of the others, how many."""
_Ledger = Annotated[
    str | None, typer.Option("--ledger", help="Of budgets, if there is one; else DPJAX_LEDGER, or your own file.")
]


def protect_command(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="A file of rows, arrays or an image, or a folder of such.")
    ],
    remove: Annotated[
        bool, typer.Option("--remove", help="Take the open file away once the sealed one was read back.")
    ] = False,
    ledger: _Ledger = None,
) -> None:
    """Write rows encrypted, as NAME.sealed beside them, by the keys that DPJAX_KEYS names.

    A run reads the sealed file as it reads the open one, with data.path=patients.csv.sealed, and opens it in memory
    alone. What was written open before may still be found on the disk: protect rows before they are copied around.

    [bold]Examples[/bold]

      dpjax keys new --to file:clinic.keys

      DPJAX_KEYS=file:clinic.keys dpjax data protect patients.csv --remove

    Stopped or killed, run it again: what was sealed is not sealed twice. Of data that are sensitive in a ledger, an
    owner or a custodian may.
    """
    from dpjax.datasets.sealed_rows import SEALED
    from dpjax.encryption.keys import keys_from
    from dpjax.keeping import discard_parts_of

    keys = keys_from()
    files = _files(Path(name).expanduser(), sealed=False)
    if link := next((each for each in files if each.is_symlink() and remove), None):  # before any file is touched
        raise ValueError(f"{link} is a link, and taking it away leaves the rows open; name {link.resolve()}.")
    with errors_in_one_line():
        ask_ledger("protect", name, ledger)
    for file in files:
        sealed = file.with_name(file.name + SEALED)
        for part in discard_parts_of(sealed):
            typer.echo(f"took {part} away, which a command that was killed had left", err=True)
        with disk_in_one_line(file, sealed):
            if os.path.lexists(sealed):
                if _hash_of(file) != _hash_within(sealed, keys):
                    raise ValueError(f"{sealed} is there already, and holds other rows; take one of the two away.")
                typer.echo(f"{sealed} holds {file.name} already")
            else:
                _seal(file, sealed, keys)
                typer.echo(f"sealed {file} as {sealed.name}")
        if remove:
            if why := why_unread(file):
                typer.echo(
                    f"{file} can't be known again by a ledger ({why}): where there is one, `dpjax data open` gives it "
                    "back to whoever may read the rows of all its sensitive data.",
                    err=True,
                )
            others, inode = file.stat().st_nlink - 1, file.stat().st_ino
            file.unlink()
            typer.echo(f"took {'this name of ' if others else ''}{file} away")
            if others:
                names = "1 other name" if others == 1 else f"{others:,} other names"
                typer.echo(
                    f"warning: the rows lie open still under {names} of that file (a hard link), which "
                    f"`find {file.parent} -inum {inode}` may find; take these away too.",
                    err=True,
                )
        else:
            typer.echo(f"{file} is open still; a folder with both is not read")
    if left := _left_open(Path(name).expanduser(), files):
        typer.echo(f"left open, as no run reads them sealed: {left}", err=True)


def open_command(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A sealed file, as patients.csv.sealed.")],
    to: Annotated[Path, typer.Option(help="Where its rows are written open, for you alone (mode 600).")],
    encoding: Annotated[str | None, typer.Option(help="Of the characters, for the ledger to know the rows.")] = None,
    ledger: _Ledger = None,
) -> None:
    """Write the rows of a sealed file open, to look at them.

    No run needs that. Of data that are sensitive in a ledger, only their owners may, and it is written down. What a
    ledger can't know again, as a damaged table or a part of one, is given to whoever may read all its sensitive data.

    [bold]Example[/bold]

      dpjax data open patients.csv.sealed --to patients.csv
    """
    from dpjax.encryption.keys import keys_from
    from dpjax.encryption.reader import SealedReader
    from dpjax.private_files import private_file

    keys = keys_from()
    [file] = _files(Path(name).expanduser(), sealed=True)
    if os.path.lexists(to):
        raise ValueError(f"--to {to} is there already; name another file.")
    with disk_in_one_line(file, to), SealedReader(file, keys, purpose="data") as source:
        with errors_in_one_line():  # after the keys: what does not open is no access
            ask_ledger("raw", name, ledger, encoding, unread="as all")
        with private_file(to) as target, _bar(f"opening {file.name}", source) as moved:
            _copy(source, target.write, moved)
    typer.echo(f"wrote {to}; take it away when you have seen it")


def _files(place: Path, *, sealed: bool) -> list[Path]:
    """The files of rows at a place, open or sealed."""
    from dpjax.datasets.own_tables.array_files import array_ending
    from dpjax.datasets.own_tables.images import is_image
    from dpjax.datasets.row_files import ending_of
    from dpjax.datasets.sealed_rows import without_sealed

    is_folder = place.is_dir() and not sealed
    found = sorted(place.rglob("*")) if is_folder else [place]
    files = [
        each
        for each in found
        if each.is_file()
        and (ending_of(each.name) or array_ending(each.name) or is_image(each.name))
        and (without_sealed(each.name) != each.name) == sealed
    ]
    if not files:
        kind = "sealed file of rows, as patients.csv.sealed" if sealed else "file of rows that is open, as patients.csv"
        raise ValueError(f"NAME={place} is no {kind}, nor a folder of such; name one.")
    return files


def _left_open(place: Path, files: list[Path]) -> str:
    """What a folder holds besides, open: some by name, and how many; empty: nothing."""
    known = {*files}
    found = [each for each in sorted(place.rglob("*")) if each.is_symlink() or not each.is_dir()]
    left = [each for each in found if each not in known and _is_open(each)]
    names = [f"{each.relative_to(place)}{' (a link)' if each.is_symlink() else ''}" for each in left]
    more = f" and {len(names) - _SHOWN:,} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def _is_open(file: Path) -> bool:
    from dpjax.encryption.reader import is_sealed

    try:
        return not is_sealed(file)
    except OSError:  # nothing says that it is sealed
        return True


def _seal(file: Path, sealed: Path, keys: Any) -> None:
    """Seal a file, and read it back."""
    from dpjax.encryption.writer import SealedWriter

    with (
        open(file, "rb") as source,
        _bar(f"sealing {file.name}", source) as moved,
        SealedWriter(sealed, keys, purpose="data", durable=True) as target,
    ):
        written = _copy(source, target.write, moved)
    if not written == _hash_within(sealed, keys) == _hash_of(file):
        sealed.unlink()
        raise ValueError(f"{file} changed while it was sealed; run the same command again.")


def _hash_of(file: Path) -> str:
    with open(file, "rb") as source:
        return _copy(source, lambda piece: None, lambda number: None)


def _hash_within(sealed: Path, keys: Any) -> str:
    from dpjax.encryption.reader import SealedReader

    with SealedReader(sealed, keys, purpose="data") as source, _bar(f"reading {sealed.name} back", source) as moved:
        return _copy(source, lambda piece: None, moved)


def _copy(source: Any, write: Callable[[bytes], object], moved: Callable[[int], None]) -> str:
    """Move bytes; what they hash to."""
    digest = hashlib.sha256()
    while piece := source.read(_PIECE):
        digest.update(piece)
        write(piece)
        moved(len(piece))
    return digest.hexdigest()


@contextmanager
def _bar(what: str, source: IOBase) -> Iterator[Callable[[int], None]]:
    """A bar at a terminal, over the bytes of a file."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda number: None
        return
    total = source.seek(0, os.SEEK_END)
    source.seek(0)
    with Progress(console=console, transient=True) as bar:
        task = bar.add_task(what, total=total)
        yield lambda number: bar.advance(task, number)
