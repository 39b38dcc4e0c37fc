"""Masks between processes: a client covers its vector, and the server takes off what does not cancel in the sum."""

from collections.abc import Collection

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import ChaCha20
from jaxtyping import Int, UInt32

from dpjax.federated.aggregation.parties import Client, Rebuilt, derived
from dpjax.ranges import RING_BITS


def cover(
    numbers: Int[np.ndarray, "size"], client: Client, participants: Collection[int]
) -> UInt32[np.ndarray, "size"]:
    """What a client uploads: its whole numbers, its own mask, and a mask with every other participant, modulo 2³².

    Formal guarantees: masks are ChaCha20 keystreams under 256-bit keys of this round alone, so that what is uploaded
    tells a party that lacks one of them nothing of the numbers. Of two that share a mask, the one with the lower number
    adds it and the other subtracts it.

    Args:
      numbers: of the client's vector, on its grid.
      client: its secrets of the round, which has dealt its shares.
      participants: who is to upload, this client among them; of those who dealt their shares.

    Raises:
      ValueError: it is not among them, or someone is who dealt none.

    Example:
      >>> one, other = Client(0), Client(1)
      >>> for client in (one, other):
      ...     _ = client.share_out({0: one.published, 1: other.published}, 2)
      >>> words = [cover(np.array([k, -5]), client, (0, 1)) for k, client in ((3, one), (4, other))]
      >>> own = [keystream(client.self_secret, b"self", 2) for client in (one, other)]
      >>> sum(words).astype(np.uint32) - sum(own).astype(np.uint32) == np.array([7, 2**32 - 10])
      array([ True,  True])
    """
    if client.number not in participants or not set(participants) <= set(client.others):
        raise ValueError("the participants are not this client and others who dealt their shares.")
    words = np.asarray(numbers).astype(np.int64).astype(np.uint32)
    words = words + keystream(client.self_secret, b"self", len(words))
    for other in sorted(set(participants) - {client.number}):
        mask = keystream(client.pair_secret(other), b"pair", len(words))
        words = words + mask if client.number < other else words - mask
    return words


def uncovered(words: UInt32[np.ndarray, "size"], rebuilt: Rebuilt, bits: int) -> Int[np.ndarray, "size"]:
    """The sum of the vectors that arrived, as the whole numbers nearest to zero in the ring of 2^``bits``.

    Args:
      words: sum of what was uploaded, modulo 2³² or modulo 2^``bits``.
      rebuilt: what the server rebuilt of this round.
      bits: width of the ring.

    Raises:
      ValueError: ``bits`` out of range.
    """
    bits = RING_BITS.known("bits", bits)
    left = np.asarray(words, np.uint32)
    for secret in rebuilt.selves.values():
        left = left - keystream(secret, b"self", len(left))
    for (lost, arrived), secret in rebuilt.pairs.items():
        mask = keystream(secret, b"pair", len(left))
        left = left - mask if arrived < lost else left + mask
    return (left << np.uint32(32 - bits)).view(np.int32) >> np.int32(32 - bits)


def keystream(secret: bytes, purpose: bytes, size: int) -> UInt32[np.ndarray, "size"]:
    """A mask: words that look uniform to who lacks the secret.

    Args:
      secret: 32 bytes, of one round.
      purpose: what it is a mask for.
      size: number of words.

    Example:
      >>> keystream(bytes(32), b"pair", 5).shape, (keystream(bytes(32), b"pair", 5) == 0).any()
      ((5,), np.False_)
    """
    stream = Cipher(ChaCha20(derived(secret, b"mask of " + purpose, 32), bytes(16)), None).encryptor()
    return np.frombuffer(stream.update(bytes(4 * size)), "<u4").astype(np.uint32)


def bytes_of_words(words: UInt32[np.ndarray, "size"], bits: int) -> bytes:
    """Ring elements as they travel: in as few whole bytes each as ``bits`` need.

    Args:
      words: of the ring; higher bits are left out.
      bits: width of the ring.

    Example:
      >>> words = np.array([1, 70_000], np.uint32)
      >>> len(bytes_of_words(words, 20)), words_of_bytes(bytes_of_words(words, 20), 20).tolist()
      (6, [1, 70000])
    """
    kept = np.asarray(words, "<u4") & np.uint32(2**bits - 1)
    return kept.view(np.uint8).reshape(-1, 4)[:, : _width(bits)].tobytes()


def words_of_bytes(sent: bytes, bits: int) -> UInt32[np.ndarray, "size"]:
    """What ``bytes_of_words`` made bytes of.

    Args:
      sent: a whole number of elements.
      bits: width of the ring.

    Raises:
      ValueError: it is none.
    """
    width = _width(bits)
    if len(sent) % width:
        raise ValueError(f"{len(sent)} bytes are no ring elements of {width} bytes each.")
    whole = np.zeros((len(sent) // width, 4), np.uint8)
    whole[:, :width] = np.frombuffer(sent, np.uint8).reshape(-1, width)
    return whole.view("<u4")[:, 0].astype(np.uint32)


def _width(bits: int) -> int:
    return -(-RING_BITS.known("bits", bits) // 8)
