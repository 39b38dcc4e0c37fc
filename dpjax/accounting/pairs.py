"""The pair of output distributions that one step of a run can at worst be told apart by.

Everything is measured in the distance that one unit moves the sum, so ``stddev`` below is the noise over that distance.
With the sampling rate q, N(m) the normal of mean m and that deviation, and "dominates" meaning that no set, at no ε of
either sign, tells the true pair apart better (so compositions are dominated too, arXiv 2106.08567), a pair's shape is
one of these; which of them dominates a run is said, and proved, where its sampling and its noise are defined:

- "gaussian": N(1) against N(0).
- "add_remove": (1-q) N(0) + q N(1) against N(0), and the reverse.
- "records": Σ p_i N(i) against N(0), and the reverse, p_i = Binomial(k, q)(i); k = 1 is "add_remove".
- "replace": (1-q) N(0) + q N(1) against (1-q) N(0) + q N(-1).
- "subset": hockey-stick curves bounded by "add_remove"'s first at ε >= 0, and by its second at ε < 0.
- "model": no Gaussian noise on the sum, but what a ``StepModel`` knows of one step.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol, runtime_checkable

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@runtime_checkable
class StepModel(Protocol):
    """One step whose noise is not Gaussian, or not known to be."""

    @property
    def pure_epsilon(self) -> float:
        """ε of one step at δ = 0; inf if there is none."""
        ...

    def renyi(self, orders: Sequence[float]) -> NDArray[np.float64]:
        """Bounds on the Rényi divergences at orders above 1."""
        ...

    def composed(self, times: int, delta: float) -> float:
        """The ε of so many steps at δ; ValueError if nobody knows."""
        ...


class Pair(NamedTuple):
    """One step's dominating pair and how often it is composed.

    ``beside`` is the deviation of one Gaussian of sensitivity 1 that is composed with all of them; inf: there is none.
    """

    shape: str
    rate: float
    stddev: float
    times: int
    model: StepModel | None = None
    records: int = 1
    beside: float = math.inf


def gaussian_pair(noise_multiplier: float, adjacency: str, times: int) -> Pair:
    """That of a unit that is in the sum for certain: it moves it by one clip norm, or by two if it is replaced."""
    return Pair("gaussian", 1.0, noise_multiplier / 2 if adjacency == "replace_one" else noise_multiplier, times)


def curves(shape: str) -> tuple[str, ...]:
    """The hockey-stick curves whose compositions must all be bounded."""
    return ("remove", "add") if shape in ("add_remove", "records") else (shape,)
