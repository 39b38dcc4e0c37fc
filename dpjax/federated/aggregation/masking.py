"""The arithmetic of secure aggregation: masks that cancel in the sum, modulo 2³²."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, UInt32

from dpjax.gaussian import threefry

Words = tuple[UInt32[Array, "... half"], UInt32[Array, "... half"]]
"""A vector's first and second half: Threefry-2x32 makes two words at a time."""


def mask_words(seed: UInt32[Array, "2"], half: int) -> Words:
    """A mask of 2 × ``half`` words from its seed.

    Example:
      >>> first, second = mask_words(jnp.array([1, 2], jnp.uint32), 3)
      >>> first.shape, second.shape
      ((3,), (3,))
    """
    counter = jnp.arange(half, dtype=jnp.uint32)
    # Else XLA expands it again for each of its uses.
    return jax.lax.optimization_barrier(threefry(seed, jnp.zeros_like(counter), counter))


def masked_vectors(
    vectors: UInt32[Array, "clients size"],
    pair_seeds: UInt32[Array, "clients clients 2"],
    self_seeds: UInt32[Array, "clients 2"],
    present: Bool[Array, "clients"],
) -> UInt32[Array, "clients size"]:
    """What each client uploads: its vector, its own mask, and a mask with every other client that is present.

    Of the two that share a mask, the one with the lower number adds it and the other subtracts it. Both would expand
    it from the same seed; the simulation does so once.

    Args:
      vectors: elements of the ring.
      pair_seeds, self_seeds: see ``Agreement``.
      present: who takes part; the row of an absent client means nothing.
    """
    order, count = jnp.argsort(~present), jnp.sum(present, dtype=jnp.int32)
    halves = _halves(vectors)
    half = halves[0].shape[1]

    def of_client(i: Array, uploads: Words) -> Words:
        u = order[i]

        def with_other(j: Array, carry: tuple[Words, Words]) -> tuple[Words, Words]:
            row, uploads = carry
            v = order[j]
            mask = mask_words(pair_seeds[u, v], half)
            return _each(jnp.add, row, mask), _each(lambda x, m: _write(x, v, x[v] - m), uploads, mask)

        upload = _each(lambda x, m: x[u] + m, uploads, mask_words(self_seeds[u], half))
        upload, uploads = jax.lax.fori_loop(i + 1, count, with_other, (upload, uploads))
        return _each(lambda x, row: _write(x, u, row), uploads, upload)

    return jnp.concatenate(jax.lax.fori_loop(jnp.int32(0), count, of_client, halves), axis=1)[:, : vectors.shape[1]]


def unmasked_sum(
    uploads: UInt32[Array, "clients size"],
    recovered_pairs: UInt32[Array, "clients clients 2"],
    recovered_selves: UInt32[Array, "clients 2"],
    present: Bool[Array, "clients"],
    uploaded: Bool[Array, "clients"],
) -> UInt32[Array, "size"]:
    """The sum of the vectors that arrived, modulo 2³², from masked ones and the seeds that the server rebuilt.

    Masks of pairs that both arrived cancel. What is left is each one's own mask, and the masks that it shares with
    those who dropped out.
    """
    lost = present & ~uploaded
    arrived, lost_first = jnp.argsort(~uploaded), jnp.argsort(~lost)
    num_arrived, num_lost = jnp.sum(uploaded, dtype=jnp.int32), jnp.sum(lost, dtype=jnp.int32)
    total = jnp.sum(jnp.where(uploaded[:, None], uploads, jnp.uint32(0)), axis=0, dtype=jnp.uint32)
    halves = _halves(total)
    half = halves[0].shape[0]

    def without_self(i: Array, left: Words) -> Words:
        return _each(jnp.subtract, left, mask_words(recovered_selves[arrived[i]], half))

    def shared(k: Array, left: Words) -> Words:
        u, v = arrived[k % num_arrived], lost_first[k // num_arrived]
        sign = jnp.where(u < v, -1, 1).astype(jnp.uint32)  # u added the mask if it has the lower number
        return _each(lambda x, m: x + sign * m, left, mask_words(recovered_pairs[v, u], half))

    left = jax.lax.fori_loop(jnp.int32(0), num_arrived, without_self, halves)
    left = jax.lax.fori_loop(jnp.int32(0), num_lost * num_arrived, shared, left)
    return jnp.concatenate(left)[: uploads.shape[1]]


def _halves(x: UInt32[Array, "... size"]) -> Words:
    half = -(-x.shape[-1] // 2)
    second = x[..., half:]
    return x[..., :half], jnp.pad(second, [(0, 0)] * (x.ndim - 1) + [(0, half - second.shape[-1])])


def _each(f: Callable[[Array, Array], Array], a: Words, b: Words) -> Words:
    return f(a[0], b[0]), f(a[1], b[1])


def _write(x: Array, row: Array, value: Array) -> Array:
    return jax.lax.dynamic_update_index_in_dim(x, value, row, 0)
