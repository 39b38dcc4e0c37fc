"""The drop-in for ``jax.grad``, for people who hold a training loop of their own."""

import inspect
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, PyTree, ScalarLike

from dpjax.checks import function, number
from dpjax.clipping import ClippingRule, clipped_sum
from dpjax.contributions import example_gradient
from dpjax.noise import gaussian_privatizer, noise_stddev
from dpjax.ranges import CLIP_NORM, NOISE_MULTIPLIER
from dpjax.renamed import called_elsewhere
from dpjax.types import Cohort, Params, check_key, leading_size


@called_elsewhere(
    max_grad_norm="clip_norm=...",
    l2_norm_clip="clip_norm=...",
    l2_clip_norm="clip_norm=...",
    batch_size="expected_batch_size=sampling rate * data set size",
    lot_size="expected_batch_size=sampling rate * data set size",
    num_microbatches="microbatch_size=..., for memory alone, as every example is clipped by itself,",
)
def private_grad(
    loss_fn: Callable[..., PyTree[Array]],
    *,
    clip_norm: float | Float[Array, ""],
    noise_multiplier: ScalarLike,
    expected_batch_size: ScalarLike,
    rule: ClippingRule | None = None,
    engine: str = "auto",
    microbatch_size: int | None = None,
) -> Callable[..., Params]:
    """A drop-in for ``jax.grad`` on a batch: the clipped, summed, noised gradient divided by the expected batch size.

    For people who hold a training loop of their own. From tf-privacy: ``l2_norm_clip`` is ``clip_norm``. From Opacus:
    ``max_grad_norm`` is ``clip_norm``, and ``noise_multiplier`` and ``expected_batch_size`` are the same.

    Formal guarantees: one Gaussian mechanism with ``noise_multiplier`` on the batch it is given. Amplification by
    sampling holds only if the batch was drawn by the sampler you account for: ``dpjax.poisson_cohort`` draws one.

    Args:
      loss_fn: ``loss_fn(params, example)`` or ``loss_fn(params, example, key)`` → scalar loss (or loss and
        metrics) of ONE example.
      clip_norm: bound on one example's gradient, scalar > 0.
      noise_multiplier: noise standard deviation / ``clip_norm``, scalar ≥ 0.
      expected_batch_size: sampling rate × data set size: a public number, not the length of this batch.
      rule: see ``clipped_sum``.
      engine: see ``clipped_sum``.
      microbatch_size: see ``clipped_sum``.

    Returns:
      ``grad(params, batch, key, mask=None) -> gradient``: ``batch`` is a pytree with leaves ``[batch, ...]``, ``mask``
      ``[batch]`` is False on padding, ``key`` must be fresh at every call.

    Raises:
      ValueError: an argument out of range.
      TypeError: a loss of a batch, or of other arguments; another library's name of an argument; from ``grad``, no key.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> grad = private_grad(lambda w, x: (w - x) ** 2, clip_norm=1.0, noise_multiplier=0.0, expected_batch_size=2)
      >>> print(grad(jnp.float32(0), jnp.array([0.25, 9.0]), jax.random.key(0)))
      -0.75
    """
    size_fix = "it is sampling rate × data set size"
    divisor = number("expected_batch_size", expected_batch_size, above=0, fix=size_fix)
    multiplier = NOISE_MULTIPLIER.number("noise_multiplier", noise_multiplier)
    CLIP_NORM.number("clip_norm", clip_norm)
    function("loss_fn", loss_fn, fix="give loss_fn(params, example) or loss_fn(params, example, key)")
    takes_key = len(inspect.signature(loss_fn).parameters) > 2
    keyed = loss_fn if takes_key else lambda params, example, key: loss_fn(params, example)
    bounded_sum = clipped_sum(example_gradient(keyed), rule=rule, engine=engine, microbatch_size=microbatch_size)

    def grad(params: Params, batch: PyTree[Array], key: Key[Array, ""], mask: Array | None = None) -> Params:
        check_key("key", key)
        size = leading_size("batch", batch, "batch")
        cohort = Cohort(batch, jnp.ones(size, bool) if mask is None else mask)
        noise_key, loss_key = jax.random.split(key)
        clipped = bounded_sum(params, cohort, loss_key, clip_norm)
        privatizer = gaussian_privatizer(noise_stddev(multiplier, clipped.clip_norm), noise_key)
        noised, _ = privatizer.update(clipped.total, privatizer.init(params))
        return jax.tree.map(lambda x, p: (x / divisor).astype(p.dtype), noised, params)

    return grad
