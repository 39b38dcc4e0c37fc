"""Fixed-size sampling: a random subset without replacement, drawn afresh in each step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from dpjax.accounting.pairs import Pair, gaussian_pair
from dpjax.accounting.samplings.sampling import CohortsOfOneSize

if TYPE_CHECKING:
    import dp_accounting


@dataclass(frozen=True)
class FixedSize(CohortsOfOneSize):
    """A uniformly random subset of one size, drawn afresh in each step.

    Formal guarantees: if who is drawn stays secret, a step is dominated as follows. Given the others in the cohort, the
    unit in question takes a place that otherwise holds a unit y, so contributions differ by up to 2 clip norms.
    Advanced joint convexity bounds the hockey-stick curve by "add_remove"'s first curve at ε >= 0, and by symmetry by
    its second at ε < 0: the pair "subset" (Zhu et al.). When a unit is added rather than replaced, only one side of the
    pair is a mixture, and "add_remove" itself dominates, at that distance of 2.

    Args:
      sampling_rate: cohort size / population, in (0, 1].
      population: number of units.

    Example:
      >>> FixedSize(0.25, 100).cohort_size
      25

    References:
      Zhu et al. 2022, https://arxiv.org/abs/2106.08567; Wang, Balle and Kasiviswanathan 2019,
      https://arxiv.org/abs/1808.00087.
    """

    name: ClassVar[str] = "fixed_size"
    word: ClassVar[str] = "fixed-size"
    manner: ClassVar[str] = "fixed-size sampling without replacement"
    amplifies: ClassVar[bool] = True
    without_replacement: ClassVar[bool] = True

    def check(self, adjacency: str, *, independent: bool) -> None:
        if adjacency == "add_or_remove_one" and not independent:
            raise ValueError(
                "adjacency='add_or_remove_one' has no account with sampling='fixed_size' and correlated noise, as a "
                "unit that joins pushes others out; use 'zero_out' or 'replace_one'."
            )

    @classmethod
    def default_adjacency(cls, *, independent: bool) -> str:
        # A unit that is gone leaves its place to another, and one that is zero does not.
        return "add_or_remove_one" if independent else "zero_out"

    def pair(self, noise_multiplier: float, adjacency: str, times: int, records: int = 1) -> Pair:
        assert records == 1
        half = noise_multiplier / 2
        if self.sampling_rate == 1:
            return gaussian_pair(half, "zero_out", times)
        return Pair("add_remove" if adjacency == "add_or_remove_one" else "subset", self.sampling_rate, half, times)

    def event(self, noise_multiplier: float, adjacency: str, records: int = 1) -> dp_accounting.DpEvent:
        assert records == 1
        import dp_accounting as dpa

        if adjacency == "add_or_remove_one":
            return dpa.PoissonSampledDpEvent(self.sampling_rate, dpa.GaussianDpEvent(noise_multiplier / 2))
        noise = dpa.GaussianDpEvent(noise_multiplier)
        return dpa.SampledWithoutReplacementDpEvent(self.population or 0, self.cohort_size, noise)

    @property
    def secret_rate(self) -> float:
        return self.sampling_rate
