"""Of ``dpjax ledger``: heads that are kept elsewhere, second persons, and older ledgers."""

from pathlib import Path
from typing import Annotated

import typer

_Place = Annotated[
    str | None,
    typer.Option("--ledger", help="A file, or postgresql://user@host/name; else DPJAX_LEDGER, or your own file."),
]


def head(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="To write; keep it where nobody edits the ledger.")],
    ledger: _Place = None,
) -> None:
    """Verify the ledger and write its last record's number and hash, signed.

    [bold]Example[/bold]

      dpjax ledger head head.json

    A trail shows by itself whatever was edited, and not that its end was cut off. Whoever keeps this file elsewhere
    can tell: dpjax ledger verify --head head.json
    """
    from dpjax.governance.ledger import Ledger
    from dpjax.keeping import write_whole

    found = Ledger(ledger).head()
    write_whole(file, found.as_json().encode())
    typer.echo(f"wrote the head of ledger {found.ledger} to {file}: record {found.sequence:,}, signed by {found.who}")


def approve(
    number: Annotated[int, typer.Argument(metavar="NUMBER", help="Of the proposal, from `dpjax ledger show`.")],
    withdraw: Annotated[bool, typer.Option("--withdraw", help="Let it be forgotten instead.")] = False,
    ledger: _Place = None,
) -> None:
    """Let a larger budget of sensitive data, or another policy, hold, which another person has proposed.

    [bold]Examples[/bold]

      dpjax ledger approve 12

      dpjax ledger approve 12 --withdraw

    Who proposed it can't, nor who signs with the same key.
    """
    from dpjax.governance.ledger import Ledger

    book = Ledger(ledger)
    done = book.withdraw(number) if withdraw else book.approve(number)
    what = (
        f"{done.data_set}: ε={done.budget['epsilon']:g} at δ={done.budget['delta']:g}" if done.data_set else "a policy"
    )
    typer.echo(f"proposal {number} of {done.who}, {what}, {'is forgotten' if withdraw else 'holds'}")


def upgrade(ledger: _Place = None) -> None:
    """Bring an older ledger to the tables of this version.

    [bold]Example[/bold]

      dpjax ledger upgrade

    All of it is brought here or nothing is; no record of the trail changes. Copy the file first all the same.
    """
    from dpjax.governance.migrations import upgrade_ledger
    from dpjax.governance.tables import VERSION

    before = upgrade_ledger(ledger)
    said = f"is of version {VERSION} already" if before == VERSION else f"went from version {before} to {VERSION}"
    typer.echo(f"the ledger {said}")
