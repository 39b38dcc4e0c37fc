"""How ε grows over the steps of a run."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

from dpjax.accounting.accountants import check_delta, epsilon
from dpjax.accounting.mechanism import Mechanism
from dpjax.checks import whole_number


def spent(mechanism: Mechanism, steps: Sequence[int], delta: float, accountant: str = "pld") -> list[float]:
    """ε of the run, had it ended after each number of steps.

    Formal guarantees: with "pld" and "rdp" each value is a guarantee of its own; the one at ``num_steps`` is
    ``epsilon``'s. "gdp" is the central limit of many small steps, which may lie below the true ε: for pictures, never
    for claims.

    Args:
      mechanism: the run.
      steps: numbers of steps, each from 1 to ``mechanism.num_steps``.
      delta: the δ of the guarantee.
      accountant: "pld", "rdp" or "gdp".

    Returns:
      One ε per number of steps.

    Raises:
      ValueError: as ``epsilon``; noise that is correlated over the steps or added by clients; for "gdp", sampling that
        is not Poisson, or neighbours of which one is replaced.

    Example:
      >>> run = Mechanism(unit="example", adjacency="zero_out", sampling="poisson", sampling_rate=0.01,
      ...                 noise_multiplier=1.1, num_steps=1000)
      >>> [round(value, 3) for value in spent(run, [10, 1000], 1e-5, "rdp")]
      [0.823, 1.712]

    References:
      Dong et al., Gaussian Differential Privacy, 2019, https://arxiv.org/abs/1905.02383; Bu et al., Deep Learning with
      Gaussian Differential Privacy, 2020, https://arxiv.org/abs/1911.11607.
    """
    check_delta(delta)
    if not mechanism.noising.independent:
        raise ValueError(
            "the noise of this mechanism is not independent noise on the sum, so no step has a cost of its own"
        )
    steps = [whole_number("steps", count, most=mechanism.num_steps, fix="they are steps of the run") for count in steps]
    if accountant == "gdp":
        return [_central_limit(mechanism, count, delta) for count in steps]
    return [epsilon(dataclasses.replace(mechanism, num_steps=count), delta, accountant) for count in steps]


def _central_limit(mechanism: Mechanism, count: int, delta: float) -> float:
    from dp_accounting import get_epsilon_gaussian

    noise = mechanism.noise_multiplier
    mu = mechanism.sampling.central_limit(noise or 1.0, count)
    if mu is None or mechanism.adjacency == "replace_one":
        raise ValueError(
            "the central limit is for Poisson sampling of units that are there or not, not "
            f"{mechanism.sampling.name} with {mechanism.adjacency}"
        )
    before = 0.0 if mechanism.released is None else 1 / mechanism.released.stddev(mechanism.adjacency)
    return math.inf if noise == 0 else float(get_epsilon_gaussian(1 / math.hypot(mu, before), delta))
