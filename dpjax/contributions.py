"""What one unit sends: an example's gradient, a user's gradient, a federated client's update."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Key, PyTree

from dpjax.types import ContributionFn, GradientContribution, LossFn, Metrics, Params, Records, UnitData

AugmentFn = Callable[[Any, Key[Array, ""]], Any]
"""``augment(example, key) -> example``: one random change of ONE example, such as a flip and a crop."""


def example_gradient(
    loss_fn: LossFn, *, augment: AugmentFn | None = None, num_augmentations: int = 1
) -> ContributionFn:
    """One example's gradient: the contribution of central DP-SGD.

    With ``augment`` it is the average over ``num_augmentations`` augmented copies of the example (augmentation
    multiplicity), taken before clipping.

    Formal guarantees: the copies are averaged into ONE contribution, which is clipped as a whole. A unit's influence on
    the sum, and so ε, does not depend on how many there are.

    Args:
      loss_fn: ``loss_fn(params, example, key)`` → a scalar loss, or (loss, dict of scalar metrics), for ONE example.
      augment: ``augment(example, key) -> example``; every copy has a key of its own, independent of the loss's.
      num_augmentations: copies K ≥ 1; a step costs K times as much, in time and in memory per unit.

    Returns:
      Contribution function whose unit is one example (a pytree without a batch axis); metrics hold ``loss``, averaged
      over the copies as all metrics are.

    Raises:
      ValueError: ``num_augmentations`` < 1, or > 1 without ``augment``.
      TypeError: when traced, if the loss is not a scalar.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> contribution = example_gradient(lambda w, x, key: (w * x) ** 2)
      >>> grad, metrics = contribution(jnp.float32(3), jnp.float32(2), jax.random.key(0))
      >>> print(grad, metrics["loss"])
      24.0 36.0
      >>> shifted = example_gradient(
      ...     lambda w, x, key: w * x, augment=lambda x, key: x + jax.random.normal(key), num_augmentations=1000)
      >>> print(jnp.round(shifted(jnp.float32(3), jnp.float32(2), jax.random.key(0))[0]))
      2.0

    References:
      Abadi et al., Deep Learning with Differential Privacy, 2016 (https://arxiv.org/abs/1607.00133);
      De et al., Unlocking High-Accuracy DP Image Classification through Scale, 2022 (https://arxiv.org/abs/2204.13650).
    """
    return GradientContribution(_augmented(_with_metrics(loss_fn), augment, num_augmentations))


def user_gradient(loss_fn: LossFn, *, augment: AugmentFn | None = None, num_augmentations: int = 1) -> ContributionFn:
    """The gradient of a user's mean loss over all of their records: the contribution of user-level DP-SGD.

    A user with one record contributes exactly that record's gradient; a user with none contributes zero.

    Args:
      loss_fn, augment, num_augmentations: as for ``example_gradient``; each record is augmented by itself.

    Returns:
      Contribution function whose unit is ``UnitData(examples [records, ...], mask [records])``.

    Raises:
      ValueError: as ``example_gradient``.
      TypeError: when traced, if the loss is not a scalar or the unit no ``UnitData``.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from dpjax import UnitData
      >>> user = UnitData(jnp.array([1.0, 3.0, 7.0]), jnp.array([True, True, False]))
      >>> grad, _ = user_gradient(lambda w, x, key: w * x)(jnp.float32(0), user, jax.random.key(0))
      >>> print(grad)
      2.0

    References:
      Levy et al., Learning with User-Level Privacy, 2021 (https://arxiv.org/abs/2102.11845).
    """
    return GradientContribution(_masked_mean_loss(_augmented(_with_metrics(loss_fn), augment, num_augmentations)))


def client_delta(
    loss_fn: LossFn,
    local_optimizer: optax.GradientTransformation,
    *,
    num_steps: int,
    batch_size: int | None = None,
) -> ContributionFn:
    """What a federated client changed by local training: the contribution of DP-FedAvg.

    The delta is ``params before − params after``, so that a server optimizer minimises along it:
    ``optax.sgd(1.0)`` on the mean delta is FedAvg. A client without records contributes zero. Local
    minibatches walk through a fresh random order of the client's records, starting anew when it ends.

    Args:
      loss_fn: as for ``example_gradient``.
      local_optimizer: any optax optimizer; its hyper-parameters may be traced. Its state lives one round.
      num_steps: local steps per round.
      batch_size: records per local step; all of the client's if None.

    Returns:
      Contribution function whose unit is ``UnitData(examples [records, ...], mask [records])``; metrics hold
      the mean loss over the local steps.

    Raises:
      ValueError: ``num_steps`` or ``batch_size`` < 1.
      TypeError: when traced, if the loss is not a scalar or the unit no ``UnitData``.

    Example:
      >>> import jax, jax.numpy as jnp, optax
      >>> from dpjax import UnitData
      >>> client = UnitData(jnp.array([2.0, 2.0]), jnp.array([True, True]))
      >>> loss_fn = lambda w, x, key: 0.5 * (w - x) ** 2
      >>> delta, _ = client_delta(loss_fn, optax.sgd(0.5), num_steps=2)(jnp.float32(0), client, jax.random.key(0))
      >>> print(delta)
      -1.5

    References:
      McMahan et al., Learning Differentially Private Recurrent Language Models, 2018 (https://arxiv.org/abs/1710.06963).
    """
    if num_steps < 1:
        raise ValueError(f"num_steps={num_steps} must be at least 1 local step.")
    if batch_size is not None and batch_size < 1:
        raise ValueError(f"batch_size={batch_size} must be at least 1; leave it out to use all records each step.")
    mean_loss = _masked_mean_loss(_with_metrics(loss_fn))

    def contribution(params: Params, unit: Any, key: Key[Array, ""]) -> tuple[Params, Metrics]:
        unit = _with_records(unit)
        order_key, loss_key = jax.random.split(key)
        records = unit.mask.shape[0]
        size = min(batch_size or records, records)
        # Valid records first, in random order: a walk over the first `count` never meets padding twice in a batch.
        order = jnp.argsort(jnp.where(unit.mask, jax.random.uniform(order_key, (records,)), 2.0))
        count = jnp.sum(unit.mask)

        def local_step(carry: tuple[Params, optax.OptState], step: Array):
            local, state = carry
            batch = unit
            if size < records:
                position = step * size + jnp.arange(size)
                # A client with fewer records than a batch uses each once; the rest of the batch is masked.
                row = order[position % jnp.maximum(count, 1)]
                keep = (jnp.arange(size) < count) & unit.mask[row]
                batch = UnitData(jax.tree.map(lambda x: x[row], unit.examples), keep)
            step_key = jax.random.fold_in(loss_key, step)
            (_, metrics), gradient = jax.value_and_grad(mean_loss, has_aux=True)(local, batch, step_key)
            updates, state = local_optimizer.update(gradient, state, local)
            return (optax.apply_updates(local, updates), state), metrics

        start = (params, local_optimizer.init(params))
        (local, _), metrics = jax.lax.scan(local_step, start, jnp.arange(num_steps))
        # Weight decay would move even a client that has nothing to say.
        delta = jax.tree.map(lambda a, b: jnp.where(count > 0, a - b, 0), params, local)
        return delta, jax.tree.map(lambda m: jnp.mean(m, axis=0), metrics)

    return contribution


def gather_records(contribution_fn: ContributionFn, examples: PyTree[Array]) -> ContributionFn:
    """A contribution function on ``Records`` (row numbers) from one on ``UnitData`` (the rows themselves).

    Rows are gathered as a microbatch needs them, so memory never holds a padded copy of the data set.

    Args:
      contribution_fn: takes ``UnitData``, as ``user_gradient`` and ``client_delta`` do.
      examples: pytree of the whole data set, leaves ``[rows, ...]``.
    """

    def gather(unit: Records) -> UnitData:
        def own_rows(x: Array) -> Array:
            # Padding names some other unit's row: zero it, so that not even its NaN can be seen.
            keep = unit.mask.reshape(-1, *[1] * (x.ndim - 1))
            return jnp.where(keep, x[unit.index], jnp.zeros((), x.dtype))

        return UnitData(jax.tree.map(own_rows, examples), unit.mask)

    if isinstance(contribution_fn, GradientContribution):
        loss = contribution_fn.loss
        return GradientContribution(lambda params, unit, key: loss(params, gather(unit), key))
    return lambda params, unit, key: contribution_fn(params, gather(unit), key)


def _with_records(unit: object) -> UnitData:
    if isinstance(unit, UnitData):
        return unit
    found = "an array" if isinstance(unit, jax.Array) else f"a {type(unit).__name__}"
    raise TypeError(
        f"a unit is {found} where one user's or client's records are needed; give the cohort "
        "UnitData(examples, mask), or use example_gradient for units of one example."
    )


LossAndMetrics = Callable[[Params, Any, Key[Array, ""]], tuple[Array, Metrics]]


def _masked_mean_loss(loss_and_metrics: LossAndMetrics):
    def mean_loss(params: Params, unit: Any, key: Key[Array, ""]) -> tuple[Array, Metrics]:
        unit = _with_records(unit)
        # With one record the key is used as it is, so that such a user equals the example.
        keys = key[None] if unit.mask.shape[0] == 1 else jax.random.split(key, unit.mask.shape[0])
        losses, metrics = jax.vmap(loss_and_metrics, in_axes=(None, 0, 0))(params, unit.examples, keys)
        count = jnp.maximum(jnp.sum(unit.mask), 1)

        def mean(x: Array) -> Array:
            return jnp.sum(jnp.where(unit.mask, x, 0), axis=0) / count.astype(x.dtype)

        return mean(losses), jax.tree.map(mean, metrics)

    return mean_loss


def _augmented(loss_and_metrics: LossAndMetrics, augment: AugmentFn | None, num_augmentations: int) -> LossAndMetrics:
    """The mean of a loss over augmented copies of its example; with one copy, the loss of that copy."""
    if num_augmentations < 1:
        raise ValueError(f"num_augmentations={num_augmentations} must be at least 1 copy.")
    if augment is None:
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


def _with_metrics(loss_fn: LossFn) -> LossAndMetrics:
    """Accept a bare loss as well as (loss, metrics), and insist on a scalar."""

    def loss_and_metrics(params: Params, example: PyTree[Array], key: Key[Array, ""]) -> tuple[Array, Metrics]:
        out = loss_fn(params, example, key)
        loss, metrics = out if isinstance(out, tuple) else (out, {})
        if jnp.shape(loss) != ():
            raise TypeError(
                f"loss_fn returned shape {jnp.shape(loss)} where one example's scalar loss is needed; "
                "write loss_fn for ONE example, without a batch axis, and sum or average over its outputs."
            )
        return loss, {"loss": loss, **metrics}

    return loss_and_metrics
