"""``dpjax data fetch-tables``: a repository of the hub as files that ``data=own`` reads."""

from typing import Annotated

import typer

from dpjax.cli.data import app, errors_in_one_line, fetching_bar


@app.command("fetch-tables")
def fetch_tables(
    path: Annotated[str, typer.Argument(metavar="PATH", help="hub:owner/name, as in data.path.")],
    source: Annotated[str, typer.Option(help="hub; or the path of a folder that is a copy of the repository.")] = "hub",
    force: Annotated[bool, typer.Option("--force", help="Fetch again even if a copy is there.")] = False,
) -> None:
    """Fetch the tables of a hub repository, for data=own data.path=hub:owner/name; they are kept with their revision.

    What is kept are all splits as they are; which columns are read and which rows test is said when they train.

    [bold]Examples[/bold]

      dpjax data fetch-tables hub:owner/name

      dpjax data fetch-tables 'hub:owner/name?config=en&revision=0123abc'
    """
    from rich.console import Console

    from dpjax.datasets import hub_copies

    console = Console(stderr=True, highlight=False)
    with errors_in_one_line():
        with fetching_bar(console, path) as show:
            hub_copies.fetch_tables(path, source=source, force=force, progress=show)
        folder, about = hub_copies.kept_copy(path)
        console.print(
            f"{path}: {', '.join(about['sha256'])} of revision {about['revision']}, in {folder}",
            markup=False,
            soft_wrap=True,
        )
