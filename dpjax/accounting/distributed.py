"""Distributed privacy: what a sum costs whose noise is whole numbers that the clients themselves added.

One step at worst, for noise of standard deviation s = noise multiplier × levels on a grid of whole numbers, a unit that
moves the sum by at most Δ₂ in L2 and Δ₁ in L1, dimension d, and order α:

- "discrete_gaussian", the sum of n independent discrete Gaussians of variance s²/n ≥ 1/4. With
  τ = 10 Σ_{k<n} exp(-2π² (s²/n) k/(k+1)), the least of α Δ₂²/2s² + τ d, α/2 (Δ₂²/s² + 2 τ Δ₁/s + τ² d) and
  α/2 (Δ₂/s + τ √d)² (arXiv 2102.06387, proposition 14). τ is 0 to all digits once s²/n is above 75.
- "skellam", which a sum of Skellams is again: α Δ₂²/2s² + min(((2α - 1) Δ₂² + 6 Δ₁) / 4s⁴, 3 Δ₁ / 2s²) at whole α
  (arXiv 2110.04995, theorem 3.5).

Whole vectors of norm L have Δ₁ ≤ L min(√d, L). At orders between whole ones, (α - 1) × divergence is convex in α, so
the chord bounds it (Skellam, and sampling without replacement).

Sampling, if who takes part is secret. With chance 1 - q the unit is absent and neighbours do not differ, so
(1 - q) + q exp((α - 1) D) bounds the moment by joint convexity, for every sampler. For cohorts of fixed size the bound
of Wang et al. for sampling without replacement (arXiv 1808.00087, theorem 9) is taken where it is smaller. The bounds
of Mironov et al. and of Zhu & Wang for Poisson sampling do not apply: they compare with a sum in which the absent
unit's contribution is missing and nothing else, while here its share of the noise is missing, too.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar, NamedTuple, NoReturn

from dpjax.accounting.noises import Noise, Run, multiplier_words
from dpjax.accounting.pairs import Pair
from dpjax.accounting.samplings.sampling import NOT_AMPLIFIED
from dpjax.checks import one_of, whole_number

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_MAX_ORDER = 1024  # of sampling without replacement, whose bound is a sum of so many terms


@dataclass(frozen=True)
class DistributedNoise(Noise):
    """``Mechanism(noise=...)``: clients add whole-number noise before secure aggregation; nobody sees the bare sum.

    Formal guarantees: in a mechanism that has it, ε is that of sums in which the noise of exactly ``shares`` honest
    clients has the standard deviation noise_multiplier × clip norm; sums of more have more noise, and those of fewer
    must not be released. By default ε holds against the server, which sees who takes part: every step that a unit can
    be in is charged in full. ``dpjax.federated.distributed_noise`` makes it from what runs.

    Args:
      kind: "discrete_gaussian" or "skellam".
      dimension: coordinates of a message, padding included.
      levels: grid steps in a clip norm; rounded messages have at most this L2 norm, in steps.
      shares: honest clients that are sure to be in a released sum: secure aggregation's threshold, less those that
        may work together with the server.
      secret_cohorts: True claims amplification by sampling. It holds against those who see what is released and not
        who took part, so never against the server.

    Raises:
      ValueError: an unknown kind, or a number that is not a whole one of at least 1.

    Example:
      >>> from dpjax.accounting import Mechanism, epsilon
      >>> noise = DistributedNoise("skellam", dimension=10_000, levels=2**12, shares=50)
      >>> run = Mechanism(unit="client", adjacency="zero_out", sampling="full", sampling_rate=1.0,
      ...                 noise_multiplier=4.0, num_steps=10, noise=noise)
      >>> round(epsilon(run, delta=1e-5, accountant="rdp"), 3)
      3.628

    References:
      Kairouz, Liu and Steinke 2021, https://arxiv.org/abs/2102.06387; Agarwal, Kairouz and Liu 2021,
      https://arxiv.org/abs/2110.04995.
    """

    kind: str
    dimension: int
    levels: int
    shares: int
    secret_cohorts: bool = False

    trust: ClassVar[str] = "distributed"

    def __post_init__(self) -> None:
        one_of("kind", self.kind, KINDS)
        for name in ("dimension", "levels", "shares"):
            count = whole_number(name, getattr(self, name), fix="see distributed_noise, which makes it from what runs")
            object.__setattr__(self, name, count)

    @property
    def amplified(self) -> bool:
        """Whether ε relies on who takes part staying secret."""
        return self.secret_cohorts

    def check(self, run: Run) -> None:
        if run.adjacency == "add_or_remove_one":
            raise ValueError(
                "adjacency='add_or_remove_one' has no account with distributed noise, as a client that is not there "
                "takes its share of the noise along; use 'zero_out' or 'replace_one'."
            )

    def check_calibration(self, accountant: str) -> None:
        if accountant == "pld":
            _refuse(self.kind)

    def pair(self, run: Run) -> Pair:
        step = self.step(run)
        return Pair("model", step.rate, run.noise_multiplier, run.num_participations, step)

    def step(self, run: Run) -> NoisyStep:
        """One step at its worst, for the accountant."""
        distance = 2 if run.adjacency == "replace_one" else 1
        rate = run.sampling.secret_rate if self.secret_cohorts else 1.0
        return KINDS[self.kind].step(
            self, float(run.noise_multiplier), distance, rate, run.sampling.without_replacement
        )

    def describe(self, run: Run) -> str:
        against = (
            "it holds against those who see no more than what is released"
            if self.secret_cohorts
            else f"it holds against the server too{NOT_AMPLIFIED}"
        )
        return (
            f" with {multiplier_words(run)} of distributed {KINDS[self.kind].words} noise, the sum of "
            f"{self.shares:,} clients' shares on a grid of {self.levels:,} levels in {self.dimension:,} dimensions; "
            f"{against}"
        )


@dataclass(frozen=True)
class NoisyStep:
    """One released sum at its worst: a unit moves it by ``distance`` clip norms, if it is there."""

    noise: DistributedNoise
    noise_multiplier: float
    distance: int
    rate: float
    without_replacement: bool

    @property
    def pure_epsilon(self) -> float:
        """None that is finite."""
        return math.inf

    def composed(self, times: int, delta: float) -> NoReturn:
        """Nothing: no pair of distributions is known to dominate this noise in many dimensions."""
        del times, delta
        _refuse(self.noise.kind)

    def renyi(self, orders: Sequence[float]) -> NDArray[np.float64]:
        """Bounds on Rényi divergences at orders above 1, whole or not; see the module."""
        import numpy as np

        return np.array([self._at(float(order)) for order in orders])

    def _at(self, order: float) -> float:
        if self.rate == 1:
            return self._everybody(order)
        exponent = (order - 1) * _chord(self._whole, order)
        rest = (1 - self.rate) * math.exp(-exponent)
        small = exponent < 50
        mixture = math.log1p(self.rate * math.expm1(exponent)) if small else exponent + math.log(self.rate + rest)
        bound = min(exponent, mixture) / (order - 1)
        if self.without_replacement and order < _MAX_ORDER:
            bound = min(bound, _chord(self._drawn, order))
        return bound

    def _everybody(self, order: float) -> float:
        """The step with everybody in it, at any order."""
        return _chord(self._whole, order)

    def _whole(self, order: float, distance: int | None = None) -> float:
        """The same at whole orders, for a unit that moves the sum by so many clip norms."""
        raise NotImplementedError

    def _sides(self, distance: int | None) -> tuple[float, float, float]:
        """How far a unit moves the sum in L2 and in L1, in units of the noise, and the noise's standard deviation."""
        distance = self.distance if distance is None else distance
        # Two rounded vectors differ by at most the sum of their L1 norms.
        longest = min(math.sqrt(self.noise.dimension), self.noise.levels)
        stddev = self.noise_multiplier * self.noise.levels
        return distance / self.noise_multiplier, distance * longest / self.noise_multiplier, stddev

    def _drawn(self, order: float) -> float:
        """Sampling without replacement at a whole order: another unit takes the place of one that is not drawn."""
        import numpy as np
        from scipy.special import gammaln

        if order == 1:
            return 0.0
        j = np.arange(2, int(order) + 1)
        divergence = np.array([self._whole(float(each), distance=2) for each in j])
        moments = math.log(2) + (j - 1) * divergence
        if divergence[0] < math.log(2):  # 4 (exp D₂ - 1) is below 2 exp D₂
            moments[0] = math.log(4 * math.expm1(divergence[0]))
        counts = gammaln(order + 1) - gammaln(j + 1) - gammaln(order - j + 1)
        total = np.logaddexp.reduce(np.append(counts + j * math.log(self.rate) + moments, 0.0))
        return float(total) / (order - 1)


class SkellamStep(NoisyStep):
    """Of Skellam noise; see the module."""

    def _whole(self, order: float, distance: int | None = None) -> float:
        l2, l1, stddev = self._sides(distance)
        fourth = ((2 * order - 1) * l2**2 + 6 * l1 / stddev) / (4 * stddev**2)
        return order / 2 * l2**2 + min(fourth, 1.5 * l1 / stddev)


class DiscreteGaussianStep(NoisyStep):
    """Of a sum of discrete Gaussians, whose bound holds at every order; see the module."""

    def _everybody(self, order: float) -> float:
        return self._whole(order)

    def _whole(self, order: float, distance: int | None = None) -> float:
        l2, l1, _ = self._sides(distance)
        root, tau = math.sqrt(self.noise.dimension), self._tau
        if tau == math.inf:
            return math.inf
        return min(
            order / 2 * l2**2 + tau * self.noise.dimension,
            order / 2 * (l2**2 + 2 * l1 * tau + tau**2 * self.noise.dimension),
            order / 2 * (l2 + root * tau) ** 2,
        )

    @cached_property
    def _tau(self) -> float:
        """How far, at most, the log of the sum's probabilities is from a discrete Gaussian's, twice; inf if unknown."""
        import numpy as np

        shares = self.noise.shares
        variance = (self.noise_multiplier * self.noise.levels) ** 2 / shares
        if shares > 1 and variance < 0.25:
            return math.inf
        k = np.arange(1, shares)
        return 10 * float(np.sum(np.exp(-2 * math.pi**2 * variance * k / (k + 1))))


class DistributedKind(NamedTuple):
    """One distribution of clients' shares of noise.

    Attributes:
      words: in a claim.
      step: what a sum of them is worth.
    """

    words: str
    step: type[NoisyStep]


KINDS: dict[str, DistributedKind] = {
    "discrete_gaussian": DistributedKind("discrete Gaussian", DiscreteGaussianStep),
    "skellam": DistributedKind("Skellam", SkellamStep),
}
"""Name → kind: what clients can add before secure aggregation; ``dpjax.federated.aggregation`` has how they draw."""


def _chord(bound_at: Callable[[float], float], order: float) -> float:
    """A bound at any order from those at the whole orders around it."""
    below = math.floor(order)
    part = order - below
    left = (below - 1) * bound_at(float(below)) if part < 1 and below > 1 else 0.0
    right = below * bound_at(float(below + 1)) if part > 0 else 0.0
    return ((1 - part) * left + part * right) / (order - 1)


def _refuse(kind: str) -> NoReturn:
    raise ValueError(f"accountant='pld' knows no dominating pair for noise of kind={kind!r}; use accountant='rdp'.")
