"""What it takes to add up many different runs, and by how much ε is larger where alike ones are taken for the worst."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.ledger.runs import DELTA, NAME, set_budget
from dpjax.governance import composition, database, trail
from dpjax.governance.decisions import Request, spent_of
from dpjax.governance.ledger import Ledger, create_ledger
from dpjax.governance.signing import Author, new_signing_key
from dpjax.governance.spends import Spend

SIZES, EXACT = (100, 1_000, 10_000), 10_000
"""How many runs, and of how many at most they are composed one by one too, which takes long."""


def sampled(number: int, rng: random.Random) -> Iterator[Spend]:
    """So many different sampled Gaussians, whose sum is about the same however many they are."""
    thinner = (number / 100) ** 0.25
    for _ in range(number):
        rate = math.exp(rng.uniform(math.log(0.002), math.log(0.02))) / thinner
        noise = math.exp(rng.uniform(math.log(1.5), math.log(6.0))) * thinner
        one = {"type": "GaussianDpEvent", "noise_multiplier": noise}
        yield Spend(None, {"type": "PoissonSampledDpEvent", "sampling_probability": rate, "event": one}, 1000)


def fill(place: str, number: int, rng: random.Random) -> Ledger:
    """A ledger of so many runs that have ended, written down as the ledger writes them."""
    ledger = create_ledger(place, who="ana", key=new_signing_key())
    set_budget(ledger)
    ended = {"key": "", "tool": "benchmark", "state": "closed", "process": ""}
    runs = [
        {"id": f"{i:032x}", "label": f"run {i}", "spend": each.as_json(), "steps": each.steps} | ended
        for i, each in enumerate(sampled(number, rng))
    ]
    author = Author("ana", ledger.key)
    with database.writing(ledger._engine) as connection:
        for run in runs:
            trail.append(connection, author, "enter", NAME, {"runs": [run]})
    return ledger


def timed(ledger: Ledger) -> tuple[float, float]:
    """Seconds of an account, and its ε."""
    began = time.perf_counter()
    account = ledger.account(NAME)
    return time.perf_counter() - began, account.spent


def one_size(number: int, most_exact: int, seed: int, folder: Path) -> dict[str, Any]:
    """One number of runs: seconds, and both ε."""
    began = time.perf_counter()
    ledger = fill(str(folder / f"{number}.db"), number, random.Random(seed))  # nosec B311 # secures nothing
    found: dict[str, Any] = {"runs": number, "filled": time.perf_counter() - began}
    composition._losses.cache_clear()
    found["account"], found["epsilon"] = timed(ledger)
    found["again"], _ = timed(ledger)
    small = {"type": "GaussianDpEvent", "noise_multiplier": 400.0}
    began = time.perf_counter()
    [run] = ledger.reserve(NAME, [Request("one", Spend(None, small, 1), "example", "zero_out", "one more")])
    found["reserve"] = time.perf_counter() - began
    began = time.perf_counter()
    ledger.verify()
    found["verify"] = time.perf_counter() - began
    ledger.close({run: 0})
    if number <= most_exact:
        total = spent_of((each.spend, each.steps) for each in ledger.account(NAME).runs)
        composition._losses.cache_clear()
        began = time.perf_counter()
        whole = composition.compose(total, "zero_out", most_distinct=number)
        found["exact"] = composition.epsilon_of(whole, DELTA)
        found["exact_seconds"] = time.perf_counter() - began
    return found


def measure(sizes: tuple[int, ...], most_exact: int, seed: int, folder: Path) -> dict[str, Any]:
    """Every number of runs."""
    found = []
    for number in sizes:
        one = one_size(number, most_exact, seed, folder)
        found.append(one)
        print(
            f"composing {number:,} runs: {one['account']:.1f} s, again {one['again']:.1f} s, one more reserved "
            f"{one['reserve']:.1f} s; ε={one['epsilon']:.4f}{_beside(one)}",
            flush=True,
        )
    return {"sizes": found}


def _beside(one: dict[str, Any]) -> str:
    if "exact" not in one:
        return ""
    return f", one by one {one['exact']:.4f} ({one['epsilon'] / one['exact'] - 1:+.2%}) in {one['exact_seconds']:.1f} s"


def lines(found: dict[str, Any]) -> list[str]:
    """Rows of the table."""
    return [
        f"| {one['runs']:,} different sampled Gaussians | to add them up; anew; to reserve one more; to verify, s "
        f"| {one['account']:.1f}; {one['again']:.1f}; {one['reserve']:.1f}; {one['verify']:.1f} |\n"
        f"| | their ε | {one['epsilon']:.4f}{_beside(one)} |"
        for one in found["sizes"]
    ]


def held(found: dict[str, Any]) -> bool:
    """Whether all is as it must be: merging makes no ε smaller."""
    return all(one["epsilon"] >= one["exact"] * (1 - 1e-6) for one in found["sizes"] if "exact" in one)
