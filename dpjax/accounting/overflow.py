"""What a cohort that overflows its slots, or a step that is aborted, costs: one share of δ, said here alone."""

import math

OVERFLOW_SHARE = 1e-3
"""The share of δ that is set aside for the chance β of any overflow or abort in the whole run: β (1 + exp ε) is to be
within it, as each run differs from its twin without any with probability at most β."""


def delta_left(overflow_probability: float, delta: float) -> float:
    """The δ that is left to the mechanism itself: all of it where nothing can overflow.

    Example:
      >>> print(f"{delta_left(0.0, 1e-5):.3g} {delta_left(1e-20, 1e-5):.3g}")
      1e-05 9.99e-06
    """
    return delta * (1 - OVERFLOW_SHARE) if overflow_probability else delta


def most_overflow(epsilon: float, delta: float) -> float:
    """The largest β that the share of δ pays for at ε.

    Example:
      >>> print(f"{most_overflow(1.0, 1e-5):.2e}")
      2.69e-09
    """
    return delta * OVERFLOW_SHARE / (1 + math.exp(min(epsilon, 500.0)))


def overflow_fits(overflow_probability: float, epsilon: float, delta: float) -> bool:
    """Whether β (1 + exp ε) is within the share of δ that is set aside for it.

    Formal guarantees: where it is, a run that is (ε, ``delta_left``)-DP without overflows and aborts is (ε, δ)-DP with
    them, under the same neighbouring relation.

    Args:
      overflow_probability: β, the chance of any overflow or abort in the whole run, in [0, 1].
      epsilon: ε of the run without any, ≥ 0; inf is within nothing.
      delta: δ of the run, in (0, 1).

    Returns:
      True where β is 0, or the share pays for it.

    Example:
      >>> overflow_fits(2.6e-9, 1.0, 1e-5), overflow_fits(2.8e-9, 1.0, 1e-5)
      (True, False)
    """
    if overflow_probability == 0:
        return True
    return math.log(overflow_probability) + math.log1p(math.exp(-epsilon)) + epsilon <= math.log(delta * OVERFLOW_SHARE)
