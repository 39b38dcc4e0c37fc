"""Paired tests over seeds, and verdicts that hold over all pairs together."""

import functools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from dpjax.results.schema import lower_is_better

_NOTHING = 2.0**-22
"""Differences up to this share of the numbers are none: metrics are of 32 bits, and equal ones differ by rounding."""


class Difference(NamedTuple):
    """One pair, compared over the seeds that both ran.

    Attributes:
      where: column → value that both sides share: ``CONTEXT``, and the settings in which they agree.
      first, second: the sides.
      seeds: number of common seeds.
      first_mean, second_mean: means of the metric over them.
      mean: of first minus second.
      std: standard deviation of that over seeds (``ddof=1``).
      low, high: its interval, at the level at which the pair was tested.
      p: of a two-sided paired t-test, before correction; where differences are equal over all seeds there is none, and
        it is ``exact_p``, with the interval of that test: one number if it shows a difference, else all of them. 1
        where a value is not finite.
      adjusted_p: after Holm's, over all pairs compared together.
      exact_p: of the sign-flip test, which assumes no normality; never below ``2 / 2**seeds``. Exact up to 13
        seeds; for more it is a Monte-Carlo test's, which is valid too and never below ``2 / 10**4``.
      verdict: "first", "second", or "" where no difference was shown.
    """

    where: dict[str, Any]
    first: str
    second: str
    seeds: int
    first_mean: float
    second_mean: float
    mean: float
    std: float
    low: float
    high: float
    p: float
    adjusted_p: float
    exact_p: float
    verdict: str


Raw = tuple[dict[str, Any], str, str, np.ndarray, np.ndarray]
"""What two sides share, their names, and the metric of each by seed."""


def judged(raw: Sequence[Raw], metric: str, alpha: float) -> list[Difference]:
    """Holm's verdicts over pairs: (what they share, first side, second side, and the metric of each by seed).

    Args:
      raw: the pairs.
      metric: the column, which says whether lower is better.
      alpha: chance of any wrong verdict.

    Example:
      >>> pair = ({}, "a", "b", np.array([0.9, 0.92]), np.array([0.9, 0.91]))
      >>> [found.verdict for found in judged([pair], "test_accuracy", 0.05)]
      ['']
    """
    from scipy.special import stdtrit

    with np.errstate(invalid="ignore"):  # of ∞ − ∞ there is no test, and nothing to warn of
        differences = [a - b for _, _, _, a, b in raw]
    tests = [_paired(a, b) for _, _, _, a, b in raw]
    order = np.argsort([p for p, _ in tests], kind="stable")
    levels, adjusted = np.empty(len(raw)), np.empty(len(raw))
    running, level, rejecting = 0.0, alpha / len(raw), True
    for rank, i in enumerate(order):
        p = tests[i][0]
        if rejecting:
            level = alpha / (len(raw) - rank)
            rejecting = p <= level
        levels[i] = level
        running = max(running, min(1.0, (len(raw) - rank) * p))
        adjusted[i] = running
    sign = -1.0 if lower_is_better(metric) else 1.0
    pairs = []
    for (where, first, second, a, b), d, (p, exact), level, corrected in zip(
        raw, differences, tests, levels, adjusted, strict=True
    ):
        testable = tested_by(a, b)
        mean, std = (float(d.mean()), float(d.std(ddof=1))) if testable else (math.nan, math.nan)
        half = math.inf
        if testable == "t":
            half = float(stdtrit(len(d) - 1, 1 - level / 2)) * std / math.sqrt(len(d))
        elif testable == "signs":
            mean, std = (mean if abs(mean) > _nothing(a, b) else 0.0), 0.0
            # The one shift that sign flips leave of such differences, where there are seeds enough to exclude any.
            half = 0.0 if _sign_flips(np.ones(len(d))) <= level else math.inf
        low, high = (mean - half, mean + half) if math.isfinite(half) else (-math.inf, math.inf)
        rejected = bool(testable) and corrected <= alpha
        shown = rejected and mean != 0
        verdict = ("first" if sign * mean > 0 else "second") if shown else ""
        pairs.append(
            Difference(
                where, first, second, len(d), float(a.mean()), float(b.mean()), mean, std,
                low, high, p, float(corrected), exact, verdict,
            )
        )  # fmt: skip
    return pairs


def tested_by(a: np.ndarray, b: np.ndarray) -> str:
    """What can test differences over seeds: ``t``; ``signs`` where all are equal; empty where one is not finite.

    Args:
      a, b: the metric of each side by seed, two or more.

    Example:
      >>> [tested_by(np.array(a), np.zeros(2)) for a in ((0.1, 0.2), (0.1, 0.1), (0.1, math.inf))]
      ['t', 'signs', '']
      >>> tested_by(np.float32([0.9, 0.8]).astype(float), np.array([0.91, 0.81]))  # but for rounding
      'signs'
    """
    with np.errstate(invalid="ignore"):
        d = a - b
    if not np.isfinite(d).all():
        return ""
    return "signs" if float(np.ptp(d)) <= _nothing(a, b) else "t"


def _nothing(a: np.ndarray, b: np.ndarray) -> float:
    """What rounding leaves of no difference."""
    return _NOTHING * float(max(np.abs(a).max(), np.abs(b).max()))


def _paired(a: np.ndarray, b: np.ndarray) -> tuple[float, float]:
    """p of the paired t-test and of the sign-flip test. Differences without any spread show nothing by themselves."""
    from scipy.special import stdtr  # what scipy.stats calls too, without the second that its import takes

    testable = tested_by(a, b)
    if not testable:
        return 1.0, 1.0
    d = a - b
    if testable == "signs":
        d = np.full(len(d), d.mean() if abs(d.mean()) > _nothing(a, b) else 0.0)
        exact = _sign_flips(d)
        return (1.0 if d[0] == 0 else exact), exact
    t = d.mean() / (d.std(ddof=1) / math.sqrt(len(d)))
    return float(2 * stdtr(len(d) - 1, -abs(t))), _sign_flips(d)


def _sign_flips(d: np.ndarray) -> float:
    """The share of sign patterns whose sum is as far from 0: all of them up to 13 seeds, else of 9,999 at random.

    Of random ones the pattern that was seen is one more, so that the test errs on the side of no difference.
    """
    n, least = len(d), abs(float(d.sum())) - 1e-12 * float(np.abs(d).sum())
    if n <= 13:
        return float(np.mean(np.abs(_signs(n) @ d) >= least))
    signs = np.random.default_rng(0).choice((1.0, -1.0), (9_999, n))
    return float(1 + np.sum(np.abs(signs @ d) >= least)) / 10_000


@functools.cache
def _signs(n: int) -> np.ndarray:
    """All patterns of n signs."""
    return 1.0 - 2.0 * (np.arange(2**n)[:, None] >> np.arange(n) & 1)
