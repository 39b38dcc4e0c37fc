"""What ran, in the accountant's words: the mechanism and its sentence."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from dpjax.accounting.distributed import DistributedNoise
from dpjax.accounting.factorization import Factorization
from dpjax.accounting.local import LocalReports
from dpjax.accounting.participation import Participation, is_count, participation_of
from dpjax.checks import as_number, brief, instance

UNITS = ("example", "user", "client")
ADJACENCIES = ("zero_out", "add_or_remove_one", "replace_one")
SAMPLINGS = ("poisson", "fixed_size", "shuffled", "cyclic", "full")
WALKS = ("shuffled", "cyclic")  # through all units, so that a unit that joins moves the others


def default_adjacency(sampling: str, *, independent: bool = True) -> str:
    """The neighbouring relation where none is named: "zero_out", as a run divides by what is then said to be public.

    Guarantees: nowhere a larger ε than "add_or_remove_one" has, and the same wherever that is accounted for. The one
    exception to "zero_out" follows from it: independent noise on cohorts of fixed size, where a unit that is gone
    leaves its place to another, and one that is zero does not ("subset" in ``domination.py``).

    Args:
      sampling: as in `Mechanism`.
      independent: whether the noise is fresh in each step and added to the sum; False if it is correlated over the
        steps, or the clients add it.

    Returns:
      "zero_out" or "add_or_remove_one".

    Example:
      >>> [default_adjacency(sampling) for sampling in ("poisson", "shuffled", "fixed_size")]
      ['zero_out', 'zero_out', 'add_or_remove_one']
    """
    return "add_or_remove_one" if sampling == "fixed_size" and independent else "zero_out"


@runtime_checkable
class Sampler(Protocol):
    """What `Mechanism.from_sampler` reads of a sampler: four attributes."""

    @property
    def kind(self) -> str: ...
    @property
    def population(self) -> int: ...
    @property
    def sampling_rate(self) -> float: ...
    @property
    def overflow_probability(self) -> float: ...


@dataclass(frozen=True)
class Mechanism:
    """A whole run as the accountant sees it: `num_steps` noisy sums of clipped contributions.

    Guarantees that the fields describe a mechanism that can exist; whether an accountant covers it is asked with
    `epsilon` or `event`.

    Args:
      unit: what one row of the neighbouring relation is: "example", "user" or "client".
      adjacency: "zero_out" (a unit's contribution becomes zero, the population's size is public),
        "add_or_remove_one" (the unit is there or not) or "replace_one" (it becomes any other unit). A claim is to
        choose it, so it has no default here; `default_adjacency` is what configs and the command line take.
      sampling: "poisson" (each unit by its own coin), "fixed_size" (a subset without replacement, drawn afresh each
        step), "shuffled" (epochs over disjoint cohorts of a random order, the last one short if they do not divide; a
        loader that drops the rest is that of the population without it), "cyclic" (the same in ONE order, so that
        participations are an epoch apart) or "full" (everyone, each step).
      sampling_rate: expected cohort size / population, in (0, 1]; 1 for "full".
      noise_multiplier: noise standard deviation / clip norm, whatever the adjacency; 0 means no privacy. With a
        `factorization`, that of the ONE Gaussian mechanism which the whole run then is.
      num_steps: noisy sums released in the whole run.
      population: number of units; needed by "fixed_size", "shuffled" and "cyclic".
      overflow_probability: the chance that ANY step of the run drew more units than its fixed capacity holds.
      factorization: how the noise is correlated over the steps, as given to `correlated_privatizer`; None if each step
        has its own.
      noise: `LocalReports` or `DistributedNoise` if the clients add it; None if Gaussian, by whoever holds the sum.
      records_per_unit: the most records that one unit owns, if the sampling draws records one by one and each of them
        is clipped alone; then `sampling_rate`, `population` and `overflow_probability` are of records. 1: it draws
        units. Above 1 with "poisson" or "full", "add_or_remove_one" or "zero_out", and independent noise on the sum.
      abort_probability: the chance that ANY step of the run is aborted, if aborts are seen and depend on who is there;
        see `abort_probability`.

    Raises:
      ValueError: a field is out of its range, or two of them contradict each other, as a sampling in which a unit takes
        part more often or more densely than the factorization's sensitivity is for.

    Example:
      >>> run = Mechanism(unit="example", adjacency="zero_out", sampling="poisson", sampling_rate=0.01,
      ...                 noise_multiplier=1.1, num_steps=10_000)
      >>> print(run.describe())
      example-level privacy, neighbours zero out one example's contribution; Poisson sampling at rate 0.01; 10,000 \
steps with noise multiplier 1.1 (standard deviation / clip norm); one run, hyper-parameter tuning not paid for

    References:
      Abadi et al. 2016, https://arxiv.org/abs/1607.00133; adjacency: Ponomareva et al. 2023,
      https://arxiv.org/abs/2303.00654; units of several records: Charles et al. 2024, https://arxiv.org/abs/2407.07737.
    """

    unit: str
    adjacency: str
    sampling: str
    sampling_rate: float
    noise_multiplier: float
    num_steps: int
    population: int | None = None
    overflow_probability: float = 0.0
    factorization: Factorization | None = None
    noise: LocalReports | DistributedNoise | None = None
    records_per_unit: int = 1
    abort_probability: float = 0.0

    def __post_init__(self) -> None:
        for field, choices in (("unit", UNITS), ("adjacency", ADJACENCIES), ("sampling", SAMPLINGS)):
            value = getattr(self, field)
            if value not in choices:
                raise ValueError(f"{field} is {brief(value)}; choose one of {', '.join(choices)}")
        for name in ("sampling_rate", "noise_multiplier", "overflow_probability", "abort_probability"):
            # A NumPy or JAX scalar is the same mechanism; what is no number is out of every range.
            value = as_number(getattr(self, name))
            if value is not None:
                object.__setattr__(self, name, value)
            else:
                raise ValueError(f"{name} is {brief(getattr(self, name))}; give a number that is known, no traced one")
        if self.factorization is not None:
            instance("factorization", self.factorization, Factorization, fix="make one, such as tree_aggregation(...)")
        if self.noise is not None:
            instance("noise", self.noise, (LocalReports, DistributedNoise), fix="leave it out for Gaussian noise")
        if not 0 < self.sampling_rate <= 1:
            raise ValueError(
                f"sampling_rate is {self.sampling_rate!r}; give cohort size / population, above 0 and at most 1"
            )
        if not 0 <= self.noise_multiplier < math.inf:
            raise ValueError(
                f"noise_multiplier is {self.noise_multiplier!r}; give standard deviation / clip norm, finite and at "
                "least 0"
            )
        if not is_count(self.num_steps):
            raise ValueError(f"num_steps is {brief(self.num_steps)}; give a whole number of at least 1")
        if self.population is not None and not is_count(self.population):
            raise ValueError(f"population is {brief(self.population)}; give the number of units, at least 1")
        for name, most in (("overflow_probability", "below 1"), ("abort_probability", "at most 1")):
            value = getattr(self, name)
            if not (0 <= value < 1 or (value == 1 and most == "at most 1")):
                raise ValueError(f"{name} is {value!r}; give a probability of at least 0, {most}")
        if self.sampling == "full" and self.sampling_rate != 1:
            raise ValueError(f"sampling_rate is {self.sampling_rate!r} with sampling='full'; set it to 1")
        self._check_records()
        for name in ("num_steps", "population", "records_per_unit"):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, int(getattr(self, name)))
        if self.sampling in ("fixed_size", *WALKS):
            self._check_cohort()
        if self.noise is not None:
            self.noise.check(self)
        if self.factorization is not None and not self.factorization.participation.covers(self.participation):
            raise ValueError(
                f"factorization is for {_limits(self.factorization.participation)}, but sampling={self.sampling!r} has "
                f"{_limits(self.participation)}; make it for Participation.from_sampler(sampler, num_steps)"
            )

    def _check_records(self) -> None:
        most = self.records_per_unit
        if not is_count(most):
            raise ValueError(f"records_per_unit is {brief(most)}; give a whole number of at least 1")
        if most == 1:
            return
        if self.unit == "example":
            raise ValueError(
                f"records_per_unit is {most!r} with unit='example', which is one record; use unit='user' or 'client'"
            )
        # Of these nobody has shown which pair of distributions is the worst.
        refused = {
            "adjacency='replace_one'": (self.adjacency == "replace_one", "'add_or_remove_one' or 'zero_out'"),
            f"sampling={self.sampling!r}": (self.sampling not in ("poisson", "full"), "'poisson' or 'full'"),
            "correlated noise": (self.factorization is not None, "independent noise, or draw units"),
            "noise that clients add": (self.noise is not None, "noise on the sum, or draw units"),
        }
        for what, (is_asked, fix) in refused.items():
            if is_asked:
                raise ValueError(f"records_per_unit is {most!r} with {what}, for which nothing accounts; use {fix}")

    def _check_cohort(self) -> None:
        if self.population is None:
            raise ValueError(f"population is None with sampling={self.sampling!r}; give the number of units")
        size = self.sampling_rate * self.population
        if round(size) < 1 or abs(size - round(size)) > 1e-6 * size:
            raise ValueError(
                f"sampling_rate is {self.sampling_rate!r}, a cohort of {size:g} of {self.population} units; "
                "make sampling_rate * population a whole number of at least 1"
            )

    @classmethod
    def from_sampler(
        cls,
        sampler: Sampler,
        *,
        unit: str,
        adjacency: str,
        num_steps: int,
        noise_multiplier: float = 0.0,
        factorization: Factorization | None = None,
        noise: LocalReports | DistributedNoise | None = None,
        records_per_unit: int = 1,
        abort_probability: float | None = None,
    ) -> Mechanism:
        """The mechanism of the sampler that runs, so that the sampling is never typed twice.

        Args:
          sampler: anything with the attributes `kind`, `population`, `sampling_rate` and `overflow_probability`. If
            it has `num_steps` too, that is how many steps its overflow probability speaks for.
          unit, adjacency, num_steps, noise_multiplier, factorization, noise, records_per_unit: as in `Mechanism`; a
            mechanism that is yet to be calibrated needs no multiplier.
          abort_probability: as in `Mechanism`; None: the sampler's own, or 0 if it has none.

        Returns:
          A `Mechanism` whose sampling, rate, population and overflow probability are the sampler's own.

        Raises:
          ValueError: as `Mechanism`, or the sampler speaks for fewer steps than the run has.

        Example:
          >>> from types import SimpleNamespace
          >>> sampler = SimpleNamespace(kind="poisson", population=600, sampling_rate=0.04, overflow_probability=0.0)
          >>> Mechanism.from_sampler(sampler, unit="example", adjacency="zero_out", noise_multiplier=1.0,
          ...                        num_steps=10).population
          600
        """
        if not isinstance(sampler, Sampler) or isinstance(sampler, type):
            raise TypeError(f"sampler={brief(sampler)} is no sampler; make one, such as poisson_sampler(...).")
        if not is_count(num_steps):
            raise ValueError(f"num_steps is {brief(num_steps)}; give a whole number of at least 1")
        covered = getattr(sampler, "num_steps", None)
        if covered is not None and num_steps > covered:
            raise ValueError(
                f"num_steps is {num_steps!r}, but the sampler's overflow probability speaks for {covered} steps; "
                "make the sampler for as many steps as the run has"
            )
        own = getattr(sampler, "abort_probability", None) or 0.0
        return cls(
            unit=unit,
            adjacency=adjacency,
            sampling=sampler.kind,
            sampling_rate=sampler.sampling_rate,
            noise_multiplier=noise_multiplier,
            num_steps=num_steps,
            population=sampler.population,
            overflow_probability=sampler.overflow_probability,
            factorization=factorization,
            noise=noise,
            records_per_unit=records_per_unit,
            abort_probability=own if abort_probability is None else abort_probability,
        )

    @property
    def cohort_size(self) -> int:
        """Units in a cohort of fixed size; for "fixed_size", "shuffled" and "cyclic"."""
        if self.sampling not in ("fixed_size", *WALKS) or self.population is None:
            raise ValueError(f"sampling is {self.sampling!r}, whose cohort has no fixed size; use sampling_rate")
        return round(self.sampling_rate * self.population)

    @property
    def participation(self) -> Participation:
        """How often and how densely one unit can take part."""
        return participation_of(self.sampling, self.population, self.sampling_rate, self.num_steps)

    @property
    def num_participations(self) -> int:
        """The most steps that one unit can be in: the epochs begun if shuffled or cyclic, else every step."""
        return self.participation.max_participations

    def describe(self) -> str:
        """One clause per fact that a reported ε must state, except the accountant and δ.

        Returns:
          Unit, its records if they are drawn, adjacency, sampling, steps, noise multiplier, overflow probability if
          any, and what is not paid for.
        """
        neighbours = {
            "add_or_remove_one": f"add or remove one {self.unit}",
            "zero_out": f"zero out one {self.unit}'s contribution",
            "replace_one": f"replace one {self.unit}",
        }[self.adjacency]
        drawn, owned = self.unit, ""
        if self.records_per_unit > 1:
            drawn = "record"
            owned = f"; each {self.unit} owns at most {self.records_per_unit:,} records, which are drawn one by one"
        of = f" of {self.population:,} {drawn}s" if self.population else ""
        sampling = {
            "poisson": f"Poisson sampling at rate {self.sampling_rate:.6g}{of}",
            "fixed_size": f"fixed-size sampling without replacement at rate {self.sampling_rate:.6g}{of}",
            "shuffled": f"shuffled epochs at rate {self.sampling_rate:.6g}{of}, no amplification claimed",
            "cyclic": f"cycles through one order at rate {self.sampling_rate:.6g}{of}, no amplification claimed",
            "full": f"full participation{of}",
        }[self.sampling]
        overflow = f" and overflow probability {self.overflow_probability:.2g}" if self.overflow_probability else ""
        overflow += f" and abort probability {self.abort_probability:.2g}" if self.abort_probability else ""
        steps = "step" if self.num_steps == 1 else "steps"
        if self.noise is not None:
            noise = self.noise.describe(self)
        elif self.factorization is None:
            noise = f" with noise multiplier {self.noise_multiplier:.6g} (standard deviation / clip norm)"
        else:
            noise = (
                f" that are one Gaussian mechanism of noise multiplier {self.noise_multiplier:.6g} (standard deviation "
                f"/ clip norm, the encoder at sensitivity 1), its noise correlated by {self.factorization.describe()}"
            )
        return (
            f"{self.unit}-level privacy, neighbours {neighbours}{owned}; {sampling}; {self.num_steps:,} {steps}{noise}"
            f"{overflow}; one run, hyper-parameter tuning not paid for"
        )


def _limits(participation: Participation) -> str:
    times = "1 participation" if participation.most == 1 else f"{participation.most} participations"
    apart = f" at least {participation.min_separation} apart" if participation.most > 1 else ""
    return f"{participation.num_steps} steps with {times}{apart}"
