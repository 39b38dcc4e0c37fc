"""What a run releases of its data besides noisy sums, as ranges of columns that inputs are scaled by."""

from __future__ import annotations

import math
from dataclasses import dataclass

from dpjax.accounting.pairs import gaussian_pair
from dpjax.checks import known_number


@dataclass(frozen=True)
class Release:
    """Counts with Gaussian noise, released once before a run, which may depend on them.

    Formal guarantees: whatever the run does after, the two together are dominated by the product of their pairs, as
    the run's bound holds for each value of what was released (adaptive composition). Under "replace_one" a unit's
    counts move by at most twice the sensitivity.

    Args:
      noise_multiplier: noise standard deviation / the most that one unit moves all the counts, in ℓ2; above 0.
      delta: the chance that something was released which only one unit holds, as the name of a category; it is taken
        off δ. 0: names of what is counted are public.

    Raises:
      ValueError: a noise multiplier or a chance that can't be.

    Example:
      >>> Release(20.0).describe()
      'counts released with noise multiplier 20'

    References:
      Dwork and Roth 2014, theorem B.1 (adaptive composition); Zhu et al. 2022, theorem 10 (products of pairs),
      https://arxiv.org/abs/2106.08567; Gopi et al. 2020 (names from a threshold), https://arxiv.org/abs/2002.09745.
    """

    noise_multiplier: float
    delta: float = 0.0

    def __post_init__(self) -> None:
        known_number("noise_multiplier", self.noise_multiplier, above=0, fix="a release without noise has no ε")
        known_number("delta", self.delta, least=0, most=1, fix="it is a chance")

    def stddev(self, adjacency: str) -> float:
        """Noise over the distance that one unit moves the counts."""
        return gaussian_pair(self.noise_multiplier, adjacency, 1).stddev

    def describe(self) -> str:
        """The clause of a claim."""
        names = f", and names with chance {self.delta:.2g} of one that only one unit holds" if self.delta else ""
        return f"counts released with noise multiplier {self.noise_multiplier:.6g}{names}"


def joined(stddev: float, times: int, beside: float) -> float:
    """Standard deviation of the one Gaussian that so many and one more, each of sensitivity 1, are together.

    Args:
      stddev: of each of the many.
      times: how many.
      beside: of the one more; inf if there is none.

    Example:
      >>> joined(2.0, 4, float("inf")), round(joined(2.0, 4, 1.0), 6)
      (1.0, 0.707107)
    """
    return 1 / math.sqrt(times / stddev**2 + 1 / beside**2)
