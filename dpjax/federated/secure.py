"""Secure aggregation: the server sees masked vectors and their sum, and no client's own."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key, UInt32

from dpjax.clipping import Aggregation, ClippingRule, SumFactory
from dpjax.federated.key_agreement import SEALED_BYTES, SECRET_BYTES, SHARE_BYTES, agree
from dpjax.federated.masking import masked_vectors, unmasked_sum
from dpjax.federated.messages import (
    clipped_rows,
    clipped_sum_of,
    collected,
    finite_clip_norm,
    heard,
    like_total,
    side_key,
)
from dpjax.federated.quantization import inner_fraction, safe_levels, stochastic_round
from dpjax.types import ClippedSum, Cohort, ContributionFn, Params


def secure_aggregation(
    *,
    threshold: int,
    bits: int = 32,
    levels: int | None = None,
    dropout_rate: float | Float[Array, ""] = 0.0,
    late_dropout_rate: float | Float[Array, ""] = 0.0,
    allow_wraparound: bool = False,
    masks: bool = True,
    rule: ClippingRule | None = None,
) -> Aggregation:
    """Sums contributions as masked integers, by a protocol that really runs: keys, shares, dropouts and recovery.

    Each client clips its contribution, rounds it at random to a grid of clip norm / ``levels``, adds its masks in the
    ring of 2^``bits`` numbers and uploads the result. Masks of pairs cancel in the sum; those of clients that drop out
    are rebuilt from the shares that ``threshold`` others hold. If fewer answer, the round is aborted and leaves
    parameters, optimizer and clients' states as they were.

    Formal guarantees: the sum's sensitivity is the clip norm, rounding included. Unless ``allow_wraparound``, a ring in
    which a sum could wrap around is refused. Against honest-but-curious parties, fewer than ``threshold`` clients and
    the server together see of the others the sum of their vectors, and nothing else; see ``key_agreement.agree``.
    Who drops out must not depend on the data.

    The noise of central DP is added to the sum by the server, which is trusted with the sum and no more.

    Args:
      threshold: clients whose shares rebuild a secret, from 2 to the cohort's slots; above half of the cohort, else
        two halves could rebuild everything.
      bits: width of a ring element, 2 to 32.
      levels: grid steps in a clip norm; the most that the ring holds without wrapping around if None.
      dropout_rate: chance that a client is lost after it shared its keys and before its upload, traced or not.
      late_dropout_rate: chance that one of the others is lost before it opens shares.
      allow_wraparound: take a ring in which a sum may wrap around; coordinates that did are counted.
      masks: False leaves out what cancels exactly (keys, shares and masks), for sweeps: equal sums, in less time.
      rule: of clipping; the one that ``make_train`` has.

    Returns:
      For ``make_train(aggregation=...)``; needs a finite clip norm. Per step it reports ``dropped`` clients,
      ``aborted``, ``wrapped`` coordinates, ``aggregation_error`` (largest coordinate error / clip norm against the
      plain sum of who arrived) and ``uplink_bytes`` of a client.

    Raises:
      ValueError: a number out of range, at once or when the cohort's size is known.

    Example:
      >>> from dpjax import Cohort, clipped_sum, example_gradient
      >>> contribution = example_gradient(lambda w, x, key: w @ x)
      >>> cohort = Cohort(jnp.array([[3.0, 4.0], [0.0, -0.5], [1.0, 0.0]]), jnp.ones(3, bool))
      >>> secure_sum = secure_aggregation(threshold=2)(clipped_sum)(contribution)
      >>> out = secure_sum(jnp.zeros(2), cohort, jax.random.key(0), 1.0)
      >>> print((out.total * 100).round(), out.released)
      [160.  30.] True

    References:
      Bonawitz et al., 2017 (https://eprint.iacr.org/2017/281); Kairouz et al., 2021
      (https://arxiv.org/abs/2102.06387).
    """
    if threshold < 2:
        raise ValueError(f"threshold={threshold} must be at least 2: of 1, every share would be the secret itself.")
    if levels is not None and not 1 <= levels <= 2**22:
        raise ValueError(f"levels={levels} must be from 1 to 2**22; leave it out to have it chosen.")
    for name, rate in (("dropout_rate", dropout_rate), ("late_dropout_rate", late_dropout_rate)):
        if isinstance(rate, int | float) and not 0 <= rate <= 1:
            raise ValueError(f"{name}={rate} must be in [0, 1]; it is a share of the cohort.")

    def steps_for(slots: int) -> int:
        safe = safe_levels(bits, slots)
        if levels is not None and levels > safe and not allow_wraparound:
            raise ValueError(
                f"levels={levels} with bits={bits} let a sum over {slots} clients wrap around; take at most {safe} "
                "levels, more bits, or allow_wraparound=True to have it counted."
            )
        return levels or safe

    def aggregation(factory: SumFactory) -> SumFactory:
        collect = collected(factory)

        def make(contribution_fn: ContributionFn):
            gather = collect(contribution_fn)

            def fun(
                params: Params, cohort: Cohort, key: Key[Array, ""], clip_norm: float | Float[Array, ""]
            ) -> ClippedSum:
                slots = cohort.mask.shape[0]
                if threshold > slots:
                    raise ValueError(
                        f"threshold={threshold} is above the cohort's {slots} slots, so that every round would be "
                        "aborted; lower it."
                    )
                vectors, plain = gather(params, cohort, key, clip_norm)
                size = sum(x.size for x in jax.tree.leaves(plain.total))
                grid = steps_for(slots)
                limit = finite_clip_norm(clip_norm, "a ring")
                rows = clipped_rows(vectors, cohort, limit * inner_fraction(grid, size), rule)
                keys = jax.random.split(side_key(key, 0), slots)
                numbers = jax.vmap(partial(stochastic_round, levels=grid))(rows * (grid / limit), keys)
                arrived = cohort.mask & ~jax.random.bernoulli(side_key(key, 1), dropout_rate, (slots,))
                answering = arrived & ~jax.random.bernoulli(side_key(key, 2), late_dropout_rate, (slots,))
                protocol = _protocol if masks else _shortcut
                summed, released = protocol(numbers, cohort.mask, arrived, answering, threshold)
                signed = _signed(summed, bits)
                total = signed.astype(rows.dtype) * (limit / grid)
                exact = arrived.astype(jnp.float32) @ numbers.astype(jnp.float32)
                error = total - clipped_sum_of(vectors, cohort._replace(mask=arrived), limit, rule)
                report = {
                    "dropped": jnp.sum(cohort.mask & ~arrived, dtype=jnp.int32),
                    "aborted": (~released).astype(jnp.int32),
                    "wrapped": jnp.sum(
                        jnp.abs(exact - signed.astype(jnp.float32)) > 2.0 ** (bits - 1), dtype=jnp.int32
                    ),
                    "aggregation_error": jnp.max(jnp.abs(error)) / limit,
                    "uplink_bytes": uplink_bytes(size, bits, jnp.sum(cohort.mask, dtype=jnp.int32)),
                }
                return plain._replace(
                    total=like_total(total, plain), per_unit=heard(plain, arrived), released=released, report=report
                )

            return fun

        return make

    return aggregation


def uplink_bytes(size: int, bits: int, clients: Int[Array, ""]) -> Float[Array, ""]:
    """Bytes that one client sends in a round: two public keys, sealed shares for all others, its vector, opened shares.

    Example:
      >>> print(uplink_bytes(100_000, 32, jnp.int32(100)))
      412670.0
    """
    vector = math.ceil(size * bits / 8)
    shares = SEALED_BYTES * (clients - 1) + SHARE_BYTES * clients
    return (2 * SECRET_BYTES + vector + shares).astype(jnp.float32)


Summed = tuple[UInt32[Array, "size"], Bool[Array, ""]]


def _protocol(
    numbers: Int[Array, "slots size"],
    present: Bool[Array, "slots"],
    arrived: Bool[Array, "slots"],
    answering: Bool[Array, "slots"],
    threshold: int,
) -> Summed:
    """The sum of who arrived, by masks, shares and recovery; and whether enough answered."""
    slots = len(present)
    shapes = [(slots, slots, 2), (slots, 2)] * 2
    out: Any = (*(jax.ShapeDtypeStruct(shape, jnp.uint32) for shape in shapes), jax.ShapeDtypeStruct((), bool))
    pairs, selves, lost_pairs, arrived_selves, released = jax.pure_callback(
        _on_host(threshold), out, present, arrived, answering, vmap_method="sequential"
    )
    uploads = masked_vectors(numbers.astype(jnp.uint32), pairs, selves, present)
    return unmasked_sum(uploads, lost_pairs, arrived_selves, present, arrived), released


def _on_host(threshold: int) -> Callable[..., Any]:
    def agreement(present: Any, arrived: Any, answering: Any) -> Any:
        return tuple(agree(np.asarray(present), np.asarray(arrived), np.asarray(answering), threshold))

    return agreement


def _shortcut(
    numbers: Int[Array, "slots size"],
    present: Bool[Array, "slots"],
    arrived: Bool[Array, "slots"],
    answering: Bool[Array, "slots"],
    threshold: int,
) -> Summed:
    """The same sum, without what cancels in it."""
    words = jnp.where(arrived[:, None], numbers, 0).astype(jnp.uint32)
    enough = (jnp.sum(present) >= threshold) & (jnp.sum(answering) >= threshold)
    return jnp.sum(words, axis=0, dtype=jnp.uint32), enough


def _signed(words: UInt32[Array, "size"], bits: int) -> Int[Array, "size"]:
    """Ring elements as the whole numbers nearest to zero."""
    kept = words << jnp.uint32(32 - bits)
    return jax.lax.bitcast_convert_type(kept, jnp.int32) >> (32 - bits)
