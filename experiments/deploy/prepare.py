"""Before a federation runs: a plan of its config, or a whole rehearsal of it on one machine."""

import dataclasses
import re
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from dpjax.datasets import Dataset
from experiments.border import from_hydra
from experiments.config import CONF, Config, ConfigError
from experiments.deploy.deployable import refuse_undeployable
from experiments.deploy.federation import Federation, make_federation
from experiments.deploy.keys import CA, write_certificates, write_client_key
from experiments.deploy.plan import Member, Plan, Shapes, fingerprint, members, read_plan, with_claim
from experiments.deploy.rows import Rows, write_rows
from experiments.error_words import explain
from experiments.federated import make_clients
from experiments.own_data import OWN
from experiments.own_experiment import with_own_experiments
from experiments.problems.choice import make_problem

PLAN, ROWS, COORDINATOR = "plan.yaml", "rows.parquet", "coordinator"


def config_of(overrides: Sequence[str]) -> Config:
    """The config that words stand for, as ``python -m experiments.run`` takes them; one run, with one seed.

    Args:
      overrides: ``field=value``.

    Raises:
      ConfigError: what is wrong with it, or why it can't be deployed.
    """
    try:
        with with_own_experiments(list(overrides)) as words:
            extra = [] if words == list(overrides) else words[1:2]
            given = words if not extra else words[2:]
            search = [f"hydra.searchpath=[file://{extra[0]}]"] if extra else []
            with initialize_config_dir(str(CONF), version_base="1.3"):
                cfg = from_hydra(compose("config", [*search, *given]))
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(explain(error)) from error
    cfg = dataclasses.replace(cfg, num_seeds=1, save_model=False, tracker=Config().tracker)
    refuse_undeployable(cfg)
    return cfg


def write_plan(path: Path, overrides: Sequence[str], clients: Sequence[str], server: Path) -> None:
    """Write a plan for clients who have their rows themselves.

    Args:
      path: of the file.
      overrides: the config.
      clients: ``name=file`` of their public keys.
      server: of the coordinator's.

    Raises:
      ConfigError: what is missing.
    """
    named: list[tuple[str, Path]] = []
    for word in clients:
        name, equals, file = word.partition("=")
        if not equals or not file:
            raise ConfigError(f"--client {word} names no key; write --client NAME=FILE.pub.")
        named.append((name, Path(file)))
    if not named:
        raise ConfigError("--client is missing; write --client NAME=FILE.pub for each.")
    cfg = config_of(overrides)
    most = cfg.federated.records_per_client
    if most is None:
        raise ConfigError(
            "federated.records_per_client=None; give the most rows that a client trains on, which everybody may know."
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of rows of which only the shapes are read
        problem_data = _whole(cfg)
    if problem_data.learnt and cfg.data.name == OWN and problem_data.task == "table":
        raise ConfigError(
            f"data: {problem_data.learnt} would be read off the coordinator's rows; say them in data.columns and "
            "data.classes or data.target_range."
        )
    plan = Plan(cfg, members(named), members([(COORDINATOR, server)])[0], most, Shapes.of(problem_data))
    _finish(plan, path)


def rehearse(folder: Path, overrides: Sequence[str], host: str, secret: bool) -> None:
    """Cut a data set up among its simulated clients, each with a folder of what it alone would have.

    Args:
      folder: new.
      overrides: the config.
      host: under which clients reach the server.
      secret: whether the run's randomness is this machine's.

    Raises:
      ConfigError: the folder is in use, or the config can't be deployed.
    """
    if folder.exists() and any(folder.iterdir()):
        raise ConfigError(f"{folder} is in use; give a new folder, as keys are never overwritten.")
    cfg = config_of(overrides)
    dataset = _whole(cfg)
    clients = make_clients(cfg.federated, dataset)
    shapes, names = Shapes.of(dataset), _names(dataset, clients.number, cfg.federated.partition)
    found: list[Member] = []
    for number, name in enumerate(names):
        mine = np.asarray(clients.records.index[number])[np.asarray(clients.records.mask[number])]
        write_rows(folder / name / ROWS, Rows(dataset.train_inputs[mine], clients.labels[mine]), shapes)
        size = len(mine) if cfg.federated.weights == "sizes" else None
        found.append(Member(name, write_client_key(folder / name / "key"), size))
    server = folder / "server"
    write_certificates(server, [host])
    coordinator = Member(COORDINATOR, write_client_key(server / COORDINATOR))
    (folder / CA).write_bytes((server / CA).read_bytes())
    write_rows(server / "test.parquet", Rows(dataset.test_inputs, dataset.test_labels), shapes)
    plan = Plan(cfg, tuple(found), coordinator, clients.most_records, shapes, rehearsal=not secret)
    _finish(plan, folder / PLAN)
    print("\nEach in a terminal of its own:\n")
    print(
        f"  dpjax deploy server {folder / PLAN} --key {server / COORDINATOR} --certificates {server} "
        f"--rows {server / 'test.parquet'} --out {folder / 'run'}"
    )
    for name in names:
        print(
            f"  dpjax deploy client {folder / PLAN} --key {folder / name / 'key'} --rows {folder / name / ROWS} "
            f"--ca {folder / CA} --state {folder / name / 'state'} --out {folder / name / 'model'}"
        )


def show(path: Path) -> None:
    """Say what a plan does, from the plan alone.

    Raises:
      ConfigError: it is none, or claims another ε than it has.
    """
    plan = read_plan(path)
    refuse_undeployable(plan.cfg)
    federation = make_federation(plan)
    if plan.claim and plan.claim != federation.claim:
        raise ConfigError(f"plan={path} claims “{plan.claim}” and has “{federation.claim}”; ask the coordinator.")
    tell(federation)


def tell(federation: Federation) -> None:
    """What a plan does, in lines for people."""
    plan, cfg = federation.plan, federation.cfg
    fed, parameters = cfg.federated, federation.setup.num_parameters
    print(f"Plan:    {plan.digest}")
    print(f"Claim:   {federation.claim}")
    if plan.rehearsal:
        print(f"         A REHEARSAL: all randomness follows from seed {cfg.seed}; whoever knows it knows the noise.")
    local = "a pass" if fed.local_epochs else f"{fed.local_steps} steps"
    print(
        f"Rounds:  {cfg.optimizer.num_steps}, of {fed.clients_per_round} of {len(plan.clients)} clients; "
        f"{fed.algorithm}, {local} of each; {parameters:,} numbers back and forth"
    )
    covered = (
        f"sums only, as {federation.threshold} of them must open masks"
        if federation.is_secure
        else "every client's own"
    )
    print(f"Server:  sees {covered}; key {fingerprint(plan.server.key)}")
    if federation.is_secure and fed.expected_clients == 2:
        print("         Two clients in a round: each can take its own vector from the sum and see the other's.")
    for member in plan.clients:
        rows = "" if member.records is None else f", weighs {member.records} rows"
        print(f"Client:  {member.name}{rows}; key {fingerprint(member.key)}")


def _finish(plan: Plan, path: Path) -> None:
    federation = make_federation(plan)
    plan = with_claim(plan, federation.claim)
    plan.write(path)
    tell(federation)
    print(f"Written: {path}")


def _whole(cfg: Config) -> Dataset:
    return make_problem(cfg, lambda stage, done, total: None).dataset if cfg.model.name != "pretrained" else _texts(cfg)


def _texts(cfg: Config) -> Dataset:
    """Texts as they are: each side has its own tokenizer of the same checkpoint."""
    from experiments.problems.choice import load_data

    return load_data(cfg)


def _names(dataset: Dataset, number: int, partition: str) -> list[str]:
    """Words for clients: of a natural partition the owners' own, where they can name a folder."""
    own = [re.sub(r"[^A-Za-z0-9_.-]+", "-", name).strip("-.") for name in dataset.unit_names]
    if partition == "natural" and len(set(own)) == number and all(own):
        return own
    return [f"client-{i}" for i in range(number)]
