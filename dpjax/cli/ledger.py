"""``dpjax ledger``: budgets of sensitive data, what was spent of them, and whether anybody edited the record."""

import json
import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dpjax.cli import ledger_record
from dpjax.cli.accounts_shown import (
    as_dict,
    composed,
    counted,
    found_run,
    of_older_kind,
    print_account,
    proposed,
    waiting,
)
from dpjax.cli.budget_owners import owners_by
from dpjax.cli.consent import Yes, ask_if_beyond, ask_if_overspent
from dpjax.cli.entries import entered
from dpjax.cli.proposals import holds_with, proposal_as_dict, show_proposal

if TYPE_CHECKING:
    from dpjax.encryption.keys import Keys

app = typer.Typer(
    name="ledger",
    no_args_is_help=True,
    rich_markup_mode="rich",
    help="Budgets of sensitive data: how much of each may be spent, and who has spent what.\n\n"
    "A run with governance=local reserves its whole ε before its first step, and is refused if that is more than what "
    "is left. All runs on the same rows count together, whoever runs them, and however the rows are called.\n\n"
    "[bold]Examples[/bold]\n\n"
    "  dpjax ledger init\n\n"
    "  dpjax ledger budget breast_cancer --epsilon 8 --delta 1e-5\n\n"
    "  uv run python -m experiments.run experiment=breast_cancer governance=local\n\n"
    "  dpjax ledger show\n\n"
    "  dpjax ledger verify\n\n"
    "DPJAX_LEDGER names the database, a file or postgresql://user@host/name, if it is not to be a file of your own.",
)

_Place = Annotated[
    str | None,
    typer.Option("--ledger", help="A file, or postgresql://user@host/name; else DPJAX_LEDGER, or your own file."),
]
_Name = Annotated[str, typer.Argument(metavar="NAME", help="Of the data set in the ledger.")]


@app.command()
def init(ledger: _Place = None) -> None:
    """Make an empty ledger.

    [bold]Examples[/bold]

      dpjax ledger init

      dpjax ledger init --ledger postgresql://privacy@db.clinic.example/ledger

    The file is yours alone (mode 600); for several people take PostgreSQL, and let its server say who may write.
    """
    from dpjax.governance.database import shown
    from dpjax.governance.ledger import create_ledger

    made = create_ledger(ledger)
    typer.echo(f"made the ledger {shown(made.url)}; next: dpjax ledger budget NAME --epsilon 8 --delta 1e-5")


@app.command()
def budget(
    name: _Name,
    epsilon: Annotated[float, typer.Option(help="Most ε that all runs together may spend.")],
    delta: Annotated[float, typer.Option(help="δ at which it is counted, below 1/rows.")],
    data: Annotated[
        str | None,
        typer.Option(
            help="The rows: a name of `dpjax data list`, hub:owner/name, or a path; if left out, NAME is one."
        ),
    ] = None,
    unit: Annotated[str, typer.Option(help="What the budget protects: example, user or client.")] = "example",
    adjacency: Annotated[
        str, typer.Option(help="zero_out, add_or_remove_one or replace_one, as the runs have it.")
    ] = "zero_out",
    composition: Annotated[
        str | None,
        typer.Option(
            help="planned, tight, for runs not chosen by what earlier ones gave out; adaptive, also if they are; if "
            "left out, as it is, and planned of new data."
        ),
    ] = None,
    sensitive: Annotated[
        bool | None,
        typer.Option(
            "--sensitive/--not-sensitive",
            help="Close it to all whom no grant of a policy lets in.",
        ),
    ] = None,
    owners: Annotated[
        str | None,
        typer.Option(
            "--owners",
            metavar="COLUMN",
            help="Of a budget per user: the column that says whose a row is; if left out, that of the first run.",
        ),
    ] = None,
    encoding: Annotated[str | None, typer.Option(help="Of a text file, if it is not UTF-8.")] = None,
    yes: Annotated[bool, Yes] = False,
    ledger: _Place = None,
) -> None:
    """Give a data set a budget, or another one.

    [bold]Examples[/bold]

      dpjax ledger budget breast_cancer --epsilon 8 --delta 1e-5

      dpjax ledger budget clinic --data patients.csv --unit user --owners patient_id --epsilon 4 --delta 1e-6

    The rows are known again by what they are: a copy under another name, in another format, in another order or with
    renamed columns has the same budget. A budget per user is for owners by one column, and runs for others are refused.
    A larger budget of sensitive data holds once a second person approves it. One below what is spent already is asked
    for, and a script says --yes.
    """
    from dpjax.fingerprints import fingerprint_of
    from dpjax.governance.ledger import Ledger

    book = Ledger(ledger)
    if data is None:
        _check_names_rows(name, known=name in book.names())
    columns = _columns(data or name, encoding)
    rows = fingerprint_of(columns)
    if delta >= 1 / max(rows.num_rows, 1):
        raise ValueError(f"delta={delta:g} must be below 1/rows = 1/{rows.num_rows}.")
    of = {"unit": unit, "adjacency": adjacency, "epsilon": epsilon, "delta": delta, "composition": composition}
    whose = owners_by(owners, columns, rows, unit, book, name, sensitive)
    ask_if_overspent(book, name, epsilon, delta, composition, yes=yes)
    proposal = book.set_budget(name, rows, **of, sensitive=sensitive, whose=whose)
    if proposal is not None:
        other = composed(proposal.budget["composition"].split()[0], proposal.before["composition"].split()[0])
        typer.echo(f"proposed{other}; {holds_with(book, proposal)}")
        return
    kept = composition or book.budget_of(name).composition
    known = book.whose(name)
    by = "" if known is None else f" ({known.name})"
    typer.echo(
        f"{name}: ε={epsilon:g} at δ={delta:g} per {unit}{by}, {adjacency}{composed(kept)}, for {rows.num_rows:,} "
        "rows; runs with governance=local spend it."
    )


def _check_names_rows(name: str, *, known: bool) -> None:
    from dpjax.datasets.raw_columns import names_rows

    if not names_rows(name):
        what = f"data {name} has a budget, and this is" if known else f"NAME={name} is"
        raise ValueError(f"{what} no name of `dpjax data list`, and no file; name its rows with --data FILE.")


def _columns(data: str, encoding: str | None) -> Mapping[str, Any]:
    from dpjax.datasets.raw_columns import columns_at, columns_named

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return columns_at(data, encoding) if encoding else columns_named(data)


@app.command()
def show(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="Of a data set, or number of a proposal; if left out, all.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON, for programs.")] = False,
    ledger: _Place = None,
) -> None:
    """Show what of each budget is spent, what is reserved, and by whom.

    [bold]Examples[/bold]

      dpjax ledger show

      dpjax ledger show breast_cancer

      dpjax ledger show 12

    Of a proposal all is shown that it would change, of a policy the lines that differ from the one in force.

    Spent is the ε at the budget's δ of all steps that were begun; reserved is with all steps that may still come.
    """
    from dpjax.governance.ledger import Ledger

    book = Ledger(ledger)
    waits = [each for each in book.proposals() if book.may_see(each)]
    if name is not None and name not in book.names() and name.isdecimal():
        show_proposal(book, int(name), as_json=as_json)
        return
    with waiting("adding up"):
        accounts = [book.account(each) for each in ([name] if name else book.names("show"))]
    outdated = {each.number for each in book.outdated()}
    waits = [each for each in waits if name in (None, each.data_set)]
    if as_json:
        both = [as_dict(each) for each in accounts]
        both += [proposal_as_dict(book, each, outdated=each.number in outdated) for each in waits]
        typer.echo(json.dumps(both, ensure_ascii=False, indent=1))
        return
    if not accounts and not book.names():
        typer.echo("no data set has a budget yet; set one: dpjax ledger budget NAME --epsilon 8 --delta 1e-5")
    for account in accounts:
        print_account(account, with_runs=name is not None)
    for each in waits:
        old = "it is outdated, as what it changes has changed since; let it be forgotten with: dpjax ledger approve "
        ends = f"{old}{each.number} --withdraw" if each.number in outdated else holds_with(book, each)
        typer.echo(f"proposal {each.number} of {each.who}: {proposed(each)}; {ends}")
    if waits:
        typer.echo(f"see all of one, as: dpjax ledger show {waits[-1].number}")
    for each in sorted({account.data_set.name for account in accounts} & book.of_older_kind()):
        typer.echo(of_older_kind(each))
    if name is None and (others := len(book.names()) - len(accounts)):
        typer.echo(f"{counted(others, 'data set')} more that you have no role to see")


@app.command()
def enter(
    name: _Name,
    tool: Annotated[str, typer.Option(help="That spent it, as `opacus 1.6`.")],
    label: Annotated[str, typer.Option(help="What was done, in words.")] = "",
    epsilon: Annotated[float | None, typer.Option(help="Of all that it gave out, with --delta.")] = None,
    delta: Annotated[float | None, typer.Option(help="Of the same.")] = None,
    noise_multiplier: Annotated[float | None, typer.Option(help="Of a DP-SGD run: stddev / clip norm.")] = None,
    sampling_rate: Annotated[float, typer.Option(help="Of its Poisson sampling; 1: every step sees all.")] = 1.0,
    num_steps: Annotated[int, typer.Option(help="Of its steps.")] = 1,
    event: Annotated[
        Path | None, typer.Option(help="A file with the event of dp-accounting as JSON, in the place of numbers.")
    ] = None,
    unit: Annotated[
        str | None,
        typer.Option(help="That its numbers are for: example, user or client; it must be the budget's."),
    ] = None,
    adjacency: Annotated[
        str | None, typer.Option(help="zero_out, add_or_remove_one or replace_one, of the same; as the budget's.")
    ] = None,
    yes: Annotated[bool, Yes] = False,
    ledger: _Place = None,
) -> None:
    """Enter what another tool has spent: it happened, so it counts whether or not it fits.

    [bold]Examples[/bold]

      dpjax ledger enter clinic --tool 'opacus 1.6' --noise-multiplier 1.1 --sampling-rate 0.01 --num-steps 2000

      dpjax ledger enter clinic --tool 'a published histogram' --epsilon 0.5 --delta 0

      dpjax ledger enter clinic --tool 'our own' --event event.json

      dpjax ledger enter clinic --tool 'our own' --epsilon 0.5 --delta 0 --unit user --adjacency zero_out

    Numbers are for one row, as most tools state them, if nothing else is said; a budget per user or client takes those
    alone that are said to be for its unit and neighbours. An event is written as {"type": "GaussianDpEvent",
    "noise_multiplier": 2.0}; types and fields are those of dp_accounting, whose noise multipliers are standard
    deviation / clip norm. What takes the sum beyond the budget is asked for first, and a script says --yes. What was
    entered by mistake is taken back by dpjax ledger retract.
    """
    from dpjax.governance.ledger import Ledger

    spend = entered(epsilon, delta, noise_multiplier, sampling_rate, num_steps, event)
    book = Ledger(ledger)
    ask_if_beyond(book, name, spend, yes=yes)
    book.enter(name, spend, tool=tool, label=label, unit=unit, adjacency=adjacency)
    print_account(book.account(name), with_runs=False)


@app.command()
def close(
    name: _Name,
    run: Annotated[str, typer.Argument(metavar="RUN", help="Its id, or how it begins, from `dpjax ledger show NAME`.")],
    ledger: _Place = None,
) -> None:
    """End a reservation whose process is no more, as on a machine that is gone: the steps that were begun stay spent.

    [bold]Example[/bold]

      dpjax ledger close clinic 6f1d...

    Runs that ended on this machine are closed by themselves when the next one reserves.
    """
    from dpjax.governance.ledger import Ledger

    book = Ledger(ledger)
    book.close_others(name, [found_run(book.account(name), run)])
    print_account(book.account(name), with_runs=False)


@app.command()
def verify(
    head: Annotated[Path | None, typer.Option(help="A file of `dpjax ledger head`, kept elsewhere.")] = None,
    ledger: _Place = None,
) -> None:
    """Compare all that the ledger holds with its trail, and the trail with its own hashes.

    [bold]Examples[/bold]

      dpjax ledger verify

      dpjax ledger verify --head head.json

    Any edit, deletion or reordering is found, and every signature is checked; with a head that was kept elsewhere, an
    end that was cut off is found as well. The exit status is 1 if anything is wrong.
    """
    from dpjax.governance.ledger import Ledger

    kept = None if head is None else ledger_record.head_at(head)
    with waiting("verifying"):
        number, last = Ledger(ledger).verify(kept)
    since = "" if kept is None else f", and has what {kept.who} signed on {kept.time[:10]}"
    typer.echo(f"the ledger is as it was written: {counted(number, 'record')}, head {last}{since}")


@app.command()
def export(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Of JSON lines, a record each.")],
    sealed: Annotated[bool, typer.Option("--sealed", help="So that only who holds a key can read it.")] = False,
    keys: Annotated[
        str | None, typer.Option("--keys", metavar="SOURCE", help="To seal with, as file:PATH; else DPJAX_KEYS.")
    ] = None,
    ledger: _Place = None,
) -> None:
    """Write the trail as JSON lines.

    [bold]Examples[/bold]

      dpjax ledger export trail.jsonl

      dpjax ledger export trail.sealed --sealed

    A line has sequence, time (UTC), who, action, subject, detail, hash, signer and signature; each hash is of the
    record and of the hash before it, and signed. The file is yours alone (mode 600), and takes the place of none. What
    is sealed, dpjax keys open reads.
    """
    from dpjax.cli.errors import disk_in_one_line
    from dpjax.governance.ledger import Ledger
    from dpjax.private_files import private_file

    if os.path.lexists(file):
        raise ValueError(f"{file} is there already; name another file.")
    if keys is not None and not sealed:
        raise ValueError("--keys seals nothing without --sealed; add that, or leave --keys out.")
    sealing = _sealing(keys) if sealed else None
    lines = [json.dumps(record, ensure_ascii=False) for record in Ledger(ledger).records()]
    text = "".join(f"{line}\n" for line in lines).encode()
    if sealing is None:
        with disk_in_one_line(None, file), private_file(file) as out:
            out.write(text)
        typer.echo(f"wrote {counted(len(lines), 'record')} to {file}")
        return
    from dpjax.encryption.errors import short
    from dpjax.encryption.writer import write_sealed

    with disk_in_one_line(None, file):
        write_sealed(file, text, sealing, purpose="ledger export")
    typer.echo(f"wrote {counted(len(lines), 'record')} to {file}, sealed with key {short(sealing.ids[0])}")


def _sealing(source: str | None) -> "Keys":
    from dpjax.encryption.keys import keys_from

    return keys_from(source)


app.command()(ledger_record.head)
app.command()(ledger_record.approve)
app.command()(ledger_record.retract)
app.command()(ledger_record.clock)
app.command()(ledger_record.upgrade)
