"""How well a mean over seeds is known."""

from typing import Any

import numpy as np


def half_width(std: Any, n: Any, confidence: float = 0.95) -> Any:
    """Half the width of the confidence interval of a mean over seeds: ``mean ± half_width`` covers the true mean.

    Formal guarantees: exact coverage where a metric is normal over seeds (Student's t with ``n − 1`` degrees of
    freedom); missing for fewer than two seeds, of which no spread is known.

    Args:
      std: sample standard deviation over seeds (``ddof=1``), in the metric's unit; a number or an array.
      n: seeds of each.
      confidence: of the interval, between 0 and 1.

    Returns:
      The half width, in the metric's unit, of the shape of ``std`` and ``n`` together.

    Raises:
      ValueError: ``confidence`` is not between 0 and 1.

    Example:
      >>> round(float(half_width(0.01, 5)), 5)
      0.01242

    References:
      Student, The Probable Error of a Mean, 1908.
    """
    from scipy.special import stdtrit  # half a second, which a table of single seeds need not wait for

    if not 0 < confidence < 1:
        raise ValueError(f"confidence is {confidence}: give a number between 0 and 1, such as 0.95")
    std, n = np.asarray(std, float), np.asarray(n, float)
    several = n > 1
    freedom = np.where(several, n - 1, 1)
    return np.where(several, stdtrit(freedom, (1 + confidence) / 2) * std / np.sqrt(np.maximum(n, 1)), np.nan)
