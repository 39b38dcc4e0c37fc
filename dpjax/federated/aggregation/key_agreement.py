"""The host's half of secure aggregation: keys, pairwise secrets, sealed Shamir shares, recovery from dropouts."""

import secrets
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import shamirs
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from jaxtyping import Bool, UInt32

PRIME = 2**256 + 297
"""Field of the shares: the least prime above all 256-bit secrets."""

SECRET_BYTES = 32
SHARE_BYTES = 33
SEED_BYTES = 8
SEALED_BYTES = 2 * SHARE_BYTES + 16 + 12
"""A pair of shares under AES-GCM, with its tag and nonce."""


class Agreement(NamedTuple):
    """What one round's protocol gives to the clients and, after the uploads, to the server.

    Attributes:
      pair_seeds: ``[clients, clients, 2]`` seed of each pair's mask; symmetric; zero where one of them is absent.
      self_seeds: ``[clients, 2]`` seed of each client's own mask.
      recovered_pairs: ``[clients, clients, 2]`` seeds that the server rebuilt: rows of clients that dropped out.
      recovered_selves: ``[clients, 2]`` seeds that the server rebuilt: of clients whose vector arrived.
      released: scalar; False if too few answered to rebuild anything.
    """

    pair_seeds: UInt32[np.ndarray, "clients clients 2"]
    self_seeds: UInt32[np.ndarray, "clients 2"]
    recovered_pairs: UInt32[np.ndarray, "clients clients 2"]
    recovered_selves: UInt32[np.ndarray, "clients 2"]
    released: Bool[np.ndarray, ""]


class Client:
    """One client's secrets for one round: what it keeps, what it publishes, and what it holds for the others."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.mask_key = X25519PrivateKey.generate()
        self.channel_key = X25519PrivateKey.generate()
        self.self_secret = secrets.token_bytes(SECRET_BYTES)
        self.mask_public = self.mask_key.public_key()
        self.channel_public = self.channel_key.public_key()
        self.held: dict[int, tuple[int, int]] = {}

    def shares(self, quantity: int, threshold: int) -> list[tuple[int, int]]:
        """Shares of the mask key and of the own mask's secret, one pair for each client."""
        key = self.mask_key.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption())
        both = [
            shamirs.shares(int.from_bytes(secret, "big"), quantity, PRIME, threshold)
            for secret in (key, self.self_secret)
        ]
        return [(int(a[1]), int(b[1])) for a, b in zip(*both, strict=True)]


def agree(
    present: Bool[np.ndarray, "clients"],
    uploaded: Bool[np.ndarray, "clients"],
    answering: Bool[np.ndarray, "clients"],
    threshold: int,
) -> Agreement:
    """Runs the protocol of one round among the clients that are present.

    Everyone publishes two X25519 keys; every pair derives the seed of its mask; everyone shares its mask key and the
    secret of its own mask among all, each share sealed for its holder under the pair's channel key, since it travels
    through the server. After the uploads those who answer open, for each client, ONE of two shares: of the mask key if
    it dropped out, else of its own mask's secret. From ``threshold`` shares the server rebuilds what it needs.

    Formal guarantees: fewer than ``threshold`` clients together with the server learn nothing of a secret that they
    should not have; if fewer answer, nothing is rebuilt. Honest but curious parties are assumed: there is no
    consistency check against a server that lies about who dropped out. Keys and secrets come from the operating system,
    afresh in each call; seeds have 64 bits, as JAX's generator takes them.

    Args:
      present: who takes part in the round.
      uploaded: whose masked vector arrives; a part of ``present``.
      answering: who is still there to open shares; a part of ``uploaded``.
      threshold: shares that rebuild a secret, at least 2.

    Example:
      >>> there = np.array([True, True, True])
      >>> done = agree(there, np.array([True, False, True]), np.array([True, False, True]), threshold=2)
      >>> bool(done.released), bool((done.recovered_pairs[1, 0] == done.pair_seeds[0, 1]).all())
      (True, True)

    References:
      Bonawitz et al., Practical Secure Aggregation for Privacy-Preserving Machine Learning, 2017
      (https://eprint.iacr.org/2017/281).
    """
    size = len(present)
    pairs, selves = np.zeros((size, size, 2), np.uint32), np.zeros((size, 2), np.uint32)
    none = Agreement(pairs, selves, np.zeros_like(pairs), np.zeros_like(selves), np.array(False))
    numbers = np.flatnonzero(present)
    if len(numbers) < threshold:
        return none  # nobody starts a round that could not be finished
    clients = {int(k): Client(int(k)) for k in numbers}
    holders = list(clients)
    for u in holders:
        selves[u] = _seed(clients[u].self_secret, b"self")
        for v in holders:
            if u < v:
                pairs[u, v] = pairs[v, u] = _pair_seed(clients[u].mask_key, clients[v].mask_public)
    _share_out(clients, threshold)
    answers = [k for k in holders if answering[k]]
    if len(answers) < threshold:
        return none._replace(pair_seeds=pairs, self_seeds=selves)
    helpers = answers[:threshold]
    weights = _weights_at_zero([holders.index(k) + 1 for k in helpers])

    def rebuild(of: int, which: int) -> bytes:
        opened = (clients[k].held[of][which] for k in helpers)
        return (sum(w * share for w, share in zip(weights, opened, strict=True)) % PRIME).to_bytes(SHARE_BYTES, "big")

    for u in holders:
        if uploaded[u]:
            none.recovered_selves[u] = _seed(rebuild(u, 1)[-SECRET_BYTES:], b"self")
            continue
        lost = X25519PrivateKey.from_private_bytes(rebuild(u, 0)[-SECRET_BYTES:])
        for v in holders:
            if uploaded[v]:
                none.recovered_pairs[u, v] = _pair_seed(lost, clients[v].mask_public)
    return none._replace(pair_seeds=pairs, self_seeds=selves, released=np.array(True))


def _share_out(clients: dict[int, Client], threshold: int) -> None:
    """Every client's shares, sealed, through the server, opened by their holders."""
    channels = {
        (u, v): _channel(clients[u].channel_key, clients[v].channel_public) for u in clients for v in clients if u < v
    }
    for u, client in clients.items():
        for v, pair in zip(clients, client.shares(len(clients), threshold), strict=True):
            if u == v:
                clients[v].held[u] = pair
                continue
            cipher = channels[min(u, v), max(u, v)]
            nonce = secrets.token_bytes(12)
            sealed = cipher.encrypt(nonce, b"".join(x.to_bytes(SHARE_BYTES, "big") for x in pair), _names(u, v))
            opened = cipher.decrypt(nonce, sealed, _names(u, v))
            clients[v].held[u] = (
                int.from_bytes(opened[:SHARE_BYTES], "big"),
                int.from_bytes(opened[SHARE_BYTES:], "big"),
            )


def _names(sender: int, receiver: int) -> bytes:
    return sender.to_bytes(4, "big") + receiver.to_bytes(4, "big")


def _derive(secret: bytes, purpose: bytes, length: int) -> bytes:
    return HKDF(algorithm=SHA256(), length=length, salt=None, info=b"dpjax " + purpose).derive(secret)


def _seed(secret: bytes, purpose: bytes) -> UInt32[np.ndarray, "2"]:
    return np.frombuffer(_derive(secret, purpose, SEED_BYTES), np.uint32)


def _pair_seed(secret: X25519PrivateKey, other: X25519PublicKey) -> UInt32[np.ndarray, "2"]:
    return _seed(secret.exchange(other), b"pair")


def _channel(secret: X25519PrivateKey, other: X25519PublicKey) -> AESGCM:
    return AESGCM(_derive(secret.exchange(other), b"channel", 32))


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
