"""Balls in bins: in each epoch every unit falls into one of its steps, in a fixed number of slots."""

from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Int, Key, PyTree

from dpjax.accounting.samplings import BallsInBins, Sampling
from dpjax.checks import whole_number
from dpjax.ranges import NUM_STEPS
from dpjax.sampling.capacity import capacity_for
from dpjax.sampling.sampler import COUNT_UNITS, BinomialSampler, Drawn, Sampler, SamplingInfo, check_step, gather
from dpjax.types import check_key, leading_size


@dataclass(frozen=True)
class BallsInBinsSampler(BinomialSampler):
    """In each epoch every unit is in exactly one cohort; see ``balls_in_bins_sampler``."""

    accounted_as: ClassVar[type[Sampling]] = BallsInBins

    @classmethod
    def at_rate(
        cls, population: int, sampling_rate: float, *, num_steps: int, epsilon: float = 10.0, delta: float = 1e-5
    ) -> Sampler:
        bins = max(1, round(1 / sampling_rate))
        return balls_in_bins_sampler(population, bins, num_steps=num_steps, epsilon=epsilon, delta=delta)

    def draw(self, key: Key[Array, ""], step: int | Int[Array, ""], units: PyTree[ArrayLike]) -> Drawn:
        bins = round(1 / self.sampling_rate)
        return balls_in_bins_cohort(key, units, step, num_bins=bins, capacity=self.capacity)


def balls_in_bins_sampler(
    population: int,
    num_bins: int,
    *,
    num_steps: int,
    epsilon: float = 10.0,
    delta: float = 1e-5,
    capacity: int | None = None,
    multiple_of: int = 1,
) -> BallsInBinsSampler:
    """Every unit falls into one of ``num_bins`` cohorts, chosen uniformly and afresh in each epoch, by its own coin.

    Formal guarantees: as of a shuffled walk, every unit is seen once an epoch; unlike there, who else takes part says
    nothing of a unit, so that ``"add_or_remove_one"`` is accounted for. No amplification by sampling is claimed: ε is
    that of one Gaussian mechanism per epoch begun. Cohorts have binomial sizes, in slots as of ``poisson_sampler``.

    Args:
      population: number of units, ≥ 1.
      num_bins: steps of an epoch, ≥ 1; the sampling rate is 1 / num_bins.
      num_steps: cohorts drawn in the run.
      epsilon, delta, capacity, multiple_of: see ``poisson_sampler``.

    Returns:
      The sampler; see ``poisson_sampler``.

    Raises:
      ValueError: an argument out of range, named.

    Example:
      >>> sampler = balls_in_bins_sampler(1000, 20, num_steps=100)
      >>> sampler.expected_cohort_size, sampler.capacity
      (50.0, 111)

    References:
      Chua et al., Balls-and-Bins Sampling for DP-SGD, 2025 (https://arxiv.org/abs/2412.16802).
    """
    population = whole_number("population", population, fix=COUNT_UNITS)
    num_bins = whole_number("num_bins", num_bins, fix="it counts the steps of an epoch")
    num_steps = NUM_STEPS.known("num_steps", num_steps)
    slots = capacity_for(
        population,
        1 / num_bins,
        num_steps=num_steps,
        epsilon=epsilon,
        delta=delta,
        capacity=capacity,
        multiple_of=multiple_of,
    )
    return BallsInBinsSampler(population, 1 / num_bins, slots, num_steps)


def balls_in_bins_cohort(
    key: Key[Array, ""], units: PyTree[ArrayLike], step: int | Int[Array, ""], *, num_bins: int, capacity: int
) -> Drawn:
    """The cohort of ``step``, where in each epoch every unit falls into one of ``num_bins`` cohorts.

    Formal guarantees: a unit's bin follows from ``key``, the epoch and its own position, so that no unit moves another.
    If more fall into a bin than there are slots, those with the highest positions are dropped and ``overflowed`` is
    True. Costs O(population) a step.

    Args:
      key: the sampling key of the whole run.
      units: pytree, leaves ``[population, ...]``.
      step: scalar int, from 0.
      num_bins: steps of an epoch.
      capacity: slots; ``balls_in_bins_sampler`` tells how many are enough.

    Returns:
      The cohort, units in their own order in its first slots, leaves ``[capacity, ...]``; and its ``SamplingInfo``.

    Raises:
      ValueError: a number out of range.
      TypeError: no key.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> draw = lambda t: balls_in_bins_cohort(jax.random.key(0), jnp.arange(5), t, num_bins=3, capacity=5)[0]
      >>> parts = [draw(t) for t in range(3)]
      >>> sorted(x for part in parts for x in part.units[part.mask].tolist())
      [0, 1, 2, 3, 4]
    """
    check_key("key", key)
    check_step(step)
    population = leading_size("units", units, "population")
    num_bins = whole_number("num_bins", num_bins, fix="it counts the steps of an epoch")
    capacity = whole_number("capacity", capacity, fix="balls_in_bins_sampler tells how many slots are enough")
    epoch, part = jnp.asarray(step) // num_bins, jnp.asarray(step) % num_bins
    coins = jax.vmap(jax.random.fold_in, in_axes=(None, 0))(jax.random.fold_in(key, epoch), jnp.arange(population))
    chosen = jax.vmap(lambda coin: jax.random.randint(coin, (), 0, num_bins))(coins) == part
    position = jnp.nonzero(chosen, size=capacity, fill_value=population)[0].astype(jnp.int32)
    cohort = gather(units, position, position < population)
    size = jnp.sum(cohort.mask, dtype=jnp.int32)
    return cohort, SamplingInfo(size, jnp.sum(chosen, dtype=jnp.int32) > capacity)
