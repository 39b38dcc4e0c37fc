"""Poisson sampling: each unit takes part in each step by a coin of its own."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from dpjax.accounting.pairs import Pair, gaussian_pair
from dpjax.accounting.samplings.sampling import BinomialCohorts

if TYPE_CHECKING:
    import dp_accounting


@dataclass(frozen=True)
class Poisson(BinomialCohorts):
    """Each unit by its own coin, in each step anew.

    Formal guarantees: if the coins stay secret, a step is dominated by a pair (``pairs.py`` has their shapes) as
    follows.

    - a unit that is there or not, or whose contribution is zero or not: "add_remove" (Zhu et al.).
    - a unit of at most k records, which are drawn one by one: "records". Given which records of others are drawn, a
      unit of which i are moves the sum by at most i clip norms. For a set S with N(0)(S) = Φ(z), the mixture of its
      shifts has at most Σ p_i Φ(z + i/σ) and at least Σ p_i Φ(z - i/σ), both reached by half-spaces (Neyman-Pearson);
      fewer or shorter records are less (arXiv 2310.15526, corollary 4.7; arXiv 2407.07737). At rate 1 it is "gaussian"
      at distance k.
    - a unit that becomes another: "replace". For contributions v, w of norm at most 1 and a set S with
      N(0)(S) = a = Φ(z), Neyman-Pearson gives N(v)(S) <= Φ(z + 1/σ) and N(w)(S) >= Φ(z - 1/σ), both reached by one
      half-space, so (1-q)(1-γ)a + q N(v)(S) - γ q N(w)(S) is largest for v = -w = that unit vector.

    Args:
      sampling_rate: the coin's chance, in (0, 1].
      population: number of units, for the claim only.

    Example:
      >>> from dpjax.accounting import Mechanism, epsilon
      >>> run = Mechanism(unit="example", adjacency="zero_out", sampling=Poisson(0.01), noise_multiplier=1.1,
      ...                 num_steps=10_000)
      >>> round(epsilon(run, delta=1e-5), 2)
      5.19

    References:
      Abadi et al. 2016, https://arxiv.org/abs/1607.00133; Zhu et al. 2022, https://arxiv.org/abs/2106.08567.
    """

    name: ClassVar[str] = "poisson"
    word: ClassVar[str] = "Poisson"
    manner: ClassVar[str] = "Poisson sampling"
    amplifies: ClassVar[bool] = True
    draws_records: ClassVar[bool] = True

    def pair(self, noise_multiplier: float, adjacency: str, times: int, records: int = 1) -> Pair:
        rate = self.sampling_rate
        if rate == 1:
            return gaussian_pair(noise_multiplier / records, adjacency, times)
        if records > 1:
            return Pair("records", rate, noise_multiplier, times, records=records)
        return Pair("replace" if adjacency == "replace_one" else "add_remove", rate, noise_multiplier, times)

    def event(self, noise_multiplier: float, adjacency: str, records: int = 1) -> dp_accounting.DpEvent:
        del adjacency
        import dp_accounting as dpa

        if records == 1:
            return dpa.PoissonSampledDpEvent(self.sampling_rate, dpa.GaussianDpEvent(noise_multiplier))
        if self.sampling_rate == 1:
            return dpa.GaussianDpEvent(noise_multiplier / records)
        import numpy as np
        from dp_accounting.dp_event import MixtureOfGaussiansDpEvent

        from dpjax.accounting.mixture import folded_chances

        counts, log_chances = folded_chances(records, self.sampling_rate)
        return MixtureOfGaussiansDpEvent(noise_multiplier, tuple(counts.tolist()), tuple(np.exp(log_chances).tolist()))

    @property
    def secret_rate(self) -> float:
        return self.sampling_rate

    def central_limit(self, noise_multiplier: float, num_steps: int) -> float | None:
        return math.sqrt(num_steps) * self.sampling_rate * math.sqrt(math.expm1(1 / noise_multiplier**2))
