"""Sums that decide a norm: added up in few enough steps that their rounding stays far below the stated 1e-6."""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

_LONG = 2**15
"""Terms above which XLA splits a sum over several axes by itself, if few of them lie along short axes."""

_WINDOW = 32
"""XLA adds up windows of as many terms along an axis, then the windows; a shorter axis one term after the other."""


def sum_rows(terms: Float[Array, "slots ..."]) -> Float[Array, "slots"]:
    """The sum of each slot's terms.

    One after the other in float32, equal terms round alike: 32 × 32 of them are off by 1.5e-5 of their sum, so that
    the unit whose squares they are leaves with 1 + 7e-6 clip norms. XLA splits a sum along ONE axis into windows, which
    bounds that, but not one over several short axes; these are made one first, behind a barrier, as XLA takes a reshape
    before a sum away. Worst of 70 shapes of equal terms, 40 values each, by jaxlib 0.12 on a CPU: 4.3e-7 of the norm.
    """
    terms = _one_axis(terms)
    return jnp.sum(terms, axis=tuple(range(1, terms.ndim)))


def sum_squares(stack: Float[Array, "slots ..."]) -> Float[Array, "slots"]:
    """The squared L2 norm of each slot's numbers."""
    stack = _one_axis(stack)  # the numbers and not their squares, which need not be stored
    return jnp.sum(jnp.square(stack), axis=tuple(range(1, stack.ndim)))


def _one_axis(x: Float[Array, "slots ..."]) -> Float[Array, "slots ..."]:
    size = math.prod(x.shape[1:])
    short = math.prod(length for length in x.shape[1:] if length <= _WINDOW)
    if x.ndim <= 2 or size <= _WINDOW or (size > _LONG and short <= _WINDOW):
        return x
    return jax.lax.optimization_barrier(x.reshape(x.shape[0], -1))


def add_up(terms: Sequence[Float[Array, "slots"]]) -> Float[Array, "slots"]:
    """The sum of a list, in pairs: of 200 leaves, each is in 8 additions."""
    while len(terms) > 1:
        pairs = [a + b for a, b in zip(terms[::2], terms[1::2], strict=False)]
        terms = pairs + ([terms[-1]] if len(terms) % 2 else [])
    return terms[0]
