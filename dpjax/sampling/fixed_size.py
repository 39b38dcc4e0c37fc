"""Fixed-size sampling: a random subset without replacement, drawn afresh in each step."""

from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Int, Key, PyTree

from dpjax.accounting.samplings import FixedSize, Sampling
from dpjax.sampling.sampler import OneSizeSampler, SamplingInfo, check_walk, gather, of_one_size
from dpjax.types import Cohort


@dataclass(frozen=True)
class FixedSizeSampler(OneSizeSampler):
    """Every cohort is a random subset; see ``fixed_size_sampler``."""

    accounted_as: ClassVar[type[Sampling]] = FixedSize

    def draw(
        self, key: Key[Array, ""], step: int | Int[Array, ""], units: PyTree[ArrayLike]
    ) -> tuple[Cohort, SamplingInfo]:
        return fixed_size_cohort(jax.random.fold_in(key, step), units, size=self.capacity)


def fixed_size_sampler(population: int, cohort_size: int) -> FixedSizeSampler:
    """Every cohort is a uniformly random subset of ``cohort_size`` units, without replacement.

    Far dearer than Poisson sampling at the same rate: its neighbours share no coupling that hides the change.

    Formal guarantees: amplification by sampling, as ``accounting.FixedSize`` proves it under every neighbouring
    relation for independent noise, if who was drawn stays secret; no cohort overflows.

    Args:
      population: number of units, ≥ 1.
      cohort_size: units in a cohort, from 1 to ``population``.

    Returns:
      The sampler; see ``poisson_sampler``.

    Raises:
      ValueError: an argument out of range, named.

    Example:
      >>> fixed_size_sampler(100, 20).sampling_rate
      0.2

    References:
      Wang, Balle & Kasiviswanathan, Subsampled Rényi DP, 2019 (https://arxiv.org/abs/1808.00087).
    """
    return of_one_size(FixedSizeSampler, population, cohort_size)


def fixed_size_cohort(key: Key[Array, ""], units: PyTree[ArrayLike], *, size: int) -> tuple[Cohort, SamplingInfo]:
    """A uniformly random subset of ``size`` units, without replacement.

    Formal guarantees: who is drawn follows from ``key`` and the number of units, never from what they hold.

    Args:
      key: key of this draw.
      units: pytree, leaves ``[population, ...]``.
      size: units in the cohort, from 1 to the population.

    Returns:
      The cohort, leaves ``[size, ...]``, every slot filled; and its ``SamplingInfo``.

    Raises:
      ValueError: ``size`` out of range.
      TypeError: no key.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> cohort, _ = fixed_size_cohort(jax.random.key(0), jnp.arange(5), size=5)
      >>> print(sorted(cohort.units.tolist()))
      [0, 1, 2, 3, 4]
    """
    population = check_walk(key, units, size)
    index = jax.random.permutation(key, population)[:size]
    return gather(units, index, jnp.ones(size, bool)), SamplingInfo(jnp.int32(size), jnp.bool_(False))
