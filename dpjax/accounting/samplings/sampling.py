"""What a kind of sampling is to the accountant: who takes part when, and what that is worth."""

from __future__ import annotations

import abc
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from dpjax.accounting.pairs import Pair, gaussian_pair
from dpjax.accounting.participation import Participation
from dpjax.checks import number, whole_number

if TYPE_CHECKING:
    import dp_accounting

NOT_AMPLIFIED = ", no amplification claimed"
"""Behind whatever charges each participation in full."""


@dataclass(frozen=True)
class Sampling(abc.ABC):
    """Who takes part in a step. Each kind is a subclass, in a module of its own, and is listed in ``SAMPLINGS``.

    Formal guarantees: none by itself, as each kind says in its own words, and proves, what it claims. What stands here
    claims no amplification: whoever takes part is charged in full.

    Args:
      sampling_rate: expected cohort size / population, in (0, 1].
      population: number of units; None if it is not needed.

    Raises:
      ValueError: a number out of range, or a population that the kind needs and that is not given.
    """

    sampling_rate: float
    population: int | None = None

    name: ClassVar[str]
    """In configs, rows and on the command line."""
    word: ClassVar[str]
    """In a claim, before the rate."""
    manner: ClassVar[str]
    """How cohorts come about, in a mechanism's own sentence, before the rate."""
    amplifies: ClassVar[bool] = False
    """Whether a unit that may take part is charged less than one that surely does."""
    is_drawn: ClassVar[bool] = True
    """Whether ``dpjax.sampling`` has a sampler of this kind, which configs can name."""
    draws_records: ClassVar[bool] = False
    """Whether anything accounts for records that are drawn one by one, of which a unit owns several."""
    aborts_tell: ClassVar[bool] = True
    """Whether an aborted step says something of who is there; see ``abort_probability``."""
    joining_moves_others: ClassVar[bool] = True
    """Whether others may be in other steps because one unit more is there, for which nothing here accounts."""
    without_replacement: ClassVar[bool] = False
    """Whether each cohort is a random subset of fixed size, drawn afresh."""

    def __post_init__(self) -> None:
        for said in ("name", "word", "manner"):
            if not isinstance(getattr(self, said, None), str):
                raise TypeError(
                    f"{type(self).__name__}.{said} must be a word; set it in the class, for rows and claims."
                )
        fix = "give cohort size / population"
        object.__setattr__(self, "sampling_rate", number("sampling_rate", self.sampling_rate, above=0, most=1, fix=fix))
        if self.population is not None:
            population = whole_number("population", self.population, fix="give the number of units")
            object.__setattr__(self, "population", population)

    def participation(self, num_steps: int) -> Participation:
        """How often and how densely one unit can take part in so many steps: in each, unless the kind knows better."""
        return Participation(num_steps, num_steps, 1)

    def too_few(self, threshold: int, answering: float) -> float:
        """Bound on the chance that fewer than so many of a cohort answer, as far as that tells who is there.

        Formal guarantees: for both of two neighbours. Of a kind that tells and does not know better it is 1.

        Args:
          threshold: answers that a step needs, ≥ 1.
          answering: chance of a unit in the cohort to answer, by a coin of its own.
        """
        del threshold, answering
        return 1.0 if self.aborts_tell else 0.0

    def check(self, adjacency: str, *, independent: bool) -> None:
        """Raise ValueError if nothing accounts for a neighbouring relation.

        Args:
          adjacency: as in ``Mechanism``.
          independent: whether the noise is fresh in each step.
        """
        del independent
        if adjacency == "add_or_remove_one" and self.joining_moves_others:
            raise ValueError(
                f"adjacency='add_or_remove_one' has no account with sampling={self.name!r}, as a unit that joins moves "
                "the others between cohorts; use 'zero_out' or 'replace_one', or sampling='poisson'."
            )

    @classmethod
    def default_adjacency(cls, *, independent: bool) -> str:
        """The neighbouring relation where none is named; see ``dpjax.accounting.default_adjacency``."""
        del independent
        return "zero_out"

    def pair(self, noise_multiplier: float, adjacency: str, times: int, records: int = 1) -> Pair:
        """The pair that dominates each of ``times`` steps with independent Gaussian noise on the sum.

        Args:
          noise_multiplier: noise standard deviation / clip norm.
          adjacency: as in ``Mechanism``.
          times: steps that one unit may be in.
          records: the most that one unit owns, if the sampling draws records.
        """
        assert records == 1 or self.draws_records
        return gaussian_pair(noise_multiplier, adjacency, times)

    def event(self, noise_multiplier: float, adjacency: str, records: int = 1) -> dp_accounting.DpEvent:
        """One of those steps as a dp-accounting event."""
        del adjacency
        import dp_accounting

        assert records == 1 or self.draws_records
        return dp_accounting.GaussianDpEvent(noise_multiplier)

    @property
    def secret_rate(self) -> float:
        """Chance of a unit to be in a step, independent of all others; 1 if there is none that could stay secret."""
        return 1.0

    def central_limit(self, noise_multiplier: float, num_steps: int) -> float | None:
        """μ of the Gaussian mechanism that many steps tend to, where a unit is there or not; None if nobody knows."""
        del noise_multiplier, num_steps
        return None

    def describe(self, drawn: str) -> str:
        """The clause of a mechanism's sentence that says how cohorts come about.

        Args:
          drawn: what is drawn, such as "example".
        """
        charge = "" if self.amplifies else NOT_AMPLIFIED
        return f"{self.manner} at rate {self.sampling_rate:.6g}{self._of(drawn)}{charge}"

    def _of(self, drawn: str) -> str:
        return f" of {self.population:,} {drawn}s" if self.population else ""


@dataclass(frozen=True)
class BinomialCohorts(Sampling):
    """In a step each unit is in the cohort by a coin of its own, of chance ``sampling_rate``."""

    joining_moves_others: ClassVar[bool] = False

    def too_few(self, threshold: int, answering: float) -> float:
        chance = self.sampling_rate * answering
        if self.population is None or threshold > self.population - 1 or chance == 0:
            return 1.0
        from scipy.special import bdtr

        return float(bdtr(threshold - 1, self.population - 1, chance))  # a neighbour has a unit less


@dataclass(frozen=True)
class CohortsOfOneSize(Sampling):
    """Cohorts that hold the same number of units each, but for the last of an epoch."""

    aborts_tell: ClassVar[bool] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.population is None:
            raise ValueError(f"population=None with sampling={self.name!r}; give the number of units.")
        size = self.sampling_rate * self.population
        if round(size) < 1 or abs(size - round(size)) > 1e-6 * size:
            raise ValueError(
                f"sampling_rate={self.sampling_rate!r} is a cohort of {size:g} of {self.population} units; make "
                "sampling_rate × population a whole number of at least 1."
            )

    @property
    def cohort_size(self) -> int:
        """Units in a cohort."""
        return round(self.sampling_rate * (self.population or 0))
