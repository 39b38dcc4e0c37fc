"""How the commands end in an error: one sentence, and an exit status."""

from collections.abc import Iterator
from contextlib import contextmanager

import typer


@contextmanager
def errors_in_one_line(kind: type[ValueError | OSError] | None = None) -> Iterator[None]:
    """Errors of a kind, of data sets if None, as one sentence and exit status 1."""
    from dpjax.fetching.sources import DatasetError

    expected = kind or DatasetError
    try:
        yield
    except expected as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from None
