"""What a table lacks, said after it: one way for every command that shows one."""

from typing import Any

import typer


def name_what_is_left_out(frame: Any) -> None:
    """Says which rows other code has made, which seeds ran twice, and which files and points a table lacks.

    Args:
      frame: what ``load`` or ``load_all`` gave.

    Raises:
      SystemExit: with status 1, if it lacks any but those that a ledger refused.
    """
    from dpjax.results.provenance import made_by_other_code
    from dpjax.results.summarize import run_twice

    for sentence in (*made_by_other_code(frame), *run_twice(frame)):
        typer.echo(f"note: {sentence}.", err=True)
    name_refused(frame.attrs.get("refused", []))
    lacking = frame.attrs.get("unreadable", [])
    for sentence in lacking:
        typer.echo(f"left out: {sentence}", err=True)
    if lacking:
        raise SystemExit(1)


def name_refused(sentences: list[str]) -> None:
    """Says how many points a ledger refused, which is no error of the table.

    Args:
      sentences: of ``df.attrs["refused"]``.
    """
    for sentence in sentences:
        typer.echo(f"note: left out: {sentence}", err=True)
