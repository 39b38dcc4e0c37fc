"""Of ``dpjax ledger``: heads that are kept elsewhere, second persons, mistakes, and older ledgers."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dpjax.cli.accounts_shown import found_run, of_older_kind, print_account, proposed
from dpjax.cli.consent import Yes
from dpjax.cli.errors import disk_in_one_line
from dpjax.cli.proposals import holds_with, unbound, whole

if TYPE_CHECKING:
    from dpjax.governance.heads import Head

_Place = Annotated[
    str | None,
    typer.Option("--ledger", help="A file, or postgresql://user@host/name; else DPJAX_LEDGER, or your own file."),
]


def head(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="To write; keep it where nobody edits the ledger.")],
    newer: Annotated[
        bool, typer.Option("--newer", help="In the place of an older head, if the ledger has what that one says.")
    ] = False,
    ledger: _Place = None,
) -> None:
    """Verify the ledger and write its last record's number and hash, signed.

    [bold]Examples[/bold]

      dpjax ledger head head.json

      dpjax ledger head head.json --newer

    A trail shows by itself whatever was edited, and not that its end was cut off. Whoever keeps this file elsewhere
    can tell: dpjax ledger verify --head head.json. A head that is there already is what shows it, so it stays.
    """
    from dpjax.governance.ledger import Ledger
    from dpjax.keeping import write_whole

    book, kept = Ledger(ledger), None
    if os.path.lexists(file):
        try:
            kept = head_at(file)
        except ValueError as error:
            raise ValueError(f"{file} is there already, and is no head; name another file.") from error
        book.verify(kept)
    found = book.head()
    if kept is not None and (kept.sequence, kept.hash) == (found.sequence, found.hash):
        typer.echo(f"{file} is the head of ledger {found.ledger} already: record {found.sequence:,}")
        return
    if kept is not None and not newer:
        raise ValueError(f"{file} is there already, an older head; name another file, or take its place with --newer.")
    with disk_in_one_line(None, file):
        write_whole(file, found.as_json().encode())
    typer.echo(f"wrote the head of ledger {found.ledger} to {file}: record {found.sequence:,}, signed by {found.who}")


def head_at(file: Path) -> "Head":
    """The head that a file has; ValueError where it has none."""
    from dpjax.governance.heads import read_head

    with disk_in_one_line(file, None):
        text = file.read_text(encoding="utf-8", errors="replace")
    return read_head(text)


def approve(
    number: Annotated[int, typer.Argument(metavar="NUMBER", help="Of the proposal, from `dpjax ledger show`.")],
    withdraw: Annotated[bool, typer.Option("--withdraw", help="Let it be forgotten instead.")] = False,
    yes: Annotated[bool, Yes] = False,
    ledger: _Place = None,
) -> None:
    """Let hold what another person has proposed: a larger budget of sensitive data, a policy, an entry taken back.

    [bold]Examples[/bold]

      dpjax ledger approve 12

      dpjax ledger approve 12 --withdraw

    All that it would change is shown first, and at a terminal it is asked for. Who proposed it can't, nor who signs
    with the same key, nor whom the policy knows by no key where it knows others by theirs.
    """
    from dpjax.governance.ledger import Ledger
    from dpjax.governance.policy import could_be_anybody

    book = Ledger(ledger)
    if not withdraw:
        proposal = book.proposal(number)
        if book.may_see(proposal):
            typer.echo(whole(book, proposal))
        policy = book.policy()
        if policy is not None and book.who in could_be_anybody(policy):
            typer.echo(f"note: {unbound([book.who])}", err=True)
        if not yes and sys.stdin.isatty() and not typer.confirm("Let it hold?", err=True):
            raise ValueError("nothing was approved.")
    done = book.withdraw(number) if withdraw else book.approve(number)
    typer.echo(f"proposal {number} of {done.who}, {proposed(done)}, {'is forgotten' if withdraw else 'holds'}")


def retract(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Of the data set in the ledger.")],
    run: Annotated[str, typer.Argument(metavar="RUN", help="Its id, or how it begins, from `dpjax ledger show NAME`.")],
    reason: Annotated[str, typer.Option(help="What was wrong with it, in words.")],
    ledger: _Place = None,
) -> None:
    """Take back what was entered of another tool by mistake: it counts no more, and stays written down with the reason.

    [bold]Example[/bold]

      dpjax ledger retract clinic 6f1d --reason 'noise multiplier 0.4 was 4.0; entered anew'

    Of sensitive data it takes an owner, and counts until a second person approves. What dpjax itself ran is never taken
    back.
    """
    from dpjax.governance.ledger import Ledger

    book = Ledger(ledger)
    id = found_run(book.account(name), run)
    proposal = book.retract(name, id, reason)
    if proposal is not None:
        typer.echo(f"proposed; {holds_with(book, proposal)}")
        return
    print_account(book.account(name), with_runs=False)


def clock(
    reason: Annotated[str, typer.Option(help="Whose clock was wrong, and how it is known, in words.")],
    ledger: _Place = None,
) -> None:
    """Let the trail go on from the true time, where a machine whose clock was ahead has written into it.

    [bold]Example[/bold]

      dpjax ledger clock --reason 'the clock of node 3 was two years ahead'

    Look at this machine's own clock first. It takes an owner of all data, or who made the ledger where it has no
    policy. No record changes: one more says which of them have a wrong time, and only there time may step back.
    """
    from dpjax.governance.ledger import Ledger

    first, last, was = Ledger(ledger).set_clock(reason)
    records = f"record {first:,}" if first == last else f"records {first:,} to {last:,}"
    typer.echo(f"written down that the time of {records}, up to {was[:19]}, was wrong; it goes on from now")


def upgrade(ledger: _Place = None) -> None:
    """Bring an older ledger to the tables of this version.

    [bold]Example[/bold]

      dpjax ledger upgrade

    All of it is brought here or nothing is; no record of the trail changes. Copy the file first all the same.
    Data sets whose fingerprint is of an older kind are named.
    """
    from dpjax.governance.ledger import Ledger
    from dpjax.governance.migrations import upgrade_ledger
    from dpjax.governance.tables import VERSION

    before = upgrade_ledger(ledger)
    said = f"is of version {VERSION} already" if before == VERSION else f"went from version {before} to {VERSION}"
    typer.echo(f"the ledger {said}")
    for each in sorted(Ledger(ledger).of_older_kind()):
        typer.echo(of_older_kind(each))
