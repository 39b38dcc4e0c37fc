"""Local privacy: what the reports cost that one client randomises by itself, before anybody sees them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from dpjax.accounting.noises import Noise, Run, multiplier_words
from dpjax.accounting.pairs import Pair
from dpjax.accounting.samplings.sampling import NOT_AMPLIFIED
from dpjax.checks import number, one_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class ReportKind(NamedTuple):
    """One way in which a client randomises its report.

    Attributes:
      noise: its name in configs and rows.
      words: in a claim.
      pure: whether a report has an ε of its own; False: Gaussian, of the mechanism's noise multiplier.
    """

    noise: str
    words: str
    pure: bool


KINDS: dict[str, ReportKind] = {
    "gaussian": ReportKind("local_gaussian", "Gaussian noise", pure=False),
    "laplace": ReportKind("laplace", "Laplace noise", pure=True),
    "privunit": ReportKind("privunit", "PrivUnit", pure=True),
    "sphere": ReportKind("sphere", "points of a sphere", pure=True),
}
"""Name → kind: all that clients can report by. How they do is in ``dpjax.federated.aggregation``."""

MAX_REPORT_EPSILON = 500.0  # beyond, the probabilities of PrivUnit's cap leave float64


@dataclass(frozen=True)
class LocalReports(Noise):
    """``Mechanism(noise=...)``: each client randomises its own report, so that the server need not be trusted.

    Formal guarantees: whoever sees all reports of a client, the server too, learns of its data no more than ε and δ
    say. Every step that a client can be in costs one report, ``num_participations`` in all; sampling amplifies nothing,
    as the server sees who takes part.

    Args:
      kind: a key of ``KINDS``: "gaussian" (of the mechanism's noise multiplier, standard deviation / clip norm), or one
        with a pure ε, whose mechanism has noise_multiplier 0.
      epsilon_per_report: the pure ε of one report between any two contributions, in (0, 500]; None for "gaussian".

    Raises:
      ValueError: an unknown kind, or an epsilon_per_report that is out of range or that the kind has no use for.

    Example:
      >>> from dpjax.accounting import Mechanism, epsilon
      >>> run = Mechanism(unit="client", adjacency="replace_one", sampling="full", sampling_rate=1.0,
      ...                 noise_multiplier=0.0, num_steps=10, noise=LocalReports("privunit", 0.5))
      >>> round(epsilon(run, delta=1e-5), 3)  # ten reports, at most 10 × 0.5
      4.999

    References:
      Kasiviswanathan et al. 2011, https://arxiv.org/abs/0803.0924; Kairouz, Oh and Viswanath 2015 (composition),
      https://arxiv.org/abs/1311.0776.
    """

    kind: str
    epsilon_per_report: float | None = None

    trust: ClassVar[str] = "local"

    def __post_init__(self) -> None:
        one_of("kind", self.kind, KINDS)
        if self.pure:
            fix = f"it is the ε of one report of kind={self.kind!r}"
            pure = number("epsilon_per_report", self.epsilon_per_report, above=0, most=MAX_REPORT_EPSILON, fix=fix)
            object.__setattr__(self, "epsilon_per_report", pure)
        elif self.epsilon_per_report is not None:
            raise ValueError(
                f"epsilon_per_report={self.epsilon_per_report!r} with kind={self.kind!r}, whose reports have no pure "
                "ε; leave it out and give the mechanism a noise_multiplier."
            )

    @property
    def pure(self) -> bool:
        """Whether a report has an ε of its own, and no use for a noise multiplier."""
        return KINDS[self.kind].pure

    @property
    def amplified(self) -> bool:
        """Nothing is: the server sees who takes part."""
        return False

    def check(self, run: Run) -> None:
        if run.adjacency != "replace_one":
            raise ValueError(
                f"adjacency={run.adjacency!r} must be 'replace_one' with local reports, which hide a contribution "
                "among all others."
            )
        if self.pure and run.noise_multiplier != 0:
            raise ValueError(
                f"noise_multiplier={run.noise_multiplier!r} must be 0 with local reports of kind={self.kind!r}, whose "
                "noise is set by epsilon_per_report."
            )

    def pair(self, run: Run) -> Pair:
        if self.epsilon_per_report is not None:
            return Pair("model", 1.0, 0.0, run.num_participations, PureReport(self.epsilon_per_report))
        return Pair("gaussian", 1.0, run.noise_multiplier / 2, run.num_participations)

    def check_calibration(self, accountant: str) -> None:
        if self.pure:
            raise ValueError(
                f"noise=LocalReports({self.kind!r}) has no noise multiplier to calibrate; use calibrate_report_epsilon."
            )

    def describe(self, run: Run) -> str:
        of = f"pure ε {self.epsilon_per_report:.6g} a report" if self.pure else multiplier_words(run)
        return (
            f" of local privacy, which holds against the server: each {run.unit} randomises its own reports, at "
            f"most {run.num_participations:,}, by {KINDS[self.kind].words} of {of}{NOT_AMPLIFIED}"
        )


@dataclass(frozen=True)
class PureReport:
    """One ε-report at its worst: randomised response, which every pure ε-mechanism is a processing of."""

    pure_epsilon: float

    def renyi(self, orders: Sequence[float]) -> NDArray[np.float64]:
        """Rényi divergences at orders above 1; exact for randomised response."""
        import numpy as np

        order = np.asarray(orders, float)
        yes, no = _log_answers(self.pure_epsilon)
        return np.logaddexp(no + order * self.pure_epsilon, yes - order * self.pure_epsilon) / (order - 1)

    def composed(self, times: int, delta: float) -> float:
        """The least ε at δ that holds for any ``times`` reports, chosen adaptively or not."""
        return composed_epsilon(self.pure_epsilon, times, delta)


def composed_epsilon(epsilon_per_report: float, times: int, delta: float) -> float:
    """The ε of several pure ε-reports together, at δ: no smaller one holds for all such reports.

    Formal guarantees: ``times`` mechanisms, each pure ``epsilon_per_report``-DP and chosen adaptively, are (ε, δ)-DP
    together, for whatever neighbours each of them is. Computed as the hockey-stick divergence of as many randomised
    responses, which is a finite sum.

    Args:
      epsilon_per_report: the pure ε of each, ≥ 0.
      times: how many, ≥ 1.
      delta: the δ of the guarantee, in (0, 1).

    Returns:
      ε, at most times × epsilon_per_report; 0 if δ covers it all.

    Example:
      >>> round(composed_epsilon(0.1, 100, 1e-6), 3), 100 * 0.1
      (4.775, 10.0)

    References:
      Kairouz, Oh and Viswanath 2015, theorem 3.3, https://arxiv.org/abs/1311.0776.
    """
    import numpy as np
    from scipy.special import gammaln

    yes, no = _log_answers(epsilon_per_report)
    true = np.arange(times + 1, dtype=np.float64)
    log_mass = gammaln(times + 1) - gammaln(true + 1) - gammaln(times - true + 1) + true * yes + (times - true) * no
    mass, loss = np.exp(log_mass), (2 * true - times) * epsilon_per_report

    def exceeds(epsilon: float) -> bool:
        above = loss > epsilon
        return float(np.sum(mass[above] * -np.expm1(epsilon - loss[above]))) > delta

    low, high = 0.0, times * epsilon_per_report
    if not exceeds(low):
        return 0.0
    while high - low > 1e-12 * high:
        middle = (low + high) / 2
        low, high = (middle, high) if exceeds(middle) else (low, middle)
    return high


def _log_answers(epsilon: float) -> tuple[float, float]:
    """log of the chances of a true and of a false answer in randomised response."""
    yes = -math.log1p(math.exp(-epsilon))
    return yes, yes - epsilon
