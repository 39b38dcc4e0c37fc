"""What ran, in the accountant's words: the mechanism and its sentence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from dpjax.accounting.factorization import Factorization
from dpjax.accounting.noises import INDEPENDENT, CorrelatedNoise, Noise
from dpjax.accounting.pairs import Pair
from dpjax.accounting.participation import Participation
from dpjax.accounting.releases import Release
from dpjax.accounting.samplings import SAMPLINGS, Sampling, sampling_of
from dpjax.checks import brief, instance, known_number, one_of
from dpjax.ranges import NOISE_MULTIPLIER, NUM_STEPS, RECORDS_PER_UNIT

UNITS = ("example", "user", "client")
ADJACENCIES = {
    "zero_out": "zero out one {unit}'s contribution",
    "add_or_remove_one": "add or remove one {unit}",
    "replace_one": "replace one {unit}",
}
"""Neighbouring relation → its words in a claim."""


@runtime_checkable
class Sampler(Protocol):
    """What ``Mechanism.from_sampler`` reads of a sampler."""

    @property
    def sampling(self) -> Any:
        """What it is to the accountant: a kind of sampling, such as ``Poisson``."""
        ...

    @property
    def overflow_probability(self) -> float:
        """The chance that any cohort of the run overflows its capacity."""
        ...


@dataclass(frozen=True, init=False)
class Mechanism:
    """A whole run as the accountant sees it: ``num_steps`` noisy sums of clipped contributions.

    Formal guarantees: none but that the fields describe a mechanism that can exist; what it costs, and whether an
    accountant covers it, is asked with ``epsilon`` or ``event``.

    Args:
      unit: what one row of the neighbouring relation is: "example", "user" or "client".
      adjacency: "zero_out" (a unit's contribution becomes zero, the population's size is public), "add_or_remove_one"
        (the unit is there or not) or "replace_one" (it becomes any other unit). A claim is to choose it, so it has no
        default here; ``default_adjacency`` is what configs and the command line take.
      sampling: who takes part in a step: a kind such as ``Poisson(0.01)``, ``FixedSize``, ``Shuffled``, ``Cyclic`` or
        ``Full()``; or its name in ``SAMPLINGS``, with ``sampling_rate`` and ``population`` beside it.
      sampling_rate: beside a name: expected cohort size / population, in (0, 1]; 1 for "full". Beside a kind it is left
        out, as the kind has it.
      noise_multiplier: noise standard deviation / clip norm, whatever the adjacency; 0 means no privacy. With a
        ``factorization``, that of the ONE Gaussian mechanism which the whole run then is.
      num_steps: noisy sums released in the whole run.
      population: beside a name: number of units, which "fixed_size", "shuffled" and "cyclic" need.
      overflow_probability: the chance that ANY step of the run drew more units than its fixed capacity holds.
      factorization: how the noise is correlated over the steps, as given to ``correlated_privatizer``; None if each
        step has its own.
      noise: ``LocalReports`` or ``DistributedNoise`` if the clients add it; None if Gaussian, by whoever holds the sum.
      records_per_unit: the most records that one unit owns, if the sampling draws records one by one and each of them
        is clipped alone; then ``sampling_rate``, ``population`` and ``overflow_probability`` are of records. 1: it
        draws units. Above 1 with "poisson" or "full", "add_or_remove_one" or "zero_out", and independent noise on the
        sum.
      abort_probability: the chance that ANY step of the run is aborted, if aborts are seen and depend on who is there;
        see ``abort_probability``.
      released: counts of the data with noise of their own that were released before the run; None: none were.

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
    sampling: Sampling
    noise_multiplier: float
    num_steps: int
    overflow_probability: float
    factorization: Factorization | None
    noise: Noise | None
    records_per_unit: int
    abort_probability: float
    released: Release | None

    def __init__(
        self,
        *,  # of any type, so that each is refused in a sentence
        unit: str | Any,
        adjacency: str | Any,
        sampling: Sampling | str | Any,
        noise_multiplier: float | Any,
        num_steps: int | Any,
        sampling_rate: float | Any = None,
        population: int | Any = None,
        overflow_probability: float | Any = 0.0,
        factorization: Factorization | Any = None,
        noise: Noise | Any = None,
        records_per_unit: int | Any = 1,
        abort_probability: float | Any = 0.0,
        released: Release | Any = None,
    ) -> None:
        if factorization is not None:
            instance("factorization", factorization, Factorization, fix="make one, such as tree_aggregation(...)")
        if noise is not None:
            instance("noise", noise, Noise, fix="leave it out for Gaussian noise")
        if released is not None:
            instance("released", released, Release, fix="make one, as Release(20.0)")
        for name, value in {
            "unit": one_of("unit", unit, UNITS),
            "adjacency": one_of("adjacency", adjacency, ADJACENCIES),
            "sampling": _sampling(sampling, sampling_rate, population),
            "noise_multiplier": NOISE_MULTIPLIER.known("noise_multiplier", noise_multiplier),
            "num_steps": NUM_STEPS.known("num_steps", num_steps),
            "overflow_probability": known_number(
                "overflow_probability", overflow_probability, least=0, most=1, fix="it is a chance"
            ),
            "factorization": factorization,
            "noise": noise,
            "records_per_unit": RECORDS_PER_UNIT.known("records_per_unit", records_per_unit),
            "abort_probability": known_number(
                "abort_probability", abort_probability, least=0, most=1, fix="it is a chance"
            ),
            "released": released,
        }.items():
            object.__setattr__(self, name, value)
        self._check_records()
        self._check_noise()

    def _check_records(self) -> None:
        most = self.records_per_unit
        if most == 1:
            return
        if self.unit == "example":
            raise ValueError(
                f"records_per_unit={most!r} needs unit='user' or 'client', as unit='example' is one record."
            )
        # Of these nobody has shown which pair of distributions is the worst.
        refused = {
            "adjacency='replace_one'": (self.adjacency == "replace_one", "'add_or_remove_one' or 'zero_out'"),
            f"sampling={self.sampling.name!r}": (not self.sampling.draws_records, "'poisson' or 'full'"),
            "correlated noise": (self.factorization is not None, "independent noise, or draw units"),
            "noise that clients add": (self.noise is not None, "noise on the sum, or draw units"),
        }
        for what, (is_asked, fix) in refused.items():
            if is_asked:
                raise ValueError(f"records_per_unit={most!r} has no account with {what}; use {fix}.")

    def _check_noise(self) -> None:
        if self.noise is not None:
            if self.factorization is not None:
                raise ValueError(
                    "factorization is given with noise that clients add, which is fresh in each step; leave it out."
                )
            self.noise.check(self)
        if self.factorization is not None:
            self.factorization.check_covers(self.participation, self.sampling.name)
        if self.released is not None and self.noise is not None:
            raise ValueError(
                "released has no account with noise that clients add; use noise on the sum, or release nothing."
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
        noise: Noise | None = None,
        records_per_unit: int = 1,
        abort_probability: float | None = None,
        released: Release | None = None,
    ) -> Mechanism:
        """The mechanism of the sampler that runs, so that the sampling is never typed twice.

        Args:
          sampler: anything with the attributes ``sampling``, a kind such as ``Poisson``, and ``overflow_probability``;
            those of ``dpjax.sampling`` are. If it has ``num_steps``, that is how many steps its overflow probability
            speaks for.
          unit, adjacency, num_steps, noise_multiplier, factorization, noise, records_per_unit, released: as in
            ``Mechanism``; a mechanism that is yet to be calibrated needs no multiplier.
          abort_probability: as in ``Mechanism``; None: the sampler's own, or 0 if it has none.

        Returns:
          A ``Mechanism`` whose sampling, rate, population and overflow probability are the sampler's own.

        Raises:
          ValueError: as ``Mechanism``, or the sampler speaks for fewer steps than the run has.

        Example:
          >>> from types import SimpleNamespace
          >>> from dpjax.accounting import Poisson
          >>> sampler = SimpleNamespace(sampling=Poisson(0.04, population=600), overflow_probability=0.0)
          >>> Mechanism.from_sampler(sampler, unit="example", adjacency="zero_out", noise_multiplier=1.0,
          ...                        num_steps=10).population
          600
        """
        if not isinstance(sampler, Sampler) or isinstance(sampler, type):
            raise TypeError(f"sampler={brief(sampler)} is no sampler; make one, such as poisson_sampler(...).")
        num_steps = NUM_STEPS.known("num_steps", num_steps)
        covered = getattr(sampler, "num_steps", None)
        if covered is not None and num_steps > covered:
            raise ValueError(
                f"num_steps={num_steps!r} is more than the {covered} that the sampler's overflow probability speaks "
                "for; make the sampler for as many steps as the run has."
            )
        abort_chance = getattr(sampler, "abort_probability", None) or 0.0
        return cls(
            unit=unit,
            adjacency=adjacency,
            sampling=sampler.sampling,
            noise_multiplier=noise_multiplier,
            num_steps=num_steps,
            overflow_probability=sampler.overflow_probability,
            factorization=factorization,
            noise=noise,
            records_per_unit=records_per_unit,
            abort_probability=abort_chance if abort_probability is None else abort_probability,
            released=released,
        )

    @property
    def sampling_rate(self) -> float:
        """Expected cohort size / population."""
        return self.sampling.sampling_rate

    @property
    def population(self) -> int | None:
        """Number of units, or of their records where those are drawn; None if it is not needed."""
        return self.sampling.population

    @property
    def noising(self) -> Noise:
        """Whose noise hides a unit: the clients' own, or on the sum, correlated or not."""
        if self.noise is not None:
            return self.noise
        return INDEPENDENT if self.factorization is None else CorrelatedNoise(self.factorization)

    @property
    def participation(self) -> Participation:
        """How often and how densely one unit can take part."""
        return self.sampling.participation(self.num_steps)

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
        neighbours = ADJACENCIES[self.adjacency].format(unit=self.unit)
        drawn, owned = self.unit, ""
        if self.records_per_unit > 1:
            drawn = "record"
            owned = f"; each {self.unit} owns at most {self.records_per_unit:,} records, which are drawn one by one"
        overflow = f" and overflow probability {self.overflow_probability:.2g}" if self.overflow_probability else ""
        overflow += f" and abort probability {self.abort_probability:.2g}" if self.abort_probability else ""
        steps = "step" if self.num_steps == 1 else "steps"
        before = f"; {self.released.describe()} before the run" if self.released else ""
        return (
            f"{self.unit}-level privacy, neighbours {neighbours}{owned}; {self.sampling.describe(drawn)}; "
            f"{self.num_steps:,} {steps}{self.noising.describe(self)}{overflow}{before}; one run, hyper-parameter "
            "tuning not paid for"
        )


def dominating_pair(mechanism: Mechanism) -> Pair:
    """The pair that dominates each of the ``times`` steps that one unit may be in, or the whole of a correlated run.

    Beside it stands what was released before.
    """
    pair, released = mechanism.noising.pair(mechanism), mechanism.released
    return pair if released is None else pair._replace(beside=released.stddev(mechanism.adjacency))


def check_accountable(mechanism: Mechanism) -> None:
    """Raise ValueError if nothing accounts for this pair of sampling and adjacency, TypeError if it is no mechanism."""
    instance("mechanism", mechanism, Mechanism, fix="make one, such as Mechanism.from_sampler(...)")
    mechanism.noising.check(mechanism)


def _sampling(sampling: Sampling | str, sampling_rate: float | None, population: int | None) -> Sampling:
    """The kind that was given, or that of a name."""
    if isinstance(sampling, str):
        if sampling_rate is None and sampling in SAMPLINGS:
            raise ValueError(f"sampling_rate=None with sampling={sampling!r}; give cohort size / population.")
        return sampling_of(sampling, sampling_rate, population)
    instance("sampling", sampling, Sampling, fix="make one, such as Poisson(0.01), or give its name")
    for name, value in (("sampling_rate", sampling_rate), ("population", population)):
        if value is not None:
            raise ValueError(f"{name}={brief(value)} beside sampling={sampling}, which has its own; leave it out.")
    return sampling
