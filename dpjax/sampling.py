"""Cohorts of fixed shape, and the samplers that draw them: what runs is what is accounted."""

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float, Int, Key, PyTree

from dpjax.accounting.overflow import most_overflow
from dpjax.checks import instance, is_traced, number, whole_number
from dpjax.types import Cohort, check_key, leading_size


class SamplingInfo(NamedTuple):
    """What a draw reports. Private: it depends on which units are there.

    Attributes:
      cohort_size: filled slots.
      overflowed: True if the draw held more units than there are slots; the last ones were dropped.
    """

    cohort_size: Int[Array, ""]
    overflowed: Bool[Array, ""]


@dataclass(frozen=True)
class Sampler:
    """How cohorts are drawn. Static (it fixes shapes) and readable by the accountant.

    Make one with ``poisson_sampler``, ``fixed_size_sampler``, ``shuffled_sampler`` or ``cyclic_sampler``; draw with
    ``draw_cohort``; account with ``Mechanism.from_sampler``.

    Attributes:
      kind: ``"poisson"``, ``"fixed_size"``, ``"shuffled"`` or ``"cyclic"``.
      population: number of units.
      sampling_rate: chance of a unit to be in a cohort (``"shuffled"``, ``"cyclic"``: the population's share in one).
      capacity: slots of a cohort.
      overflow_probability: bound on the chance that any cohort of the run overflows its capacity.
      num_steps: cohorts that this bound speaks for; None where none can overflow.
      abort_probability: bound on the chance that any step of the run is aborted, by ``accounting.abort_probability``;
        None: no step can be. Set it by ``dataclasses.replace``; ``Mechanism.from_sampler`` reads it.
    """

    kind: str
    population: int
    sampling_rate: float
    capacity: int
    overflow_probability: float = 0.0
    num_steps: int | None = None
    abort_probability: float | None = None

    @property
    def expected_cohort_size(self) -> float:
        """Public divisor of the noised sum: sampling_rate × population."""
        return self.sampling_rate * self.population


def check_sampler(sampler: object) -> None:
    """Refuse what is no sampler, such as its name.

    Raises:
      TypeError: it is none.
    """
    instance("sampler", sampler, Sampler, fix="make one, such as poisson_sampler(population, rate, num_steps=...)")


def poisson_sampler(
    population: int,
    sampling_rate: float,
    *,
    num_steps: int,
    epsilon: float = 10.0,
    delta: float = 1e-5,
    capacity: int | None = None,
    multiple_of: int = 1,
) -> Sampler:
    """Every unit enters every cohort independently with chance ``sampling_rate``.

    The capacity is the smallest for which the chance β of any overflow in the whole run obeys
    β(1 + e^ε) ≤ δ/1000, by the exact binomial tail; the accountant takes that δ/1000 off.

    Args:
      population: number of units, ≥ 1.
      sampling_rate: in (0, 1].
      num_steps: cohorts drawn in the run.
      epsilon: largest ε the run is to support; one value for a whole sweep keeps one shape.
      delta: smallest δ the run is to support.
      capacity: slots, if you must fix them; β is computed for it.
      multiple_of: round the capacity up to a multiple, such as the microbatch size.

    Raises:
      ValueError: an argument out of range, named.

    Example:
      >>> poisson_sampler(60_000, 256 / 60_000, num_steps=14_063, delta=1e-5).capacity
      400

    References:
      Ponomareva et al., How to DP-fy ML, 2023, section 5 (https://arxiv.org/abs/2303.00654);
      Chua et al., Scalable DP-SGD, 2024 (https://arxiv.org/abs/2411.04205).
    """
    population = whole_number("population", population, fix=_COUNT_UNITS)
    sampling_rate = number("sampling_rate", sampling_rate, above=0, most=1, fix="use cohort size / population")
    num_steps = whole_number("num_steps", num_steps, fix="give the steps of the run")
    delta = number("delta", delta, above=0, below=1, fix="below 1/population is customary")
    epsilon = number("epsilon", epsilon, above=0, finite=False, fix="give the largest that the run is to support")
    multiple_of = whole_number("multiple_of", multiple_of, fix="leave it out to round to none")
    if capacity is not None:
        capacity = whole_number("capacity", capacity, fix="leave it out to have enough slots")
    else:
        capacity = _poisson_capacity(population, sampling_rate, most_overflow(epsilon, delta) / num_steps)
        capacity = -(-capacity // multiple_of) * multiple_of
    beta = min(1.0, num_steps * _binomial_tail(capacity, population, sampling_rate))
    return Sampler("poisson", population, sampling_rate, capacity, beta, num_steps)


def fixed_size_sampler(population: int, cohort_size: int) -> Sampler:
    """Every cohort is a uniformly random subset of ``cohort_size`` units, without replacement.

    Far dearer than Poisson sampling at the same rate: its neighbours share no coupling that hides the change.

    Example:
      >>> fixed_size_sampler(100, 20).sampling_rate
      0.2

    References:
      Wang, Balle & Kasiviswanathan, Subsampled Rényi DP, 2019 (https://arxiv.org/abs/1808.00087).
    """
    return _of_one_size("fixed_size", population, cohort_size)


def shuffled_sampler(population: int, cohort_size: int) -> Sampler:
    """Cohorts walk through a fresh random order of the population each epoch; the last one may be short.

    The usual data loader. No amplification by sampling is claimed for it: the accountant charges one
    full Gaussian mechanism per epoch.

    Example:
      >>> shuffled_sampler(100, 30).capacity
      30

    References:
      Chua et al., How Private are DP-SGD Implementations?, 2024 (https://arxiv.org/abs/2403.17673).
    """
    return _of_one_size("shuffled", population, cohort_size)


def cyclic_sampler(population: int, cohort_size: int) -> Sampler:
    """Cohorts walk through ONE random order of the population, again and again; a cycle's last one may be short.

    A unit's participations are exactly ⌈population / cohort_size⌉ steps apart, which is what correlated noise asks for:
    ``Participation.from_sampler`` states it. No amplification by sampling is claimed.

    Example:
      >>> from dpjax.accounting import Participation
      >>> Participation.from_sampler(cyclic_sampler(100, 30), num_steps=10)
      Participation(num_steps=10, max_participations=3, min_separation=4)

    References:
      Kairouz et al., Practical and Private (Deep) Learning without Sampling or Shuffling, 2021
      (https://arxiv.org/abs/2103.00039).
    """
    return _of_one_size("cyclic", population, cohort_size)


def draw_cohort(
    sampler: Sampler, key: Key[Array, ""], step: int | Int[Array, ""], units: PyTree[ArrayLike]
) -> tuple[Cohort, SamplingInfo]:
    """The cohort of one step, drawn on the device.

    Args:
      sampler: how to draw.
      key: the sampling key of the whole run; steps differ by ``step``.
      step: scalar int, from 0.
      units: pytree of the whole population, leaves ``[population, ...]``.

    Raises:
      ValueError: ``units`` does not hold ``sampler.population`` units.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> cohort, info = draw_cohort(fixed_size_sampler(10, 3), jax.random.key(0), 0, jnp.arange(10))
      >>> print(cohort.units.shape, info.cohort_size)
      (3,) 3
    """
    check_sampler(sampler)
    check_key("key", key)
    _check_step(step)
    population = leading_size("units", units, "population")
    if population != sampler.population:
        raise ValueError(f"units hold {population} units but sampler.population={sampler.population}; make them equal.")
    if sampler.kind == "poisson":
        step_key = jax.random.fold_in(key, step)
        return poisson_cohort(step_key, units, sampler.sampling_rate, capacity=sampler.capacity)
    if sampler.kind == "fixed_size":
        return fixed_size_cohort(jax.random.fold_in(key, step), units, size=sampler.capacity)
    walk = cyclic_cohort if sampler.kind == "cyclic" else shuffled_cohort
    return walk(key, units, step, size=sampler.capacity)


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

    Example:
      >>> import jax, jax.numpy as jnp
      >>> cohort, info = poisson_cohort(jax.random.key(1), jnp.arange(1000), 0.01, capacity=40)
      >>> print(cohort.mask.sum() == info.cohort_size, info.overflowed)
      True False
    """
    check_key("key", key)
    population = leading_size("units", units, "population")
    capacity = whole_number("capacity", capacity, fix="poisson_sampler tells how many slots are enough")
    sampling_rate = number("sampling_rate", sampling_rate, above=0, most=1, fix="use cohort size / population")
    bits = jax.random.bits(key, (capacity + 1, 2), jnp.uint32)  # a larger capacity draws the same units
    with jax.enable_x64(True):  # float32 cannot tell small gaps apart at small rates
        high, low = bits.astype(jnp.float64).T
        uniform = (high + (low + 0.5) * 2.0**-32) * 2.0**-32
        failures = jnp.log(uniform) / jnp.log1p(-jnp.asarray(sampling_rate).astype(jnp.float64))
        gaps = jnp.fmin(jnp.floor(failures), population) + 1.0  # of a rate out of range past all units
        position = jnp.minimum(jnp.cumsum(gaps) - 1.0, population).astype(jnp.int32)
    chosen = position < population
    cohort = _gather(units, position[:capacity], chosen[:capacity])
    return cohort, SamplingInfo(jnp.sum(cohort.mask, dtype=jnp.int32), chosen[capacity])


def fixed_size_cohort(key: Key[Array, ""], units: PyTree[ArrayLike], *, size: int) -> tuple[Cohort, SamplingInfo]:
    """A uniformly random subset of ``size`` units, without replacement.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> cohort, _ = fixed_size_cohort(jax.random.key(0), jnp.arange(5), size=5)
      >>> print(sorted(cohort.units.tolist()))
      [0, 1, 2, 3, 4]
    """
    population = _check_walk(key, units, size)
    index = jax.random.permutation(key, population)[:size]
    return _gather(units, index, jnp.ones(size, bool)), SamplingInfo(jnp.int32(size), jnp.bool_(False))


def shuffled_cohort(
    key: Key[Array, ""], units: PyTree[ArrayLike], step: int | Int[Array, ""], *, size: int
) -> tuple[Cohort, SamplingInfo]:
    """The cohort of ``step`` in a walk that visits every unit once per epoch, reshuffled each epoch.

    Sorting the population anew each step costs O(population log population).

    Example:
      >>> import jax, jax.numpy as jnp
      >>> parts = [shuffled_cohort(jax.random.key(0), jnp.arange(5), t, size=2)[0] for t in range(3)]
      >>> sorted(x for part in parts for x in part.units[part.mask].tolist())
      [0, 1, 2, 3, 4]
    """
    population = _check_walk(key, units, size)
    _check_step(step)
    steps_per_epoch = -(-population // size)
    epoch, part = jnp.asarray(step) // steps_per_epoch, jnp.asarray(step) % steps_per_epoch
    order = jax.random.permutation(jax.random.fold_in(key, epoch), population)
    position = part * size + jnp.arange(size)
    cohort = _gather(units, order[jnp.minimum(position, population - 1)], position < population)
    return cohort, SamplingInfo(jnp.sum(cohort.mask, dtype=jnp.int32), jnp.bool_(False))


def cyclic_cohort(
    key: Key[Array, ""], units: PyTree[ArrayLike], step: int | Int[Array, ""], *, size: int
) -> tuple[Cohort, SamplingInfo]:
    """The cohort of ``step`` in a walk that visits every unit once per cycle, in one random order for the whole run.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> first, again = (cyclic_cohort(jax.random.key(0), jnp.arange(5), t, size=2)[0] for t in (1, 4))
      >>> print((first.units == again.units).all())
      True
    """
    population = _check_walk(key, units, size)
    _check_step(step)
    return shuffled_cohort(key, units, jnp.asarray(step) % -(-population // size), size=size)


def _gather(units: PyTree[ArrayLike], index: Int[Array, "slots"], mask: Bool[Array, "slots"]) -> Cohort:
    return Cohort(jax.tree.map(lambda x: jnp.asarray(x)[jnp.where(mask, index, 0)], units), mask)


def _poisson_capacity(population: int, sampling_rate: float, allowed: float) -> int:
    low, high = 0, population
    while low < high:
        middle = (low + high) // 2
        low, high = (
            (low, middle) if _binomial_tail(middle, population, sampling_rate) <= allowed else (middle + 1, high)
        )
    return max(low, 1)


def _binomial_tail(capacity: int, population: int, sampling_rate: float) -> float:
    """P(Binomial(population, sampling_rate) > capacity)."""
    from scipy.special import bdtrc  # scipy takes a while to import

    return 0.0 if capacity >= population else float(bdtrc(capacity, population, sampling_rate))


def _check_step(step: int | Int[Array, ""]) -> None:
    if not is_traced(step):
        whole_number("step", step, least=0, fix="count the steps of the run from 0")


def _check_walk(key: Key[Array, ""], units: PyTree[ArrayLike], size: int) -> int:
    """The population, of which no cohort can have more."""
    check_key("key", key)
    population = leading_size("units", units, "population")
    whole_number("size", size, most=population, fix="it is the units of a cohort")
    return population


def _of_one_size(kind: str, population: int, cohort_size: int) -> Sampler:
    population = whole_number("population", population, fix=_COUNT_UNITS)
    what = f"it is how many of the population of {population} units"
    cohort_size = whole_number("cohort_size", cohort_size, most=population, fix=what)
    return Sampler(kind, population, cohort_size / population, cohort_size)


_COUNT_UNITS = "give the number of units"
