"""Partitions of a data set among clients: IID, skewed by label or size, natural; drawn once on the host."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Integer

from dpjax.checks import brief, whole_number
from dpjax.datasets import bound_contributions
from dpjax.federated.flat_clients import by_client, even_sizes, padded, places_within, shuffle_each, starts_of, top_up
from dpjax.ranges import ALPHA, NUM_CLIENTS, RECORDS_PER_CLIENT, SHARDS_PER_CLIENT
from dpjax.types import Records

_AT_ONCE = 10_000_000
"""Coins and edges that are compared at once."""


def iid_partition(num_examples: int, num_clients: int, *, seed: int) -> Records:
    """Deals the rows out to the clients at random and evenly.

    Formal guarantees: none of privacy: it simulates clients, from public numbers alone. Every row belongs to exactly
    one client, clients' sizes differ by at most one, and the same arguments give the same partition (under one version
    of NumPy).

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
    return padded(_generator(seed).permutation(num_examples), even_sizes(num_examples, num_clients))


def dirichlet_partition(
    labels: Integer[np.ndarray, "rows"], num_clients: int, *, alpha: float, seed: int, min_records: int = 1
) -> Records:
    """Divides each class among the clients in shares drawn from a Dirichlet distribution.

    For every class on its own, shares drawn from Dir(α, …, α) say which part of its rows each of the clients gets. This
    is the form of Yurochkin et al. that most federated benchmarks use; clients differ in label mix and in size. (Hsu et
    al. draw each client's label mix instead, and keep the sizes equal.) Large ``alpha`` approaches the IID partition;
    at 0.1 a client holds few classes.

    Clients short of rows get random ones from the client that holds most at that moment; redrawing until all have
    enough might never end.

    Formal guarantees: none of privacy: it simulates clients, its draws look at all labels, and the length of the padded
    axis is the largest client's size. Rows as of ``iid_partition``, but that sizes differ; none is below
    ``min_records``.

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
    _check_labels(labels)
    _check(len(labels), num_clients, min_records)
    _check_alpha(alpha)
    rng = _generator(seed)
    rows, owners = [], []
    for label in np.unique(labels):
        of_class = rng.permutation(np.flatnonzero(labels == label))
        cuts = (np.cumsum(rng.dirichlet(np.full(num_clients, alpha)))[:-1] * len(of_class)).astype(np.int64)
        rows.append(of_class)
        owners.append(np.repeat(np.arange(num_clients), np.diff(cuts, prepend=0, append=len(of_class))))
    flat, sizes = by_client(np.concatenate(rows), np.concatenate(owners), num_clients)
    return padded(*top_up(shuffle_each(rng, flat, sizes), sizes, min_records))


def shard_partition(
    labels: Integer[np.ndarray, "rows"], num_clients: int, *, shards_per_client: int = 2, seed: int
) -> Records:
    """Sorts the rows by class, cuts them into even shards and deals every client a few: most hold two classes.

    The "pathological" partition of the FedAvg paper.

    Formal guarantees: none of privacy, as its cuts follow from all labels. Rows as of ``iid_partition``; it is shards
    that differ in size by at most one.

    Args:
      labels: ``[rows]`` class numbers.
      num_clients: number of clients.
      shards_per_client: shards that each gets.
      seed: of all draws.

    Returns:
      ``index`` int32 and ``mask`` bool, ``[clients, records]``; padding has index 0 and mask False.

    Raises:
      ValueError: no clients or shards, or fewer rows than shards.

    Example:
      >>> clients = shard_partition(np.arange(100) % 10, 10, shards_per_client=1, seed=0)
      >>> sorted(set(clients.mask.sum(1).tolist()))
      [10]

    References:
      McMahan et al., 2017 (https://arxiv.org/abs/1602.05629).
    """
    SHARDS_PER_CLIENT.known("shards_per_client", shards_per_client)
    _check_labels(labels)
    _check(len(labels), num_clients, min_records=shards_per_client)
    rng = _generator(seed)
    shuffled = rng.permutation(len(labels))  # else rows of one class would keep the file's order
    rows = shuffled[np.argsort(labels[shuffled], kind="stable")]
    sizes = even_sizes(len(rows), num_clients * shards_per_client)
    dealt = rng.permutation(len(sizes))
    lengths = sizes[dealt]
    flat = rows[np.repeat(starts_of(sizes)[dealt], lengths) + places_within(lengths)]
    held = lengths.reshape(num_clients, shards_per_client).sum(1)
    return padded(shuffle_each(rng, flat, held), held)


def quantity_partition(
    num_examples: int, num_clients: int, *, alpha: float, seed: int, min_records: int = 1
) -> Records:
    """Deals the rows out at random, but unevenly: shares of the whole are drawn from Dir(α, …, α).

    All clients have the same mix of labels on average; at ``alpha`` 0.5 the largest of 100 holds some ten times the
    mean.

    Formal guarantees: those of ``iid_partition``, but that sizes differ; none is below ``min_records``.

    Args:
      num_examples: rows of the data set.
      num_clients: number of clients.
      alpha: concentration, > 0; large is even.
      seed: of all draws.
      min_records: rows that every client has at least.

    Returns:
      ``index`` int32 and ``mask`` bool, ``[clients, records]``; padding has index 0 and mask False.

    Raises:
      ValueError: no clients, ``alpha`` ≤ 0, or fewer rows than ``num_clients × min_records``.

    Example:
      >>> sizes = quantity_partition(1000, 10, alpha=0.5, seed=0).mask.sum(1)
      >>> int(sizes.sum()), int(sizes.max()) > 3 * int(sizes.min())
      (1000, True)

    References:
      Li et al., Federated Learning on Non-IID Data Silos, 2022 (https://arxiv.org/abs/2102.02079).
    """
    _check(num_examples, num_clients, min_records)
    _check_alpha(alpha)
    rng = _generator(seed)
    spare = num_examples - num_clients * min_records
    cuts = (np.cumsum(rng.dirichlet(np.full(num_clients, alpha)))[:-1] * spare).astype(np.int64)
    sizes = min_records + np.diff(np.concatenate([[0], cuts, [spare]]))
    return padded(rng.permutation(num_examples), sizes)


def natural_partition(
    owners: Integer[np.ndarray, "rows"], *, min_records: int = 1, max_records: int | None = None, seed: int = 0
) -> tuple[Records, Integer[np.ndarray, "clients"]]:
    """One client per owner of rows: a patient, a customer, a hospital, a role in a play.

    Owners with fewer than ``min_records`` rows are left out.

    Formal guarantees: a client holds rows of one owner only, and what it holds follows from that owner's rows alone:
    data sets that differ in one owner differ in one client, so that ε of clients is ε of owners. How many clients there
    are, and the length of the padded axis (the largest client's size), are seen by whoever sees shapes; ``max_records``
    bounds the latter.

    Args:
      owners: ``[rows]`` who each row belongs to; ``Dataset.train_units``.
      min_records: rows that a client needs.
      max_records: a random part of so many rows where an owner has more, as ``bound_contributions`` chooses it; it
        bounds the padding, and with user-level privacy costs nothing, as a client counts once whatever it holds.
      seed: of those parts.

    Returns:
      The clients, and for each its owner, ascending.

    Raises:
      ValueError: a bound < 1, or no owner with enough rows.

    Example:
      >>> clients, owners = natural_partition(np.array([7, 3, 7, 7, 5, 3]), min_records=2)
      >>> clients.mask.sum(1).tolist(), owners.tolist()
      ([2, 3], [3, 7])
    """
    for name, value in (("min_records", min_records), ("max_records", max_records)):
        if value is not None or name == "min_records":
            RECORDS_PER_CLIENT.known(name, value)
    _check_labels(owners, "owners")
    seed = whole_number("seed", seed, least=0, fix="the same one gives the same partition")
    names, place, counts = np.unique(owners, return_inverse=True, return_counts=True)
    large_enough = counts >= min_records
    if not large_enough.any():
        raise ValueError(f"min_records={min_records} leaves no client; the largest has {counts.max(initial=0)} rows.")
    kept = large_enough[place]
    if max_records is not None:
        chosen = np.zeros(len(place), bool)
        chosen[bound_contributions(np.asarray(owners), max_records, seed=seed)] = True
        kept &= chosen
    rows, sizes = by_client(np.flatnonzero(kept), place[kept], len(names))
    return padded(rows, sizes[large_enough]), names[large_enough]


def sampled_partition(
    labels: Integer[np.ndarray, "rows"],
    num_clients: int,
    *,
    records_per_client: int,
    alpha: float = np.inf,
    seed: int,
) -> Records:
    """Each client draws its own label mix, and rows of those labels from ALL the data: clients share rows.

    For large populations over small data sets, as simulators use them. A client draws a mix q from Dir(αp) around the
    data's own mix p, then each of its rows: a class from q, and a row of that class at random.

    Formal guarantees: none for a row: it may be with many clients, so what is protected is the simulated client and
    never the person behind a row.

    Args:
      labels: ``[rows]`` class numbers.
      num_clients: number of clients.
      records_per_client: rows of each.
      alpha: concentration, > 0; infinite for the data's own mix.
      seed: of all draws.

    Returns:
      ``index`` int32 and ``mask`` bool, ``[clients, records_per_client]``; nothing is padding.

    Raises:
      ValueError: no clients, no records, no rows, or ``alpha`` ≤ 0.

    Example:
      >>> clients = sampled_partition(np.arange(60) % 3, 1000, records_per_client=5, alpha=0.1, seed=0)
      >>> clients.index.shape
      (1000, 5)

    References:
      Hsu et al., Measuring the Effects of Non-Identical Data Distribution, 2019 (https://arxiv.org/abs/1909.06335).
    """
    for name, value in (("num_clients", num_clients), ("records_per_client", records_per_client)):
        whole_number(name, value, fix="give a number of clients, and of the rows of each")
    _check_labels(labels)
    if not len(labels):
        raise ValueError("labels hold no row; give a data set that has some.")
    anything = ALPHA._replace(finite=False, fix="inf gives every client the data's own label mix")
    alpha = anything.number("alpha", alpha)
    rng = _generator(seed)
    _, place, counts = np.unique(labels, return_inverse=True, return_counts=True)
    by_class, starts = np.argsort(place, kind="stable"), np.cumsum(counts) - counts
    share = counts / counts.sum()
    mixes = rng.dirichlet(alpha * share, num_clients) if np.isfinite(alpha) else share[None]
    coins, drawn = rng.random((num_clients, records_per_client)), np.empty((num_clients, records_per_client), np.int64)
    for some in np.array_split(np.arange(num_clients), -(-drawn.size * share.size // _AT_ONCE)):
        mix = mixes[some] if len(mixes) > 1 else mixes  # all clients' coins beside all classes would fill the memory
        drawn[some] = np.sum(coins[some, :, None] >= np.cumsum(mix, axis=1)[:, None, :-1], axis=-1)
    row = starts[drawn] + np.floor(rng.random(drawn.shape) * counts[drawn]).astype(np.int64)
    index = by_class[row].astype(np.int32)
    return Records(index=jnp.asarray(index), mask=jnp.ones(index.shape, bool))


def _generator(seed: int) -> np.random.Generator:
    return np.random.default_rng(whole_number("seed", seed, least=0, fix="the same one gives the same partition"))


def _check(num_examples: int, num_clients: int, min_records: int) -> None:
    whole_number("num_examples", num_examples, least=0, fix="it counts the rows of the data set")
    NUM_CLIENTS.known("num_clients", num_clients)
    whole_number("min_records", min_records, least=0, fix="it counts rows of a client")
    if num_examples < max(1, num_clients * min_records):
        each = "" if min_records <= 1 else f" of {min_records} rows each"
        raise ValueError(
            f"num_clients={num_clients}{each} cannot share {num_examples} rows; "
            f"use at most {num_examples // max(min_records, 1)}, or partition=sampled, in which clients share rows."
        )


def _check_alpha(alpha: float) -> None:
    ALPHA.number("alpha", alpha)


def _check_labels(labels: Integer[np.ndarray, "rows"], name: str = "labels") -> None:
    """Refuse what is equal to no class, as NaN is: its row would be with nobody."""
    if not (isinstance(labels, np.ndarray) and labels.ndim == 1 and labels.dtype.kind in "iuUSb"):
        raise TypeError(
            f"{name} must be a NumPy array [rows] of class numbers or names, not {brief(labels)}; make it one, and NaN "
            "a class of its own."
        )
