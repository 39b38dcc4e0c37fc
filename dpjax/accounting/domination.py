"""The pair of output distributions that one step of a run can at worst be told apart by.

Everything is measured in the distance that one unit moves the sum, so `stddev` below is the noise over that distance.
With the sampling rate q, N(m) the normal of mean m and that deviation, and "dominates" meaning that no set, at no
ε of either sign, tells the true pair apart better (so compositions are dominated too, arXiv 2106.08567):

- "gaussian": N(1) against N(0). Correlated noise is one such step for the whole run, at any sampling that does not
  depend on the data: given who takes part when, one unit moves the encoded sums by at most the sensitivity that the
  noise multiplier is stated for, also if later sums depend on earlier outputs (arXiv 2202.08312, theorem 2.1), and
  averaging over who takes part when cannot make the pair easier to tell apart.
- "add_remove", for Poisson sampling: (1-q) N(0) + q N(1) against N(0), and the reverse (Zhu et al.).
- "records", for Poisson sampling of records of which a unit owns at most k: Σ p_i N(i) against N(0), and the reverse,
  p_i = Binomial(k, q)(i). Given which records of others are drawn, a unit of which i are moves the sum by at most i
  clip norms. For a set S with N(0)(S) = Φ(z), the mixture of its shifts has at most Σ p_i Φ(z + i/σ) and at least
  Σ p_i Φ(z - i/σ), both reached by half-spaces (Neyman-Pearson); fewer or shorter records are less (arXiv 2310.15526,
  corollary 4.7; arXiv 2407.07737). k = 1 is "add_remove". With all records in all steps it is "gaussian" at distance k.
- "replace", for Poisson sampling: (1-q) N(0) + q N(1) against (1-q) N(0) + q N(-1). For contributions v, w of norm at
  most 1 and a set S with N(0)(S) = a = Φ(z), Neyman-Pearson gives N(v)(S) <= Φ(z + 1/σ) and N(w)(S) >= Φ(z - 1/σ), both
  reached by one half-space, so (1-q)(1-γ)a + q N(v)(S) - γ q N(w)(S) is largest for v = -w = that unit vector.
- "subset", for a fixed-size cohort: given the others in the cohort, the unit in question takes a place that otherwise
  holds a unit y, so contributions differ by up to 2 clip norms. Advanced joint convexity bounds the hockey-stick curve
  by "add_remove"'s first curve at ε >= 0, and by symmetry by its second at ε < 0 (Zhu et al.). When a unit is
  added rather than replaced, only one side of the pair is a mixture, and "add_remove" itself dominates.
- "model": no Gaussian noise on the sum, but what `local.py` and `discrete.py` know of one step. Reports with Gaussian
  noise that clients add themselves are "gaussian", one for each report.
"""

from __future__ import annotations

from typing import NamedTuple

from dpjax.accounting.distributed import DistributedNoise, NoisyStep
from dpjax.accounting.local import PureReport
from dpjax.accounting.mechanism import Mechanism


class Pair(NamedTuple):
    """One step's dominating pair and how often it is composed."""

    shape: str
    rate: float
    stddev: float
    times: int
    model: NoisyStep | PureReport | None = None
    records: int = 1


def dominating_pair(mechanism: Mechanism) -> Pair:
    """The pair that dominates each of the `times` steps that one unit may be in, or the whole of a correlated run."""
    count = mechanism.num_participations
    replace = mechanism.adjacency == "replace_one"
    noise = mechanism.noise_multiplier
    if mechanism.records_per_unit > 1:
        records = int(mechanism.records_per_unit)
        if mechanism.sampling_rate == 1:
            return Pair("gaussian", 1.0, noise / records, count)
        return Pair("records", mechanism.sampling_rate, noise, count, records=records)
    if isinstance(mechanism.noise, DistributedNoise):
        step = mechanism.noise.step(mechanism)
        return Pair("model", step.rate, noise, count, step)
    if mechanism.noise is not None:
        pure = mechanism.noise.epsilon_per_report
        if pure is not None:
            return Pair("model", 1.0, 0.0, count, PureReport(pure))
        return Pair("gaussian", 1.0, noise / 2, count)
    if mechanism.factorization is not None:
        return Pair("gaussian", 1.0, noise / 2 if replace else noise, 1)
    if mechanism.sampling == "fixed_size":
        shape = "add_remove" if mechanism.adjacency == "add_or_remove_one" else "subset"
        pair = Pair(shape, mechanism.sampling_rate, noise / 2, count)
    elif mechanism.sampling == "poisson" and mechanism.sampling_rate < 1:
        pair = Pair("replace" if replace else "add_remove", mechanism.sampling_rate, noise, count)
    else:
        pair = Pair("gaussian", 1.0, noise / 2 if replace else noise, count)
    return pair._replace(shape="gaussian") if pair.rate == 1 else pair


def curves(shape: str) -> tuple[str, ...]:
    """The hockey-stick curves whose compositions must all be bounded."""
    return ("remove", "add") if shape in ("add_remove", "records") else (shape,)
