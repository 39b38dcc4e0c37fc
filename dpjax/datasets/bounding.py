"""Bounded contributions: at most so many rows of each owner, so that ε can hold for the owner and not for a row."""

import numpy as np
from jaxtyping import Float64, Int64, Shaped

from dpjax.checks import whole_number
from dpjax.datasets.owner_coins import owner_coins


def bound_contributions(
    owners: Shaped[np.ndarray, "*rows"], max_records: int, *, seed: int
) -> Int64[np.ndarray, "kept"]:
    """Which rows to train on, so that no owner has more than ``max_records`` of them.

    Formal guarantees: which of its rows an owner keeps depends on their number, the owner's number and the seed alone,
    never on another owner. So data sets that differ in one owner still differ in that owner's rows only, at most
    ``max_records`` of them, which is what ``Mechanism(records_per_unit=max_records)`` accounts for. An owner with more
    keeps a uniformly random subset.

    Args:
      owners: ``[rows]`` who each row belongs to; ``Dataset.train_units``. Numbers must be the same whoever else is in
        the data.
      max_records: rows that an owner keeps at most.
      seed: of all choices, at least 0.

    Returns:
      ``[kept]`` row numbers, ascending.

    Raises:
      ValueError: ``max_records`` < 1, ``seed`` < 0, or owners that are no vector of whole numbers.

    Example:
      >>> owners = np.array([7, 3, 7, 7, 5, 3, 7])
      >>> kept = bound_contributions(owners, 2, seed=0)
      >>> np.unique(owners[kept], return_counts=True)
      (array([3, 5, 7]), array([2, 1, 2]))

    References:
      Charles et al., Fine-Tuning Large Language Models with User-Level Differential Privacy, 2024
      (https://arxiv.org/abs/2407.07737).
    """
    max_records = whole_number("max_records", max_records, fix="it counts rows of an owner")
    seed = whole_number("seed", seed, least=0, fix="the same one keeps the same rows")
    owners = np.asarray(owners)
    if owners.ndim != 1 or (owners.size and not np.issubdtype(owners.dtype, np.integer)):
        raise ValueError(f"owners of shape {owners.shape} and type {owners.dtype} must be a vector of whole numbers.")
    owners = owners if owners.size else owners.astype(np.int64)  # of nothing NumPy makes floats
    names, place, counts = np.unique(owners, return_inverse=True, return_counts=True)
    rows = np.argsort(place, kind="stable")
    keep = np.ones(len(owners), bool)
    over = counts > max_records
    some = np.repeat(over, counts)
    ranked = rows[some][_by_coin(owner_coins(seed, names[over], counts[over]), counts[over])]
    place = np.arange(len(ranked)) - np.repeat(np.cumsum(counts[over]) - counts[over], counts[over])
    keep[ranked[place >= max_records]] = False
    return np.flatnonzero(keep)


def _by_coin(coins: Float64[np.ndarray, "rows"], counts: Int64[np.ndarray, "owners"]) -> Int64[np.ndarray, "rows"]:
    """Rows in the order of their owners, those of one by their coins; of equal coins the first comes first."""
    return np.lexsort((coins, np.repeat(np.arange(len(counts)), counts)))
