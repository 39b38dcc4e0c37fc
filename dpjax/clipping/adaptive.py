"""Adaptive clipping: the clip norm follows a quantile of the units' norms, by a noisy count that ε pays for."""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from dpjax.checks import is_traced, number
from dpjax.ranges import CLIP_NORM_RATE, COUNT_STDDEV, NOISE_MULTIPLIER, TARGET_QUANTILE

SMALLEST, LARGEST = 1e-12, 1e12
"""Where a clip norm that adapts stops: what the kernel's guarantee covers, with room for every float32 norm."""


class AdaptiveClipping(NamedTuple):
    """How the clip norm adapts. Made by ``adaptive_clipping``.

    Formal guarantees: those of ``adaptive_clipping``.

    Attributes:
      target_quantile: share of the units whose norm is to be at most the clip norm.
      learning_rate: step size of the geometric update.
      count_stddev: standard deviation of the noise on the count; expected cohort size / 20 if None.
    """

    target_quantile: float | Float[Array, ""] = 0.5
    learning_rate: float | Float[Array, ""] = 0.2
    count_stddev: float | None = None


def adaptive_clipping(
    target_quantile: float | Float[Array, ""] = 0.5,
    learning_rate: float | Float[Array, ""] = 0.2,
    count_stddev: float | None = None,
) -> AdaptiveClipping:
    """A clip norm that follows a quantile of the units' norms: for ``make_train(..., noise=adaptive_clipping())``.

    At each step the units of the cohort are counted whose norm is at most the clip norm C, each as ``1[norm ≤ C] − ½``.
    With noise of ``count_stddev`` on the count, b̃ = noisy count / expected cohort size + ½ estimates their share, and
    C becomes ``C · exp(−learning_rate · (b̃ − target_quantile))``. Units count alike, whatever their weights in the sum.

    Formal guarantees: sum and count are one Gaussian mechanism whose noise multiplier is the run's z, and it is z that
    ``Mechanism`` accounts for. One unit moves the sum by at most C and the centred count by at most ½, so noise of
    z_Δ·C on the sum, with ``z_Δ = (z⁻² − (2 count_stddev)⁻²)^(−½)``, and of ``count_stddev`` on the count costs what
    noise of z·C on the sum alone would. This holds under every adjacency: where a unit's contribution is gone, its part
    of the count is gone with it, and replacing a unit doubles both movements. The price is a little more noise on the
    sum (0.5 % for z = 1 and an expected cohort of 100). With z = 0 there is no noise at all.

    Args:
      target_quantile: in [0, 1].
      learning_rate: > 0; 0.2 moves C by at most about 10 % a step for the median.
      count_stddev: > 0, in units of the count; more than z / 2. Expected cohort size / 20 if None.

    Returns:
      What ``make_train`` takes.

    Raises:
      ValueError: an argument out of its range.

    Example:
      >>> adaptive_clipping(target_quantile=0.7)
      AdaptiveClipping(target_quantile=0.7, learning_rate=0.2, count_stddev=None)

    References:
      Andrew et al., Differentially Private Learning with Adaptive Clipping, 2021 (https://arxiv.org/abs/1905.03871).
    """
    quantile = TARGET_QUANTILE.number("target_quantile", target_quantile)
    rate = CLIP_NORM_RATE.number("learning_rate", learning_rate)
    if count_stddev is not None:
        if is_traced(count_stddev):
            raise ValueError("count_stddev is traced, but the noise is split by it beforehand; give a plain number.")
        count_stddev = COUNT_STDDEV.number("count_stddev", count_stddev)
    return AdaptiveClipping(quantile, rate, count_stddev)


def stddev_of_count(adaptive: AdaptiveClipping, expected_cohort_size: float) -> float:
    """The noise on the centred count: as asked for, or ``expected_cohort_size / 20``.

    Example:
      >>> stddev_of_count(adaptive_clipping(), expected_cohort_size=100)
      5.0
    """
    return expected_cohort_size / 20 if adaptive.count_stddev is None else adaptive.count_stddev


def sum_noise_multiplier(noise_multiplier: float | Float[Array, ""], count_stddev: float) -> Float[Array, ""]:
    """z_Δ: what is left for the sum of a noise multiplier z that is to cover a noisy count as well.

    Formal guarantees: ``z_Δ⁻² + (2 count_stddev)⁻² = z⁻²``; 0 for z = 0. A traced z that no z_Δ can reach gives
    infinity, so that the run ends in infinite or undefined parameters, never in too little noise.

    Args:
      noise_multiplier: z, scalar ≥ 0, traced or not.
      count_stddev: standard deviation of the noise on the centred count, > 0.

    Raises:
      ValueError: a concrete z that is negative, not a number, or not below ``2 count_stddev``.

    Example:
      >>> print(round(float(sum_noise_multiplier(1.0, count_stddev=5.0)), 6))
      1.005038

    References:
      Andrew et al., 2021, theorem 1 (https://arxiv.org/abs/1905.03871).
    """
    noise_multiplier = NOISE_MULTIPLIER._replace(finite=False).number("noise_multiplier", noise_multiplier)
    if isinstance(noise_multiplier, float) and noise_multiplier >= 2 * count_stddev:
        raise ValueError(
            f"noise_multiplier={noise_multiplier:g} must be below 2 × count_stddev = {2 * count_stddev:g}, or no noise "
            "on the sum is enough; raise count_stddev of adaptive_clipping (expected cohort size / 20 if it is left "
            "out), or take larger cohorts."
        )
    z = jnp.asarray(noise_multiplier, jnp.float32)
    ratio = z / (2 * count_stddev)
    reachable = ratio < 1
    # The inner `where` keeps NaN out of the root; `reachable` is False for NaN as well.
    root = jnp.sqrt(jnp.where(reachable, (1 - ratio) * (1 + ratio), 1.0))
    return jnp.where(reachable, z / root, jnp.inf)


def split_noise(
    adaptive: AdaptiveClipping, noise_multiplier: float | Float[Array, ""], expected_cohort_size: float
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """(noise multiplier of the sum, standard deviation of the noise on the centred count); both 0 without noise.

    Raises:
      ValueError: as ``sum_noise_multiplier``.

    Example:
      >>> z, stddev = split_noise(adaptive_clipping(), 1.0, expected_cohort_size=100)
      >>> print(round(float(z), 6), stddev)
      1.005038 5.0
    """
    stddev = stddev_of_count(adaptive, expected_cohort_size)
    without = jnp.asarray(noise_multiplier) == 0
    return sum_noise_multiplier(noise_multiplier, stddev), jnp.where(without, 0.0, jnp.float32(stddev))


def centred_count(
    norms: Float[Array, "slots"], mask: Bool[Array, "slots"], clip_norm: float | Float[Array, ""]
) -> Float[Array, ""]:
    """``Σ (1[norm ≤ clip_norm] − ½)`` over the filled slots: one unit moves it by at most ½ (replaced: by 1). Private.

    A rejected unit (one that is not finite) counts as zero in the sum, so as a norm of zero here: as +½.

    Args:
      norms: ``[slots]`` as in ``ClippedSum``.
      mask: ``[slots]`` of the cohort.
      clip_norm: the bound that was applied.

    Example:
      >>> import jax.numpy as jnp
      >>> print(centred_count(jnp.array([0.5, 3.0, 4.0, 0.0]), jnp.array([True, True, True, False]), 1.0))
      -0.5
    """
    below = norms <= jnp.asarray(clip_norm).astype(norms.dtype)
    return jnp.sum(jnp.where(mask, jnp.where(below, 0.5, -0.5), 0.0), dtype=jnp.float32)


def next_clip_norm(
    adaptive: AdaptiveClipping,
    clip_norm: Float[Array, ""],
    noisy_count: Float[Array, ""],
    expected_cohort_size: float,
) -> Float[Array, ""]:
    """The clip norm of the next step, from the noisy centred count of this one: post-processing, within [1e-12, 1e12].

    The count is divided by the EXPECTED cohort size: the drawn one is private. An infinite clip norm stays so, which
    turns clipping off in a lane of a sweep (without noise; with it, the noise is infinite).

    Example:
      >>> import jax.numpy as jnp
      >>> print(next_clip_norm(adaptive_clipping(), jnp.float32(1.0), jnp.float32(50.0), expected_cohort_size=100))
      0.9048374
    """
    share = noisy_count / expected_cohort_size + 0.5
    factor = jnp.exp(-jnp.asarray(adaptive.learning_rate, jnp.float32) * (share - adaptive.target_quantile))
    moved = jnp.clip(clip_norm * factor.astype(clip_norm.dtype), SMALLEST, LARGEST)
    return jnp.where(jnp.isinf(clip_norm), clip_norm, moved)


def check_initial_clip_norm(clip_norm: float | Float[Array, ""]) -> None:
    """Refuse a concrete clip norm that could not adapt: an infinite one stays infinite.

    Example:
      >>> check_initial_clip_norm(1.0)
    """
    start = "it is where adaptive clipping starts, so take gaussian_privatizer for noise to turn clipping off"
    number("clip_norm", clip_norm, least=SMALLEST, most=LARGEST, fix=start)
