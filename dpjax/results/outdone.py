"""Whether runs without privacy did worse than private ones, which says that they were not run as suits them."""

import math
from collections.abc import Sequence
from typing import Any

from dpjax.results.claims import number
from dpjax.results.schema import lower_is_better
from dpjax.results.wording import cell_text, label, mean_and_std


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


def outdone_sentence(points: Sequence[dict[str, Any]], metric: str) -> str:
    """What a table, a caption or a report says of it; empty where there is nothing to say.

    Args:
      points: of one family, rows of ``dpjax.results.summary``.
      metric: that they are compared by.

    Example:
      >>> point = {"n": 3, "diverged": 0, "test_r2_std": 0.01}
      >>> rows = [point | {"epsilon": 8.0, "test_r2_mean": 0.9}, point | {"epsilon": math.inf, "test_r2_mean": 0.7}]
      >>> outdone_sentence(rows, "test_r2").partition(":")[0]
      'Without privacy test R² is 0.700 ± 0.010, worse than 0.900 ± 0.010 at ε=8'
    """
    found = outdone(points, metric)
    if found is None:
        return ""
    plain, better = (mean_and_std(each[f"{metric}_mean"], each[f"{metric}_std"]) for each in found)
    return (
        f"Without privacy {label(metric)} is {plain}, worse than {better} at ε={cell_text(found[1], 'epsilon')}: "
        "runs that do not clip may want a lower learning rate or fewer steps; ∞ is no ceiling here."
    )
