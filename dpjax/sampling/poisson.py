"""Poisson sampling: every unit by its own coin, in a fixed number of slots."""

from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Int, Key, PyTree

from dpjax.accounting.samplings import Poisson, Sampling
from dpjax.checks import whole_number
from dpjax.ranges import NUM_STEPS, SAMPLING_RATE
from dpjax.sampling.capacity import capacity_for
from dpjax.sampling.sampler import COUNT_UNITS, BinomialSampler, SamplingInfo, gather
from dpjax.types import Cohort, check_key, leading_size


@dataclass(frozen=True)
class PoissonSampler(BinomialSampler):
    """Every unit enters every cohort independently; see ``poisson_sampler``."""

    accounted_as: ClassVar[type[Sampling]] = Poisson

    @classmethod
    def at_rate(
        cls, population: int, sampling_rate: float, *, num_steps: int, epsilon: float = 10.0, delta: float = 1e-5
    ) -> "PoissonSampler":
        return poisson_sampler(population, sampling_rate, num_steps=num_steps, epsilon=epsilon, delta=delta)

    def draw(
        self, key: Key[Array, ""], step: int | Int[Array, ""], units: PyTree[ArrayLike]
    ) -> tuple[Cohort, SamplingInfo]:
        return poisson_cohort(jax.random.fold_in(key, step), units, self.sampling_rate, capacity=self.capacity)


def poisson_sampler(
    population: int,
    sampling_rate: float,
    *,
    num_steps: int,
    epsilon: float = 10.0,
    delta: float = 1e-5,
    capacity: int | None = None,
    multiple_of: int = 1,
) -> PoissonSampler:
    """Every unit enters every cohort independently with chance ``sampling_rate``.

    The capacity is the smallest for which the chance β of any overflow in the whole run obeys
    β(1 + e^ε) ≤ δ/1000, by the exact binomial tail; the accountant takes that δ/1000 off.

    Formal guarantees: amplification by sampling, as ``accounting.Poisson`` proves it under every neighbouring relation,
    if who was drawn stays secret. ``overflow_probability`` bounds β for ``num_steps`` steps, and ``epsilon`` is inf
    where it is too large for what is claimed, as it may be where ``capacity`` is given.

    Args:
      population: number of units, ≥ 1.
      sampling_rate: in (0, 1].
      num_steps: cohorts drawn in the run.
      epsilon: largest ε the run is to support; one value for a whole sweep keeps one shape.
      delta: smallest δ the run is to support.
      capacity: slots, if you must fix them; β is computed for it.
      multiple_of: round the capacity up to a multiple, such as the microbatch size.

    Returns:
      The sampler, for ``make_train``, ``draw_cohort`` and ``Mechanism.from_sampler``.

    Raises:
      ValueError: an argument out of range, named.

    Example:
      >>> poisson_sampler(60_000, 256 / 60_000, num_steps=14_063, delta=1e-5).capacity
      400

    References:
      Ponomareva et al., How to DP-fy ML, 2023, section 5 (https://arxiv.org/abs/2303.00654);
      Chua et al., Scalable DP-SGD, 2024 (https://arxiv.org/abs/2411.04205).
    """
    population = whole_number("population", population, fix=COUNT_UNITS)
    sampling_rate = SAMPLING_RATE.number("sampling_rate", sampling_rate)
    num_steps = NUM_STEPS.known("num_steps", num_steps)
    slots = capacity_for(
        population,
        sampling_rate,
        num_steps=num_steps,
        epsilon=epsilon,
        delta=delta,
        capacity=capacity,
        multiple_of=multiple_of,
    )
    return PoissonSampler(population, sampling_rate, slots, num_steps)


def poisson_cohort(
    key: Key[Array, ""], units: PyTree[ArrayLike], sampling_rate: float | Float[Array, ""], *, capacity: int
) -> tuple[Cohort, SamplingInfo]:
    """Each unit independently with chance ``sampling_rate``, in ``capacity`` slots, at O(capacity) cost.

    Formal guarantees: gaps between chosen units are geometric, by inversion of a 64-bit uniform in float64, so every
    inclusion rate is exact to a relative 1e-9 for rates ≥ 1e-6. If more units are chosen than there are slots, those
    with the highest positions are dropped and ``overflowed`` is True.

    Args:
      key: key of this draw.
      units: pytree, leaves ``[population, ...]``.
      sampling_rate: scalar in (0, 1], traced or not; a traced one that is outside draws nobody.
      capacity: slots; see ``poisson_sampler`` for how many are enough.

    Returns:
      The cohort, units in their own order in its first slots, leaves ``[capacity, ...]``; and its ``SamplingInfo``,
      which is private.

    Raises:
      ValueError: a rate or a capacity out of range.
      TypeError: no key.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> cohort, info = poisson_cohort(jax.random.key(1), jnp.arange(1000), 0.01, capacity=40)
      >>> print(cohort.mask.sum() == info.cohort_size, info.overflowed)
      True False
    """
    check_key("key", key)
    population = leading_size("units", units, "population")
    capacity = whole_number("capacity", capacity, fix="poisson_sampler tells how many slots are enough")
    sampling_rate = SAMPLING_RATE.number("sampling_rate", sampling_rate)
    bits = jax.random.bits(key, (capacity + 1, 2), jnp.uint32)  # a larger capacity draws the same units
    with jax.enable_x64(True):  # float32 cannot tell small gaps apart at small rates
        high, low = bits.astype(jnp.float64).T
        uniform = (high + (low + 0.5) * 2.0**-32) * 2.0**-32
        failures = jnp.log(uniform) / jnp.log1p(-jnp.asarray(sampling_rate).astype(jnp.float64))
        gaps = jnp.fmin(jnp.floor(failures), population) + 1.0  # of a rate out of range past all units
        position = jnp.minimum(jnp.cumsum(gaps) - 1.0, population).astype(jnp.int32)
    chosen = position < population
    cohort = gather(units, position[:capacity], chosen[:capacity])
    return cohort, SamplingInfo(jnp.sum(cohort.mask, dtype=jnp.int32), chosen[capacity])
