"""ε over the steps of a run: what the part of it up to a step has spent, by Rényi divergences of one step."""

import functools
import math
from collections.abc import Sequence
from typing import Any

from dpjax.results.claims import number, text

_ORDERS = 64
_LEAST_NOISE = 0.05  # below it ε is in the thousands and takes seconds to say so
_LOWEST, _HIGHEST = 0.02, 2000.0  # of order - 1


def epsilon_over_steps(row: Any, steps: Sequence[int]) -> list[float] | None:
    """ε at the row's δ after so many steps, by RDP; None where it is not a plain composition of the row's own columns.

    None too where the whole run has no finite ε by RDP, as one whose cohorts overflow too often has none.

    Guarantees: an upper bound at each step. Divergences of one step are computed once, at a grid of orders, and scaled;
    so each value is up to about one percent above ``dpjax.epsilon(..., accountant="rdp")`` of that many steps, and none
    is above the whole run's. Where cohorts are drawn at random, the share of δ for those that overflow is set aside.

    Args:
      row: a results row.
      steps: in ascending order, each at most the row's ``num_steps``.

    >>> row = {"unit": "example", "adjacency": "zero_out", "sampling": "poisson", "sampling_rate": 0.01,
    ...        "noise_multiplier": 1.1, "num_steps": 1000, "delta": 1e-5, "noise": "gaussian"}
    >>> [round(value, 1) for value in epsilon_over_steps(row, [10, 100, 1000])]
    [0.8, 1.0, 1.7]
    """
    known = [number(row, name) for name in ("sampling_rate", "noise_multiplier", "delta", "num_steps")]
    rate, multiplier, delta, num_steps = known
    if rate is None or multiplier is None or delta is None or num_steps is None or not steps:
        return None
    # Correlated noise is one release, and noise of clients is not told by these columns alone.
    plain = text(row, "noise") in ("", "gaussian") and number(row, "noise_cohort_size") is None
    if not plain or not _LEAST_NOISE < multiplier < math.inf or number(row, "epsilon") == math.inf:
        return None
    population, records = number(row, "population"), number(row, "records_per_unit")
    spent = _spent(
        text(row, "unit"), text(row, "adjacency"), text(row, "sampling"), rate, multiplier, delta,
        None if population is None else int(population), int(records or 1), tuple(int(step) for step in steps),
    )  # fmt: skip
    whole = number(row, "epsilon_rdp")
    if spent is None or whole == math.inf:
        return None
    # No part spends more than the whole, for which all real orders were searched.
    return list(spent) if whole is None else [min(value, whole) for value in spent]


@functools.lru_cache(maxsize=4096)  # seeds share it, and so does every look at a sweep that goes on
def _spent(
    unit: str,
    adjacency: str,
    sampling: str,
    rate: float,
    multiplier: float,
    delta: float,
    population: int | None,
    records: int,
    steps: tuple[int, ...],
) -> tuple[float, ...] | None:
    import numpy as np

    from dpjax.accounting.accountants import rdp_to_epsilon
    from dpjax.accounting.divergences import renyi
    from dpjax.accounting.mechanism import Mechanism, check_accountable, dominating_pair
    from dpjax.accounting.overflow import delta_left

    def after(num_steps: int) -> Mechanism:
        return Mechanism(
            unit=unit, adjacency=adjacency, sampling=sampling, sampling_rate=rate, noise_multiplier=multiplier,
            num_steps=num_steps, population=population, records_per_unit=records,
        )  # fmt: skip

    try:
        check_accountable(after(steps[-1]))
        pairs = [dominating_pair(after(step)) for step in steps]
    except ValueError:
        return None
    orders = 1 + np.geomspace(_LOWEST, _HIGHEST, _ORDERS)
    with np.errstate(all="ignore"):
        one = np.asarray(renyi(pairs[0], orders.tolist()))
    rest = delta_left(1.0 if sampling == "poisson" else 0.0, delta)
    prices = np.array([rdp_to_epsilon(0.0, float(order), rest) for order in orders])
    bounds = np.array([pair.times for pair in pairs])[:, None] * one + prices
    return tuple(float(max(0.0, np.nanmin(row))) for row in bounds)
