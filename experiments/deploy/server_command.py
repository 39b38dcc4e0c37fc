"""``dpjax deploy server``."""

import sys
import time
from importlib.util import find_spec
from pathlib import Path

import jax
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from dpjax.program_cache import keep_programs
from experiments.config import ConfigError
from experiments.deploy.correspondence import Account
from experiments.deploy.deployable import refuse_undeployable
from experiments.deploy.federation import Federation, make_federation
from experiments.deploy.kept import Kept
from experiments.deploy.keys import CA, check_server, public_line, read_client_key
from experiments.deploy.outcome import ACCOUNTS, write_outcome
from experiments.deploy.plan import read_plan
from experiments.deploy.prepare import tell
from experiments.deploy.rows import test_rows
from experiments.deploy.server import ServerSide


def run_server(
    path: Path,
    key_file: Path,
    certificates: Path,
    host: str,
    port: int,
    rows: Path | None,
    out: Path,
    seconds: float,
    wait: float,
    least: int | None,
) -> None:
    """Run a plan's rounds; see ``commands.server_command`` for the arguments.

    Raises:
      ConfigError: what keeps it from running.
    """
    plan = read_plan(path)
    refuse_undeployable(plan.cfg)
    key = read_client_key(key_file)
    if public_line(key).split()[:2] != plan.server.key.split()[:2]:
        raise ConfigError(f"--key {key_file} is not the key of the plan's server; give the coordinator's own.")
    check_server(certificates)
    needed = len(plan.clients) if least is None else least
    if needed > len(plan.clients):
        raise ConfigError(f"--least {needed} is more than the plan's {len(plan.clients)} clients; lower it.")
    if (out / "result.json").is_file():
        raise ConfigError(f"--out {out} holds a finished run; give another folder.")
    test = None if rows is None else test_rows(plan, rows)
    need_flower()
    keep_programs()
    federation = make_federation(plan, test=test)
    tell(federation)
    out.mkdir(parents=True, exist_ok=True)
    print("starting Flower's SuperLink, which takes some seconds ...", flush=True)
    fewest = federation.threshold if federation.is_secure else 1
    _run(federation, key, certificates, host, port, test, out, seconds, wait, needed, least is not None, fewest)


def need_flower() -> None:
    """Refuse to go on without Flower.

    Raises:
      ConfigError: it is not installed.
    """
    if find_spec("flwr") is None:
        raise ConfigError("Flower is not installed; install the extra: pip install 'dpjax[flower]'.")


def _run(
    federation: Federation, key, certificates, host, port, test, out, seconds, wait, needed, given, fewest
) -> None:
    from experiments.deploy.flower_post import FlowerPost
    from experiments.deploy.flower_tasks import Tasks
    from experiments.deploy.processes import new_secret, private_folder, refused_keys, submit, superlink

    plan = federation.plan
    kept = Kept(out, plan.digest)
    if kept.told["done"]:
        print(f"going on after round {kept.told['done']} of {plan.cfg.optimizer.num_steps}")
    with private_folder() as folder:
        secret = new_secret(folder)
        with superlink(folder, certificates, secret, host, port, out / "superlink.log") as link:
            submit(folder, certificates, host, port, [member.key for member in plan.clients])
            reached = "127.0.0.1" if host in ("0.0.0.0", "::") else host  # nosec B104 # compared, not bound
            tasks = Tasks(f"{reached}:{port}", secret.read_bytes(), (certificates / CA).read_bytes())

            def app(grid) -> None:
                post = FlowerPost(grid, plan, lambda: refused_keys(link.said))
                with _Rounds(plan.cfg.optimizer.num_steps) as shown:
                    first = kept.told["done"]

                    def ready(step: int) -> None:
                        least = needed if given or step == first else fewest
                        _wait_for(side, post, least, wait, shown, f"{host}:{port}")

                    side = ServerSide(
                        federation,
                        post,
                        key,
                        seconds=seconds,
                        ready=ready,
                        evaluate=_evaluator(federation, test),
                        tell=shown.done,
                    )
                    ended = side.run(kept)
                    if not any(account.answered for account in ended.accounts):
                        raise ConfigError(
                            "no client was in any round, so that nothing was learnt; see the lines above."
                        )
                    write_outcome(out, federation, ended, test, post.strangers())
                    side.say_done(ended.state)
                _say(out, ended.accounts, [member.name for member in plan.clients], post.strangers())

            tasks.run(app, lambda: link.runs)
            tasks.close()
            if not (out / "result.json").is_file():
                raise ConfigError(f"Flower's SuperLink ended before the run did; see {out / 'superlink.log'}.")


def _evaluator(federation: Federation, test):
    if test is None:
        return None
    arrays, problem, solver = federation.setup.arrays, federation.setup.problem, federation.solver()
    evaluate = jax.jit(lambda frozen, params, rows: problem.evaluate(frozen, solver.model_of(params), rows))
    return lambda params: {"test": evaluate(arrays.frozen, params, arrays.test)}


class _Rounds:
    """A bar over the rounds, or a line each where there is no terminal."""

    def __init__(self, total: int) -> None:
        self._console = Console(file=sys.stderr, soft_wrap=True)
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        self._task = self._bar.add_task("waiting for clients", total=total)

    def __enter__(self) -> "_Rounds":
        self._bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.stop()

    def say(self, line: str) -> None:
        """A line, above the bar."""
        self._console.print(line, highlight=False, markup=False)

    def done(self, done: int, total: int, line: str) -> None:
        """So many rounds are done."""
        self._bar.update(self._task, completed=done, description="rounds")
        if not self._console.is_terminal or ";" in line or "given up" in line:
            self.say(f"{line} ({done} of {total})")


def _wait_for(side: ServerSide, post, least: int, wait: float, shown: _Rounds, where: str) -> None:
    """Wait until enough clients are there; who comes, and who is turned away, is told."""
    ends, told, turned = time.monotonic() + wait, -1, 0
    while len(ready := side.talk.greet(min(5.0, wait))) < least:
        if len(ready) != told:
            told = len(ready)
            names = ", ".join(side.plan.clients[number].name for number in sorted(ready))
            here = f"{told} of {least} clients are here{f': {names}' if names else ''}"
            shown.say(f"listening on {where}; {here}")
        strangers = post.strangers()
        if len(strangers) > turned:
            turned = len(strangers)
            shown.say(f"{turned} with a key that is not in the plan, or is connected already, turned away")
        if time.monotonic() > ends:
            reasons = {why for account in side.talk.accounts for why in account.refused}
            because = f" ({'; '.join(sorted(reasons))[:300]})" if reasons else ""
            raise ConfigError(
                f"--wait {wait:g}: {len(ready)} of {least} clients are here{because}; start the others, or lower "
                "--least; the same command goes on."
            )
        time.sleep(0.3)


def _say(out: Path, accounts: list[Account], names: list[str], strangers: dict[str, str]) -> None:
    from rich.table import Table

    table = Table(title="What became of the clients")
    for head in ("client", "rounds", "in the sum", "not finite", "no answer", "late", "refused", "kB sent"):
        table.add_column(head, justify="left" if head == "client" else "right")
    for name, each in zip(names, accounts, strict=True):
        refused = sum(each.refused.values())
        counts = (each.asked, each.answered, each.not_finite, each.missed, each.late, refused)
        table.add_row(name, *map(str, counts), f"{each.up / 1000:.1f}")
    console = Console()
    console.print(table)
    for name, each in zip(names, accounts, strict=True):
        for why, times in each.refused.items():
            console.print(f"{name}, {times} ×: {why}", highlight=False, markup=False, soft_wrap=True)
    for stranger, what in strangers.items():
        key = "".join(stranger.splitlines()[1:-1])[-16:]
        console.print(f"a stranger, key …{key}: {what}", highlight=False, markup=False, soft_wrap=True)
    print(f"Model:   {out / 'model'}\nClients: {out / ACCOUNTS}")
