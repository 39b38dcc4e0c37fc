"""Walks through all units, cohort by cohort: in a fresh order each epoch, or in one order for the whole run."""

from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Int, Key, PyTree

from dpjax.accounting.samplings import Cyclic, Sampling, Shuffled
from dpjax.sampling.sampler import OneSizeSampler, SamplingInfo, check_step, check_walk, gather, of_one_size
from dpjax.types import Cohort


@dataclass(frozen=True)
class ShuffledSampler(OneSizeSampler):
    """Cohorts walk through a fresh order of the population each epoch; see ``shuffled_sampler``."""

    accounted_as: ClassVar[type[Sampling]] = Shuffled

    def draw(
        self, key: Key[Array, ""], step: int | Int[Array, ""], units: PyTree[ArrayLike]
    ) -> tuple[Cohort, SamplingInfo]:
        return shuffled_cohort(key, units, step, size=self.capacity)


@dataclass(frozen=True)
class CyclicSampler(OneSizeSampler):
    """Cohorts walk through one order of the population, again and again; see ``cyclic_sampler``."""

    accounted_as: ClassVar[type[Sampling]] = Cyclic

    def draw(
        self, key: Key[Array, ""], step: int | Int[Array, ""], units: PyTree[ArrayLike]
    ) -> tuple[Cohort, SamplingInfo]:
        return cyclic_cohort(key, units, step, size=self.capacity)


def shuffled_sampler(population: int, cohort_size: int) -> ShuffledSampler:
    """Cohorts walk through a fresh random order of the population each epoch; the last one may be short.

    The usual data loader.

    Formal guarantees: every unit is in exactly one cohort an epoch. No amplification by sampling is claimed: ε is that
    of one full Gaussian mechanism per epoch begun, under zero-out and replace-one. A unit that joins moves the others
    between cohorts, so that nothing is claimed under add-or-remove-one.

    Args:
      population: number of units, ≥ 1.
      cohort_size: units in a cohort, from 1 to ``population``.

    Returns:
      The sampler; see ``poisson_sampler``.

    Raises:
      ValueError: an argument out of range, named.

    Example:
      >>> shuffled_sampler(100, 30).capacity
      30

    References:
      Chua et al., How Private are DP-SGD Implementations?, 2024 (https://arxiv.org/abs/2403.17673).
    """
    return of_one_size(ShuffledSampler, population, cohort_size)


def cyclic_sampler(population: int, cohort_size: int) -> CyclicSampler:
    """Cohorts walk through ONE random order of the population, again and again; a cycle's last one may be short.

    Formal guarantees: those of ``shuffled_sampler``; besides, a unit's participations are exactly ⌈population /
    cohort_size⌉ steps apart, which is what correlated noise asks for: ``Participation.from_sampler`` states it.

    Args:
      population, cohort_size: see ``shuffled_sampler``.

    Returns:
      The sampler; see ``poisson_sampler``.

    Raises:
      ValueError: an argument out of range, named.

    Example:
      >>> from dpjax.accounting import Participation
      >>> Participation.from_sampler(cyclic_sampler(100, 30), num_steps=10)
      Participation(num_steps=10, max_participations=3, min_separation=4)

    References:
      Kairouz et al., Practical and Private (Deep) Learning without Sampling or Shuffling, 2021
      (https://arxiv.org/abs/2103.00039).
    """
    return of_one_size(CyclicSampler, population, cohort_size)


def shuffled_cohort(
    key: Key[Array, ""], units: PyTree[ArrayLike], step: int | Int[Array, ""], *, size: int
) -> tuple[Cohort, SamplingInfo]:
    """The cohort of ``step`` in a walk that visits every unit once per epoch, reshuffled each epoch.

    Sorting the population anew each step costs O(population log population).

    Formal guarantees: the order of an epoch follows from ``key``, the epoch and the number of units, never from what
    they hold.

    Args:
      key: the sampling key of the whole run, the same in every step.
      units: pytree, leaves ``[population, ...]``.
      step: scalar int, from 0, traced or not.
      size: units in a cohort, from 1 to the population; the last of an epoch has what is left.

    Returns:
      The cohort, leaves ``[size, ...]``; and its ``SamplingInfo``.

    Raises:
      ValueError: ``size`` or a concrete ``step`` out of range.
      TypeError: no key.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> parts = [shuffled_cohort(jax.random.key(0), jnp.arange(5), t, size=2)[0] for t in range(3)]
      >>> sorted(x for part in parts for x in part.units[part.mask].tolist())
      [0, 1, 2, 3, 4]
    """
    population = check_walk(key, units, size)
    check_step(step)
    steps_per_epoch = -(-population // size)
    epoch, part = jnp.asarray(step) // steps_per_epoch, jnp.asarray(step) % steps_per_epoch
    return _part_of(jax.random.fold_in(key, epoch), units, part, population, size)


def cyclic_cohort(
    key: Key[Array, ""], units: PyTree[ArrayLike], step: int | Int[Array, ""], *, size: int
) -> tuple[Cohort, SamplingInfo]:
    """The cohort of ``step`` in a walk that visits every unit once per cycle, in one random order for the whole run.

    Formal guarantees: that order follows from ``key`` and the number of units, never from what they hold.

    Args:
      key, units, step, size: see ``shuffled_cohort``, whose first epoch is the cycle.

    Returns:
      The cohort, leaves ``[size, ...]``; and its ``SamplingInfo``.

    Raises:
      ValueError, TypeError: as ``shuffled_cohort``.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> first, again = (cyclic_cohort(jax.random.key(0), jnp.arange(5), t, size=2)[0] for t in (1, 4))
      >>> print((first.units == again.units).all())
      True
    """
    population = check_walk(key, units, size)
    check_step(step)
    # The order must not be computed from the step: so a loop over steps sorts once, and not in each.
    return _part_of(jax.random.fold_in(key, 0), units, jnp.asarray(step) % -(-population // size), population, size)


def _part_of(
    key: Key[Array, ""], units: PyTree[ArrayLike], part: Int[Array, ""], population: int, size: int
) -> tuple[Cohort, SamplingInfo]:
    """The cohort of that number in the walk whose order the key gives."""
    order = jax.random.permutation(key, population)
    position = part * size + jnp.arange(size)
    cohort = gather(units, order[jnp.minimum(position, population - 1)], position < population)
    return cohort, SamplingInfo(jnp.sum(cohort.mask, dtype=jnp.int32), jnp.bool_(False))
