"""What shuffling cannot give: a lower bound on the ε of one shuffled epoch."""

from __future__ import annotations

from dpjax.accounting.accountants import check_delta
from dpjax.checks import whole_number
from dpjax.ranges import NOISE_MULTIPLIER


def shuffle_epsilon_lower_bound(noise_multiplier: float, num_steps_per_epoch: int, delta: float) -> float:
    """An ε that one shuffled epoch is certain to exceed, for comparison with what Poisson accounting would claim.

    Formal guarantees: none of privacy, which ``epsilon`` gives. No accountant can truthfully report less for one epoch
    over shuffled, disjoint cohorts under zero-out (so nor under replace-one): a threshold test on the largest of the
    cohorts' sums achieves it.

    Args:
      noise_multiplier: noise standard deviation / clip norm, above 0.
      num_steps_per_epoch: cohorts in the epoch.
      delta: the δ at which to compare.

    Returns:
      The lower bound on ε, at least 0.

    Raises:
      ValueError: an argument is out of range.

    Example:
      >>> round(shuffle_epsilon_lower_bound(0.5, 10_000, 1e-6), 2)
      10.99

    References:
      Chua et al. 2024, How private are DP-SGD implementations?, https://arxiv.org/abs/2403.17673.
    """
    noise_multiplier = NOISE_MULTIPLIER._replace(least=None, above=0).known("noise_multiplier", noise_multiplier)
    num_steps_per_epoch = whole_number("num_steps_per_epoch", num_steps_per_epoch, fix="it counts cohorts of an epoch")
    delta = check_delta(delta)
    import numpy as np
    from scipy.special import log_ndtr

    # The worst data set: every other unit sends -1, so that after a shift the sums are 0 but for 2 (there) or 1 (not).
    def gain(threshold: np.ndarray) -> np.ndarray:
        others = (num_steps_per_epoch - 1) * log_ndtr(threshold / noise_multiplier)
        there = -np.expm1(log_ndtr((threshold - 2) / noise_multiplier) + others)
        away = -np.expm1(log_ndtr((threshold - 1) / noise_multiplier) + others)
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(there > delta, np.log((there - delta) / away), -np.inf)

    grid = np.linspace(-10 * noise_multiplier, 2 + 10 * noise_multiplier, 4001)
    for _ in range(3):  # each pass looks 1000 times closer around the best threshold
        best = int(np.argmax(gain(grid)))
        grid = np.linspace(grid[max(best - 2, 0)], grid[min(best + 2, 4000)], 4001)
    return max(0.0, float(gain(grid).max()))
