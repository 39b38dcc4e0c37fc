"""How far one step's pair is apart: its hockey-stick curve δ(ε) and its Rényi divergences, both exact."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dpjax.accounting import mixture
from dpjax.accounting.moments import log_one_plus
from dpjax.accounting.pairs import Pair

Floats = NDArray[np.float64]

TAIL = 10.0  # standard deviations kept on either side: what is beyond has mass 8e-24 and counts as infinite loss


def loss_range(pair: Pair, curve: str) -> tuple[float, float]:
    """Privacy losses between which all but a negligible mass of the first distribution lies."""
    if pair.shape == "records":
        return mixture.loss_range(mixture.mixture(pair.records, pair.rate, pair.stddev), curve)
    right, left = 1 + TAIL * pair.stddev, -TAIL * pair.stddev
    bottom, mirrored, top = _log_ratio(pair, np.array([left, -right, right])).tolist()
    if curve == "replace":
        return mirrored - top, top - mirrored
    return {"remove": (bottom, top), "add": (-top, -bottom), "subset": (-top, top)}[curve]


def hockey_stick(pair: Pair, curve: str, epsilon: Floats) -> Floats:
    """δ(ε) of one step, exactly, for an array of ε of either sign."""
    from scipy.special import log_ndtr, ndtr

    if pair.shape == "records":
        return mixture.hockey_stick(mixture.mixture(pair.records, pair.rate, pair.stddev), curve, epsilon)
    rate, stddev = pair.rate, pair.stddev
    if curve == "subset":
        later = epsilon >= 0
        return np.where(
            later,
            hockey_stick(pair, "remove", np.where(later, epsilon, 0.0)),
            hockey_stick(pair, "add", np.where(later, 0.0, epsilon)),
        )
    if curve == "replace":
        x = stddev**2 * (epsilon / 2 + np.sign(epsilon) * _asinh_scaled(pair, np.abs(epsilon) / 2))
        upper = (1 - rate) * ndtr(-x / stddev) + rate * ndtr((1 - x) / stddev)
        lower = np.logaddexp(math.log1p(-rate) + log_ndtr(-x / stddev), math.log(rate) + log_ndtr((-1 - x) / stddev))
        return np.clip(upper - np.exp(epsilon + lower), 0, 1)
    sign = 1 if curve == "remove" else -1
    # Where the loss crosses ε: (1-q) + q exp((2x-1) / 2 stddev²) = exp(±ε); nowhere if the right side is under 1-q.
    excess = 1 + np.expm1(np.minimum(sign * epsilon, 50.0)) / rate
    crosses = excess > 0
    log_excess = np.log(np.where(crosses, excess, 1.0))
    # Above 50 the difference between exp(ε) - 1 + q and exp(ε) is below rounding.
    log_excess = np.where(sign * epsilon > 50, sign * epsilon - math.log(rate), log_excess)
    x = stddev**2 * log_excess + 0.5
    if curve == "remove":
        upper = (1 - rate) * ndtr(-x / stddev) + rate * ndtr((1 - x) / stddev)
        delta = np.where(crosses, upper - np.exp(epsilon + log_ndtr(-x / stddev)), -np.expm1(np.minimum(epsilon, 0.0)))
    else:
        lower = np.logaddexp(math.log1p(-rate) + log_ndtr(x / stddev), math.log(rate) + log_ndtr((x - 1) / stddev))
        delta = np.where(crosses, ndtr(x / stddev) - np.exp(np.where(crosses, epsilon, 0.0) + lower), 0.0)
    return np.clip(delta, 0, 1)


def renyi(pair: Pair, orders: Sequence[float]) -> Floats:
    """Rényi divergence of one step at each order > 1, by quadrature: exact to about 1e-12, at every rate and order.

    The larger of the two directions where they differ (Mironov et al. 2019).
    """
    if pair.shape == "gaussian":
        return np.asarray(orders, float) / (2 * pair.stddev**2)
    return np.array([_log_moment(pair, order) / (order - 1) for order in orders])


def _log_moment(pair: Pair, order: float) -> float:
    """log E_Q[(P/Q)^order]. The trapezoid rule converges exponentially on such analytic integrands."""
    if pair.shape == "records":
        return max(mixture.log_moments(pair.records, pair.rate, pair.stddev, order))
    step = min(pair.stddev / 3, pair.stddev**2 / 2)
    if (order + 30 * pair.stddev + 2) / step > 5e6:  # an order that a run of this noise has no use for
        return math.inf
    if pair.shape == "subset":
        return _subset_log_moment(pair, order, step / 8)
    x = np.arange(-1 - 14 * pair.stddev, order + 1 + 14 * pair.stddev, step)
    log_weight = -(x**2) / (2 * pair.stddev**2) + math.log(step / (pair.stddev * math.sqrt(2 * math.pi)))
    loss = _log_ratio(pair, x)
    if pair.shape == "replace":
        mirrored = _log_ratio(pair, -x)
        loss, log_weight = loss - mirrored, log_weight + mirrored
    return log_one_plus(order, [(loss, log_weight)])


def _subset_log_moment(pair: Pair, order: float, step: float) -> float:
    """The moment of the curve that is "remove"'s above ε = 0 and "add"'s below, joined at x = 1/2."""
    log_step = math.log(step / (pair.stddev * math.sqrt(2 * math.pi)))
    x = 0.5 + np.arange(0, order + 1 + 14 * pair.stddev, step)
    above = _log_ratio(pair, x), -(x**2) / (2 * pair.stddev**2) + log_step
    # Mirrored in its own pair: loss -L under the mixture, whose density is the normal's times exp(L).
    below = -above[0], above[1] + above[0]
    return log_one_plus(order, [above, below])


def _log_ratio(pair: Pair, x: Floats) -> Floats:
    """log of ((1-q) N(0) + q N(1)) / N(0) at x."""
    exponent = (2 * x - 1) / (2 * pair.stddev**2)
    if pair.rate == 1:
        return exponent
    return np.logaddexp(math.log1p(-pair.rate), math.log(pair.rate) + exponent)


def _asinh_scaled(pair: Pair, half: Floats) -> Floats:
    """asinh(c sinh(half)), c = exp(1 / 2 stddev²) (1-q) / q, in logs as c overflows for little noise."""
    log_c = 1 / (2 * pair.stddev**2) + math.log1p(-pair.rate) - math.log(pair.rate)
    with np.errstate(divide="ignore"):  # half = 0: log 0, whose asinh is 0
        log_y = log_c + half + np.log(-np.expm1(-2 * half)) - math.log(2)
    return np.logaddexp(log_y, np.logaddexp(0.0, 2 * log_y) / 2)
