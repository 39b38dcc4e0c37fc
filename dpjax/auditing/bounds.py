"""Lower bounds on ε from how often an attack was right."""

import math
from typing import Any

import numpy as np

from dpjax.checks import known_number, whole_number


def epsilon_from_rates(
    true_positives: int,
    num_with: int,
    false_positives: int,
    num_without: int,
    *,
    delta: float = 0.0,
    confidence: float = 0.95,
) -> float:
    """An ε that a mechanism has at least, from an attack on many runs with and without one unit.

    Formal guarantees: exceeds the true ε of an (ε, δ)-DP mechanism with probability at most ``1 − confidence``,
    whatever the attack: both error rates are bounded by Clopper and Pearson, each at half of it. 0 where nothing is
    shown.

    Args:
      true_positives: runs with the unit in which the attack said so.
      num_with: runs with the unit.
      false_positives: runs without it in which the attack said that it was there.
      num_without: runs without it.
      delta: δ of the claim that is audited.
      confidence: of the bound.

    Returns:
      The bound, ≥ 0.

    Raises:
      ValueError: counts that do not fit, or a δ or confidence out of range.

    Example:
      >>> round(epsilon_from_rates(500, 500, 0, 500, confidence=0.99), 6)
      4.541916

    References:
      Jagielski et al., 2020 (https://arxiv.org/abs/2006.07709); Clopper, Pearson, 1934.
    """
    from scipy.stats import beta

    _check(delta, confidence)
    for name, count, total in (
        ("true_positives", true_positives, num_with),
        ("false_positives", false_positives, num_without),
    ):
        total = whole_number(f"runs of {name}", total, fix="there must be one")
        whole_number(name, count, least=0, most=total, fix="it is a part of the runs")
    error = (1 - confidence) / 2
    misses = num_with - true_positives

    def upper(count: int, total: int) -> float:
        return 1.0 if count == total else float(beta.ppf(1 - error, count + 1, total - count))

    missed, alarmed = upper(misses, num_with), upper(false_positives, num_without)
    tops = [1 - delta - missed, 1 - delta - alarmed]
    bounds = [math.log(top / bottom) for top, bottom in zip(tops, (alarmed, missed), strict=True) if top > 0]
    return max(0.0, *bounds) if bounds else 0.0


def epsilon_from_guesses(
    num_canaries: int, num_guesses: int, num_right: int, *, delta: float = 0.0, confidence: float = 0.95
) -> float:
    """An ε that a mechanism has at least, from ONE run in which each canary was put in by a coin of its own.

    Formal guarantees: exceeds the true ε of an (ε, δ)-DP mechanism (add or remove one) with probability at most
    ``1 − confidence``. 0 where nothing is shown.

    Args:
      num_canaries: units whose membership was decided by a fair coin.
      num_guesses: canaries about which the attack ventured a guess.
      num_right: guesses that were right.
      delta: δ of the claim that is audited.
      confidence: of the bound.

    Returns:
      The bound, ≥ 0.

    Raises:
      ValueError: counts that do not fit, or a δ or confidence out of range.

    Example:
      >>> round(epsilon_from_guesses(100, 100, 75), 6), round(epsilon_from_guesses(1000, 100, 75, delta=1e-4), 6)
      (0.702214, 0.672985)

    References:
      Steinke, Nasr, Jagielski, 2023 (https://arxiv.org/abs/2305.08846), theorem 5.2.
    """
    from scipy.optimize import brentq

    _check(delta, confidence)
    num_canaries = whole_number("num_canaries", num_canaries, fix="it counts units put in by a coin")
    num_guesses = whole_number("num_guesses", num_guesses, most=num_canaries, fix="each is about a canary")
    num_right = whole_number("num_right", num_right, least=0, most=num_guesses, fix="it is a part of the guesses")

    def excess(epsilon: float) -> float:
        return _chance(num_canaries, num_guesses, num_right, delta, epsilon) - (1 - confidence)

    top = 1.0
    while excess(top) < 0 and top < 100:
        top *= 2
    if excess(0.0) >= 0:
        return 0.0
    if excess(top) < 0:
        return top
    root: Any = brentq(excess, 0.0, top, xtol=1e-10)
    return float(root)


def _chance(num_canaries: int, num_guesses: int, num_right: int, delta: float, epsilon: float) -> float:
    """The most that the chance of so many right guesses can be under (ε, δ)-DP."""
    from scipy.stats import binom

    share = 1 / (1 + math.exp(-epsilon))
    under_pure = float(binom.sf(num_right - 1, num_guesses, share))
    if delta == 0:
        return under_pure
    # δ may lift the score by i at a price of 1/i of its mass, so the worst mean of the mass just below counts.
    below = np.cumsum(binom.pmf(np.arange(num_right - 1, -1, -1), num_guesses, share))
    worst = float(np.max(below / np.arange(1, num_right + 1), initial=0.0))
    return min(1.0, under_pure + worst * 2 * num_canaries * delta)


def _check(delta: float, confidence: float) -> None:
    known_number("delta", delta, least=0, below=1, fix="it is that of the claim")
    known_number("confidence", confidence, above=0, below=1, fix="0.95 is usual")
