"""Overflow: sampler, accountants, calibration and report pay for it by one share of δ; RDP is converted once."""

import math
import pathlib
import re

import pytest

from dpjax import Mechanism, calibrate_noise, epsilon, poisson_sampler
from dpjax.accounting import overflow, overflow_fits
from dpjax.report import spent_curve
from dpjax.report.spent_curve import epsilon_over_steps

RUN = {"unit": "example", "adjacency": "zero_out", "sampling": "poisson", "sampling_rate": 0.01, "num_steps": 1000}


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("DPJAX_CACHE_DIR", str(tmp_path))


def everything(delta):
    """Slots, and three ε and a noise multiplier of one run, all of which pay for overflow."""
    spent_curve._spent.cache_clear()
    mechanism = Mechanism(**RUN, noise_multiplier=1.1, overflow_probability=1e-20)
    return (
        poisson_sampler(10_000, 0.01, num_steps=1000, delta=delta).capacity,
        epsilon(mechanism, delta, "rdp"),
        epsilon(mechanism, delta, "pld"),
        epsilon_over_steps(RUN | {"noise_multiplier": 1.1, "delta": delta, "noise": "gaussian"}, [1000])[0],
        calibrate_noise(mechanism, epsilon=2.0, delta=delta, accountant="rdp"),
    )


def test_all_that_pay_for_overflow_move_with_the_one_share(monkeypatch):
    slots, *prices = everything(1e-5)
    monkeypatch.setattr(overflow, "OVERFLOW_SHARE", 0.9)
    fewer_slots, *higher_prices = everything(1e-5 * (1 + 1e-9))  # a δ of its own, as ε is remembered
    spent_curve._spent.cache_clear()
    assert fewer_slots < slots
    assert all(higher > 1.05 * price for higher, price in zip(higher_prices, prices, strict=True))


@pytest.mark.parametrize("delta", [1e-5, 1e-9])
@pytest.mark.parametrize("target", [0.5, 3.0, 10.0])
def test_what_the_sampler_allows_is_what_the_accountant_takes(target, delta):
    most = overflow.most_overflow(target, delta)
    assert overflow_fits(most * (1 - 1e-9), target, delta)
    assert not overflow_fits(most * (1 + 1e-9), target, delta)
    chosen = poisson_sampler(60_000, 0.004, num_steps=5000, epsilon=target, delta=delta)
    smaller = poisson_sampler(60_000, 0.004, num_steps=5000, capacity=chosen.capacity - 1)
    assert overflow_fits(chosen.overflow_probability, target, delta)
    assert not overflow_fits(smaller.overflow_probability, target, delta)


def test_no_other_file_says_the_share_or_converts_rdp_for_itself():
    again = re.compile(
        r"delta *\* *0?\.999|delta *[*/] *(?:1_?000|1e-0?3)\b|log1p\(-1(?:\.0)? ?/|log\(1 ?- ?1 ?/"
        r"|log\([^()]*delta[^()]*\) ?/ ?\((?:order|alpha)s? ?- ?1"
    )
    files = [
        path
        for folder in ("dpjax", "experiments", "paper", "benchmarks")
        for path in pathlib.Path(folder).rglob("*.py")
    ]
    said = {path.as_posix(): lines for path in files if (lines := again.findall(path.read_text()))}
    assert {path: len(lines) for path, lines in said.items()} == {"dpjax/accounting/accountants.py": 3}


def test_the_report_gives_no_price_of_a_run_that_has_none():
    row = RUN | {"noise_multiplier": 1.1, "delta": 1e-5, "noise": "gaussian"}
    assert epsilon(Mechanism(**RUN, noise_multiplier=1.1, overflow_probability=1e-6), 1e-5, "rdp") == math.inf
    assert epsilon_over_steps(row | {"epsilon_rdp": math.inf}, [10, 1000]) is None
    whole = epsilon(Mechanism(**RUN, noise_multiplier=1.1, overflow_probability=1e-20), 1e-5, "rdp")
    assert epsilon_over_steps(row | {"epsilon_rdp": whole}, [10, 1000])[-1] == whole
