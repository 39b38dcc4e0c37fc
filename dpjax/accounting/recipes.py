"""Ways to correlate noise, by the names that configs and rows have for them."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

from dpjax.accounting.factorization import (
    Factorization,
    banded_toeplitz,
    buffered_toeplitz,
    optimal_toeplitz,
    tree_aggregation,
)
from dpjax.accounting.participation import Participation
from dpjax.checks import one_of

FACTORIZATIONS: dict[str, Callable[[Participation, int], Factorization]] = {
    "banded": banded_toeplitz,
    "optimal": lambda participation, bands: optimal_toeplitz(participation),
    "buffered": lambda participation, bands: buffered_toeplitz(participation),
    "tree": lambda participation, bands: tree_aggregation(participation),
}
"""Name → how a run's noise is correlated, for units that take part as stated and so many bands."""


@lru_cache(maxsize=16)  # found by an optimizer, which takes seconds for long runs
def factorization_of(name: str, participation: Participation, bands: int | None = None) -> Factorization:
    """The factorization of a name.

    Formal guarantees: those of the function that makes it, such as ``banded_toeplitz``.

    Args:
      name: one of ``FACTORIZATIONS``.
      participation: how often and how densely one unit takes part.
      bands: of "banded"; None: the steps between participations. The others have none.

    Returns:
      The factorization, made once for equal arguments.

    Raises:
      ValueError: an unknown name, or bands out of range.

    Example:
      >>> factorization_of("banded", Participation(num_steps=40, max_participations=4, min_separation=10)).bands
      10
    """
    width = bands or min(participation.min_separation, participation.num_steps)
    return FACTORIZATIONS[one_of("factorization", name, FACTORIZATIONS)](participation, width)


def recipe_of(factorization: Factorization, participation: Participation) -> str:
    """The name under which ``factorization_of`` makes it again, and its bands where it is banded; empty if it has none.

    Args:
      factorization: how a run's noise is correlated.
      participation: of the units of that run; a factorization for other units is not made again from it.

    Example:
      >>> schema = Participation(num_steps=40, max_participations=4, min_separation=10)
      >>> recipe_of(banded_toeplitz(schema, 3), schema), recipe_of(banded_toeplitz(schema, 3, objective="max"), schema)
      ('banded 3', '')
    """
    name = factorization.name.partition("_")[0]
    if name not in FACTORIZATIONS:
        return ""
    bands = factorization.bands if name == "banded" else None
    if factorization_of(name, participation, bands) != factorization:
        return ""
    return name if bands is None else f"{name} {bands}"
