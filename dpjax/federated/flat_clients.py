"""Clients as one list of rows and the length of each: what a million of them are shared out and padded in."""

import os

import jax.numpy as jnp
import numpy as np
from jaxtyping import Int

from dpjax.types import Records

_LONG = 256
"""Rows above which a client is shuffled by NumPy itself, in a call of its own."""
_CELL = 5
"""Bytes of a row number and its mask."""

Rows = Int[np.ndarray, "rows"]
Sizes = Int[np.ndarray, "clients"]


def even_sizes(num_rows: int, num_clients: int) -> Sizes:
    """Sizes that differ by at most one, the larger first, as of ``np.array_split``."""
    each, over = divmod(num_rows, num_clients)
    return np.where(np.arange(num_clients) < over, each + 1, each)


def starts_of(sizes: Sizes) -> Sizes:
    """Where each client's rows begin."""
    return np.cumsum(sizes) - sizes


def places_within(sizes: Sizes) -> Rows:
    """Of each row its number among its client's."""
    return np.arange(sizes.sum()) - np.repeat(starts_of(sizes), sizes)


def by_client(rows: Rows, owners: Rows, num_clients: int) -> tuple[Rows, Sizes]:
    """Rows put in the order of their clients, those of one client as they came."""
    return rows[np.argsort(owners, kind="stable")], np.bincount(owners, minlength=num_clients)


def shuffle_each(rng: np.random.Generator, rows: Rows, sizes: Sizes) -> Rows:
    """What ``rng.permutation`` gives of each client's rows, one client after the other, without a call for each.

    The exchanges of NumPy's own shuffle (of the last place with one at or before it, then of the last but one, ...) are
    drawn in its order, and then done for all clients at once, place by place.
    """
    # This older interface to the same bits draws many numbers as a shuffle draws one: again where it is too large.
    draw = np.random.RandomState(rng.bit_generator).randint
    starts, out = starts_of(sizes), rows.copy()
    partners = np.empty(len(rows), np.int64)
    last = np.repeat(sizes - 1, sizes) - places_within(sizes)  # a place that is 0 draws nothing
    drawn = 0
    for client in np.flatnonzero(sizes > _LONG):
        begin, end = starts[client], starts[client] + sizes[client]
        partners[drawn:begin] = draw(0, last[drawn:begin] + 1)
        out[begin:end] = rng.permutation(rows[begin:end])
        drawn = end
    partners[drawn:] = draw(0, last[drawn:] + 1)
    short = np.flatnonzero((sizes > 1) & (sizes <= _LONG))
    short = short[np.argsort(-sizes[short], kind="stable")]
    exchanges = -sizes[short] + 1  # ascending
    for turn in range(-int(exchanges.min(initial=0))):
        active = short[: np.searchsorted(exchanges, -turn)]
        first = starts[active]
        here, there = first + sizes[active] - 1 - turn, first + partners[first + turn]
        out[here], out[there] = out[there], out[here]
    return out


def top_up(rows: Rows, sizes: Sizes, least: int) -> tuple[Rows, Sizes]:
    """Rows moved to clients that have fewer than ``least``, each the last of whoever holds most at that moment.

    Of several that hold as many the first gives. So rows are given away place by place, from the highest down, and
    within a place client by client: a sort says which, and no client is looked for.
    """
    wanted = np.maximum(least - sizes, 0)
    place = places_within(sizes)
    spare = np.flatnonzero(place >= least)
    given = spare[np.argsort(-place[spare], kind="stable")[: wanted.sum()]]
    owners = np.repeat(np.arange(len(sizes)), sizes)
    kept = np.ones(len(rows), bool)
    kept[given] = False
    takers = np.repeat(np.arange(len(sizes)), wanted)
    return by_client(np.append(rows[kept], rows[given]), np.append(owners[kept], takers), len(sizes))


def padded(rows: Rows, sizes: Sizes) -> Records:
    """``Records`` of clients whose rows follow one another.

    Raises:
      ValueError: padding to the largest client would take more memory than this machine has.
    """
    longest = int(sizes.max())
    needed, there = longest * len(sizes) * _CELL, os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if needed > there:
        raise ValueError(
            f"one of {len(sizes):,} clients has {longest:,} rows, and lists as long for all take {needed / 2**30:,.0f} "
            f"GiB; this machine has {there / 2**30:,.0f}; give natural clients a max_records, others a larger alpha."
        )
    mask = np.arange(longest) < sizes[:, None]
    index = np.zeros(mask.shape, np.int32)
    index[mask] = rows
    return Records(index=jnp.asarray(index), mask=jnp.asarray(mask))
