"""The host's half of simulated secure aggregation: one round of the protocol among all its parties."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, UInt32

from dpjax.federated.aggregation.parties import Client, derived, rebuild

SEED_BYTES = 8


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
    published = {k: client.published for k, client in clients.items()}
    boxes = {u: client.share_out(published, threshold) for u, client in clients.items()}
    for v, client in clients.items():
        client.hold({u: sealed[v] for u, sealed in boxes.items() if u != v})
        selves[v] = _seed(client.self_secret, b"self")
        for u in clients:
            if u < v:
                pairs[u, v] = pairs[v, u] = _seed(client.pair_secret(u), b"pair")
    there, lost = ([k for k in clients if bool(uploaded[k]) is came] for came in (True, False))
    helpers = [k for k in clients if answering[k]][:threshold]
    if len(helpers) < threshold:
        return none._replace(pair_seeds=pairs, self_seeds=selves)
    opened = {k: clients[k].open(there, lost, threshold) for k in helpers}
    rebuilt = rebuild(opened, published, there, lost, threshold)
    assert rebuilt is not None
    for u, secret in rebuilt.selves.items():
        none.recovered_selves[u] = _seed(secret, b"self")
    for (u, v), secret in rebuilt.pairs.items():
        none.recovered_pairs[u, v] = _seed(secret, b"pair")
    return none._replace(pair_seeds=pairs, self_seeds=selves, released=np.array(True))


def _seed(secret: bytes, purpose: bytes) -> UInt32[np.ndarray, "2"]:
    return np.frombuffer(derived(secret, purpose, SEED_BYTES), np.uint32)
