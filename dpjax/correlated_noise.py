"""Privatizers whose noise is correlated over the steps, so that in the sum of the steps much of it cancels."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, ArrayLike, Float, Int, Key, PyTree

from dpjax.accounting.factorization import Factorization
from dpjax.noise import GaussianState, gaussian_privatizer
from dpjax.types import at_least_float32


class CorrelatedState(NamedTuple):
    """State of ``correlated_privatizer``: everything a checkpoint needs to go on. Keep it to yourself: it is noise.

    Attributes:
      key: the noise key.
      step: scalar; updates done.
      past: pytree like what is noised, leaves ``[slots, ...]``: earlier noise of standard deviation order 1.
    """

    key: Key[Array, ""]
    step: Int[Array, ""]
    past: PyTree[Array]


def correlated_privatizer(
    stddev: PyTree[ArrayLike], key: Key[Array, ""], factorization: Factorization
) -> optax.GradientTransformation:
    """Adds Gaussian noise that is correlated over the steps; used in place of ``gaussian_privatizer``.

    With C the factorization's encoder scaled to sensitivity 1 and Z independent noise of deviation ``stddev``, step t
    gets row t of C⁻¹ Z, computed as a stream. Slots of memory, each the size of what is noised: ``bands - 1`` for a
    Toeplitz factorization, ``buffers`` for a buffered one, ``num_steps.bit_length()`` for a tree.

    Formal guarantees: on ``ClippedSum.total`` with ``stddev = noise_stddev(noise_multiplier, clip_norm)``, ALL updates
    together are one Gaussian mechanism with that noise multiplier, if no unit takes part more often or more densely
    than ``factorization.participation`` says; ``Mechanism(..., factorization=factorization)`` checks that against the
    sampler. The sums may depend on earlier updates. ``stddev`` may move with the clip norm, which may depend on earlier
    updates, but the noise multiplier must be that of all steps. Rows are counted by updates: a step that releases
    nothing, such as an aborted round, must be updated and kept too, or participations move closer together. Past
    ``num_steps`` nothing is accounted for: those updates are NaN. Floating-point Gaussian samples stand in for real
    ones, as in every library of the field.

    Args:
      stddev: scalar ≥ 0, traced or not, in the units of the sum; see ``noise_stddev``. The sensitivity of C is NOT part
        of it. Or a pytree of them that is a prefix of what is noised, as in ``gaussian_privatizer``.
      key: the noise key. Use it nowhere else.
      factorization: such as ``banded_toeplitz(participation, bands)``.

    Returns:
      An ``optax.GradientTransformation`` with the state ``CorrelatedState``; its update needs no parameters, and gives
      float32 for leaves that are narrower.

    Raises:
      ValueError: a concrete negative or non-finite ``stddev``.
      TypeError: no key, an old-style key array, or a number in its place.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from dpjax.accounting import Participation, banded_toeplitz
      >>> once = Participation(num_steps=8, max_participations=1, min_separation=8)
      >>> privatizer = correlated_privatizer(1.0, jax.random.key(0), banded_toeplitz(once, 4))
      >>> state, total = privatizer.init(jnp.zeros(10_000)), 0.0
      >>> for _ in range(8):
      ...     noisy, state = privatizer.update(jnp.zeros(10_000), state)
      ...     total += noisy
      >>> print(f"{noisy.std():.1f} a step, {total.std():.1f} in the sum of 8, where independent noise has 2.8")
      1.4 a step, 1.9 in the sum of 8, where independent noise has 2.8

    References:
      Denisov et al. 2022 (https://arxiv.org/abs/2202.08312); Choquette-Choo et al. 2023
      (https://arxiv.org/abs/2306.08153); Dvijotham et al. 2024 (https://arxiv.org/abs/2404.16706).
    """
    gaussian_privatizer(stddev, key)  # the same checks
    num_steps, sensitivity = factorization.participation.num_steps, factorization.sensitivity
    advance = {"toeplitz": _banded, "buffered": _buffered, "tree": _tree}[factorization.kind]
    slots = {
        "toeplitz": factorization.bands - 1,
        "buffered": len(factorization.buffers),
        "tree": num_steps.bit_length(),
    }[factorization.kind]

    def init(params: PyTree[Array]) -> CorrelatedState:
        def empty(leaf: Array) -> Array:
            return jnp.zeros((slots, *leaf.shape), at_least_float32(leaf.dtype))

        return CorrelatedState(key, jnp.int32(0), jax.tree.map(empty, params))

    def update(updates: PyTree[Array], state: optax.OptState, params: PyTree[Array] | None = None):
        del params
        assert isinstance(state, CorrelatedState)
        shapes = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, at_least_float32(leaf.dtype)), updates)
        noise, past = advance(factorization, state, shapes)
        accounted = jnp.where(state.step < num_steps, sensitivity, jnp.nan)

        def add(leaf: Array, scale: ArrayLike, noise: Array) -> Array:
            return leaf.astype(noise.dtype) + (jnp.asarray(scale) * accounted).astype(noise.dtype) * noise

        noisy = jax.tree.map(add, updates, jax.tree.broadcast(stddev, updates), noise)
        return noisy, CorrelatedState(state.key, state.step + 1, past)

    return optax.GradientTransformation(init, update)


_Advanced = tuple[PyTree[Array], PyTree[Array]]
"""This step's noise, of deviation order 1 and before the sensitivity, and what to remember."""


def _fresh(key: Key[Array, ""], step: Int[Array, ""], shapes: PyTree[Array]) -> PyTree[Array]:
    """Independent standard normal noise of one step: what ``gaussian_privatizer`` would add."""
    return gaussian_privatizer(1.0, key).update(shapes, GaussianState(key, step))[0]


def _banded(factorization: Factorization, state: CorrelatedState, shapes: PyTree[Array]) -> _Advanced:
    """C y = Z row by row: y_t = (Z_t - Σ c_i y_(t-i)) / c_0, with y_(t-i) in slot (t - i) mod (bands - 1)."""
    column, slots = factorization.column, factorization.bands - 1
    noise = jax.tree.map(lambda z: z / column[0].item(), _fresh(state.key, state.step, shapes))
    if slots == 0:
        return noise, state.past
    age = (state.step - 1 - jnp.arange(slots, dtype=state.step.dtype)) % slots + 1
    weights = jnp.asarray(column / column[0])[age]
    noise = jax.tree.map(lambda z, past: z - _weighted_sum(weights, past), noise, state.past)
    return noise, jax.tree.map(lambda past, y: past.at[state.step % slots].set(y), state.past, noise)


def _buffered(factorization: Factorization, state: CorrelatedState, shapes: PyTree[Array]) -> _Advanced:
    """The same for c_i = Σ_j w_j d_j^(i-1): Σ c_i y_(t-i) = Σ_j w_j B_j with B_j ← d_j B_j + y_t."""
    weights, decays = jnp.asarray(factorization.buffers).T
    noise = jax.tree.map(
        lambda z, past: z - _weighted_sum(weights, past), _fresh(state.key, state.step, shapes), state.past
    )

    def decayed(past: Array, y: Array) -> Array:
        return decays.astype(past.dtype).reshape(-1, *[1] * y.ndim) * past + y[None]

    return noise, jax.tree.map(decayed, state.past, noise)


def _tree(factorization: Factorization, state: CorrelatedState, shapes: PyTree[Array]) -> _Advanced:
    """What the prefix sum's noise grows by when step t closes nodes of heights 0 to the zeros at the end of t + 1.

    Slot h holds the noise of the estimate of the open node's left half at height h. An estimate weighs the node's own
    noise with the sum of its halves' estimates, by their inverse variances.
    """
    heights = factorization.participation.num_steps.bit_length()
    variance = 1 / (2 - 0.5 ** np.arange(heights))
    weights = jnp.asarray([variance, np.append(0.0, variance[1:] / (2 * variance[:-1]))])
    leaf_key, node_key = jax.random.split(state.key)
    closed = jax.lax.population_count(state.step & ~(state.step + 1))

    def close(height: Int[Array, ""], carry: tuple[PyTree[Array], PyTree[Array]]):
        right, gone = carry
        left = jax.tree.map(lambda past: past[height - 1], state.past)
        node = _fresh(jax.random.fold_in(node_key, height), state.step, shapes)

        def estimate(node: Array, left: Array, right: Array) -> Array:
            weight, halves = weights[:, height].astype(node.dtype)
            return weight * node + halves * (left + right)

        return jax.tree.map(estimate, node, left, right), jax.tree.map(jnp.add, gone, left)

    start = _fresh(leaf_key, state.step, shapes), shapes
    estimate, gone = jax.lax.fori_loop(1, closed + 1, close, start)
    past = jax.tree.map(lambda past, new: past.at[closed].set(new), state.past, estimate)
    return jax.tree.map(jnp.subtract, estimate, gone), past


def _weighted_sum(weights: Float[Array, "slots"], past: Float[Array, "slots *shape"]) -> Float[Array, "*shape"]:
    # Not left to a device's default precision: C y must be Z, or the noise is not what is accounted.
    return jnp.tensordot(weights.astype(past.dtype), past, axes=1, precision=jax.lax.Precision.HIGHEST)
