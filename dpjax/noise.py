"""Privatizers: noise for a clipped sum, as optax transformations."""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, ArrayLike, Float, Int, Key, PyTree, ScalarLike

from dpjax.checks import brief, number
from dpjax.gaussian import add_normal
from dpjax.ranges import NOISE_MULTIPLIER
from dpjax.types import at_least_float32, check_key


class GaussianState(NamedTuple):
    """State of ``gaussian_privatizer``: everything a checkpoint needs to go on with fresh noise. Keep it to yourself.

    Attributes:
      key: the noise key of the whole run.
      step: scalar; updates done.
    """

    key: Key[Array, ""]
    step: Int[Array, ""]


def noise_stddev(noise_multiplier: ScalarLike, clip_norm: ScalarLike) -> Float[Array, ""]:
    """``noise_multiplier × clip_norm``: the standard deviation of the noise on a clipped SUM, never on a mean.

    Formal guarantees: a sum that one unit moves by at most ``clip_norm`` in L2, with Gaussian noise of this deviation
    on each coordinate, is what ``Mechanism`` calls ``noise_multiplier``; what moves it by more, as a unit that is
    replaced does by up to twice that, is for the accountant to charge. What is out of range never gives less noise:
    where it is traced it gives NaN, and so is all that is noised with it.

    Args:
      noise_multiplier: scalar ≥ 0, traced or not; noise standard deviation / clip norm.
      clip_norm: scalar ≥ 0, traced or not, in the units of the sum; inf, clipping being off, goes with a multiplier of
        0 only.

    Returns:
      float32 scalar in the units of the sum; 0 without noise, also where clipping is off; infinite or NaN for traced
      noise without a clip norm.

    Raises:
      ValueError: a concrete multiplier or clip norm out of range, or noise on a sum without a clip norm.

    Example:
      >>> print(noise_stddev(1.5, 0.2), noise_stddev(0.0, float("inf")))
      0.3 0.0
    """
    z = NOISE_MULTIPLIER.number("noise_multiplier", noise_multiplier)
    norm = number("clip_norm", clip_norm, least=0, finite=False, fix="use inf to turn clipping off")
    if isinstance(z, float) and isinstance(norm, float) and z > 0 and math.isinf(norm):
        raise ValueError(
            f"clip_norm=inf with noise_multiplier={z:g}: no noise hides an unbounded unit; give a finite clip_norm, or "
            "noise_multiplier=0."
        )
    multiplier, bound = jnp.asarray(z, jnp.float32), jnp.asarray(norm, jnp.float32)
    return jnp.where(multiplier == 0, 0.0, multiplier * bound)


def _check_floating(leaves: list[Any]) -> None:
    for leaf in leaves:
        if not (hasattr(leaf, "dtype") and jnp.issubdtype(leaf.dtype, jnp.floating)):
            raise TypeError(
                f"updates hold {brief(leaf)}, which is no array of floats, and noise is for those; leave it out of the "
                "sum, or make it one with jnp.asarray(x, jnp.float32)."
            )


def gaussian_privatizer(stddev: PyTree[ArrayLike], key: Key[Array, ""]) -> optax.GradientTransformation:
    """Adds independent Gaussian noise to every coordinate, fresh at every step.

    Formal guarantees: on a ``ClippedSum.total`` with ``stddev = noise_stddev(noise_multiplier, clip_norm)`` each
    update is one Gaussian mechanism with that noise multiplier. The noise of step t depends on ``key`` and t only.
    Floating-point Gaussian samples stand in for real ones, as in every library of the field.

    Args:
      stddev: scalar ≥ 0, traced or not, in the units of the sum; see ``noise_stddev``. Or a pytree of them that is a
        prefix of what is noised, for parts that are released together. It may differ from step to step: the state does
        not depend on it, so a privatizer made anew with the same key goes on where another left off.
      key: the noise key. Use it nowhere else: not for sampling, not for initialisation.

    Returns:
      An ``optax.GradientTransformation`` with the state ``GaussianState``; its update needs no parameters, and gives
      float32 for leaves that are narrower.

    Raises:
      ValueError: a concrete negative or non-finite ``stddev``; a traced one gives NaN.
      TypeError: no key, an old-style key array, or a number in its place; from its update, a leaf of what is noised
        that is no array of floats.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> privatizer = gaussian_privatizer(2.0, jax.random.key(0))
      >>> total = jnp.zeros(10_000)
      >>> noisy, state = privatizer.update(total, privatizer.init(total))
      >>> print(round(float(noisy.std()), 1), state.step)
      2.0 1

    References:
      Dwork & Roth, The Algorithmic Foundations of Differential Privacy, 2014, appendix A.
    """
    if not jax.tree.leaves(stddev):
        raise ValueError(f"stddev={stddev} holds no number; compute it with noise_stddev.")
    stddev = jax.tree.map(lambda x: number("stddev", x, least=0, fix="compute it with noise_stddev"), stddev)
    check_key("key", key)

    def init(params: PyTree[Array]) -> GaussianState:
        del params
        return GaussianState(key, jnp.int32(0))

    def update(updates: PyTree[Array], state: optax.OptState, params: PyTree[Array] | None = None):
        del params
        assert isinstance(state, GaussianState)
        step_key = jax.random.fold_in(state.key, state.step)
        leaves, structure = jax.tree.flatten(updates)
        _check_floating(leaves)
        stddevs = jax.tree.leaves(jax.tree.broadcast(stddev, updates))
        widths = [at_least_float32(leaf.dtype) for leaf in leaves]  # bfloat16 noise is too coarse to account for
        wide = [leaf.astype(width) for leaf, width in zip(leaves, widths, strict=True)]
        scales = [jnp.asarray(s).astype(width) for s, width in zip(stddevs, widths, strict=True)]
        noisy = add_normal(step_key, wide, scales)
        return structure.unflatten(noisy), GaussianState(state.key, state.step + 1)

    return optax.GradientTransformation(init, update)
