"""Proposals as whoever may approve them sees them: whole, a policy as a difference to the one that holds."""

import difflib
import json
from typing import TYPE_CHECKING

import typer

from dpjax.cli.accounts_shown import proposed

if TYPE_CHECKING:
    from dpjax.governance.budgets import Proposal
    from dpjax.governance.ledger import Ledger


def whole(book: "Ledger", proposal: "Proposal") -> str:
    """All that a proposal would change, in lines.

    Args:
      book: the ledger.
      proposal: that waits.
    """
    from dpjax.governance.budgets import action_of

    action, before, to = action_of(proposal), proposal.before, proposal.budget
    lines = [f"proposal {proposal.number} of {proposal.who}, signed with key {proposal.key}: {proposed(proposal)}"]
    if action == "policy":
        old, new = (str(text.get("text") or "").splitlines() for text in ({"text": book.policy_text()}, to))
        changed = list(difflib.unified_diff(old, new, "the policy in force", "as proposed", lineterm="", n=3))
        lines += changed or ["it says what the policy in force says"]
    elif action == "retract":
        id = to["runs"][0]["id"]
        found = [each for each in book.entries(proposal.data_set) if each.id == id]
        lines += [f"  entry {id} of {proposal.data_set}", f"  why: {to['why']}"]
        lines += [f"  {each.tool}, entered by {each.who} on {each.created[:10]}: {each.label}" for each in found]
        lines += [f"  what it spent: {each.spend.as_json()}" for each in found]
    else:
        for field, value in to.items():
            was = before.get(field)
            lines.append(f"  {field}: {_said(value)}" + ("" if was == value else f" instead of {_said(was)}"))
    may = book.second_persons(proposal)
    lines.append(f"  who may approve it: {', '.join(may) if may else 'nobody now'}")
    return "\n".join(lines)


def proposal_as_dict(book: "Ledger", proposal: "Proposal", *, outdated: bool) -> dict[str, object]:
    """A proposal, for programs.

    Args:
      book: the ledger.
      proposal: that waits.
      outdated: whether what it would change has changed since.
    """
    from dpjax.governance.budgets import action_of

    return {
        "proposal": proposal.number,
        "who": proposal.who,
        "key": proposal.key,
        "action": action_of(proposal),
        "data": proposal.data_set or "*",
        "from": dict(proposal.before),
        "to": dict(proposal.budget),
        "outdated": outdated,
        "may_approve": book.second_persons(proposal),
    }


def _said(value: object) -> str:
    if isinstance(value, str) and len(value) == 64:
        return f"{value[:16]}…"
    return value if isinstance(value, str) else json.dumps(value)


def holds_with(book: "Ledger", proposal: "Proposal") -> str:
    """How a proposal comes to hold, and by whom.

    Args:
      book: the ledger.
      proposal: that waits.
    """
    may = book.second_persons(proposal)
    who = f" ({' or '.join(may)})" if may else ""
    return f"a second person lets it hold with: dpjax ledger approve {proposal.number}{who}"


def unbound(people: list[str]) -> str:
    """That nobody can tell whether some who approve are these persons.

    Args:
      people: of ``could_be_anybody``.
    """
    return (
        f"the policy knows {', '.join(people)} by the operating system's word alone, so that whoever can write to the "
        "ledger may approve in that name; name their public keys in [keys], or [issuers]"
    )


def show_proposal(book: "Ledger", number: int, *, as_json: bool) -> None:
    """Print a proposal, to whom may see it.

    Args:
      book: the ledger.
      number: of the proposal.
      as_json: whether for programs.
    """
    proposal = book.proposal(number)
    if not book.may_see(proposal):
        book.check("show", proposal.data_set)
    if as_json:
        outdated = number in {each.number for each in book.outdated()}
        typer.echo(json.dumps([proposal_as_dict(book, proposal, outdated=outdated)], ensure_ascii=False, indent=1))
        return
    typer.echo(whole(book, proposal))
