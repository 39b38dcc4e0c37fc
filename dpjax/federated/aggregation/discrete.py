"""Whole-number noise: discrete Gaussian and Skellam samples, by rejection from proposals that are exact."""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from dpjax.checks import number
from dpjax.gaussian import threefry

LARGEST_STDDEV = 2.0**19
"""Beyond, samples would outgrow the whole numbers that float32 can hold."""

_SPARE = 2.6
"""Proposals made at once for each sample: at least 0.42 of them are accepted from a standard deviation of 1 on."""

_SMALL_VARIANCE, _TABLE = 64.0, 320

Excess = Callable[[Float[Array, "size"], Float[Array, ""]], Float[Array, "size"]]
"""``excess(magnitude, scale)``: minus the log of a proposal's chance to be accepted."""


def discrete_gaussian(key: Key[Array, ""], size: int, stddev: float | Float[Array, ""]) -> Int[Array, "size"]:
    """Independent whole numbers with chances proportional to exp(-k² / 2 stddev²).

    Proposals are discrete Laplace: a geometric multiple of 2ᵐ near ``stddev``, plus m random bits. They are exact but
    for the geometric part's float32 logarithm, and each is accepted by 64 random bits.

    Formal guarantees: up to 6 standard deviations every probability is that of the discrete Gaussian to a relative
    2e-5, by float32 rounding of its logarithm; there is nothing beyond 22 standard deviations. This stands in for the
    exact distribution as floating-point noise stands in for real noise.

    Args:
      key: of these samples and nothing else.
      size: how many.
      stddev: parameter σ in [0, 2¹⁹], traced or not; 0 gives zeros. The samples' own deviation is a little smaller
        below 1.

    Raises:
      ValueError: a ``stddev`` out of range; one that is traced gives uniform 32-bit numbers, which hide everything.

    Example:
      >>> samples = discrete_gaussian(jax.random.key(0), 10_000, 3.0)
      >>> samples.dtype, round(float(samples.std()), 1)
      (dtype('int32'), 3.0)

    References:
      Canonne, Kamath & Steinke, The Discrete Gaussian for Differential Privacy, 2020 (https://arxiv.org/abs/2004.00010).
    """
    spread = _checked(stddev)

    def excess(magnitude: Float[Array, "size"], scale: Float[Array, ""]) -> Float[Array, "size"]:
        return jnp.square((magnitude - spread * spread / scale) / spread) / 2

    return _sampled(key, size, spread, excess)


def skellam(key: Key[Array, ""], size: int, stddev: float | Float[Array, ""]) -> Int[Array, "size"]:
    """Independent differences of two Poisson variables with mean stddev² / 2: sums of them are Skellam again.

    Drawn directly, as ``discrete_gaussian`` is: ``jax.random.poisson`` computes in float32, whose rounding of
    k log λ - λ - log k! makes it a different distribution at large λ. The log of the Bessel function in a probability
    is summed up from its ratios below a variance of 64, and by Debye's expansion above.

    Formal guarantees: as ``discrete_gaussian``.

    Args:
      key: of these samples and nothing else.
      size: how many.
      stddev: standard deviation in [0, 2¹⁹], traced or not; 0 gives zeros.

    Raises:
      ValueError: as ``discrete_gaussian``.

    Example:
      >>> samples = skellam(jax.random.key(0), 10_000, 3.0)
      >>> samples.dtype, round(float(samples.std()), 1)
      (dtype('int32'), 3.0)

    References:
      Agarwal, Kairouz & Liu, The Skellam Mechanism, 2021 (https://arxiv.org/abs/2110.04995); expansions:
      https://dlmf.nist.gov/10.41.
    """
    spread = _checked(stddev)
    variance = spread * spread
    small = _small_log_weights(jnp.minimum(variance, _SMALL_VARIANCE))

    def excess(magnitude: Float[Array, "size"], scale: Float[Array, ""]) -> Float[Array, "size"]:
        # A bound on log weight + magnitude / scale is its largest value in the exponent of Debye's expansion.
        most = 2 * variance * jnp.square(jnp.sinh(0.5 / scale))
        large = magnitude / scale + _large_log_weights(magnitude, variance)
        entry = jnp.minimum(magnitude, _TABLE - 1).astype(jnp.int32)
        bound = jnp.max(small + jnp.arange(_TABLE, dtype=jnp.float32) / scale)
        tabled = magnitude / scale + jnp.where(magnitude < _TABLE, small[entry], -jnp.inf)
        return jnp.where(variance < _SMALL_VARIANCE, bound - tabled, most - large)

    return _sampled(key, size, spread, excess)


def _checked(stddev: float | Float[Array, ""]) -> Float[Array, ""]:
    return jnp.asarray(number("stddev", stddev, least=0, most=LARGEST_STDDEV, fix="take a coarser grid"), jnp.float32)


def _sampled(key: Key[Array, ""], size: int, stddev: Float[Array, ""], excess: Excess) -> Int[Array, "size"]:
    """Proposals until enough are accepted; the first of them in order, so that none is favoured."""
    proposals = math.ceil(size * _SPARE) + 64
    unknown = jnp.isnan(stddev)  # it was out of range
    none = unknown | (stddev <= 0)
    shift = jnp.clip(jnp.floor(jnp.log2(jnp.maximum(1.5 * stddev, 1.0))), 0, 20).astype(jnp.uint32)

    def short(carry: tuple[Array, Array, Array]) -> Bool[Array, ""]:
        return (carry[1] < size) & ~none

    def more(carry: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        attempt, count, samples = carry
        proposed, accepted = _proposed(jax.random.fold_in(key, attempt), proposals, shift, excess)
        place = count + jnp.cumsum(accepted, dtype=jnp.int32) - 1
        samples = samples.at[jnp.where(accepted, place, size)].set(proposed, mode="drop")
        return attempt + 1, count + jnp.sum(accepted, dtype=jnp.int32), samples

    samples = jax.lax.while_loop(short, more, (jnp.int32(0), jnp.int32(0), jnp.zeros(size, jnp.int32)))[2]
    drowned = jax.lax.cond(
        unknown, lambda: jax.random.bits(key, (size,), jnp.uint32), lambda: jnp.zeros(size, jnp.uint32)
    )
    return samples + jax.lax.bitcast_convert_type(drowned, jnp.int32)


def _proposed(
    key: Key[Array, ""], size: int, shift: Array, excess: Excess
) -> tuple[Int[Array, "size"], Bool[Array, "size"]]:
    """Discrete Laplace numbers of scale 2 ** shift, before their low bits' share of the weight, and who is accepted."""
    counter = jnp.arange(size, dtype=jnp.uint32)
    words = jax.random.key_data(key)
    bits, geometric = threefry(words, jnp.zeros_like(counter), counter)
    high, low = threefry(words, jnp.ones_like(counter), counter)
    scale = jnp.left_shift(jnp.uint32(1), shift).astype(jnp.float32)
    negative = (bits >> jnp.uint32(31)) == 1
    rest = (bits & (jnp.left_shift(jnp.uint32(1), shift) - 1)).astype(jnp.float32)
    multiples = jnp.floor(-jnp.log((geometric.astype(jnp.float32) + 0.5) * 2.0**-32))
    magnitude = rest + scale * multiples
    # 64 bits: chances of 1e-9 are still met to float32's relative precision.
    uniform = high.astype(jnp.float32) * 2.0**-32 + low.astype(jnp.float32) * 2.0**-64
    accepted = uniform < jnp.exp(-(rest / scale + excess(magnitude, scale)))
    number = magnitude.astype(jnp.int32)
    # Zero has one sign, or it would count twice.
    return jnp.where(negative, -number, number), accepted & ~(negative & (number == 0))


def _large_log_weights(magnitude: Float[Array, "size"], variance: Float[Array, ""]) -> Float[Array, "size"]:
    """log of I_k(v) / I_0(v) at v ≥ 64 by Debye's expansion, in which nothing large cancels."""
    order, v = magnitude, jnp.maximum(variance, _SMALL_VARIANCE)
    root = jnp.hypot(order, v)
    exponent = order * order / (root + v) - order * jnp.arcsinh(order / v)

    def correction(root: Array, share: Array) -> Array:
        """log(1 + u₁ + u₂) with share = (order / root)²."""
        first = (3 - 5 * share) / (24 * root)
        return jnp.log1p(first + (81 - 462 * share + 385 * share * share) / (1152 * root * root))

    share = jnp.square(order / root)
    return exponent - jnp.log(root / v) / 2 + correction(root, share) - correction(v, jnp.zeros((), v.dtype))


def _small_log_weights(variance: Float[Array, ""]) -> Float[Array, "orders"]:
    """log of I_k(v) / I_0(v) at v ≤ 64 for k below 320, from the ratios of neighbours, by their stable recurrence."""
    v = jnp.maximum(variance, 1e-20)

    def ratio(next_ratio: Array, order: Array) -> tuple[Array, Array]:
        # I_k / I_(k-1), from I_(k+1) / I_k.
        here = v / (2 * order + v * next_ratio)
        return here, here

    orders = jnp.arange(1, _TABLE, dtype=jnp.float32)
    _, ratios = jax.lax.scan(ratio, jnp.zeros((), v.dtype), orders, reverse=True)
    return jnp.concatenate([jnp.zeros(1, v.dtype), jnp.cumsum(jnp.log(ratios))])


DRAWS = {"discrete_gaussian": discrete_gaussian, "skellam": skellam}
"""Kind → how a client draws its share; ``dpjax.accounting.distributed.KINDS`` has what a sum of them is worth."""
