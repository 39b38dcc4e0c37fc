"""Which cells are bold: the best, and by a paired test those that it is not shown to be better than."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from dpjax.results.schema import lower_is_better
from dpjax.results.verdicts import judged, tested_by


class Bold(NamedTuple):
    """Which cells of one metric are bold.

    Attributes:
      points: of the cells.
      tests: how many cells were compared with the best of theirs.
      untested: how many were not, for they have fewer than two seeds in common with it.
      infinite: how many were not, for a value of theirs or of the best is not finite.
      equal: how many of the compared have the same difference at every seed, of which there is no t-test.
      chosen: whether there was anything to choose from.
    """

    points: set[int]
    tests: int = 0
    untested: int = 0
    infinite: int = 0
    equal: int = 0
    chosen: bool = False


def bold_points(
    groups: Sequence[Sequence[dict[str, Any]]], runs: Any, metric: str, how: str, confidence: float
) -> Bold:
    """The points whose cells are bold, of groups that are compared within themselves.

    Formal guarantees: of a group, the best mean is bold; a point of which a run diverged only if all did, and one whose
    mean is not finite only if none is. By ``best`` so are those that a paired t-test over common seeds does not show to
    be worse: the chance that any cell lacks bold type though it equals its best is at most ``1 − confidence`` over all
    groups together (Holm), if differences over seeds are normal and the best was not chosen by them. A cell that cannot
    be tested, for it shares fewer than two seeds with the best or has values that are not finite, is not bold; where
    differences are equal over all seeds sign flips stand in for the t-test, as in ``compare``. Alone in its group, none
    is.

    Args:
      groups: rows of ``summary`` with their index in ``point``.
      runs: what ``with_runs`` gave with them.
      metric: the column.
      how: ``best``, ``mean`` or ``none``.
      confidence: over all groups together.

    Returns:
      The points, and how they were found.

    Example:
      >>> import pandas as pd
      >>> points = [{"point": i, "loss_mean": m, "diverged": 0} for i, m in enumerate((0.2, 0.3))]
      >>> runs = pd.DataFrame({"point": [0, 1], "seed": [0, 0], "loss": [0.2, 0.3]})
      >>> bold_points([points], runs, "loss", "best", 0.95)
      Bold(points={0}, tests=0, untested=1, infinite=0, equal=0, chosen=True)
    """
    found: set[int] = set()
    raw: list[Any] = []
    rivals: list[int] = []
    untested, infinite, constant, chosen = 0, 0, 0, False
    for group in groups if how != "none" else ():
        valued = [point for point in group if not math.isnan(point[f"{metric}_mean"])]
        if len(valued) < 2:
            continue
        chosen = True
        finite = [point for point in valued if math.isfinite(point[f"{metric}_mean"])] or valued
        finished = [point for point in finite if not point["diverged"]] or finite
        infinite += len(valued) - len(finite) if how == "best" else 0
        pick = min if lower_is_better(metric) else max
        top = pick(finished, key=lambda point: point[f"{metric}_mean"])
        equal = [point["point"] for point in finished if point[f"{metric}_mean"] == top[f"{metric}_mean"]]
        found |= set(equal)
        of_top = _by_seed(runs, top["point"], metric)
        for point in finished if how == "best" else ():
            if point["point"] in equal:
                continue
            other = _by_seed(runs, point["point"], metric)
            common = of_top.index.intersection(other.index).sort_values()
            if len(common) < 2:
                untested += 1
                continue
            ours, theirs = of_top.loc[common].to_numpy(float), other.loc[common].to_numpy(float)
            if not np.isfinite([ours, theirs]).all():
                infinite += 1
                continue
            constant += tested_by(ours, theirs) == "signs"
            raw.append(({}, "best", "other", ours, theirs))
            rivals.append(point["point"])
    verdicts = judged(raw, metric, 1 - confidence) if raw else []
    found |= {rival for rival, verdict in zip(rivals, verdicts, strict=True) if verdict.verdict != "first"}
    return Bold(found, len(raw), untested, infinite, constant, chosen)


def _by_seed(runs: Any, point: int, metric: str) -> Any:
    of_point = runs[(runs["point"] == point) & runs["seed"].notna() & runs[metric].notna()]
    return of_point.set_index("seed")[metric]
