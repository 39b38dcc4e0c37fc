"""The best point of a sweep that still runs, by the mean over its seeds."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from dpjax.report.sweep_state import naming

_METRICS = ("validation_accuracy", "validation_r2", "test_accuracy", "test_r2")


class Best:
    """Of the jobs that have ended, the one with the largest mean; one without privacy only where no other has ended.

    Example:
      >>> best = Best()
      >>> best.note("privacy.epsilon=inf", [{"epsilon": math.inf, "test_accuracy": 0.99}])
      >>> best.note("privacy.epsilon=1", [{"epsilon": 1.0, "test_accuracy": value} for value in (0.5, 0.7)])
      >>> str(best)
      'Best so far: test accuracy 0.600 at ε=1: privacy.epsilon=1'
    """

    def __init__(self) -> None:
        self._best: tuple[bool, float] = (False, -math.inf)
        self._said = ""

    def note(self, overrides: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Count a job that has ended, now or before."""
        for name in _METRICS:
            values = [row.get(name) for row in rows]
            if values and all(isinstance(value, int | float) for value in values):
                break
        else:
            return
        if any(row.get("diverged") for row in rows):  # whose metrics are no result
            return
        mean, epsilon = math.fsum(values) / len(values), _epsilon(rows[0])  # pyright: ignore[reportArgumentType]
        rank = (math.isfinite(epsilon), mean)
        if rank > self._best:
            self._best = rank
            what = f"{name.replace('_', ' ').replace('r2', 'R²')} {mean:.3f} at ε={epsilon:g}"
            named = naming(overrides)
            self._said = f"Best so far: {what}{named and f': {named}'}"

    def __str__(self) -> str:
        return self._said


def _epsilon(row: Mapping[str, Any]) -> float:
    """The target, or where noise was given what it came to; inf where there is none."""
    value = row.get("epsilon")
    value = row.get("epsilon_pld") if value is None else value
    return float(value) if isinstance(value, int | float) else math.inf
