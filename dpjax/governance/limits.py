"""The limits of a grant, and which of them a run breaks."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from dpjax.governance.accounts import DataSet
from dpjax.governance.composition import compose, epsilon_of
from dpjax.governance.errors import LedgerError
from dpjax.governance.events import STATED, leaves, types_in
from dpjax.governance.policy import Grant
from dpjax.governance.spends import Spend, read_spend, total_of

_ANEW, _GRID = 1e-2, 2e-5
"""By how much an ε may be above what a run says of itself, relatively and for the square root of its steps: its losses
lie on another grid, whose rounding up adds up so."""

_LEAST_DELTA = 1e-12


def broken_limit(spend: Spend, unit: str, budget: DataSet, grant: Grant, *, slack: float = 0.0) -> str:
    """Which limit of a grant a run breaks, in words; empty: none.

    Args:
      spend: of the run.
      unit: that it protects.
      budget: of the data.
      grant: with its limits.
      slack: by how much, relatively, its ε may be above the grant's.

    Example:
      >>> above(1.0004, 1.0), above(2.0, 1.0)
      ('1.0004', '2')
    """
    if grant.units and unit not in grant.units:
        return f"it is for {unit}, and the limit is {' or '.join(grant.units)}"
    if grant.mechanisms and (others := types_in(total_of(spend).events) - {*grant.mechanisms}):
        return f"it is of {', '.join(sorted(others))}, and the limit is {' or '.join(grant.mechanisms)}"
    if grant.max_epsilon == math.inf:
        return ""
    delta = budget.delta if grant.delta is None else grant.delta
    if spend.claim is not None and spend.claim[1] <= delta and spend.claim[0] <= grant.max_epsilon:
        return ""
    found = _epsilon(spend.as_json(), budget.adjacency, delta)
    if found <= grant.max_epsilon * (1 + slack):
        return ""
    return f"its ε is {above(found, grant.max_epsilon)} at δ={delta:g}, and the limit is {grant.max_epsilon:g}"


def false_claim(spend: Spend, adjacency: str) -> str:
    """Why a run can't have the (ε, δ) that it says of itself, in words; empty: it can.

    Formal guarantees: a claim that passes is at most a hundredth below the ε at its δ of what the run does to one unit
    at least: all its events where these are sampled; of others, in which a unit may take part in one step alone, as in
    an epoch's batches, what is spent at once and one step. Overflows and what was released by name are left out. Events
    of which no more is known than (ε, δ) are taken at their word.

    Args:
      spend: of the run.
      adjacency: of its neighbours.
    """
    if spend.claim is None:
        return ""
    epsilon, delta = spend.claim
    if spend.each is None and (once := spend.once or {}).get("type") == STATED:
        fits = once["epsilon"] <= epsilon and once["delta"] <= delta
        return "" if fits else f"it claims ε={epsilon:g} at δ={delta:g}, and its event states more"
    steps = spend.steps if spend.each is not None and _is_sampled(spend.each) else 1
    bare = spend._replace(overflow=0.0, delta=0.0, claim=None, steps=steps)
    try:
        found = _epsilon(bare.as_json(), adjacency, max(delta, _LEAST_DELTA))
    except LedgerError:  # it has no privacy loss distribution: nothing planned adds it up
        return ""
    if found <= epsilon * (1 + _ANEW) + _GRID * math.sqrt(steps):
        return ""
    return f"it claims ε={epsilon:g} at δ={delta:g}, and does what comes to {above(found, epsilon)}"


def _is_sampled(event: Mapping[str, Any]) -> bool:
    """Whether each unit may take part in each step, by chance."""
    return not types_in(leaves(event)) <= {"GaussianDpEvent", "LaplaceDpEvent"}


def above(value: float, limit: float) -> str:
    """A number above a limit, with as many digits as it takes to see that it is above.

    Args:
      value: greater than ``limit``.
      limit: that it is above.
    """
    return next((text for digits in range(3, 17) if float(text := f"{value:.{digits}g}") > limit), repr(value))


@lru_cache(maxsize=16384)
def _epsilon(spend: str, adjacency: str, delta: float) -> float:
    """ε of a run at δ; runs of one mechanism are computed once."""
    return epsilon_of(compose(total_of(read_spend(spend)), adjacency), delta)
