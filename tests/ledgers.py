"""Runs and data sets of the ledger's tests."""

import datetime

from dpjax.accounting import Mechanism
from dpjax.fingerprints import Fingerprint, fingerprint_of
from dpjax.governance.decisions import Request
from dpjax.governance.ledger import Ledger
from dpjax.governance.spends import spend_of

DELTA = 1e-5


def mechanism(
    *, noise_multiplier=4.0, steps=10, rate=1.0, adjacency="zero_out", unit="example", **options
) -> Mechanism:
    """A run of plain Gaussians, or of sampled ones."""
    sampling = "full" if rate == 1.0 else "poisson"
    return Mechanism(
        unit=unit,
        adjacency=adjacency,
        sampling=sampling,
        sampling_rate=rate,
        noise_multiplier=noise_multiplier,
        num_steps=steps,
    )


def request(key: str, *, adjacency="zero_out", unit="example", **options) -> Request:
    """A run to be reserved."""
    spend = spend_of(mechanism(adjacency=adjacency, unit=unit, **options), DELTA)
    return Request(key, spend, unit, adjacency, f"run {key}")


def rows(number: int = 100, start: int = 0) -> Fingerprint:
    """Of a table of so many rows, each of which starts somewhere else."""
    ages = [20.25 + 0.37 * (start + i) for i in range(number)]
    return fingerprint_of({"age": ages, "weight": [a * 1.7 - 3 for a in ages]})


def set_budget(ledger: Ledger, name: str = "clinic", epsilon: float = 8.0, **options):
    """A budget for examples."""
    given = {"unit": "example", "adjacency": "zero_out", "delta": DELTA} | options
    return ledger.set_budget(name, given.pop("rows", rows()), epsilon=epsilon, **given)


def clock_off(monkeypatch, **by) -> None:
    """Let this machine's clock, as ledgers read it, be off by so much; without a word, right again."""
    now = datetime.datetime.now

    def off() -> str:
        return (now(datetime.UTC) + datetime.timedelta(**by)).isoformat(timespec="milliseconds")

    for module in ("clocks", "trail"):
        monkeypatch.setattr(f"dpjax.governance.{module}.now_utc", off)
