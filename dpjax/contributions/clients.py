"""Contributions that are local training: what a federated client learnt from its own rows."""

from collections.abc import Callable
from typing import NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, Key, PyTree, ScalarLike

from dpjax.checks import is_traced, number, optimizer
from dpjax.contribution import ClientContribution, ClientRows, ContributionFn, LossFn
from dpjax.contributions.losses import masked_mean_loss, ordinals, with_metrics
from dpjax.ranges import LOCAL_BATCH_SIZE, LOCAL_STEPS, PROXIMAL, STRAGGLER_RATE
from dpjax.types import Metrics, Params, UnitData, widened


class LocalOutcome(NamedTuple):
    """Where local training ended.

    Attributes:
      params: the client's own parameters.
      delta: ``params before − params after``, taken before it is rounded to the parameters' dtype.
      num_steps: scalar; steps that it took: 0 for a client without records.
      metrics: averaged over those steps.
    """

    params: Params
    delta: Params
    num_steps: Int[Array, ""]
    metrics: Metrics


@runtime_checkable
class LocalTraining(Protocol):
    """``run(params, rows, key, correction)``: see ``local_training``."""

    def __call__(
        self,
        params: Params,
        rows: ClientRows,
        key: Key[Array, ""],
        correction: Callable[[Params], Params] | None = None,
    ) -> LocalOutcome: ...


def local_training(
    loss_fn: LossFn,
    local_optimizer: optax.GradientTransformation,
    *,
    num_steps: int | None = None,
    num_epochs: int | None = None,
    batch_size: int | None = None,
    straggler_rate: ScalarLike = 0.0,
) -> LocalTraining:
    """The loop in every local solver: minibatches of a client's rows, in a fresh random order each round.

    Formal guarantees: where it ends follows from ``params``, the client's own rows and ``key``; what padding holds
    changes nothing. Nothing of it is bounded or noised: it is for a solver to send what the kernel clips.

    With ``num_steps`` every client takes that many, walking through its rows and starting anew when they end. With
    ``num_epochs`` it passes over its rows that often, the last batch of a pass being short; clients with fewer rows
    stop earlier.

    Args:
      loss_fn: as for ``example_gradient``.
      local_optimizer: any optax optimizer; its hyper-parameters may be traced. Its state lives one round.
      num_steps, num_epochs: how long; exactly one of them.
      batch_size: rows in a local step; all of the client's if None.
      straggler_rate: chance, traced or not, that a client is stopped after a uniformly drawn part of its steps.

    Returns:
      ``run(params, rows, key, correction=None) -> LocalOutcome``; ``correction(params)`` is added to each gradient, as
      a proximal term's gradient or a control variate is.

    Raises:
      ValueError: a number out of range, or neither or both of ``num_steps`` and ``num_epochs``.
      TypeError: an optimizer that is none; when traced, if the loss is not a scalar.

    Example:
      >>> from dpjax.contribution import ClientRows
      >>> rows = ClientRows(lambda positions: jnp.array([1.0, 3.0])[positions], jnp.array([True, True]))
      >>> run = local_training(lambda w, x, key: 0.5 * (w - x) ** 2, optax.sgd(0.5), num_steps=2)
      >>> outcome = run(jnp.float32(0), rows, jax.random.key(0))
      >>> print(outcome.params, outcome.delta, outcome.num_steps)
      1.5 -1.5 2

    References:
      McMahan et al., Communication-Efficient Learning of Deep Networks, 2017 (https://arxiv.org/abs/1602.05629).
    """
    if (num_steps is None) == (num_epochs is None):
        raise ValueError(f"num_steps={num_steps} and num_epochs={num_epochs}: give exactly one of them.")
    for name, value in (("num_steps", num_steps), ("num_epochs", num_epochs)):
        if value is not None:
            LOCAL_STEPS.known(name, value)
    if batch_size is not None:
        batch_size = LOCAL_BATCH_SIZE.known("batch_size", batch_size)
    optimizer("local_optimizer", local_optimizer)
    slow = STRAGGLER_RATE.number("straggler_rate", straggler_rate)
    always_whole = not is_traced(slow) and slow == 0
    mean_loss = masked_mean_loss(with_metrics(loss_fn))

    def run(
        params: Params,
        rows: ClientRows,
        key: Key[Array, ""],
        correction: Callable[[Params], Params] | None = None,
    ) -> LocalOutcome:
        def like(wide: Params) -> Params:
            return jax.tree.map(lambda x, p: x.astype(p.dtype), wide, params)

        order_key, loss_key, stop_key = jax.random.split(key, 3)
        records = rows.mask.shape[0]
        size = min(batch_size or records, records)
        count = jnp.sum(rows.mask, dtype=jnp.int32)
        per_epoch = (count + size - 1) // size
        # Own rows first, in random order: a walk over the first ``count`` never meets padding twice in a batch.
        draws = jax.vmap(lambda number: jax.random.uniform(jax.random.fold_in(order_key, number)))(ordinals(rows.mask))
        order = jnp.argsort(jnp.where(rows.mask, draws, 2.0))

        def batch(step: Array) -> UnitData:
            slot = jnp.arange(size)
            if num_epochs is None:
                # A client with fewer records than a batch uses each once; the rest of the batch is masked.
                position, filled = (step * size + slot) % jnp.maximum(count, 1), slot < count
            else:
                position = (step % jnp.maximum(per_epoch, 1)) * size + slot
                filled = position < count
            row = order[position % records]
            # In the rows' own order, which alone their keys then follow.
            row = jnp.sort(jnp.where(filled & rows.mask[row], row, records))
            inside = row < records
            row = jnp.minimum(row, records - 1)
            return UnitData(rows.take(row), inside)

        everything = UnitData(rows.take(jnp.arange(records)), rows.mask) if size == records else None
        planned = jnp.int32(num_steps) if num_epochs is None else per_epoch * num_epochs
        stop = planned if always_whole else _stop(stop_key, planned, slow)

        def local_step(carry: tuple[Params, optax.OptState], inputs: tuple[Array, UnitData | None]):
            (local, state), (step, ready) = carry, inputs
            step_key = jax.random.fold_in(loss_key, step)
            data = everything or ready or batch(step)
            weights = like(local)
            (_, metrics), gradient = jax.value_and_grad(mean_loss, has_aux=True)(weights, data, step_key)
            if correction is not None:
                gradient = jax.tree.map(jnp.add, gradient, correction(weights))
            gradient = widened(gradient)
            updates, after = local_optimizer.update(gradient, state, local)
            moved = optax.apply_updates(local, updates), after
            if num_epochs is None and always_whole:
                return moved, metrics
            on = step < stop
            keep = jax.tree.map(lambda new, old: jnp.where(on, new, old), moved, (local, state))
            return keep, jax.tree.map(lambda m: jnp.where(on, m, 0), metrics)

        length = num_steps or -(-records // size) * (num_epochs or 0)
        # Local steps are small beside the parameters: at bfloat16's precision they would be rounded away.
        before = widened(params)
        start = (before, local_optimizer.init(before))
        steps = jnp.arange(length)
        # One gather of all batches is cheaper than one in each step, as long as they are small.
        ahead = everything is None and length * _bytes(jax.eval_shape(batch, steps[0])) <= _AHEAD
        ready = jax.vmap(batch)(steps) if ahead else None
        (local, _), metrics = jax.lax.scan(local_step, start, (steps, ready))
        # Weight decay would move even a client that has nothing to say.
        local = jax.tree.map(lambda new, old: jnp.where(count > 0, new, old), local, before)
        taken = jnp.where(count > 0, stop, 0)
        mean = jax.tree.map(lambda m: jnp.sum(m, axis=0) / jnp.maximum(stop, 1).astype(m.dtype), metrics)
        return LocalOutcome(like(local), like(jax.tree.map(jnp.subtract, before, local)), taken, mean)

    return run


_AHEAD = 2**16
"""Bytes of a client's batches up to which they are gathered before the first local step; more leave a core's cache."""


def _bytes(tree: PyTree) -> int:
    return sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(tree))


def client_delta(
    loss_fn: LossFn,
    local_optimizer: optax.GradientTransformation,
    *,
    num_steps: int | None = None,
    num_epochs: int | None = None,
    batch_size: int | None = None,
    proximal: ScalarLike = 0.0,
    straggler_rate: ScalarLike = 0.0,
    effective_steps: float | None = None,
) -> ContributionFn:
    """What a federated client changed by local training: the contribution of DP-FedAvg, FedProx and Reptile.

    The delta is ``params before − params after``, so that a server optimizer minimises along it: ``optax.sgd(1.0)`` on
    the mean delta is FedAvg, ``optax.sgd(ε)`` with ε < 1 is Reptile, ``optax.adam`` FedAdam. With ``proximal`` μ the
    local loss has the term μ/2 ‖w − w₀‖² of FedProx.

    Formal guarantees: a delta follows from what the server sent, the client's own rows and its key; one without records
    contributes zero. So the kernel, which clips the delta as a whole, bounds what a client with all it holds does to
    the sum, and ε does not depend on local steps, rows or stops. The delta itself is neither bounded nor noised; one
    that is safe to send comes from ``private_client_delta``.

    Args:
      loss_fn: as for ``example_gradient``.
      local_optimizer: any optax optimizer; its hyper-parameters may be traced. Its state lives one round.
      num_steps, num_epochs, batch_size, straggler_rate: see ``local_training``.
      proximal: μ ≥ 0 of the proximal term, traced or not.
      effective_steps: public; the delta is divided by the steps that the client took and multiplied by this: FedNova's
        τ. None: not.

    Returns:
      Contribution function whose unit is ``UnitData(examples [records, ...], mask [records])``; metrics hold
      the mean loss over the local steps.

    Raises:
      ValueError: a number out of range, or neither or both of ``num_steps`` and ``num_epochs``.
      TypeError: an optimizer that is none; when traced, if the loss is not a scalar or the unit no ``UnitData``.

    Example:
      >>> import jax, jax.numpy as jnp, optax
      >>> from dpjax import UnitData
      >>> client = UnitData(jnp.array([2.0, 2.0]), jnp.array([True, True]))
      >>> loss_fn = lambda w, x, key: 0.5 * (w - x) ** 2
      >>> delta, _ = client_delta(loss_fn, optax.sgd(0.5), num_steps=2)(jnp.float32(0), client, jax.random.key(0))
      >>> print(delta)
      -1.5
      >>> near = client_delta(loss_fn, optax.sgd(0.5), num_steps=200, proximal=1.0)
      >>> print(near(jnp.float32(0), client, jax.random.key(0))[0])  # halfway to the client's own optimum
      -1.0

    References:
      McMahan et al., Learning Differentially Private Recurrent Language Models, 2018 (https://arxiv.org/abs/1710.06963);
      Li et al., Federated Optimization in Heterogeneous Networks, 2020 (https://arxiv.org/abs/1812.06127);
      Wang et al., Tackling the Objective Inconsistency Problem, 2020 (https://arxiv.org/abs/2007.07481);
      Nichol et al., On First-Order Meta-Learning Algorithms, 2018 (https://arxiv.org/abs/1803.02999).
    """
    run = local_training(
        loss_fn,
        local_optimizer,
        num_steps=num_steps,
        num_epochs=num_epochs,
        batch_size=batch_size,
        straggler_rate=straggler_rate,
    )
    proximal = PROXIMAL.number("proximal", proximal)
    plain = not is_traced(proximal) and proximal == 0
    if effective_steps is not None:
        effective_steps = number("effective_steps", effective_steps, above=0, fix="it is FedNova's τ")

    def work(params: Params, rows: ClientRows, state: PyTree[Array], key: Key[Array, ""]) -> tuple[Params, Metrics]:
        del state
        pull = None if plain else lambda local: jax.tree.map(lambda w, w0: proximal * (w - w0), local, params)
        outcome = run(params, rows, key, pull)
        delta = outcome.delta
        if effective_steps is not None:
            share = effective_steps / jnp.maximum(outcome.num_steps, 1).astype(jnp.float32)
            delta = jax.tree.map(lambda x: x * share.astype(x.dtype), delta)
        return delta, outcome.metrics

    return ClientContribution(work)


def _stop(key: Key[Array, ""], planned: Int[Array, ""], rate: float | Float[Array, ""]) -> Int[Array, ""]:
    """After how many steps a client stops: all of them, or for a straggler fewer, but at least one if it has any."""
    slow_key, part_key = jax.random.split(key)
    part = 1 + jax.random.randint(part_key, (), 0, jnp.maximum(planned - 1, 1))
    return jnp.where(jax.random.bernoulli(slow_key, rate), jnp.minimum(part, planned), planned)
