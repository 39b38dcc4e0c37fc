"""Whether runs without privacy did worse than private ones, which says that they were not run as suits them."""

import math
from collections.abc import Sequence
from typing import Any

from dpjax.results.claims import number
from dpjax.results.schema import lower_is_better


def outdone(points: Sequence[dict[str, Any]], metric: str) -> tuple[dict[str, Any], dict[str, Any]] | None:
    """The best point without privacy and a better private one, where their means ± deviations do not meet.

    Noise and clipping take away from what a model learns. Where it learns more with them, the clipping held steps back
    that were too large, or stopped what would have overfitted.

    Formal guarantees: None where one of the two has a single seed, whose spread nobody knows, or runs that diverged,
    of which the table says so itself.

    Args:
      points: of one family, rows of ``dpjax.results.summary``.
      metric: that they are compared by.

    Example:
      >>> point = {"n": 3, "diverged": 0, "test_r2_std": 0.01}
      >>> found = outdone(
      ...     [point | {"epsilon": 8.0, "test_r2_mean": 0.9}, point | {"epsilon": math.inf, "test_r2_mean": 0.7}],
      ...     "test_r2",
      ... )
      >>> [each["epsilon"] for each in found]
      [inf, 8.0]
    """
    sign = -1 if lower_is_better(metric) else 1
    mean, std = f"{metric}_mean", f"{metric}_std"
    told = [p for p in points if not p["diverged"] and p["n"] > 1 and None not in (number(p, mean), number(p, std))]
    plain = [point for point in told if number(point, "epsilon") == math.inf]
    private = [point for point in told if number(point, "epsilon") != math.inf]
    if not plain or not private:
        return None
    # One with diverged seeds is no rival, and yet may have been the better one.
    if any(point["diverged"] and number(point, "epsilon") == math.inf for point in points):
        return None
    best, better = (max(each, key=lambda point: sign * point[mean]) for each in (plain, private))
    return (best, better) if sign * (better[mean] - best[mean]) > best[std] + better[std] else None
