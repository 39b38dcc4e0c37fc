"""Slots of a cohort whose size is random: enough of them that it all but never overflows."""

from functools import lru_cache

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
) -> int:
    """Slots of cohorts that each hold a binomial number of units.

    The chance β of any overflow in the run is at most ``most_overflow(epsilon, delta)``, by the exact binomial tail in
    each step and a union bound over them.

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
        return whole_number("capacity", capacity, fix="leave it out to have enough slots")
    least = _least_capacity(population, sampling_rate, most_overflow(epsilon, delta) / num_steps)
    return -(-least // multiple_of) * multiple_of


@lru_cache(maxsize=256)
def overflow_of(capacity: int, population: int, sampling_rate: float, num_steps: int) -> float:
    """Bound on the chance that any of so many binomial cohorts is larger than the capacity.

    Example:
      >>> overflow_of(2, 3, 0.5, num_steps=4), overflow_of(3, 3, 0.5, num_steps=4)
      (0.5, 0.0)
    """
    return min(1.0, num_steps * _binomial_tail(capacity, population, sampling_rate))


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
