"""Who may take part when, and how far one unit can then move correlated noise's encoder."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from dpjax.checks import instance, whole_number
from dpjax.ranges import NUM_STEPS

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@runtime_checkable
class Scheduled(Protocol):
    """A sampler, as far as ``Participation.from_sampler`` reads it: what it is to the accountant."""

    @property
    def sampling(self) -> Any: ...


@dataclass(frozen=True)
class Participation:
    """A bound on the steps that one unit can be in: how many, and how far apart.

    Formal guarantees: none by itself, as it is what its maker says; ``from_sampler`` says what holds, and ``Mechanism``
    compares the two.

    Args:
      num_steps: noisy sums released in the whole run.
      max_participations: the most of them that any one unit is in.
      min_separation: the least number of steps from one participation to the next; 1 allows every step.

    Raises:
      ValueError: a field is no whole number of at least 1.

    Example:
      >>> Participation(num_steps=100, max_participations=60, min_separation=25).most
      4

    References:
      Choquette-Choo et al. 2023, section 2, https://arxiv.org/abs/2306.08153.
    """

    num_steps: int
    max_participations: int
    min_separation: int

    def __post_init__(self) -> None:
        for name in ("num_steps", "max_participations", "min_separation"):
            whole_number(name, getattr(self, name), fix="it counts steps")

    @classmethod
    def from_sampler(cls, sampler: Scheduled, num_steps: int) -> Participation:
        """What a sampler lets a unit do in so many steps, so that the schema is never typed twice.

        Formal guarantees: no run of the sampler exceeds it. Only "cyclic" keeps participations apart; one unit may be
        in every step of "poisson", "fixed_size" and "full", and in two steps in a row where "shuffled" reshuffles.

        Args:
          sampler: anything whose ``sampling`` is a kind of sampling, such as ``Cyclic``; those of ``dpjax.sampling``
            are.
          num_steps: steps of the run.

        Raises:
          TypeError: it has none.
          ValueError: ``num_steps`` is no whole number of at least 1.

        Example:
          >>> from types import SimpleNamespace
          >>> from dpjax.accounting import Cyclic
          >>> Participation.from_sampler(SimpleNamespace(sampling=Cyclic(0.1, population=100)), 35)
          Participation(num_steps=35, max_participations=4, min_separation=10)
        """
        num_steps = NUM_STEPS.known("num_steps", num_steps)
        instance("sampler", sampler, Scheduled, fix="make one, such as cyclic_sampler(...)")
        return sampler.sampling.participation(num_steps)

    @property
    def most(self) -> int:
        """Participations that fit into the run, at most ``max_participations``."""
        return min(self.max_participations, -(-self.num_steps // self.min_separation))

    @property
    def in_words(self) -> str:
        """The same for a sentence."""
        times = "1 participation" if self.most == 1 else f"{self.most} participations"
        apart = f" at least {self.min_separation} apart" if self.most > 1 else ""
        return f"{self.num_steps} steps with {times}{apart}"

    def covers(self, other: Participation) -> bool:
        """Whether every unit that obeys ``other`` obeys this one too."""
        return (
            self.num_steps >= other.num_steps
            and self.max_participations >= other.most
            and (self.min_separation <= other.min_separation or other.most == 1)
        )


def toeplitz_sensitivity(coefficients: Sequence[float] | NDArray[np.float64], participation: Participation) -> float:
    """How far one unit moves C x, in clip norms, for a lower-triangular Toeplitz C.

    Formal guarantees: never less than the largest L2 norm of C u, over all u of shape [num_steps, dim] whose rows are
    of norm at most 1 and zero where the unit does not take part. Equal to it if there is one participation, if the
    bands are no wider than ``min_separation``, or if the coefficients are nonnegative and never rise; then the earliest
    and densest participations are the worst. Elsewhere an upper bound, by the triangle inequality on columns' products.

    Args:
      coefficients: [bands] the first column of C; zero beyond.
      participation: how often and how densely a unit takes part.

    Returns:
      Sensitivity > 0, in clip norms (under replace_one, twice this).

    Example:
      >>> twice = Participation(num_steps=10, max_participations=2, min_separation=5)
      >>> round(toeplitz_sensitivity([1.0, 0.5], twice), 4), round((2 * 1.25) ** 0.5, 4)
      (1.5811, 1.5811)

    References:
      Kalinin & Lampert 2024, theorem 2, https://arxiv.org/abs/2405.13763; Choquette-Choo et al. 2023, theorem 2,
      https://arxiv.org/abs/2306.08153.
    """
    import numpy as np

    steps, apart, most = participation.num_steps, participation.min_separation, participation.most
    column = np.asarray(coefficients, np.float64)[:steps]
    falling = bool(np.all(column >= 0) and np.all(np.diff(column) <= 0))
    if falling or most == 1 or column.size <= apart:
        return float(np.linalg.norm(column_sum(column, participation)))
    # For |i - j| = d the columns' product is at most Σ |c_l c_(l+d)|; the m-th neighbour is m × min_separation away.
    products = np.correlate(np.abs(column), np.abs(column), "full")[column.size - 1 :]
    beyond = np.maximum.accumulate(products[::-1])[::-1]
    pairs = sum(2 * (most - m) * beyond[m * apart] for m in range(1, most) if m * apart < column.size)
    return math.sqrt(float(most * products[0] + pairs))


def column_sum(column: NDArray[np.float64], participation: Participation) -> NDArray[np.float64]:
    """[num_steps] the sum of the columns of C in which the earliest and densest unit takes part."""
    import numpy as np

    total = np.zeros(participation.num_steps)
    for start in range(0, participation.most * participation.min_separation, participation.min_separation):
        part = column[: participation.num_steps - start]
        total[start : start + part.size] += part
    return total


def tree_sensitivity(participation: Participation) -> float:
    """How far one unit moves the nodes of a binary tree over the steps, in clip norms.

    Formal guarantees: the square root of the largest Σ over nodes of (participations under the node)², over all
    participations allowed; exact. Only nodes whose steps all lie in the run count, as no other is ever released.

    Args:
      participation: how often and how densely a unit takes part.

    Returns:
      Sensitivity > 0, in clip norms (under replace_one, twice this).

    Example:
      >>> round(tree_sensitivity(Participation(num_steps=2000, max_participations=6, min_separation=313)) ** 2)
      79

    References:
      Kairouz et al. 2021, appendix D, https://arxiv.org/abs/2103.00039.
    """
    apart, most, steps = participation.min_separation, participation.most, participation.num_steps
    largest_tree = 1 << (steps.bit_length() - 1)
    if most == 1:
        return math.sqrt(steps.bit_length())
    if most == steps:
        return math.sqrt(sum((steps >> height) << (2 * height) for height in range(steps.bit_length())))
    trees = {1: _leaf(apart)}
    while (size := max(trees)) < largest_tree:
        trees[2 * size] = _join((size, trees[size]), (size, trees[size]), most, apart, is_node=True)
    # What is left of the run after its largest whole tree holds smaller ones, with no node above them.
    size, best = largest_tree, trees[largest_tree]
    for height in reversed(range(steps.bit_length() - 1)):
        if steps >> height & 1:
            best = _join((size, best), (1 << height, trees[1 << height]), most, apart, is_node=False)
            size += 1 << height
    return math.sqrt(max(int(table[0, 0]) for table in best))


_NEVER = -(10**15)

_Tables = list["NDArray[np.int64]"]
"""By number of participations, [start, end]: the largest Σ of squares if the unit is in none of the first ``start`` and
last ``end`` steps. It never rises along either axis."""


def _leaf(apart: int) -> _Tables:
    import numpy as np

    there = np.full((apart, apart), _NEVER)
    there[0, 0] = 1
    return [np.zeros((apart, apart), np.int64), there]


def _join(left: tuple[int, _Tables], right: tuple[int, _Tables], most: int, apart: int, *, is_node: bool) -> _Tables:
    """Two neighbouring stretches as one, under a node of their own or not."""
    import numpy as np

    (left_size, lefts), (right_size, rights) = left, right
    edge, joined = np.arange(apart), []
    into_right, into_left = np.maximum(0, edge - left_size), np.maximum(0, edge - right_size)
    for count in range(min(most, -(-(left_size + right_size) // apart)) + 1):
        best = np.full((apart, apart), _NEVER)
        if count < len(rights):
            best = np.maximum(best, rights[count][into_right])
        if count < len(lefts):
            best = np.maximum(best, lefts[count][:, into_left])
        for first in range(max(1, count - len(rights) + 1), min(count, len(lefts))):
            for value in np.unique(lefts[first]):
                # Leave as many steps as that value allows at the end of the left: the right may begin that much sooner.
                after = np.sum(lefts[first] >= value, axis=1) - 1
                here = value + rights[count - first][apart - 1 - np.maximum(after, 0)]
                best = np.maximum(best, np.where((after >= 0)[:, None], here, _NEVER))
        joined.append(np.where(best > 0, best + count * count, best) if is_node else best)
    return joined
