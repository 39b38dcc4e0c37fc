"""``dpjax deploy``: a federation whose clients are real, from one plan."""

from pathlib import Path
from typing import Annotated

import typer

_HELP = """
A federation whose clients are real: processes of their own, on Flower, over TLS.

[bold]Try it on one machine[/bold] (four hospitals; each line in a terminal of its own)

  dpjax deploy rehearse four experiment=heart_patients privacy.epsilon=2 privacy.clip_norm=1

  dpjax deploy server four/plan.yaml --key four/server/coordinator --certificates four/server
  --rows four/server/test.parquet

  dpjax deploy client four/plan.yaml --key four/Cleveland/key --rows four/Cleveland/rows.parquet --ca four/ca.pem

[bold]For real[/bold]

  Each client makes a key and sends its .pub: [bold]dpjax deploy key hospital[/bold]. The coordinator makes
  [bold]certificates[/bold] and a [bold]plan[/bold], sends plan.yaml and ca.pem to all, and starts the
  [bold]server[/bold]. Each client looks at the plan ([bold]dpjax deploy show plan.yaml[/bold]) and starts a
  [bold]client[/bold]. No row leaves a client, and no code that comes by network is run.
"""

app = typer.Typer(help=_HELP, no_args_is_help=True, rich_markup_mode="rich", add_completion=False)

_PLAN = Annotated[Path, typer.Argument(metavar="PLAN", help="The plan, the same file for everybody.")]
_OVERRIDES = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="FIELD=VALUE...", help="The config, as for a simulated run: experiment=..., privacy.epsilon=..."
    ),
]


@app.command("key")
def key_command(
    path: Annotated[Path, typer.Argument(metavar="FILE", help="Where; its public half is FILE.pub.")],
) -> None:
    """Make a private key for a client, or for the coordinator, and the public one to send."""
    from experiments.deploy.keys import write_client_key
    from experiments.deploy.plan import fingerprint

    public = write_client_key(path)
    print(f"Private: {path}  (keep it)\nPublic:  {path}.pub  (send it; {fingerprint(public)})")


@app.command("certificates")
def certificates_command(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Gets ca.pem, server.pem, server.key, coordinator.")],
    hosts: Annotated[list[str], typer.Argument(metavar="HOST...", help="Names or addresses that clients connect to.")],
) -> None:
    """Make what the server proves itself with: TLS certificates, and the key that it signs letters with."""
    from experiments.deploy.keys import write_certificates, write_client_key

    write_certificates(folder, hosts)
    write_client_key(folder / "coordinator")
    print(f"Send ca.pem to the clients; keep all else in {folder}. Good for a year, for {', '.join(hosts)}.")


@app.command("plan")
def plan_command(
    path: Annotated[Path, typer.Argument(metavar="PLAN", help="The file to write.")],
    overrides: _OVERRIDES = None,
    client: Annotated[
        list[str] | None, typer.Option("--client", metavar="NAME=FILE.pub", help="A client and its public key; repeat.")
    ] = None,
    server: Annotated[Path, typer.Option("--server", metavar="FILE.pub", help="The coordinator's public key.")] = Path(
        "server/coordinator.pub"
    ),
) -> None:
    """Write what all agree to: config, clients, shapes of the data, and the ε that follows.

    The config's data are the coordinator's: rows of the same columns as the clients', of which only the shapes are
    read here. federated.records_per_client is the most rows that a client trains on.
    """
    from experiments.deploy.prepare import write_plan

    write_plan(path, overrides or [], client or [], server)


@app.command("rehearse")
def rehearse_command(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A new folder.")],
    overrides: _OVERRIDES = None,
    host: Annotated[str, typer.Option("--host", help="Name or address of the server.")] = "127.0.0.1",
    secret: Annotated[
        bool, typer.Option("--secret", help="Draw cohorts and noise from this machine's randomness, not from the seed.")
    ] = False,
) -> None:
    """Cut a data set up among clients: keys, certificates, a plan and a file of rows each, for one machine.

    All randomness follows from the config's seed, so that the run is equal to the simulated one; `deploy compare`
    shows both.
    """
    from experiments.deploy.prepare import rehearse

    rehearse(folder, overrides or [], host, secret)


@app.command("show")
def show_command(plan: _PLAN) -> None:
    """Say what a plan does, and what ε it has, computed anew."""
    from experiments.deploy.prepare import show

    show(plan)


@app.command("server")
def server_command(
    plan: _PLAN,
    key: Annotated[Path, typer.Option("--key", help="The coordinator's private key.")],
    certificates: Annotated[
        Path, typer.Option("--certificates", metavar="DIR", help="Of `dpjax deploy certificates`.")
    ],
    host: Annotated[str, typer.Option("--host", help="Address to listen on; 0.0.0.0 for all.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=1, max=65535, help="Port to listen on.")] = 9443,
    rows: Annotated[
        Path | None,
        typer.Option("--rows", help="Test rows: of a rehearsal, or a table if data=own. Without, no model is tested."),
    ] = None,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder of the run.")] = Path("results/deployed"),
    seconds: Annotated[float, typer.Option("--seconds", min=1, help="How long a client may take to answer.")] = 60,
    wait: Annotated[float, typer.Option("--wait", min=1, help="Seconds to wait for clients, before any round.")] = 600,
    least: Annotated[
        int | None,
        typer.Option(
            "--least",
            min=1,
            help="Clients to wait for before each round. Default: all before the first.",
        ),
    ] = None,
) -> None:
    """Run the server: rounds of the plan with whoever answers in time."""
    from experiments.deploy.server_command import run_server

    run_server(plan, key, certificates, host, port, rows, out, seconds, wait, least)


@app.command("client")
def client_command(
    plan: _PLAN,
    key: Annotated[Path, typer.Option("--key", help="This client's private key.")],
    rows: Annotated[Path, typer.Option("--rows", help="This client's rows: of a rehearsal, or a table if data=own.")],
    ca: Annotated[Path, typer.Option("--ca", help="ca.pem, by which the server is known.")],
    server: Annotated[
        str, typer.Option("--server", metavar="HOST:PORT", help="Where the server listens.")
    ] = "127.0.0.1:9443",
    state: Annotated[
        Path | None,
        typer.Option("--state", metavar="DIR", help="Where it keeps what it has sent. Default: of the user."),
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", metavar="DIR", help="Where to put the final model.")] = None,
    wait: Annotated[float, typer.Option("--wait", min=1, help="Seconds to go on trying to reach the server.")] = 600,
) -> None:
    """Run a client: it trains on its own rows, round by round, and sends what the plan says."""
    from experiments.deploy.client_command import run_client

    run_client(plan, key, rows, ca, server, state, out, wait)


@app.command("compare")
def compare_command(
    plan: _PLAN,
    deployed: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of the deployed run.")],
    out: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="The same as JSON, in a file.")] = None,
) -> None:
    """Simulate a rehearsal's plan here and put it beside the deployed run: parameters, accuracy, ε, bytes."""
    from experiments.deploy.beside import compare

    compare(plan, deployed, out)
