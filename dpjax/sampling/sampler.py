"""What a sampler is: how cohorts of fixed shape are drawn, and what the accountant is told of it."""

import abc
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Int, Key, PyTree

from dpjax.accounting.samplings import Sampling
from dpjax.checks import instance, is_traced, known_number, whole_number
from dpjax.ranges import NUM_STEPS, SAMPLING_RATE
from dpjax.sampling.capacity import overflow_of
from dpjax.types import Cohort, check_key, leading_size


class SamplingInfo(NamedTuple):
    """What a draw reports. Private: it depends on which units are there.

    Attributes:
      cohort_size: filled slots.
      overflowed: True if the draw held more units than there are slots; the last ones were dropped.
    """

    cohort_size: Int[Array, ""]
    overflowed: Bool[Array, ""]


Drawn = tuple[Cohort, SamplingInfo]
"""A step's cohort, and what its draw reports."""


@dataclass(frozen=True)
class Sampler(abc.ABC):
    """How cohorts are drawn. Static, as it fixes shapes. Each kind is a subclass, in a module of its own.

    Make one with ``poisson_sampler``, ``fixed_size_sampler``, ``shuffled_sampler``, ``cyclic_sampler`` or
    ``balls_in_bins_sampler``; draw with ``draw_cohort``; account with ``Mechanism.from_sampler``.

    Formal guarantees: none by itself; what a kind's cohorts are worth is said, and proved, where ``accounted_as`` is.

    Attributes:
      population: number of units.
      sampling_rate: expected cohort size / population, in (0, 1].
      capacity: slots of a cohort.
      num_steps: cohorts of the run, for which ``overflow_probability`` speaks; None where none can overflow.
      abort_probability: bound on the chance that any step of the run is aborted, by ``accounting.abort_probability``;
        None: no step can be. Set it last, by ``dataclasses.replace``, as it is of this population, rate and number of
        steps; ``Mechanism.from_sampler`` reads it.

    Raises:
      ValueError: an attribute out of range.
    """

    population: int
    sampling_rate: float
    capacity: int
    num_steps: int | None = None
    abort_probability: float | None = None

    accounted_as: ClassVar[type[Sampling]]
    """The kind of sampling that the accountant knows."""

    def __new__(cls, *args: object, **kwargs: object) -> Any:
        if cls is Sampler:
            raise TypeError(
                "Sampler has kinds of its own, each with a function: write poisson_sampler(population, sampling_rate, "
                "num_steps=...), fixed_size_sampler(population, cohort_size) or another of dpjax.sampling."
            )
        return super().__new__(cls)

    def __post_init__(self) -> None:
        checked = {
            "population": whole_number("population", self.population, fix=COUNT_UNITS),
            "sampling_rate": SAMPLING_RATE.known("sampling_rate", self.sampling_rate),
            "capacity": whole_number("capacity", self.capacity, fix="it counts slots of a cohort"),
        }
        if self.num_steps is not None:
            checked["num_steps"] = NUM_STEPS.known("num_steps", self.num_steps)
        if self.abort_probability is not None:
            chance = known_number("abort_probability", self.abort_probability, least=0, most=1, fix="it is a chance")
            checked["abort_probability"] = chance
        for name, value in checked.items():
            object.__setattr__(self, name, value)

    @property
    def overflow_probability(self) -> float:
        """Bound on the chance that any cohort of the run overflows its capacity.

        Of a kind that does not know better it is 1, for which ε is infinite, unless there are slots for everybody.
        """
        return 0.0 if self.capacity >= self.population else 1.0

    @property
    def sampling(self) -> Sampling:
        """What ``Mechanism.from_sampler`` reads: who takes part, as the accountant sees it."""
        return self.accounted_as(self.sampling_rate, self.population)

    @property
    def expected_cohort_size(self) -> float:
        """Public divisor of the noised sum: sampling_rate × population."""
        return self.sampling_rate * self.population

    @classmethod
    @abc.abstractmethod
    def at_rate(
        cls, population: int, sampling_rate: float, *, num_steps: int, epsilon: float = 10.0, delta: float = 1e-5
    ) -> "Sampler":
        """The sampler of a config, which names the kind and a rate.

        Args:
          population: number of units, ≥ 1.
          sampling_rate: expected cohort size / population, in (0, 1]; rounded to what the kind can have.
          num_steps: cohorts drawn in the run.
          epsilon, delta: what the run is to support, where cohorts can overflow; see ``poisson_sampler``.

        Returns:
          A sampler of this kind.
        """

    @abc.abstractmethod
    def draw(
        self, key: Key[Array, ""], step: int | Int[Array, ""], units: PyTree[ArrayLike]
    ) -> tuple[Cohort, SamplingInfo]:
        """The cohort of one step.

        Args:
          key: the sampling key of the whole run; steps differ by ``step``.
          step: scalar int, from 0, traced or not.
          units: pytree of the whole population, leaves ``[population, ...]``.

        Returns:
          The cohort, leaves ``[capacity, ...]``; and its ``SamplingInfo``.
        """


@dataclass(frozen=True)
class BinomialSampler(Sampler):
    """A sampler whose cohorts each hold a binomial number of units."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.num_steps is None:
            raise ValueError("num_steps=None must be the steps of the run; each of its cohorts may overflow.")

    @property
    def overflow_probability(self) -> float:
        """By the exact binomial tail of a step, and a union bound over the steps."""
        return overflow_of(self.capacity, self.population, self.sampling_rate, self.num_steps or 0)


@dataclass(frozen=True)
class OneSizeSampler(Sampler):
    """A sampler whose cohorts all have one size, so that none overflows."""

    def __post_init__(self) -> None:
        super().__post_init__()
        size = self.sampling_rate * self.population
        if abs(self.capacity - size) > 1e-6 * size:
            raise ValueError(
                f"capacity={self.capacity} must be sampling_rate × population = {size:g}, as cohorts are accounted; "
                "make the sampler by its function, such as fixed_size_sampler(population, cohort_size)."
            )

    @property
    def overflow_probability(self) -> float:
        """None can."""
        return 0.0

    @classmethod
    def at_rate(
        cls, population: int, sampling_rate: float, *, num_steps: int, epsilon: float = 10.0, delta: float = 1e-5
    ) -> Sampler:
        del num_steps, epsilon, delta
        return of_one_size(cls, population, max(1, round(sampling_rate * population)))


def of_one_size[Kind: Sampler](kind: type[Kind], population: int, cohort_size: int) -> Kind:
    """The sampler of a kind whose cohorts hold so many units.

    Raises:
      ValueError: a population or a size that is no whole number of at least 1, or more than there are.
    """
    population = whole_number("population", population, fix=COUNT_UNITS)
    what = f"it is how many of the population of {population} units"
    cohort_size = whole_number("cohort_size", cohort_size, most=population, fix=what)
    return kind(population, cohort_size / population, cohort_size)


def check_sampler(sampler: object) -> None:
    """Refuse what is no sampler, such as its name.

    Formal guarantees: none: a kind made elsewhere is believed in what it says of itself.

    Args:
      sampler: what was given.

    Raises:
      TypeError: it is none.

    Example:
      >>> check_sampler("poisson")
      Traceback (most recent call last):
      TypeError: sampler='poisson' must be of type Sampler; make one, such as poisson_sampler(population, rate, \
num_steps=...).
    """
    instance("sampler", sampler, Sampler, fix="make one, such as poisson_sampler(population, rate, num_steps=...)")


def draw_cohort(
    sampler: Sampler, key: Key[Array, ""], step: int | Int[Array, ""], units: PyTree[ArrayLike]
) -> tuple[Cohort, SamplingInfo]:
    """The cohort of one step, drawn on the device.

    Formal guarantees: who is drawn follows from the sampler, ``key``, ``step`` and the number of units, never from what
    they hold, so that the sampling is the one that ``Mechanism.from_sampler`` accounts for. Neither the cohort nor its
    ``SamplingInfo`` is noised: ε holds where both stay secret.

    Args:
      sampler: how to draw.
      key: the sampling key of the whole run; steps differ by ``step``.
      step: scalar int, from 0.
      units: pytree of the whole population, leaves ``[population, ...]``.

    Returns:
      The cohort, leaves ``[sampler.capacity, ...]``; and its ``SamplingInfo``.

    Raises:
      ValueError: ``units`` does not hold ``sampler.population`` units, or a concrete ``step`` below 0.
      TypeError: no sampler, or no key.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from dpjax import fixed_size_sampler
      >>> cohort, info = draw_cohort(fixed_size_sampler(10, 3), jax.random.key(0), 0, jnp.arange(10))
      >>> print(cohort.units.shape, info.cohort_size)
      (3,) 3
    """
    check_sampler(sampler)
    check_key("key", key)
    check_step(step)
    population = leading_size("units", units, "population")
    if population != sampler.population:
        raise ValueError(f"units hold {population} units but sampler.population={sampler.population}; make them equal.")
    return sampler.draw(key, step, units)


def gather(units: PyTree[ArrayLike], index: Int[Array, "slots"], mask: Bool[Array, "slots"]) -> Cohort:
    return Cohort(jax.tree.map(lambda x: jnp.asarray(x)[jnp.where(mask, index, 0)], units), mask)


def check_step(step: int | Int[Array, ""]) -> None:
    if not is_traced(step):
        whole_number("step", step, least=0, fix="count the steps of the run from 0")


def check_walk(key: Key[Array, ""], units: PyTree[ArrayLike], size: int) -> int:
    """The population, of which no cohort can have more."""
    check_key("key", key)
    population = leading_size("units", units, "population")
    whole_number("size", size, most=population, fix="it is the units of a cohort")
    return population


COUNT_UNITS = "give the number of units"
