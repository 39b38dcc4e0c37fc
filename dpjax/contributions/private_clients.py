"""Clients that protect their own examples: DP-SGD inside each, as a hospital does that trusts nobody with a patient."""

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Key, PyTree

from dpjax.checks import optimizer
from dpjax.clipping import ClippingRule, clipped_sum
from dpjax.contribution import ClientContribution, ClientRows, ContributionFn, LossFn, Reported
from dpjax.contributions.gradients import example_gradient
from dpjax.contributions.losses import ordinals
from dpjax.noise import gaussian_privatizer, noise_stddev
from dpjax.ranges import CLIP_NORM, LOCAL_STEPS, NOISE_MULTIPLIER
from dpjax.sampling import PoissonSampler, Sampler, check_sampler
from dpjax.types import Cohort, Params, widened


def private_client_delta(
    loss_fn: LossFn,
    local_optimizer: optax.GradientTransformation,
    *,
    num_steps: int,
    sampler: Sampler,
    clip_norm: float | Float[Array, ""],
    noise_multiplier: float | Float[Array, ""],
    rule: ClippingRule | None = None,
) -> ContributionFn:
    """What a client changed by local DP-SGD over its own rows: safe to send to a server that nobody trusts.

    Formal guarantees: for each client, everything it ever sends is the output of ``Mechanism.from_sampler(sampler,
    unit="example", adjacency=..., num_steps=rounds × num_steps, noise_multiplier=noise_multiplier)`` on its own rows,
    if it takes part in every round; in fewer, it spends less. It holds against server and other clients alike. How
    many rows a client has is public, as the noised sum is divided by a share of it: account under "zero_out" or
    "replace_one". Nothing more need be clipped or noised: train with ``clip_norm=inf`` and ``noise_multiplier=0``.

    Args:
      loss_fn: as for ``example_gradient``.
      local_optimizer: any optax optimizer; its state lives one round.
      num_steps: local steps in a round.
      sampler: ``poisson_sampler(rows of the largest client, sampling_rate, num_steps=rounds × num_steps)``: every row
        enters every local step by its own coin, at one rate for all clients.
      clip_norm: bound on one example's gradient, traced or not.
      noise_multiplier: noise standard deviation / ``clip_norm`` on the sum of a local step, traced or not.
      rule: see ``clipped_sum``.

    Returns:
      Contribution function whose unit is ``UnitData(examples [records, ...], mask [records])``; it reports the mean
      loss over the rows drawn, and as ``local_overflows`` its steps that drew more rows than there are slots.

    Raises:
      ValueError: ``num_steps`` < 1 or a sampler that is not Poisson; when traced, a client larger than the sampler's
        population.

    Example:
      >>> from dpjax import UnitData, poisson_sampler
      >>> sampler = poisson_sampler(8, 0.5, num_steps=3)
      >>> contribution = private_client_delta(lambda w, x, key: 0.5 * (w - x) ** 2, optax.sgd(0.5), num_steps=3,
      ...     sampler=sampler, clip_norm=10.0, noise_multiplier=0.0)
      >>> client = UnitData(jnp.full(8, 2.0), jnp.ones(8, bool))
      >>> print(contribution(jnp.float32(2), client, jax.random.key(0))[0])  # nothing is left to learn
      0.0

    References:
      Abadi et al., 2016 (https://arxiv.org/abs/1607.00133); Liu et al., On Privacy and Personalization in Cross-Silo
      Federated Learning, 2022 (https://arxiv.org/abs/2206.07902).
    """
    num_steps = LOCAL_STEPS.known("num_steps", num_steps)
    optimizer("local_optimizer", local_optimizer)
    check_sampler(sampler)
    noise_multiplier = NOISE_MULTIPLIER.number("noise_multiplier", noise_multiplier)
    clip_norm = CLIP_NORM.number("clip_norm", clip_norm)
    if not isinstance(sampler, PoissonSampler):
        raise ValueError(
            f"sampler={sampler.sampling.name!r} draws no rows by coins, as clients do; use poisson_sampler."
        )
    bounded_sum = clipped_sum(example_gradient(loss_fn), rule=rule)

    def work(params: Params, rows: ClientRows, state: PyTree[Array], key: Key[Array, ""]) -> tuple[Params, Reported]:
        del state

        def like(wide: Params) -> Params:
            return jax.tree.map(lambda x, p: x.astype(p.dtype), wide, params)

        sampling_key, loss_key, noise_key = jax.random.split(key, 3)
        records = rows.mask.shape[0]
        if records > sampler.population:
            raise ValueError(
                f"a client has room for {records} rows, but the sampler is for {sampler.population}; make it for the "
                "largest client."
            )
        capacity = min(sampler.capacity, records)
        count = jnp.sum(rows.mask, dtype=jnp.int32)
        expected = jnp.maximum(sampler.sampling_rate * count.astype(jnp.float32), 1e-6)
        privatizer = gaussian_privatizer(noise_stddev(noise_multiplier, clip_norm), noise_key)
        number = ordinals(rows.mask)

        def coin(key: Key[Array, ""], number: Array) -> Array:
            # The default mode comes true too often where the rate is small.
            return jax.random.bernoulli(jax.random.fold_in(key, number), sampler.sampling_rate, mode="high")

        def local_step(carry: tuple[Params, optax.OptState, optax.OptState], step: Array):
            local, optimizer_state, privatizer_state = carry
            drawn = rows.mask & jax.vmap(coin, in_axes=(None, 0))(jax.random.fold_in(sampling_key, step), number)
            position = jnp.argsort(~drawn)[:capacity]
            cohort = Cohort(rows.take(position), drawn[position])
            clipped = bounded_sum(like(local), cohort, jax.random.fold_in(loss_key, step), clip_norm)
            noised, privatizer_state = privatizer.update(clipped.total, privatizer_state)
            mean = widened(jax.tree.map(lambda x: x / expected.astype(x.dtype), noised))
            updates, optimizer_state = local_optimizer.update(mean, optimizer_state, local)
            accepted = jnp.sum(cohort.mask, dtype=jnp.int32) - clipped.num_rejected
            overflowed = jnp.sum(drawn, dtype=jnp.int32) > capacity
            moved = optax.apply_updates(local, updates), optimizer_state, privatizer_state
            return moved, (clipped.aux, accepted, overflowed)

        before = widened(params)  # as in local_training
        start = (before, local_optimizer.init(before), privatizer.init(params))
        (local, _, _), (sums, sizes, overflowed) = jax.lax.scan(local_step, start, jnp.arange(num_steps))
        seen = jnp.maximum(jnp.sum(sizes, dtype=jnp.int32), 1)
        metrics = jax.tree.map(lambda m: jnp.sum(m, axis=0) / seen.astype(m.dtype), sums)
        delta = like(jax.tree.map(lambda w0, w: jnp.where(count > 0, w0 - w, 0), before, local))
        return delta, Reported(metrics, local_overflows=jnp.sum(overflowed, dtype=jnp.float32))

    return ClientContribution(work)
