"""Correlated noise, described once: what the privatizer streams is what the accountant reads.

A factorization encodes the steps' sums x as C x, adds independent noise Z to that and decodes, which is the same as
adding C⁻¹ Z to x. All that is ever released follows from C x + Z: ONE Gaussian mechanism for the whole run, even if
each sum depends on what was released before (Denisov et al. 2022).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from dpjax.accounting.participation import Participation, toeplitz_sensitivity, tree_sensitivity
from dpjax.checks import instance, known_number, one_of, whole_number

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

KINDS = ("toeplitz", "buffered", "tree")
OBJECTIVES = ("mean", "max")
_FROM_SAMPLER = "make one with Participation.from_sampler(sampler, num_steps)"


@dataclass(frozen=True)
class Factorization:
    """How the noise of a run is correlated over its steps, for units that take part as stated.

    Make one with ``independent_noise``, ``optimal_toeplitz``, ``banded_toeplitz``, ``buffered_toeplitz`` or
    ``tree_aggregation``; ``correlated_privatizer`` adds its noise and ``Mechanism(..., factorization=...)`` accounts
    for it.

    Formal guarantees: ``sensitivity`` is computed from the coefficients and the participation, never given, and no unit
    that takes part as stated moves C x by more; see ``toeplitz_sensitivity`` and ``tree_sensitivity``. The convention
    is one for all kinds: the noise has ``stddev = noise_multiplier × clip_norm`` AFTER the encoder is scaled to
    sensitivity 1, so that a noise multiplier buys what one Gaussian mechanism of that multiplier does. A paper that
    states its multiplier per node of a tree, or per entry of Z, states ``sensitivity`` times ours.

    Args:
      name: what reports call it.
      kind: "toeplitz" (C by its first column), "buffered" (the same, as a sum of geometric series) or "tree" (C holds
        the nodes of a binary tree over the steps).
      participation: how often and how densely one unit takes part.
      coefficients: [bands] for "toeplitz": the first column of C, first entry above 0; zero beyond.
      buffers: [buffers] for "buffered": pairs (weight, decay); the first column of C is 1, Σ weight, Σ weight × decay,
        Σ weight × decay², ...

    Attributes:
      sensitivity: how far one unit moves C x, in clip norms, before C is scaled.

    Raises:
      ValueError: a field is out of its range, or does not go with ``kind``.

    Example:
      >>> once_in_five = Participation(num_steps=10, max_participations=2, min_separation=5)
      >>> noise = Factorization("by hand", "toeplitz", once_in_five, coefficients=(1.0, 0.5))
      >>> round(noise.sensitivity**2, 6), noise.bands
      (2.5, 2)

    References:
      Denisov et al. 2022, https://arxiv.org/abs/2202.08312; Choquette-Choo et al. 2023,
      https://arxiv.org/abs/2211.06530.
    """

    name: str
    kind: str
    participation: Participation
    coefficients: tuple[float, ...] = ()
    buffers: tuple[tuple[float, float], ...] = ()
    sensitivity: float = field(init=False)

    def __post_init__(self) -> None:
        instance("participation", self.participation, Participation, fix=_FROM_SAMPLER)
        one_of("kind", self.kind, KINDS)
        for name, kind in (("coefficients", "toeplitz"), ("buffers", "buffered")):
            if bool(getattr(self, name)) != (self.kind == kind):
                raise ValueError(f"{name}={getattr(self, name)!r} with kind={self.kind!r}; they go with {kind!r}.")
        column = self.coefficients
        if column and not (all(map(math.isfinite, column)) and column[0] > 0):
            raise ValueError(f"coefficients={column[:5]!r}... must be finite numbers, the first above 0.")
        if len(column) > self.participation.num_steps:
            raise ValueError(f"coefficients has {len(column)} entries; give at most num_steps, one a step.")
        for weight, decay in self.buffers:
            known_number("a weight of buffers", weight, least=0, fix="see buffered_toeplitz, which makes them")
            known_number("a decay of buffers", decay, least=0, most=1, fix="see buffered_toeplitz, which makes them")
        tree = self.kind == "tree"
        norm = tree_sensitivity(self.participation) if tree else toeplitz_sensitivity(self.column, self.participation)
        object.__setattr__(self, "sensitivity", norm)

    @property
    def bands(self) -> int:
        """Steps that the encoder reaches over; the whole run unless it is banded."""
        return len(self.coefficients) or self.participation.num_steps

    @property
    def column(self) -> NDArray[np.float64]:
        """[bands] the first column of C, before it is scaled; not for "tree"."""
        import numpy as np

        if self.kind == "tree":
            raise ValueError("kind is 'tree', whose encoder is no Toeplitz matrix; use prefix_stddev or sensitivity")
        if self.kind == "toeplitz":
            return np.asarray(self.coefficients, np.float64)
        from dpjax.accounting.toeplitz import buffered

        weights, decays = np.asarray(self.buffers, np.float64).T
        return buffered(weights, decays, self.participation.num_steps)

    def check_covers(self, participation: Participation, sampling: str) -> None:
        """Refuse units that may take part more often, or more densely, than those that the noise is for.

        Args:
          participation: of the units of a run.
          sampling: the name of what draws them.

        Raises:
          ValueError: it says both.
        """
        if not self.participation.covers(participation):
            raise ValueError(
                f"factorization is for {self.participation.in_words}, but sampling={sampling!r} has "
                f"{participation.in_words}; make it for Participation.from_sampler(sampler, num_steps)."
            )

    def describe(self) -> str:
        """The clause of a report: name, reach, and the participation that the guarantee rests on.

        Example:
          >>> independent_noise(Participation(num_steps=10, max_participations=2, min_separation=5)).describe()
          'independent_noise with 1 band, for at most 2 participations at least 5 steps apart'
        """
        count = len(self.coefficients) or len(self.buffers)
        word = {"toeplitz": "band", "buffered": "buffer", "tree": ""}[self.kind]
        reach = f" with {count} {word}{'' if count == 1 else 's'}" if count else ""
        most, apart = self.participation.most, self.participation.min_separation
        participations = f"{most} participations at least {apart} steps apart" if most > 1 else "1 participation"
        return f"{self.name}{reach}, for at most {participations}"


def prefix_stddev(factorization: Factorization) -> NDArray[np.float64]:
    """How noisy the sum of the first 1, 2, ... steps is: what an optimizer that adds its updates up gets to feel.

    Formal guarantees: none of privacy; exact, and computed from the factorization alone, which no data entered.

    Args:
      factorization: the noise.

    Returns:
      float64 [num_steps] standard deviations, in units of noise_multiplier × clip_norm, the sensitivity included: two
      factorizations of one participation compare at equal ε.

    Example:
      >>> schema = Participation(num_steps=100, max_participations=10, min_separation=10)
      >>> [round(float(prefix_stddev(f)[-1])) for f in (independent_noise(schema), banded_toeplitz(schema, 10))]
      [32, 12]

    References:
      Choquette-Choo et al. 2023, section 1, https://arxiv.org/abs/2306.08153.
    """
    import numpy as np

    steps = factorization.participation.num_steps
    if factorization.kind == "tree":
        prefixes, heights = np.arange(1, steps + 1), np.arange(steps.bit_length())
        variance = ((prefixes[:, None] >> heights) & 1) @ (1 / (2 - 0.5**heights))
    else:
        from dpjax.accounting.toeplitz import decoder

        variance = np.cumsum(decoder(factorization.column, steps) ** 2)
    return factorization.sensitivity * np.sqrt(variance)


def independent_noise(participation: Participation) -> Factorization:
    """No correlation, as one Gaussian mechanism: the baseline that correlated noise is to beat.

    Formal guarantees: those of ``Factorization``, its sensitivity being exact. Its noise multiplier is that of the run:
    each step's own is √participations times as large, so that composing those gives the same ε.

    Args:
      participation: how often and how densely one unit takes part.

    Returns:
      A factorization of one band, 1.

    Example:
      >>> independent_noise(Participation(num_steps=100, max_participations=4, min_separation=25)).sensitivity
      2.0
    """
    return Factorization("independent_noise", "toeplitz", participation, (1.0,))


def optimal_toeplitz(participation: Participation, *, bands: int | None = None) -> Factorization:
    """The square root of the prefix sum: least largest error of all Toeplitz matrices, for one participation.

    Formal guarantees: those of ``Factorization``. Its entries fall, so that the sensitivity is exact for every
    participation; that its error is the least is proved for one participation and all entries kept.

    Args:
      participation: how often and how densely one unit takes part.
      bands: entries kept; all of ``num_steps`` if None, and the privatizer then remembers the noise of every step.

    Returns:
      A factorization of kind "toeplitz", its first column binomial(2k, k) / 4^k.

    Raises:
      ValueError: ``bands`` out of range.

    Example:
      >>> round(optimal_toeplitz(Participation(512, 1, 512)).sensitivity ** 2, 8)
      3.05184086

    References:
      Fichtenberger et al. 2023, https://arxiv.org/abs/2202.11205.
    """
    from dpjax.accounting.toeplitz import square_root

    bands = _check_bands(participation.num_steps if bands is None else bands, participation)
    return Factorization("optimal_toeplitz", "toeplitz", participation, tuple(square_root(bands).tolist()))


def banded_toeplitz(participation: Participation, bands: int, *, objective: str = "mean") -> Factorization:
    """The Toeplitz matrix of so many bands that gives the prefix sums the least error at equal ε.

    The choice for few steps between participations: ``bands = min_separation`` is close to the best that any number of
    bands gives. The privatizer remembers the noise of ``bands - 1`` steps. Found by L-BFGS-B, the same at every call.

    Formal guarantees: those of ``Factorization``, whatever the search ends with: entries that are nonnegative and never
    rise are all it looks at, so that the sensitivity is exact. That no other has less error is not proved.

    Args:
      participation: how often and how densely one unit takes part.
      bands: entries of the first column.
      objective: "mean" squared error over the prefix sums, or "max", that of the last one.

    Returns:
      A factorization of kind "toeplitz", the first of its entries 1.

    Raises:
      ValueError: ``bands`` out of range, or an unknown objective.

    Example:
      >>> noise = banded_toeplitz(Participation(num_steps=100, max_participations=10, min_separation=10), 3)
      >>> [round(c, 3) for c in noise.coefficients]
      [1.0, 0.739, 0.622]

    References:
      McKenna 2024, https://arxiv.org/abs/2405.15913; Kalinin & Lampert 2024, https://arxiv.org/abs/2405.13763.
    """
    from dpjax.accounting.toeplitz import optimize_banded

    _check_objective(objective)
    column = optimize_banded(participation, _check_bands(bands, participation), objective)
    return Factorization("banded_toeplitz", "toeplitz", participation, tuple(column.tolist()))


def buffered_toeplitz(participation: Participation, *, buffers: int = 3, objective: str = "mean") -> Factorization:
    """A Toeplitz matrix that reaches over the whole run at the memory of a few models: what production runs use.

    The choice for long runs: two or three buffers come within some percent of the best of any width. Found by L-BFGS-B,
    the same at every call.

    Formal guarantees: those of ``Factorization``, whatever the search ends with: columns that never rise are all it
    looks at, so that the sensitivity is exact but for rounding. That no other has less error is not proved.

    Args:
      participation: how often and how densely one unit takes part.
      buffers: geometric series that the column is a sum of; each costs the privatizer the memory of one model.
      objective: "mean" squared error over the prefix sums, or "max", that of the last one.

    Returns:
      A factorization of kind "buffered"; that of ``independent_noise`` for a run of one step.

    Raises:
      ValueError: ``buffers`` out of range, or an unknown objective.

    Example:
      >>> noise = buffered_toeplitz(Participation(num_steps=512, max_participations=1, min_separation=512),
      ...                           objective="max")
      >>> round(float(prefix_stddev(noise)[-1]), 2)  # 3.0518 is the least of all Toeplitz matrices
      3.05

    References:
      Dvijotham et al. 2024, https://arxiv.org/abs/2404.16706; McMahan et al. 2024, https://arxiv.org/abs/2408.08868.
    """
    from dpjax.accounting.toeplitz import optimize_buffered

    _check_objective(objective)
    instance("participation", participation, Participation, fix=_FROM_SAMPLER)
    buffers = whole_number("buffers", buffers, most=10, fix="more gain nothing")
    if participation.num_steps < 2:
        return independent_noise(participation)
    weights, decays = optimize_buffered(participation, buffers, objective)
    pairs = tuple(zip(weights.tolist(), decays.tolist(), strict=True))
    return Factorization("buffered_toeplitz", "buffered", participation, buffers=pairs)


def tree_aggregation(participation: Participation) -> Factorization:
    """Noise on the nodes of a binary tree over the steps, each node's estimate improved by its subtree's.

    The first DP-FTRL, and the baseline of the papers after it. The privatizer remembers one noise for each level.

    Formal guarantees: those of ``Factorization``, its sensitivity being exact over the nodes that are ever released.

    Args:
      participation: how often and how densely one unit takes part.

    Returns:
      A factorization of kind "tree".

    Example:
      >>> round(tree_aggregation(Participation(2000, 6, 313)).sensitivity ** 2)
      79

    References:
      Kairouz et al. 2021, https://arxiv.org/abs/2103.00039; Honaker 2015 (the estimator from below).
    """
    return Factorization("tree_aggregation", "tree", participation)


def _check_bands(bands: int, participation: Participation) -> int:
    instance("participation", participation, Participation, fix=_FROM_SAMPLER)
    return whole_number("bands", bands, most=participation.num_steps, fix="an encoder reaches over steps of the run")


def _check_objective(objective: str) -> None:
    one_of("objective", objective, OBJECTIVES)
