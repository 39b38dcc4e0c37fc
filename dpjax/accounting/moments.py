"""The sum that a Rényi moment is, without the loss of digits that adding it to 1 would cost."""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def log_one_plus(order: float, parts: list[tuple[Floats, Floats]]) -> float:
    """log(1 + Σ weight (r^order - 1 - order (r - 1))), r = exp(loss): the moment, since Σ weight (r - 1) = 0."""
    total = 0.0
    for loss, log_weight in parts:
        # The bracket is >= 0; for small losses it is about (order loss)² / 2, which a plain r^order would lose.
        grows = order * loss > 1
        near, far = np.where(grows, 0.0, loss), np.where(grows, loss, 1.0)
        with np.errstate(divide="ignore", invalid="ignore"):
            log_near = np.log(np.maximum(np.expm1(order * near) - order * np.expm1(near), 0.0))
            log_far = order * far + np.log1p((order - 1) * np.exp(-order * far) - order * np.exp((1 - order) * far))
        log_terms = log_weight + np.where(grows, log_far, log_near)
        total = float(np.logaddexp(total, np.logaddexp.reduce(log_terms)))
    return total
