"""Where budgets stand, at a terminal and for programs."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dpjax.governance.accounts import Account
    from dpjax.governance.budgets import Proposal


def as_dict(account: "Account") -> dict[str, object]:
    """A budget and its runs, for programs."""
    data_set = account.data_set
    return {
        "name": data_set.name,
        "rows": data_set.fingerprint.num_rows,
        "unit": data_set.unit,
        **({} if account.whose is None else {"owners": account.whose.name}),
        "adjacency": data_set.adjacency,
        "epsilon": data_set.epsilon,
        "delta": data_set.delta,
        "composition": data_set.composition,
        **({"order": data_set.order} if data_set.order else {}),
        "sensitive": data_set.sensitive,
        "spent": _number(account.spent),
        "reserved": _number(account.reserved),
        **({"endless": account.endless} if account.endless else {}),
        "runs": [
            {
                "id": run.id,
                "who": run.who,
                "tool": run.tool,
                "label": run.label,
                "steps": run.steps,
                "of": run.spend.steps,
                "state": run.state,
                "updated": run.updated,
                **({"retracted": account.retracted[run.id]} if run.id in account.retracted else {}),
            }
            for run in account.runs
        ],
    }


def _number(value: float) -> float | str:
    return value if value < float("inf") else "inf"


def print_account(account: "Account", with_runs: bool) -> None:
    """A budget in a line, and its runs as a table where they are wanted."""
    from rich.console import Console
    from rich.table import Column, Table
    from rich.text import Text

    data_set, console = account.data_set, Console(highlight=False, soft_wrap=True)
    held = "" if account.reserved == account.spent else f", {account.reserved:.3g} with what is reserved"
    over = "; it is OVERSPENT" if account.reserved > data_set.epsilon * (1 + 1e-9) else ""
    by = "" if account.whose is None else f" ({account.whose.name})"
    back = f", {len(account.retracted):,} of them taken back" if account.retracted else ""
    console.print(
        f"{data_set.name}: ε={account.spent:.3g} of {data_set.epsilon:g} spent{held}, at δ={data_set.delta:g} per "
        f"{data_set.unit}{by}, {data_set.adjacency}{composed(data_set.composition)}; "
        f"{counted(len(account.spending), 'run')}{back}, "
        f"{data_set.fingerprint.num_rows:,} rows{over}",
        markup=False,
    )
    if account.endless:
        console.print(f"  ε is inf, {account.endless}", markup=False)
    if with_runs and account.runs:
        headers = ("id", "who", "tool", "steps", "state", "last change (UTC)")
        columns = [Column(header, no_wrap=True) for header in headers]
        table = Table(*columns, Column("run", overflow="fold"), box=None, padding=(0, 2, 0, 0))
        for run in account.runs:
            steps = f"{run.steps:,} of {run.spend.steps:,}"
            why = f" (taken back {account.retracted[run.id]})" if run.id in account.retracted else ""
            cells = (run.id[:8], run.who, run.tool, steps, run.state, run.updated[:16].replace("T", " "))
            table.add_row(*map(Text, (*cells, run.label + why)))
        if not console.is_terminal:
            console.width = max(console.width, 160)
        console.print(table, soft_wrap=False)


def found_run(account: "Account", begins: str) -> str:
    """The id of the run whose id begins so; ValueError unless there is one."""
    found = [each.id for each in account.runs if each.id.startswith(begins)] if begins else []
    if len(found) != 1:
        raise ValueError(
            f"RUN={begins!r} is the id of {counted(len(found), 'run')} of {account.data_set.name}; give one of them."
        )
    return found[0]


def proposed(proposal: "Proposal") -> str:
    """What a proposal comes to, in words."""
    from dpjax.governance.budgets import action_of

    to, action = proposal.budget, action_of(proposal)
    if action == "policy":
        return "another policy"
    if action == "retract":
        return f"entry {to['runs'][0]['id'][:8]} of {proposal.data_set} is taken back ({to['why']})"
    other = composed(to["composition"].split()[0], proposal.before["composition"].split()[0])
    return f"ε={to['epsilon']:g} at δ={to['delta']:g}{other} for {proposal.data_set}"


def composed(composition: str, before: str = "planned") -> str:
    """How runs are added up, where that is not as usual or not as before."""
    if composition == before == "planned":
        return ""
    return f", composition={composition}" + (f" instead of {before}" if before not in (composition, "planned") else "")


def of_older_kind(name: str) -> str:
    """What to do about a data set by whose fingerprint parts of its rows may not be found."""
    return (
        f"{name}: its fingerprint is of an older version, by which a part of its rows may pass as new ones; set its "
        f"budget again: dpjax ledger budget {name} --data FILE with the same rows, ε and δ"
    )


def counted(number: int, thing: str) -> str:
    """A number of things."""
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


@contextmanager
def waiting(what: str) -> Iterator[None]:
    """A line at a terminal while thousands of runs are added up."""
    from rich.console import Console

    console = Console(stderr=True)
    if not console.is_terminal:
        yield
        return
    with console.status(what):
        yield
