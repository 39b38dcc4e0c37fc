"""``dpjax cache``: what is kept to save time, and how to be rid of it."""

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, NamedTuple

import typer

from dpjax.caches import CACHES, cache_folder, cached_files
from dpjax.checks import one_of
from dpjax.cli.errors import errors_in_one_line
from dpjax.program_cache import SETTING, program_limit

app = typer.Typer(
    name="cache",
    no_args_is_help=True,
    rich_markup_mode="rich",
    help="What is kept to save time, how much of it, and how to be rid of it.\n\n"
    "All of it is made again when it is missing; results do not depend on it. Files that dpjax did not put there are "
    "neither counted nor removed. Data sets and models are not here: see `dpjax data list` and `dpjax models list`.\n\n"
    "[bold]Examples[/bold]\n\n"
    "  dpjax cache show\n\n"
    "  dpjax cache clear programs\n\n"
    "DPJAX_CACHE_DIR names the folder above them, if it is not to be your cache folder; DPJAX_PROGRAM_CACHE_MIB bounds "
    "the programs (1024), and 0 keeps none.",
)


class Kept(NamedTuple):
    """The files of one kind: how many, their bytes together, and the time since the last was used or made."""

    files: list[Path]
    size: int
    age: float | None


def kept(kind: str) -> Kept:
    """What is kept of a kind, known by the names that the caches give; nothing where the folder can't be read.

    Args:
      kind: of ``CACHES``.

    Example:
      >>> kept("programs").size >= 0
      True
    """
    files, size, last = [], 0, None
    try:
        listed = cached_files(cache_folder(kind), kind)
    except OSError:
        listed = []
    for path in listed:
        try:
            facts = path.stat()
        except FileNotFoundError:  # another process makes room
            continue
        files.append(path)
        size += facts.st_size
        last = max(last or 0.0, facts.st_mtime)
    return Kept(files, size, None if last is None else max(0.0, time.time() - last))


@app.command()
def show() -> None:
    """Show what is kept, where, and how large it is.

    [bold]Example[/bold]

      dpjax cache show
    """
    from rich.console import Console
    from rich.table import Column, Table

    headers = ("kind", "files", "size", "last used", "what")
    table = Table(*(Column(h, no_wrap=h != "what") for h in headers), box=None, padding=(0, 2, 0, 0))
    with errors_in_one_line(ValueError):
        limit = program_limit()
    for kind, (what, _) in CACHES.items():
        files, size, age = kept(kind)
        table.add_row(kind, f"{len(files):,}", _size(size), _ago(age), what)
    console = Console()
    console.print(table)
    for line in _where(limit):
        console.print(line, highlight=False, soft_wrap=True)


def _where(limit: int) -> Iterator[str]:
    """The folder, and what of it is not used as things stand."""
    folder = cache_folder("programs").parent
    missing = ", which is no folder: nothing is kept" if folder.exists() else ", once there is something to keep"
    yield f"Kept in {folder}{'' if folder.is_dir() else missing}."
    jaxs = os.environ.get("JAX_COMPILATION_CACHE_DIR")
    if limit == 0:
        yield f"No programs are kept or read: {SETTING} is 0."
    elif jaxs:
        yield f"Programs are kept by JAX itself, in {jaxs}: JAX_COMPILATION_CACHE_DIR is set."
    else:
        yield f"Of programs, at most {_size(limit)} are kept ({SETTING}); those used longest ago go first."


@app.command()
def clear(
    kinds: Annotated[
        list[str] | None, typer.Argument(metavar="[KIND]...", help=f"Some of {', '.join(CACHES)}; all if left out.")
    ] = None,
) -> None:
    """Remove what is kept; it is made again when it is needed.

    [bold]Examples[/bold]

      dpjax cache clear

      dpjax cache clear programs
    """
    for kind in [one_of("KIND", kind, CACHES) for kind in kinds or CACHES]:
        files, size, _ = kept(kind)
        with errors_in_one_line(OSError):
            for path in files:
                path.unlink(missing_ok=True)
        typer.echo(f"{kind}: {len(files):,} files removed, {_size(size)}")


def _size(count: int) -> str:
    """Bytes, as people read them."""
    if count < 2**20:
        return f"{-(-count // 2**10):,} KiB"
    return f"{count / 2**20:,.1f} MiB"


def _ago(seconds: float | None) -> str:
    """How long ago, in the largest unit that fits."""
    if seconds is None:
        return "never"
    for unit, length in (("day", 86400), ("hour", 3600), ("minute", 60)):
        if seconds >= length:
            count = int(seconds // length)
            return f"{count} {unit}{'s' if count > 1 else ''} ago"
    return "just now"
