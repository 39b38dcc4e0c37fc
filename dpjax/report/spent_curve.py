"""ε over the steps of a run: what the part of it up to a step has spent, by Rényi divergences of one step."""

import functools
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from dpjax.accounting.mechanism import Mechanism, check_accountable, dominating_pair
from dpjax.results.claims import number
from dpjax.results.mechanisms import mechanism_of

SPENT = "epsilon_over_steps"
"""The curve's name beside a row's columns."""
_ORDERS = 64
_LEAST_NOISE = 0.05  # below it ε is in the thousands and takes seconds to say so
_LOWEST, _HIGHEST = 0.02, 2000.0  # of order - 1


def epsilon_over_steps(row: Any, steps: Sequence[int]) -> list[float] | None:
    """ε at the row's δ after so many steps, by RDP; None where it is not a plain composition of the row's own columns.

    None too where the whole run has no finite ε by RDP, as one whose cohorts overflow too often has none.

    Formal guarantees: an upper bound at each step. Divergences of one step are computed once, at a grid of orders, and
    scaled; so each value is up to about one percent above ``dpjax.epsilon(..., accountant="rdp")`` of that many steps,
    and none is above the whole run's. Where cohorts are drawn at random, the share of δ for those that overflow is set
    aside.

    Args:
      row: a results row.
      steps: in ascending order, each at most the row's ``num_steps``.

    Example:
      >>> row = {"unit": "example", "adjacency": "zero_out", "sampling": "poisson", "sampling_rate": 0.01,
      ...        "noise_multiplier": 1.1, "num_steps": 1000, "delta": 1e-5, "noise": "gaussian"}
      >>> [round(value, 1) for value in epsilon_over_steps(row, [10, 100, 1000])]
      [0.8, 1.0, 1.7]
    """
    delta, full_epsilon = number(row, "delta"), number(row, "epsilon_rdp")
    if delta is None or not steps or math.inf in (full_epsilon, number(row, "epsilon")):
        return None
    if number(row, "noise_cohort_size") is not None:  # what is simulated is no composition of what ran
        return None
    try:
        mechanism = mechanism_of(row)
        if mechanism is None or not mechanism.noising.independent or mechanism.noise_multiplier <= _LEAST_NOISE:
            return None
        # Rows of before it was a column: where it can be above 0, it counts as such.
        stated = number(row, "overflow_probability") is not None
        paying = mechanism if stated else replace(mechanism, overflow_probability=0.5)
        spent = _spent(paying, delta, tuple(map(int, steps)))
    except ValueError:
        return None
    # No part spends more than the whole, for which all real orders were searched.
    return list(spent) if full_epsilon is None else [min(value, full_epsilon) for value in spent]


@functools.lru_cache(maxsize=4096)  # seeds share it, and so does every look at a sweep that goes on
def _spent(mechanism: Mechanism, delta: float, steps: tuple[int, ...]) -> tuple[float, ...]:
    import numpy as np

    from dpjax.accounting.accountants import delta_of_noise, rdp_to_epsilon
    from dpjax.accounting.divergences import renyi

    check_accountable(mechanism)
    pairs = [dominating_pair(replace(mechanism, num_steps=step)) for step in steps]
    orders = 1 + np.geomspace(_LOWEST, _HIGHEST, _ORDERS)
    with np.errstate(all="ignore"):
        one = np.asarray(renyi(pairs[0], orders.tolist()))
    rest = delta_of_noise(mechanism, delta)
    before = orders / (2 * pairs[0].beside ** 2)  # what was released, ahead of the first step
    prices = before + np.array([rdp_to_epsilon(0.0, float(order), rest) for order in orders])
    bounds = np.array([pair.times for pair in pairs])[:, None] * one + prices
    return tuple(float(max(0.0, np.nanmin(row))) for row in bounds)
