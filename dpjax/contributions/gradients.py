"""Contributions that are gradients: an example's, and a user's."""

from dpjax.contribution import ContributionFn, GradientContribution, LossFn
from dpjax.contributions.losses import AugmentFn, augmented, masked_mean_loss, with_metrics


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
    return GradientContribution(augmented(with_metrics(loss_fn), augment, num_augmentations))


def user_gradient(loss_fn: LossFn, *, augment: AugmentFn | None = None, num_augmentations: int = 1) -> ContributionFn:
    """The gradient of a user's mean loss over all of their records: the contribution of user-level DP-SGD.

    A user with one record contributes exactly that record's gradient; a user with none contributes zero.

    Formal guarantees: all records of a user are ONE contribution, which is clipped as a whole: a user's part in the sum
    is at most the clip norm, however many records they have, and their number is as private as they are. What padding
    holds changes nothing, not even where it is NaN.

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
    return GradientContribution(masked_mean_loss(augmented(with_metrics(loss_fn), augment, num_augmentations)))
