"""``python -m paper``: run what a profile asks for, and rebuild every table, figure and number from its results."""

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import typer

from dpjax.results import ResultsError, write_atomically
from experiments.config import ConfigError
from experiments.leaderboard import board as boards
from experiments.leaderboard import declare
from paper import figures, gather, latex, numbers, tables
from paper.accounting import accounting_rows
from paper.profiles import PROFILES, Profile, needed
from paper.references import BIBLIOGRAPHY
from paper.studies import Missing, run_profile
from paper.training import training_rows

HERE = Path(__file__).parent
app = typer.Typer(no_args_is_help=True, help=__doc__, add_completion=False, pretty_exceptions_enable=False)
_Profile = Annotated[str, typer.Option("--profile", help="; ".join(f"{p.name}: {p.about}" for p in PROFILES.values()))]
_Results = Annotated[Path, typer.Option("--results", help="Folder of the runs; a folder per profile is made in it.")]


@app.command()
def make(profile: _Profile = "smoke", results: _Results = Path("results/paper")) -> None:
    """Run what is not finished, then rebuild the paper. The same command goes on where it was stopped."""
    chosen = _profile(profile)
    missing = run_profile(chosen, results / profile, tell=lambda line: print(line, file=sys.stderr, flush=True))
    gather.write(gather.gather(results / profile), profile)
    raise SystemExit(_rebuild(chosen, missing))


@app.command()
def rebuild(profile: _Profile = "smoke") -> None:
    """Rebuild the paper from the table that git keeps, without running anything."""
    raise SystemExit(_rebuild(_profile(profile), []))


@app.command()
def fetch(profile: _Profile = "cpu") -> None:
    """Fetch the data sets and models that a profile reads."""
    from dpjax.cli import main

    data, models = needed(_profile(profile))
    for kind, names in (("data", data), ("models", models)):
        if names:
            try:
                main([kind, "fetch", *names])
            except SystemExit as end:
                if end.code:
                    raise


def _rebuild(profile: Profile, missing: Sequence[Missing]) -> int:
    """Everything that the table makes; the exit status is 1 where something is missing or off."""
    frame = gather.read(profile.name)
    folder = HERE / "build" / profile.name
    generated = folder / "generated"
    generated.mkdir(parents=True, exist_ok=True)
    studies: Any = frame[frame["stage"] == "study"]
    reported: Any = frame[frame["stage"] == "reported"]
    tasks, methods = declare.tasks(), declare.methods()
    exact, trained = accounting_rows(), training_rows(studies)
    laid_out = [tables.accounting_table(exact), tables.training_table(trained)]
    board = pd.DataFrame({"epsilon": []})
    if len(reported):
        board = boards.leaderboard(reported, tasks, methods)
        laid_out += [tables.methods_table(methods), tables.rank_table(board, methods)]
        laid_out += [tables.leaderboard_table(board, tasks, methods)]
        _write(generated / "leaderboard.csv", board.drop(columns="seconds").to_csv(index=False, float_format="%.6f"))
        _both(folder / "measured", tables.costs_table(board, methods))
    for table in laid_out:
        _both(generated, table)
    drawn = figures.draw_all(studies, folder / "figures")
    if len(board):
        figures.draw_ranks(board, methods, folder / "figures", drawn)
    _write(generated / "figures.tex", figures.to_latex(drawn))
    values = numbers.macros(profile.name, profile.about, frame, [*exact, *trained], board)
    _write(generated / "numbers.tex", numbers.to_latex(values))
    absent = [*(f"{one.name}: {one.reason}" for one in missing), *drawn.skipped]
    absent += list(frame.attrs.get("unreadable", []))
    _write(generated / "missing.tex", _itemized(absent))
    for name in ("methods", "ranks", "leaderboard"):
        if not (generated / f"{name}.tex").exists():
            _write(generated / f"{name}.tex", "The profile ran no task of it.\n")
    for source in (HERE / "main.tex", BIBLIOGRAPHY):
        shutil.copyfile(source, folder / source.name)
    pdf = latex.build(folder)
    off = [row for row in exact if row.verdict != "agrees"]
    for row in off:
        print(f"OFF: row {row.row}, {row.quantity}: published {row.published}, ours {row.ours}", file=sys.stderr)
    for line in absent:
        print(f"left out: {line}", file=sys.stderr)
    print(f"Tables:  {generated}  ({sum(row.verdict == 'agrees' for row in exact)} of {len(exact)} exact values agree)")
    print(f"Figures: {folder / 'figures'}")
    print(f"PDF:     {pdf}" if isinstance(pdf, Path) else pdf)
    return 1 if off or missing or (isinstance(pdf, str) and "failed" in pdf) else 0


def _both(folder: Path, table: tables.Table) -> None:
    _write(folder / f"{table.name}.md", tables.to_markdown(table) + "\n")
    _write(folder / f"{table.name}.tex", tables.to_latex(table) + "\n")


def _itemized(lines: Sequence[str]) -> str:
    from dpjax.results.show import tex

    if not lines:
        return "Nothing.\n"
    return "\\begin{itemize}\n" + "".join(f"  \\item {tex(line)}\n" for line in lines) + "\\end{itemize}\n"


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, text.encode())


def _profile(name: str) -> Profile:
    if name not in PROFILES:
        raise ConfigError(f"--profile {name} is not known; use {' or '.join(PROFILES)}.")
    return PROFILES[name]


def main() -> None:
    """What is wrong ends in one sentence."""
    try:
        app()
    except (ConfigError, ResultsError) as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(1) from None


if __name__ == "__main__":
    main()
