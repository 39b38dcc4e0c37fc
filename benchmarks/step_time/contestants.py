"""The ways to take a step in JAX. Each makes ``step(params, frozen, units, key, stddev, rate)`` for a work."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, PyTree

from benchmarks.step_time.works import Work
from dpjax import Cohort, clipped_sum, example_gradient
from dpjax.clipping import ENGINES
from dpjax.noise import gaussian_privatizer

Step = Callable[
    [PyTree[Array], PyTree[Array], PyTree[Array], Key[Array, ""], Float[Array, ""], Float[Array, ""]], PyTree[Array]
]
Mean = Callable[[PyTree[Array], PyTree[Array], Key[Array, ""], Float[Array, ""]], PyTree[Array]]
CLIP_NORM = 1.0


class Variant(NamedTuple):
    """One setting of a contestant: which of the work's losses, and how many examples at once."""

    loss: str
    microbatch: int | None

    def __str__(self) -> str:
        size = "its own choice" if self.microbatch is None else str(self.microbatch)
        return size if self.loss == "plain" else f"{size}, {self.loss}"


class Contestant(NamedTuple):
    """A way to take a step.

    Attributes:
      make: ``make(work, variant)`` gives the mean gradient of a batch, not yet jitted.
      variants: the settings to pick the fastest of.
      private: it clips every example's gradient.
    """

    make: Callable[[Work, Variant], Mean]
    variants: Callable[[Work], list[Variant]]
    private: bool

    def step(self, work: Work, variant: Variant) -> Step:
        """Gradient and SGD update, as the Opacus side takes them too."""

        def step(params: Any, frozen: Any, units: Any, key: Any, stddev: Any, rate: Any) -> Any:
            mean = self.make(work.bound(frozen), variant)
            gradient = mean(params, units, key, stddev)
            return jax.tree.map(lambda p, g: (p - rate * g).astype(p.dtype), params, gradient)

        return step


def finish(total: PyTree[Array], key: Key[Array, ""], stddev: Float[Array, ""] | None, batch: int) -> PyTree[Array]:
    """A sum of gradients, noised if asked, as a mean."""
    if stddev is not None:
        privatizer = gaussian_privatizer(stddev, key)
        total, _ = privatizer.update(total, privatizer.init(total))
    return jax.tree.map(lambda x: x / batch, total)


def _ordinary(noise: bool) -> Callable[[Work, Variant], Mean]:
    def make(work: Work, variant: Variant) -> Mean:
        loss, size = work.losses[variant.loss], variant.microbatch or work.batch

        def mean(params: Any, units: Any, key: Any, stddev: Any) -> Any:
            def total(params: Any, part: Any) -> Array:
                return jnp.sum(jax.vmap(loss, (None, 0, None))(params, part, key))

            def add(carry: Any, part: Any) -> tuple[Any, None]:
                return jax.tree.map(jnp.add, carry, jax.grad(total)(params, part)), None

            if size >= work.batch:
                gradient = jax.grad(total)(params, units)
            else:
                parts = jax.tree.map(lambda x: x.reshape(-1, size, *x.shape[1:]), units)
                gradient, _ = jax.lax.scan(add, jax.tree.map(jnp.zeros_like, params), parts)
            return finish(gradient, key, stddev if noise else None, work.batch)

        return mean

    return make


def _dpjax(engine: str, noise: bool = True) -> Callable[[Work, Variant], Mean]:
    def make(work: Work, variant: Variant) -> Mean:
        contribution = example_gradient(work.losses[variant.loss])
        clipped = clipped_sum(contribution, engine=engine, microbatch_size=variant.microbatch)

        def mean(params: Any, units: Any, key: Any, stddev: Any) -> Any:
            noise_key, loss_key = jax.random.split(key)
            total = clipped(params, Cohort(units, jnp.ones(work.batch, bool)), loss_key, CLIP_NORM).total
            return finish(total, noise_key, stddev if noise else None, work.batch)

        return mean

    return make


def _jax_privacy(work: Work, variant: Variant) -> Mean:
    from jax_privacy.clipping import clipped_grad
    from jax_privacy.noise_addition import gaussian_privatizer as its_privatizer

    loss = work.losses[variant.loss]
    size = None if variant.microbatch == work.batch else variant.microbatch

    def mean(params: Any, units: Any, key: Any, stddev: Any) -> Any:
        noise_key, loss_key = jax.random.split(key)
        clipped = clipped_grad(
            lambda params, example: loss(params, example, loss_key),  # no works draw: saves it a key per example
            l2_clip_norm=CLIP_NORM,
            keep_batch_dim=False,
            microbatch_size=size,
        )
        privatizer = its_privatizer(stddev=stddev, prng_key=noise_key)
        total, _ = privatizer.update(clipped(params, units), privatizer.init(params))
        return jax.tree.map(lambda x: x / work.batch, total)

    return mean


def _every(*losses: str) -> Callable[[Work], list[Variant]]:
    def variants(work: Work) -> list[Variant]:
        return [Variant(loss, size) for loss in losses if loss in work.losses for size in work.microbatches]

    return variants


def _own_choice(work: Work) -> list[Variant]:
    return [Variant("plain", None)]


def _engine(name: str) -> Contestant:
    sizeless = name in ("auto", "materialize")  # the one chooses, the other takes the whole batch
    return Contestant(_dpjax(name), _own_choice if sizeless else _every("plain"), private=True)


CONTESTANTS: dict[str, Contestant] = {
    "ordinary": Contestant(_ordinary(noise=False), _every("plain", "im2col"), private=False),
    "ordinary+noise": Contestant(_ordinary(noise=True), _every("plain", "im2col"), private=False),
    **{name: _engine(name) for name in ("auto", *ENGINES)},
    "jax_privacy": Contestant(_jax_privacy, _every("plain"), private=True),
    "jax_privacy im2col": Contestant(_jax_privacy, _every("im2col"), private=True),
}
"""Name → contestant. The floors may use the faster of two ways to write a model; the others get the user's own, but
for ``jax_privacy im2col``, which shows what rewriting the model by hand would bring."""
CLIPPED = Contestant(_dpjax("auto", noise=False), _own_choice, private=True)
"""``auto`` without noise: what clipping alone adds to an ordinary step's memory and compile time."""
