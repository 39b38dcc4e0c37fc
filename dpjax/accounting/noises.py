"""Whose noise hides a unit, as the accountant sees it: on the sum, correlated over the steps, or the clients' own."""

from __future__ import annotations

import abc
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Protocol, runtime_checkable

from dpjax.accounting.factorization import Factorization
from dpjax.accounting.pairs import Pair, gaussian_pair
from dpjax.accounting.samplings import Sampling

if TYPE_CHECKING:
    import dp_accounting


@runtime_checkable
class Run(Protocol):
    """What a noise reads of a mechanism."""

    @property
    def unit(self) -> str: ...
    @property
    def adjacency(self) -> str: ...
    @property
    def sampling(self) -> Sampling: ...
    @property
    def noise_multiplier(self) -> float: ...
    @property
    def num_steps(self) -> int: ...
    @property
    def records_per_unit(self) -> int: ...
    @property
    def num_participations(self) -> int: ...


class Noise(abc.ABC):
    """One kind of noise. It says what it goes with, what it is worth, and against whom.

    Formal guarantees: none by itself; each kind says, and proves or cites, which pair dominates a step under it.
    """

    trust: ClassVar[str]
    """Who is trusted: "central" (whoever holds the sum), "distributed" (enough clients) or "local" (nobody)."""
    independent: ClassVar[bool] = False
    """Whether it is fresh in each step and added to the sum, so that steps have a cost of their own."""

    @property
    def pure(self) -> bool:
        """Whether a report has an ε of its own, and no use for a noise multiplier."""
        return False

    @property
    def amplified(self) -> bool:
        """Whether ε relies on who takes part staying secret."""
        return True

    def check(self, run: Run) -> None:
        """Raise ValueError if a mechanism's other fields do not go with it."""
        run.sampling.check(run.adjacency, independent=self.independent)

    def check_calibration(self, accountant: str) -> None:
        """Raise ValueError if an accountant can't calibrate a noise multiplier of it."""
        del accountant

    @abc.abstractmethod
    def pair(self, run: Run) -> Pair:
        """The pair that dominates each step that one unit may be in, and how often it is composed."""

    def event(self, run: Run) -> dp_accounting.DpEvent:
        """The whole run as a dp-accounting event."""
        del run
        raise ValueError("noise is added by the clients, for which dp-accounting has no event; use epsilon")

    @abc.abstractmethod
    def describe(self, run: Run) -> str:
        """The clause of a claim that says how large it is, and whose."""


def multiplier_words(run: Run, besides: str = "") -> str:
    """A noise multiplier in a claim, and what it is the ratio of."""
    return f"noise multiplier {run.noise_multiplier:.6g} (standard deviation / clip norm{besides})"


class IndependentNoise(Noise):
    """Gaussian noise on the sum, fresh in each step, by whoever holds the sum.

    Formal guarantees: those of the sampling, step by step.
    """

    trust: ClassVar[str] = "central"
    independent: ClassVar[bool] = True

    def pair(self, run: Run) -> Pair:
        times, records = run.num_participations, run.records_per_unit
        return run.sampling.pair(run.noise_multiplier, run.adjacency, times, records)

    def event(self, run: Run) -> dp_accounting.DpEvent:
        import dp_accounting

        step = run.sampling.event(run.noise_multiplier, run.adjacency, run.records_per_unit)
        return dp_accounting.SelfComposedDpEvent(step, run.num_participations)

    def describe(self, run: Run) -> str:
        return f" with {multiplier_words(run)}"


INDEPENDENT = IndependentNoise()


@dataclass(frozen=True)
class CorrelatedNoise(Noise):
    """Gaussian noise on the sum, correlated over the steps: the whole run is one Gaussian mechanism.

    Formal guarantees: that holds at any sampling which does not depend on the data: given who takes part when, one unit
    moves the encoded sums by at most the sensitivity that the noise multiplier is stated for, also if later sums depend
    on earlier outputs (arXiv 2202.08312, theorem 2.1), and averaging over who takes part when cannot make the pair
    easier to tell apart.

    Args:
      factorization: how.
    """

    factorization: Factorization

    trust: ClassVar[str] = "central"

    def pair(self, run: Run) -> Pair:
        return gaussian_pair(run.noise_multiplier, run.adjacency, 1)

    def event(self, run: Run) -> dp_accounting.DpEvent:
        import dp_accounting

        return dp_accounting.GaussianDpEvent(run.noise_multiplier)

    def describe(self, run: Run) -> str:
        return (
            f" that are one Gaussian mechanism of {multiplier_words(run, ', the encoder at sensitivity 1')}, its noise "
            f"correlated by {self.factorization.describe()}"
        )
