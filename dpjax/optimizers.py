"""What helps an optimizer under noise: Adam that knows how much of the second moment is noise, and schedules."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, ArrayLike, Float, Int

from dpjax.checks import number, one_of
from dpjax.ranges import FLOOR, MOMENT_DECAY, NUM_STEPS, WARMUP_STEPS
from dpjax.types import Params, at_least_float32

DECAYS = ("none", "linear", "cosine")


class CorrectedAdamState(NamedTuple):
    """State of ``scale_by_corrected_adam``.

    Attributes:
      step: scalar; updates seen.
      first: pytree like the parameters, in at least float32; moving average of the noised gradients.
      second: the same of their squares.
    """

    step: Int[Array, ""]
    first: Params
    second: Params


def scale_by_corrected_adam(
    noise_stddev: ArrayLike, *, b1: float = 0.9, b2: float = 0.999, floor: float = 1e-8
) -> optax.GradientTransformation:
    """Adam's direction with the noise's share taken out of the second moment (DP-AdamBC).

    The mean of squares of a noised gradient is that of the gradient plus the noise's variance. Where noise dominates,
    plain Adam divides by the noise and so becomes SGD with momentum; here the divisor is
    ``sqrt(max(v̂ − noise_stddev², floor))``.

    Formal guarantees: it sees noised gradients and a public number only, so it is post-processing.

    Args:
      noise_stddev: standard deviation of the noise in one coordinate of what it is given: noise multiplier × clip
        norm / expected cohort size. Traced or not; 0 gives Adam with ``floor`` under the root.
      b1, b2: decays of the averages.
      floor: least second moment; larger is steadier.

    Returns:
      An ``optax.GradientTransformation``, to be followed by the learning rate.

    Raises:
      ValueError: a concrete number out of range; a traced ``noise_stddev`` below 0 gives NaN.

    Example:
      >>> corrected = scale_by_corrected_adam(0.5, floor=1e-2)
      >>> gradient = jnp.full(2, 0.5)  # all of its square is noise
      >>> update, _ = corrected.update(gradient, corrected.init(gradient))
      >>> print(jnp.round(update, 3))
      [5. 5.]

    References:
      Tang, Shpilevskiy and Lécuyer, DP-AdamBC: Your DP-Adam Is Actually DP-SGD (Unless You Apply Bias Correction), 2023
      (https://arxiv.org/abs/2312.14334).
    """
    noise_stddev = number("noise_stddev", noise_stddev, least=0, fix="it is of one coordinate of the noised mean")
    b1, b2 = (MOMENT_DECAY.known(name, b) for name, b in (("b1", b1), ("b2", b2)))
    floor = FLOOR.known("floor", floor)

    def init(params: Params) -> CorrectedAdamState:
        zeros = jax.tree.map(lambda p: jnp.zeros(p.shape, at_least_float32(p.dtype)), params)
        return CorrectedAdamState(jnp.zeros((), jnp.int32), zeros, zeros)

    def update(
        updates: Params, state: CorrectedAdamState, params: Params | None = None
    ) -> tuple[Params, CorrectedAdamState]:
        del params
        step = state.step + 1
        first = jax.tree.map(lambda m, g: b1 * m + (1 - b1) * g.astype(m.dtype), state.first, updates)
        second = jax.tree.map(lambda v, g: b2 * v + (1 - b2) * jnp.square(g.astype(v.dtype)), state.second, updates)
        steps = step.astype(jnp.float32)

        def direction(m: Array, v: Array) -> Array:
            noise = jnp.square(jnp.asarray(noise_stddev, v.dtype))
            signal = v / (1 - b2**steps).astype(v.dtype) - noise
            return m / (1 - b1**steps).astype(m.dtype) / jnp.sqrt(jnp.maximum(signal, floor))

        return jax.tree.map(direction, first, second), CorrectedAdamState(step, first, second)

    return optax.GradientTransformation(init, update)  # pyright: ignore[reportArgumentType]


def warmed_up(
    peak: ArrayLike, *, warmup_steps: int, num_steps: int, decay: str = "none"
) -> Callable[[ArrayLike], Float[Array, ""]]:
    """A learning rate that rises in a line and then stays, falls in a line, or falls as a cosine.

    Formal guarantees: it reads the number of the step and nothing else, so it costs no privacy.

    Args:
      peak: learning rate at the end of the rise, traced or not.
      warmup_steps: steps of the rise; 0: none.
      num_steps: steps of the run; a decay ends at 0 after them.
      decay: ``"none"``, ``"linear"`` or ``"cosine"``.

    Returns:
      step (from 0) → learning rate, as optax takes it.

    Raises:
      ValueError: an unknown decay, or a rise that is longer than the run.

    Example:
      >>> rate = warmed_up(1.0, warmup_steps=2, num_steps=6, decay="linear")
      >>> print([round(float(rate(step)), 2) for step in range(6)])
      [0.5, 1.0, 1.0, 0.75, 0.5, 0.25]
    """
    one_of("decay", decay, DECAYS)
    num_steps = NUM_STEPS.known("num_steps", num_steps)
    warmup_steps = WARMUP_STEPS._replace(most=num_steps).known("warmup_steps", warmup_steps)

    def rate(step: ArrayLike) -> Float[Array, ""]:
        at = jnp.asarray(step, jnp.float32)
        rise = jnp.minimum((at + 1) / warmup_steps, 1.0) if warmup_steps else jnp.float32(1)
        left = jnp.clip((num_steps - at) / max(num_steps - warmup_steps, 1), 0.0, 1.0)
        fall = {"none": jnp.float32(1), "linear": left, "cosine": 0.5 - 0.5 * jnp.cos(jnp.pi * left)}[decay]
        return jnp.asarray(peak, jnp.float32) * rise * fall

    return rate
