"""The least noise that buys an ε: one value, or the whole grid of a privacy-utility curve."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial

from dpjax.accounting.accountants import (
    PLD_ACCURACY,
    Bound,
    bound_of,
    charged,
    check_delta,
    epsilon_of_release,
    is_closed_form,
    overflow_charged,
    pld_bound,
    rdp_bound,
)
from dpjax.accounting.accountants import (
    epsilon as epsilon_of,
)
from dpjax.accounting.calibration_cache import CalibrationCache, calibration_key
from dpjax.accounting.local import MAX_REPORT_EPSILON, LocalReports
from dpjax.accounting.mechanism import Mechanism, check_accountable
from dpjax.accounting.overflow import OVERFLOW_SHARE, overflow_fits
from dpjax.accounting.samplings import Full
from dpjax.checks import number
from dpjax.ranges import EPSILON, LEAST_EPSILON

_COARSE = 1e-3  # accuracy of the PLD that the search looks at before it asks the real one
_WINDOW = 3e-4  # a result's ε lies at most this much below the target, relatively
_EXACT = 1e-9  # the same where ε costs nothing to compute
_LEAST = 0.01  # the smallest noise multiplier ever returned for a finite ε


def calibrate_noise(mechanism: Mechanism, *, epsilon: float, delta: float, accountant: str = "pld") -> float:
    """The smallest noise multiplier with which a run satisfies (ε, δ)-differential privacy.

    Formal guarantees: ``epsilon`` of the mechanism with the returned noise multiplier is at most the target, and the
    result is within 0.1 % of the smallest that is (0.01 is the least ever returned for a finite ε). Results are cached
    on disk, see ``calibrate_noise_grid``.

    Args:
      mechanism: the run; its own noise multiplier is not read.
      epsilon: the target, above 0; inf asks for no privacy.
      delta: the δ of the guarantee, a probability well below 1 / population.
      accountant: "pld" or "rdp".

    Returns:
      Noise standard deviation / clip norm; 0.0 for epsilon = inf.

    Raises:
      ValueError: an argument is out of range, nothing accounts for the mechanism's sampling and adjacency, or its
        overflow probability is too large for this ε and δ.

    Example:
      >>> release = Mechanism(unit="example", adjacency="zero_out", sampling="full", sampling_rate=1.0,
      ...                     noise_multiplier=0.0, num_steps=1)
      >>> round(calibrate_noise(release, epsilon=1.0, delta=1e-5), 5)
      3.73063

    References:
      Balle and Wang 2018, https://arxiv.org/abs/1805.06530.
    """
    return calibrate_noise_grid(mechanism, epsilons=[epsilon], delta=delta, accountant=accountant)[0]


def calibrate_noise_grid(
    mechanism: Mechanism,
    *,
    epsilons: Iterable[float],
    delta: float,
    accountant: str = "pld",
    cache_dir: str | os.PathLike[str] | None = None,
    progress: Callable[[int, int, float], object] | None = None,
) -> list[float]:
    """The smallest noise multiplier for each ε of a grid, sharing work between them and with earlier calls.

    Every result is cached on disk under all it depends on (each field of the mechanism but its noise multiplier, ε, δ,
    the accountant and dp-accounting's version); a cache that cannot be read or written costs one warning and the time
    to compute.

    Formal guarantees: those of ``calibrate_noise`` for each ε, whatever the cache holds: what is read is believed only
    if its ε, computed anew, is the target. A file that was edited, damaged or made for another mechanism is computed
    again.

    Args:
      mechanism: the run; its own noise multiplier is not read.
      epsilons: targets above 0, in any order; duplicates and inf are fine.
      delta: the δ of the guarantee.
      accountant: "pld" or "rdp".
      cache_dir: folder of the cache; None takes the environment's DPJAX_CACHE_DIR, or the user's cache folder.
      progress: called as progress(done, total, epsilon) after each distinct ε.

    Returns:
      Noise multipliers in the order of ``epsilons``.

    Raises:
      ValueError: as ``calibrate_noise``.

    Example:
      >>> release = Mechanism(unit="example", adjacency="zero_out", sampling="full", sampling_rate=1.0,
      ...                     noise_multiplier=0.0, num_steps=1)
      >>> noise = calibrate_noise_grid(release, epsilons=[float("inf"), 1.0, 4.0, 1.0], delta=1e-5, accountant="rdp")
      >>> [round(multiplier, 3) for multiplier in noise]
      [0.0, 4.045, 1.158, 4.045]

    References:
      Gopi et al. 2021 (numerical composition), https://arxiv.org/abs/2106.02848.
    """
    targets = [_target(target) for target in epsilons]
    delta = check_delta(delta)
    _check(mechanism, targets, delta, accountant)
    if mechanism.factorization is not None:  # one Gaussian mechanism, whatever the factorization and the sampling
        mechanism = replace(mechanism, factorization=None, sampling=Full(population=mechanism.population), num_steps=1)
    solved = {math.inf: 0.0}
    cache = CalibrationCache(cache_dir)
    looser = None  # how much more ε RDP asks for than PLD at the same noise, from the target before
    distinct = sorted(set(targets))
    for done, target in enumerate(distinct, start=1):
        if target not in solved:
            key = calibration_key(mechanism, epsilon=target, delta=delta, accountant=accountant)
            noise = cache.load(key)
            if noise is not None and not _holds(mechanism, noise, target, delta, accountant):
                cache.refuse(key, f"its ε is not {target:g}")
                noise = None
            if noise is None:
                noise, looser = _calibrate(mechanism, target, delta, accountant, looser or 1.1)
                cache.store(key, noise)
            solved[target] = noise
        if progress is not None:
            progress(done, len(distinct), target)
    return [solved[target] for target in targets]


def calibrate_report_epsilon(mechanism: Mechanism, *, epsilon: float, delta: float, accountant: str = "pld") -> float:
    """The largest ε that each report may have, so that all reports of a client together satisfy (ε, δ)-DP.

    Formal guarantees: ``epsilon`` of the mechanism with the returned ``epsilon_per_report`` is at most the target.

    Args:
      mechanism: with ``noise=LocalReports(...)`` of a kind with a pure ε, which is not read.
      epsilon: the target, above 0 and finite.
      delta: the δ of the guarantee.
      accountant: "pld", exact, or "rdp".

    Returns:
      ε per report, within a relative 1e-6 of the largest; at most 500.

    Raises:
      ValueError: the mechanism has no pure reports, or an argument is out of range.

    Example:
      >>> from dpjax.accounting import Mechanism
      >>> run = Mechanism(unit="client", adjacency="replace_one", sampling="full", sampling_rate=1.0,
      ...                 noise_multiplier=0.0, num_steps=100, noise=LocalReports("privunit", 1.0))
      >>> round(calibrate_report_epsilon(run, epsilon=8.0, delta=1e-6), 3)
      0.156

    References:
      Kairouz, Oh and Viswanath 2015, theorem 3.3, https://arxiv.org/abs/1311.0776.
    """
    reports = mechanism.noise
    if not isinstance(reports, LocalReports) or not reports.pure:
        raise ValueError(f"noise={reports!r} has no ε per report; use calibrate_noise.")
    epsilon = number("epsilon", epsilon, above=0, fix="only noise of none has an infinite one")

    def meets(per_report: float) -> bool:
        noise = replace(reports, epsilon_per_report=per_report)
        return epsilon_of(replace(mechanism, noise=noise), delta, accountant) <= epsilon

    low, high = min(epsilon / mechanism.num_participations, MAX_REPORT_EPSILON) * (1 - 1e-9), MAX_REPORT_EPSILON
    if meets(high):
        return high
    while high > low * (1 + 1e-6):
        middle = math.sqrt(low * high)
        low, high = (middle, high) if meets(middle) else (low, middle)
    return low


def _target(epsilon: float) -> float:
    return EPSILON.known("epsilon", epsilon)


def _check(mechanism: Mechanism, targets: list[float], delta: float, accountant: str) -> None:
    check_accountable(mechanism)
    bound_of(accountant)
    mechanism.noising.check_calibration(accountant)
    least = epsilon_of_release(mechanism, delta)
    for target in targets:
        if target <= least and (released := mechanism.released):
            raise ValueError(
                f"epsilon={target!r} is not above the {least:.3g} that what is released before the run costs alone at "
                f"delta={delta!r}; raise it, or release_noise_multiplier={released.noise_multiplier:g}."
            )
        if target < LEAST_EPSILON and accountant == "pld" and not is_closed_form(mechanism):
            raise ValueError(
                f"epsilon={target!r} is below the {LEAST_EPSILON:g} that PLD's grid resolves; give at least "
                f"{LEAST_EPSILON:g}, or accountant='rdp'."
            )
        overflow = overflow_charged(mechanism)
        if target < math.inf and not overflow_fits(overflow, target, delta):
            if mechanism.abort_probability > mechanism.overflow_probability:
                raise ValueError(
                    f"abort_probability={mechanism.abort_probability!r} is too large for epsilon={target!r} at "
                    f"delta={delta!r}; lower the threshold or draw larger cohorts until abort_probability * (1 + "
                    f"exp(epsilon)) <= delta * {OVERFLOW_SHARE}, or draw cohorts of fixed size."
                )
            raise ValueError(
                f"overflow_probability={overflow!r} is too large for epsilon={target!r} at delta={delta!r}; raise the "
                f"capacity until overflow_probability * (1 + exp(epsilon)) <= delta * {OVERFLOW_SHARE}."
            )


def _holds(mechanism: Mechanism, noise: float, target: float, delta: float, accountant: str) -> bool:
    """Whether a noise multiplier from elsewhere buys ε: it is at most the target, and not far below it.

    It is asked of the accountant itself, once; whoever can write to the cache can't lower a guarantee.
    """

    def epsilon(multiplier: float) -> float:
        return epsilon_of(replace(mechanism, noise_multiplier=multiplier), delta, accountant)

    if epsilon(noise) > target:
        return False
    return noise <= _LEAST or epsilon(noise) >= target * (1 - 2 * _WINDOW) or epsilon(noise * (1 - 1e-9)) > target


def _calibrate(
    mechanism: Mechanism, target: float, delta: float, accountant: str, looser: float
) -> tuple[float, float]:
    """The noise multiplier, and by what factor RDP's ε exceeds the target there."""

    def under(bound: Bound) -> Callable[[float], float]:
        return lambda noise: charged(replace(mechanism, noise_multiplier=noise), delta, bound)

    if accountant == "rdp":
        return _solve(under(rdp_bound), target, 1.0, -2.0, _EXACT)[0], looser
    noise, slope = _solve(under(rdp_bound), target * looser, 1.0, -2.0, 1e-2)
    if is_closed_form(mechanism):
        return _solve(under(pld_bound), target, noise, slope, _EXACT)[0], looser
    # Discretisation raises ε by some 0.75 of its accuracy: aim where the fine ε will be in the middle of its window.
    aim = target * (1 + 0.75 * (_COARSE - PLD_ACCURACY) - _WINDOW / 6)
    noise, slope = _solve(under(partial(pld_bound, accuracy=_COARSE)), aim, noise, slope, 2 / 3 * _WINDOW)
    noise, _ = _solve(under(pld_bound), target, noise, slope, _WINDOW)
    return noise, under(rdp_bound)(noise) / target


def _solve(
    epsilon_of: Callable[[float], float], target: float, noise: float, slope: float, window: float
) -> tuple[float, float]:
    """A noise multiplier whose ε is in [target (1 - window), target], and d log ε / d log noise there.

    Secant steps on logarithmic scales, kept inside the bracket found so far.
    """
    exceeds, meets, last = 0.0, math.inf, None
    while True:
        value = epsilon_of(noise)
        if value <= target:
            meets = noise
            if value >= target * (1 - window) or noise <= _LEAST:
                return noise, slope
        else:
            exceeds = noise
        if meets <= exceeds * (1 + 1e-10):
            return meets, slope
        proposal = math.nan
        if 0 < value < math.inf:
            here = math.log(noise), math.log(value)
            if last is not None and here[0] != last[0]:
                slope = min(-0.2, max(-50.0, (here[1] - last[1]) / (here[0] - last[0])))
            last = here
            proposal = noise * math.exp((math.log(target * (1 - window / 2)) - here[1]) / slope)
        if not max(exceeds, noise / 8) < proposal < min(meets, noise * 8):
            proposal = (
                math.sqrt(exceeds * meets)
                if exceeds > 0 and meets < math.inf
                else noise * (0.125 if value <= target else 8.0)
            )
        noise = max(proposal, _LEAST)
