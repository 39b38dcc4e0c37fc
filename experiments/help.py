"""``python -m experiments.run --help``: what can be run, what can be swept, and what it costs."""

import json

from rich.console import Console
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table

from experiments import config, fields

EXAMPLES = r"""[bold]One run[/bold]
  uv run python -m experiments.run privacy.epsilon=3 privacy.clip_norm=0.3

[bold]A sweep[/bold]: -m, and commas make axes
  uv run python -m experiments.run -m experiment=quickstart
  uv run python -m experiments.run -m data=mnist_5k model=logistic,mlp \
      privacy.epsilon=1,3,8 privacy.clip_norm=0.3,1
  uv run python -m experiments.run -m privacy.epsilon=1,8 \
      federated.clients_per_round=10,50,100
"""

GROUPS = (
    *("experiment", "data", "model", "tuning", "privacy", "clipping", "optimizer", "federated", "tracker"),
    "governance",
)

FACTS = (
    "Every point is trained with each seed, next to its non-private reference.",
    "Finished jobs are skipped when the same command runs again.",
    "Results are in results/EXPERIMENT, and of one run without -m in results/single/EXPERIMENT/OVERRIDES; see "
    "`dpjax results show` and `dpjax plot`.",
)


def print_help() -> None:
    """Print usage, groups, experiments and fields, as wide as the terminal is."""
    console = Console(highlight=False)
    console.print("Train privately, and see what the budget costs.\n", style="bold")
    console.print(EXAMPLES, soft_wrap=True)
    for fact in FACTS:
        console.print(escape(fact))
    console.print("\n[bold]Groups[/bold]: GROUP=OPTION chooses a file of settings")
    groups = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
    for group in (
        "experiment",
        "data",
        "model",
        "tuning",
        "privacy",
        "clipping",
        "optimizer",
        "federated",
        "tracker",
        "governance",
    ):
        options = sorted(path.stem for path in (config.CONF / group).glob("*.yaml"))
        groups.add_row(f"  {group}", escape(", ".join(options)))
    console.print(groups)
    console.print(
        "\n[bold]Fields[/bold]: FIELD=VALUE sets one. Sweeping a field costs no compilation, "
        "but [yellow]*[/yellow] one for each value."
    )
    _print_fields(console)
    console.print("\nHydra's own options: --hydra-help. Full tracebacks: DPJAX_TRACEBACK=1.")


def _print_fields(console: Console) -> None:
    """A table where it has room for the meanings, and a list where their words would be cut."""
    rows = [
        ("[yellow]*[/yellow]" if kind == "static" else " ", escape(name), escape(_shown(default)), escape(meaning))
        for name, default, kind, meaning in fields.describe()
    ]
    taken = max(len(name) for _, name, _, _ in rows) + max(len(default) for _, _, default, _ in rows) + 6
    if console.width - taken < 40:
        for mark, name, default, meaning in rows:
            console.print(f"{mark} {name} [dim]= {default}[/dim]", soft_wrap=True)
            console.print(Padding(meaning, (0, 0, 0, 6)))
        return
    table = Table("  field", "default", "meaning", box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.columns[0].no_wrap = table.columns[1].no_wrap = True
    for mark, name, default, meaning in rows:
        table.add_row(f"{mark} {name}", default, meaning)
    console.print(table)


def _shown(default: object) -> str:
    """A default as one would type it."""
    return str(default) if isinstance(default, str | float) else json.dumps(default)
