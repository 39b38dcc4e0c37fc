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
    tests = _all_tests(raw)
    order = np.argsort([test.p for test in tests], kind="stable")
    levels, adjusted = np.empty(len(raw)), np.empty(len(raw))
    running, level, rejecting = 0.0, alpha / len(raw), True
    for rank, i in enumerate(order.tolist()):
        p = tests[i].p
        if rejecting:
            level = alpha / (len(raw) - rank)
            rejecting = p <= level
        levels[i] = level
        running = max(running, min(1.0, (len(raw) - rank) * p))
        adjusted[i] = running
    sign = -1.0 if lower_is_better(metric) else 1.0
    pairs = []
    for (where, first, second, a, _), test, level, corrected in zip(
        raw, tests, levels.tolist(), adjusted.tolist(), strict=True
    ):
        half = _half_width(test, len(a), level)
        low, high = (test.mean - half, test.mean + half) if math.isfinite(half) else (-math.inf, math.inf)
        shown = bool(test.kind) and corrected <= alpha and test.mean != 0
        verdict = ("first" if sign * test.mean > 0 else "second") if shown else ""
        pairs.append(
            Difference(
                where, first, second, len(a), test.first_mean, test.second_mean, test.mean, test.std,
                low, high, test.p, corrected, test.exact_p, verdict,
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
    return _tests(a[None], b[None])[0].kind


class _Test(NamedTuple):
    """One pair's, by itself; ``kind`` as ``tested_by`` says, the others as ``Difference`` has them."""

    kind: str
    first_mean: float
    second_mean: float
    mean: float
    std: float
    p: float
    exact_p: float


def _all_tests(raw: Sequence[Raw]) -> list[_Test]:
    """The test of each pair: of all pairs that have as many seeds at once."""
    by_seeds: dict[int, list[int]] = {}
    for i, pair in enumerate(raw):
        by_seeds.setdefault(len(pair[3]), []).append(i)
    found: dict[int, _Test] = {}
    for places in by_seeds.values():
        a, b = np.stack([raw[i][3] for i in places]), np.stack([raw[i][4] for i in places])
        found |= dict(zip(places, _tests(a.astype(float), b.astype(float)), strict=True))
    return [found[i] for i in range(len(raw))]


def _tests(a: np.ndarray, b: np.ndarray) -> list[_Test]:
    """The tests of pairs ``[pairs, seeds]``. Differences without any spread show nothing by themselves."""
    from scipy.special import stdtr  # what scipy.stats calls too, without the second that its import takes

    seeds = a.shape[1]
    with np.errstate(all="ignore"):  # of ∞ − ∞ there is no test, and nothing to warn of
        d = a - b
        nothing = _NOTHING * np.maximum(np.abs(a).max(1), np.abs(b).max(1))  # what rounding leaves of no difference
        finite = np.isfinite(d).all(1)
        equal = finite & (np.ptp(d, axis=1) <= nothing)
        d = np.where(finite[:, None], d, 0.0)  # of the others nothing is said
        mean, std = d.mean(1), d.std(1, ddof=1)
        p = 2 * stdtr(seeds - 1, -np.abs(mean / (std / math.sqrt(seeds))))
    mean = np.where(equal & (np.abs(mean) <= nothing), 0.0, mean)
    d = np.where(equal[:, None], mean[:, None], d)
    exact = _sign_flips(d)
    p = np.where(equal, np.where(mean == 0, 1.0, exact), p)
    kind = np.where(finite, np.where(equal, "signs", "t"), "")
    columns = (
        *(kind, a.mean(1), b.mean(1), np.where(finite, mean, np.nan)),
        *(np.where(finite, np.where(equal, 0.0, std), np.nan), np.where(finite, p, 1.0), np.where(finite, exact, 1.0)),
    )
    return [_Test(*each) for each in zip(*[column.tolist() for column in columns], strict=True)]


def _half_width(test: _Test, seeds: int, level: float) -> float:
    """Of the interval, at the level at which the pair was tested."""
    from scipy.special import stdtrit

    if test.kind == "t":
        return float(stdtrit(seeds - 1, 1 - level / 2)) * test.std / math.sqrt(seeds)
    # The one shift that sign flips leave of equal differences, where there are seeds enough to exclude any.
    excludes = test.kind == "signs" and _least_sign_flips(seeds) <= level
    return 0.0 if excludes else math.inf


@functools.cache
def _least_sign_flips(seeds: int) -> float:
    """The smallest p that the sign-flip test has."""
    return float(_sign_flips(np.ones((1, seeds)))[0])


_AT_ONCE = 2**22  # sums of one pattern of signs and one pair


def _sign_flips(d: np.ndarray) -> np.ndarray:
    """The share of sign patterns whose sum is as far from 0: all of them up to 13 seeds, else of 9,999 at random.

    Of random ones the pattern that was seen is one more, so that the test errs on the side of no difference.

    Args:
      d: ``[pairs, seeds]``.
    """
    pairs, seeds = d.shape
    least = np.abs(d.sum(1)) - 1e-12 * np.abs(d).sum(1)
    signs = _signs(seeds) if seeds <= 13 else np.random.default_rng(0).choice((1.0, -1.0), (9_999, seeds))
    step = max(1, _AT_ONCE // len(signs))
    parts = [
        (np.abs(d[at : at + step] @ signs.T) >= least[at : at + step, None]).sum(1) for at in range(0, pairs, step)
    ]
    seen = 0 if seeds <= 13 else 1
    return (seen + np.concatenate(parts)) / (len(signs) + seen)


@functools.cache
def _signs(n: int) -> np.ndarray:
    """All patterns of n signs."""
    return 1.0 - 2.0 * (np.arange(2**n)[:, None] >> np.arange(n) & 1)
