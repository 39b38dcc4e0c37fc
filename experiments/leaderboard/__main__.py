"""``python -m experiments.leaderboard``: run the protocol, and make its table and pages."""

import dataclasses
import sys
from pathlib import Path
from typing import Annotated

import typer

from dpjax.results import ResultsError
from experiments.config import ConfigError
from experiments.leaderboard import board, declare, rounds

app = typer.Typer(no_args_is_help=True, help=__doc__, add_completion=False, pretty_exceptions_enable=False)
_Folder = Annotated[Path, typer.Option("--out", help="Folder of the results.")]
_Some = Annotated[list[str] | None, typer.Option(help="Only these; may be repeated.")]


@app.command()
def run(
    task: _Some = None,
    method: _Some = None,
    out: _Folder = Path("results/leaderboard"),
    seeds: Annotated[int | None, typer.Option(help="Reported runs; those of the protocol if left out.")] = None,
) -> None:
    """Run tasks and methods that are not finished yet; stop and go on as you like."""
    protocol = declare.protocol()
    if seeds is not None:
        protocol = dataclasses.replace(protocol, seeds=seeds)
    chosen, known = _some("task", task, declare.tasks()), declare.methods()
    wanted = _some("method", method, known)
    status = 0
    for each in chosen.values():
        fitting = [one for one in wanted.values() if each.setting in one.settings]
        status = rounds.run_task(each, fitting, protocol, out) or status
    raise SystemExit(status)


@app.command()
def table(out: _Folder = Path("results/leaderboard")) -> None:
    """Print the leaderboard as CSV."""
    typer.echo(board.leaderboard(board.reported(out), declare.tasks(), declare.methods()).to_csv(index=False), nl=False)


def _some(what: str, asked: list[str] | None, known: dict) -> dict:
    for name in asked or ():
        if name not in known:
            raise ConfigError(f"--{what} {name} is not known; use {' or '.join(known)}.")
    return {name: known[name] for name in asked or known}


def main() -> None:
    """What is wrong ends in one sentence."""
    try:
        app()
    except (ConfigError, ResultsError) as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(1) from None


if __name__ == "__main__":
    main()
