"""Balls in bins: in each epoch every unit falls into one of its steps, by a coin of its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from dpjax.accounting.participation import Participation
from dpjax.accounting.samplings.sampling import BinomialCohorts


@dataclass(frozen=True)
class BallsInBins(BinomialCohorts):
    """In each epoch of 1 / sampling_rate steps every unit is in exactly one, chosen uniformly, whoever else there is.

    Formal guarantees: no amplification is claimed: given the steps that it fell into, a unit is in one Gaussian
    mechanism per epoch begun, and averaging over them cannot make two runs easier to tell apart. Unlike in a walk of
    fixed cohorts, a unit that joins moves nobody, so that "add_or_remove_one" is accounted for too. The papers'
    amplified ε is found by sampling; until a closed bound is proved here, less than this is not stated.

    Args:
      sampling_rate: 1 / steps of an epoch.
      population: number of units, for the claim only.

    Raises:
      ValueError: a rate that is not one over a whole number.

    Example:
      >>> BallsInBins(0.25).participation(10)
      Participation(num_steps=10, max_participations=3, min_separation=1)

    References:
      Chua et al. 2025, https://arxiv.org/abs/2412.16802; Choquette-Choo et al. 2025, https://arxiv.org/abs/2410.06266.
    """

    name: ClassVar[str] = "balls_in_bins"
    word: ClassVar[str] = "balls-in-bins"
    manner: ClassVar[str] = "balls-in-bins epochs"

    def __post_init__(self) -> None:
        super().__post_init__()
        if abs(1 / self.sampling_rate - self.num_bins) > 1e-6 * self.num_bins:
            raise ValueError(
                f"sampling_rate={self.sampling_rate!r} makes {1 / self.sampling_rate:g} steps an epoch; make it 1 over "
                "a whole number."
            )

    @property
    def num_bins(self) -> int:
        """Steps of an epoch."""
        return round(1 / self.sampling_rate)

    def participation(self, num_steps: int) -> Participation:
        return Participation(num_steps, -(-num_steps // self.num_bins), 1)
