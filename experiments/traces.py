"""What the steps of a run say about its norms, thinned to what a results row holds. For diagnosis: NOT private."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import ArrayLike

from dpjax.stretches import History

_SHARE = 10  # a tenth of the steps is the start of a run, and a tenth its end


def norm_traces(
    history: History, noise_multiplier: ArrayLike, num_coordinates: int, evaluate_every: int
) -> dict[str, jax.Array]:
    """The columns ``eval_*`` of norms and ``norm_counts_*``.

    Args:
      history: of a run.
      noise_multiplier: of the noise on the sum; 0: none, so that there is no ratio to it.
      num_coordinates: of the sum.
      evaluate_every: steps between evaluations.

    Returns:
      Column → ``[evaluations]`` floats, nan where there is nothing to say, or ``[bins]`` counts.
    """
    steps = history.report
    num_steps, every = steps.clip_norm.shape[0], evaluate_every
    stretch = np.minimum(np.arange(num_steps) // every, -(-num_steps // every) - 1)
    lengths = np.bincount(stretch).astype(np.float32)

    def mean(values: jax.Array) -> jax.Array:
        return jax.ops.segment_sum(values, jnp.asarray(stretch), num_segments=len(lengths)) / lengths

    stddev = jnp.asarray(noise_multiplier, jnp.float32) * steps.clip_norm
    noise = jnp.where(stddev > 0, stddev, jnp.nan) * np.float32(np.sqrt(num_coordinates))
    tenth = max(1, num_steps // _SHARE)
    return {
        "eval_clip_norm": mean(steps.clip_norm),
        "eval_mean_norm": mean(steps.mean_norm),
        "eval_clipped_share": mean(steps.clipped_fraction),
        "eval_signal_to_noise": mean(steps.total_norm / noise),
        "norm_counts_first": jnp.sum(steps.norm_counts[:tenth], axis=0),
        "norm_counts_last": jnp.sum(steps.norm_counts[-tenth:], axis=0),
    }
