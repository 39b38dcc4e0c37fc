"""``python -m experiments.run --help``: what can be run, what can be swept, and what it costs."""

from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from experiments import config

EXAMPLES = """[bold]One run[/bold]
  uv run python -m experiments.run privacy.epsilon=3 privacy.clip_norm=0.3

[bold]A sweep[/bold] (-m): commas make axes; every point is trained with each seed, next to its non-private reference
  uv run python -m experiments.run -m experiment=quickstart
  uv run python -m experiments.run -m data=fashion_mnist model=cnn privacy.epsilon=1,3,8 privacy.clip_norm=0.3,1
  uv run python -m experiments.run -m privacy.epsilon=1,8 federated.clients_per_round=10,50,100

Finished jobs are skipped when the same command runs again. A sweep over a [green]traced[/green] field costs no
compilation; each value of a [yellow]static[/yellow] field costs one. Results: results/NAME, by `dpjax results show` and
`dpjax plot`.
"""


def print_help() -> None:
    """Print usage, groups, experiments and fields."""
    console = Console()
    console.print("Train privately, and see what the budget costs.\n", style="bold")
    console.print(EXAMPLES)
    conf = Path(__file__).parent / "conf"
    for group in ("experiment", "data", "model", "privacy", "optimizer", "federated", "tracker"):
        options = ", ".join(sorted(path.stem for path in (conf / group).glob("*.yaml")))
        console.print(f"[bold]{group}=[/bold]{escape(options)}")
    table = Table("field", "default", "sweeping it", "meaning", box=None, padding=(0, 2, 0, 0))
    for name, default, kind, meaning in config.describe():
        colour = "green" if kind == "traced" else "yellow"
        table.add_row(name, escape(str(default)), f"[{colour}]{kind}[/{colour}]", escape(meaning))
    console.print()
    console.print(table)
    console.print("\nHydra's own options: --hydra-help. Full tracebacks: DPJAX_TRACEBACK=1.")
