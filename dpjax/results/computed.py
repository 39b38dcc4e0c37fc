"""The ε that was computed of points, where it is not the one that was asked for."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from dpjax.results.claims import number, rounded_up, stated_epsilon


def computed_sentence(private: Sequence[Mapping[str, Any]]) -> str:
    """A sentence on points whose ε is above the one asked for, or was not computed; empty where all is as asked.

    Args:
      private: rows of ``summary`` with a finite ε.

    Example:
      >>> computed_sentence([{"epsilon": 1.0, "epsilon_pld": math.inf, "accountant": "pld"}])
      'The ε computed of 1 of 1 points is above the one asked for, by up to ∞.'
    """
    stated = [(number(point, "epsilon"), stated_epsilon(dict(point))[0]) for point in private]
    none = sum(computed is None for _, computed in stated)
    above = [c for asked, c in stated if asked is not None and c is not None and c > asked * (1 + 1e-6)]
    if none:
        return f"No ε was computed of {none} of {len(private)} points: theirs is the one asked for."
    if above:
        over = [c - a for a, c in stated if a is not None and c is not None and math.isfinite(a)]
        most = rounded_up(max(over), 2)
        return f"The ε computed of {len(above)} of {len(private)} points is above the one asked for, by up to {most}."
    return ""
