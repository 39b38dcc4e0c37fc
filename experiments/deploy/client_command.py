"""``dpjax deploy client``."""

import time
from pathlib import Path

import jax
import numpy as np

from dpjax.program_cache import keep_programs
from dpjax.results import write_atomically
from experiments.config import ConfigError
from experiments.deploy.client import ClientSide, state_folder
from experiments.deploy.deployable import refuse_undeployable
from experiments.deploy.federation import carried_like, make_federation
from experiments.deploy.keys import public_line, read_client_key
from experiments.deploy.ledger import Ledger
from experiments.deploy.letters import unpacked
from experiments.deploy.plan import read_plan
from experiments.deploy.prepare import tell
from experiments.deploy.reach import address, obstacle, trusted
from experiments.deploy.rows import own_rows
from experiments.deploy.server_command import need_flower
from experiments.problems.saving import save_model


def run_client(
    path: Path, key_file: Path, rows: Path, ca: Path, server: str, state: Path | None, out: Path | None, wait: float
) -> None:
    """Answer a plan's server; see ``commands.client_command`` for the arguments.

    Raises:
      ConfigError: what keeps it from running.
    """
    plan = read_plan(path)
    refuse_undeployable(plan.cfg)
    key = read_client_key(key_file)
    if not ca.is_file():
        raise ConfigError(f"--ca {ca} is not there; give the ca.pem that the coordinator sent.")
    trusted(ca)
    address(server)
    mine = next((m for m in plan.clients if m.key.split()[:2] == public_line(key).split()[:2]), None)
    if mine is None:
        raise ConfigError(
            f"--key {key_file} is the key of none of the plan's clients; send its .pub to the coordinator."
        )
    train, held_out = own_rows(plan, rows)
    need_flower()
    keep_programs()
    federation = make_federation(plan, train=train)
    if plan.claim and plan.claim != federation.claim:
        raise ConfigError(f"plan={path} claims “{plan.claim}” and has “{federation.claim}”; take no part in it.")
    tell(federation)
    folder = state_folder(plan.digest, mine.name, state)
    ledger = Ledger(folder / "sent.json", plan.digest, plan.cfg.optimizer.num_steps)
    side = ClientSide(federation, key, ledger, lambda line: print(line, flush=True))
    out_of_it = len(held_out.labels)
    apart = f" ({out_of_it} more are held out by data.split, and not used)" if out_of_it else ""
    side.prepare()
    print(f"Client:  {mine.name}, {len(train.labels)} rows{apart}, which stay here; what it sends: {ledger.path}")
    _serve(side, key_file, ca, server, folder, wait)
    assert side.done is not None
    if out is not None:
        params = federation.solver().model_of(unpacked(side.done.arrays, carried_like(federation)))
        dataset = federation.setup.problem.dataset
        save_model(
            plan.cfg, out, jax.tree.map(np.asarray, params), federation.facts, dataset.class_names, dataset.target
        )
        write_atomically(out / "plan.sha256", plan.digest.encode())
        print(f"Model:   {out}")
    print(f"done: {federation.claim}")


def _serve(side: ClientSide, key: Path, ca: Path, server: str, folder: Path, wait: float) -> None:
    """Keep a SuperNode connected, and answer, until the server says that it is done."""
    ends, told, seen = time.monotonic() + wait, "", ("", 0.0)
    while side.done is None:
        was_there, why = False, obstacle(server, ca)
        if why is None:
            was_there, why = _connected(side, key, ca, server, folder, ends)
        if side.done is not None:
            return
        if was_there:
            ends = time.monotonic() + wait  # the server may come back
        if time.monotonic() > ends:
            raise ConfigError(f"--wait {wait:g}: {why}")
        if why != seen[0]:
            seen = why, time.monotonic()
        if why != told and time.monotonic() - seen[1] > _QUIET:  # a server that starts knows nobody for a while
            print(f"waiting: {why}", flush=True)
            told = why
        time.sleep(2)


def _connected(side: ClientSide, key: Path, ca: Path, server: str, folder: Path, ends: float) -> tuple[bool, str]:
    """Answer over one SuperNode as long as it lives; whether it was connected, and why it no longer is."""
    from experiments.deploy.flower_post import client_app
    from experiments.deploy.flower_tasks import Tasks
    from experiments.deploy.processes import free_port, new_secret, private_folder, supernode

    with private_folder() as place:
        secret, port = new_secret(place), free_port()
        with supernode(place, key, ca, secret, server, port, folder / "supernode.log") as node:
            tasks = Tasks(f"127.0.0.1:{port}", secret.read_bytes())
            if _comes_up(node, port):
                tasks.serve(client_app(side), lambda: side.done is None and node.runs and _hopeful(node, ends))
                if side.done is not None:
                    _sent_on(node)
            tasks.close()
            return _IS_CONNECTED in node.said, reason(node.said, server)


_QUIET = 10.0

_IS_CONNECTED = "SuperNode ID"


def _hopeful(node, ends: float) -> bool:
    """Whether a SuperNode is connected, or may still be."""
    return _IS_CONNECTED in node.said or time.monotonic() < ends


def _comes_up(node, port: int, seconds: float = 60) -> bool:
    import socket

    ends = time.monotonic() + seconds
    while node.runs and time.monotonic() < ends:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=1):
                return True
        except OSError:
            time.sleep(0.1)
    return False


def _sent_on(node, seconds: float = 10) -> None:
    """Wait until the SuperNode has handed the last answer on."""
    ends, before = time.monotonic() + seconds, node.said.count("Sent successfully")
    while node.runs and time.monotonic() < ends and node.said.count("Sent successfully") == before:
        time.sleep(0.2)


def reason(said: str, server: str) -> str:
    """Why a SuperNode is not connected, in one sentence with the fix, from its log.

    Args:
      said: the log.
      server: the address that it was given.

    Example:
      >>> reason("[code: 2004] Failed to activate SuperNode.", "a:1")
      'the server at a:1 does not let this key in: its plan does not have it, or another client is connected with it.'
    """
    if "code: 2004" in said:
        why = "its plan does not have it, or another client is connected with it"
        return f"the server at {server} does not let this key in: {why}."
    if "Invalid SuperNode authentication" in said or "401 Unauthorized" in said:
        return f"the server at {server} did not take this client's signature; set the clock of both machines."
    return f"the connection to {server} ended; is the server still there?"
