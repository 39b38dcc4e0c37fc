"""Secure aggregation: the server sees masked vectors and their sum, and no client's own."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key, ScalarLike, UInt32

from dpjax.accounting.distributed import KINDS, DistributedNoise
from dpjax.checks import one_of, whole_number
from dpjax.clipping import Aggregation
from dpjax.federated.aggregation.discrete import DRAWS
from dpjax.federated.aggregation.key_agreement import agree
from dpjax.federated.aggregation.masking import masked_vectors, unmasked_sum
from dpjax.federated.aggregation.messages import (
    Formed,
    Round,
    clipping_as_the_sum,
    formed_from_messages,
    still_there,
)
from dpjax.federated.aggregation.parties import SEALED_BYTES, SECRET_BYTES, SHARE_BYTES
from dpjax.federated.aggregation.quantization import messages_on_grid, safe_levels
from dpjax.federated.side_keys import Purpose, side_key
from dpjax.ranges import COLLUDING, DROPOUT_RATE, NOISE_MULTIPLIER, RING_BITS, RING_LEVELS
from dpjax.types import Added, NoSensitivity


@clipping_as_the_sum
def secure_aggregation(
    *,
    threshold: int,
    bits: int = 32,
    levels: int | None = None,
    dropout_rate: ScalarLike = 0.0,
    late_dropout_rate: ScalarLike = 0.0,
    allow_wraparound: bool = False,
    masks: bool = True,
    noise: str | None = None,
    noise_multiplier: ScalarLike = 0.0,
    colluding: int = 0,
) -> Aggregation:
    """Sums contributions as masked integers, by a protocol that really runs: keys, shares, dropouts and recovery.

    Each client clips its contribution by the rule of the sum that this is put around, rounds it at random to a grid of
    clip norm / ``levels``, adds its masks in the ring of 2^``bits`` numbers and uploads the result. Masks of pairs
    cancel in the sum; those of clients that drop out are rebuilt from the shares that ``threshold`` others hold. If
    fewer answer, the round is aborted and leaves parameters, optimizer and clients' states as they were.

    Formal guarantees: the sum's sensitivity is the clip norm, rounding included. A ring in which a sum could wrap
    around is refused; under ``allow_wraparound`` one client can move such a sum by half the ring, so that it has NO
    sensitivity (``ClippedSum.noise`` says ``NoSensitivity``) and a step that would add noise to it is refused. Against
    honest-but-curious parties, fewer than ``threshold`` clients and the server together see of the others the sum of
    their vectors, and nothing else; see ``key_agreement.agree``. Who drops out must not depend on the data. A threshold
    of half of the clients or less trusts the server to tell who dropped out: one that lies could have two halves
    rebuild everything.

    That a round was aborted is seen, and under Poisson sampling it says who was drawn: the sampler then has to carry
    ``accounting.abort_probability``, which the accountant takes out of δ, or ``make_train`` refuses to run.

    Without ``noise`` that of central DP is added to the sum by the server, which is trusted with the sum and no more.
    With it, each client adds whole-number noise of its own before it masks: ``distributed_noise`` says what the
    accountant is told, and the server adds none.

    Args:
      threshold: clients whose shares rebuild a secret, from 2 to the cohort's slots; see above for half of it.
      bits: width of a ring element, 2 to 32.
      levels: grid steps in a clip norm; the most that the ring holds without wrapping around if None.
      dropout_rate: chance that a client is lost after it shared its keys and before its upload, traced or not.
      late_dropout_rate: chance that one of the others is lost before it opens shares.
      allow_wraparound: take a ring in which a sum may wrap around, for runs without the server's noise; coordinates
        that did are counted. Noise that clients add is in the sum before it wraps, and covers it still.
      masks: False leaves out what cancels exactly (keys, shares and masks), for sweeps: equal sums, in less time.
      noise: ``"discrete_gaussian"`` or ``"skellam"``: what clients add; None: nothing.
      noise_multiplier: standard deviation of the noise of ``threshold − colluding`` clients / clip norm, traced or not;
        whoever arrives beyond them makes it larger.
      colluding: clients whose noise does not count, as they may tell it to the server.

    Returns:
      For ``Summing(aggregation=...)``; needs a finite clip norm. Per step it reports ``dropped`` clients,
      ``aborted``, ``wrapped`` coordinates, ``aggregation_error`` (largest coordinate error / clip norm against the
      plain sum of who arrived) and ``uplink_bytes`` of a client.

    Raises:
      ValueError: a number out of range, at once or when the cohort's size is known. One that is traced gives a sum of
        NaN.

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
    threshold, colluding = _checked("noise", noise, threshold, colluding)
    bits = RING_BITS.known("bits", bits)
    if levels is not None:
        levels = RING_LEVELS.known("levels", levels)
    lost, lost_late = (
        DROPOUT_RATE.number(name, rate)
        for name, rate in (("dropout_rate", dropout_rate), ("late_dropout_rate", late_dropout_rate))
    )
    z = NOISE_MULTIPLIER.number("noise_multiplier", noise_multiplier)

    def form(this: Round) -> Formed:
        present, slots = this.cohort.mask, this.cohort.mask.shape[0]
        _reachable(threshold, slots)
        grid = grid_levels(slots, bits, levels, allow_wraparound, noise is not None)
        step = this.clip_norm / grid
        numbers = messages_on_grid(this, this.cohort, grid)
        arrived = still_there(present, this.key, Purpose.LOST, lost)
        answering = still_there(arrived, this.key, Purpose.LOST_LATE, lost_late)
        heard = arrived.astype(jnp.float32)
        noise_sum, held_noise = None, None
        if noise is not None:
            share = z * grid / math.sqrt(threshold - colluding)
            added = _drawn(noise, side_key(this.key, Purpose.NOISE_OF_CLIENTS), numbers.shape, share)
            numbers = numbers + added
            noise_sum, held_noise = heard @ added.astype(jnp.float32) * step, Added(jnp.asarray(z, jnp.float32))
        protocol = _protocol if masks else _shortcut
        words, released = protocol(numbers, present, arrived, answering, threshold)
        signed = _signed(words, bits)
        wraps = noise is None and grid > safe_levels(bits, slots)
        off = jnp.abs(heard @ numbers.astype(jnp.float32) - signed.astype(jnp.float32))
        report = {
            "aborted": (~released).astype(jnp.int32),
            "wrapped": jnp.sum(off > 2.0 ** (bits - 1), dtype=jnp.int32),
            "uplink_bytes": uplink_bytes(this.size, bits, jnp.sum(present, dtype=jnp.int32)),
        }
        return Formed(
            total=signed.astype(this.dtype) * step,
            arrived=arrived,
            noise=NoSensitivity() if wraps else held_noise,
            noise_sum=noise_sum,
            released=released,
            report=report,
        )

    return formed_from_messages(form, z, lost, lost_late, bounded_for="a ring")


def grid_levels(slots: int, bits: int, levels: int | None, allow_wraparound: bool, noised: bool) -> int:
    """Grid steps in a clip norm: those asked for, or as many as the ring safely holds.

    With noise half of the ring is left to it, and no more than 2¹⁴ are chosen: the noise would hide a finer grid.

    Raises:
      ValueError: levels at which a sum may wrap around.
    """
    safe = safe_levels(bits, slots, reserved=int(noised))
    if levels is not None and levels > safe and not allow_wraparound:
        raise ValueError(
            f"levels={levels} with bits={bits} let a sum over {slots} clients wrap around; take at most {safe} "
            "levels, or more bits."
        )
    return levels or min(safe, _LEVELS_UNDER_NOISE if noised else safe)


def distributed_noise(
    kind: str,
    *,
    dimension: int,
    slots: int,
    threshold: int,
    bits: int = 32,
    levels: int | None = None,
    colluding: int = 0,
    secret_cohorts: bool = False,
) -> DistributedNoise:
    """What the accountant is told of ``secure_aggregation(noise=kind, ...)``: read off the same numbers.

    Formal guarantees: grid and shares are computed as the aggregation computes them, so that they are those of what
    runs if it is given the same numbers, ``slots`` are those of its cohorts and its noise multiplier is the
    mechanism's. What that is worth is said at ``DistributedNoise``.

    Args:
      kind, threshold, bits, levels, colluding: as given to ``secure_aggregation``.
      dimension: coordinates of a message.
      slots: of a cohort, the sampler's ``capacity``.
      secret_cohorts: see ``DistributedNoise``.

    Returns:
      For ``Mechanism(noise=...)``.

    Raises:
      ValueError: a number out of range, or levels at which a sum may wrap around.

    Example:
      >>> distributed_noise("skellam", dimension=1000, slots=100, threshold=60).shares
      60
    """
    threshold, colluding = _checked("kind", kind, threshold, colluding)
    slots = whole_number("slots", slots, fix="give the sampler's capacity")
    dimension = whole_number("dimension", dimension, fix="it counts coordinates of a message")
    _reachable(threshold, slots)
    grid = grid_levels(slots, bits, levels, False, True)
    return DistributedNoise(kind, dimension, grid, threshold - colluding, secret_cohorts)


_LEVELS_UNDER_NOISE = 2**14


def _checked(name: str, kind: str | None, threshold: int, colluding: int) -> tuple[int, int]:
    """(threshold, colluding), in their ranges."""
    threshold = whole_number("threshold", threshold, least=2, fix="of 1, every share would be the secret itself")
    colluding = COLLUDING.known("colluding", colluding)
    if kind is not None:
        one_of(name, kind, KINDS)
    if colluding >= threshold:
        raise ValueError(
            f"colluding={colluding} must be from 0 to below threshold={threshold}: those who collude add no noise that "
            "counts, and as many as the threshold could unmask everybody."
        )
    return threshold, colluding


def _reachable(threshold: int, slots: int) -> None:
    if threshold > slots:
        raise ValueError(
            f"threshold={threshold} is above the cohort's {slots} slots, so that every round would be aborted; lower "
            "it."
        )


def uplink_bytes(size: int, bits: int, clients: Int[Array, ""]) -> Float[Array, ""]:
    """Bytes that one client sends in a round: two public keys, sealed shares for all others, its vector, opened shares.

    Example:
      >>> print(uplink_bytes(100_000, 32, jnp.int32(100)))
      412670.0
    """
    vector = math.ceil(size * bits / 8)
    shares = SEALED_BYTES * (clients - 1) + SHARE_BYTES * clients
    return (2 * SECRET_BYTES + vector + shares).astype(jnp.float32)


def _drawn(
    noise: str, key: Key[Array, ""], shape: tuple[int, ...], stddev: float | Float[Array, ""]
) -> Int[Array, "slots size"]:
    """Each client's own noise; in a loop, as all clients' proposals at once would be several times their vectors."""
    return jax.lax.map(lambda k: DRAWS[noise](k, shape[1], stddev), jax.random.split(key, shape[0]))


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
    low_bits = words << jnp.uint32(32 - bits)
    return jax.lax.bitcast_convert_type(low_bits, jnp.int32) >> (32 - bits)
