"""A small federation in one process: a plan, its clients and a post office, honest or not."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from cryptography.hazmat.primitives.asymmetric import ec

from experiments.config import Config
from experiments.deploy.client import ClientSide
from experiments.deploy.federation import Federation, make_federation
from experiments.deploy.keys import read_client_key, write_client_key
from experiments.deploy.ledger import Ledger
from experiments.deploy.letters import Letter
from experiments.deploy.plan import Member, Plan, Shapes
from experiments.deploy.prepare import config_of
from experiments.deploy.rows import Rows
from experiments.federated import make_clients
from experiments.problems.choice import make_problem

DIGITS = (
    "data=digits", "model=logistic", "federated=fedavg", "federated.num_clients=5", "federated.clients_per_round=5",
    "optimizer.sampling=fixed_size", "optimizer.num_steps=3", "optimizer.learning_rate=1", "optimizer.momentum=0",
    "federated.local_steps=2", "federated.client_learning_rate=0.1", "privacy.epsilon=inf",
)  # fmt: skip

Answer = Callable[[Letter, Callable[[Letter], Letter]], Letter | None]
"""What becomes of a letter on its way to a client: ``answer(letter, honestly)``; None: nothing comes back in time."""


class World(NamedTuple):
    cfg: Config
    plan: Plan
    clients: dict[int, ClientSide]
    test: Rows
    key: ec.EllipticCurvePrivateKey
    folder: Path

    def server(self) -> Federation:
        return make_federation(self.plan, test=self.test)


class Office:
    """A post that calls clients at once; ``bad`` says what becomes of letters to some."""

    def __init__(self, clients: Mapping[int, Any], bad: Mapping[int, Answer] | None = None) -> None:
        self.clients, self.bad = dict(clients), dict(bad or {})
        self.answers: dict[int, Letter] = {}
        self.later: list[tuple[int, Letter]] = []
        self.letters: list[tuple[int, Letter, Letter | None]] = []

    def present(self) -> set[int]:
        return set(self.clients)

    def send(self, letters: Mapping[int, Letter]) -> None:
        for number, letter in letters.items():
            self.answers.pop(number, None)
            honestly = self.clients[number].answer
            answer = self.bad[number](letter, honestly) if number in self.bad else honestly(letter)
            self.letters.append((number, letter, answer))
            if answer is not None:
                self.answers[number] = answer

    def collect(self, numbers: set[int], seconds: float) -> dict[int, Letter]:
        del seconds
        return {number: self.answers.pop(number) for number in numbers if number in self.answers}

    def late(self) -> list[tuple[int, Letter]]:
        heard, self.later = self.later, []
        return heard

    def strangers(self) -> dict[str, str]:
        return {}


def make_world(folder: Path, *overrides: str, rehearsal: bool = True) -> World:
    cfg = config_of([*DIGITS, *overrides])
    dataset = make_problem(cfg, lambda *_: None).dataset
    cut = make_clients(cfg.federated, dataset)
    rows = []
    for number in range(cut.number):
        mine = np.asarray(cut.records.index[number])[np.asarray(cut.records.mask[number])]
        rows.append(Rows(dataset.train_inputs[mine], cut.labels[mine]))
    sizes = [len(each.labels) if cfg.federated.weights == "sizes" else None for each in rows]
    members = tuple(Member(f"client-{i}", write_client_key(folder / f"key-{i}"), size) for i, size in enumerate(sizes))
    server = Member("coordinator", write_client_key(folder / "coordinator"))
    plan = Plan(cfg, members, server, cut.most_records, Shapes.of(dataset), rehearsal)
    clients = {i: make_client(plan, folder, i, rows[i]) for i in range(cut.number)}
    test = Rows(dataset.test_inputs, dataset.test_labels)
    return World(cfg, plan, clients, test, read_client_key(folder / "coordinator"), folder)


def make_client(plan: Plan, folder: Path, number: int, rows: Rows) -> ClientSide:
    steps = plan.cfg.optimizer.num_steps
    ledger = Ledger(folder / f"state-{number}" / "sent.json", plan.digest, steps)
    return ClientSide(make_federation(plan, train=rows), read_client_key(folder / f"key-{number}"), ledger)


def largest_difference(one: Any, other: Any) -> float:
    gaps = jax.tree.map(lambda a, b: float(np.max(np.abs(np.asarray(a) - np.asarray(b)))), one, other)
    return max(jax.tree.leaves(gaps))
