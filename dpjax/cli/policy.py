"""``dpjax policy`` and ``dpjax whoami``: who may do what with sensitive data, and who one is."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dpjax.cli.proposals import holds_with, unbound

if TYPE_CHECKING:
    from dpjax.governance.ledger import Ledger

app = typer.Typer(
    name="policy",
    no_args_is_help=True,
    rich_markup_mode="rich",
    help="Who may do what with sensitive data.\n\n"
    "Data whose budget was set with --sensitive are closed to everybody whom no grant lets in; of all others nothing "
    "is asked. A policy is a TOML file:\n\n"
    '  \\[groups]\n\n  ward = \\["ana", "bob"]\n\n'
    '  \\[\\[grant]]\n\n  to = \\["olga"]\n\n  role = "owner"\n\n  data = \\["*"]\n\n'
    '  \\[\\[grant]]\n\n  to = \\["ward"]\n\n  role = "analyst"\n\n  data = \\["clinic"]\n\n  max_epsilon = 2.0\n\n'
    "[bold]Roles[/bold]\n\n"
    "  owner: sets budgets, releases models, reads rows; an owner of all data (*) changes the policy\n\n"
    "  analyst: runs within max_epsilon (of one run, at delta or the budget's), units and mechanisms\n\n"
    "  custodian: approves larger budgets, encrypts rows, closes what others left open\n\n"
    "  auditor: sees budgets and runs, exports the trail\n\n"
    "[bold]Examples[/bold]\n\n"
    "  dpjax policy set policy.toml\n\n  dpjax policy show\n\n  dpjax whoami",
)

_Place = Annotated[
    str | None,
    typer.Option("--ledger", help="A file, or postgresql://user@host/name; else DPJAX_LEDGER, or your own file."),
]


@app.command("set")
def set_(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Of the policy, TOML.")], ledger: _Place = None
) -> None:
    """Let a policy hold from now on.

    [bold]Example[/bold]

      dpjax policy set policy.toml

    The first is set by who made the ledger, every other by an owner of all data, and holds once a second person has
    approved it, where there is one who may. Each is kept in the trail. Who sets it must own all data under it, with the
    key and the token that he has now: a policy with \\[issuers] is set with a token of theirs as DPJAX_TOKEN.
    """
    from dpjax.governance.ledger import Ledger
    from dpjax.governance.policy import read_policy

    try:
        text = file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"FILE={file} is no text in UTF-8; write it anew.") from error
    book = Ledger(ledger)
    proposal = book.set_policy(text)
    if proposal is not None:
        typer.echo(f"proposed; {holds_with(book, book.proposal(proposal))}")
        _warn(book, text)
        return
    policy = read_policy(text)
    grants = "1 grant holds" if len(policy.grants) == 1 else f"{len(policy.grants)} grants hold"
    typer.echo(f"{grants} from now on; see dpjax policy show")
    _warn(book, text)
    unknown = {data for grant in policy.grants for data in grant.data} - {"*", *book.names()}
    if unknown:
        typer.echo(f"note: no data set is called {', '.join(sorted(unknown))} yet", err=True)


def _warn(book: "Ledger", text: str) -> None:
    """Say so where a second person could be anybody."""
    from dpjax.governance.policy import could_be_anybody, read_policy, second_persons

    policy = read_policy(text)
    anybody = could_be_anybody(policy)
    if len(second_persons(policy, "", "")) > 1 and anybody:
        typer.echo(f"warning: {unbound(anybody)}", err=True)


@app.command()
def show(
    person: Annotated[
        str | None, typer.Argument(metavar="[PERSON]", help="Whose rights; if left out, the file.")
    ] = None,
    ledger: _Place = None,
) -> None:
    """Print the policy that holds, or what a person may do.

    [bold]Examples[/bold]

      dpjax policy show

      dpjax policy show ana
    """
    from dpjax.governance.ledger import Ledger

    book = Ledger(ledger)
    if person is not None:
        _print_rights(book, person)
        return
    text = book.policy_text()
    typer.echo(text.rstrip("\n") if text else "the ledger has no policy; sensitive data are closed to everybody")


@app.command()
def token(
    who: Annotated[str, typer.Argument(metavar="PERSON", help="Whom it names.")],
    issuer: Annotated[str, typer.Option(help="As the policy's table `issuers` names it.")],
    key: Annotated[Path, typer.Option(help="The issuer's private key, a PEM file.")],
    holder: Annotated[
        str, typer.Option(help="Id of the person's own key, from their `dpjax whoami`; else of who uses it first.")
    ] = "",
    new_key: Annotated[bool, typer.Option("--new-key", help="Make the key, which is not there yet.")] = False,
    hours: Annotated[float, typer.Option(help="Until it expires.")] = 8.0,
    ledger: _Place = None,
) -> None:
    """Issue a token that says who somebody is, for this ledger alone.

    [bold]Example[/bold]

      dpjax policy token ana --issuer hospital --key issuer.pem --holder 09cbdb21aae8b803

      dpjax policy token olga --issuer hospital --key issuer.pem --new-key

    The person sets it as DPJAX_TOKEN. Tokens count where the policy has a table \\[issuers] with hospital = "the public
    key"; from then on nobody is who the operating system says.
    """
    from dpjax.governance.access import faults_of_token
    from dpjax.governance.ledger import Ledger
    from dpjax.governance.signing import signing_key
    from dpjax.governance.tokens import issue_token

    there = key.expanduser().exists()
    if not there and not new_key:
        raise ValueError(f"key={key} is not there; name the issuer's, or have a new one made with --new-key.")
    if there and new_key:
        raise ValueError(f"key={key} is there already; leave --new-key out, or name another file.")
    book, signing = Ledger(ledger), signing_key(key)
    if (policy := book.policy()) is not None:
        for wrong in faults_of_token(policy, issuer, signing.public, who):
            typer.echo(f"warning: {wrong}", err=True)
    typer.echo(f"issuer {issuer} has the public key {signing.public}", err=True)
    typer.echo(issue_token(signing, issuer=issuer, who=who, ledger=book.name, hours=hours, holder=holder))


def whoami_command(ledger: _Place = None) -> None:
    """Print with which key you sign, who you are to the ledger, and what you may do.

    [bold]Example[/bold]

      dpjax whoami

    The key is printed also where the ledger wants a token that you do not have yet: whoever issues it asks for its id.
    """
    from dpjax.governance.ledger import Ledger

    book = Ledger(ledger)
    typer.echo(f"you sign with key {book.key.id}")  # who has no token yet needs it to be issued one
    typer.echo(f"public key {book.key.public}")
    identity = book.identity()
    by = "the operating system" if identity.token is None else f"a token of {identity.token.issuer}"
    typer.echo(f"{identity.who}, says {by}")
    _print_rights(book, identity.who)


def _print_rights(book: "Ledger", who: str) -> None:
    from dpjax.governance.access import grants_of, limits_of
    from dpjax.governance.policy import ROLES

    policy = book.policy()
    if policy is None:
        typer.echo("the ledger has no policy; sensitive data are closed to everybody")
        return
    grants = grants_of(policy, who)
    if not grants:
        typer.echo(f"{who} has no role; sensitive data are closed to them")
    for grant in grants:
        on = "all data" if "*" in grant.data else ", ".join(grant.data)
        limits = limits_of(grant)
        typer.echo(f"{grant.role} of {on}: {', '.join(sorted(ROLES[grant.role]))}{f'; {limits}' if limits else ''}")
