"""Axes whose ticks are the values that were sampled, written plainly."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from dpjax.results.claims import small

_CLOSE = 0.055
"""Of the axis: nearer ticks would print over each other."""


def plain_ticks(axes: Axes) -> None:
    """Numbers on the y axis written whole, and not as multiples of one that stands in a corner.

    Args:
      axes: the panel; all drawn.

    >>> from experiments.figures import style
    >>> figure, (axes,) = style.panels(1)
    >>> _ = axes.plot([0, 1], [0, 3e9])
    >>> plain_ticks(axes)
    >>> axes.yaxis.get_major_formatter()(2e9, 0)
    '2e9'
    """
    low, high = axes.get_ylim()
    most = max(abs(low), abs(high))
    if most >= 1e5 or 0 < most < 1e-3:
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: small(float(f"{value:.6g}"))))


def log_axis(axes: Axes, values: Sequence[float]) -> None:
    """A logarithmic x axis with a tick at each value that was sampled, written plainly.

    Formal guarantees: ticks too close to be told apart lose their label, never their point.

    Args:
      axes: the panel.
      values: positive numbers.

    >>> from experiments.figures import style
    >>> figure, (axes,) = style.panels(1)
    >>> log_axis(axes, [0.5, 1, 8])
    >>> [tick.get_text() for tick in axes.get_xticklabels()]
    ['0.5', '1', '8']
    """
    places = sorted(set(values))
    low, high = math.log(places[0]), math.log(places[-1])
    span = (high - low) or 1.0
    axes.set_xscale("log")
    axes.set_xlim(math.exp(low - 0.07 * span), math.exp(high + 0.07 * span))
    axes.xaxis.set_major_locator(FixedLocator(places))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xticks(places, spaced([(math.log(place) - low) / span for place in places], places))


def spaced(shares: Sequence[float], values: Sequence[float]) -> list[str]:
    """Labels of ticks, without those that would run into a neighbour; of the last two, the last stays.

    Args:
      shares: where each lies along the axis, from 0 to 1, ascending.
      values: what each says.

    >>> spaced([0.0, 0.5, 0.99, 1.0], [1, 8, 31, 32])
    ['1', '8', '', '32']
    """
    kept: list[int] = []
    for rank, share in enumerate(shares):
        if not kept or share - shares[kept[-1]] > _CLOSE:
            kept.append(rank)
        elif rank == len(shares) - 1 and len(kept) > 1:
            kept[-1] = rank
    return [small(value) if rank in kept else "" for rank, value in enumerate(values)]


def plain_log(axes: Axes, values: Any) -> None:
    """A logarithmic x axis for values that were measured, with few ticks that are written plainly.

    Args:
      axes: the panel.
      values: positive numbers.

    >>> from experiments.figures import style
    >>> figure, (axes,) = style.panels(1)
    >>> plain_log(axes, [1.5, 30.0])
    >>> [tick.get_text() for tick in axes.get_xticklabels()]
    ['2', '5', '10', '20']
    """
    low, high = float(np.min(values)), float(np.max(values))
    low, high = low * 0.95, high * 1.05
    room = math.log(high / low)
    low, high = low * math.exp(-0.06 * room), high * math.exp(0.06 * room)
    powers = range(math.floor(math.log10(low)) - 1, math.ceil(math.log10(high)) + 1)
    # From the densest on, the first that are at most six; two of them at least, or the span would not be told.
    for digits in (range(10, 100), range(10, 100, 2), range(10, 100, 5), (10, 15, 20, 30, 40, 60, 80), (10, 20, 50),
                   (10, 30), (10,)):  # fmt: skip
        ticks = [float(f"{digit}e{power - 1}") for power in powers for digit in digits]
        ticks = [tick for tick in ticks if low <= tick <= high]
        if len(ticks) <= 6:
            break
    axes.set_xscale("log")
    axes.set_xlim(low, high)
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    axes.set_xticks(ticks, [small(tick) for tick in ticks])
