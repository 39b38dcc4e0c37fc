"""What a y axis spans: the data, and not what an interval of two seeds or a run that went wrong would stretch it to."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.transforms import ScaledTranslation

from dpjax.results.schema import SCHEMA, bounds_of, lower_is_better
from dpjax.results.wording import mean_and_std
from experiments.figures.look import Look
from experiments.figures.ticks import plain_ticks

_DEVIATIONS = 3.0
"""Of seeds, that an axis has room for either side of a mean: the interval of three seeds takes 2.5, that of two 9."""
_SQUEEZED = 8.0
"""How many times as long an axis may be for the worst points as for the rest."""
_LEAST_OF_SHARES, _LEAST_OF_OTHERS = 0.05, 1e-3
"""What an axis spans at least: of a share as such, of other numbers relative to them; less is no difference to see."""
_MILD = 0.5
"""So far below 0 an R² has a place on the axis: 0 is the mean predictor's, and what it is read against."""
_ROOM = 0.06
_OVER = 0.025  # beyond what a metric can be, so that a marker at its end is whole
_SHOWN = 3
_AT_THE_END, _MIDDLE = 0.97, 0.6  # of the x axis


class Marks(NamedTuple):
    """Points of one line and what is drawn either side of them.

    Attributes:
      x: where each lies on the x axis; None for a line from side to side.
      y, spread, std: a number per point: its mean, half its band, and its deviation over seeds; nan if unknown.
      n: seeds of each.
      colour: in which they are drawn.
      seeds: of each point that has dots for them.
    """

    x: np.ndarray | None
    y: np.ndarray
    spread: np.ndarray
    std: np.ndarray
    n: np.ndarray
    colour: str
    seeds: Sequence[np.ndarray] = ()


def marks_of(x: Any, points: Any, metric: str, colour: str, seeds: Sequence[np.ndarray] = ()) -> Marks:
    """Points as an axis takes them.

    Args:
      x: where they lie; None for a line from side to side.
      points: rows of ``summary`` with a column ``spread``.
      metric: the column on the y axis.
      colour: of the line.
      seeds: the values of each point's seeds, where they are drawn.
    """
    names = (f"{metric}_mean", "spread", f"{metric}_std", "n")
    mean, spread, std, n = (points[name].to_numpy(float) for name in names)
    return Marks(None if x is None else np.asarray(x, float), mean, spread, std, n, colour, seeds)


def within(metric: str, values: Any) -> Any:
    """Ends of bands, no further than the metric goes.

    Args:
      metric: the column on the y axis.
      values: numbers.

    >>> within("test_auroc", np.array([-0.2, 0.9, 1.3])).tolist()
    [0.0, 0.9, 1.0]
    """
    return np.clip(values, *bounds_of(metric))


def kept(values: Any, metric: str) -> tuple[float, float]:
    """The worst and the best value that an axis has room for: all, but for few so bad that the rest would be one line.

    Args:
      values: means of points.
      metric: what they are of; of a share, which is between 0 and 1, and of a cost all are kept, and of an R² those
        that are not as far below 0 as the best is above it.

    Returns:
      Least and largest.

    >>> kept([-38.0, 0.2, 0.5, 0.7], "test_r2"), kept([0.2, 0.9, 0.91, 0.92], "test_accuracy")
    ((0.2, 0.7), (0.2, 0.92))
    >>> kept([-38.0, -0.227, 0.4, 0.41], "test_r2")
    (-0.227, 0.41)
    """
    known = SCHEMA.get(metric)
    order = np.sort([float(value) for value in values if math.isfinite(value)])
    if not len(order):
        return 0.0, 1.0
    may_leave = known is None or (known.better is not None and bounds_of(metric) != (0.0, 1.0))
    # From the best to the worst: so many of the latter leave as make the axis that much longer.
    order = order if lower_is_better(metric) else order[::-1]
    least = max(2, math.ceil(len(order) / 2))
    left = len(order)
    very_bad = -max(_MILD, float(order[0])) if _is_r2(metric) else math.inf
    for count in range(len(order) - 1, least - 1, -1) if may_leave else ():
        rest = max(_span(order[:count]), 0.1 * float(np.abs(order[:count]).max()))
        if rest > 0 and order[count] < very_bad and _span(order[:left]) > _SQUEEZED * rest:
            left = count
    return float(order[:left].min()), float(order[:left].max())


def spanned(low: float, high: float, metric: str) -> tuple[float, float]:
    """Ends of an axis or a scale of colours that are so far apart that rounding makes no picture.

    Args:
      low, high: the least and the largest value.
      metric: what they are of.

    Returns:
      Both, or farther ones about their middle, within what the metric can be where they are; of an R² that is near 0
      the lower is 0.

    >>> spanned(0.2, 0.9, "test_auroc"), spanned(0.80716, 0.80716, "test_auroc"), spanned(1.0, 1.0, "test_auroc")
    ((0.2, 0.9), (0.78216, 0.83216), (0.95, 1.0))
    >>> spanned(2000.0, 2000.0, "test_mae"), spanned(0.2, 0.5, "test_r2"), spanned(0.8, 0.9, "test_r2")
    ((1999.0, 2001.0), (0.0, 0.5), (0.8, 0.9))
    """
    bounds = bounds_of(metric)
    if _is_r2(metric) and 0 < low <= high - low:
        return 0.0, high
    size = max(abs(low), abs(high))
    least = _LEAST_OF_SHARES if bounds[1] == 1.0 else _LEAST_OF_OTHERS * size
    if high - low >= least or not least:
        return low, high
    middle = (low + high) / 2
    middle = min(max(middle, bounds[0] + least / 2), max(high, bounds[1]) - least / 2)
    return round(middle - least / 2, 12), round(middle + least / 2, 12)


def _is_r2(metric: str) -> bool:
    return bounds_of(metric) == (-math.inf, 1.0)


def extend(axes: Axes, metric: str, marks: Sequence[Marks], look: Look, also: Sequence[float] = ()) -> list[str]:
    """Sets a panel's y axis, and draws an arrow with its value at the edge for each point that lies beyond it.

    Formal guarantees: all points are on the axis but those that an arrow stands for; all seeds of theirs are that have
    dots; and so is each band up to three deviations. What else runs past the axis, a sentence says.

    Args:
      axes: the panel, with its x axis set.
      metric: the column on the y axis.
      marks: of all its lines.
      look: its size, and what its bands are.
      also: other values that the axis has to show.

    Returns:
      A sentence for each kind of mark that runs past the axis.

    >>> from experiments.figures import style
    >>> figure, (axes,) = style.panels(1)
    >>> half = np.array([0.9, 0.0])
    >>> line = Marks(np.array([1.0, 2.0]), np.array([0.8, 0.9]), half, half / 9, np.array([2, 2]), "black")
    >>> extend(axes, "test_accuracy", [line], style.PLAIN)
    ['bands over 2 seeds run past the axis']
    >>> bool(axes.get_ylim()[1] < 1.03)
    True
    """
    means = np.concatenate([each.y for each in marks])
    means = means[np.isfinite(means)]
    if not len(means):
        return []
    low, high = kept(means, metric)
    least, most = bounds_of(metric)
    least, most = min(least, float(means.min())), max(most, float(means.max()))
    ends = [low, high, *also]
    log = axes.get_yscale() == "log"
    for each in marks:
        on = (each.y >= low) & (each.y <= high)
        room = np.nan_to_num(np.fmin(each.spread, _DEVIATIONS * each.std))
        below, above = each.y - room, each.y + room
        ends += [*np.where(below > 0, below, each.y)[on]] if log else [*below[on]]
        ends += [*above[on]]
        ends += [float(value) for values, is_on in zip(each.seeds, on, strict=False) if is_on for value in values]
    bottom, top = max(min(ends), least), min(max(ends), most)
    bottom, top = _limits(*((bottom, top) if log else spanned(bottom, top, metric)), (least, most), log=log)
    axes.set_ylim(bottom, top)
    if not log:
        plain_ticks(axes)
    notes = _cut(marks, (low, high), (max(bottom, least), min(top, most)), look)
    return [*notes, *_arrows(axes, marks, (low, high), look)]


def _span(values: Any) -> float:
    return float(np.max(values) - np.min(values))


def _limits(bottom: float, top: float, bounds: tuple[float, float], *, log: bool) -> tuple[float, float]:
    if log:
        room = max(top / bottom, 1.1) ** _ROOM
        return bottom / room, top * room
    span = top - bottom or 0.1 * abs(top) or 0.1
    over = _OVER * span
    return max(bottom - _ROOM * span, bounds[0] - over), min(top + _ROOM * span, bounds[1] + over)


def _cut(marks: Sequence[Marks], on: tuple[float, float], ends: tuple[float, float], look: Look) -> list[str]:
    """What is said of bands that do not end on the axis."""
    seeds: set[int] = set()
    for each in marks:
        spread = np.nan_to_num(each.spread)
        past = (each.y - spread < ends[0] - 1e-9) | (each.y + spread > ends[1] + 1e-9)
        seeds |= {int(n) for n in each.n[past & (each.y >= on[0]) & (each.y <= on[1])]}
    if not seeds:
        return []
    count = " to ".join(str(n) for n in dict.fromkeys([min(seeds), max(seeds)]))
    return [f"{'intervals' if look.spread == 'ci' else 'bands'} over {count} seeds run past the axis"]


def _arrows(axes: Axes, marks: Sequence[Marks], on: tuple[float, float], look: Look) -> list[str]:
    """An arrow at the edge for each point beyond the axis, with its value beside it, and the sentence on them."""
    beyond: list[tuple[float, float, Marks]] = []
    for each in marks:
        x = np.full(len(each.y), np.nan) if each.x is None else each.x
        beyond += [(place, y, each) for place, y in zip(x, each.y, strict=True) if y < on[0] or y > on[1]]
    if not beyond:
        return []
    below = beyond[0][1] < on[0]
    axes.get_xlim()  # which settles where points lie
    edge, sign = (0.0, 1) if below else (1.0, -1)
    figure = axes.get_figure(root=True)
    assert figure is not None
    stacked: dict[int, int] = {}
    for place, value, each in sorted(beyond, key=lambda item: abs(item[1])):
        across = _AT_THE_END
        if each.x is not None:
            across = float(axes.transAxes.inverted().transform(axes.transData.transform((place, 1.0)))[0])
        key = round(10 * across)
        stacked[key] = stacked.get(key, -1) + 1
        up = sign * 1.1 * look.points * stacked[key]
        axes.plot(
            [across], [edge], marker="v" if below else "^", ls="", color=each.colour, mec="white", mew=0.6, ms=7,
            transform=axes.transAxes + ScaledTranslation(0, up / 72, figure.dpi_scale_trans), clip_on=False, zorder=6,
        )  # fmt: skip
        left = across < _MIDDLE
        axes.annotate(
            mean_and_std(value, math.nan), (across, edge), xycoords="axes fraction", color=each.colour,
            size=0.9 * look.points, xytext=(6 if left else -6, sign + up), textcoords="offset points",
            ha="left" if left else "right", va="bottom" if below else "top", zorder=6,
        )  # fmt: skip
    values = sorted((value for _, value, _ in beyond), key=abs)
    points = "1 point lies" if len(values) == 1 else f"{len(values)} points lie"
    told = [mean_and_std(value, math.nan) for value in values]
    at = f"at {', '.join(told)}" if len(told) <= _SHOWN else f"as far as {told[-1]}"
    return [f"arrow{'s' * (len(told) > 1)}: {points} {'below' if below else 'above'} the axis, {at}"]
