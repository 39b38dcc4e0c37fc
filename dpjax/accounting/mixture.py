"""One step that draws a unit's records one by one: how many come, and how far that pair of distributions is apart.

With k records drawn at rate q, P = Σ p_i N(i), p_i = Binomial(k, q)(i), against Q = N(0): log(P/Q) is convex and rises.
In the complex plane P/Q is zero only where exp(x / stddev²) is negative, as the real roots of a binomial's polynomial
stay real under the factors exp(-i² / 2 stddev²) (a multiplier sequence of Laguerre's). So its powers are analytic in a
strip of half-width π stddev², which makes the trapezoid rules below exact to about 1e-16, at every real order.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dpjax.accounting.moments import log_one_plus

Floats = NDArray[np.float64]

FOLDED = 1e-26  # chance of more records than are told apart: those count as all the records there are
TAIL = 1e-24  # of either distribution, counted as infinite loss
_BLOCK = 1_000_000  # numbers held at once
_MOST = 2_000_000  # numbers worth computing for one moment; beyond, a closed bound is taken
_GRID = 4096


class Mixture(NamedTuple):
    """A normal variable whose mean is random, with a table of its log ratio to the one of mean 0."""

    counts: Floats
    log_chances: Floats
    stddev: float
    x: Floats
    losses: Floats


def log_chances(records: int, rate: float) -> Floats:
    """[records + 1] log of the chance that so many of the records are drawn, for a rate below 1."""
    from scipy.special import gammaln

    drawn = np.arange(records + 1.0)
    ways = gammaln(records + 1) - gammaln(drawn + 1) - gammaln(records - drawn + 1)
    log_chance = ways + drawn * math.log(rate) + (records - drawn) * math.log1p(-rate)
    return log_chance - np.logaddexp.reduce(log_chance)


def folded_chances(records: int, rate: float) -> tuple[Floats, Floats]:
    """How many records are drawn with which log chance, where all that is very unlikely counts as all records.

    Formal guarantees: a distribution of counts that exceeds the true one (stochastically), so that every ε from it is
    an upper bound; the counts differ with a chance of at most 1e-26.
    """
    log_chance = log_chances(records, rate)
    beyond = _from_the_end(log_chance)  # [i] log of the chance of more than i
    last = int(np.argmax(beyond <= math.log(FOLDED)))
    if last + 1 >= records:
        return np.arange(records + 1.0), log_chance
    return np.append(np.arange(last + 1.0), records), np.append(log_chance[: last + 1], beyond[last])


@lru_cache(maxsize=8)
def mixture(records: int, rate: float, stddev: float) -> Mixture:
    """The first distribution of the pair, for privacy losses."""
    from scipy.special import ndtr

    counts, log_chance = folded_chances(records, rate)
    low, high = -12 * stddev, records + 12 * stddev
    left = low
    while high - low > 1e-3 * stddev:  # the x that P exceeds with chance TAIL
        middle = (low + high) / 2
        above = float(np.exp(log_chance) @ ndtr((counts - middle) / stddev))
        low, high = (middle, high) if above > TAIL else (low, middle)
    x = np.linspace(left, high, _GRID)
    return Mixture(counts, log_chance, stddev, x, log_ratio(counts, log_chance, stddev, x))


def loss_range(mix: Mixture, curve: str) -> tuple[float, float]:
    """Privacy losses between which all but a negligible mass of the curve's first distribution lies."""
    edges = np.array([-10 * mix.stddev, 10 * mix.stddev])
    bottom, top = log_ratio(mix.counts, mix.log_chances, mix.stddev, edges).tolist()
    return (bottom, float(mix.losses[-1])) if curve == "remove" else (-top, -bottom)


def hockey_stick(mix: Mixture, curve: str, epsilon: Floats) -> Floats:
    """δ(ε) of P against Q ("remove") or of Q against P ("add"), for an array of ε of either sign."""
    from scipy.special import log_ndtr, ndtr

    level = epsilon if curve == "remove" else -epsilon
    x = _crossing(mix, level)
    crosses = level > mix.log_chances[0]  # which log(P/Q) exceeds everywhere
    chances = np.exp(mix.log_chances)
    if curve == "remove":
        upper = _blockwise(lambda x: ndtr((mix.counts - x[:, None]) / mix.stddev) @ chances, x, mix.counts.size)
        delta = upper - np.exp(np.where(crosses, epsilon, 0.0) + log_ndtr(-x / mix.stddev))
        return np.clip(np.where(crosses, delta, -np.expm1(np.minimum(epsilon, 0.0))), 0, 1)

    def lower(x: Floats) -> Floats:
        return _log_sum(mix.log_chances + log_ndtr((x[:, None] - mix.counts) / mix.stddev))

    log_lower = np.where(crosses, epsilon, 0.0) + _blockwise(lower, x, mix.counts.size)
    return np.clip(np.where(crosses, ndtr(x / mix.stddev) - np.exp(log_lower), 0.0), 0, 1)


def log_moments(records: int, rate: float, stddev: float, order: float) -> tuple[float, float]:
    """log E_Q[(P/Q)^order] and log E_P[(Q/P)^order], for an order above 1, from above.

    Formal guarantees: never less than the truth but for rounding, and at most a relative 1e-12 more unless stddev is so
    small for the number of records that the moment is of no use to anybody.
    """
    log_chance = log_chances(records, rate)
    squares = np.arange(records + 1.0) ** 2 / (2 * stddev**2)
    # ‖Σ p_i f_i‖ <= ‖Σ_(i <= last) p_i f_i‖ + Σ_(i > last) p_i ‖f_i‖ in the norm of this order (Minkowski).
    beyond = _from_the_end(log_chance + (order - 1) * squares)
    drop = 1e-13 * min(1.0, (order - 1) * (records * rate / stddev) ** 2)
    last = int(np.argmax(beyond <= math.log(drop)))
    counts, log_kept = np.arange(last + 1.0), log_chance[: last + 1]
    pull = records * (order - 1)
    wide = min(stddev / 4, stddev**2 / 3)
    fine = min(stddev / 4, stddev**2 / 12, stddev**2 / 2 / math.sqrt(stddev**2 + pull / 4))
    sides = {
        "remove": (-14 * stddev, order * last + 14 * stddev, wide),
        "add": (-rate * pull - 14 * stddev, last + 14 * stddev, fine),
    }
    if max((right - left) / step for left, right, step in sides.values()) * counts.size > _MOST:
        # Joint convexity: exp((order - 1) divergence) is at most the mean of what the single normals have.
        bound = float(np.logaddexp.reduce(log_chance + order * (order - 1) * squares))
        return bound, bound
    moments: dict[str, float] = {}
    for side, (left, right, step) in sides.items():
        x = np.arange(left, right + step, step)
        loss = log_ratio(counts, log_kept, stddev, x)
        log_weight = -(x**2) / (2 * stddev**2) + math.log(step / (stddev * math.sqrt(2 * math.pi)))
        if side == "remove":
            log_sum = log_one_plus(order, [(loss, log_weight)])
            moments[side] = order * float(np.logaddexp(log_sum / order, beyond[last]))
        else:  # without the counts beyond, P is smaller and the moment larger; the sum lacks their share of P
            log_sum = log_one_plus(order, [(-loss, log_weight + loss)])
            share = _from_the_end(log_chance)[last]
            moments[side] = float(np.logaddexp(log_sum, math.log(order - 1) + share))
    return moments["remove"], moments["add"]


def log_ratio(counts: Floats, log_chance: Floats, stddev: float, x: Floats) -> Floats:
    """log(P/Q) at an array of x."""
    constants = log_chance - counts**2 / (2 * stddev**2)
    return _blockwise(lambda x: _log_sum(constants + x[:, None] * (counts / stddev**2)), x, counts.size)


def _crossing(mix: Mixture, level: Floats) -> Floats:
    """Where log(P/Q) reaches each level, by Newton's steps from the right, which do not overshoot a convex function.

    An x that is off by e lowers δ by no more than some e².
    """
    place = np.clip(np.searchsorted(mix.losses, level), 1, _GRID - 1)
    left, right = mix.x[place - 1], mix.x[place]
    constants = mix.log_chances - mix.counts**2 / (2 * mix.stddev**2)

    def newton(both: Floats) -> Floats:
        x, target = both[:, 0], both[:, 1]
        terms = constants + x[:, None] * (mix.counts / mix.stddev**2)
        top = terms.max(1)
        weights = np.exp(terms - top[:, None])
        total = weights.sum(1)
        slope = weights @ mix.counts / total / mix.stddev**2
        with np.errstate(divide="ignore", invalid="ignore"):
            step = (top + np.log(total) - target) / slope
        return np.where(np.isfinite(step), x - step, x)

    x = right
    for _ in range(30):
        following = np.clip(_blockwise(newton, np.stack([x, level], axis=1), mix.counts.size), left, right)
        moved = float(np.max(np.abs(following - x), initial=0.0))
        x = following
        if moved < 1e-10 * mix.stddev:
            break
    return x


def _from_the_end(logs: Floats) -> Floats:
    """[i] log of the sum of all beyond i."""
    return np.append(np.logaddexp.accumulate(logs[::-1])[::-1][1:], -np.inf)


def _log_sum(terms: Floats) -> Floats:
    """log of the sum of exponentials along the last axis."""
    top = terms.max(-1)
    return top + np.log(np.exp(terms - top[..., None]).sum(-1))


def _blockwise(function: Callable[[Floats], Floats], x: Floats, width: int) -> Floats:
    """The function of an array, a block at a time, where each element needs so many numbers."""
    size = max(1, _BLOCK // width)
    return np.concatenate([function(x[start : start + size]) for start in range(0, max(len(x), 1), size)])
