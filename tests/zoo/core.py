"""What a zoo entry is, and the few words that entries are written in."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key, PyTree

from dpjax import example_gradient
from dpjax.contribution import ContributionFn, LossFn
from dpjax.types import Params


class Entry(NamedTuple):
    """A small model on which every engine must agree.

    Attributes:
      name: unique in the zoo.
      make: ``make(key, dtype) -> (params, loss_fn, make_units)``, where ``make_units(key, n, dtype)`` draws n units.
      contribution: turns the loss into a contribution.
      tolerance: relative disagreement allowed beyond the dtype's own, for a loss that computes in bfloat16 itself.
    """

    name: str
    make: Callable[[Array, Any], tuple[Params, LossFn, Callable[[Array, int, Any], PyTree[Array]]]]
    contribution: Callable[[LossFn], ContributionFn] = example_gradient
    tolerance: float = 0.0


class Real(NamedTuple):
    """A standard normal array of one unit."""

    shape: tuple[int, ...] = ()


class Whole(NamedTuple):
    """Integers in [low, high) of one unit."""

    low: int
    high: int
    shape: tuple[int, ...] = ()


class Flags(NamedTuple):
    """Booleans of one unit."""

    shape: tuple[int, ...] = ()


def real(*shape: int) -> Real:
    return Real(shape)


def whole(low: int, high: int, *shape: int) -> Whole:
    return Whole(low, high, shape)


def flags(*shape: int) -> Flags:
    return Flags(shape)


ZOO: dict[str, Entry] = {}


def entry(shapes: Any, units: Any, *, name: str | None = None, **extra: Any):
    """Registers a loss: ``shapes`` is the params' pytree, a tuple for each leaf; ``units`` has Real, Whole, Flags."""

    def register(loss_fn: Callable[[Any, Any, Any], Any]):
        add(name or loss_fn.__name__, lambda key, dtype: (draw_params(key, shapes, dtype), loss_fn), units, **extra)
        return loss_fn

    return register


def add(name: str, make_model: Callable[[Array, Any], tuple[Params, LossFn]], units: Any, **extra: Any) -> None:
    """Registers a model whose parameters are drawn by ``make_model(key, dtype) -> (params, loss_fn)``."""

    def make(key: Key[Array, ""], dtype: Any):
        params, loss_fn = make_model(key, dtype)
        return params, relaxed(loss_fn), lambda key, n, dtype: draw_units(key, units, n, dtype)

    assert name not in ZOO, name
    ZOO[name] = Entry(name, make, **extra)


def relaxed(loss_fn: LossFn) -> LossFn:
    """People write ``x + bias``: a zoo loss may promote ranks, whatever the tests demand of dpjax itself."""

    def loss(params: Params, example: PyTree[Array], key: Key[Array, ""]):
        with jax.numpy_rank_promotion("allow"):
            return loss_fn(params, example, key)

    return loss


def draw_params(key: Key[Array, ""], shapes: Any, dtype: Any, scale: float = 0.6) -> Params:
    rng = _generator(key)
    return jax.tree.map(lambda s: _normal(rng, s, scale, dtype), shapes, is_leaf=_is_shape)


def draw_like(key: Key[Array, ""], like: Any, dtype: Any) -> Params:
    """Parameters for a library's model, of which only the shapes are known."""
    rng = _generator(key)
    return jax.tree.map(lambda x: _normal(rng, x.shape, 0.6, dtype), like)


def draw_units(key: Key[Array, ""], units: Any, n: int, dtype: Any) -> PyTree[Array]:
    rng = _generator(key)

    def draw(spec: Real | Whole | Flags) -> Array:
        if isinstance(spec, Flags):
            return jnp.asarray(rng.random((n, *spec.shape)) < 0.6)
        if isinstance(spec, Whole):
            return jnp.asarray(rng.integers(spec.low, spec.high, (n, *spec.shape)), jnp.int32)
        return _normal(rng, (n, *spec.shape), 1.0, dtype)

    return jax.tree.map(draw, units, is_leaf=lambda s: isinstance(s, Real | Whole | Flags))


def _generator(key: Key[Array, ""]) -> np.random.Generator:
    """NumPy draws: JAX would compile a program for every shape."""
    return np.random.default_rng(np.asarray(jax.random.key_data(key)))


def _normal(rng: np.random.Generator, shape: tuple[int, ...], scale: float, dtype: Any) -> Array:
    # Rounded so that every precision, bfloat16 too, holds the very same model.
    return jnp.asarray((scale * rng.standard_normal(shape)).astype(jnp.bfloat16).astype(dtype))


def _is_shape(tree: Any) -> bool:
    return type(tree) is tuple and all(isinstance(x, int) for x in tree)


def score(out: Float[Array, "..."]) -> Float[Array, ""]:
    """A loss in which every output counts differently, so that no transposition goes unnoticed."""
    weight = jnp.linspace(0.4, 1.6, out.size, dtype=out.dtype).reshape(out.shape)
    return jnp.sum(weight * (jnp.sin(out) + 0.3 * out * out))


def cross_entropy(logits: Float[Array, "*positions classes"], label: Int[Array, "*positions"]) -> Float[Array, ""]:
    chosen = jax.nn.one_hot(label, logits.shape[-1], dtype=logits.dtype)
    return -jnp.sum(jax.nn.log_softmax(logits) * chosen)
