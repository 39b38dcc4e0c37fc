"""Walks through all units, cohort by cohort: in a fresh order each epoch, or in one order for the whole run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from dpjax.accounting.participation import Participation
from dpjax.accounting.samplings.sampling import CohortsOfOneSize


@dataclass(frozen=True)
class Walk(CohortsOfOneSize):
    """Disjoint cohorts that together hold everybody. A unit that joins moves the others between them."""

    def participation(self, num_steps: int) -> Participation:
        return Participation(num_steps, -(-num_steps // self.steps_per_epoch), 1)

    @property
    def steps_per_epoch(self) -> int:
        """Cohorts that hold everybody; the last is short if the cohort size does not divide the population."""
        return -(-(self.population or 0) // self.cohort_size)


@dataclass(frozen=True)
class Shuffled(Walk):
    """Epochs over disjoint cohorts of a random order: the usual data loader. No amplification is claimed.

    A loader that drops the rest is that of the population without it.

    Formal guarantees: under zero-out and replace-one, and given any order, a unit is in one Gaussian mechanism per
    epoch begun, and averaging over orders cannot make two runs easier to tell apart. So the order need not stay secret,
    and that it is random is not used.

    Args:
      sampling_rate: cohort size / population, in (0, 1].
      population: number of units.

    Example:
      >>> Shuffled(0.3, 100).participation(10)
      Participation(num_steps=10, max_participations=3, min_separation=1)

    References:
      Chua et al. 2024, https://arxiv.org/abs/2403.17673.
    """

    name: ClassVar[str] = "shuffled"
    word: ClassVar[str] = "shuffled"
    manner: ClassVar[str] = "shuffled epochs"


@dataclass(frozen=True)
class Cyclic(Walk):
    """The same in ONE order for the whole run, so that a unit's participations are an epoch apart.

    Formal guarantees: those of ``Shuffled``; the distance is what correlated noise is accounted with.

    Args:
      sampling_rate: cohort size / population, in (0, 1].
      population: number of units.

    Example:
      >>> Cyclic(0.3, 100).participation(10)
      Participation(num_steps=10, max_participations=3, min_separation=4)

    References:
      Kairouz et al. 2021, https://arxiv.org/abs/2103.00039.
    """

    name: ClassVar[str] = "cyclic"
    word: ClassVar[str] = "cyclic"
    manner: ClassVar[str] = "cycles through one order"

    def participation(self, num_steps: int) -> Participation:
        return Participation(num_steps, -(-num_steps // self.steps_per_epoch), self.steps_per_epoch)
