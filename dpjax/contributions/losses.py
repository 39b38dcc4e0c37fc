"""The losses under the contributions: with metrics, augmented, averaged over one unit's records."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int, Key, PyTree

from dpjax.checks import brief, function, in_one_line, whole_number
from dpjax.contribution import LossFn, describe_wrong_unit
from dpjax.contributions.batch_losses import in_place_of_scalar, is_for_a_batch, refuse_label_for_key, shapes_of
from dpjax.types import Metrics, Params, UnitData

AugmentFn = Callable[[Any, Key[Array, ""]], Any]
"""``augment(example, key) -> example``: one random change of ONE example, such as a flip and a crop."""

LossAndMetrics = Callable[[Params, Any, Key[Array, ""]], tuple[Array, Metrics]]
"""A loss with its metrics, of one example or of all records of a unit."""


def with_records(unit: object) -> UnitData:
    """The unit, if it is one user's or client's records; an error in words if not."""
    if isinstance(unit, UnitData):
        return unit
    raise TypeError(describe_wrong_unit(unit))


def ordinals(mask: Bool[Array, "records"]) -> Int[Array, "records"]:
    """Each record's number among those of its unit: what its randomness follows, so that padding changes none of it."""
    return jnp.maximum(jnp.cumsum(mask, dtype=jnp.int32) - 1, 0)


def keys_of_records(key: Key[Array, ""], mask: Bool[Array, "records"]) -> Key[Array, "records"]:
    """A key for each record. The first record's is the unit's own, so that a user of one record equals the example."""
    number = ordinals(mask)
    # Beside what the first record itself may split off.
    others = jax.vmap(jax.random.fold_in, in_axes=(None, 0))(jax.random.fold_in(key, _OTHERS), number)
    return jnp.where(number == 0, key, others)


_OTHERS = 0x0DD5


def without_padding(unit: UnitData) -> UnitData:
    """The unit with its first record, or zeros if it has none, in the place of padding, whose NaN nobody sees."""
    first, any_own = jnp.argmax(unit.mask), jnp.any(unit.mask)

    def real(x: Array) -> Array:
        instead = jnp.where(any_own, x[first], jnp.zeros((), x.dtype))
        return jnp.where(unit.mask.reshape(-1, *[1] * (x.ndim - 1)), x, instead[None])

    return UnitData(jax.tree.map(real, unit.examples), unit.mask)


def masked_mean_loss(loss_and_metrics: LossAndMetrics) -> LossAndMetrics:
    """The mean of a loss over a unit's records, padding left out; 0 for a unit that has none."""

    def mean_loss(params: Params, unit: Any, key: Key[Array, ""]) -> tuple[Array, Metrics]:
        unit = without_padding(with_records(unit))
        keys = keys_of_records(key, unit.mask)
        losses, metrics = jax.vmap(loss_and_metrics, in_axes=(None, 0, 0))(params, unit.examples, keys)
        count = jnp.maximum(jnp.sum(unit.mask), 1)

        def mean(x: Array) -> Array:
            return jnp.sum(jnp.where(unit.mask, x, 0), axis=0) / count.astype(x.dtype)

        return mean(losses), jax.tree.map(mean, metrics)

    return mean_loss


def augmented(loss_and_metrics: LossAndMetrics, augment: AugmentFn | None, num_augmentations: int) -> LossAndMetrics:
    """The mean of a loss over augmented copies of its example; with one copy, the loss of that copy."""
    num_augmentations = whole_number("num_augmentations", num_augmentations, fix="it counts copies of an example")
    if augment is not None:
        function("augment", augment, fix="give augment(example, key)")
    else:
        if num_augmentations > 1:
            raise ValueError(
                f"num_augmentations={num_augmentations} without augment would average equal copies of the example; "
                "give augment=, or leave num_augmentations out."
            )
        return loss_and_metrics

    def of_one_copy(params: Params, example: PyTree[Array], key: Key[Array, ""]) -> tuple[Array, Metrics]:
        augment_key, loss_key = jax.random.split(key)
        return loss_and_metrics(params, augment(example, augment_key), loss_key)

    if num_augmentations == 1:
        return of_one_copy

    def mean_loss(params: Params, example: PyTree[Array], key: Key[Array, ""]) -> tuple[Array, Metrics]:
        keys = jax.random.split(key, num_augmentations)
        out = jax.vmap(of_one_copy, in_axes=(None, None, 0))(params, example, keys)
        return jax.tree.map(lambda x: jnp.mean(x, axis=0), out)

    return mean_loss


def with_metrics(loss_fn: LossFn) -> LossAndMetrics:
    """Accept a bare loss as well as (loss, metrics), and insist on a scalar."""

    function("loss_fn", loss_fn, fix="give loss_fn(params, example, key) of ONE example", takes=3)
    refuse_label_for_key(loss_fn)

    def loss_and_metrics(params: Params, example: PyTree[Array], key: Key[Array, ""]) -> tuple[Array, Metrics]:
        try:
            out = loss_fn(params, example, key)
        except Exception as error:
            if not is_for_a_batch(loss_fn, params, example, key):
                raise
            said = f"{shapes_of(example)}: {in_one_line(str(error), 80)}"
            raise TypeError(
                f"loss_fn takes a batch, and fails on ONE example ({said}); "
                "write it for one, without a batch axis: dpjax maps it over the batch."
            ) from error
        loss, metrics = out if isinstance(out, tuple) and len(out) == 2 else (out, {})
        if isinstance(out, tuple) and not (len(out) == 2 and isinstance(metrics, Mapping)):
            what = f"{len(out)} values" if len(out) != 2 else f"{brief(metrics)} beside the loss"
            raise TypeError(
                f"loss_fn returned {what} where a dict of metrics is expected; return the loss, or (loss, "
                '{"name": metric}).'
            )
        if not isinstance(loss, jax.Array | np.generic | np.ndarray | float):
            raise TypeError(f"loss_fn returned {brief(loss)} where one example's scalar loss is needed; return that.")
        if jnp.shape(loss) != ():
            raise TypeError(
                f"loss_fn returned shape {jnp.shape(loss)} where one example's scalar loss is needed; "
                f"{in_place_of_scalar(example, jnp.shape(loss))}."
            )
        if not jnp.issubdtype(jnp.result_type(loss), jnp.floating):
            raise TypeError(
                f"loss_fn returned a loss of type {jnp.result_type(loss)}, which has no gradient; "
                "make it a floating-point number."
            )
        loss = jnp.asarray(loss)
        return loss, {"loss": loss, **metrics}

    return loss_and_metrics
