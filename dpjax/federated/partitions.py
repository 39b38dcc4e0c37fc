"""Partitions of a data set among simulated clients: IID, and skewed by label; drawn once on the host."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Integer

from dpjax.types import Records


def iid_partition(num_examples: int, num_clients: int, *, seed: int) -> Records:
    """Deals the rows out to the clients at random and evenly.

    Guarantees that every row belongs to exactly one client, that clients' sizes differ by at most one, and that the
    same arguments give the same partition (under one version of NumPy).

    Args:
      num_examples: rows of the data set.
      num_clients: number of clients.
      seed: of the permutation.

    Returns:
      ``index`` int32 and ``mask`` bool, ``[clients, records]``; padding has index 0 and mask False.

    Raises:
      ValueError: no clients, or more clients than rows.

    Example:
      >>> clients = iid_partition(10, 4, seed=0)
      >>> clients.mask.sum(1).tolist()
      [3, 3, 2, 2]
    """
    _check(num_examples, num_clients, min_records=1)
    order = np.random.default_rng(seed).permutation(num_examples)
    return _pad(np.array_split(order, num_clients))


def dirichlet_partition(
    labels: Integer[np.ndarray, "rows"], num_clients: int, *, alpha: float, seed: int, min_records: int = 1
) -> Records:
    r"""Divides each class among the clients in shares drawn from a Dirichlet distribution.

    For every class y on its own, shares :math:`(p_{y,1},\dots,p_{y,K}) \sim \mathrm{Dir}(\alpha,\dots,\alpha)` say
    which part of its rows each of the K clients gets. This is the form of Yurochkin et al. that most federated
    benchmarks use; clients differ in label mix and in size. (Hsu et al. draw each client's label mix instead, and
    keep the sizes equal.) Large ``alpha`` approaches the IID partition; at 0.1 a client holds few classes.

    Guarantees that every row belongs to exactly one client, that none has fewer than ``min_records``, and that the
    same arguments give the same partition (under one version of NumPy). Clients short of rows get random ones from
    the client that holds most at that moment; redrawing until all have enough might never end.

    The partition simulates clients; it is not itself private, and the length of the padded axis is the largest
    client's size.

    Args:
      labels: ``[rows]`` class numbers.
      num_clients: number of clients.
      alpha: concentration, > 0.
      seed: of all draws.
      min_records: rows that every client has at least.

    Returns:
      ``index`` int32 and ``mask`` bool, ``[clients, records]``; padding has index 0 and mask False.

    Raises:
      ValueError: no clients, ``alpha`` ≤ 0, or fewer rows than ``num_clients × min_records``.

    Example:
      >>> clients = dirichlet_partition(np.arange(100) % 10, 5, alpha=0.3, seed=0)
      >>> int(clients.mask.sum()), bool(clients.mask.any(1).all())
      (100, True)

    References:
      Yurochkin et al., 2019 (https://arxiv.org/abs/1905.12022); Hsu et al., 2019 (https://arxiv.org/abs/1909.06335).
    """
    _check(len(labels), num_clients, min_records)
    if not 0 < alpha < np.inf:
        raise ValueError(
            f"federated.alpha={alpha} must be finite and > 0; use the iid partition for equal label mixes."
        )
    rng = np.random.default_rng(seed)
    parts: list[list[np.ndarray]] = [[] for _ in range(num_clients)]
    for label in np.unique(labels):
        rows = rng.permutation(np.flatnonzero(labels == label))
        cuts = (np.cumsum(rng.dirichlet(np.full(num_clients, alpha)))[:-1] * len(rows)).astype(np.int64)
        for part, chunk in zip(parts, np.split(rows, cuts), strict=True):
            part.append(chunk)
    clients = [rng.permutation(np.concatenate(part)) for part in parts]
    sizes = np.array([len(client) for client in clients])
    for client in np.flatnonzero(sizes < min_records):
        while sizes[client] < min_records:
            donor = int(np.argmax(sizes))
            clients[client] = np.append(clients[client], clients[donor][-1])
            clients[donor] = clients[donor][:-1]
            sizes[client] += 1
            sizes[donor] -= 1
    return _pad(clients)


def _check(num_examples: int, num_clients: int, min_records: int) -> None:
    if num_clients < 1:
        raise ValueError(f"federated.num_clients={num_clients} must be at least 1.")
    if min_records < 0:
        raise ValueError(f"min_records={min_records} must be at least 0.")
    if num_examples < max(1, num_clients * min_records):
        each = "" if min_records <= 1 else f" of {min_records} rows each"
        raise ValueError(
            f"federated.num_clients={num_clients}{each} cannot share {num_examples} rows; "
            f"use at most {num_examples // max(min_records, 1)}."
        )


def _pad(clients: list[np.ndarray]) -> Records:
    sizes = np.array([len(client) for client in clients])
    mask = np.arange(sizes.max()) < sizes[:, None]
    index = np.zeros(mask.shape, np.int32)
    index[mask] = np.concatenate(clients)
    return Records(index=jnp.asarray(index), mask=jnp.asarray(mask))
