"""ε of a run: by privacy loss distributions (tight) or Rényi divergences (an upper bound, at once)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache

from dpjax.accounting.mechanism import Mechanism, check_accountable, dominating_pair
from dpjax.accounting.overflow import delta_left, overflow_fits
from dpjax.accounting.pairs import Pair, curves
from dpjax.accounting.releases import joined
from dpjax.checks import instance, known_number, one_of
from dpjax.ranges import DELTA

ACCOUNTANTS = ("pld", "rdp")
CONVERSIONS = ("improved", "classic")
PLD_ACCURACY = 5e-5  # by how much, relatively, discretisation may raise ε
_ABSURD = 1000.0  # an ε past which RDP's value is returned, as the losses would fill the memory
_MAX_POINTS = 5e5  # of one step's discretised losses; past it the interval grows, and ε only rises


def epsilon(mechanism: Mechanism, delta: float, accountant: str = "pld") -> float:
    """The ε that a run satisfies at δ.

    Formal guarantees: (ε, δ)-differential privacy of all ``num_steps`` outputs together, chosen adaptively or not, with
    respect to the mechanism's unit and adjacency. Both accountants bound the same dominating pair of distributions, so
    PLD is never above RDP. Its discretisation is pessimistic and costs about 5e-5, relatively; what float64 loses in
    the convolution is taken off δ by an allowance that is measured, not proved. If the chance β of an overflow or an
    abort is above 0 and ε relies on who is drawn, a thousandth of δ pays for it: ε is taken at 0.999 δ and is inf if β
    (1 + exp ε) exceeds the rest, as such a capacity cannot support the claim.

    Args:
      mechanism: the run.
      delta: the δ of the guarantee, a probability well below 1 / population; at least 1e-12 under "pld".
      accountant: "pld", tight; or "rdp", some percent looser and instant.

    Returns:
      ε >= 0; inf if the noise multiplier is 0, but for pure ``LocalReports``, which have none.

    Raises:
      TypeError: no mechanism.
      ValueError: delta or accountant out of range, nothing accounts for this pair of sampling and adjacency, or "pld"
        is asked about noise that clients add in whole numbers.

    Example:
      >>> run = Mechanism(unit="example", adjacency="replace_one", sampling="full", sampling_rate=1.0,
      ...                 noise_multiplier=2.0, num_steps=1)
      >>> round(epsilon(run, delta=1e-6), 3), round(epsilon(run, delta=1e-6, accountant="rdp"), 3)
      (4.887, 5.222)

    References:
      Doroshenko et al. 2022 (PLD, connect the dots), https://arxiv.org/abs/2207.04380; Mironov 2017 (RDP),
      https://arxiv.org/abs/1702.07476; Zhu et al. 2022 (dominating pairs), https://arxiv.org/abs/2106.08567.
    """
    instance("mechanism", mechanism, Mechanism, fix="make one, such as Mechanism.from_sampler(...)")
    return _epsilon(mechanism, check_delta(delta), one_of("accountant", accountant, ACCOUNTANTS))


@lru_cache(maxsize=1024)  # a calibration asks what a results row asks again
def _epsilon(mechanism: Mechanism, delta: float, accountant: str) -> float:
    return charged(mechanism, delta, bound_of(accountant))


def rdp_epsilon(
    mechanism: Mechanism,
    delta: float,
    *,
    orders: Sequence[float] | Sequence[int] | None = None,
    conversion: str = "improved",
) -> float:
    """ε by Rényi divergence, with the orders and the conversion of your choice.

    Formal guarantees: as ``epsilon`` with "rdp", since every order gives a valid bound; orders that are few cost
    tightness only, and they need not be whole.

    Args:
      mechanism: the run.
      delta: the δ of the guarantee.
      orders: Rényi orders to choose among, each above 1; None searches all real ones.
      conversion: "improved" (Canonne et al. 2020, Prop. 12) or "classic", rdp + ln(1/δ) / (order - 1).

    Returns:
      ε >= 0; inf as from ``epsilon``.

    Raises:
      ValueError: as ``epsilon``, or an order of at most 1, or an unknown conversion.

    Example:
      >>> abadi = Mechanism(unit="example", adjacency="add_or_remove_one", sampling="poisson", sampling_rate=0.01,
      ...                   noise_multiplier=4.0, num_steps=10_000)
      >>> round(rdp_epsilon(abadi, 1e-5, orders=range(2, 33), conversion="classic"), 4)
      1.2586

    References:
      Mironov et al. 2019, https://arxiv.org/abs/1908.10530; Canonne et al. 2020, https://arxiv.org/abs/2004.00010.
    """
    if orders is not None:
        orders = [known_number("orders", order, above=1, fix="order 1 converts to no ε") for order in orders]
        if not orders:
            raise ValueError("orders=[] must hold a number > 1; leave it out to search all of them.")
    one_of("conversion", conversion, CONVERSIONS)
    return charged(mechanism, delta, lambda pair, rest: rdp_bound(pair, rest, orders, conversion))


_TINY, _HUGE = 1e-100, 1e12
"""Noise multipliers whose squares and ratios doubles hold; below, ε is stated as inf, above, as that of less noise."""

Bound = Callable[[Pair, float], float]
"""A dominating pair and δ to ε."""


def charged(mechanism: Mechanism, delta: float, bound: Bound) -> float:
    """``bound`` at the run's dominating pair, with the overflow of a fixed capacity paid out of δ."""
    check_accountable(mechanism)
    check_delta(delta)
    if mechanism.noise_multiplier < _TINY and not mechanism.noising.pure:
        return math.inf
    if mechanism.noise_multiplier > _HUGE:  # more noise has no larger ε
        mechanism = replace(mechanism, noise_multiplier=_HUGE)
    # Cut cohorts and aborted steps turn P(S) <= e^ε Q(S) + δ into P(S) <= e^ε Q(S) + δ + β (1 + e^ε): each run differs
    # from its twin without any with probability at most β.
    rest = delta_of_noise(mechanism, delta)
    if rest <= 0:
        return math.inf
    value = bound(dominating_pair(mechanism), rest)
    return value if overflow_fits(overflow_charged(mechanism), value, delta) else math.inf


def delta_of_noise(mechanism: Mechanism, delta: float) -> float:
    """What of δ is left for the noise, once overflows and released names are paid for; at most 0: nothing."""
    rest = delta_left(overflow_charged(mechanism), delta)
    return rest if mechanism.released is None else rest - mechanism.released.delta


def epsilon_of_release(mechanism: Mechanism, delta: float) -> float:
    """The ε that what was released before a run costs alone, below which no noise of the run gets; 0 if nothing was."""
    if mechanism.released is None:
        return 0.0
    from dp_accounting import get_epsilon_gaussian

    rest = delta_of_noise(mechanism, delta)
    return float(get_epsilon_gaussian(mechanism.released.stddev(mechanism.adjacency), rest)) if rest > 0 else math.inf


def overflow_charged(mechanism: Mechanism) -> float:
    """The chance that a step overflowed or was aborted, or 0 where ε does not rely on how units are drawn."""
    if not mechanism.noising.amplified:
        return 0.0
    return mechanism.overflow_probability + mechanism.abort_probability


def check_delta(delta: float) -> float:
    """δ as a float, or ValueError unless it is a probability strictly between 0 and 1."""
    return DELTA.known("delta", delta)


def bound_of(accountant: str) -> Bound:
    """The accountant's function, or ValueError."""
    return pld_bound if one_of("accountant", accountant, ACCOUNTANTS) == "pld" else rdp_bound


def rdp_bound(
    pair: Pair, delta: float, orders: Sequence[float] | Sequence[int] | None = None, conversion: str = "improved"
) -> float:
    """The least ε over the orders given, or over all real ones."""
    from dpjax.accounting.divergences import renyi

    def convert(order: float) -> float:
        one = renyi(pair, [order]) if pair.model is None else pair.model.renyi([order])
        beside = order / (2 * pair.beside**2)
        return rdp_to_epsilon(pair.times * float(one[0]) + beside, order, delta, conversion)

    if orders is not None:
        return max(0.0, min(convert(float(order)) for order in orders))
    least = _least(lambda log_excess: convert(1 + math.exp(log_excess)))
    return max(0.0, least if pair.model is None else min(least, pair.times * pair.model.pure_epsilon))


def rdp_to_epsilon(divergence: float, order: float, delta: float, conversion: str = "improved") -> float:
    """The ε at δ that a Rényi divergence of one order allows, which may be below 0: the only such conversion."""
    if conversion == "classic":
        return divergence - math.log(delta) / (order - 1)
    return divergence + math.log1p(-1 / order) - math.log(delta * order) / (order - 1)


def _least(function: Callable[[float], float], start: float = 2.0) -> float:
    """The least value found of a function with one valley: walk downhill, then golden section."""
    step = 1.0 if function(start + 0.1) < function(start) else -1.0
    left, middle, right = start - step, start, start + step
    while function(right) < function(middle) and -9 < right < 16:
        left, middle, right = middle, right, right + step
    ratio = (math.sqrt(5) - 1) / 2
    best = function(middle)
    while abs(right - left) > 1e-3:
        first, second = right - ratio * (right - left), left + ratio * (right - left)
        lower, upper = function(first), function(second)
        best = min(best, lower, upper)
        left, right = (left, second) if lower < upper else (first, right)
    return best


def pld_bound(pair: Pair, delta: float, accuracy: float = PLD_ACCURACY) -> float:
    """ε by composing one step's privacy losses; exact, by closed form, for plain Gaussians and for one step.

    A search that asks for less than the usual accuracy is shown the first hockey-stick curve only, mostly the larger.
    """
    if pair.model is not None:
        return pair.model.composed(pair.times, delta)
    if pair.shape == "gaussian":
        from dp_accounting import get_epsilon_gaussian

        return float(get_epsilon_gaussian(joined(pair.stddev, pair.times, pair.beside), delta))
    if pair.times == 1 and pair.beside == math.inf:
        return _invert(pair, delta)
    # Rounding in the convolution moves δ by up to some 6e-18 a step (measured on Gaussians, whose ε is known).
    rounding = 2e-13 + 2e-17 * pair.times
    if 2 * rounding >= 1:
        raise ValueError(f"num_steps={pair.times} is more than PLD resolves at any delta; give accountant='rdp'.")
    if delta < 2 * rounding:
        raise ValueError(
            f"delta={delta!r} is below what PLD resolves in {pair.times} steps; give at least {2 * rounding:.1g} or "
            "accountant='rdp'."
        )
    names = curves(pair.shape)[: 1 if accuracy > PLD_ACCURACY else None]
    rough = least = rdp_bound(pair, delta)
    for _ in range(2):
        if not 0 < rough < _ABSURD:
            break
        interval = _interval(pair, rough, delta, accuracy)
        value = max(_composed(pair, name, delta - rounding, interval) for name in names)
        least = min(least, value)  # RDP's bound holds as well, and is the smaller where losses are beyond float64
        if value > rough / 1.5:
            break
        rough = value  # the interval was chosen for a run of far larger losses: once more
    return least


def is_closed_form(mechanism: Mechanism) -> bool:
    """Whether PLD's ε needs no discretisation."""
    pair = dominating_pair(mechanism)
    return pair.shape in ("gaussian", "model") or (pair.times == 1 and pair.beside == math.inf)


def _composed(pair: Pair, curve: str, delta: float, interval: float) -> float:
    import numpy as np
    from dp_accounting.pld import pld_pmf

    from dpjax.accounting.divergences import hockey_stick, loss_range

    def losses(pair: Pair, curve: str) -> pld_pmf.PLDPmf:
        low, high = loss_range(pair, curve)
        first, last = math.floor(low / interval), math.ceil(high / interval)
        deltas = np.minimum.accumulate(
            hockey_stick(pair, curve, np.arange(first, last + 1, dtype=np.float64) * interval)
        )
        return pld_pmf.create_pmf_pessimistic_connect_dots_fixed_gap(interval, first, last, deltas)

    run = losses(pair, curve).self_compose(pair.times)
    if pair.beside < math.inf:
        run = run.to_dense_pmf().compose(losses(_beside(pair), "remove").to_dense_pmf())
    return float(run.get_epsilon_for_delta(delta))


def _interval(pair: Pair, rough: float, delta: float, accuracy: float) -> float:
    """The discretisation interval that raises an ε of about ``rough`` by about ``accuracy``, relatively.

    Connecting the dots spreads each step's loss by a variance of at most interval² / 6. The Gaussian run of the same ε
    says what a variance v costs, as its ε is about v / 2 + z √v with z = √(2 ln 1/δ). Measured errors are some 0.75 of
    this.
    """
    from dpjax.accounting.divergences import loss_range

    z = math.sqrt(-2 * math.log(delta))
    root = math.sqrt(z * z + 2 * rough) - z
    interval = math.sqrt(6 * accuracy * rough / (pair.times * (0.5 + z / (2 * root))))
    # Below this, the rounding of δ(ε) in one step, some 1e-16 / interval a point, outgrows what a finer grid gains.
    resolved = 4e-7 * math.sqrt(root * math.sqrt(pair.times))
    ranges = [loss_range(pair, curves(pair.shape)[0])]
    ranges += [] if pair.beside == math.inf else [loss_range(_beside(pair), "remove")]
    return max(min(interval, 0.005), resolved, *((high - low) / _MAX_POINTS for low, high in ranges))


def _beside(pair: Pair) -> Pair:
    """What is composed with a run, as a pair of its own, the same in both directions."""
    return Pair("add_remove", 1.0, pair.beside, 1)


def _invert(pair: Pair, delta: float) -> float:
    """The least ε >= 0 with δ(ε) <= delta in one step, by bisection from above."""
    import numpy as np

    from dpjax.accounting.divergences import hockey_stick, loss_range

    def exceeds(value: float) -> bool:
        return any(hockey_stick(pair, curve, np.array([value]))[0] > delta for curve in curves(pair.shape))

    low, high = 0.0, loss_range(pair, curves(pair.shape)[0])[1]
    if not exceeds(low):
        return 0.0
    if exceeds(high):  # a δ so small that what ``loss_range`` leaves out matters
        return rdp_bound(pair, delta)
    while high - low > 1e-10 * high:
        middle = (low + high) / 2
        low, high = (middle, high) if exceeds(middle) else (low, middle)
    return high
