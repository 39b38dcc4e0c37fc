"""Parameter averaging: an exponential moving average as an optax transformation."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.core import Tracer
from jaxtyping import Array, Float, Int, PyTree

from dpjax.ranges import AVERAGE_DECAY
from dpjax.types import Params, at_least_float32


class ParameterEmaState(NamedTuple):
    """State of ``parameter_ema``.

    Attributes:
      average: pytree like the parameters, in at least float32.
      weight: scalar; total weight of the updates in the average, in units of the latest one's. Not used in a warm-up.
      step: scalar; updates seen.
    """

    average: Params
    weight: Float[Array, ""]
    step: Int[Array, ""]


def parameter_ema(decay: float | Float[Array, ""], *, warm_up: bool = True) -> optax.GradientTransformation:
    """Keeps an exponential moving average of the parameters as they are AFTER each update. Put it last in a chain.

    ``average ← d · average + (1 − d) · parameters`` at every update. Updates pass through unchanged, so training is not
    affected; the average is what to evaluate, and it is often markedly better under DP, where each iterate carries the
    noise of the last steps. Read it with ``averaged_params``; ``Evaluation(..., params=averaged_params)``
    evaluates it.

    Formal guarantees: what it computes from is the noised updates only, so it is post-processing and costs no privacy.

    Args:
      decay: scalar in [0, 1], traced or not; the average spans about 1 / (1 − decay) steps. 0 is the latest parameters.
      warm_up: if True, ``d = min(decay, (1 + t) / (10 + t))`` at the t-th update (from 0), as De et al. do, so that the
        initial parameters are soon forgotten. If False, d is ``decay`` with Adam's correction of the bias: the average
        of all updates with weights ``decayᵏ``, which is the plain mean for ``decay=1``.

    Returns:
      An ``optax.GradientTransformation``; ``update`` needs ``params``. It jits, scans and vmaps over ``decay``.

    Raises:
      ValueError: a concrete ``decay`` outside [0, 1]; at ``update``, no ``params``.

    Example:
      >>> import jax.numpy as jnp, optax
      >>> optimizer = optax.chain(optax.sgd(1.0), parameter_ema(1.0, warm_up=False))
      >>> params = jnp.float32(0.0)
      >>> state = optimizer.init(params)
      >>> for gradient in (-1.0, -1.0, -1.0):
      ...     updates, state = optimizer.update(jnp.float32(gradient), state, params)
      ...     params = optax.apply_updates(params, updates)
      >>> print(params, averaged_params(state))
      3.0 2.0

    References:
      De et al., Unlocking High-Accuracy DP Image Classification through Scale, 2022 (https://arxiv.org/abs/2204.13650);
      Polyak & Juditsky, Acceleration of Stochastic Approximation by Averaging, 1992 (https://doi.org/10.1137/0330046).
    """
    if not isinstance(decay, Tracer):
        decay = AVERAGE_DECAY.number("decay", decay)

    def init(params: Params) -> ParameterEmaState:
        average = jax.tree.map(lambda p: p.astype(at_least_float32(p.dtype)), params)
        return ParameterEmaState(average, jnp.float32(0), jnp.int32(0))

    def update(updates: PyTree[Array], state: optax.OptState, params: Params | None = None):
        assert isinstance(state, ParameterEmaState)
        if params is None:
            raise ValueError("parameter_ema needs the parameters; call optimizer.update(gradients, state, params).")
        t = state.step.astype(jnp.float32)
        d = jnp.asarray(decay, jnp.float32)
        weight = d * state.weight + 1
        rate = 1 - jnp.minimum(d, (1 + t) / (10 + t)) if warm_up else 1 / weight
        after = optax.apply_updates(params, updates)
        average = jax.tree.map(lambda a, p: a + rate.astype(a.dtype) * (p.astype(a.dtype) - a), state.average, after)
        return updates, ParameterEmaState(average, weight, state.step + 1)

    return optax.GradientTransformation(init, update)


def averaged_params(state: PyTree) -> Params:
    """The average that a ``parameter_ema`` keeps, wherever it sits in a state.

    Formal guarantees: an average of parameters that were released is post-processing and costs no privacy.

    Args:
      state: an optax state however nested (chains, schedules, masks), or a ``TrainState`` that holds one.

    Returns:
      Pytree like the parameters, in at least float32.

    Raises:
      ValueError: the state holds no ``parameter_ema``, or more than one.

    Example:
      >>> import jax.numpy as jnp, optax
      >>> state = optax.chain(optax.adam(0.1), parameter_ema(0.99)).init({"w": jnp.ones(2)})
      >>> print(averaged_params(state))
      {'w': Array([1., 1.], dtype=float32)}
    """
    averages = [
        x
        for x in jax.tree.leaves(state, is_leaf=lambda x: isinstance(x, ParameterEmaState))
        if isinstance(x, ParameterEmaState)
    ]
    if len(averages) != 1:
        raise ValueError(
            f"the state holds {len(averages)} averages where one is needed; put one parameter_ema(...) last in a chain."
        )
    return averages[0].average
