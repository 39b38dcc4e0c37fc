"""What is asked before something is written down that is not undone alone."""

import sys

import typer

Yes = typer.Option("--yes", help="Without being asked, as in a script.")
"""The option of commands that ask."""


def ask(told: str, question: str, *, yes: bool) -> None:
    """Tell what would come of it, and ask; where nobody can answer, it takes ``--yes``.

    Args:
      told: what would come of it, a sentence.
      question: as it is asked at a terminal.
      yes: whether it was answered beforehand.

    Raises:
      ValueError: nobody is there to answer, or the answer is no.
    """
    if yes:
        typer.echo(f"note: {told}", err=True)
        return
    if not sys.stdin.isatty():
        raise ValueError(f"{told}; nothing was written down, and if it is meant so, say it again with --yes.")
    typer.echo(f"{told}.", err=True)
    if not typer.confirm(question, err=True):
        raise ValueError("nothing was written down.")
