"""Slots of a cohort whose size is random: enough of them that it all but never overflows."""

from dpjax.accounting.overflow import most_overflow
from dpjax.checks import whole_number
from dpjax.ranges import DELTA, EPSILON


def capacity_for(
    population: int,
    sampling_rate: float,
    *,
    num_steps: int,
    epsilon: float,
    delta: float,
    capacity: int | None,
    multiple_of: int,
) -> tuple[int, float]:
    """(slots, chance of any overflow in the whole run) of cohorts that each hold a binomial number of units.

    The chance β is at most ``most_overflow(epsilon, delta)``, by the exact binomial tail in each step and a union bound
    over them.

    Args:
      population, sampling_rate, num_steps: of the run, in their ranges.
      epsilon, delta, capacity, multiple_of: see ``poisson_sampler``.

    Raises:
      ValueError: one of the latter out of range.
    """
    delta = DELTA.number("delta", delta)
    epsilon = EPSILON._replace(fix="give the largest that the run is to support").number("epsilon", epsilon)
    multiple_of = whole_number("multiple_of", multiple_of, fix="leave it out to round to none")
    if capacity is not None:
        capacity = whole_number("capacity", capacity, fix="leave it out to have enough slots")
    else:
        capacity = _least_capacity(population, sampling_rate, most_overflow(epsilon, delta) / num_steps)
        capacity = -(-capacity // multiple_of) * multiple_of
    return capacity, min(1.0, num_steps * _binomial_tail(capacity, population, sampling_rate))


def _least_capacity(population: int, sampling_rate: float, allowed: float) -> int:
    low, high = 0, population
    while low < high:
        middle = (low + high) // 2
        low, high = (
            (low, middle) if _binomial_tail(middle, population, sampling_rate) <= allowed else (middle + 1, high)
        )
    return max(low, 1)


def _binomial_tail(capacity: int, population: int, sampling_rate: float) -> float:
    """P(Binomial(population, sampling_rate) > capacity)."""
    from scipy.special import bdtrc  # scipy takes a while to import

    return 0.0 if capacity >= population else float(bdtrc(capacity, population, sampling_rate))
