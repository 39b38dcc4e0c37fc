"""A client of secure aggregation and what the server can undo: keys, sealed Shamir shares, recovery from dropouts."""

import secrets
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

import shamirs
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

PRIME = 2**256 + 297
"""Field of the shares: the least prime above all 256-bit secrets."""

SECRET_BYTES = 32
SHARE_BYTES = 33
SEALED_BYTES = 2 * SHARE_BYTES + 16 + 12
"""A pair of shares under AES-GCM, with its tag and nonce."""


class PublicKeys(NamedTuple):
    """What a client publishes for one round, 32 bytes each.

    Attributes:
      mask: X25519 key that pairs derive their masks from.
      channel: X25519 key under which shares for it are sealed.
    """

    mask: bytes
    channel: bytes


class Opened(NamedTuple):
    """What a client opens after the uploads: ONE share of each client's secrets.

    Attributes:
      selves: number → share of its own mask's secret, of clients whose vector arrived.
      keys: number → share of its mask key, of clients that were lost.
    """

    selves: dict[int, int]
    keys: dict[int, int]


class Rebuilt(NamedTuple):
    """What the server rebuilds from opened shares, 32 bytes each.

    Attributes:
      selves: number → secret of its own mask, of clients whose vector arrived.
      pairs: (lost, arrived) → secret that the two share.
    """

    selves: dict[int, bytes]
    pairs: dict[tuple[int, int], bytes]


class Client:
    """One client's secrets for one round: what it keeps, what it publishes, and what it holds for the others.

    Formal guarantees: its vector is covered by a mask of its own, which fewer than ``threshold`` clients can't take
    off, and by one with each other client. It opens its shares once, and never both of one client's.

    Args:
      number: its slot in the round.
      round_name: which round of which run this is; shares that were sealed for another do not open.
    """

    def __init__(self, number: int, round_name: bytes = b"") -> None:
        self.number, self.round_name = number, round_name
        self._mask_key = X25519PrivateKey.generate()
        self._channel_key = X25519PrivateKey.generate()
        self.self_secret = secrets.token_bytes(SECRET_BYTES)
        self.published = PublicKeys(
            *(key.public_key().public_bytes_raw() for key in (self._mask_key, self._channel_key))
        )
        self.others: dict[int, PublicKeys] = {}
        self._held: dict[int, tuple[int, int]] = {}
        self._channels: dict[int, AESGCM] = {}
        self._opened = False

    def share_out(self, published: Mapping[int, PublicKeys], threshold: int) -> dict[int, bytes]:
        """Shares of both secrets, a pair for each client; those for others sealed, as they travel through the server.

        Args:
          published: number → keys of everybody in the round, this client among them.
          threshold: shares that rebuild a secret.

        Raises:
          ValueError: too few clients, or keys that are not this client's own under its number.
        """
        if published.get(self.number) != self.published:
            raise ValueError("the round has other keys in this client's place; take no part in it.")
        if not 2 <= threshold <= len(published):
            raise ValueError(f"threshold={threshold} is not from 2 to the {len(published)} clients of the round.")
        self.others = dict(sorted(published.items()))
        mask_key = self._mask_key.private_bytes_raw()
        both = [_dealt(secret, len(self.others), threshold) for secret in (mask_key, self.self_secret)]
        sealed: dict[int, bytes] = {}
        for v, key, own in zip(self.others, *both, strict=True):
            pair = key, own
            if v == self.number:
                self._held[v] = pair
                continue
            nonce = secrets.token_bytes(12)
            plain = b"".join(x.to_bytes(SHARE_BYTES, "big") for x in pair)
            sealed[v] = nonce + self._channel(v).encrypt(nonce, plain, self._names(self.number, v))
        return sealed

    def hold(self, sealed: Mapping[int, bytes]) -> None:
        """Take the shares that others sealed for this client.

        Args:
          sealed: sender → what it sealed.

        Raises:
          ValueError: one that was not sealed by its sender for this client and this round.
        """
        for u, box in sealed.items():
            if u not in self.others or u == self.number:
                raise ValueError(f"shares are from client {u}, who is not in the round.")
            try:
                opened = self._channel(u).decrypt(box[:12], box[12:], self._names(u, self.number))
            except (InvalidTag, ValueError) as error:
                raise ValueError(f"the shares of client {u} were changed on their way.") from error
            self._held[u] = (
                int.from_bytes(opened[:SHARE_BYTES], "big"),
                int.from_bytes(opened[SHARE_BYTES:], "big"),
            )

    def pair_secret(self, other: int) -> bytes:
        """The secret of the mask that it shares with another client.

        Args:
          other: its number.
        """
        return self._mask_key.exchange(X25519PublicKey.from_public_bytes(self.others[other].mask))

    def open(self, arrived: Collection[int], lost: Collection[int], threshold: int) -> Opened:
        """ONE of the two shares that it holds of each client.

        Args:
          arrived: numbers of those whose vector arrived.
          lost: of those who shared their secrets, and whose vector did not.
          threshold: below which nothing is opened.

        Raises:
          ValueError: a number in both, too few arrived, or a second call.
        """
        if self._opened:
            raise ValueError("the shares of this round were opened before; a second choice could undo a mask.")
        if set(arrived) & set(lost) or not set(arrived) | set(lost) <= set(self._held):
            raise ValueError("those who arrived and those who were lost are not the round's clients, each once.")
        if len(set(arrived)) < threshold:
            raise ValueError(f"{len(set(arrived))} vectors arrived, below threshold={threshold}; nothing is opened.")
        self._opened = True
        return Opened({u: self._held[u][1] for u in arrived}, {u: self._held[u][0] for u in lost})

    def _channel(self, other: int) -> AESGCM:
        if other not in self._channels:
            public = X25519PublicKey.from_public_bytes(self.others[other].channel)
            self._channels[other] = AESGCM(derived(self._channel_key.exchange(public), b"channel", 32))
        return self._channels[other]

    def _names(self, sender: int, receiver: int) -> bytes:
        return self.round_name + sender.to_bytes(4, "big") + receiver.to_bytes(4, "big")


def rebuild(
    opened: Mapping[int, Opened],
    published: Mapping[int, PublicKeys],
    arrived: Collection[int],
    lost: Collection[int],
    threshold: int,
) -> Rebuilt | None:
    """What the server needs to take masks off, from the shares of ``threshold`` clients; None if fewer answered.

    Args:
      opened: number → what it opened.
      published: number → keys of everybody who shared secrets.
      arrived: numbers of those whose vector arrived.
      lost: of the others.
      threshold: shares that rebuild a secret.

    Raises:
      ValueError: shares that don't rebuild the secrets: someone opened others than it holds.
    """
    helpers = sorted(opened)[:threshold]
    if len(helpers) < threshold:
        return None
    places = {k: i + 1 for i, k in enumerate(sorted(published))}
    weights = _weights_at_zero([places[k] for k in helpers])

    def secret(shares: list[int]) -> bytes:
        number = sum(w * share for w, share in zip(weights, shares, strict=True)) % PRIME
        if number >= 2 ** (8 * SECRET_BYTES):
            raise ValueError("the opened shares rebuild no secret; some are not those that were dealt.")
        return number.to_bytes(SECRET_BYTES, "big")

    selves = {u: secret([opened[k].selves[u] for k in helpers]) for u in arrived}
    pairs: dict[tuple[int, int], bytes] = {}
    for u in lost:
        key = X25519PrivateKey.from_private_bytes(secret([opened[k].keys[u] for k in helpers]))
        if key.public_key().public_bytes_raw() != published[u].mask:
            raise ValueError(f"the opened shares rebuild another key than client {u} published.")
        for v in arrived:
            pairs[u, v] = key.exchange(X25519PublicKey.from_public_bytes(published[v].mask))
    return Rebuilt(selves, pairs)


def derived(secret: bytes, purpose: bytes, length: int) -> bytes:
    """Bytes for one purpose from a secret.

    Args:
      secret: as two keys agree on it, or drawn.
      purpose: what the bytes are for.
      length: how many.

    Example:
      >>> len(derived(b"0" * 32, b"pair", 8)), derived(b"0" * 32, b"pair", 8) == derived(b"0" * 32, b"self", 8)
      (8, False)
    """
    return HKDF(algorithm=SHA256(), length=length, salt=None, info=b"dpjax " + purpose).derive(secret)


def _dealt(secret: bytes, quantity: int, threshold: int) -> list[int]:
    """A share for each place, from 1 on."""
    shares = shamirs.shares(int.from_bytes(secret, "big"), quantity, PRIME, threshold)
    return [int(share[1]) for share in shares]


def _weights_at_zero(points: Sequence[int]) -> list[int]:
    """Lagrange weights: Σ weight × share is the secret. Once for all secrets, which the library would do for each."""
    weights = []
    for i in points:
        top = bottom = 1
        for j in points:
            if i != j:
                top, bottom = top * j % PRIME, bottom * (j - i) % PRIME
        weights.append(top * pow(bottom, -1, PRIME) % PRIME)
    return weights
