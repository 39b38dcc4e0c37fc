"""What is asked before something is written down that is not undone alone."""

import sys
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from dpjax.governance.ledger import Ledger
    from dpjax.governance.spends import Spend

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


def ask_if_overspent(
    book: "Ledger", name: str, epsilon: float, delta: float, composition: str | None, *, yes: bool
) -> None:
    """Ask before a budget is set below what is spent.

    Args:
      book: the ledger.
      name: of the data set.
      epsilon, delta, composition: of the budget.
      yes: whether it was answered beforehand.
    """
    if name not in book.names("budget"):
        return
    from dpjax.governance.foresight import under
    from dpjax.governance.policy import second_persons

    now = book.budget_of(name)
    spent = under(now, book.entries(name), epsilon=epsilon, delta=delta, composition=composition)
    if spent <= epsilon * (1 + 1e-9):
        return
    told = f"epsilon={epsilon:g} at delta={delta:g} is below what {name} has spent or reserved, ε={spent:.3g}"
    if now.sensitive and (epsilon, delta) != (now.epsilon, now.delta):
        others = second_persons(book.policy(), book.who, name)
        undo = f"{' or '.join(others)} would have to approve that" if others else "that is yours to set"
        told += f"; to go back to {now.epsilon:g} at {now.delta:g} is a larger budget: {undo}"
    ask(told, "Set it all the same?", yes=yes)


def ask_if_beyond(book: "Ledger", name: str, spend: "Spend", *, yes: bool) -> None:
    """Ask before an entry takes the sum beyond the budget.

    Args:
      book: the ledger.
      name: of the data set.
      spend: to be entered.
      yes: whether it was answered beforehand.
    """
    if name not in book.names("enter"):
        return  # told by what enters it
    from dpjax.governance.foresight import would_come_to

    budget = book.budget_of(name)
    before, alone, after, why = would_come_to(budget, book.entries(name), spend)
    if after <= budget.epsilon * (1 + 1e-9):
        return
    own = "no ε" if alone == float("inf") else f"ε={alone:.3g}"
    ends = f"inf, {why}" if after == float("inf") else f"{after:.3g}, of {budget.epsilon:g}"
    told = f"this entry has {own} by itself at δ={budget.delta:g}, and takes {name} from ε={before:.3g} to {ends}"
    ask(told, "Enter it all the same?", yes=yes)
