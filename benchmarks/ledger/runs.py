"""Data sets, runs and databases that the parts of the benchmark share."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from dpjax.accounting import Mechanism, epsilon
from dpjax.fingerprints import Fingerprint, fingerprint_of
from dpjax.governance.budgets import Proposal
from dpjax.governance.decisions import Request
from dpjax.governance.ledger import Ledger
from dpjax.governance.spends import spend_of

NAME, BUDGET, DELTA = "clinic", 8.0, 1e-5


def rows(start: int = 0) -> Fingerprint:
    """Of a table whose rows nobody else has who starts elsewhere."""
    ages = [20.25 + 0.37 * (start + i) for i in range(100)]
    return fingerprint_of({"age": ages, "weight": [a * 1.7 - 3 for a in ages]})


def set_budget(
    ledger: Ledger,
    name: str = NAME,
    start: int = 0,
    composition: str = "planned",
    epsilon: float = BUDGET,
    sensitive: bool | None = None,
) -> Proposal | None:
    """A budget for examples, of ε=8 unless another is said."""
    return ledger.set_budget(
        name,
        rows(start),
        unit="example",
        adjacency="zero_out",
        epsilon=epsilon,
        delta=DELTA,
        composition=composition,
        sensitive=sensitive,
    )


def mechanism(noise_multiplier: float, steps: int) -> Mechanism:
    """A run of plain Gaussians, whose sum with others anybody can compute."""
    return Mechanism(
        unit="example",
        adjacency="zero_out",
        sampling="full",
        sampling_rate=1.0,
        noise_multiplier=noise_multiplier,
        num_steps=steps,
    )


def request(key: str, noise_multiplier: float, steps: int) -> Request:
    """Such a run, to be reserved."""
    return Request(
        key, spend_of(mechanism(noise_multiplier, steps), DELTA), "example", "zero_out", f"benchmark run {key}"
    )


def epsilon_of_steps(noise_multiplier: float, steps: int) -> float:
    """ε of all steps together, without the ledger."""
    return epsilon(mechanism(noise_multiplier, steps), DELTA) if steps else 0.0


def noise_of(steps: float) -> float:
    """The noise multiplier at which so many steps come to the whole budget."""
    low, high = 0.01, 100.0
    while high > low * (1 + 1e-12):
        middle = (low * high) ** 0.5
        low, high = (middle, high) if epsilon_of_steps(middle, 1) > BUDGET else (low, middle)
    return high * steps**0.5


@contextmanager
def databases(folder: Path) -> Iterator[dict[str, Callable[[], str]]]:
    """What makes a fresh place for a ledger, on SQLite and, where it is installed, on a PostgreSQL of its own."""
    import pytest

    from tests.databases import fresh_database, postgresql

    found: dict[str, Callable[[], str]] = {"SQLite": lambda: str(folder / f"{secrets.token_hex(6)}.db")}
    with _or_none(postgresql, pytest.skip.Exception) as server:
        if server is None:
            print("PostgreSQL is not installed: SQLite alone", flush=True)
        else:
            found["PostgreSQL"] = lambda: fresh_database(server, f"benchmark_{secrets.token_hex(6)}")
        yield found


@contextmanager
def _or_none(start: Callable[[], object], missing: type[BaseException]) -> Iterator[str | None]:
    manager = start()
    try:
        entered = manager.__enter__()  # pyright: ignore[reportAttributeAccessIssue]
    except missing:
        yield None
        return
    try:
        yield entered
    finally:
        manager.__exit__(None, None, None)  # pyright: ignore[reportAttributeAccessIssue]
