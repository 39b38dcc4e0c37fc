"""Who there is to draw from: the units of a run, how much each weighs, and what each remembers."""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key, PyTree

from dpjax.buckets import Buckets
from dpjax.checks import brief
from dpjax.sampling import Sampler, SamplingInfo, draw_cohort
from dpjax.stored_units import StoredUnits
from dpjax.types import ClippedSum, Cohort, Params, PerUnit, Stateful, leading_size


class Population(NamedTuple):
    """Who there is: what ``make_train`` takes where the units are not all.

    Formal guarantees: no weight raises the sensitivity, as contributions are clipped and then scaled by p_k / max p.
    Weights decide what the sum is divided by, so they must not depend on private data.

    Attributes:
      units: pytree (NumPy or JAX), leaves ``[population, ...]``; with ``examples`` it is ``Records``, or ``Buckets`` of
        them. Or ``StoredUnits``, which stay on disk.
      examples: the data set that ``Records`` point into, leaves ``[rows, ...]``; None: units hold their own data.
      weights: ``[population]`` public p_k ≥ 0 that sum to 1, of the objective Σ p_k F_k; None: all equal.

    Example:
      >>> population = Population(jnp.arange(4), weights=[0.4, 0.2, 0.2, 0.2])
      >>> population.examples is None
      True
    """

    units: Any
    examples: Any = None
    weights: Any = None


class WeightedUnits(NamedTuple):
    """The units of a run, and what the weights come to in its sums.

    Attributes:
      units: pytree, leaves ``[population, ...]``, or ``Buckets``, or ``StoredUnits``.
      factors: ``[population]`` in [0, 1], what a unit's clipped contribution is scaled by; None: all by 1.
      expected_size: what the noised sum is divided by; the expected cohort size if all weigh the same.
    """

    units: PyTree[Array] | StoredUnits
    factors: Float[Array, "population"] | None
    expected_size: float


def weigh_units(population: Population, sampler: Sampler) -> WeightedUnits:
    """Units with the weights p_k of the objective Σ p_k F_k.

    The factors are p_k / max p, so that no unit moves the sum by more than the clip norm, and the noised sum is
    divided by sampling rate / max p: an unbiased estimate of Σ p_k Δ_k.

    Args:
      population: its units, and its weights or None.
      sampler: of the run.

    Raises:
      TypeError: units or weights that are no arrays.
      ValueError: units of the wrong number, or weights of the wrong length, negative, not finite, or that don't sum to
        1.

    Example:
      >>> from dpjax import fixed_size_sampler
      >>> weighted = weigh_units(Population(jnp.arange(4), weights=[0.4, 0.2, 0.2, 0.2]), fixed_size_sampler(4, 2))
      >>> print(weighted.factors, weighted.expected_size)
      [1.  0.5 0.5 0.5] 1.25
    """
    units, weights = population.units, population.weights
    if _is_stream(units):
        raise TypeError(
            f"units={brief(units)} is a stream, which gives its rows in its own order and can't be drawn from as ε "
            "needs it: any row, at any step, by chance; write it to an Arrow file and give arrow_units(path)."
        )
    if isinstance(units, StoredUnits):
        size = units.size
    elif isinstance(units, Buckets):
        size = sum(leading_size("units", table, "units of a bucket") for table in units.tables)
    else:
        size = leading_size("units", units, "population")
    if size != sampler.population:
        raise ValueError(f"units hold {size} units but sampler.population={sampler.population}; make them equal.")
    if not isinstance(units, StoredUnits):
        units = jax.tree.map(jnp.asarray, units)
    if weights is None:
        return WeightedUnits(units, None, sampler.expected_cohort_size)
    try:
        given = np.asarray(weights, np.float64)
    except (TypeError, ValueError):
        raise TypeError(f"weights={brief(weights)} must be numbers; give one p_k for each unit.") from None
    if given.shape != (sampler.population,):
        raise ValueError(
            f"weights have shape {given.shape}, but the population has {sampler.population} units; give one p_k each."
        )
    if not (np.isfinite(given).all() and given.min() >= 0):
        raise ValueError(f"weights hold {given.min()}; every p_k must be finite and ≥ 0.")
    if abs(given.sum() - 1) > 1e-6:
        raise ValueError(f"weights sum to {given.sum():.6g}, but p_k must sum to 1; divide them by their sum.")
    largest = given.max()
    return WeightedUnits(units, jnp.asarray(given / largest, jnp.float32), sampler.sampling_rate / largest)


def _is_stream(units: Any) -> bool:
    """Whether rows come one after the other, as of a generator or of ``datasets`` with ``streaming=True``."""
    return isinstance(units, Iterable) and not hasattr(units, "__len__") and not hasattr(units, "shape")


def remember(init_state: Callable[[Params], PyTree[Array]] | None, params: Params, size: int) -> PyTree[Array]:
    """Every unit's state before the first round, leaves ``[population, ...]``; ``()`` if units remember nothing.

    Raises:
      ValueError: a ``PerUnit`` state of another number of units.
    """
    if init_state is None:
        return ()
    state = init_state(params)
    if isinstance(state, PerUnit):
        lengths = {jnp.shape(x)[0] for x in jax.tree.leaves(state.value)}
        if lengths != {size}:
            found = ", ".join(map(str, sorted(lengths)))
            raise ValueError(
                f"init_unit_state gives states for {found} units, but the population has {size}; give one each."
            )
        return jax.tree.map(jnp.asarray, state.value)
    return jax.tree.map(lambda x: jnp.broadcast_to(x, (size, *jnp.shape(x))), state)


def draw(
    weighted: WeightedUnits, sampler: Sampler, key: Key[Array, ""], step: Int[Array, ""], states: PyTree[Array]
) -> tuple[Cohort, Int[Array, "slots"], SamplingInfo]:
    """One step's cohort, with weights and states, and the numbers of its units."""
    numbers = jnp.arange(sampler.population, dtype=jnp.int32)
    units = numbers if isinstance(weighted.units, Buckets | StoredUnits) else weighted.units
    drawn, info = draw_cohort(sampler, key, step, (numbers, units))
    index, units = drawn.units
    if isinstance(weighted.units, StoredUnits):
        ahead, _ = draw_cohort(sampler, key, step + 1, numbers)
        units = weighted.units.cohort(index, drawn.mask, ahead.units, ahead.mask).units
    if jax.tree.leaves(states):
        units = Stateful(units, jax.tree.map(lambda x: x[index], states))
    factors = None if weighted.factors is None else weighted.factors[index]
    return Cohort(units, drawn.mask, factors), index, info


def take_home(states: PyTree[Array], index: Int[Array, "slots"], clipped: ClippedSum) -> PyTree[Array]:
    """The states after a step: new for units whose contribution was accepted, as they were for all others."""
    if not jax.tree.leaves(states):
        return states
    if clipped.unit_states is None:
        raise ValueError(
            "the contribution hands no unit_state over, though units have states; return (vector, "
            "dpjax.Reported(metrics, unit_state=new_state)), which takes the place of metrics['unit_state']."
        )
    size = jax.tree.leaves(states)[0].shape[0]
    home = jnp.where(accepted_by(clipped), index, size)  # rejected and empty slots write nowhere
    return jax.tree.map(
        lambda old, new: old.at[home].set(new.astype(old.dtype), mode="drop"), states, clipped.unit_states
    )


def accepted_by(clipped: ClippedSum) -> Bool[Array, "slots"]:
    """Whose contribution is in the sum; ValueError where the sum does not say."""
    if clipped.accepted is None:
        raise ValueError(
            "the sum does not say whose contribution it holds (ClippedSum.accepted), which this needs; make it from "
            "clipped_sum, or set accepted."
        )
    return clipped.accepted
