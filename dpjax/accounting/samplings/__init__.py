"""Kinds of sampling, as the accountant sees them: one class each, which answers for itself."""

from typing import Any

from dpjax.accounting.samplings.balls_in_bins import BallsInBins
from dpjax.accounting.samplings.fixed_size import FixedSize
from dpjax.accounting.samplings.full import Full
from dpjax.accounting.samplings.poisson import Poisson
from dpjax.accounting.samplings.sampling import Sampling
from dpjax.accounting.samplings.walks import Cyclic, Shuffled
from dpjax.checks import instance, one_of

SAMPLINGS: dict[str, type[Sampling]] = {
    kind.name: kind for kind in (Poisson, FixedSize, Shuffled, Cyclic, BallsInBins, Full)
}
"""Name → kind: all that a mechanism can have."""

DRAWN: tuple[str, ...] = tuple(name for name, kind in SAMPLINGS.items() if kind.is_drawn)
"""Names of those that configs can choose."""


def sampling_of(name: str, sampling_rate: Any, population: Any = None) -> Sampling:
    """The sampling of a name, as configs, rows and the command line have it.

    Formal guarantees: none of its own; what a kind claims is said, and proved, at its class.

    Args:
      name: one of ``SAMPLINGS``.
      sampling_rate: expected cohort size / population, in (0, 1].
      population: number of units; None where the kind needs none.

    Returns:
      A ``Sampling`` of that kind.

    Raises:
      ValueError: an unknown name, or what the kind refuses.

    Example:
      >>> sampling_of("poisson", 0.25)
      Poisson(sampling_rate=0.25, population=None)
    """
    return SAMPLINGS[one_of("sampling", name, SAMPLINGS)](sampling_rate, population)


def default_adjacency(sampling: str | Sampling, *, independent: bool = True) -> str:
    """The neighbouring relation where none is named: "zero_out", as a run divides by what is then said to be public.

    Formal guarantees: nowhere a larger ε than "add_or_remove_one" has, and the same wherever that is accounted for;
    nothing is said of "replace_one", whose ε may be larger. The one exception to "zero_out" follows from it:
    independent noise on cohorts of fixed size, where a unit that is gone leaves its place to another, and one that is
    zero does not (see ``FixedSize``).

    Args:
      sampling: a kind's name, or a sampling.
      independent: whether the noise is fresh in each step and added to the sum; False if it is correlated over the
        steps, or the clients add it.

    Returns:
      "zero_out" or "add_or_remove_one".

    Raises:
      ValueError: an unknown name.

    Example:
      >>> [default_adjacency(sampling) for sampling in ("poisson", "shuffled", "fixed_size")]
      ['zero_out', 'zero_out', 'add_or_remove_one']
    """
    if isinstance(sampling, str):
        return SAMPLINGS[one_of("sampling", sampling, SAMPLINGS)].default_adjacency(independent=independent)
    instance("sampling", sampling, Sampling, fix="make one, such as Poisson(0.01)")
    return sampling.default_adjacency(independent=independent)


__all__ = [
    "DRAWN",
    "SAMPLINGS",
    "BallsInBins",
    "Cyclic",
    "FixedSize",
    "Full",
    "Poisson",
    "Sampling",
    "Shuffled",
    "default_adjacency",
    "sampling_of",
]
